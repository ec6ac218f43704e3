"""Which version a revision means and who may take it, on SQLite and PostgreSQL: the rules of `pipelines.resolving` by number."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from pipelines.intake.folder import add_folder
from pipelines.promote import withdraw
from pipelines.resolving import (
    NotPromoted,
    Puller,
    Resolved,
    RevisionUnknown,
    VersionWithdrawn,
    resolve,
    serving,
)
from pipelines.workplace import Workplace
from registry import manifests, store_pulls
from registry.audit import EventKind
from registry.entities import Removal, Version
from registry.errors import NotFound
from registry.home import Home
from registry.keeping import BytesRemoved
from registry.names import Ref
from signing.times import rfc3339
from tests.conftest import NOON
from tests.pipelines.gap import model_files
from tests.pipelines.test_materialise import add, pin
from tests.world import at_work

TINY = "acme/tiny"
ANYBODY, EDGE = Puller(), Puller(tiers=frozenset({"edge"}))


@pytest.fixture
def three(workplace: Workplace, tmp_path: Path) -> list[Version]:
    """team served 1 and serves 2; edge serves 2; nobody promoted 3."""
    versions = [add(workplace, tmp_path, seed) for seed in (1, 2, 3)]
    for number, tier in ((0, "team"), (1, "team"), (1, "edge")):
        pin(workplace, versions[number], tier)
    return versions


def ask(work: Workplace, revision: str, puller: Puller = ANYBODY, *, model: str = TINY) -> Resolved:
    with work.store.view() as view:
        return resolve(work, view, model, revision, puller)


def like(work: Workplace, version: Version, ordinal: int, *, commit: str, licence: str) -> Version:
    """The same files once more, as a complete copy of an upstream's commit."""
    upstream = manifests.Upstream("hf://Acme/Tiny", commit, complete=True)
    manifest = replace(
        manifests.decode(version.manifest.encode()),
        upstream=upstream,
        licence=manifests.Licence("stated", (licence,)),
    )
    row = Version(
        **version.model_dump(exclude={"id", "ordinal", "digest", "revision", "manifest"}),
        ordinal=ordinal,
        digest=manifest.digest,
        revision=manifest.revision,
        manifest=manifests.encode(manifest).decode(),
    )
    with work.store.change(actor="ines", now=work.now) as change:
        change.record(EventKind.VERSION_ADDED, row.digest, row)
    return row


# -- (1) what a revision means ------------------------------------------------------------------------------


def test_every_spelling_means_one_version(workplace: Workplace, three: list[Version]) -> None:
    second = three[1]
    spellings = ["team", "edge", "2", "v2", f"sha256:{second.digest[:8]}", second.digest[:8], second.digest]
    assert {second.digest} == {ask(workplace, word).version.digest for word in (*spellings, second.revision)}
    assert ["team", None] == [ask(workplace, word).tier for word in ("team", "2")]


NONSENSE = (
    "", "org", "v0", "0", "01", "V2", "sha256:", "sha256:abc", "0" * 40, "f" * 64, "master", "refs/pr/1", "../2",
    "2\n", "team ", "\0", "té", "\ud800", "2" * 10, "a" * 5000, "'; DROP TABLE pin; --", "%", "_" * 8, "5",
)  # fmt: skip


def test_anything_else_means_nothing_and_the_answer_says_what_there_is(
    workplace: Workplace, three: list[Version]
) -> None:
    for word in NONSENSE:
        with pytest.raises(RevisionUnknown, match=r"ask for edge \(serves 2\) or team \(serves 2\)"):
            ask(workplace, word)


def test_a_model_that_is_not_here(workplace: Workplace, three: list[Version]) -> None:
    for word in ("main", "team", "1", "0" * 40):
        with pytest.raises(NotFound, match="no model 'acme/other'"):
            ask(workplace, word, model="acme/other")


def test_a_prefix_of_two_digests_is_not_guessed(workplace: Workplace, three: list[Version]) -> None:
    first = three[0]
    twin = first.digest[:8] + ("0" * 56 if first.digest[8:] != "0" * 56 else "1" * 56)
    values = first.model_dump(exclude={"id", "ordinal", "digest"})
    with workplace.store.change(actor="ines", now=workplace.now) as change:
        change.record(EventKind.VERSION_ADDED, twin, Version(**values, ordinal=9, digest=twin))

    with pytest.raises(RevisionUnknown, match="more than one digest begins so"):
        ask(workplace, first.digest[:8])
    assert 1 == ask(workplace, first.digest[:20]).version.ordinal


