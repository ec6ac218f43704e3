"""`tidegate keys`: a person makes a key and hands out its public half. No home is needed."""

import json
from pathlib import Path

import click

from tidegate.cli.doors import Noun, pass_app, passphrase_option
from tidegate.output import show, spoken
from tidegate.wiring import App, read_file

_KINDS = ("ed25519", "ecdsa-p256", "ecdsa-p384", "ml-dsa-65", "ml-dsa-87")
_KEY_BYTES = 64 << 10
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Noun)
def keys() -> None:
    """A person's key, made where that person is; only its public half leaves the machine."""


@keys.command()
@click.argument("file", type=_FILE)
@click.option(
    "--algorithm", type=click.Choice(_KINDS), default="ed25519", show_default=True,
    help="For the hybrid profile make two: ed25519 and ml-dsa-65. For cnsa2 make ml-dsa-87.",
)  # fmt: skip
@passphrase_option
@pass_app
def create(app: App, file: Path, algorithm: str) -> None:
    """Make a private key in FILE, sealed with a passphrase, and its public half beside it.

    \b
    tidegate keys create alice.pem
    tidegate keys create alice-pq.pem --algorithm ml-dsa-65
    """
    from signing.durable import write_durably
    from signing.keys import create_key

    info = create_key(file, passphrase=app.passphrase(file.name, confirm=True), algorithm=algorithm)
    public = file.with_suffix(".pub.json")
    write_durably(public, info.public_json)
    _show_public(app, info.public_json, f"Made {file}, and {public} to hand out.")


@keys.command("show")
@click.argument("name", metavar="FILE.pub.json|URI")
@click.option("--out", type=_FILE, help="Write the public half there, for a key in a token.")
@passphrase_option
@pass_app
def show_(app: App, name: str, out: Path | None) -> None:
    """Show a key's public half: its id, its kind and the fingerprint that two people compare.

    \b
    tidegate keys show alice.pub.json
    tidegate keys show alice.pem --out alice.pub.json
    """
    from signing.durable import write_durably
    from signing.keys import load_signer, public_key_from_json, public_key_json
    from tidegate.keyring import key_uri

    if name.endswith(".json"):
        key = public_key_from_json(read_file(Path(name), max_bytes=_KEY_BYTES), at=Path(name).name)
    else:
        key = load_signer(key_uri(name), passphrase=app.passphrase).public_key
    data = public_key_json(key)
    if out is not None:
        write_durably(out, data)
    _show_public(app, data, f"Wrote {out}." if out else name)


def _show_public(app: App, data: bytes, heading: str) -> None:
    value = json.loads(data)
    lines = [
        heading,
        f"  key id       {value['keyid']}",
        f"  kind         {value['scheme']}",
        f"  fingerprint  {spoken(value['fingerprint'])}",
    ]
    show(value, "\n".join(lines), as_json=app.settings.as_json)
