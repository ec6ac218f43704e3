"""What a template's literal text comes to once its pieces are joined, as far as that needs no message.

An address is written in halves, backwards, by `join`, `replace` or `%`, so that no literal holds it. Here each
expression made of literals alone is worked out by a few operations of ours on short texts: jinja2 evaluates nothing,
and what these operations do not know has no value.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jinja2 import nodes

MAX_LENGTH = 4096  # characters of a text, entries of a list
MAX_REPEAT = 64

Value = str | int | float | list[Any] | dict[str, Any] | None


class Unknown:
    """No value: it needs a message, or an operation that is not worked out."""


UNKNOWN = Unknown()
Folded = Value | Unknown


class Constants:
    """Values of expressions by node, filled children before parents, and of the names set to them."""

    def __init__(self) -> None:
        self._values: dict[int, Folded] = {}
        self._names: dict[str, Folded] = {}

    def of(self, node: nodes.Node) -> Folded:
        """The value of an expression that was learnt, or `UNKNOWN`."""
        return self._values.get(id(node), UNKNOWN)

    def text(self, node: nodes.Node) -> str | None:
        """The value where it is a text."""
        value = self.of(node)
        return value if isinstance(value, str) else None

    def learn(self, node: nodes.Node) -> None:
        """Work out one node whose children are learnt."""
        value = self._work_out(node)
        if not isinstance(value, Unknown) and _short(value):
            self._values[id(node)] = value
        if isinstance(node, nodes.Assign):
            self._set(node.target, self.of(node.node))
        elif isinstance(node, nodes.AssignBlock):
            self._set(node.target, _written(node.body, self))
        elif isinstance(node, nodes.Macro):
            self._names[f"{node.name}()"] = _written(node.body, self)

    def _set(self, target: nodes.Node, value: Folded) -> None:
        if isinstance(target, nodes.Name):
            self._names[target.name] = value
        elif isinstance(target, nodes.NSRef):
            self._names[f"{target.name}.{target.attr}"] = value

    def _work_out(self, node: nodes.Node) -> Folded:
        if isinstance(node, nodes.Const):
            return node.value if node.value is None or isinstance(node.value, str | int | float) else UNKNOWN
        if isinstance(node, nodes.TemplateData):
            return node.data
        if isinstance(node, nodes.Name):
            return self._names.get(node.name, UNKNOWN) if node.ctx == "load" else UNKNOWN
        if isinstance(node, nodes.List | nodes.Tuple):
            values = [self.of(item) for item in node.items]
            return _known(values)
        if isinstance(node, nodes.Dict):
            keys, values = [self.of(p.key) for p in node.items], [self.of(p.value) for p in node.items]
            known = _known(values)
            if isinstance(known, list) and all(isinstance(key, str) for key in keys):
                return {str(key): value for key, value in zip(keys, known, strict=True)}
            return UNKNOWN
        if isinstance(node, nodes.Concat):
            values = [self.of(item) for item in node.nodes]
            known = _known(values)
            return _joined(known, "") if isinstance(known, list) else UNKNOWN
        if isinstance(node, nodes.BinExpr):
            return _operated(node, self.of(node.left), self.of(node.right))
        return self._taken(node)

    def _taken(self, node: nodes.Node) -> Folded:
        if isinstance(node, nodes.Getitem):
            return _item(self.of(node.node), node.arg, self)
        if isinstance(node, nodes.Getattr):
            if isinstance(node.node, nodes.Name) and f"{node.node.name}.{node.attr}" in self._names:
                return self._names[f"{node.node.name}.{node.attr}"]
            return _item(self.of(node.node), nodes.Const(node.attr), self, key=node.attr)
        if isinstance(node, nodes.Filter) and node.node is not None:
            return _changed(node.name, self.of(node.node), [self.of(a) for a in node.args])
        if isinstance(node, nodes.Call):
            arguments = [self.of(argument) for argument in node.args]
            if isinstance(node.node, nodes.Getattr):
                return _method(node.node.attr, self.of(node.node.node), arguments)
            if isinstance(node.node, nodes.Name):
                return self._names.get(f"{node.node.name}()", UNKNOWN)
        return UNKNOWN


def _written(body: Iterable[nodes.Node], constants: Constants) -> Folded:
    """The text that a body writes, when it writes nothing but text."""
    parts: list[Folded] = []
    for statement in body:
        if not isinstance(statement, nodes.Output):
            return UNKNOWN
        parts.extend(constants.of(child) for child in statement.nodes)
    known = _known(parts)
    return _joined(known, "") if isinstance(known, list) else UNKNOWN


def _known(values: Sequence[Folded]) -> list[Value] | Unknown:
    known = [value for value in values if not isinstance(value, Unknown)]
    return known if len(known) == len(values) <= MAX_LENGTH else UNKNOWN


def _short(value: Value) -> bool:
    return not isinstance(value, str | list | dict) or len(value) <= MAX_LENGTH


def _joined(values: Sequence[Value], between: str) -> Folded:
    size = sum(len(value) for value in values if isinstance(value, str)) + len(between) * len(values)
    if size > MAX_LENGTH or any(isinstance(value, list | dict) for value in values):
        return UNKNOWN
    return between.join(str(value) for value in values)


def _operated(node: nodes.BinExpr, left: Folded, right: Folded) -> Folded:
    if isinstance(node, nodes.Add):
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        if isinstance(left, list) and isinstance(right, list):
            return left + right
    if isinstance(node, nodes.Mul) and isinstance(left, str) and type(right) is int and right <= MAX_REPEAT:
        return left * right
    if isinstance(node, nodes.Mod) and isinstance(left, str) and not isinstance(right, Unknown):
        return _filled(left, "%s", right if isinstance(right, list) else [right])
    return UNKNOWN


def _filled(pattern: str, mark: str, values: Sequence[Value]) -> Folded:
    parts = pattern.split(mark, len(values))
    if len(parts) != len(values) + 1:
        return UNKNOWN
    mixed: list[Value] = [parts[0]]
    for value, part in zip(values, parts[1:], strict=True):
        mixed += [value, part]
    return _joined(mixed, "")


def _item(base: Folded, arg: nodes.Expr, constants: Constants, *, key: str | None = None) -> Folded:
    if isinstance(arg, nodes.Slice) and isinstance(base, str | list):
        ends = [None if end is None else constants.of(end) for end in (arg.start, arg.stop, arg.step)]
        numbers = [end for end in ends if end is None or type(end) is int]
        # A negative number is `Neg`, which has no value: the one slice that matters backwards is `[::-1]`.
        if isinstance(arg.step, nodes.Neg) and arg.start is None and arg.stop is None:
            return base[::-1]
        return base[slice(*numbers)] if len(numbers) == len(ends) and numbers[2] != 0 else UNKNOWN
    place = key if key is not None else constants.of(arg)
    if isinstance(base, dict) and isinstance(place, str):
        return base.get(place, UNKNOWN)
    if isinstance(base, str | list) and type(place) is int and place < len(base):
        return base[place]
    return UNKNOWN


def _changed(name: str, base: Folded, arguments: Sequence[Folded]) -> Folded:
    """A filter. Those that change nothing that matters here pass the value on."""
    if isinstance(base, Unknown):
        return UNKNOWN
    if name == "join" and isinstance(base, list | str):
        between = arguments[0] if arguments else ""
        return _joined(list(base), between) if isinstance(between, str) else UNKNOWN
    if name == "format" and isinstance(base, str):
        known = _known(arguments)
        return _filled(base, "%s", known) if isinstance(known, list) else UNKNOWN
    if name == "replace" and isinstance(base, str):
        return _replaced(base, arguments)
    if name in ("first", "last") and isinstance(base, str | list) and base:
        return base[0 if name == "first" else -1]
    if name == "reverse" and isinstance(base, str | list):
        return base[::-1]
    if name == "list" and isinstance(base, str):
        return list(base)
    if isinstance(base, str) and name in _SIMPLE:
        return _SIMPLE[name](base)
    return base if name in ("string", "safe", "e", "escape", "default", "d", "list") else UNKNOWN


_SIMPLE: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "capitalize": str.capitalize,
    "trim": str.strip,
    "strip": str.strip,
    "lstrip": str.lstrip,
    "rstrip": str.rstrip,
    "swapcase": str.swapcase,
}


def _replaced(base: str, arguments: Sequence[Folded]) -> Folded:
    if len(arguments) < 2 or not all(isinstance(argument, str) for argument in arguments[:2]):
        return UNKNOWN
    old, new = str(arguments[0]), str(arguments[1])
    if not old or len(base) + base.count(old) * len(new) > MAX_LENGTH:
        return UNKNOWN
    return base.replace(old, new)


def _method(name: str, base: Folded, arguments: Sequence[Folded]) -> Folded:
    if not isinstance(base, str):
        return base.get(str(arguments[0]), UNKNOWN) if isinstance(base, dict) and arguments else UNKNOWN
    if name == "join":
        values = arguments[0] if arguments else UNKNOWN
        return _joined(list(values), base) if isinstance(values, list | str) else UNKNOWN
    if name == "format":
        known = _known(arguments)
        return _filled(base, "{}", known) if isinstance(known, list) else UNKNOWN
    if name == "replace":
        return _replaced(base, arguments)
    if name == "split":
        between = arguments[0] if arguments else None
        return (
            list(base.split(between))
            if between is None or (isinstance(between, str) and between)
            else UNKNOWN
        )
    return _SIMPLE[name](base) if name in _SIMPLE and not arguments else UNKNOWN
