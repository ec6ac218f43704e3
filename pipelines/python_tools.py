"""Tools out of a Python module, read and never run: its text is parsed, nothing of it is imported.

Two ways that people write tools down. Literals at the top of the module: a list of OpenAI or MCP definitions, or of
the module's own functions. Or functions with annotations and a docstring, out of which a schema is made; where some
are decorated as tools, only those. What cannot be read as it stands is refused with its line: a tool that is left out
in silence would be a promise that the contract does not keep.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from registry.contracts import Tool, UnreadableToolList
from registry.tool_lists import tools_in

MAX_MODULE = 256 << 10  # bytes; Python's own parser takes seconds for a megabyte written to be slow
MAX_VALUES = 100_000  # looked at in one module; names that stand for names multiply
_SCALARS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_LISTS, _DICTS = ("list", "List", "Sequence"), ("dict", "Dict", "Mapping")
_DECORATORS = ("tool", "function_tool")
_PARAMETER = re.compile(r"\s*\*{0,2}(\w{1,64})\s*(?:\([^)\n]{0,200}\))?:\s+(\S.*)")
_LIST_NAME = re.compile(r"(?i)(?:\w*_)?(?:tools|functions)")
_SECTION = re.compile(r"\s*(Args|Arguments|Parameters):\s*")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class _NotLiteral(Exception):
    """A value that only running the module would tell. An internal signal, with the line."""

    def __init__(self, node: ast.AST) -> None:
        super().__init__()
        self.line = getattr(node, "lineno", 0)


def tools_from_python(data: bytes, *, name: str) -> tuple[Tool, ...]:
    """Read the tools of the module whose source is `data`; `name` is what to call the file in a refusal.

    Raises:
        UnreadableToolList: naming file, line and, for a function, the parameter.
    """
    module = _Module(name, _parse(data, name))
    found = module.listed() or [module.tool(function) for function in module.offered()]
    if not found:
        raise UnreadableToolList("no list of tools, and no annotated function with a docstring", at=name)
    return tools_in(found, name)


def _parse(data: bytes, name: str) -> ast.Module:
    if len(data) > MAX_MODULE:
        raise UnreadableToolList(f"more than {MAX_MODULE} bytes", at=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UnreadableToolList("not UTF-8", at=f"{name}, byte {exc.start}") from exc
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes warn, in words of the module's author
            return ast.parse(text)
    except SyntaxError as exc:
        raise UnreadableToolList(f"not Python: {exc.msg}", at=f"{name}, line {exc.lineno or 1}") from exc
    except (ValueError, RecursionError, MemoryError) as exc:
        raise UnreadableToolList("not Python that can be parsed", at=name) from exc


@dataclass
class _Module:
    """One module: its functions and its literals by name, as far as they are told apart without running it."""

    name: str
    tree: ast.Module
    functions: dict[str, Function] = field(init=False)
    literals: dict[str, ast.expr] = field(init=False)
    left: int = MAX_VALUES

    def __post_init__(self) -> None:
        self.functions = {
            node.name: node
            for node in self.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        self.literals = dict(_assigned(self.tree))

    # -- literals -----------------------------------------------------------------------------------------

    def listed(self) -> list[Any]:
        """Every tool that stands in a literal at the top, each once. A dictionary by names is a table, no list."""
        found: list[Any] = []
        for name, node in self.literals.items():
            called_so = bool(_LIST_NAME.fullmatch(name)) and not isinstance(node, ast.Dict)
            try:
                value = self.value(node)
            except (_NotLiteral, RecursionError) as exc:
                if not called_so:
                    continue
                line = exc.line if isinstance(exc, _NotLiteral) else node.lineno
                raise self.refusal(
                    f"{name} is no literal here: only running the module would tell", line
                ) from exc
            tools = value.get("tools", value) if isinstance(value, dict) else value
            for tool in tools if isinstance(tools, list) else [tools]:
                if called_so and not _is_tool(tool):
                    raise self.refusal(f"{name} holds something that is no tool", node.lineno)
                if _is_tool(tool) and tool not in found:
                    found.append(tool)
        return found

    def value(self, node: ast.expr) -> Any:
        """The value of a literal; names stand for literals and functions of this module."""
        self._spend(1, node)
        if isinstance(node, ast.Constant) and (
            node.value is None or isinstance(node.value, str | int | float | bool)
        ):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self._negative(node)
        if isinstance(node, ast.List | ast.Tuple):
            return [item for element in node.elts for item in self._elements(element)]
        if isinstance(node, ast.Dict):
            return self._dict(node)
        if isinstance(node, ast.Name):
            return self._named(node)
        raise _NotLiteral(node)

    def _spend(self, count: int, node: ast.expr) -> None:
        self.left -= count
        if self.left < 0:
            raise self.refusal(f"more than {MAX_VALUES} values", node.lineno)

    def _negative(self, node: ast.UnaryOp) -> int | float:
        value = self.value(node.operand)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _NotLiteral(node)
        return -value

    def _elements(self, node: ast.expr) -> list[Any]:
        if isinstance(node, ast.Name) and node.id in self.functions:
            function = self.functions[node.id]
            if function.lineno >= node.lineno:
                raise _NotLiteral(node)
            return [self.tool(function)]
        if not isinstance(node, ast.Starred):
            return [self.value(node)]
        inner = self.value(node.value)
        if not isinstance(inner, list):
            raise _NotLiteral(node)
        self._spend(len(inner), node)
        return inner

    def _dict(self, node: ast.Dict) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            name, value = self.value(key) if key is not None else None, self.value(item)
            if key is None and isinstance(value, dict):
                self._spend(len(value), item)
                out |= value
            elif isinstance(name, str):
                out[name] = value
            else:
                raise _NotLiteral(item)
        return out

    def _named(self, node: ast.Name) -> Any:
        inner = self.literals.get(node.id)
        if inner is None or (inner.lineno, inner.col_offset) >= (node.lineno, node.col_offset):
            raise _NotLiteral(node)  # what comes later is not there yet; so no name leads in a circle
        return self.value(inner)

    # -- functions ----------------------------------------------------------------------------------------

    def offered(self) -> list[Function]:
        """The functions that are tools: those that are decorated so, else every public one with a docstring."""
        known = list(self.functions.values())
        return [function for function in known if _is_decorated(function)] or [
            function
            for function in known
            if not function.name.startswith("_") and ast.get_docstring(function)
        ]

    def tool(self, function: Function) -> dict[str, Any]:
        """A function as an MCP tool."""
        text = ast.get_docstring(function)
        if not text:
            raise self.refusal(f"function {function.name!r} has no docstring", function.lineno)
        about = dict(_parameters_in(text))
        required, properties = [], {}
        for parameter, optional in self._parameters(function):
            properties[parameter.arg] = self._schema(parameter.annotation, function, parameter)
            if parameter.arg in about:
                properties[parameter.arg]["description"] = about[parameter.arg]
            required += [] if optional else [parameter.arg]
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        schema |= {"required": required} if required else {}
        made = {"name": function.name, "description": _summary(text), "inputSchema": schema}
        if function.returns is None or (
            isinstance(function.returns, ast.Constant) and function.returns.value is None
        ):
            return made
        return made | {"outputSchema": self._schema(function.returns, function, None)}

    def _parameters(self, function: Function) -> Iterator[tuple[ast.arg, bool]]:
        """Each parameter, and whether it may be left out."""
        given = function.args
        for parameter in (*given.posonlyargs, given.vararg, given.kwarg):
            if parameter is not None:
                raise self.at_parameter(
                    "a call names its arguments, and this one has no name", function, parameter
                )
        without = len(given.args) - len(given.defaults)
        yield from ((parameter, place >= without) for place, parameter in enumerate(given.args))
        for parameter, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            yield parameter, default is not None

    def _schema(
        self, annotation: ast.expr | None, function: Function, parameter: ast.arg | None
    ) -> dict[str, Any]:
        if annotation is None:
            raise self.at_parameter("no annotation", function, parameter)
        try:
            return _schema_of(annotation)
        except (_NotLiteral, RecursionError) as exc:
            shown = ast.unparse(annotation)[:80] if isinstance(exc, _NotLiteral) else "nested too deep"
            raise self.at_parameter(f"no schema can be made of `{shown}`", function, parameter) from exc

    def at_parameter(self, problem: str, function: Function, parameter: ast.arg | None) -> UnreadableToolList:
        what = f"parameter {parameter.arg!r}" if parameter is not None else "what it returns"
        line = parameter.lineno if parameter is not None else function.lineno
        return self.refusal(f"function {function.name!r}, {what}: {problem}", line)

    def refusal(self, problem: str, line: int) -> UnreadableToolList:
        return UnreadableToolList(problem, at=f"{self.name}, line {line}")


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def _is_tool(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    inside = value.get("function", value)
    return (
        isinstance(inside, dict)
        and isinstance(inside.get("name"), str)
        and (value.get("type") == "function" or "inputSchema" in inside or "parameters" in inside)
    )


def _is_decorated(function: Function) -> bool:
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in _DECORATORS:
            return True
    return False


def _summary(docstring: str) -> str:
    return " ".join(docstring.strip().split("\n\n")[0].split())


def _parameters_in(docstring: str) -> Iterator[tuple[str, str]]:
    """`name: text` below `Args:`, one line each, up to the first empty line."""
    lines = iter(docstring.splitlines())
    for line in lines:
        if _SECTION.fullmatch(line):
            break
    for line in lines:
        if not line.strip():
            return
        if match := _PARAMETER.fullmatch(line):
            yield match[1], match[2].strip()


# ---------------------------------------------------------------------------------------------- annotations


def _schema_of(node: ast.expr) -> dict[str, Any]:
    """The JSON Schema of an annotation. Raises `_NotLiteral` for one that has none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _schema_of(_quoted(node))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _any_of([node.left, node.right])
    if isinstance(node, ast.Constant) and node.value is None:
        return {"type": "null"}
    word = _word(node)
    if word in _SCALARS:
        return {"type": _SCALARS[word]}
    if word in _LISTS or word in _DICTS:
        return {"type": "array" if word in _LISTS else "object"}
    if isinstance(node, ast.Subscript):
        return _subscripted(node)
    raise _NotLiteral(node)