def test_main_is_the_doors_tier_or_what_all_agree_on(workplace: Workplace, three: list[Version]) -> None:
    for word in ("main", "latest"):
        assert 2 == ask(workplace, word).version.ordinal
    pin(workplace, three[0], "edge")
    for word in ("main", "latest"):
        with pytest.raises(RevisionUnknown, match=r"ask for edge \(serves 1\) or team \(serves 2\)"):
            ask(workplace, word)
        assert "team" == ask(workplace, word, Puller(default_tier="team")).tier
        assert "edge" == ask(workplace, word, EDGE).tier
        assert "edge" == ask(workplace, word, replace(EDGE, default_tier="team")).tier
    with pytest.raises(RevisionUnknown, match="'org'"):
        ask(workplace, "main", Puller(default_tier="org"))


def test_a_commit_is_the_upstreams_where_all_of_it_was_taken(
    workplace: Workplace, three: list[Version]
) -> None:
    commit = "ab" * 20
    copy = like(workplace, three[0], 4, commit=commit, licence="mit")
    pin(workplace, copy, "team")

    assert commit == ask(workplace, commit).version.revision == ask(workplace, "team").version.revision
    with pytest.raises(
        RevisionUnknown
    ):  # 40 hex are a commit or nothing: what is answered to them has to be them
        ask(workplace, copy.digest[:40])
    assert 4 == ask(workplace, f"sha256:{copy.digest[:40]}").version.ordinal


def test_a_commit_that_was_taken_twice_is_served_as_long_as_one_may_be(
    workplace: Workplace, three: list[Version]
) -> None:
    commit = "ab" * 20
    one, two = (
        like(workplace, three[0], ordinal, commit=commit, licence=licence)
        for ordinal, licence in ((4, "mit"), (5, "apache-2.0"))
    )
    pin(workplace, one, "team")
    assert 4 == ask(workplace, commit).version.ordinal

    withdraw(workplace, Ref(TINY, ordinal=4), reason="wrong licence read")
    with pytest.raises(VersionWithdrawn):  # not "5 is not promoted": at a 403 clients go on with their cache
        ask(workplace, commit)

    pin(workplace, two, "team")
    assert 5 == ask(workplace, commit).version.ordinal


# -- (2) withdrawn ------------------------------------------------------------------------------------------


def test_a_withdrawn_version_is_nobodys(workplace: Workplace, three: list[Version]) -> None:
    withdraw(workplace, Ref(TINY, ordinal=2), reason="leaks its training data")
    for word in ("team", "2", three[1].revision, three[1].digest):
        for puller in (ANYBODY, EDGE, Puller(any_version=True)):
            with pytest.raises(
                VersionWithdrawn, match=r"acme/tiny@2 is withdrawn .*: leaks its training data"
            ):
                ask(workplace, word, puller)


# -- (3) and (4) promoted, and for whom -----------------------------------------------------------------------


def test_what_was_never_promoted_is_for_those_who_judge_it(
    workplace: Workplace, three: list[Version]
) -> None:
    with pytest.raises(NotPromoted, match=r"for edge, .*the version has no tool contract") as refused:
        ask(workplace, "3")
    assert () == refused.value.served_in
    assert 3 == ask(workplace, "3", Puller(any_version=True)).version.ordinal


