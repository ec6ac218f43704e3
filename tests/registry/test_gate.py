"""The gate: green facts open it, and each check on its own closes it."""

import dataclasses
from typing import Any

import pytest

from registry.break_glass import BreakGlassRefused, overridden
from registry.gate import GateClosed, judge
from registry.gate_facts import ContractFact, EngineFact, Facts, Finding, MemoryFact, ScanFact, SuiteFact
from registry.policy import DEFAULTS, Policy

ORG = DEFAULTS[2]
LLAMA = EngineFact("llama-server", "b8000")
ADVISED = EngineFact("llama-server", "b8000", (("CVE-2026-27940", "block", "overflow in the reader"),))
COMPATIBLE = ContractFact("compatible", (), (), ("c" * 64,))
PASSED = SuiteFact(
    "tool-basics", "5" * 64, "e" * 64, "PASSED", same_contract=True, same_profile=True, identity_proven=True
)
GREEN = Facts(
    ref="qwen/qwen3-8b@2",
    tier="org",
    policy=ORG,
    withdrawn=None,
    brought_by="20261120-07",
    verified_bundle=True,
    taken_in_here=False,
    age_days=3,
    scan=ScanFact("5" * 64, "PASSED", ()),
    licence="stated",
    formats=("safetensors",),
    size=10**9,
    contract=COMPATIBLE,
    way_back=COMPATIBLE,
    suites=(PASSED,),
    served_in=frozenset({"team"}),
    approved_by=("alice", "bob"),
    approvals_refused=(),
    approval_evidence=("a" * 64, "b" * 64),
    approvals_needed=2,
    single_person=False,
)
CHECKS = [
    "withdrawn", "trust", "freshness", "scan", "licence", "formats", "memory", "engine", "contract", "way back",
    "companions", "suite tool-basics", "lower tier", "approvals", "rejections",
]  # fmt: skip


def facts(**changes: Any) -> Facts:
    return dataclasses.replace(GREEN, **changes)


def rules(**changes: Any) -> Policy:
    return dataclasses.replace(ORG, **changes)


def suite(**changes: Any) -> tuple[SuiteFact]:
    return (dataclasses.replace(PASSED, **changes),)


def broken(verdict: str) -> ContractFact:
    return ContractFact(verdict, ("search: `limit` is required now",), ("Set router 2 first.",), ("d" * 64,))


def test_when_everything_holds_the_gate_is_open_and_says_why() -> None:
    findings = judge(GREEN)
    assert CHECKS == [finding.check for finding in findings]
    assert [] == [finding for finding in findings if not finding.ok]
    assert all(finding.message for finding in findings)


