"""The Kubernetes manifests: complete, unprivileged, bounded, and they drain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from glyph_worker.setting_sections import EngineSettings, QueueSettings
from glyph_worker.settings import Settings

FOLDER = Path(__file__).parents[2] / "ops/kubernetes"
NAMES = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]


def objects(kind: str) -> Iterator[dict[str, Any]]:
    for name in NAMES:
        for found in yaml.safe_load_all((FOLDER / name).read_text()):
            if found["kind"] == kind:
                yield found


WORKLOADS = [*objects("Deployment"), *objects("StatefulSet")]


def test_every_manifest_is_listed() -> None:
    assert set(NAMES) == {p.name for p in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w["metadata"]["name"])
def test_every_pod_is_unprivileged_probed_and_bounded(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    assert "livenessProbe" in container
    assert {mount["name"] for mount in container.get("volumeMounts", [])} <= {
        volume["name"] for volume in pod.get("volumes", [])
    } | {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}


@pytest.mark.parametrize("name", ["render", "answer"])
def test_a_worker_has_time_to_drain(name: str) -> None:
    (workload,) = [w for w in WORKLOADS if w["metadata"]["name"] == name]
    pod = workload["spec"]["template"]["spec"]
    env = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    drain_s = float(env["GLYPH_QUEUE_DRAIN_S"])
    assert drain_s < pod["terminationGracePeriodSeconds"]
    assert drain_s < QueueSettings().lease_s


def test_one_answer_pod_has_one_gpu_and_render_pods_have_none() -> None:
    gpus = {
        w["metadata"]["name"]: w["spec"]["template"]["spec"]["containers"][0]["resources"][
            "limits"
        ].get("nvidia.com/gpu")
        for w in WORKLOADS
    }
    assert gpus["answer"] == "1"
    assert gpus["render"] is None


def test_the_scaler_aims_at_deployments_and_at_one_pods_capacity() -> None:
    scalers = {s["metadata"]["name"]: s for s in objects("ScaledObject")}
    deployed = {w["metadata"]["name"] for w in objects("Deployment")}
    assert {s["spec"]["scaleTargetRef"]["name"] for s in scalers.values()} <= deployed
    slots = EngineSettings().max_slots
    (trigger,) = scalers["answer"]["spec"]["triggers"]
    assert int(trigger["metadata"]["threshold"]) == slots + max(1, slots // 4)


@pytest.mark.parametrize("name", ["render", "answer"])
def test_workers_go_to_zero_and_a_job_that_waits_brings_the_first_back(name: str) -> None:
    (scaler,) = [s for s in objects("ScaledObject") if s["metadata"]["name"] == name]
    assert scaler["spec"]["minReplicaCount"] == 0
    assert scaler["spec"]["fallback"]["replicas"] >= 1, "blind, it must not stop everybody"
    (trigger,) = scaler["spec"]["triggers"]
    assert trigger["metadata"]["activationThreshold"] == "0"
    # Whoever counts what waits, and takes it in, is never scaled by it.
    assert of("gateway")["spec"]["replicas"] >= 2
    assert "gateway" not in {s["spec"]["scaleTargetRef"]["name"] for s in objects("ScaledObject")}


def environment(workload: dict[str, Any]) -> dict[str, Any]:
    """Every variable of a pod: its plain value, or where it comes from."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    maps = {found["metadata"]["name"]: found["data"] for found in objects("ConfigMap")}
    found: dict[str, Any] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    return found | {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def of(name: str) -> dict[str, Any]:
    (workload,) = [w for w in WORKLOADS if w["metadata"]["name"] == name]
    return workload


def test_whoever_lays_out_pages_has_the_same_model_and_sees_it() -> None:
    models = {
        name: environment(of(name))["GLYPH_MODEL"] for name in ("render", "answer", "gateway")
    }
    assert len(set(models.values())) == 1, models
    (model,) = set(models.values())
    for name in models:
        (container,) = of(name)["spec"]["template"]["spec"]["containers"]
        mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
        assert model == "nano" or any(mount in Path(model).parents for mount in mounts), name


@pytest.mark.parametrize("name", ["render", "answer"])
def test_a_workers_liveness_is_local_and_its_readiness_is_not(name: str) -> None:
    (container,) = of(name)["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == ["glyph-worker", "worker", "alive", name]
    ready = ["glyph-worker", "worker", "ready", name]
    assert container["readinessProbe"]["exec"]["command"] == ready


def test_no_liveness_probe_asks_another_pod() -> None:
    for workload in WORKLOADS:
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        probe = container["livenessProbe"]
        command = " ".join(probe.get("exec", {}).get("command", []))
        path = probe.get("httpGet", {}).get("path", "")
        assert path in ("", "/healthz", "/healthcheck"), "a path that looks at the broker"
        assert " ready" not in command
        # A server that reads its append-only file is alive.
        assert "valkey-cli" not in command or "LOADING" in command


@pytest.mark.parametrize("name", ["render", "answer", "gateway"])
def test_a_node_s_drain_does_not_take_all_pods_of_a_kind_at_once(name: str) -> None:
    budgets = {
        b["spec"]["selector"]["matchLabels"]["app"]: b for b in objects("PodDisruptionBudget")
    }
    assert {"maxUnavailable", "minAvailable"} & budgets[name]["spec"].keys()


def test_every_secret_that_a_manifest_reads_is_in_the_command_that_makes_it() -> None:
    text = "".join((FOLDER / name).read_text() for name in NAMES)
    read = set(re.findall(r"secretKeyRef: {name: glyph-worker, key: ([\w-]+)", text))
    read |= set(re.findall(r"credentials: {name: glyph-worker, key: ([\w-]+)", text))
    made = re.findall(r"--from-literal=([\w-]+)=", (FOLDER / "kustomization.yaml").read_text())
    assert read == set(made)


def test_every_variable_is_a_setting_or_flower_s() -> None:
    for workload in WORKLOADS:
        for name, value in environment(workload).items():
            if name.startswith("GLYPH_"):
                given = value if isinstance(value, str) else _example(name)
                Settings.load(environ={name: given})
            else:
                assert name.startswith("FLOWER_") or name in ("PASSWORD", "REDISCLI_AUTH")


def _example(name: str) -> str:
    return "redis://:secret@broker:6379/0" if name.endswith("_URL") else "tenant:secret"


def test_prometheus_scrapes_the_gateway_with_the_token_it_asks_for() -> None:
    (monitor,) = objects("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    (service,) = [s for s in objects("Service") if s["metadata"]["name"] == "gateway"]
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    asked = environment(of("gateway"))["GLYPH_GATEWAY_METRICS_TOKEN"]["secretKeyRef"]
    assert endpoint["authorization"]["credentials"] == asked


def test_flower_asks_for_a_login() -> None:
    assert "secretKeyRef" in environment(of("flower"))["FLOWER_BASIC_AUTH"]
    labels = of("flower")["spec"]["template"]["metadata"]["labels"]
    assert labels["glyph-worker"] == "client", "or the network policy keeps it from the broker"


def test_the_vllm_variant_s_pods_are_unprivileged_and_only_ours_reach_them() -> None:
    folder = FOLDER / "vllm"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    patches = [one["path"] for one in kustomization["patches"]]
    own = [name for name in kustomization["resources"] if name != ".."]
    assert {*own, *patches} == {p.name for p in folder.glob("*.yaml")} - {"kustomization.yaml"}
    found = {o["kind"]: o for o in yaml.safe_load_all((folder / "vllm.yaml").read_text())}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    (rule,) = found["NetworkPolicy"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "answer"}}}]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert f"--tensor-parallel-size {gpus}" in container["args"][0]
    (patched,) = yaml.safe_load((folder / "answer.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ]
    Settings.load(environ={one["name"]: one["value"] for one in patched["env"]})
    assert patched["resources"]["limits"]["nvidia.com/gpu"] is None
