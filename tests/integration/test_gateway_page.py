"""The page in a real browser: it asks, streams, shows pages, remembers, and needs no mouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser, console
from gateway_process import GatewayProcess
from waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's sockets


@pytest.fixture(scope="module")
def gateway(
    module_fleet: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    module_fleet.start("render", wait=False)
    module_fleet.start("answer")
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("page"),
        module_fleet.environ,
        GLYPH_GATEWAY_API_KEYS="default:page-key-0123456789",
    )
    yield gateway
    gateway.stop()


def test_the_page_asks_and_shows_answers_pages_and_receipts(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    with browser(tmp_path / "profile", width=390, height=844) as driver:
        driver.get(gateway.url)
        one = driver.find_element
        one("id", "sample").click()
        wait_until(
            lambda: one("id", "document").get_attribute("value"), description="the sample is there"
        )
        driver.execute_script("send.click()")
        # Without a key the page says so, and leads to the field.
        wait_until(lambda: "API key" in one("id", "problem").text, description="a key is asked for")
        assert driver.switch_to.active_element.get_attribute("id") == "key"
        one("id", "key").send_keys("page-key-0123456789\t")
        driver.execute_script("send.click()")
        receipts = "return [...document.querySelectorAll('.receipt')].filter(r => !r.hidden).length"
        wait_until(
            lambda: driver.execute_script(receipts) == 3,
            description=f"three answers with receipts\n{one('id', 'cards').text}",
        )
        drawn = "return document.querySelector('#sheets img').naturalWidth"
        wait_until(lambda: driver.execute_script(drawn) > 50, description="a page is drawn")
        wait_until(
            lambda: one("id", "recent").text.count("succeeded") == 3, description="all are listed"
        )
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        # A job of the list shows its answer again, alone.
        written = one("css selector", ".answer").text
        driver.execute_script("document.querySelector('#recent button').click()")
        wait_until(lambda: driver.execute_script(receipts) == 1, description="it is shown again")
        assert one("css selector", ".answer").text == written
        # What fails says why, in the error tree's words.
        driver.execute_script("$('style').value = 'impressionist'; send.click()")
        wait_until(
            lambda: "impressionist" in one("id", "cards").text, description="the failure is told"
        )
        assert one("css selector", ".badge").text == "failed"
        unnamed = (
            "return [...document.querySelectorAll('input,textarea,select,button,img')].filter(e => "
            "!(e.labels?.length || e.ariaLabel || e.innerText || e.alt || e.alt === '' "
            "|| e.closest('template'))).length"
        )
        assert driver.execute_script(unnamed) == 0
        errors = [line for line in console(driver) if "401" not in line]
        assert errors == []
