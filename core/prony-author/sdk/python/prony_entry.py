"""Joins your module to the contract. Written by `prony plugin build`; do not edit."""

import dataclasses
import functools
import json
import re
import typing

import prony_plugin as sdk
import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log, types

import {{ module }} as plugin


# Here the build fails; without it the first request would.
for name in {{ functions }}:
    if not callable(getattr(plugin, name, None)):
        raise ImportError(f"{{ source }} has no function `{name}`, which a plugin of the kind `{{ kind }}` needs")
if not isinstance(getattr(plugin, "MANIFEST", None), dict):
    raise ImportError("{{ source }} has no `MANIFEST`, a dict")


def words(error):
    """An exception with its place in the author's own files."""
    # `traceback` would read the sources, and there are no files in the sandbox.
    places, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        file = code.co_filename.rsplit("/", 1)[-1]
        if not file.startswith("prony_"):
            places.append(f"{file}:{at.tb_lineno} in {code.co_name}")
        at = at.tb_next
    return f"{type(error).__name__}: {error} ({', called from '.join(reversed(places)) or 'no frame'})"


SURROGATES = re.compile("[\ud800-\udfff]")


def clean(it):
    """A value for prony, with U+FFFD for what is no character: it takes no other text."""
    if isinstance(it, str):
        return SURROGATES.sub("\ufffd", it)
    if isinstance(it, list):
        return [clean(one) for one in it]
    if dataclasses.is_dataclass(it):
        for name, value in vars(it).items():
            setattr(it, name, clean(value))
    return it


def fits(it, wanted, where):
    """Fails with words for a value of another type than the contract's, which would trap behind it."""
    of = typing.get_args(wanted)
    if typing.get_origin(wanted) is list:
        if isinstance(it, list):
            for index, one in enumerate(it):
                fits(one, of[0], f"{where}[{index}]")
            return
    elif of:
        forms = [form for form in of if isinstance(it, form)]
        wanted = forms[0] if forms else of[0]
        if forms:
            return fits(it, wanted, where) if forms != [type(None)] else None
    elif dataclasses.is_dataclass(wanted) and isinstance(it, wanted):
        for field in dataclasses.fields(it):
            fits(getattr(it, field.name), field.type, f"{where}.{field.name}".lstrip("."))
        return
    elif isinstance(it, wanted) and not (wanted is int and (isinstance(it, bool) or it < 0)):
        return
    expected = "an int from 0" if wanted is int else getattr(wanted, "__name__", wanted)
    raise TypeError(f"`{where}` is {it!r:.60}, expected {expected}")


def options(config):
    """The config, unless it has options that the manifest lacks, or lacks some that it needs."""
    given, schema = json.loads(config), plugin.MANIFEST.get("config_schema", {})
    if not isinstance(given, dict):
        raise sdk.Error("invalid-config", "the config is not an object with options", "")
    known = schema.get("properties", {})
    for name in given:
        if name not in known and schema.get("additionalProperties") is False:
            names = ", ".join(f"`{it}`" for it in known) or "none"
            path = "/" + name.replace("~", "~0").replace("/", "~1")
            raise sdk.Error("invalid-config", f"unknown option `{name}`: the options are {names}", path)
    for name in schema.get("required", []):
        if name not in given:
            raise sdk.Error("invalid-config", f"option `{name}` is missing", "")
    return given


def told(function):
    """An exception reaches prony as an error with its text."""

    @functools.wraps(function)
    def call(*arguments):
        try:
            made = clean(function(*arguments))
            if "return" in function.__annotations__:
                fits(made, function.__annotations__["return"], "")
            return made
        except sdk.Error as error:
            kind = getattr(types.ErrorKind, error.kind.upper().replace("-", "_"), types.ErrorKind.INTERNAL)
            raise Err(clean(types.Error(kind, error.message, error.path))) from None
        except Exception as error:
            raise Err(clean(types.Error(types.ErrorKind.INTERNAL, words(error), None))) from None

    return call


def described(kind, transport):
    try:
        manifest = dict(plugin.MANIFEST)
        manifest.update(name="{{ name }}", version="{{ version }}", kind=kind)
        if transport:
            manifest["transport"] = transport
        return json.dumps(manifest)
    except Exception as error:
        log.log(log.Level.ERROR, clean(words(error)))
        raise


def model(it):
    return sdk.Model(it.id, it.path)


