/* An adapter for the server in toy/server.py. Change `encode` and `decode` to your engine's words.
 *
 * prony sends and receives; this says what to send, and explains afterwards what came back. It runs
 * in a sandbox: no files, no sockets, no `printf` (`snprintf` is there). Whatever is returned lies in
 * memory of `malloc`, and is freed for you. */
#include "engine_plugin.h"
#include "prony_json.h"

typedef engine_plugin_string_t string_t;
typedef exports_prony_plugin_engine_error_t error_t;

static const char manifest[] =
    "{\"name\":\"" PLUGIN_NAME "\",\"version\":\"" PLUGIN_VERSION "\",\"kind\":\"engine\","
    "\"description\":\"{{ description }}\",\"transport\":\"http\","
    /* Leave out "chat" if the engine takes plain prompts only; prony then renders conversations. */
    "\"apis\":[\"chat\",\"completions\"],\"history\":true,"
    "\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"base_url\":{\"type\":\"string\",\"description\":"
    "\"Address of a server that runs, for example `http://127.0.0.1:8000`.\"},"
    "\"program\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1,\"description\":"
    "\"Command that starts a server; `--host` and `--port` are added.\"}{{ "}}}" }}";

void exports_prony_plugin_engine_describe(string_t *ret) { engine_plugin_string_dup(ret, manifest); }

/* A text whose bytes are the buffer's. */
static string_t text(buffer_t buffer) {
  string_t it = {(uint8_t *)buffer.ptr, buffer.len};
  return it;
}

static string_t copy(const char *words) {
  string_t it;
  engine_plugin_string_dup(&it, words);
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

/* How to start or reach the engine. */
bool exports_prony_plugin_engine_launch(string_t *config, exports_prony_plugin_engine_model_t *model,
                                        exports_prony_plugin_engine_endpoint_t *at,
                                        exports_prony_plugin_engine_launch_plan_t *ret, error_t *err) {
  (void)model;
  json_t options = json_of(config->ptr, config->len);
  json_t base_url = json_get(options, "base_url"), program = json_get(options, "program");
  if (refuses(options, err)) return false;
  memset(ret, 0, sizeof *ret);
  ret->ready.tag = PRONY_PLUGIN_TYPES_READY_HTTP;
  ret->ready.val.http = copy("/health");
  if (json_has(base_url)) {
    ret->base_url = unquoted(base_url);
    return true;
  }
  if (!json_has(program)) {
    return fail(err, PRONY_PLUGIN_TYPES_ERROR_KIND_INVALID_CONFIG,
                "give `base_url` of a server that runs, or `program` to start one");
  }
  char port[8];
  snprintf(port, sizeof port, "%u", (unsigned)at->port);
  const char *more[] = {"--host", NULL, "--port", port};
  size_t position = 0, count = 0;
  json_t word;
  while (json_next(program, &position, NULL, &word)) count++;
  string_t *argv = malloc((count + 4) * sizeof *argv);
  position = count = 0;
  while (json_next(program, &position, NULL, &word)) argv[count++] = unquoted(word);
  for (size_t i = 0; i < 4; i++) {
    if (more[i]) argv[count++] = copy(more[i]);
    else engine_plugin_string_dup_n(&argv[count++], (const char *)at->host.ptr, at->host.len);
  }
  ret->command.is_some = true;
  ret->command.val.argv.ptr = argv;
  ret->command.val.argv.len = count;
  buffer_t url = {0};
  buffer_text(&url, "http://");
  buffer_add(&url, at->host.ptr, at->host.len);
  buffer_text(&url, ":");
  buffer_text(&url, port);
  ret->base_url = text(url);
  return true;
}

/* Adds a member with a text, `"name":"value"`, and what comes before it. */
static void member(buffer_t *to, const char *name, string_t value) {
  buffer_text(to, name);
  buffer_string(to, value.ptr, value.len);
}

static void message(buffer_t *to, const char *role, string_t content) {
  if (to->ptr[to->len - 1] != '[') buffer_text(to, ",");
  buffer_text(to, role);
  member(to, ",\"content\":", content);
  buffer_text(to, "}");
}

/* One request. All that is in it is sent, or refused: other engines get the same work. */
bool exports_prony_plugin_engine_encode(string_t *config, exports_prony_plugin_engine_model_t *model,
                                        exports_prony_plugin_engine_request_t *request,
                                        exports_prony_plugin_engine_http_request_t *ret, error_t *err) {
  (void)config;
  buffer_t body = {0};
  member(&body, "{\"model\":", model->id);
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
    if (request->system.is_some) message(&body, "{\"role\":\"system\"", request->system.val);
    for (size_t i = 0; i < request->history.len; i++) {
      bool is_user = request->history.ptr[i].role == PRONY_PLUGIN_TYPES_ROLE_USER;
      message(&body, is_user ? "{\"role\":\"user\"" : "{\"role\":\"assistant\"",
              request->history.ptr[i].content);
    }
    message(&body, "{\"role\":\"user\"", request->prompt);
    buffer_text(&body, "]");
  }
  buffer_text(&body, "}");
  memset(ret, 0, sizeof *ret);
  ret->method = copy("POST");
  ret->path = copy("/generate");
  ret->headers.ptr = malloc(sizeof *ret->headers.ptr);
  ret->headers.ptr[0].name = copy("content-type");
  ret->headers.ptr[0].value = copy("application/json");
  ret->headers.len = 1;
  ret->body.ptr = (uint8_t *)body.ptr;
  ret->body.len = body.len;
  return true;
}

typedef exports_prony_plugin_engine_list_event_t events_t;

/* Adds an event. `read` is the index of the read that completed it. */
static void event(events_t *events, uint32_t read, uint8_t kind, uint32_t tokens, string_t words) {
  if ((events->len & (events->len - 1)) == 0) {
    size_t capacity = events->len ? events->len * 2 : 1;
    events->ptr = realloc(events->ptr, capacity * sizeof *events->ptr);
    if (!events->ptr) abort();
  }
  exports_prony_plugin_engine_event_t it = {read, kind, tokens, 0, words};
  events->ptr[events->len++] = it;
}

/* What came back: a JSON object a line, with `text`, or `error`, or `done` at the end. */
bool exports_prony_plugin_engine_decode(string_t *config, exports_prony_plugin_engine_response_t *response,
                                        events_t *ret, error_t *err) {
  (void)config;
  const char *body = (const char *)response->body.ptr;
  const string_t none = {NULL, 0};
  uint32_t read = 0, last = response->ends.len ? (uint32_t)response->ends.len - 1 : 0;
  memset(ret, 0, sizeof *ret);
  if (response->status != 200) {
    buffer_t words = {0};
    size_t len = response->body.len < 200 ? response->body.len : 200;
    /* The text has to be UTF-8, which a body from elsewhere may not be. */
    buffer_utf8(&words, body, len);
    if (len == 0) buffer_text(&words, "the server refused, without a word");
    event(ret, last, PRONY_PLUGIN_TYPES_EVENT_KIND_FAILURE, 0, text(words));
    return true;
  }
  for (size_t start = 0, at = 0; at < response->body.len; at++) {
    if (body[at] != '\n') continue;
    while (read < last && response->ends.ptr[read] <= at) read++;
    size_t from = start;
    start = at + 1;
    if (json_space(body + from, body + at) == body + at) continue;
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
