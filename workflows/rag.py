"""`RagFlow` answers a question from documents in several ways, lets a person approve the best, and publishes it.

    rewrite → embed → search (→ rerank) → answer → evaluate (ways side by side) → compare → select → a person → publish

Every model call and every search is a step of its own: each is seen in the history, and retried alone. Events carry
short passages and scores; whole documents stay where they are.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import Field

from activities.answers import Answer, Source, answer_from, source_of, with_sources
from activities.documents import DocumentType
from activities.evaluations import Disagreement, QuestionPart, Statement
from activities.knowledge import Knowledge, Reranking
from activities.outbox import Outbox, Publication
from activities.packed import pack
from activities.retries import RETRIES
from activities.scores import Score, differences, score_of, scores_among
from activities.searching import places_of, searched
from activities.spending import Usage, spending, spent
from activities.vectors import Passage
from activities.vectors_layout import Where
from everstep import Context, Workflow, step
from everstep.events import Event, HumanResponseEvent, InputExpiredEvent, InputRequiredEvent, StartEvent, StopEvent

MODEL_SECONDS = 150.0
"""One attempt of a model call; the client gives up by itself before that."""

Strategy = Literal["dense", "sparse", "fused", "reranked"]
STRATEGIES: tuple[Strategy, ...] = ("reranked", "fused", "dense", "sparse")
"""By both and put into a better order, by both, by meaning, by words. Of equal answers, the first here is taken."""

RerankOption = Literal["off", "late", "chat"]

CANDIDATES = 30
"""How many passages a reranker is given to choose from."""


class RagProgress(Event):
    """What a run is doing, for whoever follows it. `strategy` is the kind of search, where there is one."""

    stage: str
    text: str
    strategy: Strategy | None = None


class Ask(StartEvent):
    """Answer a question from an index, and publish the answer once a person has approved it.

    Attributes:
        question: in plain words.
        index: the name of the index; see `IndexFolder`.
        passages: how many passages an answer is made from, 1 to 20.
        folders: search below these folders only, or in these files, named as in the index: `docs`, `docs/guide.md`.
        types: search in documents of these types only.
        rerank: adds a strategy that has what a search found put into a better order: `late` by the packaged embedding
            model, `chat` by the chat model; `off` adds none. Default: the flow's.
        due: seconds until which a person may approve; None: for ever.
        assignee: the person or role that is asked to approve.
    """

    from_outside = False

    question: str
    index: str = "default"
    passages: int = 5
    folders: list[str] = Field(default_factory=list[str])
    types: list[DocumentType] = Field(default_factory=list[DocumentType])
    rerank: RerankOption | None = None
    due: float | None = None
    assignee: str | None = None


class Rewritten(Event):
    """The question and other ways to search for its answer, the question first."""

    from_outside = False

    queries: list[str]


class Search(Event):
    """Search by one strategy; `vectors` are those of the queries, packed, where it needs them."""

    from_outside = False

    strategy: Strategy
    queries: list[str]
    vectors: list[str] = Field(default_factory=list[str])


class Candidates(Event):
    """What a search found for a reranker to choose from."""

    from_outside = False

    passages: list[Passage]


class Retrieved(Event):
    """What one strategy found, best first."""

    from_outside = False

    strategy: Strategy
    passages: list[Passage]


class Drafted(Event):
    """One strategy's answer, with what it was made from."""

    from_outside = False

    strategy: Strategy
    answer: Answer
    passages: list[Passage]


class Evaluated(Event):
    """One strategy's answer, judged: its statements with what bears them out, and the parts of the question.

    `answer` has its citations resolved to `sources`; `passages` are all those that it was made from, best first.
    """

    from_outside = False

    strategy: Strategy
    score: Score
    answer: str
    sources: list[Source]
    statements: list[Statement] = Field(default_factory=list[Statement])
    parts: list[QuestionPart] = Field(default_factory=list[QuestionPart])
    passages: list[Source] = Field(default_factory=list[Source])
    judge: str = ""


