// Asks yaml-language-server, as an editor does, over the language server protocol, and prints
// what is not as it should be as check.mjs prints its errors.
//
//   node editor.mjs PIPELINE OVERLAY WITH_PLUGINS FILE...
//
// The first three are schemas. No file may get a diagnostic, by the schema that it names itself
// or, if it names none, by the first. Below are texts with what is completed in them, and
// mistakes with what is said of them.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Stands in a text where completions are asked for. */
const HERE = "¦";
const HEAD = "version: 1\nname: a\n";
const REST =
  "model: { id: m }\nworkload: { prompts: [a] }\nstages: [{ measure: {} }, { report: {} }]\n";

const STAGES = ["setup", "load", "warmup", "measure", "unload", "report"];
const ARRIVALS = ["concurrency", "ramp", "constant", "poisson", "gamma", "replay"];

/** Texts, the schema, the labels that must be offered, and whether no others may be. */
const COMPLETED = [
  ["top", "pipeline", `${HEAD}${HERE}`, ["engine", "engines", "model", "models", "vars", "stages"]],
  ["an overlay", "overlay", HERE, ["engines", "models", "schedule", "vars"]],
  ["stages", "pipeline", `${HEAD}stages:\n  - load: {}\n  - ${HERE}`, STAGES, true],
  ["arrivals", "pipeline", `${HEAD}stages:\n  - measure:\n      arrival:\n        ${HERE}`, ARRIVALS, true],
  ["arrivals of a warm-up", "pipeline", `${HEAD}stages:\n  - warmup:\n      arrival:\n        ${HERE}`, ARRIVALS, true],
  ["caches", "pipeline", `${HEAD}stages:\n  - measure:\n      cache: ${HERE}`, ["cold", "warm"], true],
  ["formats", "pipeline", `${HEAD}workload:\n  dataset:\n    path: x\n    format: ${HERE}`, ["sharegpt", "openai"]],
  ["engines", "plugins", `${HEAD}engine:\n  plugin: ${HERE}\n`, ["openai", "lines", "llama-cpp", "vllm"]],
  ["options", "plugins", `${HEAD}engine:\n  plugin: llama-cpp\n  config:\n    ${HERE}`, ["threads", "context", "base_url"]],
  ["options of the second", "plugins", `${HEAD}engines:\n  a: { plugin: candle }\n  b:\n    plugin: lines\n    config:\n      ${HERE}`, ["command", "cwd"]],
  ["options of a reporter", "plugins", `${HEAD}reporters:\n  page:\n    plugin: console\n    config:\n      ${HERE}`, ["width"]],
];

/** Texts with one mistake, the schema, the place and a part of what is said of it. */
const MISTAKES = [
  ["a name", "pipeline", `version: 1\nname: A B\nengine: { plugin: x }\n${REST}`, "2:7", "lower-case letters, digits"],
  ["a duration", "pipeline", `${HEAD}engine: { plugin: x }\nmodel: { id: m }\nworkload: { prompts: [a], request_timeout: 5q }\nstages: [{ measure: {} }]\n`, "5:44", "Expected a number and a unit"],
  ["a number", "pipeline", `${HEAD}engine: { plugin: x }\nmodel: { id: m }\nworkload: { prompts: [a], max_tokens: many }\nstages: [{ measure: {} }]\n`, "5:39", "Expected an integer, or a `${{ }}` expression."],
  ["a stage", "pipeline", `${HEAD}engine: { plugin: x }\nmodel: { id: m }\nworkload: { prompts: [a] }\nstages: [{ mesure: {} }]\n`, "6:12", "mesure"],
  ["an arrival", "pipeline", `${HEAD}engine: { plugin: x }\nmodel: { id: m }\nworkload: { prompts: [a] }\nstages: [{ measure: { arrival: { constnt: 3 } } }]\n`, "6:34", "constnt"],
  ["a key", "pipeline", `${HEAD}engine: { plugin: x }\n${REST}modles: []\n`, "7:1", "modles"],
  ["an option", "plugins", `${HEAD}engine: { plugin: llama-cpp, config: { thread: 4 } }\n${REST}`, "3:40", "thread"],
  ["an overlay's option", "overlay", "schedule: { cycls: 3 }\n", "1:13", "cycls"],
];

const [pipeline, overlay, plugins, ...files] = process.argv.slice(2);
const schemas = { pipeline, overlay, plugins };
const associated = Object.entries(schemas).map(([name, path]) => [
  pathToFileURL(resolve(path)).href,
  [`*.${name}.case.yaml`],
]);

const settings = {
  yaml: {
    validate: true,
    completion: true,
    hover: true,
    schemaStore: { enable: false },
    schemas: Object.fromEntries(associated),
  },
};

/** A language server over standard input and output. */
class Server {
  #child;
  #buffer = Buffer.alloc(0);
  #waiting = new Map();
  #opened = new Map();
  #next = 1;