def _subscripted(node: ast.Subscript) -> dict[str, Any]:
    word, inner = _word(node.value), node.slice
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if word in _LISTS and len(parts) == 1:
        return {"type": "array", "items": _schema_of(parts[0])}
    if word in _DICTS and len(parts) == 2 and _word(parts[0]) == "str":
        return {"type": "object", "additionalProperties": _schema_of(parts[1])}
    if word == "Optional" and len(parts) == 1:
        return _any_of([parts[0], ast.Constant(None)])
    if word == "Union":
        return _any_of(parts)
    if word == "Literal" and parts:
        return {"enum": [_literal(part) for part in parts]}
    raise _NotLiteral(node)


def _any_of(nodes: list[ast.expr]) -> dict[str, Any]:
    options: list[Any] = []
    for node in nodes:
        schema = _schema_of(node)
        options += [
            option
            for option in (schema["anyOf"] if schema.keys() == {"anyOf"} else [schema])
            if option not in options
        ]
    return options[0] if len(options) == 1 else {"anyOf": options}


def _literal(node: ast.expr) -> str | int | bool | None:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str | int | bool)):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = node.operand
        if isinstance(inner, ast.Constant) and type(inner.value) is int:
            return -inner.value
    raise _NotLiteral(node)


def _quoted(node: ast.Constant) -> ast.expr:
    try:
        return ast.parse(str(node.value), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise _NotLiteral(node) from exc


def _word(node: ast.expr) -> str:
    """`list`, or the last part of `typing.List`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id in ("typing", "t", "collections", "abc") else ""
    return node.id if isinstance(node, ast.Name) else ""
