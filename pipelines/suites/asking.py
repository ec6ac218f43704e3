"""One attempt at a case: the questions that it takes, in the right order, and everything that was heard.

Runs in any thread; what is heard is judged elsewhere, in the main thread, where a check can be cut off.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.engines.endpoint import AnswerUnusable, Endpoint, EngineTrouble
from pipelines.suites import responses, talk
from pipelines.suites.cases import CHAT, Case
from pipelines.suites.checks import Exchange
from pipelines.suites.format import Suite, Tool
from pipelines.suites.plan import Key
from pipelines.suites.streaming import Listener, listen
from pipelines.suites.talk import Reply
from signing.digests import sha256_hex

# Reading takes up to a hundred times an answer's bytes for a moment: one answer at a time.
_READING = threading.Lock()


@dataclass(frozen=True)
class Asked:
    """An engine and the model's name there."""

    endpoint: Endpoint
    model: str


@dataclass(frozen=True)
class Task:
    """An attempt that is to be made."""

    key: Key
    suite: Suite
    case: Case
    tools: Mapping[str, Tool]


@dataclass(frozen=True)
class Heard:
    """What came of a task. `first` may be there although the engine failed later; `exchange` only when all was heard."""

    task: Task
    request: str  # sha256 of the first request's bytes
    milliseconds: int
    first: Reply | None = None
    exchange: Exchange | None = None
    trouble: EngineTrouble | None = None


def hear(task: Task, asked: Asked) -> Heard:
    """Ask what the task asks. Never raises for what an engine does."""
    body = _body(task, asked, stream=task.key.stream)
    digest = sha256_hex(body)
    first: Reply | None = None
    began, milliseconds = time.monotonic(), 0
    try:
        first, milliseconds = _ask(task, asked, body, stream=task.key.stream)
        other = None
        if task.case.asks_both_ways:
            other, _ = _ask(task, asked, _body(task, asked, stream=False), stream=False)
        second = _second(task, asked, first)
    except EngineTrouble as exc:
        spent = milliseconds or round((time.monotonic() - began) * 1000)
        return Heard(task, digest, spent, first=first, trouble=exc)
    return Heard(task, digest, milliseconds, first, Exchange(first, second, other, milliseconds))


def _second(task: Task, asked: Asked, first: Reply) -> Reply | None:
    turn = task.case.turn
    if turn is None or not first.calls:
        return None
    surface = talk if task.key.surface == CHAT else responses
    more = surface.second_turn(first, turn.result)
    return _ask(task, asked, _body(task, asked, stream=task.key.stream, more=more), stream=task.key.stream)[0]


def _body(task: Task, asked: Asked, *, stream: bool, more: Sequence[Mapping[str, Any]] = ()) -> bytes:
    if task.key.surface == CHAT:
        return talk.request(
            task.case, task.tools, model=asked.model, seed=task.suite.seed, more=more, stream=stream
        )
    return responses.request(task.case, task.tools, model=asked.model, more=more, stream=stream)


def _ask(task: Task, asked: Asked, body: bytes, *, stream: bool) -> tuple[Reply, int]:
    surface = talk if task.key.surface == CHAT else responses
    where, seconds = f"{asked.endpoint}{surface.PATH}", task.suite.timeout_seconds
    if stream:
        together = talk.ChatStream(where) if task.key.surface == CHAT else responses.ResponseStream(where)
        listener = Listener(together.take, lambda: together.ended)
        took = listen(asked.endpoint, surface.PATH, body, listener, seconds=seconds)
        with _READING:
            return together.reply(), took
    answer = asked.endpoint.post(surface.PATH, body, seconds=seconds)
    if answer.status != 200:
        said = answer.body[:120].decode("utf-8", "replace")
        raise AnswerUnusable(where, f"HTTP status {answer.status}: {said!r}")
    with _READING:
        return surface.read_reply(answer.body, where=where), answer.milliseconds
