"""Which files an engine serves, and whether it answers: asked of the engine itself, in its own dialect.

Health pages and model names prove nothing: an engine answers 200 while it is paused, and for any model name
that it is sent. So readiness is a timed completion, and identity is the path of the files that were loaded.
Sources: llama.cpp `tools/server/README.md` (`/props`); vLLM `/version`, `/v1/models[].root`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.engines.called import who_listens
from pipelines.engines.endpoint import AnswerUnusable, Endpoint, EngineTrouble, json_body
from signing.canonical import NotCanonical, parse
from signing.digests import sha256_hex

SECONDS = 10.0  # for each question about identity; none of them computes anything
MAX_TEXT = 4096  # characters of a name or path that an engine says
MAX_NAMES = 64
ANY_MODEL = "default"  # for an engine that names none and looks at none


@dataclass(frozen=True)
class EngineIdentity:
    """What an engine says of itself. None where it says nothing; an empty tuple is a list that was empty."""

    engine: str  # llama-server, vllm, transformers, llama-cpp-python, unknown
    version: str | None
    model_path: str | None  # as the engine's own host knows it
    template_sha256: str | None  # of the chat template's text, where the engine shows it
    models: tuple[str, ...]  # names that requests may use

    @property
    def first_model(self) -> str:
        """The name to ask for when nobody said another."""
        return self.models[0] if self.models else ANY_MODEL


@dataclass(frozen=True)
class Readiness:
    """Whether a timed completion came back, in how many milliseconds, or why not."""

    ready: bool
    milliseconds: int | None
    why: str
    parses_calls: bool | None = None  # None: no tool was offered, or nothing was answered


def identify(endpoint: Endpoint, *, model: str | None = None, seconds: float = SECONDS) -> EngineIdentity:
    """Ask an engine what it is and what it has loaded.

    Args:
        model: the name that requests will use, where an engine serves several.

    Raises:
        EngineUnreachable, EngineTooSlow, AnswerUnusable: not even a list of models could be had.
    """
    props = _optional(endpoint, "/props", seconds)
    if props is not None and isinstance(props.get("build_info"), str):
        template = props.get("chat_template")
        return EngineIdentity(
            engine="llama-server",
            version=_text(props.get("build_info")),
            model_path=_text(props.get("model_path")),
            template_sha256=sha256_hex(_utf8(template)) if isinstance(template, str) and template else None,
            models=tuple(name for name, _ in _models(endpoint, seconds)),
        )
    called = who_listens(endpoint.port) if endpoint.is_local else None
    if called is not None:
        engine, release, path, name = called
        return EngineIdentity(engine, release, path, None, (name,))
    models = _models(endpoint, seconds)
    version = _optional(endpoint, "/version", seconds)
    if version is not None and isinstance(version.get("version"), str):
        roots = {root for name, root in models if root and model in (None, name)}
        return EngineIdentity(
            engine="vllm",
            version=_text(version.get("version")),
            model_path=roots.pop() if len(roots) == 1 else None,
            template_sha256=None,
            models=tuple(name for name, _ in models),
        )
    return EngineIdentity("unknown", None, None, None, tuple(name for name, _ in models))


def ready(endpoint: Endpoint, *, seconds: float, model: str = ANY_MODEL) -> Readiness:
    """Ask for a few words and wait at most `seconds`. Never raises: a silent engine is an answer too.

    No tool is offered: whether tools work is the suite's question, and an engine that chokes on them is
    still an engine that runs.
    """
    body = json_body(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Say ok."}],
            "temperature": 0,
            "max_tokens": 4,
            "stream": False,
        }
    )
    try:
        answer = endpoint.post("/v1/chat/completions", body, seconds=seconds)
        value = _json(answer.status, answer.body, f"{endpoint}/v1/chat/completions")
    except EngineTrouble as exc:
        return Readiness(ready=False, milliseconds=None, why=str(exc))
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices:
        return Readiness(ready=False, milliseconds=None, why=f"{endpoint}: a completion without choices")
    return Readiness(ready=True, milliseconds=answer.milliseconds, why="answered a timed completion")


def _models(endpoint: Endpoint, seconds: float) -> list[tuple[str, str | None]]:
    """Return (name, root) of each model that is listed; raises when there is no such list."""
    answer = endpoint.get("/v1/models", seconds=seconds)
    value = _json(answer.status, answer.body, f"{endpoint}/v1/models")
    items = value.get("data")
    if not isinstance(items, list):
        raise AnswerUnusable(f"{endpoint}/v1/models", "no list of models in it")
    found = []
    for item in items[:MAX_NAMES]:
        name = _text(item.get("id")) if isinstance(item, dict) else None
        if name:
            found.append((name, _text(item.get("root"))))
    return found


def _optional(endpoint: Endpoint, path: str, seconds: float) -> Mapping[str, Any] | None:
    """Ask for something that only some engines have; any answer but a JSON object is a no."""
    answer = endpoint.get(path, seconds=seconds)
    try:
        return _json(answer.status, answer.body, f"{endpoint}{path}")
    except AnswerUnusable:
        return None


def _json(status: int, body: bytes, where: str) -> dict[str, Any]:
    if status != 200:
        raise AnswerUnusable(where, f"HTTP status {status}")
    try:
        value = parse(body, max_bytes=len(body), at="answer")
    except NotCanonical as exc:
        raise AnswerUnusable(where, str(exc)) from exc
    if not isinstance(value, dict):
        raise AnswerUnusable(where, "not a JSON object")
    return value


def _text(value: object) -> str | None:
    """A short text that can be shown and signed, or nothing."""
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        return None
    return _utf8(value).decode()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # JSON can smuggle half a surrogate pair; UTF-8 cannot
