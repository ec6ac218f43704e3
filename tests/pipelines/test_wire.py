"""What a chat template writes is told without an engine; and what a template must not do ends in words, in time."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.wire import WireDigests, dialogue, parent, render_digests
from pipelines.wire.dialogue import Rendered, segment
from signing.canonical import canonical_bytes, parse
from signing.digests import sha256_hex

DEMO = Path(__file__).parents[2] / "demo" / "models"
PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
CALLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}{% endfor %}"
)


def of(version: str) -> str:
    return (DEMO / version / "chat_template.jinja").read_text()


def digests(template: str, **changes: Any) -> WireDigests:
    return render_digests(template, tokens={}, **{"seconds": 10, **changes})


# ------------------------------------------------------------------------------------------- what it tells


def test_two_versions_that_write_alike_have_the_same_digests_and_a_third_has_not() -> None:
    first, second, third = (digests(of(name)) for name in ("v1", "v2", "v3"))
    assert first == second
    assert ("hermes", "xml-function") == (first.family, third.family)
    assert first.call_sha256 != third.call_sha256
    assert first.wire_sha256 != third.wire_sha256
    assert ("system", "developer", "user", "assistant", "tool") == first.roles == third.roles
    assert (None, True, True, "full-object") == (first.problem, first.tools, first.parallel, first.variant)


def test_the_call_alone_is_what_its_digest_is_of() -> None:
    call = '<tool_call>\n{"name": "probe_tool", "arguments": {"probe_count": 7, "probe_key": "probe value"}}\n</tool_call>'
    assert sha256_hex(call.encode()) == digests(of("v1")).call_sha256


def test_transformers_renders_the_same_text() -> None:
    """The library that engines render with, unmodified, on the same dialogue."""
    from transformers.utils.chat_template_utils import render_jinja_template

    job = parse(canonical_bytes(dialogue.jobs()["full-object"]), max_bytes=1 << 20)
    for version in ("v1", "v3"):
        texts: Any = render_jinja_template(
            conversations=[job["messages"]],
            tools=job["tools"],
            chat_template=of(version),
            add_generation_prompt=True,
        )
        assert sha256_hex(texts[0][0].encode()) == digests(of(version)).wire_sha256


def test_other_words_around_the_call_change_one_digest_and_another_call_changes_both() -> None:
    plain, polite = digests(CALLS), digests(f"Be polite. {CALLS}")
    assert plain.call_sha256 == polite.call_sha256
    assert plain.wire_sha256 != polite.wire_sha256
    other = digests(CALLS.replace("<tool_call>", "<tool_call>\n"))
    assert plain.call_sha256 != other.call_sha256
    assert plain.wire_sha256 != other.wire_sha256


@pytest.mark.parametrize(
    ("template", "variant", "roles", "tools", "parallel"),
    [
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('none here') }}{% endif %}" + CALLS,
            "full-without-system-object",
            ("developer", "user", "assistant", "tool"),
            True,
            True,
        ),
        (
            CALLS.replace("c.function | tojson", "c.function.name + ' ' + c.function.arguments"),
            "full-text",
            ("system", "developer", "user", "assistant", "tool"),
            True,
            True,
        ),
        (
            "{% for m in messages if m.role == 'tool' %}{{ raise_exception('none here') }}{% endfor %}"
            + CALLS.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]"),
            "short-object",
            ("system", "developer", "user", "assistant"),
            True,
            False,
        ),
        (PLAIN, "full-object", ("system", "developer", "user", "assistant", "tool"), False, False),
        (
            "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('none here') }}{% endif %}"
            "{{ m.content }}{% endfor %}",
            "user",
            ("user",),
            False,
            False,
        ),
    ],
    ids=[
        "no system message",
        "arguments are text",
        "no results, one call",
        "knows no tools",
        "one message only",
    ],
)
def test_as_much_of_the_dialogue_is_rendered_as_the_template_takes(
    template: str, variant: str, roles: tuple[str, ...], tools: bool, parallel: bool
) -> None:
    found = digests(template)
    assert (None, variant, roles) == (found.problem, found.variant, found.roles)
    assert (tools, parallel) == (found.tools, found.parallel)
    assert (found.call_sha256 is not None) == tools


def test_special_tokens_are_the_tokenizers_and_a_day_is_always_the_same() -> None:
    template = "{{ bos_token }}{{ strftime_now('%d %b %Y') }}" + PLAIN
    first, second = (render_digests(template, tokens={"bos_token": token}) for token in ("<s>", "<t>"))
    assert first.wire_sha256 != second.wire_sha256
    assert first == render_digests(template, tokens={"bos_token": "<s>", "chat_template": "x"})


def test_a_call_that_nobody_can_cut_out_is_no_call() -> None:
    assert segment("abc", None) is None
    assert segment("[a]probe words[z]", "[a]~words~[z]") is None
    assert "<x>probe_tool probe value</x>" == segment(
        "[a]<x>probe_tool probe value</x>[z]", "[a]~probe answer~[z]"
    )
    assert not Rendered(None, "why").says("")


# ------------------------------------------------------------------------------------------- what it survives

HOSTILE = {
    "an endless loop": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "did not end",
    ),
    "a memory bomb": ("{% set x = 'a' * 10 ** 10 %}", "of memory"),
    "a memory bomb that doubles": (
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "of memory",
    ),
    "a hundred megabytes": (
        "{% for a in range(1000) %}{{ 'a' * 100000 }}{% endfor %}",
        "writes more than",
    ),
    "a hundred megabytes at once": ("{{ 'a' * 100000000 }}", "writes more than"),
    "a way to the classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "sandbox refuses"),
    "a way to the modules": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "sandbox refuses"),
    "a way by the attr filter": ("{{ messages | attr('__class__') }}", "sandbox refuses"),
    "a way by format": ("{{ '{0.__class__}'.format(messages) }}", "sandbox refuses"),
    "a way through our own function": ("{{ raise_exception.__globals__ }}", "sandbox refuses"),
    "another file": ("{% include '/etc/passwd' %}", "no loader"),
    "a call of itself": ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "without an end"),
    "brackets without an end": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deep"),
    "half a surrogate pair written": ("{{ '\\ud800' }}", "surrogate"),
    "half a surrogate pair": ("\ud800", "surrogate"),
    "terminal escapes": ("{{ raise_exception('\x1b[31m') }}", "\\x1b[31m"),
    "no template": ("{% if %}", "line 1"),
    "a range without an end": ("{{ range(10 ** 9) | list }}", "Range too big"),
    "too large": ("a" * (300 << 10), "at most"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_in_a_clear_finding(name: str) -> None:
    template, word = HOSTILE[name]
    began = time.monotonic()
    found = digests(template, seconds=2 if name == "an endless loop" else 10)
    assert found.problem is not None
    assert word in found.problem
    assert found.problem.isprintable()
    assert (None, None, None, ()) == (found.wire_sha256, found.call_sha256, found.family, found.roles)
    assert time.monotonic() - began < 15


def test_the_kernel_itself_refuses_files_sockets_and_processes() -> None:
    """Whoever breaks out of jinja2's sandbox and past the audit hook finds a process that can open nothing."""
    program = (
        "import os, socket\n"
        "from pipelines.wire import child\n"
        "child._give_up()\n"
        "for attempt in (lambda: os.open('/etc/passwd', os.O_RDONLY), socket.socket, os.pipe, os.fork):\n"
        "    try:\n        attempt()\n"
        "    except OSError as refused:\n        print(type(refused).__name__, refused.errno)\n"
        "    else:\n        print('DONE')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    said = done.stdout.splitlines()
    assert ["OSError 24"] * 3 == said[:3]  # EMFILE
    assert os.geteuid() == 0 or "BlockingIOError 11" == said[3]  # root may start processes all the same


def test_a_child_that_answers_something_else_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (
        b"{}",
        b"[]",
        b"nonsense",
        b'{"rendered": {}}',
        b'{"rendered": {"user": {"text": 3}}}',
        b"\xff",
    ):
        monkeypatch.setattr(parent, "_ask", lambda _request, _seconds, said=answer: said)
        found = digests(f"{PLAIN} {answer!r}")
        assert found.problem is not None
        assert found.wire_sha256 is None
