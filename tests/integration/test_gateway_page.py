"""The page in a real browser: it asks, streams, shows pages, remembers, and needs no mouse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import axe_findings, browser, console, full_page, keyboard_stops, prefer
from gateway_process import GatewayProcess
from waiting import PATIENCE_S, wait_until

from glyph_worker import codec
from glyph_worker.evidence.boxes import PageMap
from glyph_worker.job import Answer, FinishReason
from glyph_worker.proof import CheckedLiteral, Citation
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's sockets


RECEIPT_MS = """
const times = ["queued", "drawn", "encoded", "read", "written", "checked", "waited", "total"];
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


CITED = """port: 8443
host: gw-1
total: 318.36
""" + "\n".join(f"line {number} of the rest" for number in range(70))
SHOW = (
    "$('key').value = 'page-key-0123456789'; sessionStorage.setItem(KEY, $('key').value);"
    "for (const id of [...arguments[0]].reverse()) remember([{ id, question: 'Q ' + id }]);"
    "call(`v1/jobs?ids=${arguments[0].join(',')}`).then((r) => r.json())"
    ".then(({ jobs }) => show(jobs, arguments[1])); reader()"
)
MARKS = """
return [...document.querySelectorAll('.sheets .mark')].map((mark) => {
  const box = mark.getBoundingClientRect(), page = mark.closest('.sheet').getBoundingClientRect();
  return [box.left - page.left, box.top - page.top, box.right - page.left, box.bottom - page.top]
    .map((edge, at) => edge / (at % 2 ? page.height : page.width));
});
"""


def prove(fleet: Any, job_id: str, text: str, *literals: CheckedLiteral) -> int:
    """Put a known answer in place of what random weights wrote, with its real places; its page."""
    style = preset_style("nano")
    pages = [laid.page for laid in paginate(CITED, style)]
    page_map = PageMap(CITED, style, pages)
    start = CITED.index(text)
    span = start, start + len(text)
    citation = Citation(
        start=span[0], end=span[1], text=text, page=page_map.page_of(span), kind="exact",
        boxes=page_map.boxes(span), score=1.0, answer_start=0, answer_end=len(text),
    )  # fmt: skip
    answer = Answer(
        text=text, finish_reason=FinishReason.STOP, citations=(citation,), literals=literals,
        verified=all(one.status != "unsupported" for one in literals) if literals else None,
        confidence=0.97, found=True,
    )  # fmt: skip
    jobs = fleet.client._jobs
    jobs._client.hset(jobs._keys.job(job_id), "answer", codec.pack("answer", answer.to_fields()))
    assert citation.page is not None
    return citation.page


