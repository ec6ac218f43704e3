"""The journey of a model, first part: from a hub to a site that nothing reaches. What it says is checked against what happened."""

import secrets
import shutil
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from demo import auditing, judging
from demo.engine import Engine
from demo.hub import serve_hub
from demo.judging import HERE, contract
from demo.story import MODEL, Story
from pipelines.bundle.errors import ChunksDamaged


def tell(story: Story, engine: Engine) -> None:
    """Tell all of it."""
    _homes(story)
    _enrolment(story)
    _intake(story)
    _first_bundle(story)
    _first_import(story)
    judging.tell(story, engine)
    auditing.tell(story)


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
        signed = "" if person == "alice" else " --person alice --key alice.key --reason 'works with me'"
        story.run(
            f"tidegate people add {person} --public-key {person}.key.pub{signed} --home site --actor paula"
        )


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
        f"tidegate contracts add {contract('tool-contract-hermes')} --for {MODEL}@1 --home origin --actor oda"
    )
    story.say(
        "What travels with it: suites of questions, and the companions, the files that its clients and agents read."
    )
    for suite in ("files", "smoke", "behaviour"):
        story.run(f"tidegate suites add --builtin {suite} --home origin --actor oda")
    story.run(
        f"tidegate companions add {HERE / 'companions' / 'coding'} --name coding --home origin --actor oda"
    )


def _first_bundle(story: Story) -> None:
    story.chapter(
        "A signed bundle, on two small media",
        """Packed for this one site, in volumes that fit the media. Nothing in it is compressed or hidden: a person can
        look through it with ls and sha256sum.""",
    )
    story.run(
        f"tidegate bundles create {MODEL}@1 --to clinic --with files --with smoke --with behaviour --with coding --volume-size 600kB --out medium --home origin --actor oda"
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
