"""Which failures of models and stores may pass by themselves, and how long a step waits for that."""

from __future__ import annotations

from activities.errors import (
    ModelOutputInvalid,
    ModelRateLimited,
    ModelStreamCut,
    ModelTimeout,
    ModelUnavailable,
    VectorStoreLocked,
    VectorStoreUnavailable,
)
from everstep.errors import StepTimeoutError
from everstep.retry_policy import (
    retry_if_exception_type,
    retry_policy,
    stop_after_attempt,
    wait_exponential_jitter,
    wait_retry_after,
)

# What may pass by itself. All else fails the run at once, under its own name: a wrong key (ModelAuthError), no credit
# (ModelQuotaExceeded), an unknown model (ModelRequestInvalid), vectors of another size (VectorStoreMismatch) …
TRANSIENT = (
    ModelRateLimited,
    ModelTimeout,
    ModelUnavailable,
    ModelStreamCut,
    ModelOutputInvalid,
    VectorStoreUnavailable,
    VectorStoreLocked,
    StepTimeoutError,
    OSError,
)

RETRIES = retry_policy(
    retry=retry_if_exception_type(TRANSIENT),
    # A server that says when to come back is asked again then; another after 1, 2, 4 … seconds.
    wait=wait_retry_after(fallback=wait_exponential_jitter(initial=1, max=30), max=300),
    stop=stop_after_attempt(8),
)
