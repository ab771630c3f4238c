/* An engine in a process: it repeats the words of the prompt. Put yours in its place.
 *
 * prony loads the library in a process of its own for each visit, and stamps a token in `emit`.
 * `sdk/prony_plugin.h` has the rules. */
#define _POSIX_C_SOURCE 200809L
#include "prony_json.h"
#include "prony_plugin.h"
#include <time.h>

static const char manifest[] =
    "{\"name\":\"" PLUGIN_NAME "\",\"version\":\"" PLUGIN_VERSION "\",\"kind\":\"engine\","
    "\"description\":\"{{ description }}\",\"transport\":\"in_process\","
    /* An engine without "chat" gets conversations as prompts, rendered by prony. */
    "\"apis\":[\"completions\"],"
    "\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"pause_us\":{\"type\":\"integer\",\"minimum\":0,\"description\":"
    "\"Time of a token, in microseconds. Defaults to 0.\"}{{ "}}}" }}";

typedef struct {
  uint64_t pause_us;
} engine_t;

static prony_str text(const char *words) {
  prony_str str = {(const uint8_t *)words, strlen(words)};
  return str;
}

static int32_t call(uint32_t op, prony_str input, prony_write write, void *ctx) {
  (void)input;
  if (op != PRONY_DESCRIBE) return PRONY_UNSUPPORTED;
  write(ctx, text(manifest));
  return PRONY_OK;
}

/* Loads the model. NULL after an error. */
static void *engine_open(prony_str input, prony_write error, void *ctx) {
  json_t config = json_get(json_of(input.ptr, input.len), "config");
  char *why = config_problem(config, manifest);
  if (why) {
    buffer_t json = {0};
    buffer_text(&json, "{\"kind\":\"invalid-config\",\"message\":");
    buffer_string(&json, why, strlen(why));
    buffer_text(&json, "}");
    prony_str str = {(const uint8_t *)json.ptr, json.len};
    error(ctx, str);
    free(json.ptr);
    free(why);
    return NULL;
  }
  engine_t *engine = malloc(sizeof *engine);
  if (!engine) {
    error(ctx, text("{\"kind\":\"engine\",\"message\":\"out of memory\"}"));
    return NULL;
  }
  engine->pause_us = json_u64(json_get(config, "pause_us"));
  return engine;
}

static int32_t refuse(prony_write error, void *ctx, const char *json) {
  error(ctx, text(json));
  return PRONY_ERR;
}

/* False once the answer is no longer wanted. */
static bool tell(prony_emit emit, void *ctx, uint32_t kind, uint32_t tokens, prony_str words) {
  prony_event event = {0, kind, tokens, 0, 0, words};
  return emit(ctx, &event) == 0;
}

/* Generates: `emit` the moment a token is there, then the counts, the reason and the end. */
static int32_t engine_generate(void *of, prony_str request, prony_emit emit, prony_write error, void *ctx) {
  engine_t *engine = of;
  json_t ask = json_of(request.ptr, request.len), stop = json_get(ask, "stop"), item;
  size_t position = 0;
  if (json_next(stop, &position, NULL, &item) || json_has(json_get(ask, "top_p"))) {
    return refuse(error, ctx,
                  "{\"kind\":\"unsupported\",\"message\":\"this engine has neither `stop` nor `top_p`\"}");
  }
  if (json_has(json_get(ask, "system"))) {
    return refuse(error, ctx,
                  "{\"kind\":\"unsupported\",\"message\":\"this engine takes plain prompts: remove `system`\"}");
  }
  buffer_t prompt = {0};
  buffer_unquoted(&prompt, json_get(ask, "prompt"));
  uint32_t words = 0, tokens = 0, wanted = (uint32_t)json_u64(json_get(ask, "max_tokens"));
  for (size_t i = 0; i < prompt.len; i++) {
    words += prompt.ptr[i] != ' ' && (i + 1 == prompt.len || prompt.ptr[i + 1] == ' ');
  }
  if (words == 0) {
    free(prompt.ptr);
    return refuse(error, ctx, "{\"kind\":\"unsupported\",\"message\":\"there are no words to repeat\"}");
  }
  struct timespec pause = {(time_t)(engine->pause_us / 1000000), (long)(engine->pause_us % 1000000) * 1000};
  for (size_t at = 0; tokens < wanted;) {
    while (at < prompt.len && prompt.ptr[at] == ' ') at++;
    size_t from = at;
    while (at < prompt.len && prompt.ptr[at] != ' ') at++;
    if (at == from) {
      at = 0;
      continue;
    }
    nanosleep(&pause, NULL);
    buffer_t word = {0};
    buffer_add(&word, prompt.ptr + from, at - from);
    buffer_text(&word, " ");
    prony_str str = {(const uint8_t *)word.ptr, word.len};
    bool is_wanted = tell(emit, ctx, PRONY_TEXT, 1, str);
    free(word.ptr);
    tokens++;
    if (!is_wanted) break;
  }
  free(prompt.ptr);
  tell(emit, ctx, PRONY_PROMPT_TOKENS, words, text(""));
  tell(emit, ctx, PRONY_OUTPUT_TOKENS, tokens, text(""));
  tell(emit, ctx, PRONY_FINISH, 0, text("length"));
  tell(emit, ctx, PRONY_END, 0, text(""));
  return PRONY_OK;
}

static void engine_close(void *engine) { free(engine); }

static const prony_plugin_table table = {
    PRONY_PLUGIN_INIT,
    .call = call,
    .engine_open = engine_open,
    .engine_generate = engine_generate,
    .engine_close = engine_close,
};

const prony_plugin_table *prony_plugin(void) { return &table; }
