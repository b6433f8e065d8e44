"""kubectl, helm, hadolint and a compose parser on deploy/: the lane `make test-deploy`, which brings them.

The chart gives the same objects as the overlays, but for two things that each does in its own way: a changed setting
rolls the pods by a hash in the name of the ConfigMap (kustomize), or by an annotation with a checksum (Helm).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.manifests import DEPLOY, OVERLAYS, RENDERED, ROOT, Json, faults, secrets_of
from tests.support.pages import Page

pytestmark = pytest.mark.deploy

CHART = DEPLOY / "helm/everstep"
VALUES = {
    "dev": ["values.yaml"],
    "production": ["values-production.yaml"],
    "production-controller": ["values-production.yaml", "values-controller.yaml"],
}
TOOLS = ROOT / ".venv-deploy/bin"
(GPU,) = (block.text for block in Page("docs/deploy.md").blocks if block.language == "yaml")


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the lane's programs in the project's directory."""
    assert (TOOLS / name).exists(), f"{name} is not here: scripts/deploy-tools brings it"
    environment = {**os.environ, "HELM_CACHE_HOME": str(ROOT / ".venv-deploy/helm")}
    return subprocess.run([TOOLS / name, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def templated(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the chart gives for these arguments."""
    return tool("helm", "template", "everstep", str(CHART), "--namespace", "everstep", *arguments)


def objects(text: str) -> dict[tuple[str, str], Json]:
    """The objects of a text, each by kind and name, without what the two tools do in their own ways."""
    text = re.sub(r"everstep-settings-[a-z0-9]{10}\b", "everstep-settings", text)
    found: dict[tuple[str, str], Json] = {}
    for one in yaml.safe_load_all(text):
        if one:
            found[one["kind"], one["metadata"]["name"]] = one
            metadata = one.get("spec", {}).get("template", {}).get("metadata", {})
            metadata.get("annotations", {}).pop("checksum/settings", None)
            if metadata.get("annotations") == {}:
                del metadata["annotations"]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_gives_the_rendered_files(overlay: str) -> None:
    """The committed manifests are what kubectl makes of the overlays."""
    ran = tool("kubectl", "kustomize", f"deploy/kubernetes/overlays/{overlay}")
    assert ran.returncode == 0, ran.stderr
    assert (RENDERED / f"{overlay}.yaml").read_text().partition("\n")[2] == ran.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_helm_gives_the_same_objects(overlay: str) -> None:
    """Chart and overlays cannot drift apart."""
    ran = templated(*(argument for file in VALUES[overlay] for argument in ("--values", str(CHART / file))))
    assert ran.returncode == 0, ran.stderr
    ours, theirs = objects(ran.stdout), objects((RENDERED / f"{overlay}.yaml").read_text())
    assert ours.keys() == theirs.keys()
    for name, one in theirs.items():
        assert ours[name] == one, name


@pytest.mark.parametrize("overlay", ["production", "production-controller"])
def test_api_keys_instead_of_certificates(overlay: str, tmp_path: Path) -> None:
    """As the overlays' comments say, and by values: the same objects, none of which asks for the certificate."""
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    shutil.copytree(CHART / "rules", tmp_path / "helm/everstep/rules")
    for file in (tmp_path / "kubernetes/overlays").rglob("kustomization.yaml"):
        file.write_text(file.read_text().replace("components/mtls", "components/api-key"))
    made = tool("kubectl", "kustomize", str(tmp_path / "kubernetes/overlays" / overlay))
    assert made.returncode == 0, made.stderr
    files = (f"--values={CHART / file}" for file in VALUES[overlay])
    ran = templated(*files, "--set", "temporal.tlsSecret=,temporal.apiKey=true")
    assert ran.returncode == 0, ran.stderr
    ours, theirs = objects(ran.stdout), objects(made.stdout)
    assert ours.keys() == theirs.keys()
    for name, one in theirs.items():
        assert ours[name] == one, name
        assert faults(one) == [], name
    assert secrets_of(list(theirs.values())) == {"everstep-keys", "everstep-encryption-keys"}
    assert theirs["TriggerAuthentication", "everstep-temporal"]["spec"]["secretTargetRef"][0]["parameter"] == "apiKey"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_helm_finds_nothing_to_say(overlay: str) -> None:
    """`helm lint --strict` of each set of values."""
    ran = tool("helm", "lint", "--strict", str(CHART), *(f"--values={CHART / file}" for file in VALUES[overlay]))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temporal": {"address": "temporal"}}, "temporal.address|temporal/address"),
        ({"temporal": {"tlsSecret": "tls", "apiKey": True}}, "temporal"),
        ({"workers": {"general": {"taskqueue": "typo"}}}, "taskqueue"),
        ({"codecServer": {"enabled": True}}, "codecServer needs encryptionSecret"),
        ({"image": {"digest": "sha256:typo"}}, "image.digest|image/digest"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    """A port forgotten, two ways to log in, a name mistyped, a codec server without keys: refused, by name."""
    (tmp_path / "values.yaml").write_text(json.dumps(settings))
    ran = templated("--values", str(tmp_path / "values.yaml"))
    assert ran.returncode != 0
    assert re.search(said, ran.stderr)


def test_an_api_key_and_a_second_release(tmp_path: Path) -> None:
    """Temporal Cloud by API key; another release's objects have names and selectors, and alerts, of their own."""
    settings = "temporal.apiKey=true,scaling.enabled=true,monitoring.enabled=true,monitoring.labels.release=stack"
    ran = tool("helm", "template", "billing", str(CHART), "--set", settings)
    assert ran.returncode == 0, ran.stderr
    found = objects(ran.stdout)
    deployment = found["Deployment", "billing-everstep-worker-general"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "TEMPORAL_API_KEY" in {one["name"] for one in container["env"]}
    assert deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "billing"
    (parameter,) = found["TriggerAuthentication", "billing-everstep-temporal"]["spec"]["secretTargetRef"]
    assert parameter["parameter"] == "apiKey"
    rules = found["PrometheusRule", "billing-everstep"]
    asked = re.findall(r"[a-z-]*everstep-(?:metrics|worker-)", json.dumps(rules))
    assert set(asked) == {"billing-everstep-metrics", "billing-everstep-worker-"}
    labels = {"app.kubernetes.io/name": "everstep", "app.kubernetes.io/instance": "billing", "release": "stack"}
    assert rules["metadata"]["labels"] == labels
    assert found["ServiceMonitor", "billing-everstep-worker"]["metadata"]["labels"] == labels


@pytest.mark.parametrize("controller", [False, True])
def test_words_that_look_like_numbers_stay_words(controller: bool, tmp_path: Path) -> None:
    """Queues, namespaces, Secrets and workers may be named 123 or true: the API server takes strings only."""
    values = {
        "temporal": {"namespace": "123", "tlsSecret": "456"},
        "keysSecret": "789",
        "encryptionSecret": "012",
        "workers": {"1": {"taskQueue": "true", "flows": "1.5", "dataClaim": "2"}},
        "scaling": {"enabled": True},
        "codecServer": {"enabled": True},
        "controller": {"enabled": controller},
    }
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    ran = tool("helm", "template", "5", str(CHART), "--namespace", "everstep", f"--values={tmp_path / 'values.yaml'}")
    assert ran.returncode == 0, ran.stderr
    found = objects(ran.stdout)
    assert [fault for one in found.values() for fault in faults(one)] == []
    pods = [one["spec"]["template"] for (kind, _), one in found.items() if kind in ("Deployment", "WorkerDeployment")]
    assert [fault for pod in pods for fault in faults({"apiVersion": "v1", "kind": "Pod", **pod})] == []
    assert secrets_of(list(found.values())) == {"456", "789", "012"}


@pytest.mark.parametrize("controller", [False, True])
def test_one_step_at_a_time_is_scaled(controller: bool, tmp_path: Path) -> None:
    """The page's workers with GPUs: seven tenths of a slot are above zero, the bounds are theirs; TLS has its name."""
    values = {
        **yaml.safe_load(GPU),
        "settings": {"TEMPORAL_TLS_SERVER_NAME": "temporal.example.com"},
        "temporal": {"tlsSecret": "tls"},
        "scaling": {"enabled": True},
        "controller": {"enabled": controller},
    }
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    ran = templated("--values", str(tmp_path / "values.yaml"))
    assert ran.returncode == 0, ran.stderr
    found = objects(ran.stdout)
    assert [fault for one in found.values() for fault in faults(one)] == []
    if controller:
        assert found["Connection", "everstep"]["spec"]["tls"] == {"serverName": "temporal.example.com"}
        scaled = found["WorkerResourceTemplate", "everstep-worker-gpu-scaling"]["spec"]["template"]["spec"]
    else:
        scaled = found["ScaledObject", "everstep-worker-gpu"]["spec"]
    backlog, busy = scaled["triggers"]
    assert busy["metadata"]["threshold"] == "0.7"
    assert backlog["metadata"]["tlsServerName"] == "temporal.example.com"
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"], scaled["fallback"]["replicas"]) == (1, 4, 1)


def test_what_clusters_differ_in_can_be_said(tmp_path: Path) -> None:
    """A claim for data, more ways out, a role of the cloud, a node for GPUs, a digest; null takes `general` away."""
    gpu = {
        "taskQueue": "gpu",
        "dataClaim": "papers",
        "nodeSelector": {"gpu": "yes"},
        "env": [{"name": "A", "value": "1"}],
    }
    rule, digest = {"ports": [{"port": 8000}]}, f"sha256:{'a' * 64}"
    values = {
        "workers": {"general": None, "gpu": gpu},
        "networkPolicy": {"egress": [rule]},
        "codecServer": {"enabled": True, "egress": [rule]},
        "encryptionSecret": "keys",
        "image": {"repository": "registry.example.com/everstep", "digest": digest},
        "serviceAccount": {"annotations": {"example.com/role": "storage"}},
    }
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    ran = templated("--values", str(tmp_path / "values.yaml"))
    assert ran.returncode == 0, ran.stderr
    found = objects(ran.stdout)
    assert {name for kind, name in found if kind == "Deployment"} == {"everstep-worker-gpu", "everstep-codec"}
    pod = found["Deployment", "everstep-worker-gpu"]["spec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "papers"}} in pod["volumes"]
    assert pod["nodeSelector"] == {"gpu": "yes"}
    assert pod["containers"][0]["image"] == f"registry.example.com/everstep@{digest}"
    assert pod["containers"][0]["env"][-1] == {"name": "A", "value": "1"}
    assert found["NetworkPolicy", "everstep-worker"]["spec"]["egress"][-1] == rule
    assert found["NetworkPolicy", "everstep-codec"]["spec"]["egress"][-1] == rule
    assert found["ServiceAccount", "everstep"]["metadata"]["annotations"] == {"example.com/role": "storage"}


def test_compose_is_accepted_by_an_implementation_of_its_specification() -> None:
    """With the defaults of its variables; it knows every key, and finds every volume and config that is named."""
    script = "import sys; from compose_spec import PyCompose; PyCompose.from_yaml(sys.stdin.read()).validate()"
    (packages,) = (ROOT / ".venv-deploy").glob("lib/python3*/site-packages")
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text())
    environment = {**os.environ, "PYTHONPATH": str(packages)}  # what it needs itself is in this environment
    call = [sys.executable, "-c", script]
    ran = subprocess.run(call, input=text, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_hadolint_finds_nothing_to_say() -> None:
    """On the Dockerfile, with every rule on."""
    ran = tool("hadolint", "--failure-threshold", "style", "deploy/Dockerfile")
    assert ran.returncode == 0, ran.stdout + ran.stderr
