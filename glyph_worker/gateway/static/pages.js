"use strict";
// Page images: a window of them, any page one step away, and an answer's places marked on them.

const PAGES_AT_ONCE = 8;
const SIGNS = { exact: "✓", normalized: "≈", close: "≈" };

let pagesOf = null, numPages = 0, firstPage = 1, wantedPage = 1;

// The window ----------------------------------------------------------------------------------

function showPages(id, number) {
  if (!$("pages").hidden && shown.some((card) => card.id === pagesOf)) {
    // Known in parts: a document is counted while it is laid out.
    if (number > numPages) { numPages = number; turnTo(firstPage); }
    return;
  }
  pagesOf = id; numPages = number;
  $("pages").hidden = false;
  emptySheets();
  turnTo(1);
}

function closePages() {
  $("pages").hidden = true;
  emptySheets();
  pagesOf = null;
}

function emptySheets() {
  for (const image of $("sheets").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  $("sheets").replaceChildren();
}

const lastPage = () => Math.min(numPages, firstPage + PAGES_AT_ONCE - 1);
const sheetOf = (number) => $("sheets").querySelector(`[data-page="${number}"]`);

// Shows the window that a page is in; its pages come one by one, that page first.
function turnTo(number) {
  wantedPage = Math.min(Math.max(1, Math.trunc(number) || 1), numPages);
  const first = wantedPage - (wantedPage - 1) % PAGES_AT_ONCE;
  if (first !== firstPage) emptySheets();
  firstPage = first;
  for (let at = firstPage + $("sheets").children.length; at <= lastPage(); at += 1) $("sheets").append(sheet(at));
  notePages();
  load();
}

function sheet(number) {
  const made = document.createElement("button");
  made.type = "button";
  made.dataset.page = number;
  made.setAttribute("aria-label", `Page ${number}, enlarge`);
  const image = Object.assign(document.createElement("img"), { alt: "" });
  const frame = Object.assign(document.createElement("b"), { className: "sheet" });
  frame.append(image, Object.assign(document.createElement("i"), { className: "marks" }));
  made.append(frame, Object.assign(document.createElement("span"), { textContent: number }));
  made.addEventListener("click", () => enlarge(image, number));
  return made;
}

function notePages(fault = "") {
  const several = numPages > PAGES_AT_ONCE;
  for (const one of document.querySelectorAll(".leaf")) one.hidden = !several;
  // A button that is pressed for the last time hands the keyboard on.
  for (const [name, end] of [["earlier-pages", firstPage === 1], ["later-pages", lastPage() === numPages]]) {
    if (end && document.activeElement === $(name)) $("page-number").focus();
    $(name).disabled = end;
  }
  $("page-number").max = numPages;
  if (document.activeElement !== $("page-number")) $("page-number").value = wantedPage;
  $("pages-note").textContent = fault || (numPages > 1
    ? `${several ? `${firstPage} to ${lastPage()} of ` : ""}${many(numPages, "page")}; select one to enlarge it` : "");
}

let loading = false;

async function load() {
  if (loading) return;
  loading = true;
  let next;
  try {
    for (;;) {
      const missing = [...$("sheets").children].filter((one) => !one.dataset.asked);
      if (!missing.length) return;
      next = missing.find((one) => one === sheetOf(wantedPage)) || missing[0];
      next.dataset.asked = "yes";
      const reply = await call(`v1/jobs/${pagesOf}/pages/${next.dataset.page}.png`);
      const picture = await reply.blob();
      if (next.isConnected) next.querySelector("img").src = URL.createObjectURL(picture);
    }
  } catch (error) {
    delete next.dataset.asked;  // it may be asked for again
    notePages(error.message);
  } finally {
    loading = false;
  }
}

function leafTo(number) {
  turnTo(number);
  $("page-number").value = wantedPage;
  $("sheets").scrollTo({ left: sheetOf(wantedPage).offsetLeft - $("sheets").offsetLeft - 8, behavior: "instant" });
}

function enlarge(image, number) {
  $("large").src = image.src;
  $("large").alt = `Page ${number}`;
  $("large-marks").replaceChildren();
  $("viewer").showModal();
}

// Places of an answer -------------------------------------------------------------------------

function drawMarks(layer, image, citation, number) {
  const width = image.naturalWidth, height = image.naturalHeight;
  const boxes = width ? citation.boxes.filter((box) => box.page === number) : [];
  layer.replaceChildren(...boxes.map((box, at) => {
    const mark = Object.assign(document.createElement("i"), { className: "mark" });
    mark.dataset.sign = at ? "" : SIGNS[citation.kind] || "≈";
    Object.assign(mark.style, { left: `${100 * box.left / width}%`, top: `${100 * box.top / height}%`,
      width: `${100 * (box.right - box.left) / width}%`, height: `${100 * (box.bottom - box.top) / height}%` });
    return mark;
  }));
  return layer.firstElementChild;
}

function clearMarks() {
  for (const layer of document.querySelectorAll(".sheets .marks")) layer.replaceChildren();
  for (const button of document.querySelectorAll(".cite[aria-pressed=true]")) button.setAttribute("aria-pressed", "false");
}

let marking = 0;

// On the small page, which is loaded if it is not there yet. Gives its image, or null where another
// place was asked for meanwhile.
async function markPlace(id, citation, button) {
  const turn = ++marking;
  clearMarks();
  button.setAttribute("aria-pressed", "true");
  const of = shown.find((card) => card.id === id), same = shown.find((card) => card.id === pagesOf);
  if (of && (!same || same.job.document_digest !== of.job.document_digest)) {
    closePages();
    showPages(id, of.job.progress.num_pages);
  }
  turnTo(citation.page);
  const there = sheetOf(citation.page);
  if (!there) return null;
  const image = there.querySelector("img");
  if (!image.naturalWidth) await new Promise((wake) => image.addEventListener("load", wake, { once: true }));
  if (turn !== marking) return null;
  drawMarks(there.querySelector(".marks"), image, citation, citation.page);
  $("sheets").scrollTo({ left: there.offsetLeft - $("sheets").offsetLeft - 8, behavior: "instant" });
  return image;
}

async function showPlace(id, citation, button) {
  const image = await markPlace(id, citation, button);
  if (!image) return;
  enlarge(image, citation.page);
  await $("large").decode().catch(() => {});
  const mark = drawMarks($("large-marks"), $("large"), citation, citation.page);
  mark?.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
}
