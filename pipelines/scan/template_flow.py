"""Where the words of a message go in a template, and whether they decide what else the model is told.

The backdoor that scanners pass over (research: validation, section 4.2) adds a line to the prompt when a message
mentions a word. The word can be asked for in many ways: by a comparison, a slice, a loop over words, a filter, a
test, a macro, a lookup in a table, by way of a namespace. So this does not look for ways. Every expression that takes
in words of a message is followed, and it may do what published templates do: be written, trimmed, taken apart at
marks, asked for its type. Any other question put to it is reported.

An abstract interpretation: each expression and each name gets a set of marks, rounds go on until none changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import nodes

from pipelines.scan.reading import quoted
from pipelines.scan.template_fold import UNKNOWN, Constants
from pipelines.scan.template_text import is_mark

# Marks of an expression; several may stand together.
HOLDER = 1  # the messages, or one of them
TEXT = 2  # words of a message
PART = 4  # an element of a message's content: a part, or a letter
CLOCK = 8  # the date
LENGTH = 16  # how long a message's text is
COUNT = 32  # how many messages there are, or at which of them we are
OPTION = 64  # what the client sets beside the messages: tools, documents, whether to think
DECIDED = 128  # the answer to a question about words, the date or a length

MAX_ROUNDS = 12

_MESSAGES = frozenset(
    ("messages", "message", "msg", "conversation", "conversations", "history", "dialogue", "chat", "turns")
)
_SAID = frozenset(("content", "text", "prompt", "query", "question", "user_input", "user_message", "input"))
_WORDS = frozenset(
    ("content", "text", "reasoning_content", "reasoning", "thinking", "arguments", "refusal", "parts")
)
_KINDS = frozenset(("type", "role"))
_PART_NAMES = frozenset(
    [
        "type",
        "text",
        "image",
        "image_url",
        "image_pil",
        "img",
        "video",
        "video_url",
        "audio",
        "audio_url",
        "input_audio",
        "file",
    ]
)
_CLOCKS = frozenset(("strftime_now", "date_string", "now", "current_date", "today"))
_OPTIONS = ("tool", "function", "document", "citation", "think", "reason", "effort", "schema", "json",
            "image", "audio", "video", "modal", "safety", "ground", "date", "lang", "identity", "skip")  # fmt: skip
_TYPE_TESTS = frozenset(
    [
        "string",
        "mapping",
        "iterable",
        "sequence",
        "none",
        "defined",
        "undefined",
        "boolean",
        "true",
        "false",
        "number",
        "integer",
        "float",
        "callable",
    ]
)
_PLAIN_METHODS = frozenset(
    [
        "strip",
        "lstrip",
        "rstrip",
        "lower",
        "upper",
        "title",
        "capitalize",
        "splitlines",
        "items",
        "values",
        "keys",
        "copy",
        "append",
        "extend",
        "pop",
        "update",
        "setdefault",
        "insert",
        "join",
    ]
)
_ASKING = frozenset(("startswith", "endswith", "find", "rfind", "index", "rindex", "count"))
_PARTING = frozenset(
    ("split", "rsplit", "partition", "rpartition", "removeprefix", "removesuffix", "replace", "get")
)
_PLAIN_FILTERS = frozenset(
    [
        "trim",
        "string",
        "tojson",
        "safe",
        "e",
        "escape",
        "forceescape",
        "list",
        "first",
        "last",
        "reverse",
        "lower",
        "upper",
        "title",
        "capitalize",
        "default",
        "d",
        "indent",
        "join",
        "items",
        "map",
        "batch",
        "slice",
        "unique",
        "sort",
        "int",
        "float",
        "wordwrap",
        "striptags",
        "dictsort",
        "pprint",
        "urlencode",
        "xmlattr",
        "trim_message",
        "fromjson",
        "from_json",
    ]
)
_CHOOSING = frozenset(
    [
        "select",
        "reject",
        "selectattr",
        "rejectattr",
        "map",
        "groupby",
        "sum",
        "sort",
        "unique",
        "min",
        "max",
        "join",
    ]
)
_LATE = 3  # messages; a template has reasons to ask for the first or second, not for the tenth
_DEEP = 2


@dataclass(frozen=True)
class Asked:
    """A question that a template puts to the words of a message: the rule that reports it, and where."""

    rule: str
    line: int
    message: str


@dataclass
class Flow:
    """The marks of all expressions and names of one template, once `follow` is through."""

    constants: Constants
    marks: dict[int, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    asked: set[Asked] = field(default_factory=set)
    settled: bool = True  # False: the rounds did not suffice

    def of(self, node: nodes.Node) -> int:
        return self.marks.get(id(node), 0)

    def decided(self, node: nodes.Node) -> bool:
        """Whether an expression depends on the answer to such a question."""
        return bool(self.of(node) & DECIDED)


Conditions = Mapping[int, tuple[tuple[nodes.Node, bool], ...]]


def follow(order: Sequence[nodes.Node], conditions: Conditions) -> Flow:
    """Return the marks of a template whose nodes come children first, in the order of its text.

    `conditions` gives, by node, the tests that stand around it, with what each must come to.
    """
    constants = Constants()
    for node in order:
        constants.learn(node)
    flow = Flow(constants)
    walker = _Walker(flow, order, conditions)
    for _ in range(MAX_ROUNDS):
        if not walker.round():
            return flow
    flow.settled = False
    return flow


class _Walker:
    """One round looks at each node once. Names only gain marks, so the rounds end."""

    def __init__(self, flow: Flow, order: Sequence[nodes.Node], conditions: Conditions) -> None:
        self.flow, self.order, self.conditions = flow, order, conditions
        self.bound = {name for node in order for name in _binds(node)}
        self.loops = {id(node.iter): node for node in order if isinstance(node, nodes.For)}
        self.lent = {
            id(value): target
            for node in order
            if isinstance(node, nodes.With)
            for target, value in zip(node.targets, node.values, strict=True)
        }
        self.macros = {node.name: node for node in order if isinstance(node, nodes.Macro)}
        self.changed = False

    def round(self) -> bool:
        self.changed = False
        self.flow.asked.clear()
        for node in self.order:
            marks = self._marks(node)
            self.flow.marks[id(node)] = marks
            self._carry(node, marks)
        return self.changed

    # names ------------------------------------------------------------------------------------------------

    def _give(self, name: str, marks: int) -> None:
        if marks & ~self.flow.names.get(name, 0):
            self.flow.names[name] = self.flow.names.get(name, 0) | marks
            self.changed = True

    def _carry(self, node: nodes.Node, marks: int) -> None:
        """Hand the marks of a value on to the names that take it."""
        of = self.flow.of
        if id(node) in self.loops:
            loop = self.loops[id(node)]
            self._assign(loop.target, _element(loop.iter, marks))
        if id(node) in self.lent:
            self._assign(self.lent[id(node)], marks)
        if isinstance(node, nodes.Assign):
            self._assign(node.target, of(node.node) | self._around(node))
        elif isinstance(node, nodes.AssignBlock):
            inner = self._union(node.body) | (of(node.filter) if node.filter else 0)
            self._assign(node.target, inner | self._around(node))
        elif isinstance(node, nodes.Macro | nodes.CallBlock):
            self._give(
                f"{node.name}()" if isinstance(node, nodes.Macro) else "caller()", self._union(node.body)
            )
        elif isinstance(node, nodes.Call):
            self._pass_on(node)

    def _assign(self, target: nodes.Node, marks: int) -> None:
        if isinstance(target, nodes.Name):
            self._give(target.name, marks)
        elif isinstance(target, nodes.NSRef):
            self._give(f".{target.attr}", marks)
        elif isinstance(target, nodes.Tuple | nodes.List):
            for item in target.items:
                self._assign(item, marks)

    def _pass_on(self, call: nodes.Call) -> None:
        """Arguments become a macro's parameters, a namespace's fields, entries of a list."""
        of, target = self.flow.of, call.node
        everything = self._union([*call.args, *(pair.value for pair in call.kwargs)])
        if isinstance(target, nodes.Name) and target.name in self.macros:
            for parameter, argument in zip(self.macros[target.name].args, call.args, strict=False):
                self._give(parameter.name, of(argument))
            for name in ("varargs", "kwargs"):
                self._give(name, everything)
        for pair in call.kwargs:
            self._give(pair.key, of(pair.value))
            self._give(f".{pair.key}", of(pair.value))
        if isinstance(target, nodes.Name) and target.name == "caller":
            for block in (node for node in self.order if isinstance(node, nodes.CallBlock)):
                for parameter, argument in zip(block.args, call.args, strict=False):
                    self._give(parameter.name, of(argument))
        if isinstance(target, nodes.Getattr) and target.attr in (
            "append",
            "extend",
            "insert",
            "update",
            "setdefault",
        ):
            self._assign(target.node, everything | self._around(call))
            if isinstance(target.node, nodes.Getattr):
                self._give(f".{target.node.attr}", everything | self._around(call))

    def _around(self, node: nodes.Node) -> int:
        """What is set under a decided condition is an answer itself."""
        return DECIDED if any(self.flow.decided(test) for test, _ in self.conditions[id(node)]) else 0

    def _union(self, children: Sequence[nodes.Node]) -> int:
        marks = 0
        for child in children:
            marks |= self.flow.of(child)
        return marks

    # expressions ------------------------------------------------------------------------------------------

    def _marks(self, node: nodes.Node) -> int:
        if isinstance(node, nodes.Name):
            return self._name(node)
        if isinstance(node, nodes.Getattr):
            return self._field(node.node, node.attr, node)
        if isinstance(node, nodes.Getitem):
            return self._item(node)
        if isinstance(node, nodes.Filter):
            return self._filter(node)
        if isinstance(node, nodes.Test):
            return self._test(node)
        if isinstance(node, nodes.Compare):
            return self._compare(node)
        if isinstance(node, nodes.Call):
            return self._call(node)
        marks = self._union(list(node.iter_child_nodes()))
        if isinstance(node, nodes.BinExpr) and not isinstance(node, nodes.And | nodes.Or) and marks & LENGTH:
            numbers = (self.flow.constants.of(side) for side in (node.left, node.right))
            dividing = isinstance(node, nodes.Mul | nodes.Div | nodes.FloorDiv | nodes.Mod | nodes.Pow)
            if dividing or any(type(number) is int and number >= _DEEP for number in numbers):
                return marks | self._ask(node, "counts how long messages are")
        return marks

    def _name(self, node: nodes.Name) -> int:
        marks = self.flow.names.get(node.name, 0)
        if node.name not in self.bound:
            marks |= (HOLDER if node.name in _MESSAGES else 0) | (TEXT if node.name in _SAID else 0)
            marks |= OPTION if any(part in node.name for part in _OPTIONS) else 0
        if node.name in _CLOCKS and node.name not in self.bound:
            marks |= CLOCK
        return marks

    def _field(self, base: nodes.Node, key: str, node: nodes.Node) -> int:
        marks = self.flow.of(base)
        if key in _KINDS:
            return marks & (OPTION | DECIDED)
        if key in _WORDS:
            return (marks & (OPTION | DECIDED)) | TEXT | self.flow.names.get(f".{key}", 0)
        if isinstance(base, nodes.Name) and base.name == "loop":
            return COUNT if key in ("index", "index0", "revindex", "revindex0", "length") else HOLDER
        named = self.flow.names.get(f".{key}", 0) if not marks & HOLDER else 0
        return named | (marks & ~(HOLDER | PART))

    def _item(self, node: nodes.Getitem) -> int:
        base, arg = self.flow.of(node.node), node.arg
        key = self.flow.constants.of(arg)
        if isinstance(key, str):
            return self._field(node.node, key, node)
        inner = self.flow.of(arg)
        if base & HOLDER:
            return (base & ~HOLDER) | (TEXT if inner & (HOLDER | TEXT) else HOLDER) | (inner & DECIDED)
        if not base & TEXT and inner & (TEXT | LENGTH | CLOCK) and not isinstance(arg, nodes.Slice):
            return base | inner | self._ask(node, "looks something up by the words of a message")
        return (base & ~PART) | (inner & DECIDED)

    # questions --------------------------------------------------------------------------------------------

    def _ask(self, node: nodes.Node, message: str, *, rule: str = "template.content-branch") -> int:
        self.flow.asked.add(Asked(rule, node.lineno, message))
        return DECIDED

    def _harmless(self, node: nodes.Node, asked: int) -> bool:
        """Whether a text may be compared with this: nothing, a mark, a kind of part, what the client gives."""
        value = self.flow.constants.of(node)
        if value is UNKNOWN:
            if isinstance(node, nodes.List | nodes.Tuple):
                return all(self._harmless(item, asked) for item in node.items)
            own = {n.name for n in _inside(node) if isinstance(n, nodes.Name)} & self.bound
            quiet = not self.flow.of(node) & (TEXT | PART | HOLDER | LENGTH)
            return quiet and not own and not any(True for _ in _words_in(node))
        values = value if isinstance(value, list) else [value]
        kinds = _PART_NAMES if asked & PART else frozenset[str]()
        return all(
            one is None or isinstance(one, bool) or (isinstance(one, str) and (is_mark(one) or one in kinds))
            for one in values
        )

    def _compare(self, node: nodes.Compare) -> int:
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        marks = self._union(sides)
        rest = marks & (OPTION | DECIDED)
        numbers = [number for number in map(self.flow.constants.of, sides) if type(number) is int]
        if marks & CLOCK:
            rest |= self._ask(node, "compares the date", rule="template.clock-branch")
        if marks & (LENGTH | COUNT):
            limit = _DEEP if marks & LENGTH else _LATE
            inside = [c.value for c in _inside(node) if isinstance(c, nodes.Const) and type(c.value) is int]
            if any(number >= limit for number in (*numbers, *inside)):
                rest |= self._ask(node, "acts on how long messages are, or how many there are")
        texts = [side for side in sides if self.flow.of(side) & TEXT]
        others = [side for side in sides if not self.flow.of(side) & TEXT]
        if texts and not (others and all(self._harmless(side, marks) for side in others)):
            words = [word for side in others for word in _words_in(side, self.flow.constants)]
            said = ", ".join(quoted(word) for word in words[:5]) or "something worked out"
            rest |= self._ask(node, f"acts on messages that contain {said}")
        return rest

    def _test(self, node: nodes.Test) -> int:
        marks = self.flow.of(node.node)
        everything = marks | self._union(node.args)
        rest = everything & (OPTION | DECIDED)
        if node.name in _TYPE_TESTS:
            # `messages[9] is defined` asks how long the talk is
            deep = isinstance(node.node, nodes.Getitem) and marks & HOLDER
            number = self.flow.constants.of(node.node.arg) if isinstance(node.node, nodes.Getitem) else None
            if deep and type(number) is int and number >= _LATE:
                rest |= self._ask(node, "acts on how many messages there are")
            return rest
        if everything & CLOCK:
            rest |= self._ask(node, "compares the date", rule="template.clock-branch")
        harmless = bool(node.args) and all(self._harmless(argument, marks) for argument in node.args)
        if everything & (TEXT | LENGTH) and not (harmless and marks & TEXT):
            rest |= self._ask(node, f"puts the test {quoted(node.name)} to the words of a message")
        return rest

    def _filter(self, node: nodes.Filter) -> int:
        marks = self.flow.of(node.node) if node.node is not None else TEXT
        arguments = [*node.args, *(pair.value for pair in node.kwargs)]
        inner = self._union(arguments)
        if node.name == "random":
            return marks | self._ask(node, "leaves it to chance what is written", rule="template.chance")
        if node.name in ("length", "count", "wordcount"):
            counted = LENGTH if marks & TEXT and not marks & PART else 0
            return (marks & (OPTION | DECIDED)) | counted | (COUNT if marks & HOLDER else 0)
        if node.name in _CHOOSING and marks & (HOLDER | TEXT | PART):
            return self._chosen(node, marks, arguments)
        if marks & HOLDER and node.name in (
            "string",
            "tojson",
            "pprint",
            "items",
            "dictsort",
            "xmlattr",
            "urlencode",
        ):
            return marks | TEXT
        if marks & TEXT and node.name == "replace":
            return marks | inner | self._replaced(node, arguments)
        if marks & TEXT and node.name not in _PLAIN_FILTERS:
            return (
                marks
                | inner
                | self._ask(node, f"puts words of messages through the filter {quoted(node.name)}")
            )
        return marks | inner

    def _chosen(self, node: nodes.Filter, marks: int, arguments: Sequence[nodes.Node]) -> int:
        """`selectattr('content', …)`, `map(attribute='content')`, `select('equalto', …)`: by a field, or by the words."""
        given = [pair.value for pair in node.kwargs if pair.key == "attribute"]
        by_join = node.args[1:2] if node.name == "join" else []
        values = [self.flow.constants.of(argument) for argument in [*given, *by_join, *arguments]]
        named = values[0] if values and isinstance(values[0], str) else None
        field_ = named.split(".")[-1] if isinstance(named, str) else None
        keyed = node.name.endswith("attr") or any(pair.key == "attribute" for pair in node.kwargs)
        keyed = keyed or bool(by_join) or (node.name in ("groupby", "sum") and named is not None)
        words = (
            marks & TEXT if not keyed else (TEXT if field_ in _WORDS or (named is None and arguments) else 0)
        )
        if node.name == "map" and not keyed:
            return marks | (TEXT if marks & HOLDER and named not in ("length", "count") else 0)
        if node.name in ("select", "reject", "selectattr", "rejectattr") and words:
            test = values[1] if keyed and len(values) > 1 else (named if not keyed else None)
            asked = arguments[2:] if keyed else arguments[1:]
            if test not in (None, *_TYPE_TESTS) and not (
                asked and all(self._harmless(a, marks) for a in asked)
            ):
                return (
                    marks
                    | TEXT
                    | self._ask(node, f"chooses by the words of messages with {quoted(node.name)}")
                )
            return marks
        if node.name == "groupby" and words:
            return marks | self._ask(node, "groups messages by their words")
        if keyed and node.name in ("map", "join", "sum"):
            return (marks & (OPTION | DECIDED)) | (TEXT if words else 0)
        return marks | (TEXT if node.name == "join" and marks & HOLDER else 0)

    def _replaced(self, node: nodes.Expr, arguments: Sequence[nodes.Node]) -> int:
        if all(self._harmless(argument, 0) for argument in arguments[:1]):
            return 0
        words = [word for argument in arguments for word in _words_in(argument, self.flow.constants)]
        said = ", ".join(quoted(word) for word in words[:4]) or "something worked out"
        return self._ask(node, f"replaces words of a message: {said}", rule="template.content-rewrite")

    def _call(self, node: nodes.Call) -> int:
        arguments = [*node.args, *(pair.value for pair in node.kwargs)]
        inner = self._union(arguments)
        if isinstance(node.node, nodes.Getattr):
            return self._method(node, node.node, arguments, inner)
        if isinstance(node.node, nodes.Name):
            if node.node.name in _CLOCKS:
                return CLOCK
            return inner | self.flow.names.get(f"{node.node.name}()", 0)
        return inner | self.flow.of(node.node)

    def _method(
        self, node: nodes.Call, method: nodes.Getattr, arguments: list[nodes.Node], inner: int
    ) -> int:
        base, name = self.flow.of(method.node), method.attr
        if base & HOLDER and name == "get" and arguments:
            key = self.flow.constants.of(arguments[0])
            return self._field(method.node, key, node) if isinstance(key, str) else TEXT | inner
        if base & HOLDER and name in ("values", "items"):
            return base | TEXT
        if base & CLOCK and name in (*_ASKING, "split"):
            return base | self._ask(node, "looks into the date", rule="template.clock-branch")
        if not base & TEXT:
            if name == "get" and inner & (TEXT | LENGTH | CLOCK) and not base & HOLDER:
                return base | inner | self._ask(node, "looks something up by the words of a message")
            return base | inner
        if name in _ASKING or name in _PARTING:
            if name == "replace":
                return base | inner | self._replaced(node, arguments)
            asked = arguments[:1]
            if not all(
                self._harmless(argument, base | PART if name == "get" else base) for argument in asked
            ):
                words = [word for argument in asked for word in _words_in(argument, self.flow.constants)]
                said = ", ".join(map(quoted, words[:5])) or "something worked out"
                question = self._ask(node, f"looks for {said} in messages with .{name}()")
                return question | (0 if name in _ASKING else base)
            return (base & (OPTION | DECIDED)) | (0 if name in _ASKING else TEXT | (base & PART))
        if name not in _PLAIN_METHODS:
            return (
                base
                | inner
                | self._ask(node, f"calls .{quoted(name, quotes=False)}() on the words of a message")
            )
        return base | inner


def _element(iterated: nodes.Node, marks: int) -> int:
    """What a loop's name holds. Over a message's content itself these are parts (or letters), else words."""
    if marks & TEXT and isinstance(iterated, nodes.Name | nodes.Getattr | nodes.Getitem):
        return marks | PART
    return marks


def _binds(node: nodes.Node) -> Iterator[str]:
    """Names that a template itself gives a value to."""
    if isinstance(node, nodes.Name) and node.ctx in ("store", "param"):
        yield node.name


def _inside(node: nodes.Node) -> Iterator[nodes.Node]:
    todo = [node]
    while todo:
        inner = todo.pop()
        yield inner
        todo.extend(inner.iter_child_nodes())


def _words_in(node: nodes.Node, constants: Constants | None = None) -> Iterator[str]:
    """Words that a trigger could be, as written or as worked out."""
    value = constants.of(node) if constants else UNKNOWN
    if value is not UNKNOWN:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str | int) and not isinstance(one, bool) and not is_mark(str(one)):
                yield str(one)
        return
    for inner in _inside(node):
        if isinstance(inner, nodes.Const) and isinstance(inner.value, str) and not is_mark(inner.value):
            yield inner.value
