"""docs/porting.md is true: its command ports a program, and its code runs that on Temporal."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from everstep.temporal.devserver import DevServer
from tests.support.fake_openai import FakeOpenAI, json_text, text
from tests.support.pages import ROOT, Page
from tests.support.shell import plain_environment

PAGE = Page("docs/porting.md")
(COMMAND,), (CODE,) = PAGE.take("bash"), PAGE.take("python")
PORTED = ROOT / "tests" / "ported"


def test_the_command_and_the_code_port_a_program(tmp_path: Path, dev_server: DevServer) -> None:
    """An original, the page's command, the page's code: a run on Temporal."""
    shutil.copy(PORTED / "originals" / "jokes.py.txt", tmp_path / "jokes.py")
    subprocess.run(["bash", "-c", COMMAND.text], cwd=tmp_path, check=True)
    assert (tmp_path / "jokes.py").read_text() == (PORTED / "jokes.py").read_text()
    (tmp_path / "on_temporal.py").write_text(CODE.text)
    with FakeOpenAI() as model:
        model.script([text("Why?"), json_text({"score": 9, "critique": ""})])
        environment = plain_environment(PYTHONPATH=str(ROOT), TEMPORAL_ADDRESS=dev_server.address, **model.env)
        done = subprocess.run(
            [sys.executable, "on_temporal.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Why? ['round 1: 9']"]
