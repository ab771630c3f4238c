"""A reporter: a line for each engine. prony writes the files that it returns."""

import re

from prony_plugin import Artifact

MANIFEST = {
    "description": "{{ description }}",
    "config_schema": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "separator": {
                "type": "string",
                "description": "Separator between two fields. Defaults to a tab.",
            },
        },
    },
}


CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def field(text):
    """A name for a line: without what would break the line, or command a terminal."""
    return CONTROL.sub(" ", text)


def render(config, result):
    """`result` is what `schemas/result.v1.json` describes: `prony schema result` prints it."""
    rows = [["model", "engine", "output_tokens_per_sec"]]
    for model in result["models"]:
        for engine in model["engines"]:
            # A number that could not be measured is left out.
            speed = engine.get("output_tokens_per_sec")
            rows.append([field(model["id"]), field(engine["engine"]), "" if speed is None else str(speed)])
    separator = config.get("separator", "\t")
    text = "".join(separator.join(row) + "\n" for row in rows)
    return [Artifact("{{ name }}.tsv", "text/tab-separated-values", text)]
