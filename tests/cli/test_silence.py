"""What the commands say where a run cannot answer, because no worker that serves its flow does."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.conftest import SHOP, Shell, eventually, read_until

pytestmark = pytest.mark.slow


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


def test_events_that_wait_for_others_are_shown(shell: Shell) -> None:
    """What a step that takes several events has, and what it lacks."""
    run = an_id()
    shell.starter("run", "Quote", "item=tea", "amount=3", "--id", run)
    unmatched = eventually(lambda: shell.starter("show", run).json["unmatched_events"])
    assert unmatched == [{"step": "quote", "has": {"Priced": 1}, "lacks": ["note: Note"]}]
    assert "quote has Priced and waits for note: Note" in shell.starter("show", run, "-o", "table").out
    assert shell.starter("send", run, "Note", "text=two weeks").code == 0
    assert shell.starter("result", run).json == "two weeks: 3"


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
    told = shell.starter("respond", run, "ok=true", "--timeout", "4").err
    assert f"worker.py --task-queue {queue}" in told
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


def test_state_and_result_say_what_they_wait_for(shell: Shell) -> None:
    """Without a worker state gives up with exit code 5; it and result tell on stderr whom they wait for."""
    run = an_id()
    shell.starter("run", "Slow", "seconds=1", "--id", run, "--task-queue", an_id())
    state = shell.starter("state", run, "--timeout", "4")
    assert (state.code, "Waiting: no worker" in state.err) == (5, True)
    result = shell.starter("result", run, "--timeout", "4")
    assert (result.code, "Waiting: no worker polls" in result.err) == (5, True)
    assert shell.starter("cancel", run, "--terminate").code == 0


def test_a_cancellation_that_waits_for_a_worker_says_so_and_terminate_needs_none(shell: Shell) -> None:
    """Without a worker cancel names what is missing and show tells the reason; --terminate ends several at once."""
    queue, runs = an_id(), [an_id(), an_id()]
    for run in runs:
        shell.starter("run", "Slow", "seconds=60", "--id", run, "--task-queue", queue)
    asked = shell.starter("cancel", runs[0], "--reason", "enough")
    assert asked.json["waits_for_worker"]
    assert f"cancel {runs[0]} --terminate" in asked.err
    assert shell.starter("show", runs[0]).json["cancel_requested"] == {"reason": "enough"}
    assert "requested (enough)" in shell.starter("show", runs[0], "-o", "table").out
    ended = shell.starter("cancel", *runs, "nope", "--terminate", "--reason", "no worker")
    assert (ended.code, [one["run"] for one in ended.json["runs"]]) == (4, runs)
    assert [shell.starter("show", run).json["status"] for run in runs] == ["terminated", "terminated"]


def test_a_stream_behind_an_offset_that_is_not_there_is_an_error(shell: Shell) -> None:
    """An offset of another run is exit code 4, followed or not."""
    run = an_id()
    shell.starter("run", "Slow", "seconds=0", "--id", run, "--follow")
    for follow in ("--follow", "--no-follow"):
        ended = shell.starter("stream", run, "--after", "foo", follow)
        assert (ended.code, "'foo'" in ended.err) == (4, True)
    last = shell.starter("stream", run).lines[-1]["offset"]
    assert shell.starter("stream", run, "--after", last).code == 0
