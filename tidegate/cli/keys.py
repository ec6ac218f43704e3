"""`tidegate keys`: a person makes a key and hands out its public half. No home is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.doors import Noun, pass_app, passphrase_option
from tidegate.output import show, spoken
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from signing.keys import PublicKeyInfo

_KINDS = ("ed25519", "ecdsa-p256", "ecdsa-p384", "ml-dsa-65", "ml-dsa-87")
_KEY_BYTES = 64 << 10
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Noun)
def keys() -> None:
    """A person's key, made where that person is; only its public half leaves the machine."""


@keys.command()
@click.argument("name", metavar="FILE|URI")
@click.option(
    "--algorithm", type=click.Choice(_KINDS),
    help="Default: ed25519, in a token ecdsa-p256. For the hybrid profile make two: ed25519 and ml-dsa-65. For cnsa2 make "
    "ml-dsa-87.",
)  # fmt: skip
@click.option(
    "--out", type=_FILE, help="Write the public half there. Default: beside FILE; for a token say where."
)
@passphrase_option
@pass_app
def create(app: App, name: str, algorithm: str | None, out: Path | None) -> None:
    """Make a private key in FILE, sealed with a passphrase, or in a token, and its public half to hand out.

    \b
    tidegate keys create alice.pem
    tidegate keys create alice-pq.pem --algorithm ml-dsa-65
    tidegate keys create 'hsm:token=export;object=export-2026' --out export.pub.json
    """
    from signing.durable import write_durably

    if name.startswith("hsm:"):
        if out is None:
            raise click.UsageError("say where the public half goes with --out")
        info = _in_token(app, name, algorithm or "ecdsa-p256")
    else:
        from signing.keys import create_key

        file = Path(name)
        secret = app.passphrase(file.name, confirm=True)
        info = create_key(file, passphrase=secret, algorithm=algorithm or "ed25519")
    public = out or Path(name).with_suffix(".pub.json")
    write_durably(public, info.public_json)
    heading = f"Made {name}, and {public} to hand out."
    _show_public(app, heading, keyid=info.keyid, scheme=info.scheme, fingerprint=info.fingerprint)


def _in_token(app: App, name: str, algorithm: str) -> "PublicKeyInfo":
    from signing.keys import describe
    from signing.tokens import TokenSigner, create_token_key
    from tidegate.keyring import key_uri

    made = create_token_key(key_uri(name), passphrase=app.passphrase, algorithm=algorithm)
    return describe(name, TokenSigner(made).public_key)


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
    from signing.keys import fingerprint, load_signer, public_key_from_json, public_key_json
    from tidegate.keyring import key_uri

    if name.endswith(".json"):
        key = public_key_from_json(read_file(Path(name), max_bytes=_KEY_BYTES), at=Path(name).name)
    else:
        key = load_signer(key_uri(name), passphrase=app.passphrase).public_key
    if out is not None:
        write_durably(out, public_key_json(key))
    heading = f"Wrote {out}." if out else name
    _show_public(app, heading, keyid=key.keyid, scheme=key.scheme, fingerprint=fingerprint(key))


def _show_public(app: App, heading: str, *, keyid: str, scheme: str, fingerprint: str) -> None:
    lines = [
        heading,
        f"  key id       {keyid}",
        f"  kind         {scheme}",
        f"  fingerprint  {spoken(fingerprint)}",
    ]
    document = {"keyid": keyid, "scheme": scheme, "fingerprint": fingerprint}
    show(document, "\n".join(lines), as_json=app.settings.as_json)
