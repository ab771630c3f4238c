// A reporter: a line for each engine. prony writes the files that it returns.

export const manifest = {
  description: "{{ description }}",
  config_schema: {
    type: "object",
    additionalProperties: false,
    properties: {
      separator: {
        type: "string",
        description: "Separator between two fields. Defaults to a tab.",
      },
    },
  },
};

/** A name for a line: without what would break the line, or command a terminal. */
const field = (text) => text.replace(/\p{Control}/gu, " ");

/** `result` is what `schemas/result.v1.json` describes: `prony schema result` prints it. */
export function render(config, result) {
  const rows = [["model", "engine", "output_tokens_per_sec"]];
  for (const model of result.models) {
    for (const engine of model.engines) {
      // A number that could not be measured is left out.
      rows.push([field(model.id), field(engine.engine), String(engine.output_tokens_per_sec ?? "")]);
    }
  }
  const separator = config.separator ?? "\t";
  const content = rows.map((row) => row.join(separator) + "\n").join("");
  return [{ name: "{{ name }}.tsv", mediaType: "text/tab-separated-values", content }];
}