class Compared(Event):
    """The best answer, the scores of all, best first, and where the answers differ."""

    from_outside = False

    best: Evaluated
    scores: list[Score]
    disagreements: list[Disagreement]


class ApprovalGiven(HumanResponseEvent):
    """The person's word on a draft. `answer`, when given, is published instead of it; `comment` says why."""

    approved: bool
    answer: str | None = None
    comment: str = ""


class ApprovalRequested(InputRequiredEvent):
    """Asks a person whether this answer may be published. `model` says what wrote it, `judge` what judged it.

    `statements` are those of the answer, each with the source that bears it out, or with what is wrong; `disagreements`
    are those of all answers.
    """

    response_event = ApprovalGiven

    question: str
    answer: str
    sources: list[Source]
    scores: list[Score]
    strategy: Strategy
    model: str
    statements: list[Statement] = Field(default_factory=list[Statement])
    disagreements: list[Disagreement] = Field(default_factory=list[Disagreement])
    judge: str = ""


Status = Literal["published", "rejected", "expired", "unanswered"]


class RagResult(StopEvent):
    """How a question ended.

    `status` is published, rejected by the person, expired (nobody approved in time), or unanswered (the documents do
    not hold the answer); `reason` says more. `published_to` is the file of a published answer. `statements`, `parts`
    and `disagreements` say how the answer was judged, by `judge`. `usage` is the tokens of all its calls of models.
    """

    from_outside = False

    status: Status
    question: str
    answer: str = ""
    sources: list[Source] = Field(default_factory=list[Source])
    scores: list[Score] = Field(default_factory=list[Score])
    statements: list[Statement] = Field(default_factory=list[Statement])
    parts: list[QuestionPart] = Field(default_factory=list[QuestionPart])
    disagreements: list[Disagreement] = Field(default_factory=list[Disagreement])
    strategy: Strategy | None = None
    reason: str = ""
    published_to: str = ""
    model: str = ""
    judge: str = ""
    usage: Usage = Usage()


