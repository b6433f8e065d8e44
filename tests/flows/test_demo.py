"""The demo, as the process that people start: approved by itself, from outside, and told what it cannot do."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from everstep.temporal.devserver import DevServer

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def server() -> Iterator[DevServer]:
    """A dev server of these tests' own, so that the project's is left alone."""
    with DevServer.private() as one:
        yield one


@pytest.fixture
def env(server: DevServer, tmp_path: Path) -> dict[str, str]:
    """The settings of a person without a key, with everything the demo writes in a folder of the test's own."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "TEMPORAL_", "EVERSTEP_"))
    }
    return kept | {
        "TEMPORAL_ADDRESS": server.address,
        "EVERSTEP_DEMO_STATE": str(tmp_path / "state"),
        "EVERSTEP_VECTORS": str(tmp_path / "vectors"),
        "EVERSTEP_OUTBOX": str(tmp_path / "outbox"),
    }


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder of documents, one of them broken."""
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "refunds.md").write_text(
        "# Refund approval\n\nA refund over 100 euros waits up to three days for a person. After that it expires.\n"
    )
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4 broken")
    return folder


def demo(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    command = [sys.executable, "scripts/demo.py", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not Path(f"/proc/{pid}").exists()


def test_the_demo_answers_from_the_project_s_own_documents(env: dict[str, str], tmp_path: Path) -> None:
    """Without a key and without a question: an answer with its sources, the scores, and a published file."""
    done = demo(env, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no OPENAI_API_KEY: extractive answerer" in done.stdout
    assert re.search(r"^result +published", done.stdout, re.MULTILINE)
    assert re.search(r"\[1\] \S+\.md:\d+", done.stdout)
    for strategy in ("fused", "dense", "sparse"):
        assert re.search(rf"^{strategy} +[01]\.\d\d +[01]\.\d\d", done.stdout, re.MULTILINE)
    assert len(list((tmp_path / "outbox").glob("*.md"))) == 1
    pid = re.search(r"worker\.py, pid (\d+)", done.stdout)
    assert pid
    assert gone(int(pid.group(1)))


def read_until(stream: IO[str], pattern: str) -> str:
    """What a process prints up to the line that fits."""
    seen = ""
    end = time.monotonic() + PATIENCE
    for line in stream:
        seen += line
        if re.search(pattern, line):
            return seen
        assert time.monotonic() < end, seen
    raise AssertionError(f"no line fits {pattern!r} in:\n{seen}")


@pytest.mark.parametrize("way", ["starter.py respond", "temporal workflow signal"])
def test_not_at_a_terminal_it_is_approved_by_the_commands_it_prints(
    env: dict[str, str], papers: Path, way: str
) -> None:
    """Each printed command, run as it is in another shell, approves the answer. A file that is broken was named."""
    command = [sys.executable, "scripts/demo.py", str(papers)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        seen = read_until(process.stdout, "workflow signal")
        line = next(line for line in seen.splitlines() if way in line)
        subprocess.run(["bash", "-c", line.strip()], cwd=ROOT, env=env, check=True, capture_output=True, timeout=60)
        rest = process.stdout.read()
        assert process.wait(30) == 0, seen + rest
    assert "not readable: scan.pdf" in seen
    assert "What about Refund approval?" in seen
    assert re.search(r"^result +published", rest, re.MULTILINE)


def test_at_a_terminal_the_person_is_asked(env: dict[str, str], papers: Path) -> None:
    """The question and the approval are asked for; a no ends the run as rejected, with the reason."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "scripts/demo.py", str(papers)]
    with subprocess.Popen(
        command, cwd=ROOT, env=env | {"TERM": "dumb"}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = ""
        for asked, said in (
            ("know from", "How long may a refund wait?"),
            ("Publish this", "n"),
            ("Why not", "too vague"),
        ):
            seen += read_pty(ours, asked)
            os.write(ours, f"{said}\n".encode())
        seen += read_pty(ours, "Stop|goes on|worker +stopped")
        assert process.wait(30) == 1, seen
    os.close(ours)
    assert "three days" in seen
    assert re.search(r"rejected: +too vague", seen)


def read_pty(terminal: int, pattern: str) -> str:
    """What a terminal shows up to where the pattern fits."""
    seen = ""
    end = time.monotonic() + PATIENCE
    while not re.search(pattern, seen):
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


@pytest.mark.parametrize(("name", "said"), [("nowhere", "is not a folder"), ("empty", "no readable .md")])
def test_a_folder_without_documents_is_an_error_in_words(
    env: dict[str, str], tmp_path: Path, name: str, said: str
) -> None:
    """No traceback: what is wrong and what to do, and exit code 2."""
    (tmp_path / "empty").mkdir()
    done = demo(env, "--yes", str(tmp_path / name))
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_worker_too_and_says_how_to_come_back(
    env: dict[str, str], papers: Path, number: signal.Signals
) -> None:
    """However the demo is told to end: its worker ends, the run stays, and the commands to go on are printed."""
    command = [sys.executable, "scripts/demo.py", str(papers)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        seen = read_until(process.stdout, "workflow signal")
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(30) == 128 + number, rest
    assert "waits without a worker" in rest
    assert "worker.py --task-queue everstep-demo" in rest
    assert "starter.py show demo-rag-" in rest
    pid = re.search(r"worker\.py, pid (\d+)", seen)
    assert pid
    assert gone(int(pid.group(1)))
