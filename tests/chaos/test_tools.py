"""What a run breaks things with: it breaks them, and they are whole again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from chaos import clock, disk, namespaces
from chaos.before import unpacked
from chaos.command import _extra
from chaos.disk import SmallDisk
from chaos.follow import Follower
from chaos.namespaces import CutOff
from chaos.plan import EXTRA, FaultKind

from glyph_worker.errors import InvalidOption
from glyph_worker.local.server import EmbeddedServer

_PING = """
import sys, redis
client = redis.Redis.from_url(sys.argv[1], socket_timeout=1, socket_connect_timeout=1)
try:
    print(client.ping())
except redis.RedisError as exc:
    print(type(exc).__name__)
"""


def test_a_cut_link_drops_everything_until_it_is_joined_again(tmp_path: Path) -> None:
    if why := namespaces.missing():
        pytest.skip(why)
    with ExitStack() as stack:
        sockets = {name: tmp_path / f"{name}.sock" for name in namespaces.SERVERS}
        for name, path in sockets.items():
            options = ("--unixsocket", str(path))
            stack.enter_context(EmbeddedServer(tmp_path / name, options=options))
        made = CutOff(sockets)
        stack.callback(made.close)
        made.open()

        def ping(server: str) -> str:
            command = [*made.prefix, sys.executable, "-c", _PING, made.url(server)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return done.stdout.strip()

        assert [ping(server) for server in namespaces.SERVERS] == ["True", "True"]
        made.set("broker", "down")
        assert ping("broker") in ("TimeoutError", "ConnectionError")
        assert ping("cache") == "True"
        made.set("broker", "up")
        assert ping("broker") == "True"
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert f"glyph-{os.getpid()}-" not in left.stdout


def test_a_full_disk_takes_nothing_and_has_room_again_when_it_is_freed(tmp_path: Path) -> None:
    if why := disk.missing():
        pytest.skip(why)
    small = SmallDisk(tmp_path / "disk")
    small.mount()
    try:
        small.fill()
        with pytest.raises(OSError, match="No space left"), (small.folder / "more").open("wb") as f:
            f.write(bytes(1 << 16))
        small.free()
        (small.folder / "more").write_bytes(bytes(1 << 16))
    finally:
        small.unmount()


@pytest.mark.parametrize("off_s", [90.0, -90.0])
def test_a_wrong_clock_is_wrong_for_the_time_of_day_only(off_s: float) -> None:
    told = "import time; time.sleep(0.01); print(time.time(), time.time_ns(), time.monotonic())"
    rows = [
        subprocess.run([sys.executable, "-c", told], env=environ, capture_output=True, check=True)
        for environ in (dict(os.environ), os.environ | clock.environment(off_s))
    ]
    right, wrong = ([float(word) for word in row.stdout.split()] for row in rows)
    assert abs(wrong[0] - right[0] - off_s) < 30
    assert abs(wrong[1] / 1e9 - right[0] - off_s) < 30
    assert abs(wrong[2] - right[2]) < 30


def test_the_version_before_comes_out_of_this_repository(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    if subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True
    ).returncode:
        pytest.skip("this is no checkout")
    code = unpacked("HEAD", tmp_path / "before")
    assert (code / "glyph_worker" / "__init__.py").is_file()


def test_faults_are_left_out_by_name() -> None:
    names = "clock_off, starve"
    assert set(_extra(2, names)) == set(EXTRA) - {FaultKind.CLOCK_OFF, FaultKind.STARVE}
    assert len(_extra(2, "")) == 2 * len(EXTRA)
    with pytest.raises(InvalidOption, match="no such fault: earthquake"):
        _extra(1, "earthquake")


def test_a_follower_takes_what_began_anew_and_goes_on_after_the_last_event() -> None:
    follower = Follower(0, "t", "j")
    for event in (
        {"event": "status", "data": "{}"},
        {"event": "delta", "data": '{"text":"ol","attempt":1,"anew":true}', "id": "1-0"},
        {"event": "delta", "data": '{"text":"d","attempt":1,"anew":false}', "id": "2-0"},
        {"event": "delta", "data": '{"text":"new","attempt":2,"anew":true}', "id": "3-0"},
    ):
        follower._take(event)
    assert (follower.text, follower._last, follower.ended) == ("new", "3-0", False)
    follower._take({"event": "end", "data": "{}", "id": "4-0"})
    assert follower.ended
