/* An adapter for the program in toy/engine.py, which speaks lines of JSON. Change `encode` and `decode` to your engine's words.
 *
 * prony sends and receives; this says what to send, and explains afterwards what came back. It runs
 * in a sandbox: no files, no sockets, no `printf` (`snprintf` is there). Whatever is returned lies in
 * memory of `malloc`, and is freed for you. */
#include "stdio_engine_plugin.h"
#include "prony_json.h"

typedef stdio_engine_plugin_string_t string_t;
typedef exports_prony_plugin_stdio_engine_error_t error_t;

static const char manifest[] =
    "{\"name\":\"" PLUGIN_NAME "\",\"version\":\"" PLUGIN_VERSION "\",\"kind\":\"engine\","
    "\"description\":\"{{ description }}\",\"transport\":\"stdio\","
    /* Leave out "chat" if the engine takes plain prompts only; prony then renders conversations. */
    "\"apis\":[\"chat\",\"completions\"],\"history\":true,"
    "\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"command\"],"
    "\"properties\":{\"command\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1,"
    "\"description\":\"Program and arguments, for example `[python3, toy/engine.py]`.\"}{{ "}}}" }}";

void exports_prony_plugin_stdio_engine_describe(string_t *ret) { stdio_engine_plugin_string_dup(ret, manifest); }

/* A text whose bytes are the buffer's. */
static string_t text(buffer_t buffer) {
  string_t it = {(uint8_t *)buffer.ptr, buffer.len};
  return it;
}

static string_t copy(const char *words) {
  string_t it;
  stdio_engine_plugin_string_dup(&it, words);
  return it;
}

static bool fail(error_t *err, uint8_t kind, const char *message) {
  memset(err, 0, sizeof *err);
  err->kind = kind;
  err->message = copy(message);
  return false;
}

/* Refuses a config with options that the manifest lacks. */
static bool refuses(json_t config, error_t *err) {
  char *why = config_problem(config, manifest);
  if (!why) return false;
  fail(err, PRONY_PLUGIN_TYPES_ERROR_KIND_INVALID_CONFIG, why);
  free(why);
  return true;
}

/* What a JSON string means. */
static string_t unquoted(json_t value) {
  buffer_t buffer = {0};
  buffer_unquoted(&buffer, value);
  return text(buffer);
}

typedef exports_prony_plugin_stdio_engine_message_t message_t;

/* A line that is answered by lines with its id, the last one with `done` or `error`. */
static message_t line_with(const char *id, buffer_t line) {
  message_t it;
  memset(&it, 0, sizeof it);
  it.line = text(line);
  it.ids.ptr = malloc(sizeof *it.ids.ptr);
  it.ids.ptr[0] = copy(id);
  it.ids.len = 1;
  it.ends.ptr = calloc(2, sizeof *it.ends.ptr);
  it.ends.ptr[0].at = copy("/done");
  it.ends.ptr[1].at = copy("/error");
  it.ends.ptr[1].failed = true;
  it.ends.len = 2;
  return it;
}

static message_t *one(message_t message) {
  message_t *list = malloc(sizeof *list);
  *list = message;
  return list;
}

/* How to start the engine, and how its lines belong to messages. */
bool exports_prony_plugin_stdio_engine_launch(string_t *config, exports_prony_plugin_stdio_engine_model_t *model,
                                              exports_prony_plugin_stdio_engine_stdio_plan_t *ret,
                                              error_t *err) {
  json_t options = json_of(config->ptr, config->len), program = json_get(options, "command"), word;
  if (refuses(options, err)) return false;
  memset(ret, 0, sizeof *ret);
  ret->ready.tag = PRONY_PLUGIN_TYPES_READY_IMMEDIATE;
  size_t position = 0, count = 0;
  while (json_next(program, &position, NULL, &word)) count++;
  ret->command.argv.ptr = malloc(count * sizeof *ret->command.argv.ptr);
  position = 0;
  while (json_next(program, &position, NULL, &word)) {
    ret->command.argv.ptr[ret->command.argv.len++] = unquoted(word);
  }
  ret->id_at.ptr = malloc(sizeof *ret->id_at.ptr);
  ret->id_at.ptr[0] = copy("/id");
  ret->id_at.len = 1;
  buffer_t load = {0}, unload = {0};
  string_t of = model->path.is_some ? model->path.val : model->id;
  buffer_text(&load, "{\"op\":\"load\",\"id\":0,\"model\":");
  buffer_string(&load, of.ptr, of.len);
  buffer_text(&load, "}");
  buffer_text(&unload, "{\"op\":\"unload\",\"id\":0}");
  ret->opening.ptr = one(line_with("0", load));
  ret->opening.len = 1;
  ret->closing.ptr = one(line_with("0", unload));
  ret->closing.len = 1;
  return true;
}

/* Adds a member with a text, `"name":"value"`, and what comes before it. */
static void member(buffer_t *to, const char *name, string_t value) {
  buffer_text(to, name);
  buffer_string(to, value.ptr, value.len);
}

static void said(buffer_t *to, const char *role, string_t content) {
  if (to->ptr[to->len - 1] != '[') buffer_text(to, ",");
  buffer_text(to, role);
  member(to, ",\"content\":", content);
  buffer_text(to, "}");
}

