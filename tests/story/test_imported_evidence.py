"""Evidence from outside never opens a gate here, however well it is signed (DESIGN section 8, promise 9).

The origin of this story lies. It holds every key that an origin has, its bundle is flawless, and it sends all that a
promotion needs, made out to this very site, tier, suite, contract and profile: a passed run, a summary of a passed
gate, an approval by a steward, a pin. The site keeps all of it as claims, shows it, and counts none of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.account import account
from pipelines.agreements import add_document
from pipelines.case import Case, case
from pipelines.evidence import signed_statement
from pipelines.promote import promote
from pipelines.routers import set_router
from pipelines.suites import BUILTIN
from pipelines.suites.run import add_suite
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.gate import GateClosed
from registry.names import Ref
from signing import statements, summaries
from tests.pipelines.gap import SITE, World, make_world, model_files

DEMO = Path(__file__).parents[2] / "demo"
ONE = Ref.parse("acme/tiny@1")
TIER = "team"


@pytest.fixture
def gap(tmp_path: Path) -> World:
    """A site that has a suite, a contract, a profile and a router; the version is only on its way."""
    made = make_world(tmp_path / "world")
    made.add(ONE.model, model_files())
    with made.at(made.site) as work:
        add_suite(work, BUILTIN / "tool-basics")
        router, profile = (_held(work, name) for name in ("router-contract-v1", "engine-profile-hermes"))
        set_router(work, TIER, router=router, profile=profile)
    return made


def _held(work: Workplace, name: str) -> str:
    return add_document(work, (DEMO / "contracts" / f"{name}.json").read_bytes())[0].digest


def forged(gap: World) -> Iterator[dict[str, Any]]:
    """All that a gate of the site asks for, as the site itself would say it."""
    with gap.at(gap.site) as work, work.store.view() as view:
        suite = view.document("suite", "tool-basics").digest
        setting = view.router(TIER)
        assert setting is not None
    with gap.at(gap.origin) as work, work.store.view() as view:
        subject = [(str(ONE), view.version(ONE).digest)]
    bound = [("suite:tool-basics", suite), ("profile:hermes", setting.profile), ("report", "0f" * 32)]
    yield from statements.validation(
        subject,
        outcome="PASSED",
        configuration=bound,
        passed=["gate:passed"],
        warned=[],
        failed=[],
        metrics={"tier": TIER},
        report="0f" * 32,
        made_by="vera",
        made_at=gap.now,
    )
    yield statements.approval(
        subject,
        request={"tier": TIER, "site": SITE, "decision": "approve"},
        payload="0e" * 32,
        person="alice",
        fingerprint="SHA256:alice",
        recorded_at=gap.now,
    )
    yield summaries.vsa(
        subject,
        verifier=SITE,
        tool_version="1.0",
        resource=f"tidegate://{SITE}/{TIER}/{ONE.model}",
        policy=(f"urn:tidegate:policy:{TIER}", "0d" * 32),
        inputs=["0f" * 32],
        passed=True,
        levels=[f"TIDEGATE_TIER_{TIER.upper()}"],
        at=gap.now,
    )
    yield statements.pin(
        subject,
        tier=TIER,
        model=ONE.model,
        position=1,
        kind="promote",
        previous=None,
        state={"profile": setting.profile, "router": setting.router},
        evidence=["0f" * 32],
        reason="all green",
        actor="ines",
        at=gap.now,
    )


def send(gap: World, *, made: list[dict[str, Any]]) -> None:
    """The origin signs what it made up and ships it with the version."""
    with gap.at(gap.origin) as work:
        rows = [signed_statement(work, one) for one in made]
        with work.store.change(actor="oda", now=work.now) as change:
            change.record(EventKind.SUITE_RUN, rows[0].subject, *rows)
    gap.receive(gap.ship(str(ONE)))


@contextmanager
def judged(gap: World) -> Iterator[tuple[Workplace, Case]]:
    with gap.at(gap.site) as work:
        with work.store.view() as view:
            found = case(work, view, ONE, TIER)
        yield work, found


def test_a_flawless_bundle_full_of_lies_opens_no_gate(gap: World) -> None:
    lies = list(forged(gap))
    send(gap, made=lies)
    with judged(gap) as (work, found):
        assert {"suite tool-basics", "approvals"} <= {item.check for item in found.against}
        with pytest.raises(GateClosed):
            promote(work, ONE, TIER, reason="the origin says that it is fine")
        with work.store.view() as view:
            digest = found.version.digest
            assert [] == view.pins()
            assert [] == view.approvals(digest)
            assert ["scan"] == [row.kind for row in view.reports(digest)], "the scan was made here"
            assert {one["predicateType"] for one in lies} <= {
                statement.predicate
                for claim in view.claims(digest)
                if (statement := view.statement(claim.statement)) is not None
            }


def test_the_gate_says_the_same_with_the_lies_and_without_them(gap: World, tmp_path: Path) -> None:
    send(gap, made=list(forged(gap)))
    honest = make_world(tmp_path / "honest")
    honest.add(ONE.model, model_files())
    with honest.at(honest.site) as work:
        add_suite(work, BUILTIN / "tool-basics")
        router, profile = (_held(work, name) for name in ("router-contract-v1", "engine-profile-hermes"))
        set_router(work, TIER, router=router, profile=profile)
    honest.receive(honest.ship(str(ONE)))
    with judged(gap) as (_, lied), judged(honest) as (_, plain):
        assert [(one.check, one.ok) for one in plain.findings] == [
            (one.check, one.ok) for one in lied.findings
        ]


def test_what_was_claimed_is_shown_as_claimed(gap: World) -> None:
    send(gap, made=list(forged(gap)))
    with judged(gap) as (work, _):
        told = account(work, ONE)
    assert "Claimed from outside (never enough for a gate here)" in told.text
    assert {summaries.VSA, statements.APPROVAL, statements.TEST_RESULT} <= {
        claim["predicate"] for claim in told.document["claims"]
    }
    assert [] == told.document["approvals"]
    assert [] == told.document["validations"]
    assert [] == told.document["served"]
