"""A stand-in for mlx-vlm's server, which answers as that of mlx-engine does, without a key."""

import argparse
import pathlib
import sys
from http.server import ThreadingHTTPServer

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "mlx-engine"))
from mlx_engine.server import __main__ as engine


class Handler(engine.Handler):
    name = "mlx-vlm"

    def is_refused(self):
        return False

    def problem(self, body):
        # The real one loads whatever model a request names.
        if body["model"] != str(self.options.model):
            return f"there is no model {body['model']}"
        return None


parser = argparse.ArgumentParser()
parser.add_argument("--model", type=pathlib.Path, required=True)
parser.add_argument("--host", required=True)
parser.add_argument("--port", type=int, required=True)
Handler.options = parser.parse_args(namespace=argparse.Namespace(parallel_sessions=2))
ThreadingHTTPServer((Handler.options.host, Handler.options.port), Handler).serve_forever()
