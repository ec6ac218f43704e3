"""A site whose policy two stewards signed, for the story of judging: the words that people type, and what they see.

Engines are started by `tidegate validate` and `tidegate reconcile` themselves; nothing here serves anything.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from demo.engine import Engine, ask
from pipelines.engines import process
from pipelines.engines.launch import Slot
from tests.cli import Prompt
from tests.story.judging_models import MODELS, paths_suite
from tests.tidegate.town import new_ssh_key

MODEL = "demo/tiny-toolcaller"
PROFILE, ROUTER = "llama-server-hermes", "demo-router-v1"
_CONTRACTS = MODELS.parent / "contracts"

TIERS = """\
format = "tidegate-tiers/1"

[tiers.edge]
rank = 1
mode = "automatic"
approvals = 0
suites = ["files", "smoke"]
memory = "128 GB"

[tiers.team]
rank = 2
mode = "hybrid"
approvals = 1
suites = ["files", "smoke", "contract"]
companions = true
memory = "256 GB"

[tiers.org]
rank = 3
approvals = 2
suites = ["files", "smoke", "paths"]
served_first = "team"
"""


class Site:
    """One home that takes models in and serves them, and the people's keys, below one folder."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine
        self.at, self.policy = Prompt(folder / "site", "ines"), folder / "tiers.toml"

    def key(self, person: str) -> Path:
        return self.folder / f"{person}.key"

    def signs(self, person: str) -> list[object]:
        return ["--person", person, "--key", self.key(person), "--reason", "read the report"]

    def add(self, folder: Path, contract: str = "tool-contract-hermes") -> str:
        """Take a version in; returns its name."""
        row = self.at.ask("models", "add", folder, "--as", MODEL)
        ref = f"{MODEL}@{row['ordinal']}"
        self.at.type("contracts", "add", _CONTRACTS / f"{contract}.json", "--for", ref)
        return ref

    def validate(self, ref: str, tier: str, *words: object, ends: int = 0) -> str:
        """Have a version served and measured; returns what was said."""
        program = ["--program", self.engine.path]
        said = self.at.as_("vera").type("validate", ref, "--tier", tier, *program, *words, ends=ends)
        assert not self.running(), "an engine outlived its validation"
        return str(said.output)

    def reconcile(self, *words: object, ends: int = 0) -> dict[str, Any]:
        """One pass; returns each tier's step."""
        steps = self.at.as_("timer").ask("reconcile", "--program", self.engine.path, *words, ends=ends)
        assert not self.running(), "an engine outlived its validation"
        return {step["tier"]: step for step in steps}

    def running(self) -> list[str]:
        """The engines of validations that run at this moment."""
        slots = [
            Slot(name, self.folder / "site-serving" / f"validation-{name}", "127.0.0.1", 1)
            for name in ("candidate", "baseline")
        ]
        return [slot.name for slot in slots if slot.folder.exists() and process.running(slot) is not None]

    def gate(self, ref: str, tier: str, *, ends: int = 0) -> dict[str, Any]:
        """The gate's findings by their names."""
        found = self.at.ask("gate", ref, "--tier", tier, ends=ends)
        return {item["check"]: item for item in found["findings"]}

    def against(self, ref: str, tier: str) -> list[str]:
        """The checks that are against a version."""
        return [name for name, item in self.gate(ref, tier, ends=89).items() if not item["ok"]]

    def promote(self, ref: str, tier: str, *people: str) -> None:
        """Have people approve, and promote."""
        for person in people:
            self.at.as_(person).type("approve", ref, "--tier", tier, *self.signs(person))
        self.at.as_("bob").type("promote", ref, "--tier", tier)

    def pin(self, tier: str) -> dict[str, Any]:
        """What a tier serves."""
        [pin] = [pin for pin in self.at.ask("pins") if pin["tier"] == tier]
        return dict(pin)

    def serves(self) -> dict[str, int]:
        return {pin["tier"]: pin["ordinal"] for pin in self.at.ask("pins")}

    def companions(self, name: str, more: Mapping[str, str] = MappingProxyType({})) -> None:
        """Take in a set of companions that says its own name. `more`: further files."""
        made = self.folder / "companions" / name
        made.mkdir(parents=True)
        (made / "AGENTS.md").write_text(f"These are the {name}.\n")
        (made / "requirements.toml").write_text('allowed_sandbox_modes = ["read-only"]\n')
        for path, text in more.items():
            (made / path).write_text(text)
        self.at.type("companions", "add", made, "--name", name)

    def agents(self, tier: str) -> str:
        """AGENTS.md as a machine of the tier gets it."""
        out = self.folder / "machine"
        self.at.type("companions", "write", out, "--tier", tier, "--model", MODEL)
        return (out / "AGENTS.md").read_text()


def build(folder: Path, engine: Engine) -> Site:
    """A site that holds version 1 and has measured nothing yet; its policy is in force by alice's signature."""
    site = Site(folder, engine)
    roles = ["--role", "origin", "--role", "site", "--profile", "officers"]
    site.at.type("init", "clinic", *roles)
    for name in ("files", "smoke", "contract"):
        site.at.type("suites", "add", "--builtin", name)
    site.at.type("suites", "add", paths_suite(folder / "paths"))
    for person in ("alice", "bob"):
        new_ssh_key(site.key(person))
        signed = [] if person == "alice" else site.signs("alice")
        site.at.type("people", "add", person, "--public-key", site.key(person).with_suffix(".pub"), *signed)
    site.policy.write_text(TIERS)
    site.at.type("policy", "apply", site.policy, *site.signs("alice"))
    _agree(site)
    site.add(MODELS / "v1")
    site.companions("notes")
    site.at.type("companions", "set", MODEL, "notes")
    return site


def _agree(site: Site) -> None:
    """Say what every tier runs: the engine that is here, one thread of it, as the demonstration's models want it."""
    profile = json.loads((_CONTRACTS / "engine-profile-hermes.json").read_text())
    with site.engine.serve(MODELS / "v1", site.folder / "engine.log") as served:
        profile["version"] = ask(served.base_url.removesuffix("/v1") + "/props")["build_info"]
    profile |= {"name": PROFILE, "flags": ["--jinja", "--threads", "1", "--parallel", "2"]}
    file = site.folder / "profile.json"
    file.write_text(json.dumps(profile))
    site.at.type("contracts", "add", file)
    site.at.type("contracts", "add", _CONTRACTS / "router-contract-v1.json")
    for tier in ("edge", "team", "org"):
        site.at.type("contracts", "set-router", tier, ROUTER, "--engine", PROFILE)


def copy(built: Site, folder: Path) -> Site:
    """The same site somewhere else: every test has its own."""
    shutil.copytree(built.folder, folder, symlinks=True)
    return Site(folder, built.engine)
