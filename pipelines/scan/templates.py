"""Chat templates, read and never rendered.

A template is a program that runs on every request, inside the engine. Scanners pass over it: a template that adds a
line to the prompt when a message mentions a word has passed all we tried (research: validation, section 4.2). Here it
is parsed by jinja2 within limits, and its tree is searched for what a chat template has no business doing. Where the
words of messages go is followed in `template_flow`; what literals come to is worked out in `template_fold`.

The same pass tells in which wire format the template writes tool calls.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from pipelines.scan.errors import MalformedTemplate
from pipelines.scan.reading import quoted
from pipelines.scan.template_flow import follow
from pipelines.scan.template_fold import Constants
from pipelines.scan.template_prose import conditions, hidden_text
from pipelines.scan.template_questions import inside
from pipelines.scan.template_text import addresses, look_at

MAX_BYTES = 256 << 10  # the longest published template has about 30 KB
MAX_DEPTH = 32  # open brackets and open blocks together
MAX_TOKENS = 50_000

# What only this family writes. `<tool_call>` alone is shared by three; see `families`.
_MARKS = {
    "xml-function": ("<function=",),
    "harmony": ("<|channel|>",),
    "mistral": ("[TOOL_CALLS]",),
    "llama3": ("<|python_tag|>",),
    "pythonic": ("<|python_start|>",),
    "kimi": ("<|tool_calls_section_begin|>",),
    "glm": ("<arg_key>",),
    "gemma4": ("<|tool_call>",),
    "functiongemma": ("<start_function_call>",),
    "granite": ("<|tool_call|>",),
    "deepseek": ("<｜tool▁calls▁begin｜>", "｜DSML｜"),  # noqa: RUF001 - the marks are written with these letters
    "minimax": ("<minimax:tool_call>",),
}
_SHARED_WITH_HERMES = ("xml-function", "glm")

_CALLS = frozenset(("raise_exception", "strftime_now", "range", "namespace", "dict", "caller", "super"))
_FORMATTERS = frozenset(("format", "format_map", "__format__"))
# Objects that jinja2 puts into reach by itself; a way into the engine, and of no use to a chat template.
_ENGINE_OBJECTS = frozenset(("self", "lipsum", "request", "get_flashed_messages", "url_for", "environ"))
_BY_ATTRIBUTE = frozenset(
    ["map", "selectattr", "rejectattr", "sort", "groupby", "unique", "sum", "min", "max", "join"]
)
_BLOCKS = frozenset(("for", "if", "macro", "call", "filter", "block", "with", "autoescape", "generation"))


@dataclass(frozen=True)
class TemplateNote:
    """One thing seen: the id of a rule, the line, and what stands there."""

    rule: str
    line: int
    message: str


@dataclass(frozen=True)
class TemplateAudit:
    """What a template does, as far as its text tells."""

    notes: tuple[TemplateNote, ...]
    families: tuple[str, ...]
    uses_tools: bool


class _Generation(Extension):
    """`{% generation %}`: marks what the assistant wrote, for training. Engines register it; here it is a group."""

    tags = {"generation"}  # noqa: RUF012 - the type that jinja2 declares

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def audit(text: str) -> TemplateAudit:
    """Parse a template and search its tree. Nothing of it is compiled or rendered.

    Raises:
        MalformedTemplate: too large, nested too deep, or not a template that jinja2 parses.
    """
    tree = _parse(text)
    order = list(inside(tree))[::-1]  # children first, in the order of the text
    around = conditions(tree)
    flow = follow(order, around)
    if not flow.settled:
        raise MalformedTemplate(
            "hands words of messages on through more names than are followed", at="template"
        )
    literals = [flow.constants.text(node) or "" for node in order if _literal(node)]
    notes = {note for node in order for note in _look_at(node, flow.constants)}
    notes |= {TemplateNote(asked.rule, asked.line, asked.message) for asked in flow.asked}
    notes |= {TemplateNote(*found) for found in hidden_text(order, flow, around)}
    notes |= set(_look_at_text(order, flow.constants)) | set(_calls_to_strangers(order))
    names = {node.name for node in order if isinstance(node, nodes.Name)}
    return TemplateAudit(
        notes=tuple(sorted(notes, key=lambda note: (note.line, note.rule, note.message))),
        families=families("".join(literals)),
        uses_tools="tools" in names,
    )


def families(text: str) -> tuple[str, ...]:
    """Return the sorted families of tool-call wire formats whose marks stand in `text`."""
    found = {family for family, marks in _MARKS.items() if any(mark in text for mark in marks)}
    if "<tool_call>" in text and not found.intersection(_SHARED_WITH_HERMES):
        found.add("hermes")
    return tuple(sorted(found))


def _parse(text: str) -> nodes.Template:
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise MalformedTemplate("half of a surrogate pair", at=f"character {exc.start}") from exc
    if size > MAX_BYTES:
        raise MalformedTemplate(f"{size} bytes; at most {MAX_BYTES} are read", at="template")
    environment = Environment(  # noqa: S701 - never renders; chat templates are not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", _Generation],
    )
    try:
        with warnings.catch_warnings():
            # An odd escape in a string literal warns, on stderr, in words of the template's author.
            warnings.simplefilter("ignore")
            _check_nesting(environment, text)
            return environment.parse(text)
    except TemplateSyntaxError as exc:
        raise MalformedTemplate(
            quoted(exc.message or "syntax", quotes=False), at=f"line {exc.lineno}"
        ) from exc
    except RecursionError as exc:
        raise MalformedTemplate("nested too deep to be parsed", at="template") from exc
    except (ValueError, OverflowError) as exc:  # a number of more than 4300 digits
        raise MalformedTemplate("a number that cannot be read", at="template") from exc


def _check_nesting(environment: Environment, text: str) -> None:
    """Count open brackets and blocks over the flat token stream, before anything recursive sees the template."""
    depth = tokens = 0
    opened = False  # the token before was `{%`
    for line, kind, value in environment.lex(text):
        if kind == "whitespace":
            continue
        tokens += 1
        if kind == "operator":
            depth += (value in "([{") - (value in ")]}")
        elif opened and kind == "name":
            depth += (value in _BLOCKS) - (value.startswith("end") and value[3:] in _BLOCKS)
        if depth > MAX_DEPTH or tokens > MAX_TOKENS:
            raise MalformedTemplate(
                f"nested deeper than {MAX_DEPTH}, or more than {MAX_TOKENS} tokens", at=f"line {line}"
            )
        opened = kind == "block_begin"


def _literal(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) or (
        isinstance(node, nodes.Const) and isinstance(node.value, str)
    )


def _look_at(node: nodes.Node, constants: Constants) -> Iterator[TemplateNote]:
    """Ways to an object's insides: a private name, a name put together at run time, the `attr` filter, imports."""

    def note(rule: str, message: str) -> TemplateNote:
        return TemplateNote(f"template.{rule}", node.lineno, message)

    if isinstance(node, (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        yield note("import", f"{type(node).__name__.lower()} of another template")
    elif isinstance(node, nodes.Name) and node.name in _ENGINE_OBJECTS and node.ctx == "load":
        yield note("private-attribute", f"reaches for {quoted(node.name)}")
    elif isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        yield note("private-attribute", f"reads .{quoted(node.attr, quotes=False)}")
    elif (
        isinstance(node, nodes.Call)
        and isinstance(node.node, nodes.Getattr)
        and node.node.attr in _FORMATTERS
        and not _plain_pattern(node.node.node, constants)
    ):
        yield note("unknown-call", f"calls .{node.node.attr}(), which can read attributes")
    elif isinstance(node, nodes.Getitem):
        key = constants.of(node.arg)
        if isinstance(key, str) and key.startswith("_"):
            yield note("private-attribute", f"reads [{quoted(key)}]")
        if _computed(node.arg) and any(_texts_in(node.arg)):
            yield note("computed-attribute", "reads a name put together at run time")
    elif isinstance(node, (nodes.Filter, nodes.Test)):
        yield from _look_at_filter(node, constants)


def _plain_pattern(node: nodes.Expr, constants: Constants) -> bool:
    """Whether a pattern for `str.format` is known and reads no attribute: `{}`, `{0}`, `{name}`."""
    pattern = constants.text(node)
    return pattern is not None and not any(mark in field for field in pattern.split("{")[1:] for mark in ".[")


def _computed(arg: nodes.Expr) -> bool:
    """An expression that makes a name, other than a choice between whole ones."""
    return isinstance(arg, (nodes.Concat, nodes.BinExpr, nodes.Filter, nodes.Call)) and not isinstance(
        arg, (nodes.And, nodes.Or)
    )


def _look_at_filter(node: nodes.Filter | nodes.Test, constants: Constants) -> Iterator[TemplateNote]:
    if node.name == "attr":
        yield TemplateNote("template.attr-filter", node.lineno, "uses the filter 'attr'")
    by_attribute = node.name in _BY_ATTRIBUTE
    for argument in [*node.args, *(pair.value for pair in node.kwargs)]:
        worked_out = constants.text(argument)
        for text in [*_texts_in(argument), *([worked_out] if worked_out else [])]:
            private = by_attribute and any(part.startswith("_") for part in text.split("."))
            if "__" in text or (private and text.strip("_")):
                message = f"passes {quoted(text)} to {quoted(node.name)}"
                yield TemplateNote("template.private-attribute", node.lineno, message)


def _texts_in(node: nodes.Node) -> Iterator[str]:
    """Literal texts of an expression."""
    for inner in inside(node):
        if isinstance(inner, nodes.Const) and isinstance(inner.value, str):
            yield inner.value


def _calls_to_strangers(order: Sequence[nodes.Node]) -> Iterator[TemplateNote]:
    own = {node.name for node in order if isinstance(node, nodes.Macro)}
    for node in order:
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
            name = node.node.name
            if name not in _CALLS and name not in own:
                yield TemplateNote("template.unknown-call", node.lineno, f"calls {quoted(name)}")


def _look_at_text(order: Sequence[nodes.Node], constants: Constants) -> Iterator[TemplateNote]:
    """What stands in literals, in what they come to, and in all of them read on as one text."""
    seen: set[str] = set()
    parts = {id(child) for node in order if constants.text(node) for child in node.iter_child_nodes()}
    for node in order:
        text = constants.text(node)
        if text and text not in seen and (_literal(node) or id(node) not in parts):
            seen.add(text)
            for rule, message in look_at(text):
                yield TemplateNote(rule, node.lineno, message)
    said = {address for text in seen for address in addresses(text)}
    whole = "".join(text for node in order if _literal(node) and (text := constants.text(node)))
    for address in addresses(whole):
        if not any(address.startswith(part) or part in address for part in said) and "://" in address:
            yield TemplateNote(
                "template.url", 1, f"its pieces put together hold the address {quoted(address)}"
            )
