"use strict";
// The page speaks the public API and nothing else. State: the chosen file, the jobs on screen.

const $ = (id) => document.getElementById(id);
const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const STAGES = { rendering: "drawing pages", reading: "reading its parts", encoding: "encoding pages", prefilling: "reading", thinking: "thinking", decoding: "writing" };
const PAGES_AT_ONCE = 8;
const RECENT = "glyph-worker.recent", KEY = "glyph-worker.key";

let file = null;
let shown = [];

// Requests ------------------------------------------------------------------------------------

function headers(more = {}) {
  const key = $("key").value.trim();
  return key ? { Authorization: `Bearer ${key}`, ...more } : more;
}

async function call(path, options = {}) {
  const reply = await fetch(path, { ...options, headers: headers(options.headers) });
  if (!reply.ok) throw await problemOf(reply);
  return reply;
}

async function problemOf(reply) {
  let detail = `${reply.status} ${reply.statusText}`;
  try {
    const problem = await reply.json();
    detail = problem.detail || detail;
  } catch { /* not ours: a proxy's page */ }
  if (reply.status === 401) { $("options").open = true; $("key").focus(); }
  return Object.assign(new Error(detail), { status: reply.status });
}

// Server-sent events by hand: EventSource cannot send a key.
async function* events(path, after, signal) {
  const more = after ? { "Last-Event-ID": after } : {};
  const reply = await call(path, { headers: more, signal });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
      const event = { name: "message", data: "", id: null };
      for (const line of buffer.slice(0, end).split("\n")) {
        const at = line.indexOf(":");
        const field = line.slice(0, at), text = line.slice(at + 1).trimStart();
        if (field === "event") event.name = text;
        if (field === "data") event.data += text;
        if (field === "id") event.id = text;
      }
      if (event.data) yield event;
    }
  }
}

// Asking --------------------------------------------------------------------------------------

function addQuestion(text = "") {
  const row = $("question-row").content.cloneNode(true);
  const input = row.querySelector("input");
  input.value = text;
  row.querySelector(".remove").addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if ($("questions").children.length > 1) {
      // The keyboard stays where it was: at the next question, or the one before.
      const next = item.nextElementSibling || item.previousElementSibling;
      item.remove();
      numberQuestions();
      next.querySelector("input").focus();
    } else {
      input.value = "";
      input.focus();
    }
  });
  $("questions").append(row);
  numberQuestions();
  return input;
}

// By their place: what is removed leaves no gap, and no number twice.
function numberQuestions() {
  [...$("questions").children].forEach((item, at) => {
    item.querySelector("input").setAttribute("aria-label", `Question ${at + 1}`);
    item.querySelector(".remove").setAttribute("aria-label", `Remove question ${at + 1}`);
  });
}

function questions() {
  return [...$("questions").querySelectorAll("input")].map((i) => i.value.trim()).filter(Boolean);
}

function choose(chosen) {
  file = chosen;
  $("document").required = !file;
  $("document").disabled = Boolean(file);
  if (file) $("document").value = "";
  $("document").placeholder = file ? `${file.name} will be sent` : $("document").dataset.hint;
  measure();
}

function measure() {
  const size = file ? file.size : new Blob([$("document").value]).size;
  const text = size >= 1e6 ? `${(size / 1e6).toFixed(1)} MB` : size >= 1e3 ? `${(size / 1e3).toFixed(1)} kB` : `${size} bytes`;
  $("size").textContent = size ? (file ? `${file.name}, ${text}` : text) : "";
  if (file) {
    const drop = document.createElement("button");
    drop.type = "button"; drop.className = "link"; drop.textContent = "remove";
    drop.addEventListener("click", () => { $("file").value = ""; choose(null); });
    $("size").append(" ", drop);
  }
}

function options() {
  const chosen = { max_new_tokens: Number($("max_new_tokens").value) || 512, priority: $("priority").value };
  if ($("style").value) chosen.style = $("style").value;
  if ($("literals").value) chosen.literals = $("literals").value;
  return chosen;
}

async function ask(event) {
  event.preventDefault();
  const asked = questions();
  say("");
  clear();
  $("send").disabled = true;
  try {
    let body, more = {};
    if (file) {
      body = new FormData();
      body.append("document", file, file.name);
      for (const question of asked) body.append("question", question);
      for (const [name, value] of Object.entries(options())) body.append(name, value);
    } else {
      more = { "Content-Type": "application/json" };
      body = JSON.stringify({ document: $("document").value, questions: asked, ...options() });
    }
    const reply = await call("v1/jobs:batch", { method: "POST", body, headers: more });
    const { jobs } = await reply.json();
    said = "";
    remember(jobs.map((job, at) => ({ id: job.id, question: asked[at] })));
    show(jobs, asked);
  } catch (error) {
    say(error.message);
  } finally {
    $("send").disabled = false;
  }
}

