"""Renders every template with every conversation as `transformers` does, to expected.json.

    python3 -m venv venv && venv/bin/pip install transformers jinja2
    venv/bin/python render.py
"""

import datetime
import json
import pathlib
import tempfile

import jinja2
import tokenizers
import transformers
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2025, 3, 7, 14, 5, 9)


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def tokenizer(template):
    """A tokenizer of a folder such as models have."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
        words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
        words.save(str(folder / "tokenizer.json"))
        config = json.loads((HERE / "tokens.json").read_text())
        config |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return transformers.AutoTokenizer.from_pretrained(folder)


def main():
    # `strftime_now` asks the module for the time.
    chat_template_utils.datetime = Fixed
    conversations = json.loads((HERE / "conversations.json").read_text())
    expected = {}
    for path in sorted((HERE / "templates").glob("*.jinja")):
        # As the library reads a `chat_template.jinja`; without conversion of line ends.
        of_template = tokenizer(path.read_bytes().decode())
        rendered = expected[path.stem] = {}
        for name, messages in conversations.items():
            try:
                text = of_template.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True
                )
                rendered[name] = {"text": text}
            except jinja2.exceptions.TemplateError as error:
                rendered[name] = {"refused": error.message}
    made = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    document = {"made_with": made, "now": NOW.isoformat(), "templates": expected}
    text = json.dumps(document, ensure_ascii=False, indent=1)
    (HERE / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
