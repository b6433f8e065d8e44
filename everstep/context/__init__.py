"""`Context`: what a step may do, and a run as seen from outside; with its serializers and state stores."""

from everstep.context.context import Context
from everstep.context.scope import StepScope
from everstep.context.serializers import BaseSerializer, JsonSerializer, PickleSerializer

__all__ = ["BaseSerializer", "Context", "JsonSerializer", "PickleSerializer", "StepScope"]
