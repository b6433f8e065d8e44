"""Runs in a real Phoenix: a worker is killed, a person takes a day, and what is read back is one tree."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from everstep.temporal import TemporalRuntime
from everstep.temporal.devserver import DevServer
from everstep.testing.time_skipping import SkipWhileWaiting
from tests.support import desk_model, rag_model
from tests.support.drivers import TimeSkippingDriver
from tests.support.fake_openai import FakeOpenAI, RecordedRequest, Reply
from tests.support.pages import ROOT, Page
from tests.support.phoenix import PROGRAM, PROJECT, Phoenix, Span, is_tree, tree
from tests.support.shell import Shell, plain_environment
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess

pytestmark = [pytest.mark.phoenix, pytest.mark.timeout(400)]

(COMMANDS,) = Page("docs/observability.md").take("bash")
FLOWS = ("workflows.indexing:IndexFlow", "workflows.rag:RagFlow", "workflows.agent:SupportDesk")
DAY = 86_400.0


class Model:
    """Plays both flows' models; the first answer to a question takes so long that its worker is killed meanwhile."""

    def __init__(self) -> None:
        self.stalls = threading.Event()

    def play(self, request: RecordedRequest) -> Reply:
        if request.body.get("tools"):
            return desk_model.play(request)
        reply = rag_model.play(request)
        if rag_model.kind_of(request) == "answer" and not self.stalls.is_set():
            self.stalls.set()
            return Reply(reply.content, wait=120)
        return reply

    async def stalled(self) -> bool:
        """Whether a step waits for it now."""
        return self.stalls.is_set()


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """A Phoenix of this file's own; it takes half a minute to start."""
    if not PROGRAM.exists():
        pytest.skip("Phoenix is not installed: make test-traces installs it")
    with Phoenix(tmp_path_factory.mktemp("phoenix")) as server:
        yield server


@pytest.fixture
def model() -> Iterator[tuple[Model, FakeOpenAI]]:
    """The model, and the server that plays it."""
    played = Model()
    with FakeOpenAI(played.play, keep_alive=False) as server:
        yield played, server


@pytest.fixture
def env(phoenix: Phoenix, model: tuple[Model, FakeOpenAI], tmp_path: Path) -> dict[str, str]:
    """The environment of the worker."""
    return {
        **phoenix.env,
        # Otherwise the test server waits for ever for the killed worker, which had the run in its cache.
        "WORKER_CACHED_RUNS": "0",
        "OPENAI_BASE_URL": model[1].base_url,
        "OPENAI_API_KEY": "k",
        "EVERSTEP_MODEL": "fake-chat",
        "EVERSTEP_EMBEDDINGS": "packaged",
        "EVERSTEP_VECTORS": str(tmp_path / "vectors"),
        "EVERSTEP_OUTBOX": str(tmp_path / "outbox"),
        "EVERSTEP_LEDGER": str(tmp_path / "ledger.db"),
    }


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    """A folder with one document."""
    folder = tmp_path / "handbook"
    folder.mkdir()
    text = "# Refunds\n\nA refund over 50 euros needs approval by a person. It waits for at most three days.\n"
    (folder / "refunds.md").write_text(text)
    return folder


