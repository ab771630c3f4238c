// An adapter for the program in toy/engine.py, which speaks lines of JSON. Change `encode` and
// `decode` to your engine's words.
//
// prony sends and receives; this says what to send, and explains afterwards what came back.

import { PluginError } from "./sdk/prony_plugin.js";

export const manifest = {
  description: "{{ description }}",
  // Leave out "chat" if the engine takes plain prompts only; prony then renders conversations.
  apis: ["chat", "completions"],
  history: true,
  config_schema: {
    type: "object",
    additionalProperties: false,
    required: ["command"],
    properties: {
      command: {
        type: "array",
        items: { type: "string" },
        minItems: 1,
        description: "Program and arguments, for example `[python3, toy/engine.py]`.",
      },
    },
  },
};

/** A line that is answered by lines with its id, the last one with `done` or `error`. */
const message = (id, line) => ({
  line: { id, ...line },
  ids: [id],
  ends: [{ at: "/done" }, { at: "/error", failed: true }],
});

/** How to start the engine, and how its lines belong to messages. */
export function launch(config, model) {
  return {
    command: { argv: config.command },
    ready: {},
    idAt: ["/id"],
    opening: [message(0, { op: "load", model: model.path ?? model.id })],
    closing: [message(0, { op: "unload" })],
  };
}

/** One request. All that is in it is sent, or refused: other engines get the same work. */
export function encode(config, model, request, number) {
  const line = {
    op: "generate",
    max_tokens: request.maxTokens,
    temperature: request.temperature,
    seed: request.seed,
    ignore_eos: request.ignoreEos,
  };
  if (request.api === "completions") {
    if (request.system != null || request.history.length > 0) {
      throw new PluginError("unsupported", "a plain completion has neither system message nor history: use `api: chat`");
    }
    line.prompt = request.prompt;
  } else {
    const system = request.system == null ? [] : [{ role: "system", content: request.system }];
    line.messages = [...system, ...request.history, { role: "user", content: request.prompt }];
  }
  if (request.topP != null) line.top_p = request.topP;
  if (request.stop.length > 0) line.stop = request.stop;
  return message(number, line);
}

/** What came back: the request's own lines, with `text`, or `error`, or `done` at the end. */
export function decode(config, response, events) {
  for (const [read, line] of response.lines()) {
    const said = JSON.parse(line);
    if ("error" in said) events.failure(read, String(said.error));
    if (said.text) events.text(read, 1, said.text);
    if ("done" in said) {
      events.count(read, "prompt-tokens", said.prompt_tokens);
      events.count(read, "output-tokens", said.output_tokens);
      events.finish(read, said.done);
      events.end(read);
    }
  }
}