/* One request. All that is in it is sent, or refused: other engines get the same work. */
bool exports_prony_plugin_stdio_engine_encode(string_t *config, exports_prony_plugin_stdio_engine_model_t *model,
                                        exports_prony_plugin_stdio_engine_request_t *request,
                                        uint64_t number, message_t *ret, error_t *err) {
  (void)config, (void)model;
  buffer_t body = {0};
  char id[24];
  snprintf(id, sizeof id, "%llu", (unsigned long long)number);
  buffer_text(&body, "{\"op\":\"generate\",\"id\":");
  buffer_text(&body, id);
  buffer_text(&body, ",\"max_tokens\":");
  buffer_u64(&body, request->max_tokens);
  buffer_text(&body, ",\"temperature\":");
  buffer_double(&body, request->temperature);
  buffer_text(&body, ",\"seed\":");
  buffer_u64(&body, request->seed);
  buffer_text(&body, request->ignore_eos ? ",\"ignore_eos\":true" : ",\"ignore_eos\":false");
  if (request->top_p.is_some) {
    buffer_text(&body, ",\"top_p\":");
    buffer_double(&body, request->top_p.val);
  }
  for (size_t i = 0; i < request->stop.len; i++) {
    member(&body, i ? "," : ",\"stop\":[", request->stop.ptr[i]);
    if (i + 1 == request->stop.len) buffer_text(&body, "]");
  }
  if (request->api == PRONY_PLUGIN_TYPES_API_COMPLETIONS) {
    if (request->system.is_some || request->history.len) {
      return fail(err, PRONY_PLUGIN_TYPES_ERROR_KIND_UNSUPPORTED,
                  "a plain completion has neither system message nor history: use `api: chat`");
    }
    member(&body, ",\"prompt\":", request->prompt);
  } else {
    buffer_text(&body, ",\"messages\":[");
    if (request->system.is_some) said(&body, "{\"role\":\"system\"", request->system.val);
    for (size_t i = 0; i < request->history.len; i++) {
      bool is_user = request->history.ptr[i].role == PRONY_PLUGIN_TYPES_ROLE_USER;
      said(&body, is_user ? "{\"role\":\"user\"" : "{\"role\":\"assistant\"",
              request->history.ptr[i].content);
    }
    said(&body, "{\"role\":\"user\"", request->prompt);
    buffer_text(&body, "]");
  }
  buffer_text(&body, "}");
  *ret = line_with(id, body);
  return true;
}

typedef exports_prony_plugin_stdio_engine_list_event_t events_t;

/* Adds an event. `read` is the index of the read that completed it. */
static void event(events_t *events, uint32_t read, uint8_t kind, uint32_t tokens, string_t words) {
  if ((events->len & (events->len - 1)) == 0) {
    size_t capacity = events->len ? events->len * 2 : 1;
    events->ptr = realloc(events->ptr, capacity * sizeof *events->ptr);
    if (!events->ptr) abort();
  }
  exports_prony_plugin_stdio_engine_event_t it = {read, kind, tokens, 0, words};
  events->ptr[events->len++] = it;
}

/* What came back: the request's own lines, with `text`, or `error`, or `done` at the end. */
bool exports_prony_plugin_stdio_engine_decode(string_t *config, exports_prony_plugin_stdio_engine_response_t *response,
                                        events_t *ret, error_t *err) {
  (void)config;
  const char *body = (const char *)response->body.ptr;
  const string_t none = {NULL, 0};
  uint32_t read = 0, last = response->ends.len ? (uint32_t)response->ends.len - 1 : 0;
  memset(ret, 0, sizeof *ret);
  for (size_t start = 0, at = 0; at < response->body.len; at++) {
    if (body[at] != '\n') continue;
    while (read < last && response->ends.ptr[read] <= at) read++;
    size_t from = start;
    start = at + 1;
    json_t line = json_of(body + from, at - from);
    if (!line.ptr || *line.ptr != '{') {
      return fail(err, PRONY_PLUGIN_TYPES_ERROR_KIND_MALFORMED_RESPONSE, "a line is no JSON object");
    }
    json_t error = json_get(line, "error"), words = json_get(line, "text"), done = json_get(line, "done");
    if (error.ptr) event(ret, read, PRONY_PLUGIN_TYPES_EVENT_KIND_FAILURE, 0, unquoted(error));
    if (words.len > 2 && *words.ptr == '"') {
      event(ret, read, PRONY_PLUGIN_TYPES_EVENT_KIND_TEXT, 1, unquoted(words));
    }
    if (json_has(done)) {
      uint32_t prompt = (uint32_t)json_u64(json_get(line, "prompt_tokens"));
      uint32_t output = (uint32_t)json_u64(json_get(line, "output_tokens"));
      event(ret, read, PRONY_PLUGIN_TYPES_EVENT_KIND_PROMPT_TOKENS, prompt, none);
      event(ret, read, PRONY_PLUGIN_TYPES_EVENT_KIND_OUTPUT_TOKENS, output, none);
      event(ret, read, PRONY_PLUGIN_TYPES_EVENT_KIND_FINISH, 0, unquoted(done));
      event(ret, read, PRONY_PLUGIN_TYPES_EVENT_KIND_END, 0, none);
    }
  }
  return true;
}