async def test_a_question_is_one_tree_over_a_killed_worker_and_a_day(
    phoenix: Phoenix, skipping_server: str, model: tuple[Model, FakeOpenAI], env: dict[str, str], handbook: Path
) -> None:
    """Documents with scores, token counts, the approval that took a day; whole while the run waits, and at its end."""
    driver = await TimeSkippingDriver.connect(skipping_server)
    runtime = TemporalRuntime(driver.client, task_queue="traced")
    with WorkerProcess(skipping_server, "traced", *FLOWS, env=env) as worker:
        await (await runtime.start_flow("IndexFlow", {"folder": str(handbook)}))
        question = "How long may a refund wait for approval by a person?"
        run = await runtime.start_flow("RagFlow", {"question": question, "assignee": "ann"})
        await until(model[0].stalled, within=60)
        await asyncio.sleep(1)
        worker.kill()
        worker.start()
        waiting = await asyncio.to_thread(phoenix.until, run.run_id, is_tree, 90)
        await until(run.requests)
        await driver.let_pass(DAY)
        await run.respond({"approved": True}, by="ann")
        assert (await run)["status"] == "published"
        worker.terminate()
        await worker.ended()
    assert tree(waiting)[0] == "RagFlow CHAIN"
    assert sum("lost" in str(span.attributes.get("everstep.outcome")) for span in waiting) >= 1
    spans = phoenix.until(run.run_id, lambda found: any(span.name == "RagFlow completed" for span in found))
    lines = tree(spans)
    assert {line.strip() for line in lines} >= {
        "RagFlow CHAIN",
        "rewrite CHAIN",
        "search CHAIN",
        "answer CHAIN !",
        "answer CHAIN",
        "select CHAIN",
        "publish CHAIN",
        "wait for a person: ApprovalRequested CHAIN",
        "RagFlow completed CHAIN",
        "chat fake-chat LLM",
        "judge answer EVALUATOR",
        "embed all-MiniLM-L6-v2-int8 EMBEDDING",
        "search by meaning RETRIEVER",
        "search by words RETRIEVER",
    }
    _has_documents([span for span in spans if span.kind == "RETRIEVER"])
    answered = [span for span in spans if span.kind == "LLM" and not span.failed]
    assert answered
    assert all(span.attributes["llm.token_count.total"] > 0 for span in answered)
    (approval,) = [span for span in spans if span.name.startswith("wait for a person")]
    assert approval.attributes["everstep.request.answered_by"] == "ann"
    assert '"approved":true' in approval.attributes["output.value"]
    assert approval.seconds >= DAY
    assert spans[-1].ended >= approval.ended


def _has_documents(searches: list[Span]) -> None:
    assert {span.name for span in searches} == {
        "search by meaning",
        "search by words",
        "search by meaning and words",
    }
    first = searches[0].attributes
    assert "three days" in first["retrieval.documents.0.document.content"]
    assert first["retrieval.documents.0.document.score"] > 0


def test_three_commands_to_a_trace(phoenix: Phoenix, dev_server: DevServer, tmp_path: Path) -> None:
    """Typed one after the other: the demo's run is in Phoenix, whole, with its contents."""
    start, setting, demo = COMMANDS.lines
    env = plain_environment(
        **phoenix.settings,
        PHOENIX_PROJECT_NAME=PROJECT,
        TEMPORAL_ADDRESS=dev_server.address,
        EVERSTEP_DEMO_STATE=str(tmp_path / "state"),
        EVERSTEP_VECTORS=str(tmp_path / "vectors"),
        EVERSTEP_OUTBOX=str(tmp_path / "outbox"),
    )
    with Shell(tmp_path, env) as shell:
        shell.run(f"cd {ROOT}")
        assert shell.run(start).code == 0
        assert shell.run(setting.replace("http://127.0.0.1:6006", phoenix.url)).code == 0
        ran = shell.run(demo, patience=180)
    assert ran.code == 0, ran.output
    run = re.search(r"demo-rag-\S+", ran.output)
    assert run
    spans = phoenix.until(run[0], lambda found: any(span.name == "RagFlow completed" for span in found))
    assert tree(spans)[0] == "RagFlow CHAIN"
    assert "worker" in spans[0].attributes["input.value"]


async def test_an_agent_is_one_tree_with_its_tools(phoenix: Phoenix, skipping_server: str, env: dict[str, str]) -> None:
    """Model calls and tools of an agent, under a root of that kind; what a person approved comes after the wait."""
    client = await Client.connect(skipping_server, interceptors=[SkipWhileWaiting()])
    runtime = TemporalRuntime(client, task_queue="agents")
    with WorkerProcess(skipping_server, "agents", *FLOWS, env=env) as worker:
        run = await runtime.start_flow("SupportDesk", {"user_msg": "I want 9000 cents back for A-1001."})
        await until(run.requests, within=60)
        await run.respond({"approved": True}, by="ann")
        await run
        worker.terminate()
        await worker.ended()
    spans = phoenix.until(run.run_id, lambda found: any(span.name == "SupportDesk completed" for span in found))
    lines = tree(spans)
    assert lines[0] == "SupportDesk AGENT"
    kinds = [span.kind for span in spans]
    assert kinds.count("LLM") >= 3
    assert {span.name for span in spans if span.kind == "TOOL"} == {"find_order", "refund"}
    (wait,) = [span for span in spans if span.name.startswith("wait for a person")]
    (refund,) = [span for span in spans if span.name == "refund"]
    assert wait.ended <= refund.begun
    assert "A-1001" in refund.attributes["input.value"]
