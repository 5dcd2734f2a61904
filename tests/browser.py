"""Headless Chromium for the tests of pages; skips where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parents[1] / "ops/bench/clients_js/node_modules/axe-core/axe.min.js"
_RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => done(violations.map(
  (one) => [one.id, one.help, ...one.nodes.slice(0, 3).map((node) => node.html)].join(": "))));
"""
_STOP = """
let at = document.activeElement;
if (at === document.body) return null;
const name = at.id || at.className || at.textContent;
if (at.classList.contains("visually-hidden")) at = at.nextElementSibling;
const { outlineStyle, outlineWidth } = getComputedStyle(at);
return [name, outlineStyle !== "none" && parseFloat(outlineWidth) >= 2];
"""


@contextmanager
def browser(
    profile: Path, *, width: int = 1200, height: int = 900, dark: bool = False
) -> Iterator[Any]:
    """A driver with an empty profile and no errors allowed in its console (see `console`)."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("no chromium with chromedriver here")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = chromium
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}", f"--window-size={width},{height}",
    ):  # fmt: skip
        options.add_argument(flag)
    if dark:
        options.add_argument("--force-dark-mode")
        options.add_argument("--blink-settings=preferredColorScheme=0")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        driver.set_page_load_timeout(60)
        if width < 500:  # a desktop window cannot be so narrow
            metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()


def full_page(driver: Any, path: Path, *, width: int) -> None:
    """The whole page as a PNG, not only the window."""
    import base64

    height = driver.execute_script("return document.documentElement.scrollHeight")
    shot = driver.execute_cdp_cmd(
        "Page.captureScreenshot",
        {"captureBeyondViewport": True,
         "clip": {"x": 0, "y": 0, "width": width, "height": min(height, 4000), "scale": 1}},
    )  # fmt: skip
    path.write_bytes(base64.b64decode(shot["data"]))


def console(driver: Any) -> list[str]:
    """What the page's console complained of."""
    return [row["message"] for row in driver.get_log("browser") if row["level"] == "SEVERE"]


def axe_findings(driver: Any) -> list[str]:
    """What axe-core has against the page as it is now, by all of its rules; skips without it."""
    if not AXE.exists():
        pytest.skip("no axe-core here; ops/system-packages installs it")
    if not driver.execute_script("return 'axe' in window"):
        driver.execute_script(f"{AXE.read_text()}\nwindow.axe = axe;")
    found: list[str] = driver.execute_async_script(_RUN_AXE)
    return found


def keyboard_stops(driver: Any) -> dict[str, bool]:
    """Where the tabulator stops on its way through the page, and whether each stop shows."""
    from selenium.webdriver import ActionChains, Keys

    stops: dict[str, bool] = {}
    ends = 0
    for _ in range(200):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        stop = driver.execute_script(_STOP)
        if stop is not None:
            stops[stop[0]] = stop[1] and stops.get(stop[0], True)
        elif ends:  # it began anywhere: from the first end to the second is the whole way
            return stops
        else:
            ends = 1
    raise AssertionError(f"the tabulator never leaves the page: {list(stops)}")


def prefer(driver: Any, scheme: str) -> None:
    """`light` or `dark`, as the system would say it."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
