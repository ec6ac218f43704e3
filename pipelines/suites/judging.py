"""From what was heard to the line that is written down: every check of the case, each within its time."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pipelines.engines.endpoint import AnswerUnusable
from pipelines.suites.asking import Heard, Task
from pipelines.suites.checks import Exchange, calls_valid, problem
from pipelines.suites.python_checks import PythonChecks
from pipelines.suites.results import MAX_MESSAGES, MAX_REASON, MAX_REASONS, Attempt, excerpt
from pipelines.suites.talk import Call, Reply
from pipelines.suites.vocabulary import NAMES, PythonCheck

CHECK_SECONDS = 2.0  # for one check: a pattern or a schema can be made to take years
_NOTHING = Reply("", (), None)


class TooLong(Exception):
    """A check did not come to an end."""


def judged(heard: Heard, python: PythonChecks | None) -> Attempt:
    """Return the attempt with every reason against it. Only in the main thread: an alarm cuts off what takes years."""
    first, trouble = heard.first or _NOTHING, heard.trouble
    # An engine that lives and answers nonsense: that is the case's failure. No answer is the engine's.
    kind = None if trouble is None or isinstance(trouble, AnswerUnusable) else trouble.kind
    reasons = [str(trouble)] if trouble else []
    if heard.exchange is not None:
        reasons = _against(heard.task, heard.exchange, python)
    return Attempt(
        case=heard.task.case.id,
        repeat=heard.task.key.repeat,
        outcome="trouble" if kind else "failed" if reasons else "passed",
        trouble=kind,
        reasons=tuple(_plain(reason, MAX_REASON) for reason in reasons[:MAX_REASONS]),
        parsed=bool(first.calls) and len(first.calls) >= len(heard.task.case.expects_calls),
        valid=_valid(heard.task, first),
        request=heard.request,
        milliseconds=heard.milliseconds,
        finish_reason=_plain(first.finish_reason, 64) if first.finish_reason else None,
        content=excerpt(first.content),
        calls=tuple(_called(call) for call in first.calls[:4]),
        side=heard.task.key.side,
        surface=heard.task.key.surface,
        stream=heard.task.key.stream,
        ttft_ms=first.ttft_ms,
        output_tokens=first.output_tokens,
        messages=_transcript(heard.task, heard.first, heard.exchange),
    )


def _against(task: Task, exchange: Exchange, python: PythonChecks | None) -> list[str]:
    reasons = []
    for check in task.case.checks:
        if isinstance(check, PythonCheck):
            found = (
                python.problem(task.suite, task.case, check.function, exchange)
                if python
                else "nobody allowed it"
            )
        else:
            try:
                with _within(CHECK_SECONDS):
                    found = problem(check, exchange, task.case, task.tools)
            except TooLong:
                found = f"could not be decided within {CHECK_SECONDS:g} s"
        if found:
            reasons.append(f"{NAMES[type(check)]}: {found}")
    return reasons


def _valid(task: Task, reply: Reply) -> bool:
    try:
        with _within(CHECK_SECONDS):
            return calls_valid(reply, {name: task.tools[name] for name in task.case.tools})
    except TooLong:
        return False


def _transcript(task: Task, first: Reply | None, exchange: Exchange | None) -> tuple[str, ...]:
    """Return the dialogue in short texts: what a person reads who wants to know why a case was lost."""
    asked = task.case.messages[-(MAX_MESSAGES - 6) :]
    lines = [line for message in asked for line in _written(message)]
    if first is not None:
        lines.extend(_said(first))
    if exchange is not None and exchange.second is not None and task.case.turn is not None:
        lines.append(f"tool: {task.case.turn.result}")
        lines.extend(_said(exchange.second))
    return tuple(excerpt(line) for line in lines[:MAX_MESSAGES])


def _written(message: Mapping[str, Any]) -> Iterator[str]:
    """What a message of the case says, its calls included."""
    calls = [call["function"] for call in message.get("tool_calls", ())]
    if message["content"] or not calls:
        yield f"{message['role']}: {message['content']}"
    if calls:
        yield "assistant calls: " + "; ".join(f"{call['name']} {call['arguments']}" for call in calls[:4])


def _said(reply: Reply) -> Iterator[str]:
    if reply.content or not reply.calls:
        yield f"assistant: {reply.content}"
    if reply.calls:
        yield "assistant calls: " + "; ".join(_called(call) for call in reply.calls[:4])


def _called(call: Call) -> str:
    return _plain(f"{call.name} {call.arguments}", MAX_REASON)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block when it takes longer; Python's `re` looks for signals while it matches."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _plain(text: str, most: int) -> str:
    return text[:most].encode("utf-8", "replace").decode()
