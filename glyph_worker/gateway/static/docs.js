// The reference at /docs, made of /openapi.json in the browser. No other host, nothing stored.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const MAX_DEPTH = 3;

const el = (name, text, className) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const resolved = (spec, schema) => {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? spec.components.schemas[name] || {} : schema || {};
};

// What a value may be, in a few words.
const typeOf = (spec, schema, depth = 0) => {
  if (!schema || depth > MAX_DEPTH) return "…";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const several = schema.anyOf || schema.oneOf || schema.allOf;
  if (several) return [...new Set(several.map((one) => typeOf(spec, one, depth + 1)))].join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(spec, schema.items, depth + 1)}`;
  return schema.format || schema.type || "any";
};

const bounds = (schema) => {
  const told = [];
  const flat = (schema.anyOf || []).find((one) => one.type !== "null") || schema;
  const low = flat.minimum ?? flat.exclusiveMinimum, high = flat.maximum ?? flat.exclusiveMaximum;
  if (low !== undefined) told.push(`${flat.minimum === undefined ? "above" : "from"} ${low}`);
  if (high !== undefined) told.push(`up to ${high}`);
  if (flat.maxLength) told.push(`${flat.minLength || 0} to ${flat.maxLength} characters`);
  if (schema.default !== undefined && schema.default !== null) told.push(`default ${JSON.stringify(schema.default)}`);
  return told.join(", ");
};

const table = (rows) => {
  const made = el("table");
  for (const row of rows) {
    const line = made.insertRow();
    row.forEach((text, at) => line.insertCell().append(at ? document.createTextNode(text) : el("code", text)));
  }
  return made;
};

const fields = (spec, schema) => {
  const whole = resolved(spec, schema);
  const needed = new Set(whole.required || []);
  return Object.entries(whole.properties || {}).map(([name, one]) => [
    needed.has(name) ? `${name} *` : name,
    [typeOf(spec, one), bounds(one)].filter(Boolean).join("; "),
    one.description || "",
  ]);
};

const exampleOf = (spec, media) => {
  const named = media.examples && Object.values(media.examples)[0];
  if (named) return named.value;
  const schema = resolved(spec, media.schema);
  return (schema.examples || [])[0];
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const curl = (method, path, example, form) => {
  const parts = ["curl -s"];
  if (method !== "get" && !(method === "post" && (example || form))) parts.push(`-X ${method.toUpperCase()}`);
  parts.push(quoted(location.origin + path));
  if (example) parts.push("-H 'content-type: application/json' -d", quoted(JSON.stringify(example)));
  else if (form) parts.push(...form.map((name) => `-F ${name}=…`));
  return parts.join(" ");
};

const operation = (spec, method, path, told) => {
  const box = el("details");
  box.dataset.words = [method, path, told.summary, told.description].join(" ").toLowerCase();
  const head = el("summary");
  head.append(el("span", method.toUpperCase(), "method"), el("code", path), ` ${told.summary || ""}`);
  box.append(head);
  if (told.description) box.append(el("p", told.description));
  const parameters = (told.parameters || []).map((one) => [
    one.required ? `${one.name} *` : one.name,
    [one.in, typeOf(spec, one.schema), bounds(one.schema || {})].filter(Boolean).join("; "),
    one.description || "",
  ]);
  if (parameters.length) box.append(el("h3", "Parameters"), table(parameters));
  let example, form;
  for (const [kind, media] of Object.entries((told.requestBody || {}).content || {})) {
    box.append(el("h3", `Body, ${kind}`), table(fields(spec, media.schema)));
    const found = exampleOf(spec, media);
    if (found && kind === "application/json") {
      example = found;
      box.append(el("pre", JSON.stringify(found, null, 1)));
    } else if (kind === "multipart/form-data") {
      form = resolved(spec, media.schema).required;
    }
  }
  box.append(el("h3", "On a command line"), el("pre", curl(method, path, example, form)));
  box.append(el("h3", "Replies"), table(Object.entries(told.responses).map(([status, reply]) => [
    status, Object.values(reply.content || {}).map((one) => typeOf(spec, one.schema)).join(" or "),
    reply.description || "",
  ])));
  return box;
};

const show = (spec) => {
  document.getElementById("version").textContent = spec.info.version;
  document.getElementById("about").textContent = spec.info.description;
  const groups = new Map();
  for (const [path, verbs] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((one) => verbs[one])) {
      const tag = (verbs[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(spec, method, path, verbs[method]));
    }
  }
  const place = document.getElementById("operations");
  place.replaceChildren();
  for (const [tag, boxes] of groups) {
    const section = el("section");
    section.append(el("h2", tag), ...boxes);
    place.append(section);
  }
};

const filter = (words) => {
  for (const section of document.querySelectorAll("#operations section")) {
    const boxes = [...section.querySelectorAll("details")];
    for (const box of boxes) box.hidden = !box.dataset.words.includes(words);
    section.hidden = boxes.every((box) => box.hidden);
  }
};

document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value.trim().toLowerCase()));

fetch("/openapi.json")
  .then((reply) => reply.ok ? reply.json() : Promise.reject(new Error(`status ${reply.status}`)))
  .then(show)
  .catch((error) => {
    document.getElementById("operations").replaceChildren(el("p", `The description cannot be read: ${error.message}`));
  });
