"""Spans of what steps do outside: models, embeddings, searches, tools, and what instrumentations add."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest
from openinference.instrumentation.openai import OpenAIInstrumentor

from activities.embeddings import OpenAIEmbedder
from activities.errors import ModelRateLimited
from activities.llm import OpenAIChat
from everstep import Context, Workflow, catch_error, step
from everstep.agent import ChatMessage, ToolMetadata, ToolSelection
from everstep.events import Event, StartEvent, StepFailedEvent, StopEvent
from everstep.observe import Document, EmbeddingCall, LlmCall, RerankerCall, RetrieverCall, ToolCall
from tests.support.fake_openai import FakeOpenAI, rate_limited, text
from tests.support.traced import Traces, traced


@pytest.fixture
def traces() -> Iterator[Traces]:
    """What the test's runs trace, with contents."""
    with traced(payloads=True) as traces:
        yield traces


class Calls(Workflow):
    """Does one of each."""

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        with EmbeddingCall("e", ["one", "two"]) as embedding:
            embedding.counted(5)
        with RetrieverCall("search", "where?") as search:
            found = [Document("d1", 0.9, "here", "a.md:3", {"path": "a.md"}), Document("d2", 0.5, "there")]
            search.found(found)
        with RerankerCall("r", "where?", found, top=1) as order:
            order.ordered([found[1]._replace(score=0.8)])
        with LlmCall("m", [{"role": "user", "content": "hi"}], {"temperature": 0}) as model:
            model.answered("hello", prompt_tokens=4, completion_tokens=2)
        with ToolCall("refund", {"order": "A-1"}, "gives money back") as tool:
            tool.gave({"paid": True})
        return StopEvent()


async def test_calls_are_spans_of_their_kinds(traces: Traces) -> None:
    """Model, embedding, search and tool each tell what OpenInference has names for."""
    await Calls().run()
    root = traces.tree()
    assert root.lines() == ["Calls", "  work", "    embed e", "    search", "    rerank r", "    chat m", "    refund"]
    embedding, search, order, model, tool = (node.attributes for node in root.under[0].under)
    kinds = [one["openinference.span.kind"] for one in (embedding, search, order, model, tool)]
    assert kinds == ["EMBEDDING", "RETRIEVER", "RERANKER", "LLM", "TOOL"]
    assert (embedding["embedding.model_name"], embedding["llm.token_count.prompt"]) == ("e", 5)
    assert search["input.value"] == "where?"
    assert search["retrieval.documents.0.document.id"] == "d1"
    assert search["retrieval.documents.1.document.score"] == 0.5
    assert search["retrieval.documents.0.document.content"] == "here"
    assert json.loads(search["retrieval.documents.0.document.metadata"]) == {"place": "a.md:3", "path": "a.md"}
    assert (order["reranker.model_name"], order["reranker.query"], order["reranker.top_k"]) == ("r", "where?", 1)
    assert order["reranker.input_documents.0.document.score"] == 0.9
    assert order["reranker.output_documents.0.document.id"] == "d2"
    assert order["reranker.output_documents.0.document.content"] == "there"
    assert model["llm.input_messages.0.message.content"] == "hi"
    assert model["llm.output_messages.0.message.content"] == model["output.value"] == "hello"
    counts = [model[f"llm.token_count.{name}"] for name in ("prompt", "completion", "total")]
    assert counts == [4, 2, 6]
    assert (tool["tool.name"], json.loads(tool["output.value"])) == ("refund", {"paid": True})
    assert len({one["session.id"] for one in (embedding, search, model, tool)}) == 1


class Agent(Workflow):
    """Asks a model that has called a tool and may call it again."""

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        wanted = ToolSelection(tool_id="c1", tool_name="add", tool_kwargs={"a": 1})
        messages = [
            ChatMessage(role="assistant", tool_calls=[wanted]),
            ChatMessage(role="tool", content="secret", tool_call_id="c1"),
        ]
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        with LlmCall("m", messages, tools=[ToolMetadata(name="add", description="Adds.", parameters=schema)]) as model:
            model.answered("", tool_calls=[("add", {"a": 2}, "c2")])
        return StopEvent()


