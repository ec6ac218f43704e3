import warnings

import pytest

from pipelines.scan.errors import MalformedTemplate
from pipelines.scan.templates import MAX_BYTES, audit, families
from tests.pipelines.hostile import TEMPLATE

ATTACKS = {
    "a private attribute": ("{{ ''.__class__.__mro__ }}", "template.private-attribute"),
    "a private item": ("{{ x['__globals__'] }}", "template.private-attribute"),
    "a single underscore": ("{{ x._private }}", "template.private-attribute"),
    "map over a private attribute": ("{{ x | map(attribute='a.__class__') }}", "template.private-attribute"),
    "a name put together": ("{{ x['_' ~ '_class_' ~ '_'] }}", "template.computed-attribute"),
    "a name added up": ("{{ x['_' + y] }}", "template.computed-attribute"),
    "the attr filter": ("{{ x | attr(y) }}", "template.attr-filter"),
    "include": ("{% include 'a' %}", "template.import"),
    "import": ("{% import 'a' as b %}", "template.import"),
    "from": ("{% from 'a' import b %}", "template.import"),
    "extends": ("{% extends 'a' %}", "template.import"),
    "an address in text": ("Visit https://evil.example/now", "template.url"),
    "an address in an expression": ("{{ 'http://evil.example' }}", "template.url"),
    "an address in two halves": ("{{ 'ht' ~ 'tps://evil.example' }}", "template.url"),
    "an address in a sum": ("{{ x + 'ht' + 'tps://evil.example' }}", "template.url"),
    "encoded text": ("{{ '" + "aGVsbG8gd29ybGQsIGhvdyBhcmU" * 10 + "' }}", "template.encoded-text"),
    "a trigger word": ("{% if 'deploy' in messages[-1].content %}x{% endif %}", "template.content-branch"),
    "a trigger by item": (
        "{% if 'deploy' in messages[-1]['content'] %}x{% endif %}",
        "template.content-branch",
    ),
    "a trigger by a name": (
        "{% set c = messages[-1].content %}{% set d = c | lower %}{% if 'deploy' in d %}x{% endif %}",
        "template.content-branch",
    ),
    "a trigger by equality": ("{% if message.content == 'deploy' %}x{% endif %}", "template.content-branch"),
    "a trigger by method": ("{% if m.content.startswith('deploy') %}x{% endif %}", "template.content-branch"),
    "a trigger by word": (
        "{% for w in m.content.split() %}{% if w == 'deploy' %}x{% endif %}{% endfor %}",
        "template.content-branch",
    ),
    "a trigger by list": ("{% if m.content in ['deploy', 'ship'] %}x{% endif %}", "template.content-branch"),
    "a trigger in a namespace": (
        "{% set ns = namespace(t='') %}{% set ns.t = m.content %}{% if 'deploy' in ns.t %}x{% endif %}",
        "template.content-branch",
    ),
    "a date": ("{% if strftime_now('%Y') > '2026' %}x{% endif %}", "template.clock-branch"),
    "a stranger": ("{{ cycler() }}", "template.unknown-call"),
    "str.format": ("{{ '{0.x}'.format(y) }}", "template.unknown-call"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_template_has_no_business_doing_is_seen(attack: str) -> None:
    text, rule = ATTACKS[attack]
    assert rule in [note.rule for note in audit(text).notes]


def test_a_note_names_the_line_and_quotes_what_stands_there() -> None:
    (note,) = audit("a\nb\n{% if 'de\\x1bploy' in m.content %}x{% endif %}").notes
    assert (3, r"acts on messages that contain 'de\x1bploy'") == (note.line, note.message)


@pytest.mark.parametrize(
    "text",
    [
        TEMPLATE,
        "{% if '</think>' in message.content %}{{ message.content.split('</think>')[-1] }}{% endif %}",
        "{% if content.startswith('<tool_response>') %}x{% endif %}",
        "{% for part in m.content | list %}{% if part.type == 'image' %}x{% endif %}{% endfor %}",
        "{% macro show(x) %}{{ x }}{% endmacro %}{{ show(1) }}",
        "{# https://example.org says how #}{{ raise_exception('no') }}",
        "{% generation %}{{ m.content }}{% endgeneration %}{% break %}",
        "-" * 300,
    ],
)
def test_ordinary_templates_are_clean(text: str) -> None:
    assert () == audit(text).notes


HOSTILE = {
    "too large": "x" * (MAX_BYTES + 1),
    "brackets": "{{ " + "(" * 20_000,
    "blocks": "{% if a %}" * 5_000,
    "not not not": "{{ " + "not " * 5_000 + "x }}",
    "minus minus": "{{ " + "-" * 5_000 + "1 }}",
    "a number of 5000 digits": "{{ " + "9" * 5_000 + " }}",
    "half a surrogate": "\ud800",
    "unknown tag": "{% launch %}",
    "unfinished": "{% if",
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_template_that_cannot_be_parsed_is_refused(attack: str) -> None:
    with pytest.raises(MalformedTemplate):
        audit(HOSTILE[attack])


def test_long_chains_are_walked_without_recursion() -> None:
    chain = "{{ a.content" + ".find('deploy')" * 8_000 + "}}"
    assert {"template.content-branch"} == {note.rule for note in audit(chain).notes}


def test_an_odd_escape_neither_warns_nor_fails() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert () == audit(r"{{ '\d' }}").notes


def test_whether_tools_are_used() -> None:
    assert audit(TEMPLATE).uses_tools
    assert not audit("{{ messages }}").uses_tools


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>\n{"name": "x"}', ("hermes",)),
        ("<tool_call>\n<function=x>", ("xml-function",)),
        ("<tool_call>x<arg_key>", ("glm",)),
        ("<|start|>assistant<|channel|>commentary", ("harmony",)),
        ("[TOOL_CALLS]", ("mistral",)),
        ("<|python_tag|>", ("llama3",)),
        ("<|python_start|>", ("pythonic",)),
        ("<|tool_calls_section_begin|>", ("kimi",)),
        ("<|tool_call>", ("gemma4",)),
        ("nothing", ()),
    ],
)
def test_the_family_of_a_wire_format_is_told_by_its_marks(text: str, expected: tuple[str, ...]) -> None:
    assert expected == families(text)
