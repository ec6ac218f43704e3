"""Chat templates, read and never rendered.

A template is a program that runs on every request, inside the engine. Scanners pass over it: a template that adds a
line to the prompt when a message mentions a word has passed all we tried (research: validation, section 4.2). Here it
is parsed by jinja2 within limits, and its tree is searched for what a chat template has no business doing.

The same pass tells in which wire format the template writes tool calls.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from pipelines.scan.errors import MalformedTemplate
from pipelines.scan.reading import quoted

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

_URL = re.compile(r"\b(?:https?|ftp|file|data|javascript):(?://|[a-z]+/)[^\s'\"<>]{0,80}", re.IGNORECASE)
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{200,}")
_MARKUP = re.compile(r"\s*(?:</?[^<>\s]{1,60}>?|\[/?[A-Z_]{2,40}\]?|```\w*)\s*")
_CALLS = frozenset(("raise_exception", "strftime_now", "range", "namespace", "dict", "caller", "super"))
_FORMATTERS = frozenset(("format", "format_map", "__format__"))
_SEARCHES = frozenset(
    ("startswith", "endswith", "find", "rfind", "index", "count", "split", "rsplit", "partition")
)
_BLOCKS = frozenset(("for", "if", "macro", "call", "filter", "block", "with", "autoescape", "generation"))
_CONTENT = frozenset(("content", "text"))


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
    literals = list(_literals(tree))
    content = _holding_content(tree)
    notes = [note for node in _walk(tree) for note in _look_at(node, content)]
    notes += [note for line, literal in literals for note in _look_at_literal(line, literal)]
    names = {node.name for node in _walk(tree) if isinstance(node, nodes.Name)}
    notes.extend(_calls_to_strangers(tree))
    return TemplateAudit(
        notes=tuple(sorted(set(notes), key=lambda note: (note.line, note.rule, note.message))),
        families=families("".join(literal for _, literal in literals)),
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


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    """All nodes, without recursion: a chain of ten thousand `+` is a tree as deep."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(node.iter_child_nodes())


