"""deploy/compose.yaml: valid, true to itself, and its worker as restricted as in Kubernetes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from everstep.temporal.serverprocess import TUNED, WAITING_ATTRIBUTE
from tests.support.manifests import DEPLOY

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SCHEMA = Path(__file__).parent / "schemas/compose.json"


def test_it_is_valid() -> None:
    """By a schema of what it uses of the Compose specification; it opens ports on this machine alone."""
    assert list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(COMPOSE)) == []


def test_what_it_refers_to_is_there() -> None:
    """Services, volumes and configs by their names; who waits for health waits for a service that tells it."""
    services, volumes = COMPOSE["services"], set(COMPOSE["volumes"])
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other], name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in volumes or source[0] in "./$", name
        assert {config["source"] for config in service.get("configs", [])} <= COMPOSE["configs"].keys()


def test_its_server_is_set_as_the_embedded_one() -> None:
    """The dynamic configuration and the search attribute of `everstep dev`."""
    dynamic = yaml.safe_load(COMPOSE["configs"]["dynamic-config"]["content"])
    assert {key: values[0]["value"] for key, values in dynamic.items()} == {
        key: json.loads(value) for key, value in TUNED.items()
    }
    assert f"--name {WAITING_ATTRIBUTE} --type Bool" in COMPOSE["services"]["temporal-namespace"]["command"][0]


def test_its_worker_is_restricted() -> None:
    """No capabilities, no new privileges, a read-only root file system, and time to end its steps."""
    worker = COMPOSE["services"]["worker"]
    assert worker["read_only"] is True
    assert worker["cap_drop"] == ["ALL"]
    assert worker["security_opt"] == ["no-new-privileges:true"]
    grace = float(worker["stop_grace_period"].removesuffix("s"))
    assert grace > float(worker["environment"]["EVERSTEP_GRACEFUL_SHUTDOWN"])
