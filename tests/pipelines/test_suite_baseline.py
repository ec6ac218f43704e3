"""A candidate beside the version that the tier serves: two engines in one run, and what the registry knows of cases.

The engines are the faulty ones of these tests; both of them say which file they have loaded, and it is hashed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines.decide import record_decision, request_decision
from pipelines.people import Wanted, set_person
from pipelines.suites import run as running
from pipelines.suites.flips import count_flips, past_bodies
from pipelines.suites.format import Suite
from pipelines.suites.held import find_report
from pipelines.suites.journal import RUNS, RunUnderWay, journal
from pipelines.suites.parent import Done, Ended
from pipelines.suites.plan import Side
from pipelines.suites.refusals import DocumentAltered
from pipelines.suites.run import EngineNotNamed, SuiteRun
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.decisions import NAMESPACE, Kind
from registry.entities import Document, Pin, Report, Version
from registry.errors import NotFound
from signing.sshsig import public_key_line, sign
from signing.times import rfc3339
from tests.pipelines.faulty_engine import FaultyEngine, completion, faulty_engine, well_behaved
from tests.pipelines.test_suite_format import HELLO, TOML, WEATHER
from tests.pipelines.test_suite_run import PROFILE, Bench, asked_by_a_case, document, version_of
from tests.pipelines.verdicts import answers

TIER = "team"
CASES = [HELLO | {"id": f"hello-{number}"} for number in range(3)] + [
    WEATHER | {"messages": [{"role": "user", "content": "What is the weather in Oslo?"}]}
]
SETTLED = TOML.replace("cases = 2", "cases = 4")
LOST = SETTLED.replace(
    'cases.pass_rate = { min = "0.5" }',
    'cases.pass_rate = { min = "0.5", vs = "pinned", lost_cases_max = 0 }',
)


@dataclass
class Tier:
    """A tier that serves version 1 of a model, the candidate version 2, and an engine for each."""

    bench: Bench
    old: Version
    candidate: FaultyEngine
    pinned: FaultyEngine
    suite: Document

    def run(self, **settings: Any) -> SuiteRun:
        settled = {"tier": TIER, "baseline_endpoint": self.pinned.url} | settings
        return self.bench.run(self.candidate.url, self.suite, **settled)


def engine_of(weights: Path) -> dict[str, str]:
    return {"build_info": "b7-abc", "model_path": str(weights / "model.gguf"), "chat_template": "x"}


def pin(work: Workplace, version: Version, profile: Document, *, position: int = 1) -> None:
    row = Pin(
        tier=TIER, model=version.model, position=position, kind="promote", version=version.digest,
        ordinal=version.ordinal, contract=None, profile=profile.digest, router=None, evidence="[]",
        reason="the first", since=rfc3339(work.now), actor=work.actor,
    )  # fmt: skip
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.PROMOTED, version.digest, row)


@pytest.fixture
def tier(workplace: Workplace, tmp_path: Path) -> Iterator[Tier]:
    versions = []
    profile = document(workplace, "engine-profile", PROFILE)
    for number, name in enumerate(("old", "new"), start=1):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.gguf").write_bytes(b"GGUF " + name.encode())
        version = version_of(tmp_path / name)
        versions.append(Version(**version.model_dump() | {"ordinal": number}))
    with workplace.store.change(actor="ines", now=workplace.now) as change:
        change.record(EventKind.VERSION_ADDED, versions[0].digest, versions[0])
        change.record(EventKind.VERSION_ADDED, versions[1].digest, versions[1])
        change.record(EventKind.CONTRACT_ADDED, profile.digest, profile)
    pin(workplace, versions[0], profile)
    bench = Bench(workplace, versions[1], profile, tmp_path)
    with (
        faulty_engine(props=engine_of(tmp_path / "new")) as candidate,
        faulty_engine(props=engine_of(tmp_path / "old")) as pinned,
    ):
        yield Tier(bench, versions[0], candidate, pinned, bench.add("compared", *CASES, toml=LOST))


class Quick:
    """In place of the child process, where it is of no matter that engines are really asked: cases that go wrong."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.pinned_failed: list[str] = []
        self.sides: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, _scratch: Path, suite: Suite, *, sides: Sequence[Side], **_settings: Any) -> Done:
        self.sides = [side.name for side in sides]
        self.meanwhile()
        made = answers(
            suite, failed=self.failed, pinned_failed=self.pinned_failed if len(sides) > 1 else None
        )
        return Done(made, Ended(0, None), None)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Quick:
    child = Quick()
    monkeypatch.setattr(running, "run_child", child)
    return child


