"""What the commands say where a run cannot answer, because no worker that serves its flow does."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.conftest import SHOP, Shell, eventually, read_until


def an_id() -> str:
    """A run id, or a task queue, that is free."""
    return f"run-{uuid.uuid4().hex[:8]}"


@contextmanager
def a_worker(shell: Shell, queue: str, *flows: str) -> Iterator[None]:
    """A worker process for these flows of shop.py, killed at the end of the block."""
    places = [part for flow in flows for part in ("--flows", f"{SHOP}:{flow}")]
    worker = shell.begin("worker.py", *places, "--task-queue", queue)
    try:
        read_until(worker, "steps at a time")
        yield
    finally:
        worker.kill()
        worker.communicate()


def test_a_message_that_came_before_its_request_is_shown_as_refused(shell: Shell) -> None:
    """What --no-wait left stands in `show`, with sender and reason, also where no request was open for it."""
    run = an_id()
    shell.starter("run", "Slow", "seconds=60", "--id", run)
    assert shell.starter("respond", run, "ok=true", "--no-wait").code == 0
    refused = eventually(lambda: shell.starter("show", run).json["refused_messages"])
    assert (refused[0]["by"], refused[0]["message"]) == ("ann", {"ok": True})
    table = shell.starter("show", run, "-o", "table").out
    assert "REFUSED" in table
    assert refused[0]["reason"] in table
    shell.starter("cancel", run)


def test_a_run_whose_worker_has_died_is_shown_as_waiting_and_silent(shell: Shell) -> None:
    """Without a worker show tells by the server's index that the run waits, and says in its output who is missing."""
    run, queue = an_id(), an_id()
    with a_worker(shell, queue, "Shop"):
        shell.starter("run", "Shop", "item=tea", "amount=300", "--id", run, "--task-queue", queue)
        eventually(lambda: shell.starter("show", run).json["requests"])
    shown = shell.starter("show", run).json
    assert (shown["status"], shown["requests"]) == ("waiting", None)
    assert [one["kind"] for one in shown["obstacles"]] == ["no_worker"]
    assert f"no worker that serves Shop answers on task queue '{queue}'" in shown["silent"]
    assert "no worker that serves Shop answers" in shell.starter("show", run, "-o", "table").out
    box = shell.starter("inbox", "--task-queue", queue, "-o", "table")
    assert run in box.err
    assert "Nobody is asked anything" not in box.err
    shell.starter("cancel", run)


def test_workers_with_different_flows_on_one_queue_are_named(shell: Shell) -> None:
    """A worker without the flow answers for a run: show goes on without its requests and says what to do."""
    run, queue = an_id(), an_id()
    with a_worker(shell, queue, "Shop"):
        shell.starter("run", "Shop", "item=tea", "amount=300", "--id", run, "--task-queue", queue)
        eventually(lambda: shell.starter("show", run).json["requests"])
    with a_worker(shell, queue, "Slow"):
        shown = shell.starter("show", run)
        assert shown.code == 0, shown.err
        assert "own --task-queue" in shown.json["obstacles"][0]["text"]
        box = shell.starter("inbox", "--task-queue", queue)
        assert "own --task-queue" in box.json["silent"][run]
    shell.starter("cancel", run)
