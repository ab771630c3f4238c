// Joins your module to the contract. Written by `prony plugin build`; do not edit.

import { Events, PluginError, Response, bytesOf } from "./prony_plugin.js";
import * as plugin from "../{{ source }}";

// Here the build fails; without it the first request would.
for (const name of {{ functions }}) {
  if (typeof plugin[name] !== "function") {
    throw new Error(`{{ source }} exports no function \`${name}\`, which a plugin of the kind \`{{ kind }}\` needs`);
  }
}
if (plugin.manifest === undefined) throw new Error("{{ source }} exports no `manifest`");

/** An exception with its place in the author's own files. */
function words(error) {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const frames = String(error.stack ?? "").split("\n").map((it) => it.trim());
  const own = frames.filter((it) => it && !it.includes("prony_") && !it.includes("native"));
  const places = own.map((it) => it.replace(/^at /, "").replace(/\(.*\//, "("));
  return `${error.name}: ${error.message} (${places.join(", called from ") || "no frame"})`;
}

const KINDS = ["invalid-config", "unsupported", "malformed-response", "engine", "internal"];

/** A value for prony, with U+FFFD for what is no character: it takes no other text. */
function clean(it) {
  if (typeof it === "string") return it.replace(/\p{Surrogate}/gu, "\ufffd");
  if (Array.isArray(it)) return it.map(clean);
  if (it === null || typeof it !== "object" || ArrayBuffer.isView(it)) return it;
  return Object.fromEntries(Object.entries(it).map(([name, value]) => [name, clean(value)]));
}

/** The config, unless it has options that the manifest lacks, or lacks some that it needs. */
function options(config) {
  const refused = (message, path) => new PluginError("invalid-config", message, path);
  const [given, schema] = [JSON.parse(config), plugin.manifest.config_schema ?? {}];
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw refused("the config is not an object with options", "");
  }
  const known = Object.keys(schema.properties ?? {});
  const unknown = Object.keys(given).find((it) => !known.includes(it));
  if (unknown !== undefined && schema.additionalProperties === false) {
    const names = known.map((it) => `\`${it}\``).join(", ") || "none";
    const path = `/${unknown.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    throw refused(`unknown option \`${unknown}\`: the options are ${names}`, path);
  }
  const missing = (schema.required ?? []).find((it) => !Object.hasOwn(given, it));
  if (missing !== undefined) throw refused(`option \`${missing}\` is missing`, "");
  return given;
}

/** An exception reaches prony as an error with its text. */
function told(call) {
  try {
    return clean(call());
  } catch (error) {
    if (error instanceof PluginError) {
      const kind = KINDS.includes(error.kind) ? error.kind : "internal";
      throw clean({ kind, message: error.message, path: error.path ?? null });
    }
    throw clean({ kind: "internal", message: words(error), path: null });
  }
}

/** The value, if it has its type: another one would trap behind this. */
function is(type, where, it) {
  const fits = type === "list" ? Array.isArray(it) : type === "count" ? Number.isSafeInteger(it) && it >= 0 : typeof it === type;
  if (fits) return it;
  throw new TypeError(`\`${where}\` is ${JSON.stringify(it) ?? typeof it}, expected a ${type}`);
}

/** The same for what may be missing. */
const may = (type, where, it) => (it === undefined || it === null ? null : is(type, where, it));

const texts = (where, it) => is("list", where, it).map((one, index) => is("string", `${where}[${index}]`, one));

const described = (kind, transport) =>
  JSON.stringify({ ...plugin.manifest, name: "{{ name }}", version: "{{ version }}", kind, ...transport });

const pairs = (of) => Object.entries(of ?? {}).map(([name, value]) => ({ name, value: String(value) }));

const command = (it) => ({ argv: texts("command.argv", it.argv), env: pairs(it.env), cwd: may("string", "command.cwd", it.cwd) });

function ready(it) {
  if (it?.http !== undefined) return { tag: "http", val: is("string", "ready.http", it.http) };
  if (it?.logLine !== undefined) return { tag: "log-line", val: is("string", "ready.logLine", it.logLine) };
  return { tag: "immediate" };
}

const http = (it) => ({
  method: is("string", "method", it.method),
  path: is("string", "path", it.path),
  headers: pairs(it.headers),
  body: bytesOf(it.body ?? ""),
  endMarks: texts("endMarks", it.endMarks ?? []),
  answerHeaders: texts("answerHeaders", it.answerHeaders ?? []).map((name) => name.toLowerCase()),
  model: may("string", "model", it.model),
});

/** The request, unless its seed is a number that JavaScript rounds. */
function asked(request) {
  if (Number.isSafeInteger(request.seed)) return request;
  const message = "a plugin in JavaScript takes seeds up to 9007199254740991: choose a smaller `seed`";
  throw new PluginError("unsupported", message);
}

const json = (it) => (typeof it === "string" ? it : JSON.stringify(it));

const ending = (it) => ({
  at: is("string", "ends.at", it.at),
  value: it.value === undefined ? null : JSON.stringify(it.value),
  failed: is("boolean", "ends.failed", it.failed ?? false),
});

const exchange = (it) => ({ request: http(it.request), ends: (it.ends ?? []).map(ending) });

const message = (it) => ({ line: json(it.line), ids: it.ids.map(String), ends: it.ends.map(ending) });

function decoded(config, response) {
  const events = new Events();
  const { status, headers, body, ends } = response;
  plugin.decode(options(config), new Response(status, Uint8Array.from(body), ends, headers), events);
  for (const event of events.all) {
    is("string", "event.kind", event.kind);
    is("count", "event.tokens", event.tokens);
    is("string", "event.text", event.text);
  }
  return events.all;
}

{% if kind == "engine" -%}
export const engine = {
  describe: () => described("engine", { transport: "http" }),
  launch: (config, model, at) =>
    told(() => {
      const plan = plugin.launch(options(config), model, at);
      return {
        command: plan.command ? command(plan.command) : null,
        baseUrl: is("string", "baseUrl", plan.baseUrl),
        ready: ready(plan.ready),
        models: plan.models ? http(plan.models) : null,
        questions: [],
        load: (plan.load ?? []).map(exchange),
        unload: (plan.unload ?? []).map(exchange),
        reset: (plan.reset ?? []).map(exchange),
      };
    }),
  encode: (config, model, request) => told(() => http(plugin.encode(options(config), model, asked(request)))),
  decode: (config, response) => told(() => decoded(config, response)),
};
{% elif kind == "stdio-engine" -%}
export const stdioEngine = {
  describe: () => described("engine", { transport: "stdio" }),
  launch: (config, model) =>
    told(() => {
      const plan = plugin.launch(options(config), model);
      return {
        command: command(plan.command),
        ready: ready(plan.ready),
        idAt: texts("idAt", plan.idAt),
        opening: (plan.opening ?? []).map(message),
        closing: (plan.closing ?? []).map(message),
      };
    }),
  encode: (config, model, request, number) =>
    told(() => message(plugin.encode(options(config), model, asked(request), number))),
  decode: (config, response) => told(() => decoded(config, response)),
};
{% else -%}
export const reporter = {
  describe: () => described("reporter", {}),
  render: (config, result) =>
    told(() =>
      plugin.render(options(config), JSON.parse(result)).map((it) => ({
        name: is("string", "name", it.name),
        mediaType: is("string", "mediaType", it.mediaType),
        bytes: bytesOf(it.content),
      })),
    ),
};
{% endif -%}
