"""Markers for what everstep hands to a step besides its event, so that a signature can be read without importing it."""

from __future__ import annotations


class InjectedContext:
    """Base of `Context`: a parameter of this type gets the invocation's context."""


class InjectedResource:
    """Base of what `Resource(...)` makes: a parameter annotated with one gets the resource."""
