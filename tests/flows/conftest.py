"""A handbook to ask, a model server that plays its part, and knowledge that uses both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from activities.answering import ChatAnswerer
from activities.chat_judge import ChatJudge
from activities.embeddings import OpenAIEmbedder
from activities.judging import EvidenceJudge
from activities.knowledge import Knowledge
from activities.llm import OpenAIChat
from activities.outbox import Outbox
from activities.vectors import VectorStore
from activities.vectors_edge import EdgeEngine
from tests.support.fake_openai import FakeOpenAI
from tests.support.rag_model import play

HANDBOOK = {
    "refunds.md": "# Refunds\n\nSmall refunds are paid at once.\n\n## Approval\n\n"
    "A refund over 100 euros waits up to three days for a person. After that it expires.\n",
    "deliveries/parcels.txt": "Parcels leave the warehouse at noon. Drivers wear blue jackets.\n",
    "kitchen.html": "<html><body><h1>Kitchen</h1><p>The coffee machine is cleaned on Fridays.</p></body></html>",
}


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    """A folder with three documents."""
    folder = tmp_path / "handbook"
    for name, text in HANDBOOK.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def model() -> Iterator[FakeOpenAI]:
    """A chat and embedding server that answers like a sensible model, unless a test scripts it."""
    # Steps on Temporal run on a loop of the worker's own, which ends with the worker and closes nothing.
    with FakeOpenAI(play, keep_alive=False) as server:
        yield server


@pytest.fixture
async def knowledge(model: FakeOpenAI, tmp_path: Path) -> AsyncIterator[Knowledge]:
    """What the flows work with: the model server and an index in a folder of the test's own."""
    embedder = OpenAIEmbedder("fake-embed", dimension=64, api_key="k", base_url=model.base_url)
    chat = OpenAIChat("fake-chat", api_key="k", base_url=model.base_url, timeout=5, silence=2)
    known = Knowledge(
        embedder=embedder,
        answerer=ChatAnswerer(chat),
        judge=ChatJudge(chat, EvidenceJudge(embedder)),
        stores=lambda space: VectorStore(EdgeEngine(tmp_path / "vectors" / space.replace(" ", "-"))),
    )
    yield known
    await known.close()
    await chat.aclose()
    await embedder.aclose()


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Where answers are published."""
    return Outbox(tmp_path / "outbox")