def test_a_citation_is_marked_on_its_page_by_mouse_and_by_keyboard(
    gateway: GatewayProcess, module_fleet: Any, tmp_path: Path
) -> None:
    client = module_fleet.client
    jobs = client.submit_many(CITED, ["Which port?", "Which line?"], max_new_tokens=2)
    for job in jobs:
        client.wait(job.id, timeout=PATIENCE_S)
    good = CheckedLiteral(text="8443", kind="number", status="verified", start=0, end=4)
    bad = CheckedLiteral(
        text="line 68 of", kind="code", status="unsupported", start=0, end=10, suggested="line 66"
    )
    prove(module_fleet, jobs[0].id, "8443", good)
    page = prove(module_fleet, jobs[1].id, "line 66 of the rest", bad)
    assert page > 1
    with browser(tmp_path / "profile") as driver:
        driver.get(gateway.url)
        driver.execute_script(SHOW, [job.id for job in jobs], ["Which port?", "Which line?"])
        cites = "return document.querySelectorAll('.cite').length"
        wait_until(lambda: driver.execute_script(cites) == 2, description="both are cited")
        first, second = driver.find_elements("css selector", ".cite")
        # Each state in words beside its sign; what is not verified says so.
        assert [first.text, second.text] == [
            "✓ page 1: 8443",
            f"✓ page {page}: line 66 of the rest",
        ]
        proofs = [proof.text for proof in driver.find_elements("css selector", ".proof")]
        assert "✓ It stands in the document." in proofs[0]
        assert "Very likely right: of such answers 97 in 100 are right." in proofs[0]
        assert "✗ Not verified: the document does not have line 68 of" in proofs[1]
        assert "(the document has line 66)" in proofs[1]
        # Reached by keyboard: marked where the characters are, on 64 columns and 28 lines a page.
        driver.execute_script("document.querySelector('.cite').focus()")
        wait_until(lambda: driver.execute_script(MARKS), description="it is marked")
        (mark,) = driver.execute_script(MARKS)
        assert mark[0] == pytest.approx(6 / 64, abs=0.01)
        assert mark[2] == pytest.approx(10 / 64, abs=0.01)
        assert first.get_attribute("aria-pressed") == "true"
        # Pointed at: the mark moves to a page that was not there yet.
        from selenium.webdriver import ActionChains

        ActionChains(driver).move_to_element(second).perform()
        moved = "return document.querySelector('.mark')?.closest('button').ariaLabel"
        wait_until(
            lambda: driver.execute_script(moved) == f"Page {page}, enlarge",
            description="it moves",
        )
        assert first.get_attribute("aria-pressed") == "false"
        # What it is about is marked in the answer too, and what the document has not.
        pointed = "return [...document.querySelectorAll('mark.pointed')].map((m) => m.textContent)"
        assert "".join(driver.execute_script(pointed)) == "line 66 of the rest"
        doubtful = "return document.querySelector('mark.doubtful').textContent"
        assert driver.execute_script(doubtful) == "line 66 of"
        # Pressed: the page is enlarged, with its mark in sight.
        second.send_keys("\n")
        shown = "return $('viewer').open && $('large-marks').children.length"
        wait_until(lambda: driver.execute_script(shown) == 1, description="it is enlarged")
        assert driver.execute_script("return $('large').alt") == f"Page {page}"
        if folder := os.environ.get("GLYPH_TEST_SCREENSHOTS"):
            driver.save_screenshot(f"{folder}/page-citation-large.png")
            driver.execute_script("$('viewer').close(); scrollTo(0, 0)")
            full_page(driver, Path(folder) / "page-citation.png", width=1200)
        errors = [line for line in console(driver) if " 401 " not in line]
        assert errors == []


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
        # A job of the list shows its answer again, alone; what does so is in sight.
        right = "return document.querySelector('#recent button').getBoundingClientRect().right"
        assert driver.execute_script(right) <= 390
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
        last_digits = sum(1 if value < 1_000 else 100 for value in times)  # as they are shown
        assert sum(times[:-1]) == pytest.approx(times[-1], abs=last_digits)
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
        driver.execute_script("$('ask').noValidate = true; $('max_new_tokens').value = 5000")
        driver.execute_script("$('questions').lastElementChild.querySelector('.remove').click()")
        for wanted in ("limit is", "(2 times now)", "(3 times now)"):
            driver.execute_script("send.click()")
            wait_until(
                lambda wanted=wanted: wanted in one("id", "problem").text, description=wanted
            )
        assert one("id", "cards").text == ""
        # What fails says why, in the error tree's words; what several share is said with its count.
        driver.execute_script("$('document').value = 'x\\n'.repeat(90000)")
        driver.execute_script("$('overflow').value = 'refuse'")
        driver.execute_script("$('max_new_tokens').value = 8; send.click()")
        failed = "return document.querySelectorAll('.badge.failed').length"
        wait_until(
            lambda: driver.execute_script(failed) == 2,
            description="both have failed",
        )
        assert one("id", "problem").text == ""
        assert "2 of 2 questions failed. 2 times: " in one("id", "summary").text
        answers = [found.text for found in driver.find_elements("css selector", ".answer")]
        assert answers == ["The reason stands above."] * 2
        unnamed = (
            "return [...document.querySelectorAll('input,textarea,select,button,img')].filter(e => "
            "!(e.labels?.length || e.ariaLabel || e.innerText || e.alt || e.alt === '' "
            "|| e.closest('template'))).length"
        )
        assert driver.execute_script(unnamed) == 0
        errors = [line for line in console(driver) if " 401 " not in line and " 422 " not in line]
        assert errors == []