def silent_on(word: str) -> Callable[[dict[str, Any]], Any]:
    """Answer well, but say nothing where the question has this word."""

    def answer(body: dict[str, Any]) -> Any:
        if asked_by_a_case(body) and word in body["messages"][-1]["content"]:
            return completion("")
        return well_behaved(body)

    return answer


def body_of(run: SuiteRun) -> Any:
    return json.loads(run.report.body)


# -- beside the pinned version ----------------------------------------------------------------------------


def test_two_versions_are_asked_the_same_in_turns_and_the_report_binds_both(tier: Tier) -> None:
    run = tier.run(node="x86_64/2 cores/24 GiB")
    assert ("PASSED", ()) == (run.outcome, run.verdict.reasons)
    body = body_of(run)
    assert (TIER, "x86_64/2 cores/24 GiB", "measured") == (
        body["tier"],
        body["node"],
        body["comparison"]["state"],
    )
    assert (tier.old.digest, "proven") == (
        body["baseline"]["version"]["digest"],
        body["baseline"]["identity"],
    )
    assert "b7-abc" == body["fingerprint"]["build"]
    assert (4, 4) == (body["metrics"]["candidate"]["requests"], body["metrics"]["pinned"]["requests"])
    assert [body["messages"] for body in tier.candidate.questions] == [
        body["messages"] for body in tier.pinned.questions
    ]
    statement = json.loads(run.statement.payload)
    assert statement["predicate"]["failedTests"] == statement["predicate"]["warnedTests"] == []


def test_a_case_that_only_the_pinned_version_gets_right_is_lost_with_both_transcripts(tier: Tier) -> None:
    tier.candidate.answer = silent_on("Hello")
    run = tier.run()
    assert "FAILED" == run.outcome
    body = body_of(run)
    assert (["hello-0", "hello-1", "hello-2"], []) == (body["lost"], body["won"])
    case = body["cases"][0]
    assert ("failed", "passed") == (case["outcome"], case["pinned"]["outcome"])
    assert "ok" in " ".join(case["pinned"]["attempts"][0]["messages"])
    assert any("3 cases lost that the pinned version gets right" in reason for reason in body["reasons"])


def test_a_won_case_is_told_too(tier: Tier, quick: Quick) -> None:
    quick.pinned_failed = ["hello-0", "hello-1", "hello-2"]
    run = tier.run()
    assert ("PASSED", 3) == (run.outcome, len(body_of(run)["won"]))


def undecided(run: SuiteRun, why: str) -> bool:
    gate = next(gate for gate in body_of(run)["gates"] if gate["metric"] == "cases.pass_rate")
    return (run.outcome, gate["outcome"]) == ("INCONCLUSIVE", "INCONCLUSIVE") and why in " ".join(
        run.verdict.reasons
    )


def test_a_pinned_version_that_nobody_serves_leaves_comparisons_undecided(tier: Tier, quick: Quick) -> None:
    assert undecided(tier.run(baseline_endpoint=None), "demo/tiny@1 is pinned and was not served beside it")


def test_an_engine_that_serves_something_else_is_no_baseline(tier: Tier, quick: Quick) -> None:
    """The address is right, the name is right, and the file is the candidate's."""
    tier.pinned.props = engine_of(tier.bench.folder / "new")
    assert undecided(tier.run(), "the engine of demo/tiny@1: another model is served")
    assert ["candidate"] == quick.sides


def test_an_engine_that_proves_nothing_is_no_baseline(tier: Tier, quick: Quick) -> None:
    tier.pinned.props = {"build_info": "b7-abc"}
    assert undecided(tier.run(), "nothing proves that")
    assert ["candidate"] == quick.sides


def test_an_engine_of_another_profile_than_the_pin_is_no_baseline(tier: Tier, quick: Quick) -> None:
    assert tier.pinned.props is not None
    tier.pinned.props["build_info"] = "b9-abc"
    assert undecided(tier.run(), "profile-mismatch")


