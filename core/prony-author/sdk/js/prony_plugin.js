// prony's plugin contract for JavaScript.
//
// Written by `prony plugin build`; changes are lost with the next build. `plugin.wit` beside it says
// what each field means. A module that uses this one runs in Node, too, for tests of your own.

/** A refusal or a defect, in words for the user: lower case, no full stop.
 *
 * `kind` is `invalid-config`, `unsupported` (the request asks for something that the engine cannot
 * do), `malformed-response`, `engine` or `internal`. `path` is a JSON pointer into `config`. */
export class PluginError extends Error {
  constructor(kind, message, path) {
    super(message);
    Object.assign(this, { kind, path });
  }
}

export const get = (path) => ({ method: "GET", path });

export const postJson = (path, body) => ({
  method: "POST",
  path,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

/** A server that runs already. `ready` is `{ http: "/health" }`, `{ logLine: "listening" }` or `{}`. */
export const attach = (baseUrl, ready) => ({ baseUrl: baseUrl.replace(/\/+$/, ""), ready });

/** A server that prony starts and stops. */
export const spawn = (argv, at, ready) => ({
  command: { argv },
  baseUrl: `http://${at.host}:${at.port}`,
  ready,
});

/** A whole recorded response; `ends` are the end offsets of its reads. `headers` are those that the
 * request asked for in `answerHeaders`: `[{ name, value }]`. */
export class Response {
  constructor(status, body, ends, headers = []) {
    Object.assign(this, { status, body, ends, headers });
  }

  get lastRead() {
    return Math.max(this.ends.length - 1, 0);
  }

  text() {
    return utf8(this.body);
  }

  /** Lines that ended, each with the read that completed it. A cut last line is left out. */
  *lines() {
    let [read, start, end] = [0, 0, 0];
    while ((end = this.body.indexOf(10, start)) >= 0) {
      while (read < this.lastRead && this.ends[read] <= end) read++;
      const stop = end > start && this.body[end - 1] === 13 ? end - 1 : end;
      yield [read, utf8(this.body.subarray(start, stop))];
      start = end + 1;
    }
  }
}

/** The events of an answer, in order. `read` is the index of the read that completed it. */
export class Events {
  all = [];

  /** Any event: its kind is a name of `event-kind` in `plugin.wit`. */
  push(read, kind, tokens = 0, text = "", ns = 0) {
    this.all.push({ read, kind, tokens, ns, text });
  }

  /** Answer text that stands for `tokens` tokens; 0 if that is not known. */
  text(read, tokens, text) {
    this.push(read, "text", tokens, text);
  }

  reasoning(read, tokens, text) {
    this.push(read, "reasoning", tokens, text);
  }

  /** The engine's own count: `output-tokens`, `prompt-tokens`, `cached-tokens`, `reasoning-tokens`. */
  count(read, kind, tokens) {
    this.push(read, kind, tokens);
  }

  /** Why generation stopped: `stop`, `length`, or the engine's word. */
  finish(read, reason) {
    this.push(read, "finish", 0, reason);
  }

  /** The engine reported an error. */
  failure(read, message) {
    this.push(read, "failure", 0, message);
  }

  /** The stream ended by its own rule. Without it the answer counts as truncated. */
  end(read) {
    this.push(read, "end");
  }
}

/** UTF-8 to text; what is none becomes U+FFFD. */
export function utf8(bytes) {
  let [text, from] = ["", 0];
  while (from < bytes.length) {
    // A run of ASCII at once.
    let to = from;
    while (to < bytes.length && bytes[to] < 0x80 && to - from < 4096) to++;
    if (to > from) {
      text += String.fromCharCode.apply(null, bytes.subarray(from, to));
      from = to;
      continue;
    }
    const first = bytes[from++];
    const more = first >= 0xf0 && first < 0xf5 ? 3 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xc2 && first < 0xe0 ? 1 : 0;
    let code = more === 0 ? 0xfffd : first & (0x3f >> more);
    for (let left = more; left > 0; left--) {
      const next = bytes[from];
      const least = left !== more ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      const most = left !== more ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      if (from >= bytes.length || next < least || next > most) {
        code = 0xfffd;
        break;
      }
      code = (code << 6) | (next & 0x3f);
      from++;
    }
    text += String.fromCodePoint(code);
  }
  return text;
}

/** Text to UTF-8. */
export function bytesOf(text) {
  if (typeof text !== "string") return text;
  const bytes = [];
  for (const one of text) {
    let code = one.codePointAt(0);
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
  }
  return new Uint8Array(bytes);
}
