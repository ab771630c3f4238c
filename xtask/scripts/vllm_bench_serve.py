"""`vllm bench serve` from vLLM's Python files, without torch and the engine.

The client, `vllm.benchmarks.serve`, is vLLM's own and unchanged. What it imports beside
itself and does not use here is replaced with modules that give any name.
"""
import argparse
import importlib.machinery
import importlib.util
import sys
import types
from unittest import mock

UNUSED = {
    "torch",
    "transformers",
    "vllm.inputs",
    "vllm.lora",
    "vllm.multimodal",
    "vllm.tokenizers",
    "vllm.transformers_utils",
    "vllm.utils.mistral",
}


class Anything(types.ModuleType):
    """Module in which every name is a mock."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return mock.MagicMock(name=name)


class Finder:
    """Finds such a module for each name in `UNUSED` and below."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        parts = name.split(".")
        if any(".".join(parts[:n]) in UNUSED for n in range(1, len(parts) + 1)):
            return importlib.machinery.ModuleSpec(name, Finder, is_package=True)

    @staticmethod
    def create_module(spec):
        return Anything(spec.name)

    @staticmethod
    def exec_module(module):
        pass


sys.meta_path.insert(0, Finder)
# The package's own `__init__` looks for torch.
package = types.ModuleType("vllm")
package.__path__ = importlib.util.find_spec("vllm").submodule_search_locations
sys.modules["vllm"] = package

from vllm.benchmarks.serve import add_cli_args, main  # noqa: E402

parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
