"""Gates as an author writes them: what each says, and every way in which one that says nothing is refused."""

import tomllib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.suites.gates import ShareGate, SpeedGate, read_gates, shown
from pipelines.suites.refusals import SuiteMalformed


def gates(source: str) -> tuple[ShareGate | SpeedGate, ...]:
    return read_gates(tomllib.loads(source), at="gates")


def test_a_gate_with_everything() -> None:
    written = 'cases.pass_rate = { min = "0.80", interval = "wilson95", vs = "pinned", margin = "0.05", lost_cases_max = 5 }'
    (gate,) = gates(written)
    assert ShareGate("cases.pass_rate", Fraction(4, 5), "0.80", True, Fraction(1, 20), 5) == gate
    assert gate.compares
    assert gate.judges_cases


def test_what_a_gate_leaves_out_is_not_demanded() -> None:
    (gate,) = gates('cluster.units = { min = "1.0" }')
    assert ShareGate("cluster.units", Fraction(1), "1.0") == gate
    assert not gate.compares


def test_speeds_have_a_bound_or_a_ratio_or_both() -> None:
    found = gates(
        'perf.ttft_p95_ms = { max = 1500, vs = "pinned", max_ratio = "1.25" }\n'
        'perf.seconds_p95 = { max = "2.5" }\nperf.out_tok_s_p50 = { vs = "pinned", min_ratio = "0.8" }'
    )
    assert [
        SpeedGate("perf.ttft_p95_ms", Fraction(1500), Fraction(5, 4)),
        SpeedGate("perf.seconds_p95", Fraction(5, 2), None),
        SpeedGate("perf.out_tok_s_p50", None, Fraction(4, 5)),
    ] == list(found)
    assert [(False, True), (False, False), (True, True)] == [
        (gate.more_is_better, gate.compares) for gate in found if isinstance(gate, SpeedGate)
    ]
    assert "at most 1500, at most 1.25 times the pinned version's" == found[0].written


def test_a_contract_and_a_speed_judge_no_case() -> None:
    found = gates(
        'contract.parse_rate = { min = "1.0" }\nperf.seconds_p95 = { max = 2 }\nsurface.chat = { min = "1" }'
    )
    assert [False, False, True] == [gate.judges_cases for gate in found]


REFUSED = [
    ("", "gates", "without a gate"),
    ("cases = 1", "gates.cases", "a gate is written"),
    ('cases.rate = { min = "1.0" }', "gates.cases.rate", "known are"),
    ('cluster."A B" = { min = "1.0" }', "gates.cluster.A B", "known are"),
    ('surface.telnet = { min = "1.0" }', "gates.surface.telnet", "known are"),
    ("cases.pass_rate = {}", "gates.cases.pass_rate", "'min' is missing"),
    ("cases.pass_rate = { min = 1.0 }", "gates.cases.pass_rate.min", "between quotes"),
    ('cases.pass_rate = { min = "0.0" }', "gates.cases.pass_rate.min", "demands nothing"),
    ('cases.pass_rate = { min = "1.1" }', "gates.cases.pass_rate.min", "a share"),
    ('cases.pass_rate = { min = "0.9", most = 1 }', "gates.cases.pass_rate", "not a field"),
    ('contract.parse_rate = { min = "0.9" }', "gates.contract.parse_rate.min", "kept or not"),
    (
        'contract.parse_rate = { min = "1.0", vs = "pinned", lost_cases_max = 9 }',
        "gates.contract.parse_rate.min",
        "kept or not",
    ),
    ('cases.pass_rate = { min = "0.9", interval = "normal" }', "gates.cases.pass_rate.interval", "wilson95"),
    (
        'cases.pass_rate = { min = "1.0", interval = "wilson95" }',
        "gates.cases.pass_rate.interval",
        "no number",
    ),
    ('cases.pass_rate = { min = "0.9", margin = "0.05" }', "gates.cases.pass_rate.margin", "beside it"),
    (
        'cases.pass_rate = { min = "0.9", lost_cases_max = 5 }',
        "gates.cases.pass_rate.lost_cases_max",
        "beside it",
    ),
    ('cases.pass_rate = { min = "0.9", vs = "pinned" }', "gates.cases.pass_rate.vs", "compares nothing"),
    (
        'cases.pass_rate = { min = "0.9", vs = "best", margin = "0.1" }',
        "gates.cases.pass_rate.vs",
        "only 'pinned'",
    ),
    (
        'cases.pass_rate = { min = "0.9", vs = "pinned", margin = "0.0" }',
        "gates.cases.pass_rate.margin",
        "demands nothing",
    ),
    (
        'cases.pass_rate = { min = "0.9", vs = "pinned", lost_cases_max = -1 }',
        "gates.cases.pass_rate.lost_cases_max",
        "whole number",
    ),
    ("perf.ttft_p95_ms = {}", "gates.perf.ttft_p95_ms", "demands nothing"),
    ("perf.ttft_p95_ms = { min = 3 }", "gates.perf.ttft_p95_ms", "not a field"),
    ("perf.ttft_p95_ms = { max = 0 }", "gates.perf.ttft_p95_ms.max", "more than 0"),
    ("perf.ttft_p95_ms = { max = 1.5 }", "gates.perf.ttft_p95_ms.max", "between quotes"),
    ("perf.ttft_p95_ms = { max = true }", "gates.perf.ttft_p95_ms.max", "between quotes"),
    ('perf.ttft_p95_ms = { max_ratio = "1.2" }', "gates.perf.ttft_p95_ms.max_ratio", "beside it"),
    ('perf.ttft_p95_ms = { max = 3, vs = "pinned" }', "gates.perf.ttft_p95_ms.vs", "compares nothing"),
    ('perf.out_tok_s_p50 = { max = "20" }', "gates.perf.out_tok_s_p50", "not a field"),
]


@pytest.mark.parametrize(
    ("source", "at", "problem"), REFUSED, ids=[f"{at}-{said[:9]}" for _, at, said in REFUSED]
)
def test_a_gate_that_says_nothing_or_something_else_is_refused_with_its_place(
    source: str, at: str, problem: str
) -> None:
    with pytest.raises(SuiteMalformed, match=problem) as refusal:
        gates(source)
    assert at == refusal.value.at


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["cases", "pass_rate", "min", "vs", "margin", "perf", "ttft_p95_ms", "max", "cluster"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_whatever_stands_there_is_gates_or_our_refusal(raw: object) -> None:
    try:
        found = read_gates(raw, at="gates")
    except SuiteMalformed:
        return
    assert found


@pytest.mark.parametrize(
    ("number", "text"),
    [(Fraction(5, 4), "1.25"), (Fraction(1500), "1500"), (Fraction(1, 3), "0.333"), (Fraction(0), "0")],
)
def test_a_number_is_shown_without_needless_zeros(number: Fraction, text: str) -> None:
    assert text == shown(number)
