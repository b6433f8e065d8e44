"""The chat model, through the real client against a scripted server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import BaseModel

from activities.errors import (
    ModelAuthError,
    ModelContextOverflow,
    ModelError,
    ModelOutputInvalid,
    ModelQuotaExceeded,
    ModelRateLimited,
    ModelRefused,
    ModelRequestInvalid,
    ModelStreamCut,
    ModelTimeout,
    ModelUnavailable,
)
from activities.llm import Message, OpenAIChat, Usage, chat_model_from_env, strict_schema
from activities.openai_access import retry_after_seconds
from tests.support.fake_openai import (
    FakeOpenAI,
    Reply,
    auth_error,
    context_overflow,
    cut_stream,
    failure,
    garbled_stream,
    json_text,
    quota_exceeded,
    rate_limited,
    refusal,
    server_error,
    stream_error,
    text,
)

ASK: list[Message] = [{"role": "user", "content": "How are you?"}]


class Place(BaseModel):
    """Where something is."""

    city: str
    floors: list[int] = []


class Trip(BaseModel):
    """A schema with a part of its own, an optional field and a field called title."""

    title: str
    start: Place
    note: str | None = None


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A scripted server."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def chat(server: FakeOpenAI) -> AsyncIterator[OpenAIChat]:
    """A model at that server."""
    model = OpenAIChat("fake", api_key="k", base_url=server.base_url, timeout=30.0, silence=20.0)
    yield model
    await model.aclose()


async def test_an_answer_is_streamed(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """Tokens show as they come; the answer is whole, with its usage and model."""
    server.script([text("I am well, thanks.")])
    seen: list[str] = []
    answer = await chat.complete(ASK, on_token=seen.append)
    assert seen == ["I", " am", " well,", " thanks."]
    assert (answer.text, answer.finish_reason, answer.model) == ("I am well, thanks.", "stop", "fake")
    assert answer.usage == Usage(prompt_tokens=3, completion_tokens=4)
    assert server.requests[0].headers["authorization"] == "Bearer k"


async def test_a_long_answer_may_take_longer_than_the_silence(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """What counts is the pause between tokens, as long as the whole stays in time."""
    server.script([text("one two three four five six", token_wait=0.15)])
    assert (await chat.complete(ASK)).text == "one two three four five six"


async def test_output_follows_a_schema(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """A schema is sent in its strict form, and the answer comes parsed."""
    trip = Trip(title="Work", start=Place(city="Oslo", floors=[1]))
    server.script([json_text(trip.model_dump())])
    assert (await chat.complete(ASK, schema=Trip)).parsed == trip
    sent = server.requests[0].body["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"], sent["schema"]) == ("Trip", True, strict_schema(Trip))


def test_the_strict_schema() -> None:
    """Every object is closed and asks for all its keys; a field called title is no title."""
    schema = strict_schema(Trip)
    assert schema["required"] == ["title", "start", "note"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["start"] == {"$ref": "#/$defs/Place"}
    place = schema["$defs"]["Place"]
    assert (place["required"], place["additionalProperties"]) == (["city", "floors"], False)
    assert "default" not in place["properties"]["floors"]


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (server_error(500), ModelUnavailable, "had an error"),
        (server_error(503), ModelUnavailable, "had an error"),
        (server_error(504), ModelTimeout, "had an error"),
        (auth_error(), ModelAuthError, "OPENAI_API_KEY"),
        (context_overflow(), ModelContextOverflow, "fewer or shorter"),
        (failure(400, "the request exceeds the available context size"), ModelContextOverflow, "fewer or shorter"),
        (failure(400, "prompt is too long: 9 tokens > 8 maximum"), ModelContextOverflow, "fewer or shorter"),
        (quota_exceeded(), ModelQuotaExceeded, "credit"),
        (failure(404, "No such model."), ModelRequestInvalid, "EVERSTEP_MODEL"),
        (failure(400, "Filtered.", code="content_filter"), ModelRefused, "content filter"),
        (refusal("I would rather not."), ModelRefused, "I would rather not"),
        (text("half an", finish_reason="content_filter"), ModelRefused, "content filter"),
        (stream_error("some words come", after=2), ModelUnavailable, "Overloaded"),
        (garbled_stream("some words"), ModelUnavailable, "no valid answer"),
        (Reply("", cut_after=0), ModelStreamCut, "before the model had finished"),
    ],
)
async def test_failures_have_names(
    server: FakeOpenAI, chat: OpenAIChat, reply: Reply, error: type[ModelError], words: str
) -> None:
    """Each way to fail raises its own error, which says what to do; nothing is tried again by the client."""
    server.script([reply])
    with pytest.raises(error, match=words):
        await chat.complete(ASK)
    assert len(server.requests) == 1


async def test_retry_after_in_seconds(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """The wait a server asks for is on the error, in seconds."""
    server.script([rate_limited("7"), rate_limited(retry_after_ms="250"), rate_limited()])
    waits: list[float | None] = []
    for _ in range(3):
        with pytest.raises(ModelRateLimited) as caught:
            await chat.complete(ASK)
        waits.append(caught.value.retry_after)
    assert waits == [7.0, 0.25, None]
    assert ModelRateLimited.retryable
    assert not ModelQuotaExceeded.retryable


async def test_retry_after_as_a_date(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """A date is turned into the seconds that are left."""
    until = datetime.now(UTC) + timedelta(seconds=20)
    server.script([rate_limited(format_datetime(until, usegmt=True))])
    with pytest.raises(ModelRateLimited) as caught:
        await chat.complete(ASK)
    assert caught.value.retry_after is not None
    assert 15 < caught.value.retry_after <= 20


def test_retry_after_that_makes_no_sense() -> None:
    """A past date means now; nonsense means nothing was said."""
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after_seconds({"retry-after": "-5"}) == 0.0
    assert retry_after_seconds({"retry-after": "soon"}) is None
    assert retry_after_seconds({}) is None


@pytest.mark.parametrize("cut", ["end", "reset"])
async def test_a_cut_stream_is_an_error(server: FakeOpenAI, chat: OpenAIChat, cut: str) -> None:
    """A stream that just ends, or breaks, raises with what had arrived, instead of passing for an answer."""
    server.script([cut_stream("one two three four", after=2, cut=cut)])
    seen: list[str] = []
    with pytest.raises(ModelStreamCut, match="before the model had finished") as caught:
        await chat.complete(ASK, on_token=seen.append)
    # A reset may overtake what was on its way, so only what was seen is known.
    assert caught.value.partial == "".join(seen)
    assert cut == "reset" or seen == ["one", " two"]


@pytest.mark.parametrize(
    "reply",
    [
        text("late", wait=9.0),
        text("one two three", token_wait=9.0),
        text(" ".join(["word"] * 200), token_wait=0.05),
    ],
    ids=["no first token", "silence between tokens", "too long in all"],
)
async def test_a_slow_model_times_out(server: FakeOpenAI, reply: Reply) -> None:
    """A server that is silent, or never comes to an end, is given up in the time set."""
    server.script([reply])
    hasty = OpenAIChat("fake", api_key="k", base_url=server.base_url, timeout=1.0, silence=0.3)
    started = time.monotonic()
    with pytest.raises(ModelTimeout):
        await hasty.complete(ASK)
    assert time.monotonic() - started < 4
    await hasty.aclose()


async def test_no_server_is_unavailable() -> None:
    """Nothing listens: the error says so and may be retried."""
    chat = OpenAIChat("fake", api_key="k", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ModelUnavailable, match="connection failed") as caught:
        await chat.complete(ASK)
    assert caught.value.retryable
    await chat.aclose()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (text("Sure! Here you go"), "no Place: the whole"),
        (json_text({"town": "Oslo"}), "no Place: city"),
        (text('{"city": "Os', finish_reason="length"), "limit of tokens"),
    ],
)
async def test_output_that_does_not_fit(server: FakeOpenAI, chat: OpenAIChat, reply: Reply, words: str) -> None:
    """Prose, wrong keys and output that was cut off are told apart, and the output is kept."""
    server.script([reply])
    with pytest.raises(ModelOutputInvalid, match=words) as caught:
        await chat.complete(ASK, schema=Place)
    assert caught.value.output == reply.content


async def test_text_at_the_limit_of_tokens_is_an_answer(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """Without a schema, an answer that ran out of tokens comes with its finish reason."""
    server.script([text("and so on and", finish_reason="length")])
    assert (await chat.complete(ASK)).finish_reason == "length"


async def test_an_error_of_the_callback_is_its_own(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """What goes wrong while showing tokens is not blamed on the model."""
    server.script([text("one two")])

    def broken(token: str) -> None:
        raise KeyError(token)

    with pytest.raises(KeyError):
        await chat.complete(ASK, on_token=broken)


async def test_cancelling_leaves_the_model_usable(server: FakeOpenAI, chat: OpenAIChat) -> None:
    """A step that is cancelled in the middle of an answer breaks nothing for the next."""
    server.script([text("one two three four five six", token_wait=0.2), text("fine")])
    begun = asyncio.Event()
    first = asyncio.create_task(chat.complete(ASK, on_token=lambda _: begun.set()))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await chat.complete(ASK)).text == "fine"


def test_one_model_serves_several_loops(server: FakeOpenAI) -> None:
    """Steps on several event loops share a model object."""
    chat = OpenAIChat("fake", api_key="k", base_url=server.base_url)
    answers: list[str] = []

    async def ask(name: str) -> None:
        asked: list[Message] = [{"role": "user", "content": name}]
        found = await asyncio.gather(*(chat.complete(asked) for _ in range(5)))
        answers.extend(answer.text for answer in found)
        await chat.aclose()

    threads = [threading.Thread(target=lambda n=n: asyncio.run(ask(f"t{n}"))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(f"You said: t{n}" for n in range(4) for _ in range(5))


async def test_the_environment_names_the_model(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, address and model come from the environment, and can be told to people."""
    for name, value in {**server.env, "EVERSTEP_MODEL": "house-model"}.items():
        monkeypatch.setenv(name, value)
    chat = chat_model_from_env()
    assert chat.describe() == f"house-model at {server.base_url}"
    assert (await chat.complete(ASK)).text == "You said: How are you?"
    assert server.requests[0].body["model"] == "house-model"
    await chat.aclose()


def test_no_model_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings the error names them."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ModelAuthError, match="Set OPENAI_API_KEY"):
        chat_model_from_env()
