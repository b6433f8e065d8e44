"""The small parts under the flows: the outbox, citations, merged ranks, packed vectors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from activities.answers import Answer, Source, with_sources
from activities.outbox import Outbox, Publication
from activities.packed import pack, unpack
from activities.places import place_of
from activities.rank_fusion import merged
from activities.vectors import Passage


def passage(name: str, score: float = 1.0) -> Passage:
    """A passage that was found."""
    return Passage(
        chunk_id=name, source=f"{name}.md", text=name, heading=["Top", name], start_line=3, end_line=4, score=score
    )


def test_a_key_publishes_once_whoever_asks(tmp_path: Path) -> None:
    """Twenty threads with one key leave one file, with the text of one of them, whole."""
    outbox = Outbox(tmp_path / "outbox")
    drafts = [Publication(question="Why?", answer=f"Because {number}.") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        paths = set(pool.map(lambda draft: outbox.publish("run/publish/7", draft), drafts))
    assert [*outbox.folder.iterdir()] == [*paths]
    assert len(paths) == 1
    assert paths.pop().read_text() in {draft.markdown() for draft in drafts}


def test_keys_that_look_alike_are_kept_apart(tmp_path: Path) -> None:
    """Names are made readable, and stay different for different keys."""
    outbox = Outbox(tmp_path)
    draft = Publication(question="Why?", answer="So.")
    assert outbox.publish("a/b", draft) != outbox.publish("a-b", draft)
    assert outbox.publish("../../escape", draft).parent == tmp_path.resolve()


def test_a_publication_reads_as_a_document() -> None:
    """Question, answer, sources and who wrote it."""
    source = Source(number=1, place="a.md:3", heading="Top")
    text = Publication(question="Why?", answer="So [1].", sources=[source], model="m", comment="fine").markdown()
    assert text.splitlines()[::2] == ["# Why?", "So [1].", "## Sources", "1. a.md:3 – Top", "Written by: m"]


@pytest.mark.parametrize(
    ("lines", "page", "place"),
    [((120, 134), None, "docs/a.md:120-134"), ((7, 7), None, "docs/a.md:7"), ((7, 9), 3, "docs/a.md#page=3")],
)
def test_places_can_be_opened(lines: tuple[int, int], page: int | None, place: str) -> None:
    """A place reads as editors and browsers understand it."""
    assert place_of("docs/a.md", *lines, page) == place


def test_citations_are_numbered_in_order_of_appearance() -> None:
    """Numbers of passages become numbers of sources; one that names no passage is dropped."""
    answer = Answer(text="Yes [3]. Always [1], says [3]. Never [9].")
    text, sources = with_sources(answer, [passage("a"), passage("b"), passage("c")])
    assert text == "Yes [1]. Always [2], says [1]. Never."
    assert (sources[0].path, sources[0].start_line, sources[0].end_line, sources[0].text) == ("c.md", 3, 4, "c")
    assert [(source.number, source.place) for source in sources] == [(1, "c.md:3-4"), (2, "a.md:3-4")]


def test_citations_may_stand_together() -> None:
    """Chat models write them so; an index in code is none of them."""
    answer = Answer(text="It waits [2, 3]. See `evs[1]` [3,9].")
    text, sources = with_sources(answer, [passage("a"), passage("b"), passage("c")])
    assert text == "It waits [1][2]. See `evs[1]` [2]."
    assert [source.path for source in sources] == ["b.md", "c.md"]


def test_passages_found_by_several_queries_come_first() -> None:
    """Ranks add up, and the question's own search counts twice."""
    a, b, c = passage("a"), passage("b"), passage("c")
    assert [p.chunk_id for p in merged([[a, b], [c, b], [b]], 2)] == ["b", "a"]
    assert merged([[a, b]], 1) == [a]


def test_vectors_survive_packing() -> None:
    """What was packed comes back, to the precision of 32 bits."""
    vector = [0.1, -0.25, 1e-9, 1.0]
    assert unpack(pack(vector)) == pytest.approx(vector, rel=1e-6)
