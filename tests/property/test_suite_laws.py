"""Laws of suites: every decoder raises only its own refusal, whatever it is given; packing loses nothing."""

import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.engines.endpoint import AnswerUnusable, Endpoint, EndpointUnusable
from pipelines.suites import responses, results
from pipelines.suites.cases import read_case
from pipelines.suites.checks import same
from pipelines.suites.format import Suite, pack, read, unpack
from pipelines.suites.judge import judge
from pipelines.suites.refusals import SuiteMalformed
from pipelines.suites.responses import ResponseStream
from pipelines.suites.schema import first_problem
from pipelines.suites.streaming import Event, Events
from pipelines.suites.talk import ChatStream, read_reply

pytestmark = pytest.mark.property

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
words = st.text(min_size=1, max_size=40).filter(str.strip)
KNOWN: list[dict[str, Any]] = [
    {"check": "answers"},
    {"check": "no_tool"},
    {"check": "content_regex", "pattern": "ok|fine"},
    {"check": "finish_reason", "reason": "stop"},
    {"check": "content_absent", "pattern": "never"},
    {"check": "json_schema", "schema": {"type": "object"}},
    {"check": "stream_equals_nonstream"},
    {"check": "max_seconds", "seconds": 3},
]
checks = st.lists(
    st.sampled_from(KNOWN),
    min_size=1,
    unique_by=lambda check: check["check"],
)
cases = st.fixed_dictionaries(
    {
        "cluster": st.sampled_from(["a", "b"]),
        "messages": words.map(lambda said: [{"role": "user", "content": said}]),
        "tools": st.just([]),
        "max_tokens": st.integers(1, 100),
        "checks": checks,
    },
    optional={
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "surface": st.sampled_from(["chat", "responses"]),
        "parallel_tool_calls": st.booleans(),
    },
)


@st.composite
def suites(draw: st.DrawFn) -> Suite:
    drawn = draw(st.lists(cases, min_size=1, max_size=6))
    lines = [json.dumps({"id": f"case-{number}", **case}) for number, case in enumerate(drawn)]
    toml = (
        'format = "tidegate-suite/1"\nname = "drawn"\ndescription = "Drawn."\ntools = "contract"\n'
        f"surfaces = {draw(st.sampled_from([['chat'], ['responses', 'chat']]))}\n"
        f"streaming = {draw(st.sampled_from([['no'], ['no', 'yes']]))}\n"
        f"cases = {len(lines)}\nrepeats = {draw(st.integers(1, 3))}\ntimeout_seconds = 5\nlimit_seconds = 9\n"
        '[gates]\ncases.pass_rate = { min = "1.0" }\n'
    )
    return read({"suite.toml": toml, "cases/drawn.jsonl": "\n".join(lines) + "\n"})


@given(suites())
def test_unpacking_undoes_packing(suite: Suite) -> None:
    assert suite == unpack(pack(suite))
    assert pack(suite) == pack(unpack(pack(suite)))


@given(st.binary(max_size=2048))
def test_hostile_packed_bytes_raise_only_our_error(data: bytes) -> None:
    with contextlib.suppress(SuiteMalformed):
        unpack(data)


@given(
    st.dictionaries(
        st.sampled_from(["suite.toml", "cases/a.jsonl", "tools/x.json", "README.md", "../x"]),
        st.text(max_size=300),
    )
)
def test_hostile_files_raise_only_our_error(files: dict[str, str]) -> None:
    with contextlib.suppress(SuiteMalformed):
        read(files)


