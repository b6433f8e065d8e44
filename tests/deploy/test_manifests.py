"""The rendered manifests: valid by Kubernetes' own schemas, restricted, and true to each other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.support.manifests import (
    LATEST,
    OVERLAYS,
    ROOT,
    Json,
    faults,
    manifests,
    of_kind,
    pod_templates,
    secrets_of,
    settings_of,
)

VERSIONS = {"production": ("1.31", LATEST)}


def test_they_are_those_of_the_overlays() -> None:
    """What is tested here was rendered from today's files: `make manifests` was not forgotten."""
    ran = subprocess.run([sys.executable, "scripts/render.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_object_is_valid(overlay: str) -> None:
    """By Kubernetes' strict schemas, of an old version too, and by our own for custom resources."""
    found = [
        f"{one['kind']} {one['metadata']['name']} ({version}): {fault}"
        for one in manifests(overlay)
        for version in VERSIONS.get(overlay, (LATEST,))
        for fault in faults(one, version)
    ]
    assert found == []


def test_what_templates_hold_is_valid_too() -> None:
    """The pods of a WorkerDeployment, and the resources that the controller makes for each version."""
    found: list[str] = []
    for one in of_kind("production-controller", "WorkerDeployment"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        spec = {"selector": {"matchLabels": labels}, "template": one["spec"]["template"]}
        made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "any"}, "spec": spec}
        found += faults(made)
    for one in of_kind("production-controller", "WorkerResourceTemplate"):
        made = json.loads(
            json.dumps(one["spec"]["template"]).replace('"scaleTargetRef": {}', '"scaleTargetRef": {"name": "any"}')
        )
        found += faults({**made, "metadata": {"name": "any"}})
    assert found == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted(overlay: str) -> None:
    """What the pod security standard "restricted" asks for, a read-only root, and no token for the API server."""
    for name, template in pod_templates(overlay):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys(), name
        assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "secret"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
    (account,) = of_kind(overlay, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_refers_to_something_finds_it(overlay: str) -> None:
    """ConfigMaps, service accounts, ports, volumes, selectors and scaled Deployments are there, by their names."""
    names = {(one["kind"], one["metadata"]["name"]) for one in manifests(overlay)}
    labels = [template["metadata"]["labels"] for _, template in pod_templates(overlay)]
    for name, template in pod_templates(overlay):
        pod = template["spec"]
        (container,) = pod["containers"]
        ports = {port["name"] for port in container["ports"]}
        assert ("ServiceAccount", pod["serviceAccountName"]) in names, name
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        for probe in (container[key] for key in container if key.endswith("Probe")):
            assert probe["httpGet"]["port"] in ports, name
        maps = [source["configMapRef"] for source in container.get("envFrom", [])]
        maps += [one["valueFrom"]["configMapKeyRef"] for one in container["env"] if "configMapKeyRef" in str(one)]
        assert all(("ConfigMap", one["name"]) in names for one in maps), name
    for one in of_kind(overlay, "Service"):
        assert any(one["spec"]["selector"].items() <= pod.items() for pod in labels)
    for one in of_kind(overlay, "NetworkPolicy"):
        assert any(one["spec"]["podSelector"]["matchLabels"].items() <= pod.items() for pod in labels)
    for one in of_kind(overlay, "ScaledObject"):
        assert ("Deployment", one["spec"]["scaleTargetRef"]["name"]) in names
    services = [one["metadata"]["labels"] for one in of_kind(overlay, "Service")]
    for one in of_kind(overlay, "ServiceMonitor"):
        assert any(one["spec"]["selector"]["matchLabels"].items() <= service.items() for service in services)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_those_that_the_docs_ask_for(overlay: str) -> None:
    """No more and no fewer than docs/deploy.md lists for production; to try it, only the keys, which are optional."""
    listed = set(re.findall(r"^\| `(everstep-[a-z-]+)` \|", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE))
    assert len(listed) == 3
    assert secrets_of(manifests(overlay)) == ({"everstep-keys"} if overlay == "dev" else listed)


def test_alerts_ask_about_what_is_there() -> None:
    """Where an alert names services, Deployments or pods, each pattern finds those of the overlay, and no others."""
    (rules,) = of_kind("production", "PrometheusRule")
    deployed = {one["metadata"]["name"] for one in of_kind("production", "Deployment")}
    names = {
        "service": {one["metadata"]["name"] for one in of_kind("production", "Service")} | {"billing-everstep-metrics"},
        "deployment": deployed | {"billing-everstep-worker-general"},
        "pod": {f"{name}-5d9c7b-x2x4z" for name in deployed} | {"billing-everstep-worker-general-5d9c7b-x2x4z"},
    }
    workers_of = {
        "service": {"everstep-metrics"},
        "deployment": {"everstep-worker-extraction", "everstep-worker-general"},
        "pod": {"everstep-worker-extraction-5d9c7b-x2x4z", "everstep-worker-general-5d9c7b-x2x4z"},
    }
    asked = re.findall(r'\b(service|deployment|pod)=~?"([^"]+)"', json.dumps(rules).replace('\\"', '"'))
    assert {label for label, _ in asked} == names.keys()
    for label, pattern in asked:
        assert {name for name in names[label] if re.fullmatch(pattern, name)} == workers_of[label], (label, pattern)


def workers(overlay: str) -> list[tuple[str, Json, dict[str, Any]]]:
    """The pods of workers: who makes them, the pod's spec, its settings."""
    return [
        (name, template["spec"], settings_of(overlay, template))
        for name, template in pod_templates(overlay)
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_are_set_up_as_they_need(overlay: str) -> None:
    """A queue each, time to drain, ports where probes and Prometheus look, files and folders where settings point."""
    queues = [settings["TEMPORAL_TASK_QUEUE"] for _, _, settings in workers(overlay)]
    assert len(set(queues)) == len(queues) > 0
    for name, pod, settings in workers(overlay):
        (container,) = pod["containers"]
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        assert pod["terminationGracePeriodSeconds"] >= float(settings["EVERSTEP_GRACEFUL_SHUTDOWN"]) + 15, name
        assert settings["EVERSTEP_HEALTH_ADDRESS"] == f"0.0.0.0:{ports['health']}"
        assert settings["OTEL_EXPORTER_PROMETHEUS_PORT"] == ports["metrics"]
        mounted = tuple(mount["mountPath"] for mount in container["volumeMounts"])
        paths = [value for value in settings.values() if value and value.startswith("/")]
        assert all(path.startswith(mounted) for path in paths), name


def test_busy_workers_are_not_scaled_away() -> None:
    """Never to zero, slowly, by busy slots beside the backlog of their queue, and not for want of an answer."""
    pods = {name: settings for name, _, settings in workers("production")}
    scaled = of_kind("production", "ScaledObject")
    assert {one["spec"]["scaleTargetRef"]["name"] for one in scaled} == pods.keys()
    for one in scaled:
        spec = one["spec"]
        settings = pods[spec["scaleTargetRef"]["name"]]
        backlog, busy = spec["triggers"]
        assert spec["minReplicaCount"] >= 1
        assert (
            spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
            >= 300
        )
        assert (backlog["type"], busy["type"]) == ("temporal", "prometheus")
        assert backlog["metadata"]["taskQueue"] == settings["TEMPORAL_TASK_QUEUE"]
        assert backlog["metadata"]["endpoint"] == settings["TEMPORAL_ADDRESS"]
        assert backlog["metadata"]["queueTypes"] == "workflow,activity"
        assert "temporal_worker_task_slots_used" in busy["metadata"]["query"]
        assert f'task_queue="{settings["TEMPORAL_TASK_QUEUE"]}"' in busy["metadata"]["query"]
        assert busy["metadata"]["ignoreNullValues"] == "false"
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        assert float(busy["metadata"]["threshold"]) == 0.7 * float(settings["EVERSTEP_MAX_CONCURRENT_STEPS"])


def test_versioned_workers_are_the_same_as_others() -> None:
    """The pods of the Worker Controller variant are those of production; only who makes them differs."""
    plain = {name: template["spec"] for name, template in pod_templates("production")}
    versioned = {name: template["spec"] for name, template in pod_templates("production-controller")}
    assert plain == versioned
    assert {one["kind"] for one in manifests("production-controller")} >= {"WorkerDeployment", "Connection"}
    for one in of_kind("production-controller", "Deployment"):
        assert one["metadata"]["labels"]["app.kubernetes.io/component"] != "worker"
