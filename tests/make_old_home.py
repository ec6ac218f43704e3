"""Makes the homes of a release before shape 0004, with everything in them that an upgrade must not break.

    git worktree add /tmp/old a42af99
    PYTHONPATH=/tmp/old python -P tests/make_old_home.py tests/homes/shape-0003.tar.xz

It runs with the code of that release alone, types its commands, and refuses to run with any other. What came out is
kept as it is and never made anew: `tests/homes/README.md` says what is in it, `tests/registry/test_upgrade.py` upgrades
copies of it. With `--database URL` (an empty PostgreSQL database) the site keeps its tables there.
"""

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.workplace import Workplace
from registry import home as homes
from registry import store_schema, tiers_file
from registry.audit import EventKind
from registry.entities import Observation, Rollout
from registry.policy import DEFAULTS
from signing.canonical import canonical_bytes
from signing.times import rfc3339
from tests import world
from tests.cli import Prompt
from tests.pipelines.gap import model_files
from tests.tidegate.town import DEMO, new_ssh_key
from tidegate import wiring

SHAPE = "0003"
MODEL = "demo/tiny-toolcaller"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TEMPLATE = (DEMO / "models" / "v1" / "chat_template.jinja").read_bytes()
# A suite that asks no engine and passes on models of a few kilobytes.
SUITE = """format = "tidegate-suite/1"
name = "template"
description = "The chat template renders."
kind = "files"
cases = 1
repeats = 1
timeout_seconds = 60
limit_seconds = 60

[gates]
cases.pass_rate = { min = "1.0" }
"""
CASE = '{"id": "template", "cluster": "template", "checks": [{"check": "files", "name": "template"}]}\n'