let said = "", times = 0;

// The same again must look as if something happened: it says how often.
function say(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
  if (!text) return;
  times = text === said ? times + 1 : 1;
  said = text;
  if (times > 1) $("problem").append(" ", Object.assign(document.createElement("span"), { className: "times", textContent: `(${times} times now)` }));
}

// What is shown belongs to what was asked: an old answer must not stand beside a new error.
function clear() {
  for (const card of shown) card.leave.abort();
  shown = [];
  $("cards").replaceChildren();
  $("summary").textContent = "";
  $("stop").hidden = true;
  $("pages").hidden = true;
  $("sheets").replaceChildren();
  pagesOf = null;
  document.querySelector("#answers .empty").hidden = false;
}

// Answers -------------------------------------------------------------------------------------

function show(jobs, asked) {
  clear();
  document.querySelector("#answers .empty").hidden = true;
  shown = jobs.map((job, at) => new Card(job, asked[at]));
  $("stop").hidden = false;
  for (const card of shown) card.follow();
  $("answers").scrollIntoView({ block: "nearest" });
}

class Card {
  constructor(job, question) {
    this.id = job.id;
    this.job = job;
    this.leave = new AbortController();
    this.text = "";
    const card = $("card").content.cloneNode(true);
    this.root = card.querySelector("article");
    this.root.dataset.job = job.id;
    card.querySelector("h3").textContent = question;
    $("cards").append(card);
    this.draw(job);
  }

  get closed() { return this.leave.signal.aborted; }

  async follow() {
    let after = null;
    for (let misses = 0; misses < 8;) {
      try {
        for await (const event of events(`v1/jobs/${this.id}/events`, after, this.leave.signal)) {
          misses = 0;
          if (event.id) after = event.id;
          const body = JSON.parse(event.data);
          if (event.name === "delta") this.grow(body);
          if (event.name === "status") this.draw(body);
          if (event.name === "end") { this.draw(body); return await this.end(); }
        }
      } catch (error) {
        if (this.closed) return;
        if (error.status >= 400 && error.status < 500) { this.fail(error.message); return; }
      }
      misses += 1;
      await new Promise((wake) => setTimeout(wake, 250 * 2 ** misses));
    }
    this.fail("the connection broke; the job goes on, see below");
  }

  grow({ text, anew }) {
    this.text = anew ? text : this.text + text;
    // Text outruns the status: what is being written no longer waits.
    if (!FINAL.has(this.job.status) && this.job.stage !== "decoding") {
      this.draw({ ...this.job, status: "running", stage: "decoding", position: null, eta: null,
        progress: { ...this.job.progress, num_prefilled_tokens: this.job.progress.num_prompt_tokens,
          num_pages_ready: this.job.progress.num_pages } });
    }
    const answer = this.root.querySelector(".answer");
    answer.textContent = this.text;
    answer.classList.add("writing");
  }

  draw(job) {
    this.job = job;
    const { progress: p } = job;
    const badge = this.root.querySelector(".badge");
    const final = FINAL.has(job.status);
    badge.textContent = job.status === "running" ? STAGES[job.stage] || job.stage : job.status;
    badge.className = `badge ${job.status}`;
    const where = [];
    if (!final && p.num_pages) {
      where.push(p.num_pages_ready ? `${p.num_pages_ready} of ${many(p.num_pages, "page")} ready` : many(p.num_pages, "page"));
    }
    if (!final && p.num_segments) where.push(`${p.num_segments_done} of ${many(p.num_segments, "part")} read`);
    if (p.num_thinking_tokens) where.push(`${many(p.num_thinking_tokens, "token")} thought`);
    if (p.num_answer_tokens) where.push(`${many(p.num_answer_tokens, "token")} written`);
    if (job.status === "queued" && job.position != null) {
      where.push(job.position ? `${many(job.position, "job")} before it` : "next in line");
    }
    if (job.eta) where.push(`about ${job.eta.p50_s.toFixed(1)} s left`);
    if (job.attempt > 1) where.push(`attempt ${job.attempt}`);
    this.root.querySelector(".where").textContent = where.join(" · ");
    const bar = this.root.querySelector("progress");
    bar.hidden = final;
    const read = p.num_prompt_tokens ? p.num_prefilled_tokens / p.num_prompt_tokens : 0;
    const ready = p.num_pages ? p.num_pages_ready / p.num_pages : 0;
    bar.value = job.status === "queued" ? 0 : 0.1 + 0.3 * ready + 0.4 * read + (p.num_answer_tokens ? 0.1 : 0);
    if (p.num_pages && !this.closed) showPages(this.id, p.num_pages);
    recent();
  }

