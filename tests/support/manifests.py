"""The rendered manifests of deploy/kubernetes, and what tests ask of them and of other objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RENDERED = DEPLOY / "kubernetes/rendered"
OVERLAYS = ("dev", "production", "production-controller")

LATEST: str = kubernetes_validate.latest_version()

_CUSTOM = {"keda.sh": "keda", "temporal.io": "temporal", "monitoring.coreos.com": "monitoring"}

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


@cache
def _schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / f"tests/deploy/schemas/{name}.json").read_text()))


def faults(one: Json, version: str = LATEST) -> list[str]:
    """What Kubernetes' schemas of a version say against an object, or our own against a custom resource."""
    group = one["apiVersion"].partition("/")[0]
    if group in _CUSTOM:
        return [f"{error.json_path}: {error.message}" for error in _schema(_CUSTOM[group]).iter_errors(one)]
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error)]
    return []


def secrets_of(part: object) -> set[str]:
    """The names of the Secrets that an object, or a part of one, refers to."""
    if isinstance(part, list):
        return {name for one in cast("list[object]", part) for name in secrets_of(one)}
    found: set[str] = set()
    if isinstance(part, dict):
        for key, value in cast("Json", part).items():
            if key == "secretName":
                found.add(value)
            elif "secret" in key.lower() and key.endswith("Ref"):
                found |= {one["name"] for one in (value if isinstance(value, list) else [value])}
            else:
                found |= secrets_of(value)
    return found
