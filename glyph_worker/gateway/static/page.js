"use strict";
// The page speaks the public API and nothing else. State: the chosen files, the jobs on screen.

const $ = (id) => document.getElementById(id);
const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const STAGES = { rendering: "drawing pages", reading: "reading its parts", encoding: "encoding pages", prefilling: "reading", thinking: "thinking", decoding: "writing" };
const FORMS = {
  "": "", json_object: "",
  choices: "The choices, one per line",
  regex: "The regular expression that the whole answer matches",
  json_schema: "The JSON schema",
};
// Which field an option is, where their names differ: an error about the option leads there.
const FIELD_OF = { choices: "form-text", regex: "form-text", response_format: "form-text" };
// Least share of right answers, and how such an answer is called.
const SURE = [[0.95, "Very likely right"], [0.8, "Likely right"], [0.5, "May be wrong"], [0, "Likely wrong"]];
const RECENT = "glyph-worker.recent", KEY = "glyph-worker.key";

let files = [];
let shown = [];
let limits = null;

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
  let detail = `${reply.status} ${reply.statusText}`, option = reply.status === 401 ? "key" : "";
  try {
    const problem = await reply.json();
    detail = problem.detail || detail;
    option ||= problem.option || problem.errors?.[0].at.split(".")[0] || "";
  } catch { /* not ours: a proxy's page */ }
  return Object.assign(new Error(detail), { status: reply.status, option });
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
  if (limits) input.maxLength = limits.max_question_chars;
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

// Each is a document of its own; a question is about all of them.
function choose(...chosen) {
  files = chosen;
  const some = files.length > 0;
  $("document").required = !some;
  $("document").disabled = some;
  if (some) $("document").value = "";
  $("document").placeholder = some ? `${files.map((one) => one.name).join(", ")} will be sent` : $("document").dataset.hint;
  measure();
}

const bytes = (size) => (size >= 1e6 ? `${+(size / 1e6).toFixed(1)} MB` : size >= 1e3 ? `${(size / 1e3).toFixed(1)} kB` : `${size} bytes`);

function measure() {
  const size = files.length ? files.reduce((sum, one) => sum + one.size, 0) : new Blob([$("document").value]).size;
  const most = limits ? (files.length ? limits.max_body_bytes : limits.max_document_bytes) : Infinity;
  const text = bytes(size) + (size > most ? `; the limit is ${bytes(most)}` : "");
  $("size").classList.toggle("wrong", size > most);
  $("size").textContent = files.length ? `${files.length === 1 ? files[0].name : many(files.length, "file")}, ${text}` : size ? text : "";
  if (files.length) {
    const drop = document.createElement("button");
    drop.type = "button"; drop.className = "link"; drop.textContent = "remove";
    drop.addEventListener("click", () => { $("file").value = ""; choose(); $("file").focus(); });
    $("size").append(" ", drop);
  }
}

// The answer's form needs a text of its own, or none.
function chooseForm() {
  const label = FORMS[$("form").value];
  $("form-row").hidden = !label;
  $("form-label").textContent = label;
  $("form-text").rows = $("form").value === "regex" ? 1 : 5;
}

function options() {
  const chosen = { max_new_tokens: Number($("max_new_tokens").value) || 512, priority: $("priority").value };
  for (const name of ["style", "literals", "overflow", "thinking"]) if ($(name).value) chosen[name] = $(name).value;
  if ($("max_thinking_tokens").value) chosen.max_thinking_tokens = Number($("max_thinking_tokens").value);
  if ($("include_thinking").checked) chosen.include_thinking = true;
  const form = $("form").value, text = $("form-text").value;
  if (form === "choices") chosen.choices = text.split("\n").map((one) => one.trim()).filter(Boolean);
  if (form === "regex") chosen.regex = text.trim();
  if (form === "json_object") chosen.response_format = { type: "json_object" };
  if (form === "json_schema") chosen.response_format = { type: "json_schema", json_schema: { name: "answer", schema: schema(text) } };
  return chosen;
}

function schema(text) {
  try { return JSON.parse(text); } catch (error) {
    throw Object.assign(new Error(`The schema is no JSON: ${error.message}`), { option: "response_format" });
  }
}

// In a form each choice is a field of its own, and what is no text is JSON.
function fields(chosen) {
  return Object.entries(chosen).flatMap(([name, value]) => (Array.isArray(value) ? value : [value])
    .map((one) => [name, typeof one === "object" ? JSON.stringify(one) : one]));
}

