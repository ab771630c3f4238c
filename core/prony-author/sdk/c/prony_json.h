/* JSON for plugins in C: reading without copies, writing into a buffer that grows.
 *
 * Written by `prony plugin build`; changes are lost with the next build. */
#ifndef PRONY_JSON_H
#define PRONY_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value within a JSON text. ptr is NULL if there is none. */
typedef struct {
  const char *ptr;
  size_t len;
} json_t;

static inline const char *json_space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
  return at;
}

static inline const char *json_skip_string(const char *at, const char *end) {
  for (at++; at < end; at++) {
    if ((unsigned char)*at < 0x20) return NULL;
    if (*at == '"') return at + 1;
    if (*at == '\\' && ++at == end) return NULL;
  }
  return NULL;
}

/* The end of the value that begins at `at`; NULL if there is none, or it is nested too deep. */
static inline const char *json_skip(const char *at, const char *end, int depth) {
  if (at == end || depth > 64) return NULL;
  if (*at == '"') return json_skip_string(at, end);
  if (*at == '{' || *at == '[') {
    const char close = *at == '{' ? '}' : ']';
    at = json_space(at + 1, end);
    if (at < end && *at == close) return at + 1;
    for (;;) {
      if (close == '}') {
        if (at == end || *at != '"' || !(at = json_skip_string(at, end))) return NULL;
        at = json_space(at, end);
        if (at == end || *at != ':') return NULL;
        at = json_space(at + 1, end);
      }
      if (!(at = json_skip(at, end, depth + 1))) return NULL;
      at = json_space(at, end);
      if (at == end) return NULL;
      if (*at == close) return at + 1;
      if (*at != ',') return NULL;
      at = json_space(at + 1, end);
    }
  }
  static const char *const words[] = {"true", "false", "null"};
  for (size_t i = 0; i < 3; i++) {
    size_t len = strlen(words[i]);
    if ((size_t)(end - at) >= len && memcmp(at, words[i], len) == 0) return at + len;
  }
  const char *start = at;
  while (at < end && *at && strchr("+-.0123456789eE", *at)) at++;
  return at > start && (*start == '-' || (*start >= '0' && *start <= '9')) ? at : NULL;
}

/* The value of a whole text; none if the text is not JSON. */
static inline json_t json_of(const void *text, size_t len) {
  const char *at = text, *end = at + len;
  json_t none = {NULL, 0};
  if (len == 0) return none;
  at = json_space(at, end);
  const char *stop = json_skip(at, end, 0);
  if (!stop || json_space(stop, end) != end) return none;
  json_t value = {at, (size_t)(stop - at)};
  return value;
}

static inline bool json_is(json_t value, const char *text) {
  return value.ptr && value.len == strlen(text) && memcmp(value.ptr, text, value.len) == 0;
}

/* There is a value, and it is not null. */
static inline bool json_has(json_t value) { return value.ptr && !json_is(value, "null"); }

/* The next item of an array or member of an object, from a position that begins at 0. */
static inline bool json_next(json_t of, size_t *position, json_t *key, json_t *value) {
  if (!of.ptr || (*of.ptr != '{' && *of.ptr != '[')) return false;
  const char *end = of.ptr + of.len, *at = of.ptr + (*position ? *position : 1);
  at = json_space(at, end);
  if (at < end && *at == ',') at = json_space(at + 1, end);
  if (at == end || *at == '}' || *at == ']') return false;
  if (*of.ptr == '{') {
    const char *stop = json_skip_string(at, end);
    if (key) *key = (json_t){at, (size_t)(stop - at)};
    at = json_space(json_space(stop, end) + 1, end);
  }
  const char *stop = json_skip(at, end, 0);
  *value = (json_t){at, (size_t)(stop - at)};
  *position = (size_t)(stop - of.ptr);
  return true;
}