class RagFlow(Workflow):
    """Answers a question from an index in several ways, lets a person approve the best, and publishes it once.

    Args:
        knowledge: embedder, answerer, rerankers and indexes; by default those that the environment names.
        outbox: where answers are published.
        rerank: the reranker for questions that name none. Default: none.
        options: of `Workflow`.

    Example:
        handler = RagFlow(rerank="late").run(question="How long may a refund wait?", folders=["docs"], due=3600)
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        outbox: Outbox | None = None,
        *,
        rerank: Reranking | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.knowledge = knowledge or Knowledge()
        self.outbox = outbox or Outbox()
        self._rerank: Reranking | None = rerank

    @step(retry_policy=RETRIES, timeout=MODEL_SECONDS)
    async def rewrite(self, ctx: Context, ev: Ask) -> Rewritten | RagResult:
        """Find other ways to search for the answer."""
        await self.knowledge.load()
        answerer = self.knowledge.answerer
        await ctx.store.set("ask", ev)
        await ctx.store.set("model", answerer.describe())
        ctx.write_event_to_stream(RagProgress(stage="rewrite", text=answerer.describe()))
        if not ev.question.strip():
            return await _unanswered(ctx, "The question is empty: ask something.")
        async with spending(ctx, "rewrite"):
            queries = await answerer.rewrite(ev.question)
        ctx.write_event_to_stream(RagProgress(stage="rewrite", text=" | ".join(queries)))
        return Rewritten(queries=queries)

    @step(retry_policy=RETRIES, timeout=MODEL_SECONDS)
    async def embed(self, ctx: Context, ev: Rewritten) -> list[Search] | RagResult:
        """Turn the queries into vectors, and search in several ways side by side."""
        index: str = await ctx.store.get("ask.index")
        await self.knowledge.load(index)
        if await self.knowledge.index(index).count() == 0:
            return await _unanswered(ctx, f"The index {index!r} is empty: run IndexFlow with index={index!r} first.")
        vectors = [pack(vector) for vector in await self.knowledge.embedder.embed(ev.queries)]
        reranking = await self._reranking(ctx)
        if reranking:
            self.knowledge.reranker(reranking)  # one that cannot be had fails the run here, before it costs anything
        return [
            Search(strategy=strategy, queries=ev.queries, vectors=[] if strategy == "sparse" else vectors)
            for strategy in STRATEGIES
            if strategy != "reranked" or reranking
        ]

    @step(retry_policy=RETRIES, timeout=60)
    async def search(self, ctx: Context, ev: Search) -> Retrieved | Candidates:
        """Find passages by one strategy, for all the queries."""
        ask: dict[str, Any] = await ctx.store.get("ask")
        where = Where.of(ask)
        limit = CANDIDATES if ev.strategy == "reranked" else _passages(ask)
        await self.knowledge.load(ask["index"])
        store = self.knowledge.index(ask["index"])
        found = await searched(store, ev.strategy, ev.queries, ev.vectors, limit, where)
        ctx.write_event_to_stream(RagProgress(stage="search", strategy=ev.strategy, text=places_of(found)))
        if ev.strategy == "reranked":
            return Candidates(passages=found)
        return Retrieved(strategy=ev.strategy, passages=found)

    @step(retry_policy=RETRIES, timeout=MODEL_SECONDS)
    async def rerank(self, ctx: Context, ev: Candidates) -> Retrieved:
        """Put what was found into a better order, and keep the best."""
        kind = await self._reranking(ctx)
        ask: dict[str, Any] = await ctx.store.get("ask")
        best = ev.passages[: _passages(ask)]
        if kind and ev.passages:
            async with spending(ctx, "rerank"):
                best = await self.knowledge.reranker(kind).rerank(ask["question"], ev.passages, _passages(ask))
        ctx.write_event_to_stream(RagProgress(stage="rerank", strategy="reranked", text=places_of(best)))
        return Retrieved(strategy="reranked", passages=best)

    async def _reranking(self, ctx: Context) -> Reranking | None:
        """Which reranker the run was asked to use."""
        wanted: RerankOption | None = await ctx.store.get("ask.rerank", default=None)
        if wanted is None:
            return self._rerank
        return None if wanted == "off" else wanted

    @step(retry_policy=RETRIES, timeout=MODEL_SECONDS)
    async def answer(self, ctx: Context, ev: Retrieved) -> Drafted:
        """Answer from the passages of one strategy."""
        await self.knowledge.load()
        question: str = await ctx.store.get("ask.question")
        async with spending(ctx, f"answer-{ev.strategy}"):
            answer, passages = await answer_from(self.knowledge.answerer, question, ev.passages)
        text = answer.text.replace("\n", " ")
        ctx.write_event_to_stream(RagProgress(stage="answer", strategy=ev.strategy, text=text[:200]))
        return Drafted(strategy=ev.strategy, answer=answer, passages=list(passages))

    @step(retry_policy=RETRIES, timeout=MODEL_SECONDS)
    async def evaluate(self, ctx: Context, ev: Drafted) -> Evaluated:
        """Judge one answer: is each statement borne out by its sources? Is every part of the question answered?"""
        await self.knowledge.load()
        question: str = await ctx.store.get("ask.question")
        async with spending(ctx, f"evaluate-{ev.strategy}"):
            verdict = await self.knowledge.judge.evaluate(question, ev.answer, ev.passages)
        answer, sources = with_sources(ev.answer, ev.passages)
        evaluated = Evaluated(
            strategy=ev.strategy,
            score=score_of(ev.strategy, verdict, found=ev.answer.found),
            answer=answer,
            sources=sources,
            statements=verdict.statements,
            parts=verdict.parts,
            passages=[source_of(at, one).model_copy(update={"text": ""}) for at, one in enumerate(ev.passages, 1)],
            judge=verdict.judge,
        )
        ctx.write_event_to_stream(RagProgress(stage="evaluate", strategy=ev.strategy, text=str(evaluated.score)))
        ctx.write_event_to_stream(evaluated)
        return evaluated

    @step(retry_policy=RETRIES, timeout=MODEL_SECONDS)
    async def compare(self, ctx: Context, evs: list[Evaluated]) -> Compared:
        """Find where the answers contradict each other, and what only one of them says; rank them."""
        await self.knowledge.load()
        question: str = await ctx.store.get("ask.question")
        told = {ev.strategy: [one.text for one in ev.statements] for ev in evs if ev.statements}
        async with spending(ctx, "compare"):
            found = await self.knowledge.judge.compare(question, told)
        ctx.write_event_to_stream(RagProgress(stage="compare", text=differences(found)))
        scores = scores_among([ev.score for ev in evs], {ev.strategy: ev.statements for ev in evs}, found)
        ranked = [ev.model_copy(update={"score": score}) for ev, score in zip(evs, scores, strict=True)]
        ranked.sort(key=lambda ev: (not ev.score.found, -ev.score.score, STRATEGIES.index(ev.strategy)))
        return Compared(best=ranked[0], scores=[ev.score for ev in ranked], disagreements=found)

    @step
    async def select(self, ctx: Context, ev: Compared) -> ApprovalRequested | RagResult:
        """Take the best answer, and ask a person whether it may be published."""
        best, scores = ev.best, ev.scores
        ask: dict[str, Any] = await ctx.store.get("ask")
        judged = {"disagreements": ev.disagreements, "judge": best.judge}
        await ctx.store.set("judged", {"scores": scores, **judged})
        if not best.score.found or best.score.score == 0:
            if not best.passages and Where.of(ask):
                return await _unanswered(ctx, f"The index {ask['index']!r} has nothing in {Where.of(ask)}: look wider.")
            return await _unanswered(ctx, f"The documents do not hold the answer. {best.score.remarks}".strip())
        draft: dict[str, Any] = {"answer": best.answer, "sources": best.sources, "strategy": best.strategy}
        draft["statements"] = best.statements
        await ctx.store.set("draft", {**draft, "parts": best.parts})
        return ApprovalRequested(
            question=ask["question"],
            scores=scores,
            model=await ctx.store.get("model"),
            due=ask["due"],
            assignee=ask["assignee"],
            **draft,
            **judged,
        )

    @step(retry_policy=RETRIES, timeout=60)
    async def publish(self, ctx: Context, ev: ApprovalGiven) -> RagResult:
        """Publish what was approved, exactly once: an attempt that is repeated finds the first one's file."""
        if not ev.approved:
            return await _ended(ctx, "rejected", ev.comment or "The person who was asked said no, without a reason.")
        result = await _ended(ctx, "published", ev.comment)
        if ev.answer is not None and ev.answer.strip():
            result.answer = ev.answer.strip()
        publication = Publication(
            question=result.question,
            answer=result.answer,
            sources=result.sources,
            model=result.model,
            comment=ev.comment,
        )
        path = await asyncio.to_thread(self.outbox.publish, ctx.idempotency_key, publication)
        result.published_to = str(path)
        return result

    @step
    async def expire(self, ctx: Context, ev: InputExpiredEvent) -> RagResult:
        """Nobody approved in time: nothing is published."""
        return await _ended(ctx, "expired", f"Nobody approved the answer by {ev.due:%Y-%m-%d %H:%M:%S %Z}.")


def _passages(ask: dict[str, Any]) -> int:
    """How many passages an answer is made from."""
    return min(max(int(ask["passages"]), 1), 20)


async def _unanswered(ctx: Context, reason: str) -> RagResult:
    return await _ended(ctx, "unanswered", reason)


async def _ended(ctx: Context, status: Status, reason: str) -> RagResult:
    """The result so far, from the run's state."""
    draft: dict[str, Any] = await ctx.store.get("draft", default={})
    return RagResult(
        status=status,
        reason=reason,
        question=await ctx.store.get("ask.question"),
        model=await ctx.store.get("model"),
        usage=await spent(ctx),
        **await ctx.store.get("judged", default={}),
        **draft,
    )
