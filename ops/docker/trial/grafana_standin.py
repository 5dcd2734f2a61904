"""In Grafana's place: reads provisioning and dashboards by its schema, then answers health."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

SOURCE_FIELDS = {
    "name", "uid", "type", "access", "url", "isDefault", "orgId", "version", "editable", "jsonData",
    "secureJsonData", "basicAuth", "basicAuthUser", "user", "database", "withCredentials",
}  # fmt: skip
PROVIDER_FIELDS = {
    "name", "type", "options", "orgId", "folder", "folderUid", "disableDeletion", "editable",
    "allowUiUpdates", "updateIntervalSeconds",
}  # fmt: skip
VARIABLES = {"query", "custom", "constant", "datasource", "interval", "textbox", "adhoc"}


def read(file: Path) -> dict[str, Any]:
    found = yaml.safe_load(file.read_text())
    assert found["apiVersion"] == 1, file
    return dict(found)


def check() -> str:
    """What would be served. Raises AssertionError with what Grafana would refuse."""
    root = Path("/etc/grafana/provisioning")
    sources: dict[str, str] = {}
    for file in sorted((root / "datasources").glob("*.y*ml")):
        for one in read(file)["datasources"]:
            assert set(one) <= SOURCE_FIELDS, set(one) - SOURCE_FIELDS
            assert one["access"] in ("proxy", "direct")
            sources[one["uid"]] = one["type"]
    titles = []
    for file in sorted((root / "dashboards").glob("*.y*ml")):
        for one in read(file)["providers"]:
            assert set(one) <= PROVIDER_FIELDS, set(one) - PROVIDER_FIELDS
            boards = sorted(Path(one["options"]["path"]).glob("*.json"))
            assert boards, f"no dashboard in {one['options']['path']}"
            titles += [check_board(json.loads(board.read_text()), sources) for board in boards]
    home = os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).is_file(), home
    (Path("/var/lib/grafana") / "grafana.db").touch()
    assert os.environ["GF_SECURITY_ADMIN_PASSWORD"], "no password for the administrator"
    return ", ".join(titles)


def check_board(board: dict[str, Any], sources: dict[str, str]) -> str:
    assert board["uid"], "a dashboard without uid is made anew at every start"
    assert board["title"]
    assert board["schemaVersion"] >= 36
    names = set()
    for variable in board.get("templating", {}).get("list", []):
        assert variable["type"] in VARIABLES, variable
        names.add(variable["name"])
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)), "two panels with one id"
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"], panel["title"]
        for target in panel.get("targets", []):
            source = target.get("datasource") or panel.get("datasource") or {}
            uid = source.get("uid", "")
            known = uid in sources or uid.lstrip("$").strip("{}") in names
            assert known, f"{panel['title']}: no datasource {uid!r}"
    return str(board["title"])


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


if __name__ == "__main__":
    print("grafana stand-in:", check(), flush=True)
    ThreadingHTTPServer(("", 3000), Health).serve_forever()
