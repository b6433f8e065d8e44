"""The chat model of agents, as the environment names it; made when it is first needed.

Rule: importing this module imports no client, so that a worker starts fast and does without the one it never uses.
"""

from __future__ import annotations

from activities.errors import ModelUnavailable
from everstep.agent import ChatModel


def agent_model() -> ChatModel:
    """The chat model that OPENAI_API_KEY, OPENAI_BASE_URL, EVERSTEP_MODEL and EVERSTEP_MODEL_API name.

    Raises:
        ModelAuthError: none is configured.
        ModelUnavailable: the client is not installed.

    Example:
        Agent(name="desk", model=agent_model)  # not called here: agents make their models when they first think
    """
    try:
        from activities.llm import chat_model_from_env
    except ImportError as error:
        raise ModelUnavailable(f"No chat model can be built ({error}). Install everstep[openai].") from error
    return chat_model_from_env()
