"""README.md is true: its code runs, its commands work in its order, and its settings are read."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from everstep.temporal.devserver import DevServer, stop_dev_server
from everstep.temporal.settings import ConnectionSettings
from tests.support.pages import ROOT, Page
from tests.support.shell import SETTING, Shell, plain_environment

PAGE = Page("README.md")
README = PAGE.text
FIRST_PROGRAM, ON_TEMPORAL = PAGE.take("python")


def commands(section: str) -> list[str]:
    """The commands of a section, one by one."""
    return [line for block in PAGE.take("bash", section) for line in block.lines]


INSTALL, RUN, KILL, APPROVE = map(
    commands, ("Install", "Run flows", "Kill the worker", "Approve from another terminal")
)
READ_BY_THE_SDK = {
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "TEMPORAL_API_KEY",
    "TEMPORAL_TLS",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_SERVER_NAME",
    "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
    "TEMPORAL_PROFILE",
    "TEMPORAL_CONFIG_FILE",
}


def environment(**more: str) -> dict[str, str]:
    """That of a user who has set nothing and works in the checkout."""
    return plain_environment(PYTHONPATH=str(ROOT), **more)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory like the checkout, so that nothing of the user's is touched: `.everstep/` is its own."""
    for name in ("worker.py", "starter.py", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("workflows", "activities"):
        (tmp_path / name).symlink_to(ROOT / name)
    binaries = Path(sys.executable).parent
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
    (tmp_path / "word_count.py").write_text(FIRST_PROGRAM.text)
    return tmp_path


@pytest.fixture
def shell(project: Path) -> Iterator[Shell]:
    """A shell in the project, after the section on installing: a server runs."""
    try:
        with Shell(project, environment()) as shell:
            for command in INSTALL:
                assert shell.run(command).code == 0
            address = shell.json("everstep dev --status")["address"]
            # What README tells to give as --address where the usual port is taken.
            shell.run(f"export TEMPORAL_ADDRESS={address}")
            yield shell
    finally:
        stop_dev_server(project / ".everstep")


def script(directory: Path, name: str, source: str, **settings: str) -> str:
    """What a program of README prints."""
    (directory / name).write_text(source)
    done = subprocess.run(
        [sys.executable, name],
        cwd=directory,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_first_program_stands_near_the_top_and_runs(tmp_path: Path) -> None:
    """Code begins within the first 15 lines, and gives what README says."""
    assert README.splitlines().index("```python") < 15
    assert script(tmp_path, "word_count.py", FIRST_PROGRAM.text) == "5"


def test_the_same_runs_on_temporal(tmp_path: Path, dev_server: DevServer) -> None:
    """With another runtime and nothing else changed."""
    (tmp_path / "word_count.py").write_text(FIRST_PROGRAM.text)
    assert script(tmp_path, "on_temporal.py", ON_TEMPORAL.text, TEMPORAL_ADDRESS=dev_server.address) == "5"


@pytest.mark.slow
def test_a_flow_of_one_s_own_is_served_and_started(shell: Shell) -> None:
    """The commands that serve and start the first program's flow."""
    serve, start, result, stop = RUN
    shell.run(serve)
    assert shell.run(start).code == 0
    assert shell.run(result).output.strip() == "5"
    assert shell.run(stop).code == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_worker_loses_nothing(shell: Shell) -> None:
    """The demonstration: killed in the middle of steps, the run ends with all its documents."""
    *before, kill, show, again, result = KILL
    documents = int(re.search(r"seq (\d+)", " ".join(before))[1])  # pyright: ignore[reportOptionalSubscript]
    for command in before:
        assert shell.run(command).code == 0
    assert shell.run(kill).code == 0
    left = shell.json(show)
    assert left["status"] == "running"
    done = next(step["done"] for step in left["steps"] if step["step"] == "index_file")
    assert 0 < done < documents
    shell.run(again)
    ended = shell.json(result, patience=300)
    assert (ended["indexed"], ended["failed"]) == (documents, 0)


@pytest.mark.slow
def test_a_person_answers_from_another_terminal(shell: Shell) -> None:
    """By starter.py, and by Temporal's command line alone; what does not fit is refused with the reason."""
    shell.run("python worker.py RefundFlow &")
    start, wait, inbox, respond, result, *by_temporal = APPROVE
    assert shell.run(start).code == 0
    assert shell.run(wait).code == 0
    found = shell.json(inbox)
    assert [request["run"] for request in found["requests"]] == ["refund-A-1001"]
    assert shell.run(respond).code == 0
    assert shell.json(result)["status"] == "paid"

    start, wait, update, signal, result = by_temporal
    assert shell.run(start).code == 0
    assert shell.run(wait).code == 0
    refused = shell.run(f"{update.partition('#')[0]} 2>&1")
    assert refused.code != 0
    assert "approved: Input should be a valid boolean" in refused.output
    assert shell.run(signal).code == 0
    assert "COMPLETED" in shell.run(result).output
    assert shell.json("python starter.py show refund-A-1002")["result"]["status"] == "paid"


def table() -> list[str]:
    """The settings that README lists."""
    cells = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|", PAGE.section("Settings"), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"[A-Z_]+", cell)]


def names_in_code() -> set[str]:
    """The names of settings that stand in the code as strings of their own."""
    files = [file for folder in ("everstep", "activities", "workflows") for file in (ROOT / folder).rglob("*.py")]
    trees = [ast.parse(file.read_text()) for file in files]
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and SETTING.fullmatch(value)}


def test_the_settings_are_those_that_the_code_reads() -> None:
    """None is missing in README, and none is invented; the SDK reads the rest."""
    assert set(table()) - READ_BY_THE_SDK == names_in_code() - READ_BY_THE_SDK
    assert set(table()) >= READ_BY_THE_SDK


def test_the_standard_settings_take_effect(tmp_path: Path) -> None:
    """Temporal's own variables and configuration file decide where to connect."""
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.other]\naddress = "there:1"\n')
    by_name = {"TEMPORAL_ADDRESS": "here:1", "TEMPORAL_NAMESPACE": "mine", "TEMPORAL_TLS": "true"}
    settings = ConnectionSettings.load(directory=tmp_path, environment=by_name)
    assert (settings.address, settings.namespace, bool(settings.tls)) == ("here:1", "mine", True)
    by_key = {"TEMPORAL_API_KEY": "k", "TEMPORAL_ADDRESS": "a:1"}
    assert ConnectionSettings.load(directory=tmp_path, environment=by_key).api_key == "k"
    profile = {"TEMPORAL_CONFIG_FILE": str(file), "TEMPORAL_PROFILE": "other"}
    assert ConnectionSettings.load(directory=tmp_path, environment=profile).address == "there:1"


def test_the_make_targets_exist() -> None:
    """Every `make` command in README and CONTRIBUTING is a target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    asked = set(re.findall(r"(?:^|`(?:[A-Z]+=\S+ )?)make ([a-z-]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= asked <= targets


def test_the_extras_exist() -> None:
    """The extras that README names are those of the package."""
    line = next(line for line in README.splitlines() if line.startswith("Extras: "))
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    there = re.findall(r"^([a-z-]+) =", extras, re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", line.partition(".")[0])) <= set(there)
