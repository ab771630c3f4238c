/* A reporter: a line for each engine. prony writes the files that it returns.
 *
 * It runs in a sandbox: no files, no sockets, no `printf` (`snprintf` is there). Whatever is returned
 * lies in memory of `malloc`, and is freed for you. */
#include "prony_json.h"
#include "reporter_plugin.h"

typedef reporter_plugin_string_t string_t;
typedef exports_prony_plugin_reporter_error_t error_t;

static const char manifest[] =
    "{\"name\":\"" PLUGIN_NAME "\",\"version\":\"" PLUGIN_VERSION "\",\"kind\":\"reporter\","
    "\"description\":\"{{ description }}\","
    "\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"separator\":{\"type\":\"string\",\"description\":"
    "\"Separator between two fields. Defaults to a tab.\"}{{ "}}}" }}";

void exports_prony_plugin_reporter_describe(string_t *ret) { reporter_plugin_string_dup(ret, manifest); }

static string_t copy(const char *words) {
  string_t it;
  reporter_plugin_string_dup(&it, words);
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

/* `result` is JSON as `schemas/result.v1.json` describes it: `prony schema result` prints it. */
bool exports_prony_plugin_reporter_render(string_t *config, string_t *result,
                                          exports_prony_plugin_reporter_list_artifact_t *ret, error_t *err) {
  json_t whole = json_of(result->ptr, result->len), model, engine;
  json_t options = json_of(config->ptr, config->len), given = json_get(options, "separator");
  size_t models = 0, engines;
  buffer_t separator = {0}, rows = {0};
  if (refuses(options, err)) return false;
  if (!whole.ptr) {
    return fail(err, PRONY_PLUGIN_TYPES_ERROR_KIND_INTERNAL, "the result is no JSON, or nested too deep");
  }
  if (!buffer_unquoted(&separator, given)) buffer_text(&separator, "\t");
  const char *titles[] = {"model", "engine", "output_tokens_per_sec"};
  for (size_t i = 0; i < 3; i++) {
    if (i) buffer_add(&rows, separator.ptr, separator.len);
    buffer_text(&rows, titles[i]);
  }
  buffer_text(&rows, "\n");
  json_t of = json_get(whole, "models");
  while (json_next(of, &models, NULL, &model)) {
    engines = 0;
    while (json_next(json_get(model, "engines"), &engines, NULL, &engine)) {
      buffer_printable(&rows, json_get(model, "id"));
      buffer_add(&rows, separator.ptr, separator.len);
      buffer_printable(&rows, json_get(engine, "engine"));
      buffer_add(&rows, separator.ptr, separator.len);
      /* A number that could not be measured is left out. */
      json_t speed = json_get(engine, "output_tokens_per_sec");
      if (json_has(speed)) buffer_add(&rows, speed.ptr, speed.len);
      buffer_text(&rows, "\n");
    }
  }
  exports_prony_plugin_reporter_artifact_t *artifact = malloc(sizeof *artifact);
  artifact->name = copy(PLUGIN_NAME ".tsv");
  artifact->media_type = copy("text/tab-separated-values");
  artifact->bytes.ptr = (uint8_t *)rows.ptr;
  artifact->bytes.len = rows.len;
  ret->ptr = artifact;
  ret->len = 1;
  return true;
}
