"""Sentences that a template says by itself, and under which conditions.

A chat template frames what a client sends. Its own sentences are few: how to call tools, a default system prompt where
the client gives none. A sentence that depends on words of a message or on the date is a trigger backdoor, and one
that every conversation gets is worth a reader's eye.
"""

from collections.abc import Iterator, Sequence

from jinja2 import nodes

from pipelines.scan.errors import MalformedTemplate
from pipelines.scan.reading import quoted
from pipelines.scan.template_flow import Conditions
from pipelines.scan.template_marks import OPTION, TEXT, Flow
from pipelines.scan.template_questions import inside
from pipelines.scan.template_text import is_prose

_SYSTEM = ("system", "developer")
MAX_BRANCHES = 100  # of one `if`; every branch hangs on all tests before it
_ALWAYS = 4  # words of a sentence that is reported although nothing decides on it

Note = tuple[str, int, str]  # rule, line, message
Around = tuple[tuple[nodes.Node, bool], ...]


def conditions(tree: nodes.Template) -> dict[int, Around]:
    """By node, the tests that stand around it, outermost first, with what each must come to.

    Raises:
        MalformedTemplate: an `if` with more branches than are followed.
    """
    around: dict[int, Around] = {}
    todo: list[tuple[nodes.Node, Around]] = [(tree, ())]
    while todo:
        node, outer = todo.pop()
        around[id(node)] = outer
        if isinstance(node, nodes.If):
            todo += _branches(node, outer)
        elif isinstance(node, nodes.CondExpr):
            todo += [(node.test, outer), (node.expr1, (*outer, (node.test, True)))]
            todo += [(node.expr2, (*outer, (node.test, False)))] if node.expr2 else []
        elif isinstance(node, nodes.And | nodes.Or):
            todo += [(node.left, outer), (node.right, (*outer, (node.left, isinstance(node, nodes.And))))]
        elif isinstance(node, nodes.For):
            inner = (*outer, (node.iter, True), *(((node.test, True),) if node.test else ()))
            todo += [(node.iter, outer), (node.target, outer)]
            todo += [(node.test, outer)] if node.test else []
            todo += [(child, inner) for child in (*node.body, *node.else_)]
        else:
            todo += [(child, outer) for child in node.iter_child_nodes()]
    return around


def _branches(node: nodes.If, outer: Around) -> Iterator[tuple[nodes.Node, Around]]:
    if len(node.elif_) > MAX_BRANCHES:
        raise MalformedTemplate(f"more than {MAX_BRANCHES} branches", at=f"line {node.lineno}")
    yield node.test, outer
    yield from ((child, (*outer, (node.test, True))) for child in node.body)
    failed: Around = (*outer, (node.test, False))
    for branch in node.elif_:
        yield branch, failed
        failed = (*failed, (branch.test, False))
    yield from ((child, failed) for child in node.else_)


def hidden_text(order: Sequence[nodes.Node], flow: Flow, around: Conditions) -> Iterator[Note]:
    """Report each sentence that words of a message decide on, and each that stands in every conversation."""
    return _Reader(order, flow, around).notes()