def test_a_gate_that_cannot_be_asked_is_not_open(
    workplace: Workplace, three: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gate(*_: Any) -> None:
        raise NotFound("tier", "edge")

    monkeypatch.setattr("pipelines.case.case", no_gate)
    with pytest.raises(NotPromoted, match="for edge, no tier 'edge'"):
        ask(workplace, "3")


def test_who_is_bound_to_a_tier_takes_what_it_serves_or_served(
    workplace: Workplace, three: list[Version]
) -> None:
    assert 2 == ask(workplace, "2", EDGE).version.ordinal
    assert 2 == ask(workplace, "team", EDGE).version.ordinal  # the same version, by another tier's name
    with pytest.raises(NotPromoted, match="for edge, ") as refused:
        ask(workplace, "1", EDGE)
    assert ("team",) == refused.value.served_in
    pin(workplace, three[0], "edge")
    assert 1 == ask(workplace, "1", EDGE).version.ordinal
    with workplace.store.view() as view:
        assert [("edge", 1)] == [(row.tier, row.ordinal) for row in serving(view, TINY, EDGE)]
        assert ["edge", "team"] == [row.tier for row in serving(view, TINY, ANYBODY)]


# -- (5) superseded, and gone -------------------------------------------------------------------------------


def test_what_was_served_once_comes_with_a_warning(workplace: Workplace, three: list[Version]) -> None:
    since = rfc3339(workplace.now)
    assert f"superseded: team serves 2 since {since}" == ask(workplace, "1").warning
    assert [None, None] == [ask(workplace, word).warning for word in ("2", "team")]
    pin(workplace, three[0], "edge")
    assert ask(workplace, "1").warning is None  # served again, by one of them


def test_removed_bytes_are_said_to_be_removed(workplace: Workplace, three: list[Version]) -> None:
    row = Removal(
        version=three[0].digest, reason="space", bytes=1, since=rfc3339(workplace.now), actor="ines"
    )
    with workplace.store.change(actor="ines", now=workplace.now) as change:
        change.record(EventKind.BYTES_REMOVED, row.version, row)
    assert 1 == ask(workplace, "1").version.ordinal  # all of it has come back
    entries = manifests.decode(three[0].manifest.encode()).files
    workplace.blobs.remove([entries[0].sha256])
    with pytest.raises(BytesRemoved):
        ask(workplace, "1")


# -- what it costs ------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(site_home: Home, tmp_path: Path) -> Iterator[Workplace]:
    """Six models of a few versions, on either database; team served as many of each as its number modulo four."""
    with at_work(site_home, actor="ines", now=NOON) as work:
        for number in range(6):
            name = f"acme/model-{number}"
            rows = [_add(work, tmp_path, name, seed) for seed in range(4 if number == 3 else 2)]
            for row in rows[: number % 4]:
                pin(work, row, "team")
        yield work


def _add(work: Workplace, tmp_path: Path, model: str, seed: int) -> Version:
    folder = tmp_path / model / str(seed)
    folder.mkdir(parents=True)
    for path, data in model_files(seed).items():
        (folder / path).write_bytes(data)
    return add_folder(work, model, folder).version


def test_names_and_versions_are_listed_alike_on_both_databases(crowd: Workplace) -> None:
    everything = [f"acme/model-{number}" for number in range(6)]
    promoted = [name for name in everything if int(name[-1]) % 4]
    with crowd.store.view() as view:
        assert everything == store_pulls.models_after(view, "", tiers=None, most=50)
        assert everything[3:5] == store_pulls.models_after(view, everything[2], tiers=None, most=2)
        assert promoted == store_pulls.models_after(view, "", tiers=["team", "edge"], most=50)
        assert promoted[1:3] == store_pulls.models_after(view, promoted[0], tiers=["edge", "team"], most=2)
        assert [] == store_pulls.models_after(view, "zzz", tiers=None, most=2)

        def numbers(**asked: Any) -> list[int]:
            return [row.ordinal for row in store_pulls.newest_first(view, "acme/model-3", **asked)]

        assert [4, 3] == numbers(tiers=None, limit=2)
        assert [3, 2, 1] == numbers(tiers=["team"], limit=9)
        assert [2, 1] == numbers(tiers=["team"], up_to=2, limit=9)
        assert [] == numbers(tiers=["edge"], limit=9)
    for word in NONSENSE:  # among it what PostgreSQL cannot even be asked with
        with pytest.raises(RevisionUnknown):
            ask(crowd, word, model="acme/model-3")
    withdraw(crowd, Ref("acme/model-3", ordinal=2), reason="wrong")
    with crowd.store.view() as view:
        assert [3, 1] == [
            r.ordinal for r in store_pulls.newest_first(view, "acme/model-3", tiers=["team"], limit=9)
        ]


def test_no_question_reads_a_table_from_end_to_end(workplace: Workplace, three: list[Version]) -> None:
    """Asked of SQLite itself, of every statement that a client's request leads to: an index each, and a handful of them."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    engine = workplace.store.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        ask(workplace, "team")
        by_tier = len(asked)
        for word in ("1", three[1].digest[:12], three[1].revision):
            ask(workplace, word, EDGE if word != "1" else ANYBODY)
        with workplace.store.view() as view:
            store_pulls.newest_first(view, TINY, tiers=None, limit=5)
            store_pulls.newest_first(view, TINY, tiers=["team"], limit=5)
            store_pulls.models_after(view, "", tiers=["team"], most=5)
            store_pulls.models_after(view, "", tiers=None, most=5)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert 5 >= by_tier
    with engine.connect() as connection:
        for statement, parameters in asked:
            if not statement.lstrip().upper().startswith(("SELECT", "WITH")):
                continue
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            read = [str(line[3]) for line in plan if str(line[3]).startswith("SCAN")]
            # The names of a page are walked, and a lone minimum is one step.
            assert [] == [line for line in read if not any(word in line for word in ("names", "CONSTANT"))], (
                statement
            )
        assert connection.execute(text("SELECT 1")).scalar() == 1
