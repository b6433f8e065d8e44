"""docs/extraction.md is true: its model, its documents, its commands and its program do what it says."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from everstep.temporal.devserver import DevServer
from tests.support.fake_openai import FakeOpenAI
from tests.support.pages import ROOT, Page
from tests.support.papers import play
from tests.support.shell import Shell, plain_environment
from workflows.extraction import ExtractFolder

PAGE = Page("docs/extraction.md")
MODEL, PROGRAM = PAGE.take("python")
FIRST, AGAIN = PAGE.take("bash")
DOCUMENTS = PAGE.take("text")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory like the checkout, with what the page has the reader write."""
    for name in ("worker.py", "starter.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("workflows", "activities"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "invoices.py").write_text(MODEL.text)
    (tmp_path / "program.py").write_text(PROGRAM.text)
    assert len(DOCUMENTS) == 2
    for document in DOCUMENTS:
        assert document.title
        (tmp_path / document.title).parent.mkdir(exist_ok=True)
        (tmp_path / document.title).write_text(document.text)
    return tmp_path


@pytest.fixture
def shell(project: Path, dev_server: DevServer) -> Iterator[Shell]:
    """A shell there, with the settings of someone who has a model server and a Temporal server."""
    with FakeOpenAI(play, keep_alive=False) as server:
        settings = {**server.env, "TEMPORAL_ADDRESS": dev_server.address, "TEMPORAL_TASK_QUEUE": "extraction-page"}
        with Shell(project, plain_environment(PYTHONPATH=str(ROOT), **settings)) as shell:
            yield shell


@pytest.mark.slow
def test_a_batch_is_run_mended_and_run_again(shell: Shell, project: Path) -> None:
    """All commands of the page, in their order; then its program."""
    work, start, wait, inbox, respond, result, look = FIRST.lines
    shell.run(work)
    assert shell.run(start).code == 0
    assert shell.run(wait).code == 0
    question = next(one for one in shell.json(inbox)["requests"] if one["run"] == "invoices-1")["question"]
    assert question["faults"] == {"record": "the items do not add up to 19.00"}
    assert question["places"][1] == "b.txt:2: Invoice A-1002          2026-10-09"
    assert shell.run(respond).code == 0
    ended = shell.json(result)
    assert (ended["extracted"], ended["mended"], ended["records"]) == (2, 1, 2)
    rows = list(csv.DictReader(shell.run(look).output.splitlines()))
    assert [(row["source"], row["number"], row["total"]) for row in rows] == [
        ("a.txt", "A-1001", "42.50"),
        ("b.txt", "A-1002", "16"),
    ]
    (project / "inbox" / "c.txt").write_text((project / "inbox" / "a.txt").read_text())
    ran = shell.run(f"{AGAIN.lines[0]} -o table")
    assert ran.code == 0
    assert "ExtractionProgress source=c.txt stage=done text=extracted, 1 record" in ran.output
    assert re.search(r"^b\.txt +extracted +1 +corrected 2 times; 1 mended by a person$", ran.output, re.MULTILINE)
    assert shell.run("python program.py").output.strip() == "0 1 3"


@pytest.mark.slow
def test_what_is_wrong_is_told(shell: Shell) -> None:
    """A folder, a model and a schema that are none end the run with one line, exit code 1."""
    shell.run("EVERSTEP_EXTRACTION_MODELS=invoices python worker.py &")  # all flows, this one among them
    shell.run("echo '{' > broken.json")
    good = {"folder": "inbox", "model": "invoices:Invoice"}
    for wrong, said in (
        ({"folder": "nowhere"}, "nowhere: it is not a folder"),
        ({"model": "invoices:Invoic"}, "there is no Invoic in invoices; of models it has Item, Invoice"),
        ({"model": "os:Invoice"}, "Set EVERSTEP_EXTRACTION_MODELS=invoices,os where it runs"),
        ({"model": "broken.json"}, "broken.json is no JSON"),
        ({"corrections": "99"}, "less than or equal to 10"),
    ):
        fields = " ".join(f"{key}={value}" for key, value in (good | wrong).items())
        ran = shell.run(f"python starter.py run ExtractionFlow {fields} --follow -o table 2>&1")
        assert ran.code == 1
        assert said in ran.output
        assert "Traceback" not in ran.output


def test_the_table_names_all_fields() -> None:
    """Each field of the start event, with its default."""
    named = re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", PAGE.section("What may be asked for"), re.MULTILINE)
    fields = ExtractFolder.model_fields
    assert [name for name, _ in named] == list(fields)
    for name, default in named:
        value = fields[name].default
        if isinstance(value, str | int):
            assert default.strip(" `") == str(value)
