"""A Python module's tools are read off its text; what only running it would tell is refused with its line."""

from typing import Any

import pytest

from pipelines.python_tools import tools_from_python
from registry.contracts import Tool, UnreadableToolList

S, INT = {"type": "string"}, {"type": "integer"}


def read(text: str) -> tuple[Tool, ...]:
    return tools_from_python(text.encode(), name="tools.py")


def function(signature: str, doc: str = "Does it.") -> str:
    return f'def work{signature}:\n    """{doc}"""\n'


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("str", S),
        ("int", INT),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("list", {"type": "array"}),
        ("dict", {"type": "object"}),
        ("list[int]", {"type": "array", "items": INT}),
        ("typing.List[str]", {"type": "array", "items": S}),
        ("dict[str, int]", {"type": "object", "additionalProperties": INT}),
        ("str | None", {"anyOf": [S, {"type": "null"}]}),
        ("Optional[int]", {"anyOf": [INT, {"type": "null"}]}),
        ("Union[str, int, None]", {"anyOf": [S, INT, {"type": "null"}]}),
        ('Literal["a", 2, -1, None]', {"enum": ["a", 2, -1, None]}),
        ("'list[str]'", {"type": "array", "items": S}),
        (
            "list[dict[str, list[bool]]]",
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "boolean"}},
                },
            },
        ),
    ],
)
def test_each_annotation_has_one_schema(annotation: str, schema: dict[str, Any]) -> None:
    (tool,) = read(function(f"(x: {annotation}) -> {annotation}"))
    assert {
        "type": "object",
        "properties": {"x": schema},
        "required": ["x"],
        "additionalProperties": False,
    } == tool.input
    assert schema == tool.output


def test_defaults_make_parameters_optional_and_the_docstring_describes() -> None:
    text = """
async def work(a: int, b: str = "x", *, c: bool, d: float = 0.5) -> None:
    '''Does it,
    and well.

    Args:
        a: How often.
        b (str): What.

    Returns:
        c: no parameter any more.
    '''
"""
    (tool,) = read(text)
    assert ("work", "Does it, and well.", None) == (tool.name, tool.description, tool.output)
    assert ["a", "c"] == tool.input["required"]
    said = {name: schema.get("description") for name, schema in tool.input["properties"].items()}
    assert {"a": "How often.", "b": "What.", "c": None, "d": None} == said


def test_only_functions_that_are_offered_are_tools() -> None:
    helpers = 'def _private(x):\n    """Not offered."""\n\ndef undocumented(x):\n    pass\n\nclass Thing:\n    pass\n'
    assert ["work"] == [tool.name for tool in read(helpers + function("(x: int)"))]
    decorated = f'@mcp.tool()\n{function("(x: int)")}\ndef other(x):\n    """No tool."""\n'
    assert ["work"] == [tool.name for tool in read(decorated)]


@pytest.mark.parametrize(
    "listed",
    [
        'TOOLS = [{"type": "function", "function": {"name": "work", "description": "d", "parameters": CITY}}]',
        'tools: list[dict] = [{"type": "function", "name": "work", "description": "d", "parameters": CITY}]',
        'LISTING = {"tools": [{"name": "work", "description": "d", "inputSchema": CITY}]}',
        'WORK = {"name": "work", "description": "d", "inputSchema": CITY}\nALL_TOOLS = [WORK]',
        'FIRST = [{"name": "work", "description": "d", "inputSchema": {**CITY}}]\nTOOLS = [*FIRST]',
    ],
)
def test_a_literal_at_the_top_is_read_whatever_else_the_module_does(listed: str) -> None:
    text = (
        'import missing\nmissing.go()\nCITY = {"type": "object", "properties": {"city": {"type": "string", '
        f'"default": -0.5}}}}}}\n{listed}\n\ndef helper(x):\n    """Not offered: the list says what is."""\n'
    )
    (tool,) = read(text)
    assert ("work", "d") == (tool.name, tool.description)
    assert {"type": "object", "properties": {"city": S}} == tool.input


def test_a_list_of_functions_offers_these() -> None:
    other = function("(y: str)").replace("work", "other")
    text = f'{function("(x: int)")}{other}TOOLS = [other]\nBY_NAME = {{"work": work}}\n'
    assert ["other"] == [tool.name for tool in read(text)]


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        (function("(x)"), "line 1", "'x': no annotation"),
        ("\n\n" + function("(a: int,\n    b: bytes)"), "line 4", "'b': no schema can be made of `bytes`"),
        (function("(x: Weather)"), "line 1", "`Weather`"),
        (function("(x: set[str])"), "line 1", "`set[str]`"),
        (function("(x: dict[int, str])"), "line 1", "`dict[int, str]`"),
        (function("(x: Literal[1.5])"), "line 1", "`Literal[1.5]`"),
        (function("(x: Annotated[int, 3])"), "line 1", "`Annotated[int, 3]`"),
        (function("(x: 'not python(')"), "line 1", "'x'"),
        (function("(*xs: int)"), "line 1", "'xs'"),
        (function("(**xs: int)"), "line 1", "'xs'"),
        (function("(x: int, /)"), "line 1", "'x'"),
        (function("(x: int) -> Weather"), "line 1", "what it returns"),
        ("x = 1\nTOOLS = [make(3)]", "line 2", "TOOLS is no literal"),
        ("TOOLS = make()", "line 1", "TOOLS is no literal"),
        ("TOOLS = [later]\nlater = {}", "line 1", "TOOLS is no literal"),
        ("TOOLS = [work]\n" + function("(x: int)"), "line 1", "TOOLS is no literal"),
        ("TOOLS = [TOOLS]", "line 1", "TOOLS is no literal"),
        ('TOOLS = [{"nome": "x"}]', "line 1", "no tool"),
        ("def work(x: int):\n    pass\nTOOLS = [work]", "line 1", "no docstring"),
        ("x = (", "line 1", "not Python"),
        ("x = 1", "tools.py", "no list of tools"),
        ('TOOLS = [{"name": "a b", "inputSchema": {}}]', "tools.py[0].name", "not allowed"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, place: str, word: str) -> None:
    with pytest.raises(UnreadableToolList) as refusal:
        read(text)
    assert place in refusal.value.at
    assert word in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "x=" + "(" * 5000 + ")" * 5000,
        "x=" + "-" * 100_000 + "1",
        "x=a" + ".a" * 100_000,
        "x=a" + "()" * 100_000,
        "TOOLS=" + "1+" * 100_000 + "1",
        "a\0b",
        "x=" + "9" * 100_000,
        "x0=[1,1]\n" + "".join(f"x{n + 1}=[*x{n},*x{n}]\n" for n in range(40)),
        "x0=[1,1]\n" + "".join(f"x{n + 1}=[x{n},x{n}]\n" for n in range(40)),
        "#" * (1 << 20),
        "def f(x: '" + "list[" * 150 + "int" + "]" * 150 + "'):\n 'd'\n",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=range(12),
)
def test_hostile_text_ends_in_a_refusal(text: str) -> None:
    with pytest.raises(UnreadableToolList):
        tools_from_python(text.encode("latin-1"), name="tools.py")
