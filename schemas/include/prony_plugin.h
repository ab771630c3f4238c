/* prony native plugin contract 1.0: the C form of schemas/wit/plugin.wit.
 *
 * A plugin exports one function, prony_plugin(), which returns a table that
 * lives as long as the process. Rules:
 *   - Inputs are borrowed for the duration of a call.
 *   - Outputs go through the host's callbacks, which copy; neither side ever
 *     frees memory of the other.
 *   - `ctx` belongs to the host and is handed back unchanged.
 *   - No exception, panic or longjmp leaves a function of the table.
 *   - The library is never unloaded.
 *   - `call`, `decode` and `render` are called from any thread, several at a time,
 *     and keep nothing between calls. The functions of an engine are called from
 *     one thread, one at a time; `emit` is called on that thread, within the call.
 *   - `log` may be called from any thread, at any time after `start`.
 * Functions that do not apply are NULL. */
#ifndef PRONY_PLUGIN_H
#define PRONY_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PRONY_MAGIC 0x594e5250u /* "PRNY" */
#define PRONY_CONTRACT_MAJOR 1u
#define PRONY_CONTRACT_MINOR 0u

/* UTF-8 unless said otherwise; not terminated. */
typedef struct {
  const uint8_t *ptr;
  size_t len;
} prony_str;

/* Kinds of events, in the order of `event-kind` in plugin.wit. */
enum {
  PRONY_TEXT,
  PRONY_REASONING,
  PRONY_OUTPUT_TOKENS,
  PRONY_PROMPT_TOKENS,
  PRONY_CACHED_TOKENS,
  PRONY_REASONING_TOKENS,
  PRONY_FINISH,
  PRONY_FAILURE,
  PRONY_SERVED_MODEL,
  PRONY_ENGINE_VERSION,
  PRONY_END,
  PRONY_TOOL_CALL,
  PRONY_NOTE,
  PRONY_QUEUE_TIME,
  PRONY_PREFILL_TIME,
  PRONY_DECODE_TIME
};

typedef struct {
  uint32_t read; /* read that completed the event; 0 for in-process engines */
  uint32_t kind;
  uint32_t tokens;
  uint32_t reserved;
  uint64_t ns; /* the engine's own clock; 0 if it does not say */
  prony_str text;
} prony_event;

typedef struct {
  prony_str name;
  prony_str media_type;
  prony_str bytes; /* any bytes */
} prony_artifact;

typedef void (*prony_write)(void *ctx, prony_str bytes);
/* Not 0: the answer is no longer wanted, and the call should return soon, with PRONY_OK.
 * An engine that goes on is ended with its process. */
typedef int32_t (*prony_emit)(void *ctx, const prony_event *event);
typedef void (*prony_keep)(void *ctx, const prony_artifact *artifact);

/* Operations of `call`: JSON in, JSON out through `write`.
 *   DESCRIBE  {}                               -> manifest
 *   LAUNCH    {config, model, at}              -> launch plan (`models`, `questions`, `load`,
 *                                                 `unload`, `reset` may be left out)
 *   ENCODE    {config, model, request}         -> HTTP request (body as text; `end_marks`,
 *                                                 `answer_headers` and `model` may be left out)
 *
 * An engine whose manifest says "transport": "stdio" gets and gives others:
 *   LAUNCH    {config, model}                  -> stdio plan
 *   ENCODE    {config, model, request, number} -> message
 *
 * A plugin of any kind may have one more; one without it answers PRONY_UNSUPPORTED:
 *   CHECK     {config}                         -> [{kind, message, path}, ...]: everything wrong
 *                                                 with a config that its schema takes
 *
 * A request is the record of plugin.wit with `_` for `-`. Its `api` is one of the
 * manifest's "apis": ["chat", "completions"] unless it says so. Its `images` are
 * [{"media_type": "image/png", "data": "..."}, ...]: `data` is the file in base64
 * (RFC 4648, section 4, padded, without line breaks), which is also how data
 * URLs have it. The list is empty unless the manifest says "images": true; a
 * plugin that says so sends every image or answers with an error. Its `history`,
 * [{"role": "user", "content": "..."}, {"role": "assistant", ...}, ...], is empty
 * unless the manifest says "history": true, in the same way. */
enum { PRONY_DESCRIBE, PRONY_LAUNCH, PRONY_ENCODE, PRONY_CHECK };

/* On PRONY_ERR the function has written {kind, message, path} as JSON. */
enum { PRONY_OK, PRONY_ERR, PRONY_PANIC, PRONY_UNSUPPORTED };

/* Severity of a line of the log. */
enum { PRONY_DEBUG, PRONY_INFO, PRONY_WARN, PRONY_ERROR };

/* Functions that the host offers. */
typedef struct {
  size_t struct_size;
  /* A line of the run's log; `level` as above. */
  void (*log)(uint32_t level, prony_str message);
} prony_host;

typedef struct {
  /* These five never change, so that any host can read them. */
  uint32_t magic;
  uint32_t contract_major;
  uint32_t contract_minor;
  uint32_t event_size;
  size_t struct_size;

  int32_t (*call)(uint32_t op, prony_str input, prony_write write, void *ctx);
  /* context: {config, status, headers} as JSON: status 200 and no headers over stdio; headers:
   * [{name, value}, ...]. ends: end offset in body of each read. */
  int32_t (*decode)(prony_str context, prony_str body, const uint32_t *ends, size_t ends_len,
                    prony_emit emit, prony_write error, void *ctx);

  /* In-process engines. engine_open: {config, model}; NULL after an error.
   * `emit` is called as tokens appear: the host stamps them in it. */
  void *(*engine_open)(prony_str input, prony_write error, void *ctx);
  int32_t (*engine_generate)(void *engine, prony_str request, prony_emit emit, prony_write error,
                             void *ctx);
  void (*engine_close)(void *engine);

  /* Reporters. input: {config, result}. */
  int32_t (*render)(prony_str input, prony_keep keep, prony_write error, void *ctx);

  /* Called once, before any other; `host` lives as long as the process. May be NULL. */
  void (*start)(const prony_host *host);
} prony_plugin_table;

#define PRONY_PLUGIN_INIT                                                              \
  .magic = PRONY_MAGIC, .contract_major = PRONY_CONTRACT_MAJOR,                        \
  .contract_minor = PRONY_CONTRACT_MINOR, .event_size = sizeof(prony_event),           \
  .struct_size = sizeof(prony_plugin_table)

__attribute__((visibility("default"))) const prony_plugin_table *prony_plugin(void);

#ifdef __cplusplus
}
#endif
#endif