def pairs(of):
    return [types.Pair(name, str(value)) for name, value in of.items()]


def ready(it):
    if it.http is not None:
        return types.Ready_Http(it.http)
    if it.log_line is not None:
        return types.Ready_LogLine(it.log_line)
    return types.Ready_Immediate()


def command(it):
    return types.Command(list(it.argv), pairs(it.env), it.cwd)


def http(it):
    body = clean(it.body).encode() if isinstance(it.body, str) else it.body
    return types.HttpRequest(
        it.method,
        it.path,
        pairs(it.headers),
        body,
        list(it.end_marks),
        [name.lower() for name in it.answer_headers],
        it.model,
    )


def request(it):
    return sdk.Request(
        api=it.api.name.lower(),
        prompt=it.prompt,
        system=it.system,
        history=[sdk.ChatMessage(one.role.name.lower(), one.content) for one in it.history],
        max_tokens=it.max_tokens,
        temperature=it.temperature,
        top_p=it.top_p,
        seed=it.seed,
        stop=list(it.stop),
        ignore_eos=it.ignore_eos,
        images=[sdk.Image(one.media_type, one.data) for one in it.images],
    )


def message(it):
    line = it.line if isinstance(it.line, str) else sdk._json(it.line)
    return types.Message(line, [str(one) for one in it.ids], endings(it.ends))


def endings(of):
    return [
        types.Ending(end.at, None if end.value is None else sdk._json(end.value), end.failed)
        for end in of
    ]


def exchanges(of):
    return [types.Exchange(http(it.request), endings(it.ends)) for it in of]


def decoded(config, response):
    events = sdk.Events()
    plugin.decode(
        options(config),
        sdk.Response(
            response.status,
            response.body,
            list(response.ends),
            [(it.name, it.value) for it in response.headers],
        ),
        events,
    )
    kinds = {kind.name.lower().replace("_", "-"): kind for kind in types.EventKind}
    for event in events.all:
        # Not by `fits`, since there are many.
        if [type(it) for it in event] != [int, str, int, int, str] or event[1] not in kinds:
            names = ("read", "kind", "tokens", "ns", "text")
            shown = ", ".join(f"{name} {it!r:.60}" for name, it in zip(names, event))
            raise TypeError(f"an event has {shown}: expected int, a kind of `plugin.wit`, int, int, str")
    return [
        types.Event(read, kinds[kind], tokens, ns, text) for read, kind, tokens, ns, text in events.all
    ]


{% if kind == "engine" -%}
class Engine(exports.Engine):
    def describe(self):
        return described("engine", "http")

    @told
    def launch(self, config, of, at) -> types.LaunchPlan:
        plan = plugin.launch(options(config), model(of), sdk.Endpoint(at.host, at.port, list(at.more_ports)))
        return types.LaunchPlan(
            None if plan.command is None else command(plan.command),
            plan.base_url,
            ready(plan.ready),
            None if plan.models is None else http(plan.models),
            [],
            exchanges(plan.load),
            exchanges(plan.unload),
            exchanges(plan.reset),
        )

    @told
    def encode(self, config, of, what) -> types.HttpRequest:
        return http(plugin.encode(options(config), model(of), request(what)))

    @told
    def decode(self, config, response):
        return decoded(config, response)
{% elif kind == "stdio-engine" -%}
class StdioEngine(exports.StdioEngine):
    def describe(self):
        return described("engine", "stdio")

    @told
    def launch(self, config, of) -> types.StdioPlan:
        plan = plugin.launch(options(config), model(of))
        return types.StdioPlan(
            command(plan.command),
            ready(plan.ready),
            list(plan.id_at),
            [message(it) for it in plan.opening],
            [message(it) for it in plan.closing],
        )

    @told
    def encode(self, config, of, what, number) -> types.Message:
        return message(plugin.encode(options(config), model(of), request(what), number))

    @told
    def decode(self, config, response):
        return decoded(config, response)
{% else -%}
class Reporter(exports.Reporter):
    def describe(self):
        return described("reporter", None)

    @told
    def render(self, config, result) -> typing.List[types.Artifact]:
        def artifact(it):
            content = clean(it.content).encode() if isinstance(it.content, str) else it.content
            return types.Artifact(it.name, it.media_type, content)

        return [artifact(it) for it in plugin.render(options(config), json.loads(result))]
{% endif -%}
