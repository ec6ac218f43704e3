"""The record of a transfer: the columns that rules for transfers ask for, the same at both ends."""

import json
from pathlib import Path

import pytest

from pipelines.bundle import documents as docs
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.transfers import format_of
from signing import statements, summaries
from signing.canonical import canonical_bytes
from signing.summaries import Transfer
from tests.pipelines.gap import World, make_world, model_files

SAID = Transfer(
    requester="anna of engineering",
    approver="bo of security",
    classification="internal",
    source_system="staging-1",
    destination_system="bank-core",
    medium="DVD-R",
    control_numbers=("M-0017", "M-0018"),
)


@pytest.fixture
def gap(tmp_path: Path) -> World:
    made = make_world(tmp_path / "world")
    made.add("acme/tiny", model_files())
    return made


def test_both_ends_keep_what_was_said(gap: World) -> None:
    gap.receive(gap.ship("acme/tiny", transfer=SAID))
    with gap.at(gap.origin) as work, work.store.view() as view:
        (left,) = [row for row in view.statements(_version(gap)) if row.predicate == summaries.EXPORT]
    said = statements.read_statement(left.payload.encode()).predicate
    assert SAID.fields() == said["transfer"]
    assert (work.home.name, "lab", 1) == (said["source"], said["destination"], said["volumes"])
    assert ["none", "json", "safetensors", "json"] == [one["format"] for one in said["files"]]
    assert "acme/tiny@1/model.safetensors" in [one["name"] for one in said["files"]]

    with gap.at(gap.site) as work, work.store.view() as view:
        (arrived,) = view.imports()
    assert SAID == docs.decode_export(arrived.body.encode()).transfer


def test_a_bundle_of_which_nothing_was_said_has_no_such_field(gap: World) -> None:
    gap.receive(gap.ship("acme/tiny"))
    with gap.at(gap.site) as work, work.store.view() as view:
        body = json.loads(view.imports()[0].body)
    assert "transfer" not in body


def test_a_bundle_without_versions_leaves_a_record_too(gap: World) -> None:
    gap.ship(transfer=SAID)
    with gap.at(gap.origin) as work, work.store.view() as view:
        (row,) = view.exports()
        (left,) = view.statements(row.digest)
    assert [] == statements.read_statement(left.payload.encode()).predicate["files"]


def test_no_site_is_told_what_another_one_got(gap: World) -> None:
    """The second bundle carries the version again, and no record of the first transfer."""
    gap.ship("acme/tiny", out="elsewhere", transfer=SAID)
    gap.receive(gap.ship("acme/tiny", out="here", self_contained=True))
    with gap.at(gap.site) as work, work.store.view() as view:
        claimed = [view.statement(claim.statement) for claim in view.claims(_version(gap))]
    assert statements.PROVENANCE in {row.predicate for row in claimed if row}
    assert summaries.EXPORT not in {row.predicate for row in claimed if row}


@pytest.mark.parametrize(
    "transfer",
    [{"approver": 7}, {"classification": ""}, {"medium": "two\nlines"}, {"control_numbers": [1]}, []],
)
def test_a_column_that_is_no_text_is_refused(gap: World, transfer: object) -> None:
    gap.ship("acme/tiny")
    with gap.at(gap.origin) as work, work.store.view() as view:
        body = json.loads(view.exports()[0].body) | {"transfer": transfer}
    with pytest.raises(MalformedBundle, match="transfer"):
        docs.decode_export(canonical_bytes(body))


@pytest.mark.parametrize(
    ("path", "found"), [("a/b.GGUF", "gguf"), ("LICENSE", "none"), (".gitattributes", "none"), ("x.", "none")]
)
def test_a_files_format_is_its_ending(path: str, found: str) -> None:
    assert found == format_of(path)


def _version(gap: World) -> str:
    with gap.at(gap.origin) as work, work.store.view() as view:
        return view.versions()[0].digest
