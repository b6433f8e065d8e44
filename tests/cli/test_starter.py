"""The commands of starter.py, as processes, against a real server and a worker process."""

import signal
import uuid
from pathlib import Path

from everstep.temporal.devserver import DevServer
from tests.cli.conftest import SHOP, Shell, eventually, read_until


def an_id() -> str:
    """A run id that is free."""
    return f"run-{uuid.uuid4().hex[:8]}"


def test_a_followed_run_shows_what_it_publishes_and_its_result(shell: Shell) -> None:
    """`run --follow` gives the published events as JSON lines, then how the run ended."""
    ended = shell.starter("run", "Shop", "item=tea", "amount=3", "--follow")
    assert ended.code == 0, ended.err
    assert ended.lines[0]["type"] == "Note"
    assert ended.lines[-1] == {"run": ended.lines[-1]["run"], "status": "completed", "result": {"paid": 6.0}}


def test_input_comes_as_json_and_is_overridden_by_fields(shell: Shell) -> None:
    """Fields given as key=value stand on top of the JSON object."""
    ended = shell.starter("run", "Shop", "amount=5", "--input", '{"item": "tea", "amount": 2}', "--follow")
    assert ended.lines[-1]["result"] == {"paid": 10.0}


def test_a_request_is_found_refused_answered_and_told(shell: Shell) -> None:
    """A run that asks stands in the inbox, refuses what does not fit, takes the answer and records who gave it."""
    run = an_id()
    assert shell.starter("run", "Shop", "item=tea", "amount=300", "--id", run).json["run"] == run

    def asked() -> list[dict[str, object]]:
        return [one for one in shell.starter("inbox").json["requests"] if one["run"] == run]

    request = eventually(asked)[0]
    assert (request["type"], request["assignee"], request["question"]["total"]) == ("Approve", "finance", 600.0)
    assert run in [one["run"] for one in shell.starter("list", "--waiting").json["runs"]]

    refused = shell.starter("respond", run, "approved=maybe")
    assert refused.code == 1
    assert "approved" in refused.err
    table = shell.starter("show", run, "-o", "table")
    assert f"respond {run} approved=true" in table.out
    assert "waiting" in table.out
    assert shell.starter("respond", run, "approved=true", "--request", str(request["id"])).code == 0
    assert shell.starter("result", run).json == {"approved": True, "item": "tea"}

    shown = shell.starter("show", run).json
    assert (shown["status"], shown["requests"][0]["answered_by"]) == ("completed", "ann")
    assert shown["requests"][0]["refused"][0]["by"] == "ann"
    assert {step["step"]: step["done"] for step in shown["steps"]} == {"price": 1, "check": 1, "decide": 1}
    assert shell.starter("state", run).json == {"item": "tea"}

    late = shell.starter("respond", run, "approved=true")
    assert late.code == 1
    assert "has ended" in late.err


def test_a_conversation_with_an_agent(shell: Shell) -> None:
    """Its tool waits in the inbox, is approved there, and `--continue` goes on with what was said."""
    first, second = an_id(), an_id()
    shell.starter("run", "Desk", "user_msg=My money back, please", "--id", first)

    def asked() -> list[dict[str, object]]:
        return [one for one in shell.starter("inbox").json["requests"] if one["run"] == first]

    request = eventually(asked)[0]
    assert (request["question"]["tool_name"], request["question"]["tool_kwargs"]) == ("refund", {"cents": 700})
    assert request["assignee"] == "finance"
    wrong = shell.starter("respond", first, "approved=true", "arguments.cents=half")
    assert (wrong.code, "cents: Input should be a valid integer" in wrong.err) == (1, True)
    assert shell.starter("respond", first, "approved=true", "arguments.cents=350").code == 0
    assert shell.starter("result", first).json["response"]["content"] == "It is paid."
    ended = shell.starter("run", "Desk", "user_msg=How much?", "--continue", first, "--id", second, "--follow")
    assert ended.lines[-1]["result"]["response"]["content"] == "You asked for 700."
    said = [message["content"] for message in shell.starter("state", second).json["chat_history"]]
    assert said[0] == "My money back, please"
    assert said[2].startswith('A person changed the arguments to {"cents": 350}.')
    missing = shell.starter("run", "Desk", "user_msg=How much?", "--continue", "nobody")
    assert missing.code != 0
    assert "nobody" in missing.err


