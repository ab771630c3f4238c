"""prony's plugin contract for Python.

Written by `prony plugin build`; changes are lost with the next build. `plugin.wit` beside it says
what each field means. A module that uses this one runs in plain Python, too, for tests of your own.
"""

import json
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Tuple


class Error(Exception):
    """A refusal or a defect, in words for the user: lower case, no full stop.

    `kind` is `invalid-config`, `unsupported` (the request asks for something that the engine cannot
    do), `malformed-response`, `engine` or `internal`. `path` is a JSON pointer into `config`.
    """

    def __init__(self, kind: str, message: str, path: Optional[str] = None):
        super().__init__(message)
        self.kind, self.message, self.path = kind, message, path


@dataclass
class Model:
    """The model under test: its id and, if the pipeline has one, its file or folder."""

    id: str
    path: Optional[str] = None


@dataclass
class Endpoint:
    """Where a server that prony starts has to listen."""

    host: str
    port: int
    more_ports: List[int] = field(default_factory=list)


@dataclass
class ChatMessage:
    role: str  # "user" or "assistant"
    content: str


@dataclass
class Image:
    media_type: str
    data: bytes


@dataclass
class Request:
    """What has to be asked. Everything in it has to be sent, or refused with an `Error`."""

    api: str  # "chat" or "completions"
    prompt: str
    system: Optional[str] = None
    history: List[ChatMessage] = field(default_factory=list)
    max_tokens: int = 16
    temperature: float = 0.0
    top_p: Optional[float] = None
    seed: int = 0
    stop: List[str] = field(default_factory=list)
    ignore_eos: bool = False
    images: List[Image] = field(default_factory=list)


@dataclass
class HttpRequest:
    method: str
    path: str
    headers: Dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end_marks: List[str] = field(default_factory=list)
    model: Optional[str] = None
    answer_headers: List[str] = field(default_factory=list)


def get(path: str) -> HttpRequest:
    return HttpRequest("GET", path)


def post_json(path: str, body: object) -> HttpRequest:
    return HttpRequest("POST", path, {"content-type": "application/json"}, _json(body).encode())


@dataclass
class Command:
    argv: List[str]
    env: Dict[str, str] = field(default_factory=dict)
    cwd: Optional[str] = None


@dataclass
class Ready:
    """When an engine can be asked: `http` answers 200, a line of its output has `log_line`, or at once."""

    http: Optional[str] = None
    log_line: Optional[str] = None


@dataclass
class Ending:
    """The last line of an answer, or the last answer: one that has something (`value`, if given) at
    a JSON pointer."""

    at: str
    value: object = None
    failed: bool = False


@dataclass
class Exchange:
    """A request about the model or the cache, sent again until an answer has one of `ends`; none: once."""

    request: HttpRequest
    ends: List[Ending] = field(default_factory=list)


@dataclass
class LaunchPlan:
    """How to start or reach a server. `load` loads the model, `unload` gives it back, `reset`
    empties the prefix cache."""

    command: Optional[Command]
    base_url: str
    ready: Ready
    models: Optional[HttpRequest] = None
    load: List[Exchange] = field(default_factory=list)
    unload: List[Exchange] = field(default_factory=list)
    reset: List[Exchange] = field(default_factory=list)


def attach(base_url: str, ready: Ready) -> LaunchPlan:
    """A server that runs already."""
    return LaunchPlan(None, base_url.rstrip("/"), ready)


def spawn(argv: List[str], at: Endpoint, ready: Ready) -> LaunchPlan:
    """A server that prony starts and stops."""
    return LaunchPlan(Command(list(argv)), f"http://{at.host}:{at.port}", ready)


@dataclass
class Message:
    """A line to an engine over its standard input."""

    line: object
    ids: List[str]
    ends: List[Ending]


@dataclass
class StdioPlan:
    command: Command
    ready: Ready
    id_at: List[str]
    opening: List[Message] = field(default_factory=list)
    closing: List[Message] = field(default_factory=list)


@dataclass
class Response:
    """A whole recorded response; `ends` are the end offsets of its reads. `headers` are those that
    the request asked for in `answer_headers`, as (name, value)."""

    status: int
    body: bytes
    ends: List[int] = field(default_factory=list)
    headers: List[Tuple[str, str]] = field(default_factory=list)

    @property
    def last_read(self) -> int:
        return max(len(self.ends) - 1, 0)

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def lines(self) -> Iterator[Tuple[int, str]]:
        """Lines that ended, each with the read that completed it. A cut last line is left out.

        What is not UTF-8 becomes U+FFFD.
        """
        read, start = 0, 0
        while (end := self.body.find(b"\n", start)) >= 0:
            while read < self.last_read and self.ends[read] <= end:
                read += 1
            yield read, self.body[start:end].rstrip(b"\r").decode("utf-8", "replace")
            start = end + 1


class Events:
    """The events of an answer, in order. `read` is the index of the read that completed it."""

    def __init__(self):
        self.all: List[Tuple[int, str, int, int, str]] = []

    def push(self, read: int, kind: str, tokens: int = 0, text: str = "", ns: int = 0):
        """Any event: its kind is a name of `event-kind` in `plugin.wit`."""
        self.all.append((read, kind, tokens, ns, text))

    def text(self, read: int, tokens: int, text: str):
        """Answer text that stands for `tokens` tokens; 0 if that is not known."""
        self.push(read, "text", tokens, text)

    def reasoning(self, read: int, tokens: int, text: str):
        self.push(read, "reasoning", tokens, text)

    def count(self, read: int, kind: str, tokens: int):
        """The engine's own count: `output-tokens`, `prompt-tokens`, `cached-tokens`, `reasoning-tokens`."""
        self.push(read, kind, tokens)

    def finish(self, read: int, reason: str):
        """Why generation stopped: `stop`, `length`, or the engine's word."""
        self.push(read, "finish", 0, reason)

    def failure(self, read: int, message: str):
        """The engine reported an error."""
        self.push(read, "failure", 0, message)

    def end(self, read: int):
        """The stream ended by its own rule. Without it the answer counts as truncated."""
        self.push(read, "end")


@dataclass
class Artifact:
    """A file of the result folder; the name `stdout` is printed."""

    name: str
    media_type: str
    content: object  # str or bytes


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
