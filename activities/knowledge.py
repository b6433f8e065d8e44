"""What question answering works with: an embedder, an answerer, a judge and indexes, each built on first use.

Rule: importing this module imports no model client, no engine and no model; only using it does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from activities.answers import Answerer
from activities.errors import ModelUnavailable
from activities.evaluations import Judge
from activities.vectors import VectorStore, vector_store_from_env

if TYPE_CHECKING:
    from activities.embeddings import Embedder
    from activities.reranking import Reranker

Stores = Callable[[str], VectorStore]

Reranking = Literal["late", "chat"]
"""Who puts passages into a better order: the packaged embedding model, or the chat model."""


class Knowledge:
    """The embedder, the answerer, the judge and the indexes of one worker; the environment decides what is not given.

    Args:
        embedder: Default: `activities.embeddings.embedder_from_env()`.
        answerer: Default: `activities.answering.answerer_from_env()`.
        judge: Default: `activities.chat_judge.judge_from_env()`.
        stores: Gives the store for an index's space. Default: `activities.vectors.vector_store_from_env`.
        rerankers: Gives a reranker by its kind. Default: `activities.reranking.reranker_from_env`.

    Example:
        found = await Knowledge().index("handbook").search_sparse("refund approval")
    """

    def __init__(
        self,
        *,
        embedder: Embedder | None = None,
        answerer: Answerer | None = None,
        judge: Judge | None = None,
        stores: Stores = vector_store_from_env,
        rerankers: Callable[[Reranking], Reranker] | None = None,
    ) -> None:
        self._embedder = embedder
        self._answerer = answerer
        self._judge = judge
        self._stores = stores
        self._rerankers = rerankers
        self._built: dict[Reranking, Reranker] = {}
        self._indexes: dict[str, VectorStore] = {}
        self._building = threading.RLock()

    async def load(self, index: str | None = None) -> None:
        """Builds the embedder in a thread, and an index's client; call it first in every step that uses them.

        The first use of either imports for seconds, and would hold the loop of all steps; so would waiting for a step
        that builds them just then.

        Args:
            index: the name of an index that the step uses too.
        """
        await asyncio.to_thread(lambda: self.embedder if index is None else self.index(index))

    @property
    def embedder(self) -> Embedder:
        """Turns texts into vectors."""
        with self._building:
            if self._embedder is None:
                self._embedder = _default_embedder()
            return self._embedder

    @property
    def answerer(self) -> Answerer:
        """Rewrites, answers."""
        with self._building:
            if self._answerer is None:
                self._answerer = _default_answerer(self.embedder)
            return self._answerer

    @property
    def judge(self) -> Judge:
        """Judges answers."""
        with self._building:
            if self._judge is None:
                self._judge = _default_judge(self.embedder)
            return self._judge

    def index(self, name: str) -> VectorStore:
        """The index of this name, for the vectors of this embedder; the same object each time."""
        with self._building:
            store = self._indexes.get(name)
            if store is None:
                store = self._indexes[name] = self._stores(f"{self.embedder.name} {name}")
            return store

    def reranker(self, kind: Reranking) -> Reranker:
        """Puts passages into a better order. Raises ModelAuthError where a chat model is asked for and none is set."""
        with self._building:
            if kind not in self._built:
                self._built[kind] = (self._rerankers or _default_reranker)(kind)
            return self._built[kind]

    async def close(self) -> None:
        """Releases the files and connections of the indexes; using them again opens them again."""
        with self._building:
            indexes, self._indexes = self._indexes, {}
        for store in indexes.values():
            await store.close()


def _default_embedder() -> Embedder:
    try:
        from activities.embeddings import embedder_from_env
        from activities.remembered import RememberingEmbedder
    except ImportError as error:
        raise ModelUnavailable(f"No embedder can be built ({error}). Install everstep[openai,embeddings].") from error
    return RememberingEmbedder(embedder_from_env())  # the strategies of a question look at the same sentences


def _default_reranker(kind: Reranking) -> Reranker:
    try:
        from activities.reranking import reranker_from_env
    except ImportError as error:
        raise ModelUnavailable(f"No reranker can be built ({error}). Install everstep[openai,embeddings].") from error
    return reranker_from_env(kind)


def _default_answerer(embedder: Embedder) -> Answerer:
    try:
        from activities.answering import answerer_from_env
    except ImportError as error:
        raise ModelUnavailable(f"No answerer can be built ({error}). Install everstep[openai].") from error
    return answerer_from_env(embedder)


def _default_judge(embedder: Embedder) -> Judge:
    try:
        from activities.chat_judge import judge_from_env
    except ImportError as error:
        raise ModelUnavailable(f"No judge can be built ({error}). Install everstep[openai].") from error
    return judge_from_env(embedder)
