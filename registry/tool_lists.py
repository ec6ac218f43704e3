"""Tools as people have them already: OpenAI's two shapes, MCP's, Anthropic's and a contract's own, read into the last."""

from typing import Any, ClassVar

from registry.contract_fields import MAX_BYTES, MalformedContract, Tool, all_different, read_tool, tool_json
from registry.schemas import without_fractions
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.errors import OperatorError

# Where each shape says what a tool takes and answers: MCP, Chat and Responses, Messages, and contracts of ours.
_INPUTS = ("inputSchema", "parameters", "input_schema", "input")
_OUTPUTS = ("outputSchema", "output_schema", "output")


class UnreadableToolList(OperatorError):
    """A list of tools in none of the shapes that tools are known to come in."""

    exit_code: ClassVar[int] = 43
    next_step: ClassVar[str] = (
        "Give the `tools` of a Chat Completions or Responses request, the result of an MCP `tools/list`, or a "
        "Python module's tool definitions, with the place named corrected."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


def tools_from(data: bytes) -> tuple[Tool, ...]:
    """Read tools as people have them: Chat `tools`, Responses `tools`, or the result of MCP `tools/list`.

    Accepts the list itself, or an object that holds it under `tools` or `result.tools`.

    Raises:
        UnreadableToolList: naming the place; also for built-in tools (web search and such), which have no schema,
            and for one page of several of a `tools/list`.
    """
    try:
        value = parse(data, max_bytes=MAX_BYTES)
    except NotCanonical as exc:
        raise UnreadableToolList(exc.problem, at=exc.at) from exc
    at = ""
    for step in ("result", "tools"):
        if isinstance(value, dict) and step in value:
            if value.get("nextCursor"):
                place = f"{at}.nextCursor".lstrip(".")
                raise UnreadableToolList("one page of several; join the `tools` of all pages", at=place)
            value, at = value[step], f"{at}.{step}".lstrip(".")
    if not isinstance(value, list):
        raise UnreadableToolList("not a list of tools", at=at or "document")
    return tools_in(value, at or "tools")


def tools_in(values: list[Any], at: str) -> tuple[Tool, ...]:
    """Read a decoded list of tools that stands at `at`. Raises `UnreadableToolList`."""
    try:
        tools = tuple(
            read_tool(_ours(item, f"{at}[{place}]"), f"{at}[{place}]", described=True)
            for place, item in enumerate(values)
        )
        all_different([tool.name for tool in tools], at)
        canonical_bytes([tool_json(tool) for tool in tools])
    except (NotCanonical, MalformedContract) as exc:
        raise UnreadableToolList(exc.problem, at=exc.at) from exc
    return tools


def _first(inside: dict[str, Any], names: tuple[str, ...], otherwise: Any) -> Any:
    return next((inside[name] for name in names if name in inside), otherwise)


def _ours(item: Any, at: str) -> dict[str, Any]:
    """Return a tool of ours from one of theirs; what the formats add besides is left behind."""
    if not isinstance(item, dict):
        raise UnreadableToolList("not an object", at=at)
    inside: Any = item
    if "function" in item:  # Chat Completions nests it
        inside, at = item["function"], f"{at}.function"
    elif item.get("type", "function") != "function":
        raise UnreadableToolList(
            f"{item['type']!r} is a tool of the service's own, without a schema", at=f"{at}.type"
        )
    if not isinstance(inside, dict) or "name" not in inside:
        raise UnreadableToolList("not an object with a name", at=at)
    found = _first(inside, _INPUTS, {"type": "object", "properties": {}})
    answers = _first(inside, _OUTPUTS, None)
    tool = {"name": inside["name"], "input": without_fractions(found), "output": without_fractions(answers)}
    return tool | ({"description": inside["description"]} if inside.get("description") else {})