def test_axe_finds_nothing_and_the_keyboard_shows_where_it_is(
    gateway: GatewayProcess, module_fleet: Any, tmp_path: Path
) -> None:
    client = module_fleet.client
    job = client.submit(CITED, "Which port?", max_new_tokens=2)
    client.wait(job.id, timeout=PATIENCE_S)
    bad = CheckedLiteral(text="844", kind="number", status="unsupported", start=0, end=3)
    prove(module_fleet, job.id, "8443", bad)
    with browser(tmp_path / "profile") as driver:
        driver.get(gateway.url)
        assert axe_findings(driver) == []
        driver.execute_script(SHOW, [job.id], ["Which port?"])
        driver.execute_script("$('options').open = true; $('form').value = 'choices'; chooseForm()")
        cited = "return document.querySelectorAll('.cite').length && $('recent').rows.length"
        wait_until(lambda: driver.execute_script(cited), description="all parts are there")
        # Not before: a job that comes to be shown begins its pages anew.
        driver.execute_script(
            "say('a fault'); pointAt('choices'); showPages(arguments[0], 40)", job.id
        )
        found = {}
        for scheme in ("light", "dark"):
            prefer(driver, scheme)
            found[scheme] = axe_findings(driver)
            driver.execute_script("$('viewer').showModal()")
            found[f"{scheme}, enlarged"] = axe_findings(driver)
            driver.execute_script("$('viewer').close()")
        assert {state: one for state, one in found.items() if one} == {}
        stops = keyboard_stops(driver)
        wanted = {"skip", "file", "form-text", "send", "page-number", "later-pages", "forget"}
        assert wanted <= set(stops)
        assert [name for name, shows in stops.items() if not shows] == []
        driver.get(f"{gateway.url}/docs")
        wait_until(
            lambda: driver.execute_script("return document.querySelectorAll('h2').length > 3"),
            description="the reference is there",
        )
        assert axe_findings(driver) == []


def test_any_page_of_a_long_document_is_one_step_away(
    gateway: GatewayProcess, module_fleet: Any, tmp_path: Path
) -> None:
    document = "\n".join(f"line {number} of a long one" for number in range(28 * 30))
    last = len(list(paginate(document, preset_style("nano"))))
    assert last > 32
    first = last - (last - 1) % 8
    job = module_fleet.client.submit(document, "Which line?", max_new_tokens=1)
    with browser(tmp_path / "profile") as driver:
        driver.get(gateway.url)
        driver.execute_script(SHOW, [job.id], ["Which line?"])
        drawn = (
            "return [...document.querySelectorAll('#sheets [data-page]')]"
            ".filter((s) => s.querySelector('img').naturalWidth).map((s) => +s.dataset.page)"
        )

        def shows(pages: range, description: str) -> None:
            wait_until(lambda: driver.execute_script(drawn) == list(pages), description=description)

        counted = "return numPages"
        wait_until(lambda: driver.execute_script(counted) == last, description="pages are counted")
        shows(range(1, 9), "the first are drawn")
        from selenium.webdriver import Keys

        number = driver.find_element("id", "page-number")
        number.send_keys(Keys.CONTROL + "a")
        number.send_keys(f"{last}\n")
        shows(range(first, last + 1), "the last are drawn")
        assert f"{first} to {last} of {last} pages" in driver.find_element("id", "pages-note").text
        names = ("earlier-pages", "later-pages")
        earlier, later = (driver.find_element("id", name) for name in names)
        assert not later.is_enabled()
        earlier.click()
        shows(range(first - 8, first), "those before are drawn")
        assert later.is_enabled()