@pytest.mark.parametrize(
    ("check", "closed", "said"),
    [
        ("withdrawn", facts(withdrawn="leaks prompts"), "leaks prompts"),
        ("trust", facts(verified_bundle=False), "nothing says where it came from"),
        ("freshness", facts(age_days=91), "91 days old, 90 allowed"),
        ("scan", facts(scan=None), "not scanned at this home"),
        ("scan", facts(scan=ScanFact("5" * 64, "FAILED", ("a.pkl: pickle",))), "a.pkl: pickle"),
        ("licence", facts(licence="not-stated"), "not stated"),
        ("licence", facts(licence="not-readable"), "not readable"),
        ("formats", facts(formats=()), "no weights"),
        ("formats", facts(formats=("gguf", "onnx")), "onnx"),
        ("memory", facts(policy=rules(max_bytes=10**9 - 1)), "1,000,000,000 bytes"),
        ("contract", facts(contract=broken("incompatible")), "`limit` is required now"),
        ("contract", facts(contract=broken("needs-router-update")), "needs-router-update"),
        ("contract", facts(contract=broken("unknown")), "unknown"),
        ("scan", facts(scan=ScanFact("5" * 64, "PASSED", (), outdated=True)), "rules have changed"),
        ("licence", facts(policy=rules(licence="accepted"), licence_ids=("mit",)), "nobody has accepted mit"),
        ("licence", facts(policy=rules(licence="accepted")), "nobody has accepted it"),
        (
            "memory",
            facts(policy=rules(max_bytes=10**10), memory=MemoryFact(10**10 + 1, "weights + cache")),
            "weights + cache",
        ),
        ("memory", facts(memory=MemoryFact(None, "no config.json")), "no config.json"),
        ("engine", facts(policy=rules(engines=("vllm",)), engine=LLAMA), "allows vllm"),
        ("engine", facts(policy=rules(engines=("vllm",))), "nobody has said"),
        ("engine", facts(engine=ADVISED), "CVE-2026-27940"),
        ("companions", facts(policy=rules(companions=True)), "demands them"),
        ("suite tool-basics", facts(suites=suite(same_tier=False)), "another tier"),
        ("suite tool-basics", facts(policy=rules(report_days=7), suites=suite(age_days=8)), "8 days ago"),
        (
            "suite tool-basics",
            facts(policy=rules(started_here=True), suites=suite(started_here=False)),
            "by hand",
        ),
        ("contract", facts(contract=broken("")), ""),
        ("way back", facts(way_back=broken("incompatible")), "rollback would not be safe"),
        ("way back", facts(way_back=broken("unknown")), "unknown"),
        ("suite tool-basics", facts(suites=suite(suite=None)), "not held here"),
        ("suite tool-basics", facts(suites=suite(report=None)), "has not been run"),
        ("suite tool-basics", facts(suites=suite(same_contract=False)), "another tool contract"),
        ("suite tool-basics", facts(suites=suite(same_profile=False)), "nobody has said what the tier runs"),
        (
            "suite tool-basics",
            facts(suites=suite(same_profile=False), engine=LLAMA),
            "another engine profile",
        ),
        ("suite tool-basics", facts(suites=suite(outcome="FAILED", reasons=("7 of 9",))), "7 of 9"),
        ("suite tool-basics", facts(suites=suite(outcome="INCONCLUSIVE")), "INCONCLUSIVE"),
        ("suite tool-basics", facts(suites=suite(outcome="MISSING")), "MISSING"),
        ("suite tool-basics", facts(suites=suite(identity_proven=False)), "did not prove which files"),
        ("lower tier", facts(served_in=frozenset({"edge"})), "team has not served it"),
        (
            "approvals",
            facts(approved_by=("alice",), approvals_refused=("bob: expired",)),
            "not counted: bob: expired",
        ),
        ("approvals", facts(approved_by=()), "0 of 2"),
        ("rejections", facts(rejected=("carla rejected it on 2026-11-20T12:00:00Z: too slow",)), "too slow"),
    ],
)
def test_each_check_alone_closes_the_gate(check: str, closed: Facts, said: str) -> None:
    against = [finding for finding in judge(closed) if not finding.ok]

    assert [check] == [finding.check for finding in against]
    assert said in against[0].message
    assert "" != against[0].next_step
    with pytest.raises(GateClosed, match="1 of 15 checks are against"):
        raise GateClosed(closed.ref, closed.tier, judge(closed))


def test_every_check_is_shown_also_when_the_first_one_is_against() -> None:
    everything_wrong = facts(
        withdrawn="x", verified_bundle=False, age_days=999, scan=None, licence="not-stated", formats=(),
        policy=rules(max_bytes=1, companions=True, engines=("vllm",)), contract=broken("unknown"), way_back=broken("unknown"), suites=suite(report=None),
        served_in=frozenset(), approved_by=(), rejected=("carla rejected it",),
    )  # fmt: skip
    findings = judge(everything_wrong)
    assert CHECKS == [finding.check for finding in findings]
    assert not any(finding.ok for finding in findings)