  async end() {
    const answer = this.root.querySelector(".answer");
    answer.classList.remove("writing");
    if (shown.every((card) => FINAL.has(card.job.status))) $("stop").hidden = true;
    sumUp();
    if (this.job.status === "failed") { this.fail(this.job.error?.message || "failed"); return; }
    if (this.job.status !== "succeeded") return;
    try {
      const done = await (await call(`v1/jobs/${this.id}/result`)).json();
      answer.textContent = done.text || "(the model answered nothing)";
      this.prove(done);
      this.receipt(done.receipt);
    } catch (error) { this.fail(error.message); }
  }

  // What the document has of the answer: said in words, shown on the page.
  prove(done) {
    const proof = this.root.querySelector(".proof"), lines = [];
    const literals = done.literals || [], citations = done.citations || [];
    const wrong = literals.filter((one) => one.status === "unsupported");
    if (wrong.length) {
      const named = wrong.slice(0, 4).map((one) => (one.suggested ? `${one.text} (the document has ${one.suggested})` : one.text));
      const more = wrong.length > 4 ? ` and ${wrong.length - 4} more` : "";
      lines.push(line("wrong", `✗ Not verified: the document does not have ${named.join(", ")}${more}. It may be misread.`));
    }
    for (const one of literals.filter((one) => one.status === "corrected")) {
      lines.push(line("mended", `≈ Corrected: ${one.text}, which the model read as ${one.read_as}.`));
    }
    if (done.verified) lines.push(line("", `✓ ${literals.length > 1 ? `All ${literals.length} literals stand` : "It stands"} in the document.`));
    if (done.found === false) lines.push(line("", "The model says that the document does not have it."));
    if (done.confidence != null) lines.push(line("note", `Of such answers ${Math.round(100 * done.confidence)} in 100 are right.`));
    if (citations.length) {
      const list = document.createElement("ul");
      for (const one of citations) {
        const item = document.createElement("li");
        item.append(this.cite(one, citations));
        list.append(item);
      }
      lines.push(list);
    }
    proof.replaceChildren(...lines);
    proof.hidden = !lines.length;
  }

  cite(one, all) {
    const sign = one.kind === "exact" ? "✓" : "≈";
    const text = one.text.length > 60 ? `${one.text.slice(0, 59)}…` : one.text;
    const where = one.page == null ? "in the document" : `page ${one.page}`;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "cite",
      textContent: `${sign} ${where}: ${text}` });
    button.title = { exact: "stands there as it is", normalized: "stands there in another spacing, case or spelling",
      close: `close: ${Math.round(100 * one.score)} % in common` }[one.kind] || one.kind;
    if (one.page == null) { button.disabled = true; return button; }
    button.setAttribute("aria-pressed", "false");
    // Pointing at it, or reaching it by keyboard, marks it on its page; pressing enlarges that page.
    for (const name of ["mouseenter", "focus"]) button.addEventListener(name, () => markPlace(this.id, one, button));
    button.addEventListener("click", () => showPlace(this.id, one, button));
    return button;
  }

  receipt(r) {
    const pages = r.pages_encoded + r.pages_reused;
    // Parts, and the rest: they add up to the total.
    const parts = { queued: r.queue_ms, drawn: r.render_ms, encoded: r.encode_ms, read: r.prefill_ms,
      written: r.decode_ms, checked: r.guard_ms ?? 0 };
    const known = Object.values(parts).reduce((sum, value) => sum + value, 0);
    parts.waited = r.waited_ms ?? Math.max(0, r.total_ms - known);
    const rows = {
      pages: `${pages}`, reused: `${r.pages_reused} of ${pages}`,
      compression: `${r.compression_ratio.toFixed(1)}×`,
      "visual tokens": r.visual_tokens, "answer tokens": r.answer_tokens,
      ...(r.thinking_tokens ? { "tokens thought": r.thinking_tokens } : {}),
      ...Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, ms(value)])),
      total: ms(r.total_ms),
    };
    if (r.style_stepped_from) rows.style = `${r.style}, for the load, not ${r.style_stepped_from}`;
    const list = this.root.querySelector(".receipt");
    list.replaceChildren(...Object.entries(rows).map(([name, value]) => {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }),
        Object.assign(document.createElement("dd"), { textContent: value }));
      return row;
    }));
    list.hidden = false;
  }

  fail(text) {
    if (this.closed) return;
    const answer = this.root.querySelector(".answer");
    answer.classList.remove("writing");
    answer.classList.add("wrong");
    this.root.querySelector("progress").hidden = true;
    answer.textContent = text;
  }
}

