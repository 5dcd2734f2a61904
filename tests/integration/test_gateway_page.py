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


RECEIPT_MS = """
const times = ["queued", "drawn", "encoded", "read", "written", "waited", "total"];
const rows = [...document.querySelectorAll(".receipt div")].filter(
  (row) => times.includes(row.querySelector("dt").textContent));
return rows.map((row) => row.querySelector("dd").textContent)
  .map((text) => parseFloat(text) * (text.endsWith(" ms") ? 1 : 1000));
"""


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
        # It says who reads, and lists the styles there are.
        assert "Reader: tiny" in one("id", "reader").text
        styles = "return [...$('style').options].map(o => o.value)"
        assert {"", "balanced", "nano"} <= set(driver.execute_script(styles))
        # Each receipt's times add up to its total.
        times = driver.execute_script(RECEIPT_MS)
        assert sum(times[:-1]) == pytest.approx(times[-1], abs=len(times))
        # Questions are numbered by their place, whatever was removed; the keyboard stays there.
        driver.execute_script("document.querySelector('.remove').click()")
        labels = "return [...$('questions').querySelectorAll('input')].map(i => i.ariaLabel)"
        assert driver.execute_script(labels) == ["Question 1", "Question 2"]
        assert driver.switch_to.active_element.get_attribute("aria-label") == "Question 1"
        driver.execute_script("$('more').click()")
        assert driver.execute_script(labels) == ["Question 1", "Question 2", "Question 3"]
        # The file button shows that it has the focus.
        one("id", "document").send_keys("\t")
        assert driver.switch_to.active_element.get_attribute("id") == "file"
        outline = "return getComputedStyle(document.querySelector('label[for=file]')).outlineStyle"
        assert driver.execute_script(outline) == "solid"
        # An error takes the place of the old answers, and the same again is counted.
        driver.execute_script("$('max_new_tokens').max = 99999; $('max_new_tokens').value = 5000")
        driver.execute_script("$('questions').lastElementChild.querySelector('.remove').click()")
        for wanted in ("limit is", "(2 times now)", "(3 times now)"):
            driver.execute_script("send.click()")
            wait_until(
                lambda wanted=wanted: wanted in one("id", "problem").text, description=wanted
            )
        assert one("id", "cards").text == ""
        # What fails says why, in the error tree's words; what several share is said with its count.
        driver.execute_script("$('document').value = 'x\\n'.repeat(90000)")
        driver.execute_script("$('max_new_tokens').value = 8; send.click()")
        failed = "return document.querySelectorAll('.badge.failed').length"
        wait_until(
            lambda: driver.execute_script(failed) == 2,
            description="both have failed",
        )
        assert one("id", "problem").text == ""
        assert "2 of 2 questions failed. 2 times: " in one("id", "summary").text
        unnamed = (
            "return [...document.querySelectorAll('input,textarea,select,button,img')].filter(e => "
            "!(e.labels?.length || e.ariaLabel || e.innerText || e.alt || e.alt === '' "
            "|| e.closest('template'))).length"
        )
        assert driver.execute_script(unnamed) == 0
        errors = [line for line in console(driver) if " 401 " not in line and " 422 " not in line]
        assert errors == []