def test_a_baseline_that_is_gone_is_no_baseline(tier: Tier, quick: Quick) -> None:
    assert undecided(tier.run(baseline_endpoint="http://127.0.0.1:9"), "no connection")


def test_a_baseline_that_is_exchanged_during_the_run_makes_it_inconclusive(tier: Tier, quick: Quick) -> None:
    def swap() -> None:
        tier.pinned.props = engine_of(tier.bench.folder / "new")

    quick.meanwhile = swap
    run = tier.run()
    assert "INCONCLUSIVE" == run.outcome
    assert "the pinned version's: the engine was exchanged" in run.verdict.reasons[0]


def test_a_tier_that_serves_the_candidate_itself_has_nothing_to_compare(tier: Tier, quick: Quick) -> None:
    with tier.bench.work.store.view() as view:
        profile = view.document_by_digest(str(view.pins()[0].profile))
    assert profile is not None
    pin(tier.bench.work, tier.bench.version, profile, position=2)
    run = tier.run()
    assert ("PASSED", "nothing-to-compare") == (run.outcome, body_of(run)["comparison"]["state"])
    assert "team serves this very version" in str(body_of(run)["gates"][1]["note"])
    assert ["candidate"] == quick.sides


def test_an_endpoint_suite_without_an_engine_is_refused(tier: Tier) -> None:
    with pytest.raises(EngineNotNamed):
        running.run_suite(
            tier.bench.work,
            tier.suite,
            tier.bench.version,
            document(tier.bench.work, "tool-contract", _CONTRACT),
            document(tier.bench.work, "engine-profile", PROFILE),
        )


_CONTRACT = {
    "format": "tidegate-tool-contract/1", "name": "demo", "surfaces": ["chat"], "context": 2048,
    "emission": {"family": "hermes", "template_sha256": None}, "tools": [],
}  # fmt: skip


# -- flips, and cases set aside ---------------------------------------------------------------------------


def flickering() -> Callable[[dict[str, Any]], Any]:
    """Answer every second greeting with silence."""
    turn = iter(range(10_000))

    def answer(body: dict[str, Any]) -> Any:
        if asked_by_a_case(body) and "Hello" in body["messages"][-1]["content"] and next(turn) % 2:
            return completion("")
        return well_behaved(body)

    return answer


def test_a_case_that_flips_between_repeats_is_told_in_its_report(tier: Tier) -> None:
    tier.suite = tier.bench.add("twice", *CASES, toml=SETTLED.replace("repeats = 1", "repeats = 2"))
    tier.candidate.answer = flickering()
    flips = body_of(tier.run())["flips"]
    assert [("hello-0", 2, 1, 1, 1)] == [
        (one["case"], one["asked"], one["right"], one["flipped"], one["runs"]) for one in flips[:1]
    ]


def test_flips_are_counted_over_past_reports_of_the_same_version(tier: Tier, quick: Quick) -> None:
    greetings = ["hello-0", "hello-1", "hello-2"]
    for quick.failed in ([], greetings):
        tier.run()
    quick.failed = []
    flips = {one["case"]: one for one in body_of(tier.run())["flips"]}
    assert (3, 2, 1, 3) == tuple(flips["hello-1"][key] for key in ("asked", "right", "flipped", "runs"))
    assert "weather" not in flips
    with tier.bench.work.store.view() as view:
        found = count_flips(past_bodies(view, tier.suite.digest))
    assert ["0.333", "0.333", "0.333", "0.000"] == [one.rate for one in found]


def test_another_version_that_answers_otherwise_is_no_flip() -> None:
    def body(version: str, outcome: str) -> dict[str, Any]:
        attempt = {"outcome": outcome, "surface": "chat", "stream": False}
        return {
            "version": {"digest": version},
            "profile": {"digest": "p"},
            "cases": [{"id": "a", "attempts": [attempt]}],
        }

    assert [False] == [one.flaky for one in count_flips([body("1", "passed"), body("2", "failed")])]
    assert [True] == [one.flaky for one in count_flips([body("1", "passed"), body("1", "failed")])]
    assert [] == count_flips([body("1", "trouble")])


def steward(work: Workplace) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    set_person(work, Wanted("sam", public_key_line(key), ("steward",)))
    return key