@given(suites(), st.data())
def test_a_touched_letter_is_refused_or_is_another_suite(suite: Suite, data: st.DataObject) -> None:
    packed = pack(suite)
    place = data.draw(st.integers(0, len(packed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != packed[place]))
    with contextlib.suppress(SuiteMalformed):
        assert unpack(packed[:place] + bytes([byte]) + packed[place + 1 :]).digest != suite.digest


@given(
    values
    | st.fixed_dictionaries(
        dict.fromkeys(("id", "cluster", "messages", "tools", "max_tokens", "checks"), values)
    )
)
def test_a_hostile_case_raises_only_our_error(raw: Any) -> None:
    with contextlib.suppress(SuiteMalformed):
        read_case(raw, at="here")


@given(st.text(max_size=60) | st.text(max_size=30).map(lambda tail: f"http://{tail}"))
def test_a_hostile_address_raises_only_our_error_and_a_good_one_reads_back(url: str) -> None:
    with contextlib.suppress(EndpointUnusable):
        found = Endpoint.parse(url)
        assert found == Endpoint.parse(str(found))


reply_like = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"message": st.fixed_dictionaries({"content": values, "tool_calls": values})},
                optional={"finish_reason": values},
            ),
            max_size=2,
        )
    }
)


@given(st.binary(max_size=500) | (values | reply_like).map(lambda value: json.dumps(value).encode()))
def test_a_hostile_answer_raises_only_our_error(data: bytes) -> None:
    with contextlib.suppress(AnswerUnusable):
        read_reply(data, where="here")


@given(st.binary(max_size=500) | (values | reply_like).map(lambda value: json.dumps(value).encode()))
def test_a_hostile_response_raises_only_our_error(data: bytes) -> None:
    with contextlib.suppress(AnswerUnusable):
        responses.read_reply(data, where="here")


lines = st.sampled_from([b"data: {}", b"data:x", b": note", b"event: a", b"id: 1", b""])
streams = st.lists(lines, max_size=12).map(lambda some: b"\n".join(some) + b"\n\n")


@given(streams, st.lists(st.integers(0, 120), max_size=5))
def test_where_the_line_cuts_a_stream_changes_nothing(stream: bytes, places: list[int]) -> None:
    whole, cut = Events("here"), Events("here")
    bounds = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(bounds)]
    assert list(whole.feed(stream)) == [event for piece in pieces for event in cut.feed(piece)]


pieces_like = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {
                    "delta": st.fixed_dictionaries(
                        {},
                        optional={
                            "content": values,
                            "tool_calls": st.lists(
                                st.fixed_dictionaries(
                                    {
                                        "index": st.integers(-1, 2) | values,
                                        "function": st.fixed_dictionaries(
                                            {"name": values, "arguments": values}
                                        ),
                                    }
                                ),
                                max_size=2,
                            ),
                        },
                    )
                },
                optional={"finish_reason": values},
            ),
            max_size=2,
        )
    }
)
response_like = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["response.output_text.delta", "response.completed", "response.output_item.done"]
        ),
        "delta": values,
        "item": values,
        "response": values | st.fixed_dictionaries({"output": values, "status": st.just("completed")}),
    }
)


@given(
    st.lists(
        st.binary(max_size=60) | (values | pieces_like | response_like).map(lambda v: json.dumps(v).encode())
    )
)
def test_a_hostile_stream_raises_only_our_error(events: list[bytes]) -> None:
    for stream in (ChatStream("here"), ResponseStream("here")):
        with contextlib.suppress(AnswerUnusable):
            for data in [*events, b"[DONE]"]:
                if stream.take(Event("", data), 1):
                    assert stream.reply().finish_reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suite=suites(),
    data=st.binary(max_size=800) | values.map(lambda value: json.dumps(value).encode() + b"\n"),
)
def test_results_that_nobody_sealed_never_pass(tmp_path: Path, suite: Suite, data: bytes) -> None:
    (tmp_path / "results").write_bytes(data)
    assert "FAILED" == judge(suite, results.read(tmp_path / "results", suite)).outcome


@given(values, values)
def test_a_value_is_the_same_as_itself_and_sameness_has_no_direction(left: Any, right: Any) -> None:
    assert same(left, left)
    assert same(left, right) == same(right, left)


@given(
    st.dictionaries(st.sampled_from(["type", "$ref", "enum", "minimum"]), st.just("object"), max_size=1),
    values,
)
def test_a_schema_that_allows_anything_has_no_problem_with_anything(
    schema: dict[str, Any], value: Any
) -> None:
    if not schema:
        assert first_problem(schema, value) is None
