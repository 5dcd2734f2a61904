"""What must be true of the running composition: one fact a function, in the order they run."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any

from trial.images import COMPILER, OURS, ROOT, package_files
from trial.podman import Podman
from trial.project import WORKERS, Project, demo_case

_CHILD_STATUS = "cat /proc/1/status; cat /proc/mounts; touch /probe"


def images_hold_the_whole_package(podman: Podman) -> None:
    """Not editable, every file that git tracks; torch in the answer image alone."""
    wanted = {str(f.relative_to(ROOT)) for f in package_files()}
    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps([[str(f) for f in m.files('glyph_worker')], "
        "sorted(d.metadata['Name'].lower() for d in m.distributions())]))"
    )
    for target, image in OURS.items():
        files, packages = json.loads(podman.run("run", "--rm", image, "python", "-c", code))
        assert wanted <= set(files), sorted(wanted - set(files))
        assert ("torch" in packages) == (target == "answer"), (target, packages)


def gpu_image_builds_and_loads_kernels(podman: Podman, service: dict[str, Any]) -> None:
    """Under answer-gpu's own flags; and the fault is named where /tmp is `noexec`."""
    flags = [
        "--rm", "--read-only", "--read-only-tmpfs=false", "--user=10001", "--network=none",
        *(f"--cap-drop={cap}" for cap in service["cap_drop"]),
        *(f"--security-opt={option.replace(':true', '')}" for option in service["security_opt"]),
        f"--volume={ROOT}/glyph_worker/model/toolchain.py:/probe/toolchain.py:ro",
        "--env=PYTHONPATH=/probe",
    ]  # fmt: skip
    code = "import toolchain; print(toolchain.toolchain_fault())"
    (mount,) = service["tmpfs"]
    said = podman.run("run", *flags, f"--tmpfs={mount}", COMPILER, "python", "-c", code)
    assert said.strip() == "None", said
    mount = mount.replace("exec", "noexec")
    said = podman.run("run", *flags, f"--tmpfs={mount}", COMPILER, "python", "-c", code)
    assert "mount it with `exec`" in said, said


def containers_are_as_written(project: Project) -> None:
    """No root, no capability, no new privilege, nothing writable but what is named, bounded."""
    for name, service in project.services.items():
        if "gpu" in service.get("profiles", []):
            continue
        said = project.exec(name, "sh", "-c", _CHILD_STATUS)
        lines = said.stdout.splitlines()
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert fields["Uid"].split()[0] != "0", name
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0, (name, fields)
        assert fields["NoNewPrivs"] == "1", name
        assert "Read-only file system" in said.stderr, (name, said.stderr)
        (tmp,) = [line for line in lines if " /tmp tmpfs " in line]
        assert "noexec" in tmp, (name, tmp)
        limits = service["deploy"]["resources"]["limits"]
        memory = project.podman.inspect(project.container(name))["HostConfig"]["Memory"]
        assert memory == _bytes(limits["memory"]), (name, memory)


def redis_is_out_of_reach(project: Project) -> None:
    """Nobody outside the inner network finds the broker, and its network has no way out."""
    for name in ("broker", "cache"):
        ports = project.podman.inspect(project.container(name))["HostConfig"]["PortBindings"]
        assert not ports, ports
    code = "import socket; socket.create_connection(('broker', 6379), 3)"
    outside = project.podman.attempt(
        "run", "--rm", f"--network={project.name}_outside", OURS["light"], "python", "-c", code
    )
    assert outside.returncode != 0
    assert "gaierror" in outside.stderr, outside.stderr
    route = project.exec("render", "cat", "/proc/net/route").stdout.splitlines()[1:]
    assert not [line for line in route if line.split()[1] == "00000000"], route


def questions_are_answered(project: Project) -> None:
    """Through the gateway, rightly; without a key nothing."""
    document, question, expected = demo_case()
    assert project.result(project.submit(document, question)) == expected
    body = {"document": document, "question": question}
    status, _ = project.http("GLYPH_PORT", "/v1/jobs", body)
    assert status == 401, status


def workers_agree(project: Project) -> None:
    """One style, the attention backend named; the logs say the same."""
    said = project.exec("answer", "glyph-worker", "doctor", "--json")
    findings = json.loads(said.stdout)["findings"]
    of = {finding["what"]: finding for finding in findings}
    ours = "workers' attention", "workers' style", "attention", "model", "broker", "cache"
    faults = [f for f in findings if f["level"] == "fault" and f["what"].startswith(ours)]
    assert not faults, faults
    assert of["workers' style"]["found"].count("(") == 1, of
    assert of["attention"]["found"] == "torch on cpu", of
    assert [what for what in of if what.startswith("workers' attention")], of
    ready = [line for line in project.logs("answer").splitlines() if "worker.ready" in line]
    assert json.loads(ready[-1])["attention"] == "torch", ready