def test_only_a_stewards_signed_decision_sets_a_case_aside(tier: Tier, quick: Quick) -> None:
    tier.suite = tier.bench.add("strict", *CASES, toml=SETTLED.replace('"0.5"', '"1.0"'))
    quick.failed = ["hello-0", "hello-1", "hello-2"]
    assert "FAILED" == tier.run().outcome
    work, key = tier.bench.work, steward(tier.bench.work)
    for number in range(3):
        subject = f"{tier.suite.name}/hello-{number}"
        payload = request_decision(work, Kind.QUARANTINE_CASE, subject, "sam", reason="flaky since October")
        signature = sign(payload, namespace=NAMESPACE, private_key=key)
        record_decision(work, "sam", payload=payload, signature=signature)
    run = tier.run()
    body = body_of(run)
    assert ("PASSED", 3) == (run.outcome, body["counts"]["failed"])
    assert [("hello-0", "sam", "flaky since October")] == [
        (one["case"], one["person"], one["reason"]) for one in body["quarantined"][:1]
    ]
    predicate = json.loads(run.statement.payload)["predicate"]
    assert ["case:hello-0", "case:hello-1", "case:hello-2"] == predicate["warnedTests"]
    assert [] == predicate["failedTests"]


# -- killed and resumed -----------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the parent's life."""


def test_a_run_that_was_killed_goes_on_where_it_was(tier: Tier) -> None:
    def stop(done: int, _total: int) -> None:
        if done >= 4:
            raise Killed

    with pytest.raises(Killed):
        tier.run(progress=stop)
    before = len(tier.candidate.questions) + len(tier.pinned.questions)
    run = tier.run(resume=True)
    both = len(tier.candidate.questions) + len(tier.pinned.questions)
    assert ("PASSED", True) == (run.outcome, body_of(run)["resumed"])
    assert both < before + 8  # what was answered before was not asked again
    assert not list((tier.bench.work.home.path / RUNS).glob("*/journal.jsonl"))


def test_what_a_killed_run_left_is_gone_on_with_only_when_somebody_says_so(tmp_path: Path) -> None:
    said = ("small", "demo/tiny@2")
    with pytest.raises(Killed), journal(tmp_path, ["a"], resume=False, said=said) as first:
        first.path.write_text("what was found")
        raise Killed
    with journal(tmp_path, ["a"], resume=False, said=said) as anew:
        assert (False, False) == (anew.resumed, anew.path.exists())
    with pytest.raises(Killed), journal(tmp_path, ["a"], resume=True, said=said) as second:
        second.path.write_text("what was found")
        raise Killed
    with journal(tmp_path, ["a"], resume=True, said=said) as third:
        assert (True, "what was found") == (third.resumed, third.path.read_text())
    assert [] == list((tmp_path / RUNS).iterdir())


def test_the_same_run_twice_at_once_is_refused(tmp_path: Path) -> None:
    with journal(tmp_path, ["a"], resume=False, said=("small", "demo/tiny@2")):
        with (
            pytest.raises(RunUnderWay, match="small on demo/tiny@2"),
            journal(tmp_path, ["a"], resume=False, said=("small", "demo/tiny@2")),
        ):
            pass
        with journal(tmp_path, ["b"], resume=False, said=("small", "demo/tiny@3")) as other:
            assert not other.resumed


# -- found again ------------------------------------------------------------------------------------------


def test_a_report_is_found_by_its_first_digits_and_checked(tier: Tier, quick: Quick) -> None:
    run = tier.run()
    with tier.bench.work.store.view() as view:
        row, body = find_report(view, run.report.digest[:10].upper())
        assert (run.report.digest, "PASSED") == (row.digest, body["outcome"])
        for wanted in ("ffffffff", run.report.digest[:4], ""):
            with pytest.raises(NotFound):
                find_report(view, wanted)


def test_a_report_that_was_edited_is_not_shown(
    tier: Tier, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tier.run()
    with tier.bench.work.store.view() as view:
        row = view.reports(tier.bench.version.digest)[0]
        edited = Report(**row.model_dump() | {"body": row.body.replace('"PASSED"', '"FAILED"')})
        monkeypatch.setattr(view, "reports", lambda digest: [edited] if digest == row.version else [])
        with pytest.raises(DocumentAltered):
            find_report(view, run.report.digest)