class Clock:
    """Ten minutes pass with every command."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=10)
        return self.now


class Old:
    """Two homes of the officers profile, one of a single person, and what was on its way between them."""

    def __init__(self, folder: Path, clock: Clock, database: str | None) -> None:
        self.folder, self.clock, self.database = folder, clock, database
        self.origin, self.site = Prompt(folder / "origin", "oda"), Prompt(folder / "site", "ines")
        self.desk = Prompt(folder / "desk", "dora")

    def key(self, person: str) -> Path:
        return self.folder / f"{person}.key"

    def signs(self, person: str) -> list[object]:
        return ["--person", person, "--reason", "read the report", "--key", self.key(person)]

    def person(self, at: Prompt, name: str, *words: object) -> None:
        new_ssh_key(self.key(name))
        at.type("people", "add", name, "--key", self.key(name).with_suffix(".pub"), *words)

    def model(self, at: Prompt, seed: int, name: str = MODEL) -> str:
        source = self.folder / f"source-{name.rpartition('/')[2]}-{seed}"
        source.mkdir()
        for path, data in {**model_files(seed), "chat_template.jinja": TEMPLATE}.items():
            (source / path).write_bytes(data)
        ref = f"{name}@{at.ask('models', 'add', source, '--as', name)['ordinal']}"
        shutil.rmtree(source)
        at.type("contracts", "add", DEMO / "contracts" / "tool-contract-hermes.json", "--for", ref)
        return ref

    def ship(self, number: int, *words: object) -> Path:
        medium = self.folder / f"bundle-{number}"
        self.origin.type("bundles", "create", *words, "--to", "clinic", "--out", medium)
        return medium

    def found(self) -> None:
        self.origin.type("init", "harbour", "--role", "origin", "--profile", "officers")
        where = ["--database", self.database] if self.database else []
        self.site.type("init", "clinic", "--role", "site", "--profile", "officers", *where)
        root, identity = self.folder / "root.json", self.folder / "clinic.json"
        fingerprint = self.origin.ask("trust", "root", root)["fingerprint"]
        self.site.type("trust", "enrol", root, "--fingerprint", fingerprint)
        self.site.type("trust", "identity", identity)
        self.origin.type("sites", "add", "clinic", "--identity", identity)

    def agree(self, at: Prompt, *approvers: str) -> None:
        """Policy, contracts and people: nobody is registered yet when the first policy comes."""
        for name in ("engine-profile-hermes", "router-contract-v1"):
            at.type("contracts", "add", DEMO / "contracts" / f"{name}.json")
        tiers = self.folder / "tiers.toml"
        rules = [replace(one, suites=(), served_first=None) for one in DEFAULTS]
        tiers.write_text(tiers_file.write(rules))
        at.type("policy", "apply", tiers)
        engine = json.loads((DEMO / "contracts" / "engine-profile-hermes.json").read_text())["name"]
        for tier in ("team", "org"):
            at.type("contracts", "set-router", tier, "demo-router-v1", "--engine", engine)
        for name in approvers:
            self.person(at, name)
        rules = [replace(one, suites=("template",)) if one.tier == "team" else one for one in rules]
        tiers.write_text(tiers_file.write(rules))
        self.suite(at)
        at.type("policy", "apply", tiers, *self.signs(approvers[0]))

    def suite(self, at: Prompt) -> None:
        folder = self.folder / "template"
        (folder / "cases").mkdir(parents=True, exist_ok=True)
        (folder / "suite.toml").write_text(SUITE)
        (folder / "cases" / "checks.jsonl").write_text(CASE)
        at.type("suites", "add", folder)

    def measure(self, ref: str) -> None:
        self.site.as_("vera").type("suites", "run", "template", ref, "--tier", "team")

    def approve(self, at: Prompt, ref: str, tier: str, *people: str) -> None:
        for name in people:
            at.as_(name).type("approve", ref, "--tier", tier, *self.signs(name))

    def promote(self, ref: str, tier: str, *people: str) -> None:
        self.approve(self.site, ref, tier, *people)
        self.site.as_("bob").type("promote", ref, "--tier", tier)


def tell(old: Old) -> None:
    """What these homes went through before anybody thought of an upgrade."""
    old.found()
    old.agree(old.site, "alice", "bob")
    old.person(old.site, "rita", "--role", "reviewer")
    old.person(old.site, "carol")
    old.site.type("people", "remove", "carol")
    old.suite(old.origin)
    _first_two(old)
    _decide(old)
    _on_the_way(old)
    _alone(old)


def _first_two(old: Old) -> None:
    first = old.model(old.origin, 1)
    receipt = old.folder / "receipt-1.json"
    old.site.type("bundles", "import", old.ship(1, first, "--with", "template"), "--receipt", receipt)
    old.origin.type("bundles", "acknowledge", receipt)
    old.measure(first)
    old.promote(first, "team", "alice")
    old.promote(first, "org", "alice", "bob")
    second = old.model(old.origin, 2)
    old.site.type("bundles", "import", old.ship(2, second), "--receipt", old.folder / "receipt-2.json")
    old.measure(second)
    old.promote(second, "team", "bob")
    old.site.type("rollback", MODEL, "--tier", "team", "--reason", "answers in the wrong language")
    old.promote(second, "team", "alice")
    _roll_out(old, second)


def _decide(old: Old) -> None:
    """Decisions that stand, one that was revoked, and one of two approvals that org needs for version 2."""
    words = ["template.url", f"{MODEL}@2", "--path", "chat_template.jinja"]
    old.site.as_("rita").type("decisions", "waive", *words, *old.signs("rita"))
    old.site.as_("rita").type("decisions", "accept-licence", "apache-2.0", *old.signs("rita"))
    gone = old.site.as_("rita").ask("decisions", "accept-licence", "mit", *old.signs("rita"))
    old.site.as_("rita").type("decisions", "revoke", gone["digest"], *old.signs("rita"))
    old.approve(old.site, f"{MODEL}@2", "org", "alice")


def _on_the_way(old: Old) -> None:
    """Bundle 3 came damaged and a repair was asked for; bundle 4 was packed and is still with the courier."""
    third = old.model(old.origin, 3)
    damaged = old.folder / "bundle-3-damaged"
    shutil.copytree(old.ship(3, third, "--self-contained"), damaged)
    shutil.rmtree(old.folder / "bundle-3")
    for chunk in [path for path in damaged.rglob("chunks/*/*") if path.is_file()]:
        chunk.unlink()
    old.site.type("bundles", "import", damaged, ends=_missing())
    old.site.type("bundles", "repair-request", damaged, "--out", old.folder / "repair-request.json")
    fourth = old.model(old.origin, 1, "demo/other")
    old.origin.type("models", "withdraw", f"{MODEL}@1", "--reason", "its licence was recalled")
    old.ship(4, fourth)


def _missing() -> int:
    from pipelines.bundle.errors import ChunksMissing

    return ChunksMissing.exit_code


def _roll_out(old: Old, ref: str) -> None:
    """As a rollout records itself; no engine is needed to say so."""
    [pin] = [pin for pin in old.site.ask("pins") if pin["tier"] == "team"]
    row = Rollout(
        rollout="20261120-team-1", tier="team", model=MODEL, strategy="recreate", version=pin["version"], left=None,
        outcome="SERVED", milliseconds=1200, body='{"steps":[]}', since=pin["since"], actor="ines",
    )  # fmt: skip
    with world.at_work(homes.load(old.site.home), actor="ines", now=old.clock()) as work:
        _record(work, row)


def _record(work: Workplace, row: Rollout) -> None:
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.ROLLED_OUT, row.version, row, note={"outcome": row.outcome})


def _alone(old: Old) -> None:
    """A single person's home: origin and site at once."""
    old.desk.type("init", "desk", "--role", "origin", "--role", "site")
    old.agree(old.desk, "dora")
    ref = old.model(old.desk, 7)
    old.desk.type("suites", "run", "template", ref, "--tier", "team")
    old.approve(old.desk, ref, "team", "dora")
    old.desk.type("promote", ref, "--tier", "team")
    _look(old)


