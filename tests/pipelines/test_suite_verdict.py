"""From answers to a verdict: what holds, what fails, what is not decided and what would decide it."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.suites.gates import ARGS_VALID, CALLS_PARSED
from pipelines.suites.judge import FAILED, INCONCLUSIVE, PASSED, Verdict, judge
from pipelines.suites.judged import ALONE, NOT_MEASURED, NOTHING_TO_COMPARE, Comparison
from pipelines.suites.plan import BASELINE
from pipelines.suites.results import Attempt, Results
from pipelines.suites.weigh import HELD
from tests.pipelines.verdicts import BESIDE, EVERY_CASE, answers, first, suite_of

INTERVAL = 'cases.pass_rate = { min = "0.80", interval = "wilson95" }'
MARGIN = 'cases.pass_rate = { min = "0.50", vs = "pinned", margin = "0.05" }'
LOST = 'cases.pass_rate = { min = "0.50", vs = "pinned", lost_cases_max = 5 }'
TTFT = 'perf.ttft_p95_ms = { max = 1500, vs = "pinned", max_ratio = "1.25" }'
STREAMED = 'streaming = ["yes"]'


def outcomes(verdict: Verdict) -> list[str]:
    return [gate.outcome for gate in verdict.gates]


# -- intervals --------------------------------------------------------------------------------------------


def test_a_share_that_is_there_by_luck_is_not_decided_and_says_how_many_cases_more() -> None:
    suite = suite_of(INTERVAL, talk=200)
    verdict = judge(suite, answers(suite, failed=first(36)))
    assert (INCONCLUSIVE, [INCONCLUSIVE]) == (verdict.outcome, outcomes(verdict))
    assert (
        "gate cases.pass_rate: 0.82 of 200 cases, interval 0.76-0.87, needs 0.80: collect about 1400 more",
    ) == verdict.reasons
    assert 1387 == verdict.gates[0].more


@pytest.mark.parametrize(("failed", "outcome"), [(20, PASSED), (60, FAILED), (41, INCONCLUSIVE)])
def test_the_whole_interval_has_to_be_on_one_side(failed: int, outcome: str) -> None:
    suite = suite_of(INTERVAL, talk=200)
    verdict = judge(suite, answers(suite, failed=first(failed)))
    assert outcome == verdict.outcome


def test_where_more_cases_would_not_help_it_says_so() -> None:
    suite = suite_of(INTERVAL, talk=100)
    verdict = judge(suite, answers(suite, failed=first(20)))
    assert verdict.reasons[0].endswith("more cases like these would not decide it")
    assert verdict.gates[0].more is None


# -- beside the pinned version ----------------------------------------------------------------------------


def test_a_version_that_loses_nothing_over_enough_cases_is_no_worse() -> None:
    suite = suite_of(MARGIN, talk=200)
    verdict = judge(suite, answers(suite, failed=first(3), pinned_failed=first(3)), comparison=BESIDE)
    assert (PASSED, (), ()) == (verdict.outcome, verdict.lost, verdict.won)


def test_the_same_over_few_cases_is_not_decided() -> None:
    suite = suite_of(MARGIN, talk=15)
    verdict = judge(suite, answers(suite, pinned_failed=()), comparison=BESIDE)
    assert (INCONCLUSIVE, 58) == (verdict.outcome, verdict.gates[0].more)
    assert "level with the pinned version over 15 cases, interval -0.20 to +0.20" in verdict.reasons[0]


def test_a_version_that_is_clearly_behind_fails_and_one_that_may_be_is_not_decided() -> None:
    suite = suite_of(MARGIN, talk=200)
    behind = judge(suite, answers(suite, failed=first(40), pinned_failed=()), comparison=BESIDE)
    assert (FAILED, [FAILED]) == (behind.outcome, outcomes(behind))
    assert "0.20 behind the pinned version" in behind.reasons[0]
    perhaps = judge(suite, answers(suite, failed=first(6), pinned_failed=()), comparison=BESIDE)
    assert INCONCLUSIVE == perhaps.outcome
    assert perhaps.gates[0].more


def test_lost_cases_are_counted_and_named_however_many_were_won() -> None:
    suite = suite_of(LOST, talk=40)
    results = answers(suite, failed=first(6), pinned_failed=first(20)[6:])
    verdict = judge(suite, results, comparison=BESIDE)
    assert (FAILED, 6, 14) == (verdict.outcome, len(verdict.lost), len(verdict.won))
    assert (
        "6 cases lost that the pinned version gets right (talk-000, talk-001, talk-002 and 3 more)"
        in (verdict.reasons[0])
    )
    fewer = judge(suite, answers(suite, failed=first(5), pinned_failed=()), comparison=BESIDE)
    assert PASSED == fewer.outcome


def test_three_lost_cases_are_invisible_to_significance_and_stand_in_the_list() -> None:
    suite = suite_of(LOST, talk=29)
    verdict = judge(suite, answers(suite, failed=first(3), pinned_failed=()), comparison=BESIDE)
    compared = verdict.gates[0].compared
    assert compared is not None
    assert (0.25, ("talk-000", "talk-001", "talk-002")) == (compared.p_value, compared.lost)


@pytest.mark.parametrize("gate", [MARGIN, LOST])
def test_a_pinned_version_that_was_not_measured_leaves_it_undecided(gate: str) -> None:
    suite = suite_of(gate, talk=200)
    missing = Comparison(NOT_MEASURED, "demo/tiny@1 is pinned and was not served beside it")
    verdict = judge(suite, answers(suite), comparison=missing)
    assert INCONCLUSIVE == verdict.outcome
    assert "demo/tiny@1 is pinned and was not served beside it" in verdict.reasons[0]


def test_where_nothing_is_pinned_there_is_nothing_to_compare_and_the_report_says_so() -> None:
    suite = suite_of(f"{MARGIN}\n{TTFT}", talk=40, settings=STREAMED)
    verdict = judge(
        suite,
        answers(suite, change=lambda attempt: replace(attempt, ttft_ms=30)),
        comparison=Comparison(NOTHING_TO_COMPARE, "team serves no version of demo/tiny yet"),
    )
    assert PASSED == verdict.outcome
    assert ["compared with nothing: team serves no version of demo/tiny yet"] * 2 == [
        gate.note for gate in verdict.gates
    ]


def test_an_answer_of_the_pinned_version_that_is_missing_is_no_pair() -> None:
    suite = suite_of(MARGIN, talk=200)
    whole = answers(suite, pinned_failed=())
    gone = Results(
        tuple(one for one in whole.attempts if (one.side, one.case) != (BASELINE, "talk-007")), (), None
    )
    verdict = judge(suite, gone, comparison=BESIDE)
    assert INCONCLUSIVE == verdict.outcome
    assert "1 case without an answer of one" in verdict.reasons[0]


def test_a_pinned_engine_that_breaks_off_says_nothing_about_the_candidate() -> None:
    suite = suite_of(MARGIN, talk=20)

    def broken(attempt: Attempt) -> Attempt:
        if attempt.side != BASELINE:
            return attempt
        return replace(attempt, outcome="trouble", trouble="unreachable", reasons=("no connection",))

    verdict = judge(suite, answers(suite, pinned_failed=(), change=broken), comparison=BESIDE)
    assert INCONCLUSIVE == verdict.outcome
    assert verdict.reasons[0].startswith("the pinned version's engine broke off 20 requests")


# -- speed ------------------------------------------------------------------------------------------------


def timed(own: int, pinned: int) -> dict[str, int]:
    return {"candidate": own, "baseline": pinned}


@pytest.mark.parametrize(
    ("own", "pinned", "outcome", "said"),
    [
        (100, 90, PASSED, ""),
        (1600, 1600, FAILED, "1600 over 30 requests, at most 1500 demanded"),
        (130, 100, FAILED, "130 against 100 of the pinned version, 1.30 times, at most 1.25 allowed"),
        (0, 0, PASSED, ""),
    ],
)
def test_a_time_has_a_ceiling_and_a_ratio(own: int, pinned: int, outcome: str, said: str) -> None:
    suite = suite_of(f"{EVERY_CASE}\n{TTFT}", talk=30, settings=STREAMED)
    ttft = timed(own, pinned)
    results = answers(suite, pinned_failed=(), change=lambda one: replace(one, ttft_ms=ttft[one.side]))
    verdict = judge(suite, results, comparison=BESIDE)
    assert outcome == verdict.outcome
    assert said in " ".join(verdict.reasons)


def test_one_slow_request_in_twenty_is_within_95_per_cent_and_two_are_not() -> None:
    suite = suite_of(f"{EVERY_CASE}\nperf.ttft_p95_ms = {{ max = 50 }}", talk=20, settings=STREAMED)

    def slow(names: list[str]) -> Results:
        return answers(suite, change=lambda one: replace(one, ttft_ms=900 if one.case in names else 10))

    assert (PASSED, FAILED) == (judge(suite, slow(first(1))).outcome, judge(suite, slow(first(2))).outcome)


def test_a_quantile_of_few_requests_is_none() -> None:
    suite = suite_of(f"{EVERY_CASE}\n{TTFT}", talk=7, settings=STREAMED)
    verdict = judge(suite, answers(suite, change=lambda one: replace(one, ttft_ms=10)))
    assert INCONCLUSIVE == verdict.outcome
    assert "7 requests measured, 20 are needed for this figure: collect 13 more" in verdict.reasons[0]


def test_tokens_per_second_are_counted_from_the_first_token_on() -> None:
    """41 tokens, the first after 200 ms, all after 1,200: 40 in a second."""
    suite = suite_of(
        f'{EVERY_CASE}\nperf.out_tok_s_p50 = {{ min = 40, vs = "pinned", min_ratio = "0.8" }}',
        talk=6,
        settings=STREAMED,
    )
    spent = timed(1200, 1000)
    results = answers(
        suite,
        pinned_failed=(),
        change=lambda one: replace(one, ttft_ms=200, milliseconds=spent[one.side], output_tokens=41),
    )
    verdict = judge(suite, results, comparison=BESIDE)
    gate = verdict.gates[1]
    assert (PASSED, Fraction(40), Fraction(50)) == (verdict.outcome, gate.figure, gate.baseline_figure)


# -- set aside by decision --------------------------------------------------------------------------------


def test_a_case_set_aside_is_shown_and_counts_in_no_quality_gate() -> None:
    suite = suite_of('cases.pass_rate = { min = "1.0" }', talk=10)
    results = answers(suite, failed=["talk-003"])
    assert FAILED == judge(suite, results).outcome
    verdict = judge(suite, results, quarantined={"talk-003"})
    assert (PASSED, 9, 9) == (verdict.outcome, verdict.gates[0].good, verdict.gates[0].counted)
    assert [("talk-003", True, False)] == [
        (case.case.id, case.quarantined, case.passed) for case in verdict.cases if not case.passed
    ]


def test_setting_everything_aside_decides_nothing() -> None:
    suite = suite_of(EVERY_CASE, talk=2)
    verdict = judge(suite, answers(suite), quarantined=set(first(2)))
    assert INCONCLUSIVE == verdict.outcome
    assert "every case that it counts is set aside by decision" in verdict.reasons[0]


def test_a_broken_contract_cannot_be_set_aside() -> None:
    suite = suite_of(f'{EVERY_CASE}\ncontract.parse_rate = {{ min = "1.0" }}', calls=4)
    results = answers(suite, change=lambda one: replace(one, parsed=False) if one.case == "call-001" else one)
    verdict = judge(suite, results, quarantined={"call-001"})
    assert FAILED == verdict.outcome
    assert "gate contract.parse_rate: 3 of 4 cases, at least 1.0 demanded" in verdict.reasons


# -- surfaces ---------------------------------------------------------------------------------------------


def test_a_surface_has_its_own_gate() -> None:
    suite = suite_of(
        f'{EVERY_CASE}\nsurface.chat = {{ min = "1.0" }}\nsurface.responses = {{ min = "1.0" }}',
        talk=3,
        settings='surfaces = ["chat", "responses"]',
    )
    spoiled = answers(
        suite,
        change=lambda one: (
            replace(one, outcome="failed", reasons=("no",))
            if (one.surface, one.case) == ("responses", "talk-000")
            else one
        ),
    )
    verdict = judge(suite, spoiled)
    assert {"cases.pass_rate": HELD, "surface.chat": HELD, "surface.responses": FAILED} == {
        gate.metric: gate.outcome for gate in verdict.gates
    }


# -- the law ----------------------------------------------------------------------------------------------

ALL_GATES = """
cases.pass_rate = { min = "0.60", interval = "wilson95", vs = "pinned", margin = "0.4", lost_cases_max = 3 }
contract.parse_rate = { min = "1.0" }
contract.args_valid_rate = { min = "1.0" }
perf.seconds_p95 = { max = 5, vs = "pinned", max_ratio = "3" }"""
SUITE = suite_of(ALL_GATES, talk=14, calls=10)
WHOLE = answers(SUITE, pinned_failed=()).attempts
HARM = st.sampled_from(["drop", "fail", "trouble", "unparsed", "invalid", "double", "slow"])


def harmed(attempt: Attempt, how: str) -> list[Attempt]:
    changed = {
        "drop": [],
        "double": [attempt, attempt],
        "fail": [replace(attempt, outcome="failed", reasons=("no",))],
        "trouble": [replace(attempt, outcome="trouble", trouble="too-slow", reasons=("late",))],
        "unparsed": [replace(attempt, parsed=False)],
        "invalid": [replace(attempt, valid=False)],
        "slow": [replace(attempt, milliseconds=9_000)],
    }
    return changed[how]


@given(
    harm=st.dictionaries(st.integers(0, len(WHOLE) - 1), HARM, max_size=8),
    comparison=st.sampled_from([ALONE, BESIDE, Comparison(NOT_MEASURED, "not served")]),
    quarantined=st.sets(st.sampled_from([*first(4), "call-000"])),
)
def test_passed_means_that_every_attempt_is_there_the_contract_is_kept_and_nothing_is_undecided(
    harm: dict[int, str], comparison: Comparison, quarantined: set[str]
) -> None:
    attempts = [
        made
        for number, one in enumerate(WHOLE)
        for made in (harmed(one, harm[number]) if number in harm else [one])
    ]
    verdict = judge(SUITE, Results(tuple(attempts), (), None), comparison=comparison, quarantined=quarantined)
    if verdict.outcome == PASSED:
        assert all(gate.outcome == HELD for gate in verdict.gates)
        assert all(case.complete for case in verdict.cases)
        contract = [gate for gate in verdict.gates if gate.metric in (CALLS_PARSED, ARGS_VALID)]
        assert all(gate.good == gate.counted == 10 for gate in contract)
        assert comparison.state != NOT_MEASURED
        assert () == verdict.reasons
    else:
        assert verdict.reasons
    if not harm and comparison == BESIDE and not quarantined:
        assert PASSED == verdict.outcome


@given(doubts=st.lists(st.text(min_size=1), max_size=2), problems=st.lists(st.text(min_size=1), max_size=2))
def test_any_doubt_about_the_engine_and_any_problem_of_the_run_blocks(
    doubts: list[str], problems: list[str]
) -> None:
    suite = suite_of(EVERY_CASE, talk=2)
    verdict = judge(suite, replace(answers(suite), problems=tuple(problems)), engine=doubts)
    assert (INCONCLUSIVE if doubts else FAILED if problems else PASSED) == verdict.outcome
