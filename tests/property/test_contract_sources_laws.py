"""Laws of where contracts come from: a call is cut out of any frame, and no text of a module does more than be refused."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.python_tools import tools_from_python
from pipelines.wire import dialogue
from pipelines.wire.dialogue import Rendered, interpret, segment
from registry.contracts import UnreadableToolList, tool_json, tools_from
from registry.template_rules import WireDigests

pytestmark = pytest.mark.property

FRAME = st.text(st.sampled_from("<>|[]{}~\"'\n abprobe_tool"), max_size=30)
MARK = st.text(st.sampled_from('<>|[]{}"\n:abt_'), max_size=12)


@settings(max_examples=300, deadline=None)
@given(FRAME, FRAME, MARK, MARK)
def test_a_call_is_cut_out_of_any_frame(before: str, after: str, opening: str, closing: str) -> None:
    """Whatever stands around it, and however much of that the call repeats."""
    call = f"{opening}probe_tool{{probe value}}{closing}"
    assert call == segment(f"{before}{call}{after}", f"{before}~probe answer~{after}")


TEXTS = st.one_of(
    st.none(), st.text(st.sampled_from("<tool_call>probe answer~ valuesystem wordsx"), max_size=60)
)


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(dialogue.jobs(), TEXTS)))
def test_whatever_was_rendered_can_be_told(texts: dict[str, str | None]) -> None:
    found = interpret("{{ x }}", {name: Rendered(text, "why") for name, text in texts.items()})
    assert isinstance(found, WireDigests)
    assert (found.problem is None) == (found.wire_sha256 is not None)
    assert found.family is None or found.call_sha256 is not None


MODULE = '''
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
def other(a: int, b: list[str] | None = None, *, c: Literal["x", -1] = "x") -> dict[str, int]:
    """Does it.

    Args:
        a: How often.
    """

TOOLS = [{"type": "function", "function": {"name": "work", "parameters": CITY}}, other]
'''


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, len(MODULE)),
    st.integers(0, 12),
    st.text(st.sampled_from("()[]{}:,'\"|*=-\n xaT1"), max_size=6),
)
@example(0, 0, "")
def test_a_damaged_module_is_read_or_refused(at: int, cut: int, instead: str) -> None:
    text = MODULE[:at] + instead + MODULE[at + cut :]
    with contextlib.suppress(UnreadableToolList):
        tools = tools_from_python(text.encode(), name="tools.py")
        # What is read is a list that reads the same when it is handed over as JSON.
        listed = [
            {"name": tool.name, "inputSchema": tool.input, "outputSchema": tool.output} for tool in tools
        ]
        again = tools_from(json.dumps(listed).encode())
        assert [tool.input for tool in tools] == [tool.input for tool in again]


SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"enum": ["a", 1, None]}, {"type": "boolean"}]),
    lambda inner: st.one_of(
        inner.map(lambda item: {"type": "array", "items": item}),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda named: {"type": "object", "properties": named}
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(SCHEMAS, max_size=3))
def test_a_literal_of_python_reads_like_the_same_list_as_json(schemas: list[Any]) -> None:
    tools = [
        {
            "type": "function",
            "function": {"name": f"t{place}", "parameters": {"type": "object", "properties": {"x": schema}}},
        }
        for place, schema in enumerate(schemas)
    ]
    by_json = [tool_json(tool) for tool in tools_from(json.dumps(tools).encode())]
    if not tools:
        with pytest.raises(UnreadableToolList):
            tools_from_python(f"TOOLS = {tools!r}".encode(), name="tools.py")
        return
    assert by_json == [
        tool_json(tool) for tool in tools_from_python(f"TOOLS = {tools!r}".encode(), name="tools.py")
    ]