def test_a_stream_is_read_on_from_an_offset(shell: Shell) -> None:
    """`stream` works after the end of a run, and `--after` leaves out what was read."""
    run = an_id()
    shell.starter("run", "Shop", "item=tea", "--id", run, "--follow")
    first, last = shell.starter("stream", run, "--no-follow").lines
    assert (first["type"], last["type"]) == ("Note", "StopEvent")
    assert shell.starter("stream", run, "--after", first["offset"]).lines == [last]


def test_a_failed_run_ends_the_follower_and_tells_the_step(shell: Shell) -> None:
    """A run that fails gives exit code 1 and one line that names step and error; show tells the same later."""
    run = an_id()
    ended = shell.starter("run", "Broken", "--follow", "--id", run)
    assert ended.code == 1
    assert "'explode'" in ended.err
    assert "no fuel" in ended.err
    assert "Traceback" not in ended.err
    shown = shell.starter("show", run).json
    assert (shown["status"], shown["steps"][0]["failed"]) == ("failed", 1)
    assert "no fuel" in shown["error"]


def test_a_run_that_goes_on_is_no_result_yet_and_can_be_sent_events_and_cancelled(shell: Shell) -> None:
    """5 for no result yet; a second run of that id is refused; a sent event is taken; a cancelled run is 1."""
    run = an_id()
    shell.starter("run", "Shop", "item=tea", "amount=300", "--id", run)
    assert shell.starter("result", run, "--no-wait").code == 5
    again = shell.starter("run", "Shop", "item=tea", "--id", run)
    assert again.code == 1
    assert "exists already" in again.err
    assert shell.starter("send", run, "Note", "text=hi", "--step", "note").code == 0
    eventually(lambda: shell.starter("state", run).json.get("note") == "hi")
    assert shell.starter("send", run, "Nothing").code == 1
    assert shell.starter("cancel", run, "--reason", "enough").code == 0
    ended = shell.starter("result", run)
    assert ended.code == 1
    assert "cancelled" in ended.err


def test_a_run_past_its_timeout_is_exit_code_5(shell: Shell) -> None:
    """`--timeout` bounds the run."""
    ended = shell.starter("run", "Slow", "seconds=30", "--timeout", "0.5", "--follow")
    assert (ended.code, ended.lines[-1]["status"]) == (5, "timed_out")


