"""The support desk: hands over, looks orders up, refunds with approval, answers from the handbook, over two turns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from activities.chat_completions import OpenAIChat
from activities.errors import ModelAuthError
from activities.knowledge import Knowledge
from activities.ledger import Ledger
from activities.orders import SAMPLE, OrderBook
from everstep.agent import AgentHandoff, AgentResult, AgentStream, ToolCallResult
from everstep.handler import WorkflowHandler
from everstep.temporal import TemporalRuntime, serving
from tests.support.desk_model import play
from tests.support.fake_openai import FakeOpenAI, cut_stream, rate_limited
from tests.support.waiting import until
from workflows.agent import SupportDesk
from workflows.indexing import IndexFlow

BROKEN = "The machine of order A-1001 is broken, money back!"


@pytest.fixture
def desk_server() -> Iterator[FakeOpenAI]:
    """A model server that plays the desk's models."""
    with FakeOpenAI(play, keep_alive=False) as server:
        yield server


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of the test's own."""
    return Ledger(tmp_path / "ledger.db")


@pytest.fixture
def desk(desk_server: FakeOpenAI, knowledge: Knowledge, ledger: Ledger) -> SupportDesk:
    """The desk, with that server as its model."""
    model = OpenAIChat("fake-chat", api_key="k", base_url=desk_server.base_url, timeout=20, silence=10)
    return SupportDesk(model, knowledge, ledger, OrderBook())


async def asked(handler: WorkflowHandler) -> dict[str, object]:
    """What a person is asked, once they are."""
    return (await until(handler.requests))[0]["question"]


async def test_a_small_refund_is_paid_at_once(desk: SupportDesk, ledger: Ledger) -> None:
    """Triage hands over to billing, which looks the order up and pays; the customer sees it being written."""
    handler = desk.run(user_msg="I want 4200 cents back for A-1001.")
    result: AgentResult = await handler
    assert (result.current_agent_name, result.num_iterations) == ("billing", 4)
    (payment,) = ledger.payments()
    assert (payment.order_id, payment.amount_cents) == ("A-1001", 4_200)
    assert payment.idempotency_key in str(result)
    events = [event async for event in handler.stream_events()]
    assert [event.to_agent for event in events if isinstance(event, AgentHandoff)] == ["billing"]
    assert "".join(event.delta for event in events if isinstance(event, AgentStream)) == str(result)


async def test_no_more_is_refunded_than_was_paid(desk: SupportDesk, ledger: Ledger) -> None:
    """Whatever the model asks for, and a person approves, the ledger holds it against the order."""
    ledger.pay("before", "A-1001", 40_000, "broken")
    handler = desk.run(user_msg="I want 9000 cents back for A-1001.")
    await asked(handler)
    await handler.respond({"approved": True})
    assert "9000 more would be over the 42000 that may be refunded" in str(await handler)
    assert len(ledger.payments()) == 1


async def test_an_order_that_is_not_there_is_told(desk: SupportDesk) -> None:
    """The tool's error is an answer for the model, not the end of the run."""
    assert "there is no order 'Z-9999'" in str(await desk.run(user_msg="Where is order Z-9999?"))


async def test_a_conversation_on_temporal(
    desk: SupportDesk, client: Client, handbook: Path, knowledge: Knowledge, ledger: Ledger, desk_server: FakeOpenAI
) -> None:
    """By name and plain JSON: a refund that a person cuts, through a rate limit and a cut stream; then the handbook."""
    async with serving(client, [desk, IndexFlow(knowledge)], task_queue="desk"):
        runtime = TemporalRuntime(client, task_queue="desk")
        await (await runtime.start_flow("IndexFlow", {"folder": str(handbook)}))
        desk_server.script([rate_limited("0.1"), cut_stream("One moment", after=1)])
        first = await runtime.start_flow(
            "SupportDesk", {"user_msg": "The machine of order A-1001 is broken, money back!"}
        )
        question = await asked(first)
        assert question["tool_kwargs"] == {
            "order_id": "A-1001",
            "amount_cents": 42_000,
            "reason": BROKEN,
        }
        assert ledger.payments() == []
        changed = {"amount_cents": 21_000}
        await first.respond({"approved": True, "arguments": changed}, by="lea")
        result = await first
        assert "A person changed the arguments" in result["response"]["content"]
        assert [payment.amount_cents for payment in ledger.payments()] == [21_000]
        follow_up = {"user_msg": "What does the handbook say about approval?"}
        second = await runtime.start_flow("SupportDesk", follow_up, state=await first.state())
        answer = (await second)["response"]["content"]
        state = await second.state()
    assert answer.startswith("The handbook says: ")
    assert state["current_agent_name"] == "knowledge"
    said = [message["content"] for message in state["chat_history"] if message["role"] == "user"]
    assert said == [BROKEN, follow_up["user_msg"]]


async def test_without_a_model_the_run_fails_and_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker starts without a key; a run names what is missing, at once."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    handler = SupportDesk().run(user_msg="Hello?")
    with pytest.raises(ModelAuthError, match="Set OPENAI_API_KEY"):
        await handler


def test_orders_come_from_a_file(tmp_path: Path) -> None:
    """A JSON file of orders, found by number and by customer; one that cannot be read is named."""
    file = tmp_path / "orders.json"
    file.write_text(json.dumps([order.model_dump(mode="json") for order in SAMPLE]))
    book = OrderBook(file)
    assert [order.order_id for order in book.of_customer("ANN@example.com")] == ["A-1002", "A-1001"]
    assert (book.find("a-1001"), book.find("A-1")) == (SAMPLE[0], None)


async def test_a_tools_errors_are_results(desk: SupportDesk) -> None:
    """What a tool said is on the stream, with whether it is an error."""
    handler = desk.run(user_msg="Where is order Z-9999?")
    await handler
    (found,) = [
        e async for e in handler.stream_events() if isinstance(e, ToolCallResult) and e.tool_name == "find_order"
    ]
    assert found.tool_output.is_error