// Of several questions: how many failed, and each different reason with how often it was given.
function sumUp() {
  const failed = shown.filter((card) => card.job.status === "failed");
  const reasons = new Map();
  for (const card of failed) {
    const reason = card.job.error?.message || "no reason given";
    reasons.set(reason, (reasons.get(reason) || 0) + 1);
  }
  const told = [...reasons].map(([reason, times]) => (times > 1 ? `${times} times: ${reason}` : reason));
  $("summary").textContent = failed.length > 1 ? `${failed.length} of ${many(shown.length, "question")} failed. ${told.join(" · ")}` : "";
}

const many = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const ms = (value) => (value >= 1e4 ? `${(value / 1e3).toFixed(1)} s` : `${Math.round(value)} ms`);

async function stopAll() {
  for (const card of shown) {
    if (FINAL.has(card.job.status)) continue;
    try { await call(`v1/jobs/${card.id}`, { method: "DELETE" }); } catch { /* it ended first */ }
  }
}

function line(className, textContent) {
  return Object.assign(document.createElement("p"), { className, textContent });
}

// Places of an answer -------------------------------------------------------------------------

const SIGNS = { exact: "✓", normalized: "≈", close: "≈" };

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

// On the small page, which is loaded if it is not there yet.
async function markPlace(id, citation, button) {
  const turn = ++marking;
  clearMarks();
  button.setAttribute("aria-pressed", "true");
  if (pagesOf !== id && shown.some((card) => card.id === id)) {
    const of = shown.find((card) => card.id === id);
    const same = shown.find((card) => card.id === pagesOf);
    if (!same || same.job.document_digest !== of.job.document_digest) { pagesOf = null; showPages(id, of.job.progress.num_pages); }
  }
  while (turn === marking && $("sheets").children.length < Math.min(citation.page, numPages)) {
    if (loadingPages) await new Promise((wake) => setTimeout(wake, 50));
    else await morePages();
  }
  const sheet = $("sheets").children[citation.page - 1];
  if (turn !== marking || !sheet) return;
  const image = sheet.querySelector("img");
  const draw = () => {
    if (turn !== marking) return;
    drawMarks(sheet.querySelector(".marks"), image, citation, citation.page);
    $("sheets").scrollTo({ left: sheet.offsetLeft - $("sheets").offsetLeft - 8, behavior: "instant" });
  };
  if (image.naturalWidth) draw(); else image.addEventListener("load", draw, { once: true });
}

async function showPlace(id, citation, button) {
  await markPlace(id, citation, button);
  const sheet = $("sheets").children[citation.page - 1];
  if (!sheet) return;
  const image = sheet.querySelector("img");
  if (!image.naturalWidth) await new Promise((wake) => image.addEventListener("load", wake, { once: true }));
  enlarge(image, citation.page);
  await $("large").decode().catch(() => {});
  const mark = drawMarks($("large-marks"), $("large"), citation, citation.page);
  mark?.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
}

// Pages ---------------------------------------------------------------------------------------

let pagesOf = null, numPages = 0;

function showPages(id, number) {
  if (!$("pages").hidden && shown.some((card) => card.id === pagesOf)) {
    // Known in parts: a document is counted while it is laid out.
    if (number > numPages) { numPages = number; notePages(); }
    return;
  }
  pagesOf = id; numPages = number;
  $("pages").hidden = false;
  $("sheets").replaceChildren();
  morePages();
}

function notePages() {
  const last = $("sheets").children.length;
  $("more-pages").hidden = last >= numPages || loadingPages;
  $("pages-note").textContent = numPages > 1 ? `${last} of ${numPages} pages; select one to enlarge it` : "";
}

let loadingPages = false;

async function morePages() {
  loadingPages = true;
  try { await loadPages(); } finally { loadingPages = false; }
  notePages();
}

async function loadPages() {
  const id = pagesOf, first = $("sheets").children.length + 1;
  const last = Math.min(numPages, first + PAGES_AT_ONCE - 1);
  for (let number = first; number <= last; number += 1) {
    const sheet = document.createElement("button");
    sheet.type = "button";
    sheet.setAttribute("aria-label", `Page ${number}, enlarge`);
    const image = Object.assign(document.createElement("img"), { alt: "" });
    const frame = Object.assign(document.createElement("b"), { className: "sheet" });
    frame.append(image, Object.assign(document.createElement("i"), { className: "marks" }));
    sheet.append(frame, Object.assign(document.createElement("span"), { textContent: number }));
    sheet.addEventListener("click", () => enlarge(image, number));
    $("sheets").append(sheet);
    notePages();
    try {
      const reply = await call(`v1/jobs/${id}/pages/${number}.png`);
      image.src = URL.createObjectURL(await reply.blob());
    } catch (error) {
      $("pages-note").textContent = error.message;
      return;
    }
    if (pagesOf !== id) return;
  }
}

