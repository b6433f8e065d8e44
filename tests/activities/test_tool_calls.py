"""Chat models that call tools: the same behaviour through Chat Completions and through Responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import BaseModel

from activities.chat_completions import OpenAIChat
from activities.errors import (
    ModelContextOverflow,
    ModelError,
    ModelOutputInvalid,
    ModelRateLimited,
    ModelRefused,
    ModelRequestInvalid,
    ModelStreamCut,
    ModelUnavailable,
)
from activities.llm import chat_model_from_env
from activities.openai_model import OpenAIModel
from activities.responses import OpenAIResponses
from activities.strict_schema import strict_schema
from everstep.agent import ChatMessage, ToolMetadata, Usage
from tests.support.fake_openai import (
    FakeOpenAI,
    Reply,
    context_overflow,
    cut_stream,
    json_text,
    rate_limited,
    refusal,
    text,
    tool_calls,
)

ADD = ToolMetadata(
    name="add",
    description="Add.",
    parameters={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
)
HELLO = [ChatMessage(content="What is 1 + 2?")]


class Sum(BaseModel):
    """A sum."""

    value: int


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A scripted server."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(params=["chat", "responses"])
async def model(request: pytest.FixtureRequest, server: FakeOpenAI) -> AsyncIterator[OpenAIModel]:
    """A model at that server, by either API."""
    kind = OpenAIChat if request.param == "chat" else OpenAIResponses
    made = kind("fake", api_key="k", base_url=server.base_url, timeout=20, silence=10)
    yield made
    await made.aclose()


def script(server: FakeOpenAI, model: OpenAIModel, *replies: Reply) -> None:
    """What the server replies to this model."""
    server.script(replies, path=path_of(model))


def path_of(model: OpenAIModel) -> str:
    """The path that a model asks at."""
    return "/responses" if isinstance(model, OpenAIResponses) else "/chat/completions"


async def test_an_answer_is_streamed_and_counted(server: FakeOpenAI, model: OpenAIModel) -> None:
    """Tokens show as they come; the answer is whole, with usage, model and reason."""
    script(server, model, text("It is three."))
    seen: list[str] = []
    answer = await model.chat(HELLO, tools=[ADD], on_token=seen.append)
    assert seen == ["It", " is", " three."]
    assert (answer.message.content, answer.finish_reason, answer.model) == ("It is three.", "stop", "fake")
    assert answer.usage == Usage(prompt_tokens=5, completion_tokens=3)


async def test_tools_are_offered_called_and_answered(server: FakeOpenAI, model: OpenAIModel) -> None:
    """Calls come with parsed arguments; sent back, they and their results are in the API's own form."""
    script(server, model, tool_calls(("add", {"a": 1}), ("add", {"a": 2}), content="Let me see."), text("3"))
    answer = await model.chat(HELLO, tools=[ADD])
    assert (answer.message.content, answer.finish_reason) == ("Let me see.", "tool_calls")
    first, second = answer.message.tool_calls
    assert [(call.tool_name, call.tool_kwargs) for call in (first, second)] == [("add", {"a": 1}), ("add", {"a": 2})]
    assert len({first.tool_id, second.tool_id, ""}) == 3
    outputs = [ChatMessage(role="tool", content=str(n), tool_call_id=c.tool_id) for n, c in enumerate((first, second))]
    await model.chat([ChatMessage(role="system", content="Add."), *HELLO, answer.message, *outputs], tools=[ADD])
    offered, sent = server.requests[0].body, server.requests[1].body
    if isinstance(model, OpenAIResponses):
        assert offered["tools"] == [{"type": "function", "strict": False, **ADD.model_dump()}]
        assert [item.get("type", item.get("role")) for item in sent["input"]] == [
            "system", "user", "reasoning", "assistant", "function_call", "function_call",
            "function_call_output", "function_call_output",
        ]  # fmt: skip
        assert sent["input"][2]["encrypted_content"] == "sealed"
        assert sent["input"][4]["call_id"] == sent["input"][6]["call_id"] == first.tool_id
        assert (sent["input"][4]["arguments"], sent["input"][7]["output"]) == ('{"a": 1}', "1")
        assert sent["store"] is False
    else:
        assert offered["tools"] == [{"type": "function", "function": ADD.model_dump()}]
        assert [turn["role"] for turn in sent["messages"]] == ["system", "user", "assistant", "tool", "tool"]
        assert sent["messages"][2]["tool_calls"][0] == {
            "id": first.tool_id, "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}
        }  # fmt: skip
        assert sent["messages"][4] == {"role": "tool", "tool_call_id": second.tool_id, "content": "1"}