/* The member of an object. Keys with escapes are not found. */
static inline json_t json_get(json_t object, const char *name) {
  json_t key, value, none = {NULL, 0};
  size_t position = 0, len = strlen(name);
  if (!object.ptr || *object.ptr != '{') return none;
  while (json_next(object, &position, &key, &value)) {
    if (key.len == len + 2 && memcmp(key.ptr + 1, name, len) == 0) return value;
  }
  return none;
}

/* A whole number that is not negative; 0 if it is none. */
static inline uint64_t json_u64(json_t value) {
  uint64_t number = 0;
  for (size_t i = 0; value.ptr && i < value.len; i++) {
    if (value.ptr[i] < '0' || value.ptr[i] > '9') return 0;
    number = number * 10 + (uint64_t)(value.ptr[i] - '0');
  }
  return number;
}

/* Bytes that grow. Zeroes are an empty one. */
typedef struct {
  char *ptr;
  size_t len, capacity;
} buffer_t;

static inline void buffer_add(buffer_t *to, const void *bytes, size_t len) {
  if (to->len + len > to->capacity) {
    to->capacity = (to->len + len) * 2 + 64;
    to->ptr = realloc(to->ptr, to->capacity);
    if (!to->ptr) abort();
  }
  if (len) memcpy(to->ptr + to->len, bytes, len);
  to->len += len;
}

static inline void buffer_text(buffer_t *to, const char *text) { buffer_add(to, text, strlen(text)); }

static inline void buffer_u64(buffer_t *to, uint64_t number) {
  char digits[24];
  buffer_add(to, digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number));
}

/* The shortest form is not needed: 17 digits give the same number back. */
static inline void buffer_double(buffer_t *to, double number) {
  char digits[40];
  buffer_add(to, digits, (size_t)snprintf(digits, sizeof digits, "%.17g", number));
}

/* A text as JSON has it, with its quotes. */
static inline void buffer_string(buffer_t *to, const void *text, size_t len) {
  const unsigned char *bytes = text;
  buffer_text(to, "\"");
  for (size_t i = 0; i < len; i++) {
    if (bytes[i] == '"' || bytes[i] == '\\') {
      buffer_text(to, "\\");
      buffer_add(to, bytes + i, 1);
    } else if (bytes[i] < 0x20) {
      char escape[8];
      buffer_add(to, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", bytes[i]));
    } else {
      buffer_add(to, bytes + i, 1);
    }
  }
  buffer_text(to, "\"");
}

static inline unsigned json_hex(const char *at) {
  unsigned code = 0;
  for (int i = 0; i < 4; i++) {
    char c = at[i];
    unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                            : 0xfffff;
    code = code * 16 + digit;
  }
  return code;
}

static inline void buffer_code(buffer_t *to, unsigned code) {
  char bytes[4];
  size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = len; i-- > 1; code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3f));
  bytes[0] = (char)(first[len] | code);
  buffer_add(to, bytes, len);
}