def _look(old: Old) -> None:
    """An agent that looked three hundred times: a log of more than one tile."""
    with world.at_work(homes.load(old.desk.home), actor="dora", now=old.clock()) as work:
        for number in range(300):
            row = Observation(
                tier="team", node="desk", model=MODEL, state="SILENT", version=None,
                body=canonical_bytes({"number": number}).decode(), since=rfc3339(work.now), actor="dora",
            )  # fmt: skip
            with work.store.change(actor="dora", now=work.now) as change:
                change.record(EventKind.OBSERVED, "team", row)


def facts(old: Old) -> dict[str, Any]:
    """What the old release itself says of the site: the new one has to say the same."""
    for prompt in (old.origin, old.site, old.desk):
        prompt.type("audit", "verify")
    return {
        "now": old.clock.now.isoformat(),
        "pins": old.site.ask("pins"),
        "history": old.site.ask("pins", "--history"),
        "people": old.site.ask("people", "list"),
        "decisions": old.site.ask("decisions", "list"),
        "head": old.site.ask("audit", "head"),
        "explain": old.site.ask("audit", "explain", f"{MODEL}@2"),
    }


def make(folder: Path, database: str | None) -> None:
    """Make the homes below an empty folder."""
    if store_schema.newest() != SHAPE:
        sys.exit(f"run it with the code of shape {SHAPE}; this is {store_schema.newest()}")
    clock = Clock()
    defaults: Mapping[str, Any] = wiring.App.__init__.__kwdefaults__ or {}
    wiring.App.__init__.__kwdefaults__ = {**defaults, "clock": clock}
    old = Old(folder, clock, database)
    tell(old)
    (folder / "facts.json").write_text(json.dumps(facts(old), indent=1, sort_keys=True) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a .tar.xz to write, or a folder")
    parser.add_argument("--database")
    said = parser.parse_args()
    if said.out.suffix != ".xz":
        said.out.mkdir(parents=True)
        make(said.out.resolve(), said.database)
        return 0
    with tempfile.TemporaryDirectory() as base:
        make(Path(base).resolve(), said.database)
        with tarfile.open(said.out, "w:xz") as tar:
            tar.add(base, arcname=".", filter=_nobody)
    return 0


def _nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody in particular made it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    sys.exit(main())