def test_a_flow_that_nobody_serves_is_told_within_seconds_and_ctrl_c_leaves_it(shell: Shell) -> None:
    """A misspelt flow does not wait in silence; Ctrl-C says how to come back."""
    process = shell.begin("starter.py", "run", "Shopp", "--follow")
    assert "no worker on task queue 'everstep' serves flow 'Shopp'" in read_until(process, "Waiting:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stream" in err


def test_without_a_worker_a_run_says_so_and_an_answer_can_be_left(shell: Shell) -> None:
    """Where nobody polls, show says so, respond gives up with exit code 5, and --no-wait leaves the answer."""
    run = an_id()
    shell.starter("run", "Shop", "item=tea", "--task-queue", "empty", "--id", run)
    eventually(lambda: "no_worker" in [one["kind"] for one in shell.starter("show", run).json["obstacles"]])
    unheard = shell.starter("respond", run, "approved=true", "--timeout", "1")
    assert (unheard.code, "--no-wait" in unheard.err) == (5, True)
    assert shell.starter("respond", run, "approved=true", "--no-wait").code == 0
    shell.starter("cancel", run)


def test_wrong_input_unknown_runs_and_a_dead_server_have_exit_codes_of_their_own(shell: Shell) -> None:
    """2 for what is no input, 4 for what is not there, 3 for a server that does not answer; each in one line."""
    wrong = shell.starter("run", "Shop", "--input", '{"item": ')
    unknown = shell.starter("show", "nope")
    dead = shell.starter("list", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (wrong.code, unknown.code, dead.code) == (2, 4, 3)
    assert "is not JSON" in wrong.err
    assert "'nope'" in unknown.err
    assert "127.0.0.1:1" in dead.err
    assert all(len(one.err.splitlines()) == 1 and not one.out for one in (wrong, unknown, dead))


def test_a_start_that_the_flow_refuses_names_the_field(shell: Shell) -> None:
    """A start event that does not fit ends the run with the reason."""
    ended = shell.starter("run", "Shop", "amount=3", "--follow")
    assert ended.code == 1
    assert "item" in ended.err


def test_debug_shows_the_traceback(shell: Shell, server: DevServer) -> None:
    """`--debug` adds what is otherwise kept away."""
    assert "Traceback" in shell.starter("--debug", "show", "nope").err


def test_the_inbox_finds_runs_on_a_server_without_the_search_attribute(tmp_path: Path) -> None:
    """Where EverstepWaiting is not registered each running run is asked; the output says that no index was used."""
    with DevServer.private(search_attributes={}) as plain:
        shell = Shell(plain.address, tmp_path)
        worker = shell.begin("worker.py", "--flows", str(SHOP))
        try:
            read_until(worker, "polls task queue")
            run = shell.starter("run", "Shop", "item=tea", "amount=300").json["run"]
            shell.starter("run", "Slow", "seconds=60")
            request = eventually(lambda: shell.starter("inbox").json["requests"])[0]
            assert (request["run"], request["type"]) == (run, "Approve")
            assert shell.starter("inbox").json["indexed"] is False
            assert shell.starter("respond", run, "approved=true").code == 0
            assert shell.starter("inbox").json["requests"] == []
        finally:
            worker.kill()
            worker.communicate()


def test_a_start_that_is_refused_is_told_without_following(shell: Shell) -> None:
    """`run` without --follow says why the start was refused, instead of that it has started."""
    ended = shell.starter("run", "Shop", "amount=3")
    assert (ended.code, ended.out) == (1, "")
    assert "item" in ended.err


def test_fields_that_are_not_declared_are_noted(shell: Shell) -> None:
    """A misspelt field of a start or of an answer is taken, with a warning that names those there are."""
    run = an_id()
    started = shell.starter("run", "Shop", "item=tea", "amount=300", "ammount=3", "--id", run)
    assert (started.code, "field ammount is not declared by Order" in started.err) == (0, True)
    eventually(lambda: [one for one in shell.starter("inbox").json["requests"] if one["run"] == run])
    answered = shell.starter("respond", run, "approved=true", "limmit=3")
    assert (answered.code, "field limmit is not declared by Approval" in answered.err) == (0, True)


def test_what_a_child_asks_is_found_and_answered_at_the_run_above(shell: Shell) -> None:
    """Inbox and show tell the request; respond to either run reaches the child, and says why it refuses."""
    run = an_id()
    shell.starter("run", "Wholesale", "item=tea", "amount=300", "--id", run)
    child = f"{run}/order-1"
    asked = eventually(lambda: [one for one in shell.starter("inbox").json["requests"] if one["run"] == child])
    assert [one["id"] for one in asked] == ["check-1"]
    shown = eventually(lambda: (found := shell.starter("show", run).json)["requests"] and found)
    assert [one["id"] for one in shown["requests"]] == [f"{child}/check-1"]
    assert [(one["run"], one["flow"], one["step"]) for one in shown["children"]] == [(child, "Shop", "order")]
    refused = shell.starter("respond", run, "approved=perhaps")
    assert refused.code == 1
    assert "approved" in refused.err
    assert shell.starter("respond", run, "approved=true", "--request", f"{child}/check-1").code == 0
    assert shell.starter("result", run).json == {"approved": True, "item": "tea"}


def test_terminating_a_run_ends_its_children(shell: Shell) -> None:
    """The output tells how many; none is left behind."""
    run = an_id()
    shell.starter("run", "Wholesale", "item=tea", "amount=300", "--id", run)
    eventually(lambda: shell.starter("show", run).json["requests"])
    assert shell.starter("cancel", run, "--terminate").json["below"] == [f"{run}/order-1"]
    assert shell.starter("show", f"{run}/order-1").json["status"] == "terminated"