class _Reader:
    """Knows, for one template, what speaks: literals, and names and macros that hold some."""

    def __init__(self, order: Sequence[nodes.Node], flow: Flow, around: Conditions) -> None:
        self.order, self.flow, self.around = order, flow, around
        self.errors = {id(inner) for node in order if _raises(node) for inner in inside(node)}
        self.macro_of: dict[int, str] = {}  # by node, the macro whose body it stands in
        self.kept: set[int] = set()  # nodes whose text is put by under a name, not written
        self.speaking: dict[str, str] = {}  # name of a variable or macro: a sentence in it
        for node in order:
            self._learn(node)
        self.triggered = self._triggered_macros()

    def _learn(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Macro):
            self.macro_of |= {id(inner): node.name for inner in inside(node)}
            self._speaks(f"{node.name}()", node)
        elif isinstance(node, nodes.CallBlock):
            self._speaks("caller()", node)
        elif isinstance(node, nodes.Assign):
            self.kept |= {id(inner) for inner in inside(node.node)}
            self._speaks(_name_of(node.target), node.node)
        elif isinstance(node, nodes.AssignBlock):
            self.kept |= {id(inner) for inner in inside(node)}
            self._speaks(_name_of(node.target), node)
        elif isinstance(node, nodes.For):
            self._speaks(_name_of(node.target), node.iter)

    def _speaks(self, name: str | None, holder: nodes.Node) -> None:
        said = next((text for inner in inside(holder) if (text := self._said(inner))), None)
        if name and said:
            self.speaking[name] = said

    def _said(self, node: nodes.Node, words: int = 3) -> str | None:
        """The sentence that a node is, or stands for."""
        if id(node) in self.errors:
            return None
        if isinstance(node, nodes.TemplateData | nodes.Const):
            text = self.flow.constants.text(node)
            return text.strip() if text and is_prose(text, words=words) else None
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
            return self.speaking.get(f"{node.node.name}()")
        if isinstance(node, nodes.Name) and node.ctx == "load":
            return self.speaking.get(node.name)
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            return self.speaking.get(f"{node.node.name}.{node.attr}")
        return None

    def _triggered_macros(self) -> set[str]:
        """Macros that are called under a decided condition, or from one that is."""
        calls = [
            node for node in self.order if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name)
        ]
        found: set[str] = set()
        for _ in range(_NESTED):
            before = len(found)
            for call in calls:
                if isinstance(call.node, nodes.Name) and self._decided_around(call, found):
                    found.add(call.node.name)
            if len(found) == before:
                break
        return found

    def _decided_around(self, node: nodes.Node, triggered: set[str]) -> bool:
        if self.macro_of.get(id(node)) in triggered:
            return True
        return any(self.flow.decided(test) for test, _ in self.around[id(node)])

    def notes(self) -> Iterator[Note]:
        for node in self.order:
            said = self._said(node)
            if said and self._decided_around(node, self.triggered):
                yield _trigger(node, said)
            elif said and self._always(node):
                yield "template.added-text", node.lineno, f"says this in every conversation: {quoted(said)}"
            for expression in _expressions(node):
                yield from self._within(expression)

    def _within(self, expression: nodes.Node) -> Iterator[Note]:
        """A sentence picked by an answer without a condition: from a table, by a product, by an index."""
        inner = list(inside(expression))
        asked = any(
            self.flow.decided(part) and isinstance(part, nodes.Compare | nodes.Test | nodes.Getitem | nodes.Call | nodes.Filter)
            for part in inner
        )  # fmt: skip
        if asked:
            yield from (_trigger(part, said) for part in inner if (said := self._said(part)))

    def _always(self, node: nodes.Node) -> bool:
        """Whether it is written whatever the client sends: no tools, documents or missing system prompt call for it."""
        if id(node) in self.kept or id(node) in self.macro_of:
            return False
        if isinstance(node, nodes.Name | nodes.Getattr):
            if self.flow.of(node) or self.flow.constants.text(node) is None:
                return False
        elif isinstance(node, nodes.TemplateData | nodes.Const) and self._said(node, _ALWAYS) is None:
            return False
        return not any(self._called_for(test, wanted=wanted) for test, wanted in self.around[id(node)])

    def _called_for(self, test: nodes.Node, *, wanted: bool) -> bool:
        if self.flow.of(test) & OPTION:
            return True
        inner = list(inside(test))
        negated = not wanted or any(
            isinstance(part, nodes.Not)
            or (isinstance(part, nodes.Operand) and part.op in ("ne", "notin"))
            or (isinstance(part, nodes.Test) and part.name in ("none", "undefined"))
            for part in inner
        )
        about_system = any(isinstance(part, nodes.Const) and part.value in _SYSTEM for part in inner)
        holds_text = bool(self.flow.of(test) & TEXT) or any(
            self.flow.of(part) & TEXT for part in inner if isinstance(part, nodes.Name)
        )
        return negated and (about_system or holds_text)


_NESTED = 8  # macros that call macros


def _trigger(node: nodes.Node, said: str) -> Note:
    message = f"says this when a message holds certain words, or on certain days: {quoted(said)}"
    return "template.trigger-text", node.lineno, message


def _raises(node: nodes.Node) -> bool:
    """A complaint goes to the client, not to the model."""
    return (
        isinstance(node, nodes.Call)
        and isinstance(node.node, nodes.Name)
        and node.node.name == "raise_exception"
    )


def _name_of(target: nodes.Node) -> str | None:
    if isinstance(target, nodes.Name):
        return target.name
    return f"{target.name}.{target.attr}" if isinstance(target, nodes.NSRef) else None


def _expressions(node: nodes.Node) -> Iterator[nodes.Node]:
    """The expressions that a statement writes or keeps."""
    if isinstance(node, nodes.Output):
        yield from node.nodes
    elif isinstance(node, nodes.Assign | nodes.ExprStmt):
        yield node.node