def _look_at(node: nodes.Node, content: frozenset[int]) -> Iterator[TemplateNote]:
    yield from _look_at_access(node)
    if isinstance(node, (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        yield TemplateNote(
            "template.import", node.lineno, f"{type(node).__name__.lower()} of another template"
        )
    if isinstance(node, nodes.Compare):
        yield from _look_at_comparison(node, content)
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        yield from _look_at_method(node, node.node, content)


def _look_at_access(node: nodes.Node) -> Iterator[TemplateNote]:
    """Ways to an object's insides: a private name, a name put together at run time, the `attr` filter."""
    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        yield TemplateNote(
            "template.private-attribute", node.lineno, f"reads .{quoted(node.attr, quotes=False)}"
        )
    if isinstance(node, nodes.Getitem):
        if isinstance(node.arg, nodes.Const) and str(node.arg.value).startswith("__"):
            yield TemplateNote(
                "template.private-attribute", node.lineno, f"reads [{quoted(str(node.arg.value))}]"
            )
        if isinstance(node.arg, (nodes.Concat, nodes.Add)) and any(_texts_in(node.arg)):
            yield TemplateNote(
                "template.computed-attribute", node.lineno, "reads a name put together at run time"
            )
    if isinstance(node, (nodes.Filter, nodes.Test)):
        if node.name == "attr":
            yield TemplateNote("template.attr-filter", node.lineno, "uses the filter 'attr'")
        for argument in [*node.args, *(pair.value for pair in node.kwargs)]:
            yield from (
                TemplateNote(
                    "template.private-attribute", node.lineno, f"passes {quoted(text)} to {quoted(node.name)}"
                )
                for text in _texts_in(argument)
                if "__" in text
            )


def _look_at_comparison(node: nodes.Compare, content: frozenset[int]) -> Iterator[TemplateNote]:
    """Does the template answer differently when a message says a certain word, or on a certain day?"""
    sides = [node.expr, *(operand.expr for operand in node.ops)]
    if any(_calls_clock(side) for side in sides):
        yield TemplateNote("template.clock-branch", node.lineno, "compares the date")
    if any(id(side) in content and not _asks_for_kind(side) for side in sides):
        for word in (text for side in sides for text in _constants(side)):
            yield TemplateNote(
                "template.content-branch", node.lineno, f"acts on messages that contain {quoted(word)}"
            )


def _asks_for_kind(node: nodes.Node) -> bool:
    """`part.type` of a message made of parts: a kind that the client sets, not words that a person wrote."""
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return node.arg.value in ("type", "role")
    return isinstance(node, nodes.Getattr) and node.attr in ("type", "role")


def _look_at_method(
    call: nodes.Call, method: nodes.Getattr, content: frozenset[int]
) -> Iterator[TemplateNote]:
    if method.attr in _FORMATTERS:
        yield TemplateNote(
            "template.unknown-call", call.lineno, f"calls .{method.attr}(), which can read attributes"
        )
    if method.attr in _SEARCHES and id(method.node) in content:
        for word in (text for argument in call.args for text in _constants(argument)):
            yield TemplateNote(
                "template.content-branch",
                call.lineno,
                f"looks for {quoted(word)} in messages with .{method.attr}()",
            )


def _constants(node: nodes.Node) -> Iterator[str]:
    """Words that a trigger could be: literal text with a letter in it that is not a mark such as `</think>`."""
    for text in _texts_in(node, through=(nodes.List, nodes.Tuple, nodes.Filter, nodes.Concat, nodes.Add)):
        if any(letter.isalpha() for letter in text) and not _MARKUP.fullmatch(text):
            yield text


def _texts_in(node: nodes.Node, *, through: tuple[type[nodes.Node], ...] | None = None) -> Iterator[str]:
    """Literal texts of an expression; with `through`, only those reached by way of such nodes."""
    todo = [node]
    while todo:
        inner = todo.pop()
        if isinstance(inner, nodes.Const) and isinstance(inner.value, str):
            yield inner.value
        elif through is None or isinstance(inner, through):
            todo.extend(inner.iter_child_nodes())


def _holding_content(tree: nodes.Template) -> frozenset[int]:
    """The `id`s of all nodes that take in the text of a message, themselves or by a name that was set to it.

    Names are followed over a few assignments. Each round looks at every node once, children before parents, so that
    a long chain of calls costs no more than its length.
    """
    order = list(_walk(tree))[::-1]
    names = frozenset({"content"})
    holding: set[int] = set()
    for _ in range(_MAX_HOPS):
        holding = set()
        for node in order:
            if _names_content(node, names) or any(id(child) in holding for child in node.iter_child_nodes()):
                holding.add(id(node))
        more = frozenset(name for node in order for name in _set_from(node, holding))
        if more <= names:
            break
        names |= more
    return frozenset(holding)


def _names_content(node: nodes.Node, names: frozenset[str]) -> bool:
    if isinstance(node, nodes.Name):
        return node.name in names
    key = node.attr if isinstance(node, nodes.Getattr) else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        key = node.arg.value
    return isinstance(key, str) and (key in _CONTENT or key in names)


def _set_from(node: nodes.Node, holding: set[int]) -> Iterator[str]:
    """Names that this node sets to message text, or runs over its words."""
    if isinstance(node, nodes.Assign) and not isinstance(node.node, (nodes.Compare, nodes.Test)):
        target: nodes.Node = node.target
        value: nodes.Node = node.node
    elif isinstance(node, nodes.For) and isinstance(node.iter, (nodes.Call, nodes.Filter)):
        target, value = node.target, node.iter
    else:
        return
    if id(value) in holding:
        yield from _assigned(target)


_MAX_HOPS = 4  # each hop looks at every assignment once


def _assigned(target: nodes.Node) -> Iterator[str]:
    for node in _walk(target):
        if isinstance(node, nodes.Name):
            yield node.name
        elif isinstance(node, nodes.NSRef):
            yield node.attr


def _calls_clock(node: nodes.Node) -> bool:
    return any(
        isinstance(inner, nodes.Name) and inner.name in ("strftime_now", "date_string", "now")
        for inner in _walk(node)
    )


def _calls_to_strangers(tree: nodes.Template) -> Iterator[TemplateNote]:
    own = {node.name for node in _walk(tree) if isinstance(node, nodes.Macro)}
    for node in _walk(tree):
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
            name = node.node.name
            if name not in _CALLS and name not in own:
                yield TemplateNote("template.unknown-call", node.lineno, f"calls {quoted(name)}")


def _literals(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """Each literal text with its line; neighbours joined by `~` or `+` as one, so that splitting hides nothing."""
    for node in _walk(tree):
        if isinstance(node, nodes.TemplateData):
            yield node.lineno, node.data
        elif isinstance(node, nodes.Const) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, nodes.Concat) and all(isinstance(part, nodes.Const) for part in node.nodes):
            yield (
                node.lineno,
                "".join(str(part.value) for part in node.nodes if isinstance(part, nodes.Const)),
            )
        elif isinstance(node, nodes.Add) and isinstance(node.right, nodes.Const):
            yield node.lineno, _sum(node)


def _sum(node: nodes.Expr) -> str:
    """The literal text at the end of a sum, `x + 'ht' + 'tps'` as `https`, looking back eight terms at most."""
    parts: list[str] = []
    while isinstance(node, nodes.Add) and isinstance(node.right, nodes.Const) and len(parts) < _MAX_TERMS:
        parts.append(str(node.right.value))
        node = node.left
    if isinstance(node, nodes.Const):
        parts.append(str(node.value))
    return "".join(reversed(parts))


_MAX_TERMS = 8


def _look_at_literal(line: int, literal: str) -> Iterator[TemplateNote]:
    for match in _URL.finditer(literal):
        yield TemplateNote("template.url", line, f"contains the address {quoted(match[0])}")
    for match in _ENCODED.finditer(literal):
        if len(set(match[0])) > _RULER:
            yield TemplateNote(
                "template.encoded-text", line, f"contains {len(match[0])} characters of encoded text"
            )


_RULER = 12  # different characters; a drawn line has fewer
