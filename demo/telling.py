"""The journey of a model in fourteen chapters. What it says is checked against what happened."""

import json
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from demo.engine import Engine, Served, ask
from demo.hub import serve_hub
from demo.story import Story
from pipelines.bundle.errors import ChunksDamaged
from registry.compatibility import NotCompatible
from registry.gate import GateClosed
from tidegate.errors import AuditBroken, SuiteNotPassed

HERE = Path(__file__).parent
MODEL = "demo/tiny-toolcaller"
PROFILE = "llama-server-hermes"


def tell(story: Story, engine: Engine) -> None:
    """Tell all of it."""
    _homes(story)
    _enrolment(story)
    _intake(story)
    _first_bundle(story)
    _first_import(story)
    _first_promotion(story, engine)
    _second_version(story, engine)
    _third_version(story, engine)
    _way_back(story)
    _audit(story)


def _homes(story: Story) -> None:
    story.chapter(
        "Two homes",
        """An origin on the connected side, and a site that no network reaches. At the site two people must agree before
        the organisation's racks serve anything. The officers' passphrase is in a file here, so that nobody has to type.""",
    )
    (story.folder / "passphrase.txt").write_text(secrets.token_urlsafe(24) + "\n")
    story.run("tidegate init harbour --role origin --home origin")
    story.run("tidegate init clinic --role site --profile officers --home site")
    for person in ("alice", "bob"):
        _ssh_key(story.folder / f"{person}.key")
        story.run(f"tidegate people add {person} --key {person}.key.pub --home site --actor paula")


def _ssh_key(path: Path) -> None:
    """What `ssh-keygen -t ed25519 -N ''` writes, without needing it on the machine."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_name(path.name + ".pub").write_bytes(public + b"\n")


def _enrolment(story: Story) -> None:
    story.chapter(
        "They come to know each other",
        """Once, two people compare the fingerprint of the origin's root by telephone. From then on the site believes
        what that root vouches for and nothing else; the origin gets the key that signs the site's receipts.""",
    )
    (story.folder / "medium").mkdir()
    story.run("tidegate trust root medium/root.json --home origin")
    fingerprint = story.ask("tidegate trust show --home origin")["origin"]["fingerprint"]
    story.run(f"tidegate trust enrol medium/root.json --fingerprint {fingerprint} --home site")
    story.run("tidegate trust identity medium/clinic.json --home site")
    story.run("tidegate sites add clinic --identity medium/clinic.json --home origin")


def _intake(story: Story) -> None:
    story.chapter(
        "A model is fetched and scanned",
        """The origin fetches one commit of a model from a hub: here a small one on this machine, which speaks the Hugging
        Face protocol. It is a real model of 0.2 million parameters that really calls tools. Each file is hashed while it
        is copied; the scan executes nothing.""",
    )
    with serve_hub(MODEL, HERE / "models" / "v1") as hub:
        story.run(f"tidegate models fetch hf:{MODEL} --endpoint {hub} --home origin --actor oda")
    story.run(
        f"tidegate contracts add {_contract('tool-contract-hermes')} --for {MODEL}@1 --home origin --actor oda"
    )
    story.run("tidegate suites add --builtin tool-basics --home origin --actor oda")


def _contract(name: str) -> Path:
    return HERE / "contracts" / f"{name}.json"


def _first_bundle(story: Story) -> None:
    story.chapter(
        "A signed bundle, on two small media",
        """Packed for this one site, in volumes that fit the media. Nothing in it is compressed or hidden: a person can
        look through it with ls and sha256sum.""",
    )
    story.run(
        f"tidegate bundles create {MODEL}@1 --to clinic --with tool-basics --volume-size 600kB --out medium --home origin --actor oda"
    )


