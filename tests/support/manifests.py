"""The rendered manifests of deploy/kubernetes, and what tests ask of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RENDERED = DEPLOY / "kubernetes/rendered"
OVERLAYS = ("dev", "production", "production-controller")

Json = dict[str, Any]


@cache
def _loaded(overlay: str) -> list[Json]:
    return [one for one in yaml.safe_load_all((RENDERED / f"{overlay}.yaml").read_text()) if one]


def manifests(overlay: str) -> list[Json]:
    """The objects of an overlay."""
    return _loaded(overlay)


def of_kind(overlay: str, *kinds: str) -> list[Json]:
    """The objects of an overlay that are of one of these kinds."""
    return [one for one in manifests(overlay) if one["kind"] in kinds]


def pod_templates(overlay: str) -> Iterator[tuple[str, Json]]:
    """The pods that an overlay asks for, each with the name of what makes it."""
    for one in of_kind(overlay, "Deployment", "WorkerDeployment"):
        yield one["metadata"]["name"], one["spec"]["template"]


def settings_of(overlay: str, template: Json) -> dict[str, str | None]:
    """The environment of a pod's container; None for what comes from a Secret."""
    (container,) = template["spec"]["containers"]
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(overlay, "ConfigMap")}
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    return found | {one["name"]: one.get("value") for one in container.get("env", [])}
