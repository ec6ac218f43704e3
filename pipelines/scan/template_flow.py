"""Where the words of a message go in a template, and whether they decide what else the model is told.

The backdoor that scanners pass over (research: validation, section 4.2) adds a line to the prompt when a message
mentions a word. The word can be asked for in many ways: by a comparison, a slice, a loop over words, a filter, a
test, a macro, a lookup in a table, by way of a namespace. So this does not look for ways. Every expression that takes
in words of a message is followed, and it may do what published templates do: be written, trimmed, taken apart at
marks, asked for its type. Any other question put to it is reported.

An abstract interpretation: each expression and each name gets a set of marks, rounds go on until none changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jinja2 import nodes

from pipelines.scan.template_fold import Constants
from pipelines.scan.template_marks import (
    ANSWERS,
    CLOCK,
    CLOCKS,
    COUNT,
    DECIDED,
    HOLDER,
    KEPT,
    KINDS,
    LENGTH,
    MESSAGES,
    OPTION,
    OPTIONS,
    PART,
    SAID,
    TEXT,
    WORDS,
    Flow,
)  # fmt: skip
from pipelines.scan.template_questions import Questions

MAX_ROUNDS = 12

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
        blocks = [node for node in order if isinstance(node, nodes.CallBlock)]
        most = max((len(block.args) for block in blocks), default=0)
        self.callers = [{block.args[n].name for block in blocks if n < len(block.args)} for n in range(most)]
        self.asks = Questions(flow, self.bound)
        self.changed = False
        self.looks: dict[type[nodes.Node], Callable[[Any], int]] = {
            nodes.Name: self._name,
            nodes.Getattr: self._attribute,
            nodes.Getitem: self._item,
            nodes.Call: self._call,
            nodes.Filter: self.asks.filter,
            nodes.Test: self.asks.test,
            nodes.Compare: self.asks.compare,
        }

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
            self._assign(node.target, of(node.node) | self._around(node, of(node.node)))
        elif isinstance(node, nodes.AssignBlock):
            inner = self._union(node.body) | (of(node.filter) if node.filter else 0)
            self._assign(node.target, inner | self._around(node, inner))
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
            for number, argument in enumerate(call.args[: len(self.callers)]):
                self._call_back(number, of(argument))
        if isinstance(target, nodes.Getattr) and target.attr in (
            "append",
            "extend",
            "insert",
            "update",
            "setdefault",
        ):
            self._assign(target.node, everything | self._around(call, everything))
            if isinstance(target.node, nodes.Getattr):
                self._give(f".{target.node.attr}", everything | self._around(call, everything))

    def _call_back(self, number: int, marks: int) -> None:
        """What `caller(…)` is given goes to that parameter of every call block; only when it is new."""
        if marks & ~self.flow.names.get(f"caller {number}", 0):
            self._give(f"caller {number}", marks)
            for name in self.callers[number]:
                self._give(name, marks)

    def _around(self, node: nodes.Node, value: int) -> int:
        """What is set under a decided condition is an answer itself. Words cut at a mark stay words."""
        found = self.flow.union([test for test, _ in self.conditions[id(node)]])
        return found & (DECIDED if value & TEXT else ANSWERS)

    def _union(self, children: Sequence[nodes.Node]) -> int:
        return self.flow.union(children)

    # expressions ------------------------------------------------------------------------------------------

    def _marks(self, node: nodes.Node) -> int:
        look = self.looks.get(type(node))
        if look is not None:
            return look(node)
        marks = self._union(list(node.iter_child_nodes()))
        return self.asks.arithmetic(node, marks) if isinstance(node, nodes.BinExpr) else marks

    def _name(self, node: nodes.Name) -> int:
        marks = self.flow.names.get(node.name, 0)
        marks |= OPTION if any(part in node.name for part in OPTIONS) else 0
        if node.name in self.bound:
            return marks
        marks |= (HOLDER if node.name in MESSAGES else 0) | (TEXT if node.name in SAID else 0)
        return marks | (CLOCK if node.name in CLOCKS else 0)

    def _attribute(self, node: nodes.Getattr) -> int:
        return self._field(node.node, node.attr)

    def _field(self, base: nodes.Node, key: str) -> int:
        marks = self.flow.of(base)
        if key in KINDS:
            return marks & KEPT
        if key in WORDS:
            return (marks & KEPT) | TEXT | self.flow.names.get(f".{key}", 0)
        if isinstance(base, nodes.Name) and base.name == "loop":
            return COUNT if key in ("index", "index0", "revindex", "revindex0", "length") else HOLDER
        named = self.flow.names.get(f".{key}", 0) if not marks & HOLDER else 0
        return named | (marks & ~(HOLDER | PART))

    def _item(self, node: nodes.Getitem) -> int:
        base, inner = self.flow.of(node.node), self.flow.of(node.arg)
        key = self.flow.constants.of(node.arg)
        if isinstance(key, str):
            return self._field(node.node, key)
        if base & HOLDER:
            return (base & ~HOLDER) | (TEXT if inner & (HOLDER | TEXT) else HOLDER) | (inner & ANSWERS)
        if not base & TEXT and inner & (TEXT | LENGTH | CLOCK) and not isinstance(node.arg, nodes.Slice):
            return base | inner | self.asks.lookup(node)
        return (base & ~PART) | (inner & ANSWERS)

    def _call(self, node: nodes.Call) -> int:
        arguments: list[nodes.Node] = [*node.args, *(pair.value for pair in node.kwargs)]
        inner = self._union(arguments)
        if isinstance(node.node, nodes.Name):
            called = self.flow.names.get(f"{node.node.name}()", 0)
            return CLOCK if node.node.name in CLOCKS else inner | called
        if not isinstance(node.node, nodes.Getattr):
            return inner | self.flow.of(node.node)
        base, name = self.flow.of(node.node.node), node.node.attr
        if base & HOLDER and name in ("values", "items"):
            return base | TEXT
        if base & HOLDER and name == "get" and arguments:
            key = self.flow.constants.of(arguments[0])
            return self._field(node.node.node, key) if isinstance(key, str) else TEXT | inner
        return self.asks.method(node, name, base, arguments)


def _element(iterated: nodes.Node, marks: int) -> int:
    """What a loop's name holds. Over a message's content itself these are parts (or letters), else words."""
    if marks & TEXT and isinstance(iterated, nodes.Name | nodes.Getattr | nodes.Getitem):
        return marks | PART
    return marks


def _binds(node: nodes.Node) -> Iterator[str]:
    """Names that a template itself gives a value to."""
    if isinstance(node, nodes.Name) and node.ctx in ("store", "param"):
        yield node.name
