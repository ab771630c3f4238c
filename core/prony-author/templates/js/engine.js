// An adapter for the server in toy/server.py. Change `encode` and `decode` to your engine's words.
//
// prony sends and receives; this says what to send, and explains afterwards what came back.

import { PluginError, attach, postJson, spawn } from "./sdk/prony_plugin.js";

export const manifest = {
  description: "{{ description }}",
  // Leave out "chat" if the engine takes plain prompts only; prony then renders conversations.
  apis: ["chat", "completions"],
  history: true,
  config_schema: {
    type: "object",
    additionalProperties: false,
    properties: {
      base_url: {
        type: "string",
        description: "Address of a server that runs, for example `http://127.0.0.1:8000`.",
      },
      program: {
        type: "array",
        items: { type: "string" },
        minItems: 1,
        description: "Command that starts a server; `--host` and `--port` are added.",
      },
    },
  },
};

/** How to start or reach the engine. */
export function launch(config, model, at) {
  const ready = { http: "/health" };
  if (config.base_url) return attach(config.base_url, ready);
  if (config.program) return spawn([...config.program, "--host", at.host, "--port", String(at.port)], at, ready);
  throw new PluginError("invalid-config", "give `base_url` of a server that runs, or `program` to start one");
}

/** One request. All that is in it is sent, or refused: other engines get the same work. */
export function encode(config, model, request) {
  const body = {
    model: model.id,
    max_tokens: request.maxTokens,
    temperature: request.temperature,
    seed: request.seed,
    ignore_eos: request.ignoreEos,
  };
  if (request.api === "completions") {
    if (request.system != null || request.history.length > 0) {
      throw new PluginError("unsupported", "a plain completion has neither system message nor history: use `api: chat`");
    }
    body.prompt = request.prompt;
  } else {
    const system = request.system == null ? [] : [{ role: "system", content: request.system }];
    body.messages = [...system, ...request.history, { role: "user", content: request.prompt }];
  }
  if (request.topP != null) body.top_p = request.topP;
  if (request.stop.length > 0) body.stop = request.stop;
  return postJson("/generate", body);
}

/** What came back: a JSON object a line, with `text`, or `error`, or `done` at the end. */
export function decode(config, response, events) {
  if (response.status !== 200) {
    events.failure(response.lastRead, response.text().slice(0, 200) || `status ${response.status}`);
    return;
  }
  for (const [read, line] of response.lines()) {
    if (!line.trim()) continue;
    const message = JSON.parse(line);
    if ("error" in message) events.failure(read, String(message.error));
    if (message.text) events.text(read, 1, message.text);
    if ("done" in message) {
      events.count(read, "prompt-tokens", message.prompt_tokens);
      events.count(read, "output-tokens", message.output_tokens);
      events.finish(read, message.done);
      events.end(read);
    }
  }
}