/* Length of the character in UTF-8 that begins at `at`; 0 if none does. */
static inline size_t utf8_length(const unsigned char *at, const unsigned char *end) {
  if (*at < 0x80) return 1;
  size_t len = *at >= 0xc2 && *at < 0xe0 ? 2 : *at >= 0xe0 && *at < 0xf0 ? 3 : *at >= 0xf0 && *at < 0xf5 ? 4 : 0;
  if (len == 0 || (size_t)(end - at) < len) return 0;
  for (size_t i = 1; i < len; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  /* Neither longer than needed, nor a surrogate, nor beyond the last character. */
  bool is_wrong = (*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) ||
                  (*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f);
  return is_wrong ? 0 : len;
}

/* Adds text, with U+FFFD for what is not UTF-8: prony takes no other text. */
static inline void buffer_utf8(buffer_t *to, const void *text, size_t len) {
  const unsigned char *at = text, *end = at + len;
  while (at < end) {
    size_t length = utf8_length(at, end);
    if (length) {
      buffer_add(to, at, length);
    } else {
      buffer_code(to, 0xfffd);
    }
    at += length ? length : 1;
  }
}

/* Adds what a JSON string means, in UTF-8. Returns false if the value is no string. */
static inline bool buffer_unquoted(buffer_t *to, json_t value) {
  if (!value.ptr || *value.ptr != '"') return false;
  const char *at = value.ptr + 1, *end = value.ptr + value.len - 1;
  while (at < end) {
    if (*at != '\\') {
      const char *from = at;
      while (at < end && *at != '\\') at++;
      buffer_utf8(to, from, (size_t)(at - from));
      continue;
    }
    at++;
    if (*at == 'u') {
      unsigned code = end - at >= 5 ? json_hex(at + 1) : 0x110000;
      at += end - at >= 5 ? 5 : 1;
      bool is_pair = code >= 0xd800 && code < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u';
      unsigned low = is_pair ? json_hex(at + 2) : 0;
      if (is_pair && low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
      }
      bool is_character = code < 0xd800 || (code >= 0xe000 && code < 0x110000);
      buffer_code(to, is_character ? code : 0xfffd);
      continue;
    }
    if ((unsigned char)*at >= 0x80) continue; /* Text behind a backslash that escapes nothing. */
    const char *escaped = strchr("b\bf\fn\nr\rt\t", *at);
    buffer_add(to, escaped && *at >= 'b' ? escaped + 1 : at, 1);
    at++;
  }
  return true;
}

/* Adds what a JSON string means, with a space for each control character, which could break a line or
 * command a terminal. Returns false if the value is no string. */
static inline bool buffer_printable(buffer_t *to, json_t value) {
  size_t from = to->len;
  if (!buffer_unquoted(to, value)) return false;
  size_t kept = from;
  for (size_t at = from; at < to->len; at++) {
    unsigned char byte = (unsigned char)to->ptr[at];
    /* U+0080 to U+009F are two bytes. */
    bool is_long = byte == 0xc2 && at + 1 < to->len && (unsigned char)to->ptr[at + 1] < 0xa0;
    to->ptr[kept++] = byte < 0x20 || byte == 0x7f || is_long ? ' ' : (char)byte;
    at += is_long;
  }
  to->len = kept;
  return true;
}

/* The reason to refuse a config as invalid, in memory of malloc: it is no object, has an option that
 * `config_schema` in the manifest lacks, or lacks one that it needs. NULL if there is none. */
static inline char *config_problem(json_t config, const char *manifest) {
  json_t schema = json_get(json_of(manifest, strlen(manifest)), "config_schema"), key, value, known;
  json_t properties = json_get(schema, "properties"), required = json_get(schema, "required");
  bool is_closed = json_is(json_get(schema, "additionalProperties"), "false");
  buffer_t why = {0};
  if (!config.ptr || *config.ptr != '{') buffer_text(&why, "the config is not an object with options");
  size_t position = 0;
  while (!why.len && is_closed && json_next(config, &position, &key, &value)) {
    bool is_known = false;
    for (size_t at = 0; !is_known && json_next(properties, &at, &known, &value);) {
      is_known = known.len == key.len && memcmp(known.ptr, key.ptr, key.len) == 0;
    }
    if (is_known) continue;
    buffer_text(&why, "unknown option `");
    buffer_printable(&why, key);
    buffer_text(&why, "`");
  }
  position = 0;
  while (!why.len && json_next(required, &position, NULL, &known)) {
    bool is_given = false;
    for (size_t at = 0; !is_given && json_next(config, &at, &key, &value);) {
      is_given = known.len == key.len && memcmp(known.ptr, key.ptr, key.len) == 0;
    }
    if (is_given) continue;
    buffer_text(&why, "option `");
    buffer_printable(&why, known);
    buffer_text(&why, "` is missing");
  }
  if (why.len) buffer_add(&why, "", 1);
  return why.ptr;
}

#endif