function enlarge(image, number) {
  $("large").src = image.src;
  $("large").alt = `Page ${number}`;
  $("large-marks").replaceChildren();
  $("viewer").showModal();
}

// Recent jobs ---------------------------------------------------------------------------------

function stored() {
  try { return JSON.parse(localStorage.getItem(RECENT)) || []; } catch { return []; }
}

function remember(jobs) {
  try { localStorage.setItem(RECENT, JSON.stringify([...jobs, ...stored()].slice(0, 30))); } catch { /* private mode */ }
}

let drawing = null;
function recent() {
  // Many cards change at once: one look for all of them.
  drawing ??= setTimeout(async () => { drawing = null; await drawRecent(); }, 300);
}

async function drawRecent() {
  const jobs = stored();
  if (!jobs.length) { $("recent").replaceChildren(); return; }
  let found;
  try {
    found = (await (await call(`v1/jobs?ids=${jobs.map((job) => job.id).join(",")}`)).json()).jobs;
  } catch { return; }
  const known = new Map(found.map((job) => [job.id, job]));
  $("recent").replaceChildren(...jobs.map(({ id, question }) => {
    const job = known.get(id);
    const seconds = job?.finished_at ? (job.finished_at - job.created_at).toFixed(2) : "";
    const row = document.createElement("tr");
    for (const text of [question, job ? job.status : "expired", job?.progress.num_pages || "",
      job?.progress.num_answer_tokens || "", seconds]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    const cell = document.createElement("td");
    const open = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: id.slice(0, 8), title: id, disabled: !job });
    open.setAttribute("aria-label", `Show the answer to: ${question}`);
    open.addEventListener("click", () => { show([job], [question]); $("answers").focus(); });
    cell.append(open);
    row.append(cell);
    return row;
  }));
}

async function reader() {
  try {
    const found = await (await call("v1/reader")).json();
    $("reader").hidden = false;
    $("reader").classList.toggle("demo", found.demonstration);
    $("reader-name").textContent = `Reader: ${found.models.join(", ")}.`;
    $("reader-about").textContent = found.about;
    const known = [...$("style").options].map((option) => option.value);
    for (const name of found.styles) {
      if (!known.includes(name)) $("style").append(new Option(name, name));
    }
  } catch { /* a key is needed first; it is asked again with one */ }
}

async function health() {
  const line = $("health");
  try {
    const reply = await fetch("readyz");
    const body = await reply.json();
    const { render = 0, answer = 0 } = body.workers || {};
    line.className = `health ${reply.ok && render && answer ? "ready" : reply.ok ? "" : "down"}`;
    line.textContent = reply.ok ? `${many(render, "render worker")}, ${many(answer, "answer worker")}` : body.detail;
  } catch {
    line.className = "health down";
    line.textContent = "the gateway does not answer";
  }
}

// Start ---------------------------------------------------------------------------------------

$("document").dataset.hint = $("document").placeholder;
$("key").value = sessionStorage.getItem(KEY) || "";
$("key").addEventListener("change", () => { sessionStorage.setItem(KEY, $("key").value.trim()); drawRecent(); reader(); });
$("ask").addEventListener("submit", ask);
$("more").addEventListener("click", () => addQuestion().focus());
$("stop").addEventListener("click", stopAll);
$("document").addEventListener("input", measure);
$("file").addEventListener("change", (event) => choose(event.target.files[0] || null));
$("sample").addEventListener("click", async () => {
  const sample = await (await fetch("sample.json")).json();
  choose(null);
  $("document").value = sample.document;
  $("questions").replaceChildren();
  for (const text of sample.questions) addQuestion(text);
  measure();
});
for (const name of ["dragenter", "dragover"]) {
  $("drop").addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  else { choose(null); $("document").value = event.dataTransfer.getData("text"); measure(); }
});
$("more-pages").addEventListener("click", morePages);
$("close").addEventListener("click", () => $("viewer").close());
$("forget").addEventListener("click", () => { localStorage.removeItem(RECENT); drawRecent(); });
addQuestion();
health();
reader();
setInterval(() => { if (!document.hidden) { health(); reader(); } }, 10_000);
drawRecent();
