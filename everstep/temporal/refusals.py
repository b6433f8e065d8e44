"""Why a Temporal server cannot be spoken to, in words: from the text of the SDK's error, which is all that it gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong, what to do about it (empty: nothing special), and whether waiting does not mend it."""

    reason: str
    remedy: str = ""
    lasting: bool = False


_CA = "TEMPORAL_TLS_SERVER_CA_CERT_PATH"
_CLIENT = "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"

_KNOWN = {
    "Connection refused": Refusal("connection refused"),
    "dns error": Refusal("the host name is unknown"),
    "PermissionDenied": Refusal("the server did not permit it", "Check what TEMPORAL_API_KEY may do.", True),
    "UnknownIssuer": Refusal(
        "its TLS certificate is not trusted",
        f"Set {_CA} to the certificate of the authority that signed it (now it is another, or none is set).",
        True,
    ),
    "NotValidForName": Refusal(
        "its TLS certificate is for another host name", "Set TEMPORAL_TLS_SERVER_NAME to the name in it.", True
    ),
    "InvalidContentType": Refusal("it speaks no TLS", "Unset TEMPORAL_TLS, or set it to false.", True),
    "NoCertificatesPresented": Refusal("the client certificate cannot be read", f"Give PEM files by {_CLIENT}.", True),
    "PrivateKeyParseError": Refusal("the client's key cannot be read", f"Give PEM files by {_CLIENT}.", True),
    "KeyMismatch": Refusal("the client's key is not that of its certificate", f"Check {_CLIENT}.", True),
}
"""By a mark in the SDK's text."""

_CLOSED = ("connection closed", "ConnectionReset", "BrokenPipe", "UnexpectedEof", "received fatal alert")
"""Which of these it is, is a matter of time: of when the end of the connection is noticed."""


def refusal(message: str, *, tls: bool, client_certificate: bool, api_key: bool) -> Refusal:
    """What the SDK's error text means; the text itself where it is not one of the usual ones.

    Args:
        message: the error's text.
        tls: whether TLS was used.
        client_certificate: whether one was shown.
        api_key: whether one was given.
    """
    if "Unauthenticated" in message:
        remedy = "Check TEMPORAL_API_KEY: it may be wrong or have expired." if api_key else "Set TEMPORAL_API_KEY."
        return Refusal("the server did not accept the credentials", remedy, True)
    if "Expired" in message:
        return Refusal(
            f"its TLS certificate has expired{_when(message)}",
            "Have it renewed, or see that this machine's clock is right.",
            True,
        )
    if any(mark in message for mark in _CLOSED):
        return _closed(tls=tls, client_certificate=client_certificate)
    return next((told for mark, told in _KNOWN.items() if mark in message), Refusal(message))


def _closed(*, tls: bool, client_certificate: bool) -> Refusal:
    """A server that ends the connection says no more; what it most often means."""
    if not tls:
        return Refusal("it closed the connection", "It may want TLS: set TEMPORAL_TLS=true.")
    if client_certificate:
        return Refusal(
            "it closed the connection",
            f"Perhaps it does not accept the client certificate, or that has expired: check {_CLIENT}.",
        )
    return Refusal("it closed the connection", f"Perhaps it asks for a client certificate: set {_CLIENT}.")


def _when(message: str) -> str:
    found = re.search(r"not_after: UnixTime\((\d+)\)", message)
    return "" if found is None else f", on {datetime.fromtimestamp(int(found[1]), UTC):%Y-%m-%d}"