async function ask(event) {
  event.preventDefault();
  const asked = questions();
  say("");
  document.querySelectorAll("[aria-invalid]").forEach(accept);
  clear();
  $("send").disabled = true;
  try {
    let body, more = {};
    if (files.length) {
      body = new FormData();
      for (const one of files) body.append("document", one, one.name);
      for (const question of asked) body.append("question", question);
      for (const [name, value] of fields(options())) body.append(name, value);
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
    pointAt(error.option);
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

// Leads to the field that an error is about.
function pointAt(option) {
  const field = option && $(FIELD_OF[option] || option);
  if (!field) return;
  if ($("options").contains(field)) $("options").open = true;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", "problem");
  field.addEventListener("input", () => accept(field), { once: true });
  field.focus();
}

function accept(field) {
  field.removeAttribute("aria-invalid");
  field.removeAttribute("aria-describedby");
}

// What is shown belongs to what was asked: an old answer must not stand beside a new error.
function clear() {
  for (const card of shown) card.leave.abort();
  shown = [];
  $("cards").replaceChildren();
  $("summary").textContent = "";
  $("stop").hidden = true;
  closePages();
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

  get reason() { return this.job.error?.message || "no reason given"; }

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
    this.toldAt = performance.now();
    const { progress: p } = job;
    const badge = this.root.querySelector(".badge");
    const final = FINAL.has(job.status);
    badge.textContent = job.status === "running" ? STAGES[job.stage] || job.stage : job.status;
    badge.className = `badge ${job.status}`;
    this.tell();
    const bar = this.root.querySelector("progress");
    bar.hidden = final;
    const read = p.num_prompt_tokens ? p.num_prefilled_tokens / p.num_prompt_tokens : 0;
    const ready = p.num_pages ? p.num_pages_ready / p.num_pages : 0;
    bar.value = job.status === "queued" ? 0 : 0.1 + 0.3 * ready + 0.4 * read + (p.num_answer_tokens ? 0.1 : 0);
    if (p.num_pages && !this.closed) showPages(this.id, p.num_pages);
    recent();
  }

  // How far it is; what is left goes down between two events, too.
  tell() {
    const { job } = this, { progress: p } = job, where = [];
    if (!FINAL.has(job.status) && p.num_pages) {
      where.push(p.num_pages_ready ? `${p.num_pages_ready} of ${many(p.num_pages, "page")} ready` : many(p.num_pages, "page"));
    }
    if (!FINAL.has(job.status) && p.num_segments) where.push(`${p.num_segments_done} of ${many(p.num_segments, "part")} read`);
    if (p.num_thinking_tokens) where.push(`${many(p.num_thinking_tokens, "token")} thought`);
    if (p.num_answer_tokens) where.push(`${many(p.num_answer_tokens, "token")} written`);
    if (job.status === "queued" && job.position != null) {
      where.push(job.position ? `${many(job.position, "job")} before it` : "next in line");
    }
    if (job.eta) where.push(left(job.eta.p50_s - (performance.now() - this.toldAt) / 1e3));
    if (job.attempt > 1) where.push(`attempt ${job.attempt}`);
    this.root.querySelector(".where").textContent = where.join(" · ");
  }

  async end() {
    const answer = this.root.querySelector(".answer");
    answer.classList.remove("writing");
    if (shown.every((card) => FINAL.has(card.job.status))) $("stop").hidden = true;
    if (this.job.status === "failed") this.fail(this.reason);
    sumUp();
    if (this.job.status !== "succeeded") return;
    try {
      const done = await (await call(`v1/jobs/${this.id}/result`)).json();
      this.write(done);
      this.prove(done);
      this.receipt(done.receipt);
    } catch (error) { this.fail(error.message); }
  }

  // The answer, with what the document has of it and what it has not marked in its text.
  write(done) {
    const chars = [...done.text];  // places count characters, and JavaScript halves of some
    const marks = [
      ...(done.citations || []).map((one, at) => ({ start: one.answer_start, end: one.answer_end, cite: at })),
      ...(done.literals || []).filter((one) => one.status === "unsupported"),
    ];
    const edges = [...new Set([0, chars.length, ...marks.flatMap((one) => [one.start, one.end])])]
      .filter((edge) => edge >= 0 && edge <= chars.length).sort((a, b) => a - b);
    const parts = edges.slice(1).map((end, at) => {
      const start = edges[at], text = chars.slice(start, end).join("");
      const over = marks.filter((one) => one.start <= start && one.end >= end);
      if (!over.length) return text;
      const mark = Object.assign(document.createElement("mark"), { textContent: text });
      mark.classList.toggle("doubtful", over.some((one) => one.status));
      mark.dataset.last = over.some((one) => one.status && one.end === end);
      mark.dataset.cites = over.filter((one) => !one.status).map((one) => one.cite).join(" ");
      return mark;
    });
    this.root.querySelector(".answer").replaceChildren(...(done.text ? parts : ["(the model answered nothing)"]));
    this.root.querySelector(".thoughts").hidden = !done.thinking;
    this.root.querySelector(".thoughts p").textContent = done.thinking || "";
  }

  // The parts of the answer that one of its citations is about.
  pointTo(cite) {
    for (const mark of document.querySelectorAll("mark.pointed")) mark.classList.remove("pointed");
    for (const mark of this.root.querySelectorAll(`mark[data-cites~="${cite}"]`)) mark.classList.add("pointed");
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
    if (done.read_as) {
      lines.push(line("mended", done.found === false
        ? `≈ Too doubtful to be given: the model read ${done.read_as}.`
        : `≈ Taken from the document: the model wrote ${done.read_as}.`));
    }
    if (done.verified) lines.push(line("", `✓ ${literals.length > 1 ? `All ${literals.length} literals stand` : "It stands"} in the document.`));
    if (done.found === false && !done.read_as) lines.push(line("", "The model says that the document does not have it."));
    if (done.finish_reason === "length") lines.push(line("mended", "… Cut off: it is as long as was allowed. Ask for a longer one under Options."));
    if (done.confidence != null) {
      const [, words] = SURE.find(([least]) => done.confidence >= least);
      lines.push(line("note", `${words}: of such answers ${Math.round(100 * done.confidence)} in 100 are right.`));
    }
    if (citations.length) {
      const list = document.createElement("ul");
      citations.forEach((one, at) => {
        const item = document.createElement("li");
        item.append(this.cite(one, at));
        list.append(item);
      });
      lines.push(list);
    }
    proof.replaceChildren(...lines);
    proof.hidden = !lines.length;
  }

  cite(one, at) {
    const sign = one.kind === "exact" ? "✓" : "≈";
    const text = one.text.length > 60 ? `${one.text.slice(0, 59)}…` : one.text;
    const of = one.document ? `${one.document}, ` : "";
    const where = of + (one.page == null ? "in the document" : `page ${one.page}`);
    const button = Object.assign(document.createElement("button"), { type: "button", className: "cite",
      textContent: `${sign} ${where}: ${text}` });
    button.title = { exact: "stands there as it is", normalized: "stands there in another spacing, case or spelling",
      close: `close: ${Math.round(100 * one.score)} % in common` }[one.kind] || one.kind;
    if (one.page == null) { button.disabled = true; return button; }
    button.setAttribute("aria-pressed", "false");
    // Pointing at it, or reaching it by keyboard, marks it on its page; pressing enlarges that page.
    for (const name of ["mouseenter", "focus"]) button.addEventListener(name, () => { this.pointTo(at); markPlace(this.id, one, button); });
    button.addEventListener("click", () => { this.pointTo(at); showPlace(this.id, one, button); });
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

// Of several questions: how many failed, and each kind of reason with how often it was given. What
// differs by a number alone is one kind. A reason that stands there is not said again below it.
function sumUp() {
  const failed = shown.filter((card) => card.job.status === "failed");
  const kinds = new Map();
  for (const card of failed) {
    const code = card.job.error?.code || card.reason;
    kinds.set(code, [...(kinds.get(code) || []), card]);
  }
  const told = [...kinds.values()].map(([first, ...others]) => {
    if (!others.length) return first.reason;
    const same = others.every((card) => card.reason === first.reason);
    for (const card of [first, ...others]) if (card.reason === first.reason) card.fail("The reason stands above.");
    return `${others.length + 1} times${same ? "" : ", such as"}: ${first.reason}`;
  });
  $("summary").textContent = failed.length > 1 ? `${failed.length} of ${many(shown.length, "question")} failed. ${told.join(" · ")}` : "";
}

const count = (number) => number.toLocaleString("en");
const many = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const left = (s) => (s < -5 ? "longer than most take" : s < 1 ? "any moment now" : `about ${s >= 90 ? many(Math.round(s / 60), "minute") : `${Math.round(s)} s`} left`);
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
    open.setAttribute("aria-label", `${id.slice(0, 8)}, show the answer to: ${question}`);
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
    limits = found.limits;
    $("limits").textContent = `It takes text of up to ${bytes(limits.max_document_bytes)} and ${count(limits.max_pages)} pages, `
      + `files of up to ${bytes(limits.max_body_bytes)}, ${count(limits.max_questions)} questions at once of ${count(limits.max_question_chars)} `
      + `characters each, and gives answers of up to ${count(limits.max_new_tokens)} tokens.`;
    $("max_new_tokens").max = limits.max_new_tokens;
    for (const input of $("questions").querySelectorAll("input")) input.maxLength = limits.max_question_chars;
    const known = [...$("style").options].map((option) => option.value);
    for (const name of found.styles) {
      if (!known.includes(name)) $("style").append(new Option(`${name}: ${found.style_sizes[name]}`, name));
    }
    measure();
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
$("file").addEventListener("change", (event) => choose(...event.target.files));
$("sample").addEventListener("click", async () => {
  const sample = await (await fetch("sample.json")).json();
  choose();
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
  if (event.dataTransfer.files.length) choose(...event.dataTransfer.files);
  else { choose(); $("document").value = event.dataTransfer.getData("text"); measure(); }
});
$("form").addEventListener("change", chooseForm);
$("earlier-pages").addEventListener("click", () => leafTo(firstPage - PAGES_AT_ONCE));
$("later-pages").addEventListener("click", () => leafTo(firstPage + PAGES_AT_ONCE));
$("page-number").addEventListener("change", (event) => leafTo(event.target.value));
$("close").addEventListener("click", () => $("viewer").close());
$("forget").addEventListener("click", () => { localStorage.removeItem(RECENT); drawRecent(); });
addQuestion();
health();
reader();
setInterval(() => { for (const card of shown) if (!FINAL.has(card.job.status)) card.tell(); }, 1_000);
setInterval(() => { if (!document.hidden) { health(); reader(); } }, 10_000);
drawRecent();