def test_fields_ask_for_a_form_and_for_thoughts_and_faults_lead_to_their_field(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    text = tmp_path / "ports.txt"
    text.write_text(CITED)
    with browser(tmp_path / "profile") as driver:
        driver.get(gateway.url)
        one = driver.find_element
        driver.execute_script(
            "$('key').value = 'page-key-0123456789'; $('options').open = true; reader();"
            "$('document').value = arguments[0];"
            "$('questions').querySelector('input').value = 'Is it?'",
            CITED,
        )
        wait_until(
            lambda: (
                "up to 10 MB and 100 pages" in one("id", "limits").text
                and "tiny" in one("id", "reader").text
            ),
            description="model and limits are named",
        )
        styles = "return [...$('style').options].map((o) => o.textContent)"
        assert "nano: 11 pt at 72 dpi, pages of 448 × 392 px" in driver.execute_script(styles)

        def fill(kind: str, text: str) -> None:
            driver.execute_script(
                "$('form').value = arguments[0]; $('form').dispatchEvent(new Event('change'));"
                "$('form-text').value = arguments[1]", kind, text,
            )  # fmt: skip

        driver.execute_script("$('thinking').value = 'off'; $('max_thinking_tokens').value = 0")
        driver.execute_script("$('include_thinking').checked = true")
        # What is wrong is said, and the keyboard is where it can be put right.
        for kind, wrong, said in (
            ("json_schema", '{"type":', "no JSON"),
            ("json_schema", '{"type": "sum"}', "json_schema.schema.type must be one of"),
            ("choices", "", "choices"),
        ):
            fill(kind, wrong)
            one("id", "send").click()
            wait_until(lambda said=said: said in one("id", "problem").text, description=said)
            assert driver.switch_to.active_element.get_attribute("id") == "form-text"
            assert one("id", "form-text").get_attribute("aria-invalid") == "true"
        fill("choices", "orchid\n fern \n")
        receipts = "return document.querySelectorAll('.receipt:not([hidden])').length"
        for chosen in ("", "choose(new File([arguments[0]], 'ports.txt'));"):
            driver.execute_script(f"{chosen} $('send').click()", CITED)
            wait_until(
                lambda: driver.execute_script(receipts) == 1, description=one("id", "cards").text
            )
            assert one("css selector", ".answer").text in {"orchid", "fern"}
            driver.execute_script("clear()")
        # Several files are documents of one job.
        driver.execute_script(
            "choose(new File([arguments[0]], 'ports.txt'), new File(['fern'], 'b.txt'))", CITED
        )
        assert one("id", "size").text.startswith("2 files, 1.4 kB")
        driver.execute_script("$('send').click()")
        wait_until(
            lambda: driver.execute_script(receipts) == 1, description=one("id", "cards").text
        )
        names = "return shown[0].job.document_names"
        assert driver.execute_script(names) == ["ports.txt", "b.txt"]
        driver.execute_script("clear(); choose()")
        assert one("id", "document").is_enabled()
        assert driver.execute_script("return options()") == {
            "max_new_tokens": 512, "priority": "interactive", "thinking": "off",
            "max_thinking_tokens": 0, "include_thinking": True, "choices": ["orchid", "fern"],
        }  # fmt: skip
        driver.execute_script(
            "new Card(arguments[0], 'Q').write({ text: 'a 𝄞 42', thinking: 'Hm.',"
            "citations: [{ answer_start: 4, answer_end: 6 }], literals: [] })",
            {"id": "x", "status": "running", "stage": "decoding", "attempt": 1,
             "eta": {"p50_s": 3629, "p90_s": 4000}, "progress": {"num_pages": 0}},
        )  # fmt: skip
        card = one("css selector", ".card")
        assert "about 60 minutes left" in card.text
        late = "return [left(30), left(0.5), left(-60)]"
        assert driver.execute_script(late) == [
            "about 30 s left", "any moment now", "longer than most take",
        ]  # fmt: skip
        assert card.find_element("css selector", "mark").text == "42"
        assert "Thoughts" in card.text
        errors = [line for line in console(driver) if " 422 " not in line and " 401 " not in line]
        assert errors == []
