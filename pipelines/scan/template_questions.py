"""Which questions a template may put to the words of a message, and which are reported.

A list of what published templates do, not of what attackers do: asking for the type of a content, comparing it with a
mark of the wire format or with nothing, looking for a mark. Whatever else decides on words is reported.
"""

from collections.abc import Iterator, Sequence

from jinja2 import nodes

from pipelines.scan.reading import quoted
from pipelines.scan.template_fold import UNKNOWN, Constants
from pipelines.scan.template_marks import (
    ASKING,
    CHOOSING,
    CLOCK,
    COUNT,
    DECIDED,
    HOLDER,
    KEPT,
    LENGTH,
    MARKED,
    PART,
    PART_NAMES,
    PARTING,
    PICKING,
    PLAIN_FILTERS,
    PLAIN_METHODS,
    TEXT,
    TO_TEXT,
    TYPE_TESTS,
    WORDS,
    Asked,
    Flow,
)  # fmt: skip
from pipelines.scan.template_text import is_mark

_LATE = 3  # messages; a template has reasons to ask for the first or second, not for the tenth
_DEEP = 2  # characters; whether there is a text at all may be asked
_REWRITE, _CLOCK = "template.content-rewrite", "template.clock-branch"


class Questions:
    """Judges one template's questions. Each method returns the marks of the answer."""

    def __init__(self, flow: Flow, bound: set[str]) -> None:
        self.flow, self.bound = flow, bound

    def _ask(self, node: nodes.Node, message: str, *, rule: str = "template.content-branch") -> int:
        self.flow.asked.add(Asked(rule, node.lineno, message))
        return DECIDED

    def lookup(self, node: nodes.Node) -> int:
        """`{'deploy': …}[content]`."""
        return self._ask(node, "looks something up by the words of a message")

    def arithmetic(self, node: nodes.BinExpr, marks: int) -> int:
        """Lengths that are divided, multiplied or shifted choose an index or a number of rounds."""
        if isinstance(node, nodes.And | nodes.Or) or not marks & LENGTH:
            return marks
        numbers = (self.flow.constants.of(side) for side in (node.left, node.right))
        dividing = isinstance(node, nodes.Mul | nodes.Div | nodes.FloorDiv | nodes.Mod | nodes.Pow)
        if dividing or any(type(number) is int and number >= _DEEP for number in numbers):
            return marks | self._ask(node, "counts how long messages are")
        return marks

    def compare(self, node: nodes.Compare) -> int:
        """`in`, `==`, `<`: with a mark, nothing, or what the client gives."""
        sides: list[nodes.Node] = [node.expr, *(operand.expr for operand in node.ops)]
        marks = self.flow.union(sides)
        answer = marks & KEPT
        if marks & CLOCK:
            answer |= self._ask(node, "compares the date", rule=_CLOCK)
        if marks & (LENGTH | COUNT) and self._counts(node, sides, _DEEP if marks & LENGTH else _LATE):
            answer |= self._ask(node, "acts on how long messages are, or how many there are")
        texts = [side for side in sides if self.flow.of(side) & TEXT]
        others = [side for side in sides if not self.flow.of(side) & TEXT]
        if texts and not (others and all(self._harmless(side, marks) for side in others)):
            return answer | self._ask(node, f"acts on messages that contain {self._shown(others)}")
        return answer | (self._marked(others) if texts else 0)

    def _counts(self, node: nodes.Node, sides: Sequence[nodes.Node], limit: int) -> bool:
        known = [self.flow.constants.of(side) for side in sides]
        known += [inner.value for inner in inside(node) if isinstance(inner, nodes.Const)]
        return any(type(number) is int and number >= limit for number in known)

    def test(self, node: nodes.Test) -> int:
        """`is string` asks nothing; `is eq('deploy')` does."""
        marks = self.flow.of(node.node)
        everything = marks | self.flow.union(node.args)
        answer = everything & KEPT
        if node.name in TYPE_TESTS:
            return answer | self._far(node, marks)
        if everything & CLOCK:
            answer |= self._ask(node, "compares the date", rule=_CLOCK)
        harmless = bool(node.args) and all(self._harmless(argument, marks) for argument in node.args)
        if everything & (TEXT | LENGTH) and not (harmless and marks & TEXT):
            return answer | self._ask(node, f"puts the test {quoted(node.name)} to the words of a message")
        return answer | (self._marked(node.args) if marks & TEXT else 0)

    def _far(self, node: nodes.Test, marks: int) -> int:
        """`messages[9] is defined` asks how long the talk is."""
        if not (isinstance(node.node, nodes.Getitem) and marks & HOLDER):
            return 0
        number = self.flow.constants.of(node.node.arg)
        far = type(number) is int and number >= _LATE
        return self._ask(node, "acts on how many messages there are") if far else 0

    def filter(self, node: nodes.Filter) -> int:
        """Filters that pass words on, count them, choose by them or change them."""
        marks = self.flow.of(node.node) if node.node is not None else TEXT
        arguments: list[nodes.Node] = [*node.args, *(pair.value for pair in node.kwargs)]
        if node.name in ("length", "count", "wordcount"):
            counted = LENGTH if marks & TEXT and not marks & PART else 0
            counted |= MARKED if _is_parted(node.node) else 0
            return (marks & KEPT) | counted | (COUNT if marks & HOLDER else 0)
        if node.name in CHOOSING and marks & (HOLDER | TEXT | PART):
            return self._chosen(node, marks, arguments)
        answer = marks | self.flow.union(arguments)
        if node.name == "random":
            answer |= self._ask(node, "leaves it to chance what is written", rule="template.chance")
        elif marks & HOLDER and node.name in TO_TEXT:
            answer |= TEXT
        elif marks & TEXT and node.name == "replace":
            answer |= self._replaced(node, arguments)
        elif marks & TEXT and node.name not in PLAIN_FILTERS:
            answer |= self._ask(node, f"puts words of messages through the filter {quoted(node.name)}")
        return answer

    def _chosen(self, node: nodes.Filter, marks: int, arguments: list[nodes.Node]) -> int:
        """`selectattr('content', …)`, `map(attribute='content')`, `select('equalto', …)`."""
        by_field, field = self._field_of(node)
        spoken = marks & TEXT if not by_field else (TEXT if field is None or field in WORDS else 0)
        if node.name in PICKING:
            return marks | (self._picked(node, marks, arguments) if spoken else 0)
        if node.name == "groupby" and spoken:
            return marks | self._ask(node, "groups messages by their words")
        if node.name in ("map", "join", "sum"):
            if by_field:
                return (marks & KEPT) | spoken
            return marks | (TEXT if marks & HOLDER else 0)
        return marks

    def _field_of(self, node: nodes.Filter) -> tuple[bool, str | None]:
        """Whether a filter goes by a field of each message, and by which; None: put together at run time."""
        named = [pair.value for pair in node.kwargs if pair.key == "attribute"]
        if not named and (node.name.endswith("attr") or node.name in ("groupby", "sum")):
            named = node.args[:1]
        elif not named and node.name == "join":
            named = node.args[1:2]
        text = self.flow.constants.text(named[0]) if named else None
        return bool(named), text.split(".")[-1] if text else None

    def _picked(self, node: nodes.Filter, marks: int, arguments: list[nodes.Node]) -> int:
        rest = arguments[1:] if node.name.endswith("attr") else arguments
        test = self.flow.constants.text(rest[0]) if rest else None
        if (
            not rest
            or test in TYPE_TESTS
            or (rest[1:] and all(self._harmless(one, marks) for one in rest[1:]))
        ):
            return 0
        return TEXT | self._ask(node, f"chooses by the words of messages with {quoted(node.name)}")

    def _replaced(self, node: nodes.Expr, arguments: Sequence[nodes.Node]) -> int:
        if all(self._harmless(argument, 0) for argument in arguments[:1]):
            return 0
        return self._ask(node, f"replaces words of a message: {self._shown(arguments)}", rule=_REWRITE)

    def method(self, node: nodes.Call, name: str, base: int, arguments: Sequence[nodes.Node]) -> int:
        """Methods of texts, dates and tables. `base` are the marks of the object."""
        inner = self.flow.union(arguments)
        answer = base | inner
        if base & CLOCK and name in (*ASKING, "split"):
            answer |= self._ask(node, "looks into the date", rule=_CLOCK)
        elif not base & TEXT:
            if name == "get" and inner & (TEXT | LENGTH | CLOCK) and not base & HOLDER:
                answer |= self.lookup(node)
        elif name == "replace":
            answer |= self._replaced(node, arguments)
        elif name in ASKING or name in PARTING:
            answer = self._searched(node, name, base, arguments[:1])
        elif name not in PLAIN_METHODS:
            answer |= self._ask(node, f"calls .{quoted(name, quotes=False)}() on the words of a message")
        return answer

    def _searched(self, node: nodes.Call, name: str, base: int, wanted: Sequence[nodes.Node]) -> int:
        parted = 0 if name in ASKING else base
        if all(self._harmless(one, base | PART if name == "get" else base) for one in wanted):
            return (base & KEPT) | (parted or self._marked(wanted))
        return parted | self._ask(node, f"looks for {self._shown(wanted)} in messages with .{name}()")

    def _marked(self, sides: Sequence[nodes.Node]) -> int:
        """Asking for a mark is no trigger by itself, but a sentence that hangs on `?` or a fence would be one."""
        values = [self.flow.constants.of(side) for side in sides]
        words = [one for value in values for one in (value if isinstance(value, list) else [value])]
        return (
            MARKED
            if any(isinstance(one, str) and one.strip() and one not in PART_NAMES for one in words)
            else 0
        )

    def _harmless(self, node: nodes.Node, asked: int) -> bool:
        """Whether words may be compared with this: nothing, a mark, a kind of part, what the client gives."""
        value = self.flow.constants.of(node)
        if value is UNKNOWN:
            if isinstance(node, nodes.List | nodes.Tuple):
                return all(self._harmless(item, asked) for item in node.items)
            own = {inner.name for inner in inside(node) if isinstance(inner, nodes.Name)} & self.bound
            quiet = not self.flow.of(node) & (TEXT | PART | HOLDER | LENGTH)
            return quiet and not own and not any(True for _ in _words_in(node, self.flow.constants))
        kinds = PART_NAMES if asked & PART else frozenset[str]()
        return all(
            one is None or isinstance(one, bool) or (isinstance(one, str) and (is_mark(one) or one in kinds))
            for one in (value if isinstance(value, list) else [value])
        )

    def _shown(self, sides: Sequence[nodes.Node]) -> str:
        words = [word for side in sides for word in _words_in(side, self.flow.constants)]
        return ", ".join(quoted(word) for word in words[:5]) or "something worked out"


def _is_parted(node: nodes.Node | None) -> bool:
    """`content.split('?')`: how many parts there are tells whether it holds the mark."""
    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and node.node.attr in PARTING


def inside(node: nodes.Node) -> Iterator[nodes.Node]:
    """A node and all below it, without recursion: a chain of ten thousand `+` is a tree as deep."""
    todo = [node]
    while todo:
        inner = todo.pop()
        yield inner
        todo.extend(inner.iter_child_nodes())


def _words_in(node: nodes.Node, constants: Constants) -> Iterator[str]:
    """Words that a trigger could be, as worked out or else as written."""
    value = constants.of(node)
    if value is not UNKNOWN:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str | int) and not isinstance(one, bool) and not is_mark(str(one)):
                yield str(one)
        return
    for inner in inside(node):
        if isinstance(inner, nodes.Const) and isinstance(inner.value, str) and not is_mark(inner.value):
            yield inner.value
