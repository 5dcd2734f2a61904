"""The Kubernetes manifests: complete, unprivileged, bounded, and they drain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from glyph_worker.settings import EngineSettings, QueueSettings

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
