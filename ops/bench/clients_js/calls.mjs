// Makes the calls that stand on standard input with OpenAI's JavaScript client, one after another,
// and prints what each gave: node calls.mjs BASE_URL < calls.json. See bench/clients_calls.py.
import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const ai = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 4, timeout: 120_000 });
const FINAL = new Set(["completed", "failed", "cancelled", "incomplete"]);
const BATCH_FINAL = new Set(["completed", "failed", "expired", "cancelled"]);
const pause = () => new Promise((go) => setTimeout(go, 200));

const polled = async (id) => {
  for (;;) {
    const now = await ai.responses.retrieve(id);
    if (FINAL.has(now.status)) return now;
    await pause();
  }
};

const kinds = {
  models: async () => {
    const names = [];
    for await (const model of ai.models.list()) names.push(model.id);
    return { text: names.join(" ") };
  },
  chat: async (body) => {
    const done = await ai.chat.completions.create(body);
    return { text: done.choices[0].message.content, tokens: done.usage.completion_tokens };
  },
  stream: async (body) => {
    let text = "", tokens = 0;
    const options = { stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await ai.chat.completions.create({ ...body, ...options })) {
      text += chunk.choices[0]?.delta?.content ?? "";
      tokens = chunk.usage?.completion_tokens ?? tokens;
    }
    return { text, tokens };
  },
  background: async (body) => {
    const made = await ai.responses.create({ ...body, background: true });
    const done = await polled(made.id);
    return { text: done.output_text, tokens: done.usage.output_tokens };
  },
  resume: async (body) => {
    let id, seen = 0;
    for await (const event of await ai.responses.create({ ...body, stream: true })) {
      id ??= event.response.id;
      seen = event.sequence_number;
      if (seen === 2) break;
    }
    const options = { stream: true, starting_after: seen };
    for await (const event of await ai.responses.retrieve(id, options)) {
      if (event.sequence_number !== ++seen) throw new Error(`event ${event.sequence_number}`);
      if (event.type === "response.completed" || event.type === "response.incomplete") {
        return { text: event.response.output[0].content[0].text, tokens: event.response.usage.output_tokens };
      }
    }
    return { text: null };
  },
  files: async (names) => {
    for (const name of names) {
      await ai.files.create({ file: await toFile(Buffer.from("port: 8443"), name), purpose: "user_data" });
    }
    const listed = [];
    for await (const file of ai.files.list({ purpose: "user_data", limit: 2, order: "asc" })) {
      if (!names.includes(file.filename)) continue;
      listed.push(file.filename);
      await ai.files.delete(file.id);
    }
    return { listed };
  },
  cancel: async (body) => {
    const made = await ai.responses.create({ ...body, background: true });
    await ai.responses.cancel(made.id);
    return { ended: FINAL.has((await polled(made.id)).status) };
  },
  batch: async (lines) => {
    const raw = lines.map((line) => JSON.stringify(line)).join("\n");
    const file = await ai.files.create({ file: await toFile(Buffer.from(raw), "in.jsonl"), purpose: "batch" });
    let batch = await ai.batches.create(
      { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
    while (!BATCH_FINAL.has(batch.status)) {
      await pause();
      batch = await ai.batches.retrieve(batch.id);
    }
    const text = await (await ai.files.content(batch.output_file_id)).text();
    const rows = text.trim().split("\n").map((row) => JSON.parse(row));
    return { texts: rows.map((row) => row.response.body.choices[0].message.content) };
  },
};

const found = [];
for (const [kind, body] of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    found.push(await kinds[kind](body));
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    found.push({ refused: error.param ?? error.code });
  }
}
console.log(JSON.stringify(found));