@pytest.mark.parametrize(
    "open_facts",
    [
        facts(verified_bundle=False, taken_in_here=True),
        facts(age_days=None),
        facts(age_days=90),
        facts(age_days=999, policy=rules(fresh_days=None)),
        facts(scan=ScanFact("5" * 64, "WARNED", ())),
        facts(licence="not-stated", policy=rules(licence="any")),
        facts(size=128, policy=rules(max_bytes=128)),
        facts(way_back=None),
        facts(engine=LLAMA, policy=rules(engines=("llama-server",))),
        facts(engine=ADVISED, policy=rules(advisories="warn")),
        facts(memory=MemoryFact(5, "weights + cache"), policy=rules(max_bytes=5)),
        facts(policy=rules(licence="accepted"), licence_ids=("mit",), licences_accepted=frozenset({"mit"})),
        facts(companions="f" * 64, policy=rules(companions=True)),
        facts(approvals_needed=0, approved_by=(), policy=rules(mode="automatic", approvals=0)),
        facts(suites=suite(age_days=7), policy=rules(report_days=7)),
        facts(policy=rules(served_first=None), served_in=frozenset()),
        facts(suites=()),
    ],
)
def test_what_the_policy_allows_does_not_close_it(open_facts: Facts) -> None:
    assert [] == [finding for finding in judge(open_facts) if not finding.ok]


def test_each_demanded_suite_answers_for_itself() -> None:
    two = facts(suites=(PASSED, dataclasses.replace(PASSED, name="german", outcome="FAILED")))
    assert {"suite tool-basics": True, "suite german": False} == {
        finding.check: finding.ok for finding in judge(two) if finding.check.startswith("suite")
    }


def _by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_single_person_home_says_so() -> None:
    alone = facts(single_person=True, approvals_needed=1, approved_by=("alice",))
    assert "1 of 1 (single-person home): alice" == _by_check(judge(alone))["approvals"].message


def test_evidence_is_named_by_digest() -> None:
    found = {finding.check: finding.evidence for finding in judge(GREEN)}
    assert ("e" * 64,) == found["suite tool-basics"]
    assert ("a" * 64, "b" * 64) == found["approvals"]
    assert ("c" * 64,) == found["contract"]


OVERRIDABLE = [
    facts(approved_by=()),
    facts(served_in=frozenset()),
    facts(suites=suite(report=None, outcome="MISSING")),
    facts(suites=suite(age_days=9), policy=rules(report_days=7)),
    facts(suites=suite(outcome="INCONCLUSIVE")),
    facts(age_days=91),
    facts(engine=ADVISED),
]
NEVER = [
    facts(withdrawn="leaks prompts"),
    facts(verified_bundle=False),
    facts(recorded_later="2027-01-01T00:00:00Z"),
    facts(scan=ScanFact("5" * 64, "FAILED", ("a.pkl: pickle",))),
    facts(scan=None),
    facts(licence="not-stated"),
    facts(formats=("pickle",)),
    facts(size=2 * 10**12, policy=rules(max_bytes=10**12)),
    facts(engine=None, policy=rules(engines=("vllm",))),
    facts(contract=broken("incompatible")),
    facts(contract=broken("unknown")),
    facts(way_back=broken("incompatible")),
    facts(policy=rules(companions=True)),
    facts(suites=suite(outcome="FAILED", reasons=("7 of 9",))),
    facts(suites=suite(outcome="FAILED", same_contract=False)),
    facts(rejected=("carla rejected it",)),
]


@pytest.mark.parametrize("late", OVERRIDABLE)
def test_one_person_may_override_what_is_only_late(late: Facts) -> None:
    [check] = [finding.check for finding in judge(late) if not finding.ok]
    assert [check] == overridden("acme/coder@2", "org", judge(late))


@pytest.mark.parametrize("wrong", NEVER)
def test_nobody_overrides_what_was_found(wrong: Facts) -> None:
    also_late = dataclasses.replace(wrong, approved_by=())
    with pytest.raises(BreakGlassRefused, match="nobody may override"):
        overridden("acme/coder@2", "org", judge(also_late))


def test_an_open_gate_has_no_glass_to_break() -> None:
    with pytest.raises(BreakGlassRefused, match="nothing to override"):
        overridden("acme/coder@2", "org", judge(GREEN))