def monitoring_sees_it(project: Project) -> None:
    """Prometheus reads with the token it got; Flower asks for a login and shows both workers."""

    def target() -> dict[str, Any]:
        _, targets = project.http("PROMETHEUS_PORT", "/api/v1/targets")
        (found,) = targets["data"]["activeTargets"]
        return dict(found)

    project.wait(lambda: target()["health"] != "unknown", "the gateway is scraped")
    assert (target()["health"], target()["lastError"]) == ("up", "")
    _, rules = project.http("PROMETHEUS_PORT", "/api/v1/rules")
    (group,) = rules["data"]["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}, group
    assert project.http("GRAFANA_PORT", "/api/health")[0] == 200
    assert project.http("FLOWER_PUBLIC_PORT", "/api/workers")[0] == 401
    login = project.values["FLOWER_BASIC_AUTH"]

    def kinds() -> set[str]:
        status, workers = project.http(
            "FLOWER_PUBLIC_PORT", "/api/workers?status=true", basic=login
        )
        assert status == 200, (status, workers)
        return {name.partition("-")[0] for name in workers}

    project.wait(lambda: kinds() == set(WORKERS), "Flower shows both workers")


def workers_outlive_an_outage(project: Project, outage_s: float) -> None:
    """The broker is stopped: alive they stay, ready they are not; it returns: they go on."""
    began = {kind: project.started_at(kind) for kind in WORKERS}
    project.podman.run("stop", "--time=20", project.container("broker"))
    end = time.monotonic() + outage_s
    while True:
        for kind in WORKERS:
            alive = project.exec(kind, "glyph-worker", "worker", "alive", kind)
            assert alive.returncode == 0, alive.stderr
        if time.monotonic() > end:
            break
        time.sleep(1)
    for kind in WORKERS:
        assert not project.healthy(kind), f"{kind} says ready without a broker"
    project.podman.run("start", project.container("broker"))
    project.wait_healthy("broker", *WORKERS, "gateway")
    assert {kind: project.started_at(kind) for kind in WORKERS} == began
    document, question, expected = demo_case("operations")
    assert project.result(project.submit(document, question)) == expected


def a_killed_worker_comes_back(project: Project) -> None:
    """kill -9 under jobs: its restart policy starts it again, and every job is answered."""
    before = project.started_at("answer")
    pid = project.podman.inspect(project.container("answer"))["State"]["Pid"]
    cases = [demo_case("operations", number % 5) for number in range(60)]
    jobs = [project.submit(document, question) for document, question, _ in cases]
    os.kill(pid, signal.SIGKILL)  # its init: the whole container goes at once
    left = [job for job in jobs if project.ask(f"/v1/jobs/{job}")[1]["status"] != "succeeded"]
    assert left, "all were answered before the kill"
    project.wait(lambda: project.started_at("answer") != before, "answer is started again")
    answers = [project.result(job) for job in jobs]
    assert answers == [expected for _, _, expected in cases]


def stopped_workers_hand_back(project: Project) -> None:
    """SIGTERM: they end in order with 0; what was accepted waits and is answered after a start."""
    project.compose("stop", *WORKERS)
    assert {project.exit_code(kind) for kind in WORKERS} == {0}
    document, question, expected = demo_case("invoice", 1)
    job = project.submit(document, question)
    project.compose("start", *WORKERS)
    assert project.result(job) == expected


def differing_styles_are_a_fault(project: Project) -> None:
    """A render worker of another style: its log and the doctor say so."""
    name = f"{project.name}_other"
    environ = [
        f"--env={key}={_filled(value, project.values)}"
        for key, value in project.services["render"]["environment"].items()
    ]
    project.podman.run(
        "run", "--detach", f"--name={name}", f"--network={project.name}_inside", *environ,
        "--env=GLYPH_RENDER_STYLE=fast", OURS["light"],
        "glyph-worker", "worker", "render", "--concurrency", "1",
    )  # fmt: skip
    try:

        def said() -> bool:
            logs = project.podman.attempt("logs", name)
            return "worker.styles_differ" in logs.stdout + logs.stderr

        project.wait(said, "its log says that styles differ", 400)
        doctor = project.exec("gateway", "glyph-worker", "doctor", "--json")
        assert doctor.returncode == 1, doctor.stderr
        findings = json.loads(doctor.stdout)["findings"]
        (found,) = [f for f in findings if f["what"] == "workers' style"]
        assert found["level"] == "fault", found
        assert "fast" in found["found"], found
    finally:
        project.podman.run("rm", "--force", "--time=0", name)


def _filled(value: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda found: values[found[1]], str(value))


def _bytes(text: str) -> int:
    return int(text[:-1]) << {"m": 20, "g": 30}[text[-1]]
