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
        literal = isinstance(node, nodes.Const | nodes.TemplateData)
        if not isinstance(value, Unknown) and (literal or _short(value)):
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
        worker = _WORKERS.get(type(node))
        if worker is not None:
            return worker(self, node)
        if isinstance(node, nodes.BinExpr):
            return _operated(node, self.of(node.left), self.of(node.right))
        return UNKNOWN

    def name(self, name: str) -> Folded:
        """What a variable `x`, a field `x.y` or a macro `x()` was last set to."""
        return self._names.get(name, UNKNOWN)


def _const(_: Constants, node: nodes.Const) -> Folded:
    value = node.value
    return value if value is None or isinstance(value, str | int | float) else UNKNOWN


def _name(constants: Constants, node: nodes.Name) -> Folded:
    return constants.name(node.name) if node.ctx == "load" else UNKNOWN


def _entries(constants: Constants, node: nodes.List | nodes.Tuple) -> Folded:
    return _known([constants.of(item) for item in node.items])


def _table(constants: Constants, node: nodes.Dict) -> Folded:
    keys = [constants.of(pair.key) for pair in node.items]
    values = _known([constants.of(pair.value) for pair in node.items])
    if isinstance(values, Unknown) or not all(isinstance(key, str) for key in keys):
        return UNKNOWN
    return {str(key): value for key, value in zip(keys, values, strict=True)}


def _concat(constants: Constants, node: nodes.Concat) -> Folded:
    known = _known([constants.of(item) for item in node.nodes])
    return UNKNOWN if isinstance(known, Unknown) else _joined(known, "")


def _subscript(constants: Constants, node: nodes.Getitem) -> Folded:
    base = constants.of(node.node)
    if isinstance(node.arg, nodes.Slice):
        return _sliced(base, node.arg, constants)
    return _item(base, constants.of(node.arg))


def _attribute(constants: Constants, node: nodes.Getattr) -> Folded:
    named = constants.name(f"{node.node.name}.{node.attr}") if isinstance(node.node, nodes.Name) else UNKNOWN
    return _item(constants.of(node.node), node.attr) if isinstance(named, Unknown) else named


def _filter(constants: Constants, node: nodes.Filter) -> Folded:
    base = constants.of(node.node) if node.node is not None else UNKNOWN
    return _changed(node.name, base, [constants.of(argument) for argument in node.args])


def _call(constants: Constants, node: nodes.Call) -> Folded:
    if isinstance(node.node, nodes.Getattr):
        arguments = [constants.of(argument) for argument in node.args]
        return _method(node.node.attr, constants.of(node.node.node), arguments)
    return constants.name(f"{node.node.name}()") if isinstance(node.node, nodes.Name) else UNKNOWN


_WORKERS: dict[type[nodes.Node], Callable[[Constants, Any], Folded]] = {
    nodes.Const: _const,
    nodes.TemplateData: lambda _, node: node.data,
    nodes.Name: _name,
    nodes.List: _entries,
    nodes.Tuple: _entries,
    nodes.Dict: _table,
    nodes.Concat: _concat,
    nodes.Getitem: _subscript,
    nodes.Getattr: _attribute,
    nodes.Filter: _filter,
    nodes.Call: _call,
}


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


def _sliced(base: Folded, arg: nodes.Slice, constants: Constants) -> Folded:
    """A part of a text or list. A negative number is an expression: the one that matters is `[::-1]`."""
    if not isinstance(base, str | list):
        return UNKNOWN
    if isinstance(arg.step, nodes.Neg) and arg.start is None and arg.stop is None:
        return base[::-1]
    ends = [None if end is None else constants.of(end) for end in (arg.start, arg.stop)]
    numbers = [end for end in ends if end is None or type(end) is int]
    return base[slice(*numbers)] if len(numbers) == len(ends) and arg.step is None else UNKNOWN


def _item(base: Folded, place: Folded) -> Folded:
    found: Folded = UNKNOWN
    if isinstance(base, dict) and isinstance(place, str):
        found = base.get(place, UNKNOWN)
    elif isinstance(base, str | list) and type(place) is int and place < len(base):
        found = base[place]
    return found


def _changed(name: str, base: Folded, arguments: Sequence[Folded]) -> Folded:
    """A filter. Those that change nothing that matters here pass the value on."""
    if isinstance(base, str) and name in _SIMPLE:
        return _SIMPLE[name](base)
    if isinstance(base, str | list) and name in _LISTS:
        return _LISTS[name](base, arguments) if base else UNKNOWN
    if isinstance(base, str) and name in ("format", "replace"):
        return _method("%" if name == "format" else name, base, arguments)
    return base if name in ("string", "safe", "e", "escape", "default", "d") else UNKNOWN


def _join(base: str | list[Any], arguments: Sequence[Folded]) -> Folded:
    between = arguments[0] if arguments else ""
    return _joined(list(base), between) if isinstance(between, str) else UNKNOWN


_LISTS: dict[str, Callable[[str | list[Any], Sequence[Folded]], Folded]] = {
    "join": _join,
    "first": lambda base, _: base[0],
    "last": lambda base, _: base[-1],
    "reverse": lambda base, _: base[::-1],
    "list": lambda base, _: list(base),
}
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
    first = arguments[0] if arguments else UNKNOWN
    result: Folded = UNKNOWN
    if isinstance(base, dict):
        result = _item(base, first) if name == "get" else UNKNOWN
    elif not isinstance(base, str):
        return UNKNOWN
    elif name == "join" and isinstance(first, list | str):
        result = _joined(list(first), base)
    elif name in ("format", "%"):
        known = _known(arguments)
        result = known if isinstance(known, Unknown) else _filled(base, "%s" if name == "%" else "{}", known)
    elif name == "replace":
        result = _replaced(base, arguments)
    elif name == "split" and isinstance(first, str) and first:
        result = list(base.split(first))
    elif name in _SIMPLE and not arguments:
        result = _SIMPLE[name](base)
    return result
