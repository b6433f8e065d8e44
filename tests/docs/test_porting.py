"""docs/porting.md is true: its command ports a program, and its code runs that on Temporal."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from everstep.temporal.devserver import DevServer
from tests.support.fake_openai import FakeOpenAI, json_text, text
from tests.support.shell import plain_environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "porting.md").read_text()
PORTED = ROOT / "tests" / "ported"


def test_the_command_and_the_code_port_a_program(tmp_path: Path, dev_server: DevServer) -> None:
    """An original, the page's command, the page's code: a run on Temporal."""
    command, code = (
        re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]  # pyright: ignore[reportOptionalSubscript]
        for kind in ("bash", "python")
    )
    shutil.copy(PORTED / "originals" / "jokes.py.txt", tmp_path / "jokes.py")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "jokes.py").read_text() == (PORTED / "jokes.py").read_text()
    (tmp_path / "on_temporal.py").write_text(code)
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
