"""The child process that renders: gives up what rendering does not need, then reads a template from standard input.

Before the template is seen, the kernel has been told that this process opens no further file or socket, starts no
process, writes no more than an answer, and has bounded memory and time; and it dies with its parent. The sandbox of
jinja2 and the audit hook stand before that, so that an attempt ends in words and not in a signal.

The names, filters and tags are those that transformers gives to chat templates.
"""

import contextlib
import ctypes
import datetime as dt
import json
import os
import pprint  # noqa: F401 - the filter of this name imports it, and nothing can be imported later
import resource
import signal
import sys
from typing import Any, NoReturn

import jinja2.debug  # imported now, because rendering imports it when something fails
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from signing.canonical import parse

MEMORY = 512 << 20  # bytes of address space
MAX_REQUEST = 4 << 20  # bytes
MAX_ANSWER = 16 << 20  # bytes
MAX_TEXT = 256 << 10  # characters of one rendering; the longest published template writes about 12,000 here
MAX_ERROR = 300  # characters
_DESCRIPTORS = 3  # standard input, output and error: all are open, so no further one can be
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # <sys/prctl.h>
_REFUSED = ("open", "os.", "socket.", "subprocess.", "ctypes.", "shutil.", "pty.")
_DAY = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - what `strftime_now` says, on every day

# What a template's own mistakes raise. Anything else ends the process, and the parent says so.
_MISTAKES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)


class Refused(RuntimeError):
    """Something that no chat template needs was tried, or more was written than one writes."""


class Generation(Extension):
    """`{% generation %}`: marks what the assistant wrote, for training; here it is a group."""

    tags = {"generation"}  # noqa: RUF012 - the type that jinja2 declares

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class Sandbox(SandboxedEnvironment):
    """jinja2's own, that says so at once when a template reaches for an object's insides.

    Lists may be added to: some published templates do, some engines let them, and nothing outside of this process sees it.
    """

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        raise SecurityError(f"the attribute {attribute!r} of a {type(obj).__name__} is not for templates")


def main() -> int:
    """Read one request, write one answer: `{"problem"}` or `{"rendered": {name: {"text"} or {"error"}}}`."""
    _warm_up()
    _give_up()
    request = parse(sys.stdin.buffer.read(MAX_REQUEST), max_bytes=MAX_REQUEST)
    if os.getppid() != request["parent"]:
        return 1
    _limit_time(request["seconds"])
    sys.addaudithook(_refuse)
    answer: dict[str, Any]
    try:
        answer = {"rendered": _render(request["template"], request["tokens"], request["jobs"])}
    except (TemplateSyntaxError, Refused, SecurityError, MemoryError, *_MISTAKES) as exc:
        answer = {"problem": _said(exc)}
    sys.stdout.buffer.write(json.dumps(answer).encode())
    sys.stdout.flush()
    return 0


def _render(text: str, tokens: dict[str, str], jobs: dict[str, Any]) -> dict[str, dict[str, str]]:
    template = environment().from_string(text)
    out = {}
    for name, job in jobs.items():
        try:
            out[name] = {"text": _written(template, {**tokens, "documents": None, **job})}
        except (SecurityError, Refused):
            raise
        except _MISTAKES as exc:
            out[name] = {"error": _said(exc)}
    return out


def environment() -> Sandbox:
    """What a chat template may use."""
    made = Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", Generation],
    )
    made.filters["tojson"] = _tojson
    made.globals |= {"raise_exception": _raise, "strftime_now": _DAY.strftime}
    return made


def _written(template: jinja2.Template, names: dict[str, Any]) -> str:
    parts, length = [], 0
    for part in template.generate(**names):
        length += len(part)
        if length > MAX_TEXT:
            raise Refused(f"writes more than {MAX_TEXT} characters")
        parts.append(part)
    text = "".join(parts)
    text.encode()  # half of a surrogate pair has no bytes
    return text


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: object = "") -> NoReturn:
    raise TemplateError(f"the template says: {message}")


def _said(exc: BaseException) -> str:
    if isinstance(exc, MemoryError):
        return f"needs more than {MEMORY >> 20} MiB of memory"
    if isinstance(exc, RecursionError):
        return "calls itself without an end, or is nested too deep"
    if isinstance(exc, SecurityError):
        return f"tries what the sandbox refuses: {exc}"[:MAX_ERROR]
    where = f"line {exc.lineno}: " if isinstance(exc, TemplateSyntaxError) else ""
    return f"{where}{exc}"[:MAX_ERROR] or type(exc).__name__


def _warm_up() -> None:
    """Render once with everything, so that Python has read all files that it reads late (codecs, for one)."""
    text = "{% for a in [1] %}{{ {'k': a} | tojson }}{{ a | pprint }}{{ strftime_now('%d %B') }}{% endfor %}{{ missing.x }}"
    with contextlib.suppress(TemplateError):
        environment().from_string(text).render()


def _give_up() -> None:
    """Source: prctl(2), setrlimit(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, MAX_ANSWER),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _limit_time(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def _refuse(event: str, _arguments: tuple[Any, ...]) -> None:
    if event.startswith(_REFUSED):
        raise Refused(f"tries {event!r}")


if __name__ == "__main__":
    sys.exit(main())