  constructor(program) {
    const options = { stdio: ["pipe", "pipe", "inherit"] };
    this.#child = spawn(process.execPath, [program, "--stdio"], options);
    this.#child.stdout.on("data", (data) => this.#read(data));
    this.#child.on("exit", (code) => {
      console.error(`yaml-language-server ended with ${code}`);
      process.exit(1);
    });
  }

  #read(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    for (;;) {
      const end = this.#buffer.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = this.#buffer.toString("latin1", 0, end);
      const from = end + 4;
      const to = from + Number(/content-length: (\d+)/i.exec(head)[1]);
      if (this.#buffer.length < to) return;
      const message = JSON.parse(this.#buffer.toString("utf8", from, to));
      this.#buffer = this.#buffer.subarray(to);
      this.#take(message);
    }
  }

  #send(message) {
    const text = JSON.stringify({ jsonrpc: "2.0", ...message });
    this.#child.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  #take({ id, method, params, result, error }) {
    if (method === "workspace/configuration") {
      const of = ({ section }) => settings[section] ?? {};
      this.#send({ id, result: params.items.map(of) });
    } else if (method !== undefined && id !== undefined) {
      this.#send({ id, result: null });
    } else if (method === "textDocument/publishDiagnostics") {
      this.#opened.get(params.uri)?.(params.diagnostics);
    } else if (method === undefined) {
      const { done, failed } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) failed(new Error(error.message));
      else done(result);
    }
  }

  ask(method, params) {
    const id = this.#next++;
    const answer = new Promise((done, failed) => this.#waiting.set(id, { done, failed }));
    this.#send({ id, method, params });
    return answer;
  }

  async start() {
    const completionItem = { snippetSupport: true, documentationFormat: ["markdown"] };
    await this.ask("initialize", {
      processId: process.pid,
      rootUri: null,
      capabilities: {
        workspace: { configuration: true },
        textDocument: { completion: { completionItem }, hover: { contentFormat: ["markdown"] } },
      },
    });
    this.#send({ method: "initialized", params: {} });
    this.#send({ method: "workspace/didChangeConfiguration", params: { settings } });
  }

  /** Opens a text, and returns the first diagnostics about it. */
  open(uri, text) {
    const told = new Promise((done) => this.#opened.set(uri, done));
    const textDocument = { uri, languageId: "yaml", version: 1, text };
    this.#send({ method: "textDocument/didOpen", params: { textDocument } });
    return told;
  }
}

const errors = [];
const blame = (filename, path, message) => errors.push({ filename, path, message });

const place = ({ range: { start } }) => `${start.line + 1}:${start.character + 1}`;
let cases = 0;
const address = (schema) => `file:///${cases++}.${schema}.case.yaml`;

const program = import.meta.resolve("yaml-language-server/bin/yaml-language-server");
const server = new Server(fileURLToPath(program));
await server.start();

for (const file of files) {
  const text = readFileSync(file, "utf8");
  const names = text.includes("yaml-language-server: $schema=");
  const uri = names ? pathToFileURL(resolve(file)).href : address("pipeline");
  for (const found of await server.open(uri, text)) blame(file, place(found), found.message);
  // What ships uses plugins that ship.
  if (names && !text.includes("overlay.v1.json") && !file.startsWith("core/")) {
    const bare = text.replace("$schema=", "");
    const found = await server.open(address("plugins"), bare);
    for (const it of found) blame(file, place(it), `with plugins: ${it.message}`);
  }
}

for (const [name, schema, marked, wanted, isAll] of COMPLETED) {
  const lines = marked.slice(0, marked.indexOf(HERE)).split("\n");
  const position = { line: lines.length - 1, character: lines.at(-1).length };
  const uri = address(schema);
  await server.open(uri, marked.replace(HERE, ""));
  const answer = await server.ask("textDocument/completion", { textDocument: { uri }, position });
  const labels = (answer.items ?? answer).map((item) => item.label);
  const missing = wanted.filter((label) => !labels.includes(label));
  const twice = labels.filter((label, index) => labels.indexOf(label) !== index);
  const others = isAll ? labels.filter((label) => !wanted.includes(label)) : [];
  for (const [words, list] of Object.entries({ missing, twice, others })) {
    if (list.length > 0) blame(`completion: ${name}`, "/", `${words}: ${list.join(", ")}`);
  }
}

for (const [name, schema, text, where, words] of MISTAKES) {
  const found = await server.open(address(schema), text);
  const told = found.map((it) => `${place(it)} ${it.message}`);
  const isTold = found.length === 1 && place(found[0]) === where && found[0].message.includes(words);
  if (!isTold) blame(`mistake: ${name}`, where, `told: ${told.join("; ") || "nothing"}`);
}

const hovered = `${HEAD}schedule: { cycles: 3 }\n`;
const uri = address("pipeline");
await server.open(uri, hovered);
const position = { line: 2, character: 13 };
const hover = await server.ask("textDocument/hover", { textDocument: { uri }, position });
const text = hover?.contents?.value ?? "";
if (!text.includes("`open`: no maximum; a comparison goes on until it is decided or you end it.")) {
  blame("hover: cycles", "/", text);
}

console.log(JSON.stringify({ errors, parse_errors: [] }));
process.exit(0);
