"""docs/deploy.md is true to deploy/: what it names is there, and what is there for people to know is named."""

from __future__ import annotations

import re

from tests.support.manifests import ROOT, of_kind, pod_templates, settings_of

PAGE = (ROOT / "docs/deploy.md").read_text()
CHART = (ROOT / "deploy/helm/everstep/values.yaml").read_text()


def test_its_paths_lead_somewhere() -> None:
    """Files and folders of `deploy/` that it names."""
    first_table = PAGE.split("| in `deploy/` |")[1].split("\n\n")[0]
    paths = {f"deploy/{path}" for path in re.findall(r"^\| `([\w./-]+)`", first_table, re.MULTILINE)}
    paths |= set(re.findall(r"(?<!/)\bdeploy/[\w./-]+\w", re.sub(r"<!--.*?-->", "", PAGE)))
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_it_lists_every_alert_with_its_metric() -> None:
    """Each alert once, beside a metric of its expression."""
    told = dict(re.findall(r"^\| (`Everstep.*?) \| (.*?) \|", PAGE, re.MULTILINE))
    named = {name: metrics for names, metrics in told.items() for name in re.findall(r"`(\w+)`", names)}
    rules = [rule for one in of_kind("production", "PrometheusRule") for rule in one["spec"]["groups"][0]["rules"]]
    assert named.keys() == {rule["alert"] for rule in rules}
    for rule in rules:
        metrics = re.findall(r"`(\w+)`", named[rule["alert"]])
        assert not metrics or any(metric in rule["expr"] for metric in metrics), rule["alert"]


def test_it_lists_the_secrets_that_production_expects() -> None:
    """Each Secret and each key that a pod of production refers to."""
    for _, template in pod_templates("production"):
        (container,) = template["spec"]["containers"]
        wanted = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if "secretKeyRef" in str(one)]
        assert all(f"`{ref['name']}`" in PAGE and f"`{ref['key']}`" in PAGE for ref in wanted)
        secrets = [volume["secret"]["secretName"] for volume in template["spec"]["volumes"] if "secret" in volume]
        assert all(f"`{name}`" in PAGE for name in secrets)
        files = [
            path for path in settings_of("production", template).values() if path and path.startswith("/run/secrets")
        ]
        assert all(f"`{path.rpartition('/')[2]}`" in PAGE for path in files)


def test_its_values_of_the_chart_exist() -> None:
    """The names of values that it speaks of."""
    for name in re.findall(r"`(?:\w+\.)*(\w+)=\w+`", PAGE):
        if name[0].islower():
            assert re.search(rf"^\s*{name}:", CHART, re.MULTILINE), name
