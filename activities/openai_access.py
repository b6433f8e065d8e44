"""The way to an OpenAI-compatible server: its client, and its failures under the names of activities.errors.

Rule: the client never retries by itself. A step's retry policy decides, sees each failure, and outlives the process.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import openai

from activities.errors import (
    ModelAuthError,
    ModelContextOverflow,
    ModelError,
    ModelQuotaExceeded,
    ModelRateLimited,
    ModelRefused,
    ModelRequestInvalid,
    ModelTimeout,
    ModelUnavailable,
)
from activities.per_loop import PerLoop

_CONNECT_SECONDS = 10.0
# Most servers give no code for it: vLLM, llama.cpp and Ollama, Anthropic's and Google's own doors, in this order.
_OVERFLOW = re.compile(
    r"maximum context length|context (size|window|length)|prompt is too long|input token count .* exceeds", re.I
)


def is_configured() -> bool:
    """True when the environment names a server: by its key, or by its address for servers that need no key."""
    return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


class OpenAIAccess:
    """Clients for one server, one per event loop.

    Args:
        api_key: Default: OPENAI_API_KEY.
        base_url: Default: OPENAI_BASE_URL, else OpenAI itself.
        silence: Seconds without a byte after which the server is given up.
    """

    def __init__(self, api_key: str | None, base_url: str | None, silence: float) -> None:
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        # A server without keys still gets the header, which the client insists on sending.
        self._api_key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._timeout = openai.Timeout(silence, connect=min(_CONNECT_SECONDS, silence))
        self._clients = PerLoop(self._build)

    def client(self) -> openai.AsyncOpenAI:
        """The running loop's client."""
        return self._clients.get()

    async def aclose(self) -> None:
        """Closes the running loop's connections; the next use opens new ones."""
        client = self._clients.forget()
        if client is not None:
            await client.close()

    def _build(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=self._api_key, base_url=self.base_url, max_retries=0, timeout=self._timeout)


def retry_after_seconds(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """How long the server asked to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date.

    Args:
        headers: The response's headers, with keys in lower case or matching any case.
        now: Seconds since the epoch; default: the clock.

    Returns:
        Seconds, 0 for a date that has passed, None when the server said nothing that can be read.
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / scale)
        except (KeyError, ValueError):
            continue
    try:
        until = parsedate_to_datetime(headers["retry-after"]).timestamp()
    except (KeyError, ValueError):
        return None
    return max(0.0, until - (time.time() if now is None else now))


def translated(error: Exception, model: str) -> ModelError:
    """The client's error as one of ours, named after what a step can do about it."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return ModelTimeout(f"Model {model}: no complete answer in the time given.")
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, model)
    if isinstance(error, openai.APIConnectionError):
        return ModelUnavailable(f"Model {model}: the connection failed ({error.__cause__ or error}).")
    if isinstance(error, openai.APIError):
        return of_code(error.code, error.message, model) or ModelUnavailable(f"Model {model}: {error.message}")
    return ModelUnavailable(f"Model {model}: its server sent no valid answer ({error}).")


def of_code(code: str | None, message: str, model: str) -> ModelError | None:
    """What an error's own code says, which is more than its status does; None where it says nothing more."""
    said = f"Model {model}: {message}"
    if code == "context_length_exceeded" or _OVERFLOW.search(message):
        return ModelContextOverflow(
            f"{said} Send fewer or shorter passages; for an agent, have tools give less, or lower its token_budget."
        )
    if code == "insufficient_quota":
        return ModelQuotaExceeded(f"{said} Add credit, or set OPENAI_API_KEY to another account's key.")
    if code in ("content_filter", "content_policy_violation"):
        return ModelRefused(f"{said} The server's content filter stopped the request.")
    return None


def _of_status(error: openai.APIStatusError, model: str) -> ModelError:
    status = error.status_code
    said = f"Model {model}: {error.message}"
    known = of_code(error.code, error.message, model)
    if known:
        return known
    retry_after = retry_after_seconds(error.response.headers)
    if status == 429:
        return ModelRateLimited(said, retry_after=retry_after)
    if status in (401, 403):
        return ModelAuthError(f"{said} Check OPENAI_API_KEY and that it may use this model.")
    if status in (408, 504):
        return ModelTimeout(said, retry_after=retry_after)
    if status >= 500 or status in (409, 425):
        return ModelUnavailable(said, retry_after=retry_after)
    return ModelRequestInvalid(f"{said} Check EVERSTEP_MODEL, EVERSTEP_EMBEDDING_MODEL and OPENAI_BASE_URL.")
