"""A stand-in for an engine, so that everything here runs before yours does.

It answers `POST /generate` with a JSON object a line: the words of the prompt, again and again, one
every few milliseconds. Needs the standard library only.
"""

import argparse
import itertools
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--pause-ms", type=float, default=2, help="time of a token")
options = parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # A token is sent at once.

    def do_GET(self):
        self.answer(200 if self.path == "/health" else 404, b"")

    def do_POST(self):
        ask = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/generate":
            return self.answer(404, b'{"error": "no such path"}\n')
        if ask.get("stop") or ask.get("top_p") is not None:
            return self.answer(400, b'{"error": "this server has neither `stop` nor `top_p`"}\n')
        prompt = ask["prompt"] if "prompt" in ask else ask["messages"][-1]["content"]
        words = prompt.split() or ["nothing"]
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in itertools.islice(itertools.cycle(words), ask["max_tokens"]):
            time.sleep(options.pause_ms / 1000)
            self.line({"text": word + " "})
        counts = {"prompt_tokens": len(words), "output_tokens": ask["max_tokens"]}
        self.line({"done": "length", **counts})
        self.wfile.write(b"0\r\n\r\n")

    def line(self, message):
        data = json.dumps(message).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


print(f"listening on http://{options.host}:{options.port}", flush=True)
Server((options.host, options.port), Handler).serve_forever()