async def test_arguments_that_are_no_object_are_kept_as_text(server: FakeOpenAI, model: OpenAIModel) -> None:
    """Whoever runs the tool can tell the model what it wrote; arguments that are missing are none."""
    script(server, model, tool_calls(("add", '{"a": 1'), ("add", "[1]"), ("add", "")))
    answer = await model.chat(HELLO, tools=[ADD])
    assert [call.unreadable for call in answer.message.tool_calls] == ['{"a": 1', "[1]", None]
    assert all(call.tool_kwargs == {} for call in answer.message.tool_calls)


async def test_output_follows_a_schema(server: FakeOpenAI, model: OpenAIModel) -> None:
    """The schema is sent in its strict form, beside the tools."""
    script(server, model, json_text({"value": 3}))
    assert (await model.chat(HELLO, tools=[ADD], schema=Sum)).message.content == '{"value": 3}'
    body = server.requests[0].body
    sent = body["text"]["format"] if isinstance(model, OpenAIResponses) else body["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"], sent["schema"]) == ("Sum", True, strict_schema(Sum))


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (cut_stream("one two three", after=2), ModelStreamCut, "ended after 7 characters"),
        (refusal("No."), ModelRefused, "declined: No."),
        (text("bad", finish_reason="content_filter"), ModelRefused, "content filter"),
        (tool_calls(("add", '{"a": 1'), finish_reason="length"), ModelOutputInvalid, "its call of add was cut off"),
        (context_overflow(), ModelContextOverflow, "maximum context length"),
        (Reply(stream_error={"code": "context_length_exceeded", "message": "too long"}), ModelContextOverflow, "too"),
        (Reply(stream_error={"code": "server_error", "message": "oops"}), ModelUnavailable, "oops"),
    ],
)
async def test_what_is_no_answer_is_an_error_with_a_name(
    server: FakeOpenAI, model: OpenAIModel, reply: Reply, error: type[ModelError], words: str
) -> None:
    """Cut streams, refusals, calls that were cut off, prompts that are too long, failures within a stream."""
    script(server, model, reply)
    with pytest.raises(error, match=words):
        await model.chat(HELLO, tools=[ADD])
    assert len(server.requests) == 1


async def test_a_rate_limit_says_when_to_come_back(server: FakeOpenAI, model: OpenAIModel) -> None:
    """The client does not retry; the error has the server's Retry-After, for the step's policy."""
    script(server, model, rate_limited("7"))
    with pytest.raises(ModelRateLimited) as limited:
        await model.chat(HELLO)
    assert (limited.value.retry_after, len(server.requests)) == (7.0, 1)


async def test_calls_that_a_server_does_not_number_are_told_apart(server: FakeOpenAI) -> None:
    """Some servers count every call as 0: a new id is a new call."""
    chat = OpenAIChat("fake", api_key="k", base_url=server.base_url, timeout=20, silence=10)
    reply = tool_calls(("add", {"a": 1}), ("add", {"a": 2}))
    server.script([Reply(calls=reply.calls, finish_reason="stop", one_index=True)])
    answer = await chat.chat(HELLO, tools=[ADD])
    await chat.aclose()
    assert [call.tool_kwargs for call in answer.message.tool_calls] == [{"a": 1}, {"a": 2}]


def test_the_environment_says_which_api_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """EVERSTEP_MODEL_API: chat by default, responses, or an error that names both."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert isinstance(chat_model_from_env(), OpenAIChat)
    monkeypatch.setenv("EVERSTEP_MODEL_API", "responses")
    assert isinstance(chat_model_from_env(), OpenAIResponses)
    monkeypatch.setenv("EVERSTEP_MODEL_API", "soap")
    with pytest.raises(ModelRequestInvalid, match="set it to chat or responses"):
        chat_model_from_env()
