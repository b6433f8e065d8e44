"""Which settings the environment gives, for people to read: with secrets hidden, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

PREFIXES = ("TEMPORAL_", "EVERSTEP_", "OPENAI_", "QDRANT_", "OTEL_", "PHOENIX_")
"""What the names of settings begin with."""

HIDDEN = "(hidden)"

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|HEADERS|GRPC_META|CERT_DATA")
_NO_SECRET = re.compile(r"(_PATH|_FILE|_DIR|^EVERSTEP_ENCRYPTION_KEYS)$")  # the last is a place of keys


def shown_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that are set, by name; secrets are hidden, also those within URLs."""
    return {
        name: HIDDEN if _SECRET.search(name) and (not _NO_SECRET.search(name) or "{" in value) else _shown(value)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIXES) and value
    }


def _shown(value: str) -> str:
    """A value without the password and the query of a URL."""
    if "://" not in value:
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    at = f"{HIDDEN}@{host}" if host != parts.netloc else host
    return urlunsplit(parts._replace(netloc=at, query=HIDDEN if parts.query else ""))
