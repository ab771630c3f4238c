// Checks files with ajv, and prints what check-jsonschema's JSON output would
// say about them, so that one reader serves both.
//
//   node check.mjs --check-metaschema FILE...
//   node check.mjs --schemafile SCHEMA FILE...
//
// The schemas are read in ajv's strict mode: a keyword or a format that nobody
// knows, which a validator would silently ignore, is an error.
import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";
import { parse } from "yaml";

const ajv = new Ajv({
  allErrors: true,
  // These two ask for a style, and would find no mistake: the type and the keys
  // of an object may well stand one level above where they are required.
  strictTypes: false,
  strictRequired: false,
  // The formats that generated schemas use; their bounds are also there as
  // `minimum` and `maximum`.
  formats: { double: true, int64: true, uint16: true, uint32: true, uint64: true },
});

// What editors read beside.
ajv.addVocabulary(["markdownDescription", "patternErrorMessage"]);

const errors = [];
const parse_errors = [];

const read = (filename) => {
  const text = readFileSync(filename, "utf8");
  return filename.endsWith(".json")
    ? JSON.parse(text)
    : // As many aliases as there are: what is checked are our own files.
      parse(text, { merge: true, maxAliasCount: -1 });
};

const blame = (filename, found) => {
  for (const { instancePath, message, params } of found ?? []) {
    const key = params.additionalProperty ?? params.unevaluatedProperty;
    errors.push({
      filename,
      path: instancePath || "/",
      message: key === undefined ? message : `${message} (\`${key}\`)`,
    });
  }
};

const [mode, ...rest] = process.argv.slice(2);
const validate =
  mode === "--check-metaschema"
    ? (schema, filename) => {
        if (!ajv.validateSchema(schema)) return ajv.errors;
        try {
          ajv.compile(schema);
        } catch (error) {
          return [{ instancePath: "", message: error.message, params: {} }];
        }
        return [];
      }
    : (() => {
        const check = ajv.compile(read(rest.shift()));
        return (instance) => (check(instance) ? [] : check.errors);
      })();

for (const filename of rest) {
  let data;
  try {
    data = read(filename);
  } catch (error) {
    parse_errors.push({ filename, message: error.message.split("\n")[0] });
    continue;
  }
  blame(filename, validate(data));
}
console.log(JSON.stringify({ errors, parse_errors }));