def _first_import(story: Story) -> None:
    story.chapter(
        "At the site: look, then take in",
        """First a copy with one changed byte, as a bad disk or a bad courier would bring it. It is refused and nothing of it
        becomes visible. Then the real one, its volumes in the wrong order.""",
    )
    shutil.copytree(story.folder / "medium", story.folder / "tampered")
    chunk = max((story.folder / "tampered").rglob("chunks/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    story.run("tidegate bundles import tampered --home site --actor ines", ends=ChunksDamaged.exit_code)
    story.demand(story.ask("tidegate models list --home site") == [], "nothing is visible after the refusal")
    story.run("tidegate bundles inspect medium/volume-02 medium/volume-01 --home site --actor ines")
    story.run(
        "tidegate bundles import medium/volume-02 medium/volume-01 --receipt receipt-1.json --home site --actor ines"
    )
    story.run("tidegate bundles import medium --home site --actor ines")


def _first_promotion(story: Story, engine: Engine) -> None:
    story.chapter(
        "What this tier's router and engine speak",
        """Whether tool calls work depends on the model, the engine with its flags, and the router. Each is a document; the
        gate compares them. The engine is pinned to the first version's chat template, as a careful operator would.""",
    )
    _engine_profile(story, engine)
    story.run("tidegate contracts add engine-profile.json --home site --actor sam")
    story.run(f"tidegate contracts add {_contract('router-contract-v1')} --home site --actor sam")
    for tier in ("team", "org"):
        story.run(
            f"tidegate contracts set-router {tier} demo-router-v1 --engine {PROFILE} --home site --actor sam"
        )
    story.chapter(
        "Validated while a real engine serves it, approved, promoted",
        """The gate is closed at first and says why. Then the suite runs against the served files, two stewards sign what
        they saw, and the gate opens: first for the team, then for the organisation.""",
    )
    story.run(
        f"tidegate promote {MODEL}@1 --tier org --dry-run --home site --actor sam", ends=GateClosed.exit_code
    )
    _validate(story, engine, ordinal=1)
    _approve_and_promote(story, ordinal=1)


def _engine_profile(story: Story, engine: Engine) -> None:
    """The demo's profile with the build that the engine found here says it is, and the template that it is pinned to."""
    with engine.serve(HERE / "models" / "v1", story.folder / "engine-version.log") as served:
        build = ask(served.base_url.removesuffix("/v1") + "/props")["build_info"]
    profile = json.loads(_contract("engine-profile-hermes").read_text())
    profile |= {
        "name": PROFILE,
        "version": build,
        "flags": ["--jinja", "--chat-template-file", "chat_template.jinja"],
    }
    (story.folder / "engine-profile.json").write_text(json.dumps(profile, indent=2) + "\n")
    shutil.copy(HERE / "models" / "v1" / "chat_template.jinja", story.folder / "chat_template.jinja")


@contextmanager
def _serving(story: Story, engine: Engine, ordinal: int) -> Iterator[Served]:
    folder = f"served/v{ordinal}"
    story.run(f"tidegate materialise {MODEL}@{ordinal} {folder} --home site")
    flags = ["--jinja", "--chat-template-file", str(story.folder / "chat_template.jinja")]
    with engine.serve(story.folder / folder, story.folder / f"engine-v{ordinal}.log", flags) as served:
        port = served.base_url.split(":")[-1].removesuffix("/v1")
        story.say(
            f"(serving: llama-server --model $PWD/{folder}/model.gguf --port {port} --jinja --chat-template-file chat_template.jinja)"
        )
        yield served


def _validate(story: Story, engine: Engine, *, ordinal: int, ends: int = 0) -> None:
    with _serving(story, engine, ordinal) as served:
        story.run(
            f"tidegate suites run tool-basics {MODEL}@{ordinal} --tier org --endpoint {served.base_url} --home site --actor vera",
            ends=ends,
        )


def _approve_and_promote(story: Story, *, ordinal: int) -> None:
    ref = f"{MODEL}@{ordinal}"
    story.run(
        f"tidegate approve {ref} --tier team --person alice --key alice.key --reason 'reads our tools' --home site --actor alice"
    )
    story.run(f"tidegate promote {ref} --tier team --reason 'pilot' --home site --actor alice")
    for person in ("alice", "bob"):
        story.run(
            f"tidegate approve {ref} --tier org --person {person} --key {person}.key --reason 'the pilot is content' --home site --actor {person}"
        )
    story.run(f"tidegate promote {ref} --tier org --reason 'for everybody' --home site --actor bob")


def _second_version(story: Story, engine: Engine) -> None:
    story.chapter(
        "A better second version",
        """The receipt went back to the origin: what the site holds is left out of the next bundle. The second version keeps to
        the same contract; it goes the same way.""",
    )
    story.run("tidegate bundles acknowledge receipt-1.json --home origin --actor oda")
    with serve_hub(MODEL, HERE / "models" / "v2") as hub:
        story.run(f"tidegate models fetch hf:{MODEL} --endpoint {hub} --home origin --actor oda")
    _carry(story, ordinal=2, contract="tool-contract-hermes")
    _validate(story, engine, ordinal=2)
    _approve_and_promote(story, ordinal=2)
    story.run("tidegate pins --home site")


def _carry(story: Story, *, ordinal: int, contract: str) -> None:
    story.run(
        f"tidegate contracts add {_contract(contract)} --for {MODEL}@{ordinal} --home origin --actor oda"
    )
    story.run(
        f"tidegate bundles create {MODEL}@{ordinal} --to clinic --out medium-{ordinal} --home origin --actor oda"
    )
    story.run(
        f"tidegate bundles import medium-{ordinal} --receipt receipt-{ordinal}.json --home site --actor ines"
    )
    story.run(f"tidegate bundles acknowledge receipt-{ordinal}.json --home origin --actor oda", quiet=True)


def _third_version(story: Story, engine: Engine) -> None:
    story.chapter(
        "A third version that would break every tool call, silently",
        """It writes its calls in another format. Served with yesterday's flags the engine answers 200 to every request and
        parses none of the calls; no health page would say so. The contract says it before anything runs, and the suite
        measures it.""",
    )
    with serve_hub(MODEL, HERE / "models" / "v3") as hub:
        story.run(f"tidegate models fetch hf:{MODEL} --endpoint {hub} --home origin --actor oda")
    _carry(story, ordinal=3, contract="tool-contract-xml-function")
    story.run(
        f"tidegate contracts compare demo-xml-function demo-router-v1 --engine {PROFILE} --home site",
        ends=NotCompatible.exit_code,
    )
    _validate(story, engine, ordinal=3, ends=SuiteNotPassed.exit_code)
    story.run(
        f"tidegate promote {MODEL}@3 --tier org --reason 'newest is best' --home site --actor alice",
        ends=GateClosed.exit_code,
    )
    story.demand(_serves(story) == {"org": 2, "team": 2}, "both tiers still serve version 2")


def _serves(story: Story) -> dict[str, int]:
    return {pin["tier"]: pin["ordinal"] for pin in story.ask("tidegate pins --home site")}


def _way_back(story: Story) -> None:
    story.chapter(
        "The way back",
        """Version 2 misbehaves in a way that no suite saw. One command, no network, no second person: the tier returns to the
        last version that served there, with its contract, engine profile and router. The history keeps both lines.""",
    )
    story.run(
        f"tidegate rollback {MODEL} --tier org --reason 'wrong units in the lab reports' --home site --actor sam"
    )
    story.demand(_serves(story) == {"org": 1, "team": 2}, "org serves version 1 again")
    story.run("tidegate pins --history --home site")
    story.run("tidegate materialise org served/cache --layout hf-cache --home site --actor sam")


def _audit(story: Story) -> None:
    story.chapter(
        "What the auditor sees",
        """Every change is a leaf of a signed tree. The auditor replays it against the tables, and asks for the account of
        version 2: where from, scanned how, by which bundle, judged by what, approved by whom, served where and when.""",
    )
    story.run("tidegate audit verify --home site")
    story.run(f"tidegate audit explain {MODEL}@2 --home site")
    story.say(
        "Now somebody who can write to the database edits one row of it, so that org's pin says version 3 (in a copy of the home):"
    )
    shutil.copytree(story.folder / "site", story.folder / "tampered-site")
    with sqlite3.connect(story.folder / "tampered-site" / "registry.db") as database:
        database.execute("UPDATE pin SET ordinal = 3 WHERE tier = 'org' AND position = 3")
    database.close()
    story.run("tidegate audit verify --home tampered-site", ends=AuditBroken.exit_code)