async def test_calls_of_models_tell_of_tools(traces: Traces) -> None:
    """Which tools there are, which were called with what, and which result is whose, as Phoenix shows them."""
    await Agent().run()
    told = traces.tree().under[0].under[0].attributes
    called, result = (f"llm.input_messages.{number}.message." for number in (0, 1))
    assert told[called + "tool_calls.0.tool_call.id"] == told[result + "tool_call_id"] == "c1"
    assert told[called + "tool_calls.0.tool_call.function.name"] == "add"
    assert json.loads(told[called + "tool_calls.0.tool_call.function.arguments"]) == {"a": 1}
    assert told["llm.output_messages.0.message.tool_calls.0.tool_call.id"] == "c2"
    offered = json.loads(told["llm.tools.0.tool.json_schema"])
    assert (offered["type"], offered["function"]["name"], offered["function"]["description"]) == (
        "function", "add", "Adds."
    )  # fmt: skip
    assert offered["function"]["parameters"]["properties"] == {"a": {"type": "integer"}}


class Waits(Workflow):
    """Waits within a call."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        with ToolCall("ask"):
            await ctx.wait_for_event(Event, timeout=0.01)
        return StopEvent()

    @catch_error
    async def late(self, ev: StepFailedEvent) -> StopEvent:
        return StopEvent()


async def test_a_call_that_waits_has_not_failed(traces: Traces) -> None:
    """The pass that ends with the wait is no failure; the one that is told that nothing came is."""
    await Waits().run()
    asked = [span for span in traces.spans() if span.name == "ask"]
    assert [span.status.is_ok for span in asked] == [True, False]


async def test_contents_of_calls_stay_out_unless_wanted() -> None:
    """Names, counts, ids and scores are told; texts are not."""
    with traced() as traces:
        await Calls().run()
    told = str([span.attributes for span in traces.spans()])
    assert "d1" in told
    assert not any(secret in told for secret in ("where?", "hello", "here", "A-1"))


def test_calls_outside_of_steps_do_nothing(traces: Traces) -> None:
    """They can be made anywhere."""
    with LlmCall("m") as model:
        model.answered("x")
    assert not traces.spans()


class Asking(Workflow):
    """Speaks to a model by the project's own activities, and by a client of its own."""

    def __init__(self, server: FakeOpenAI) -> None:
        super().__init__()
        self.server = server

    @step
    async def ask(self, ev: StartEvent) -> StopEvent:
        chat = OpenAIChat("m", api_key="k", base_url=self.server.base_url)
        try:
            answer = await chat.complete([{"role": "user", "content": "hi"}])
        finally:
            await chat.aclose()
        embedder = OpenAIEmbedder("text-embedding-3-small", dimension=8, api_key="k", base_url=self.server.base_url)
        await embedder.embed(["hi"])
        await embedder.aclose()
        async with openai.AsyncOpenAI(api_key="k", base_url=self.server.base_url) as client:
            await client.chat.completions.create(model="own", messages=[{"role": "user", "content": "hi"}])
        return StopEvent(result=answer.text)


async def test_instrumentations_of_clients_nest_under_the_step(traces: Traces) -> None:
    """OpenInference's span of a client hangs under the step's, with the session; the project's own calls come once."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=traces.provider)
    try:
        with FakeOpenAI() as server:
            server.script([text("Hello there."), text("Mine.")])
            assert await Asking(server).run() == "Hello there."
    finally:
        instrumentor.uninstrument()
    root = traces.tree()
    assert root.lines() == [
        "Asking",
        "  ask",
        "    chat m",
        "    embed text-embedding-3-small",
        "    ChatCompletion",
    ]
    ours, _, theirs = (node.attributes for node in root.under[0].under)
    assert ours["llm.token_count.total"] > 0
    assert ours["llm.token_count.completion"] == theirs["llm.token_count.completion"] + 1
    assert ours["session.id"] == theirs["session.id"] == root.attributes["session.id"]


async def test_a_failed_call_tells_why(traces: Traces) -> None:
    """The error of a model call is on its span, and on the step's."""
    with FakeOpenAI() as server:
        server.script([rate_limited()])
        with pytest.raises(ModelRateLimited):
            await Asking(server).run()
    assert traces.tree().lines() == ["Asking !", "  ask !", "    chat m !"]
