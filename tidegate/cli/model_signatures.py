"""Commands of `tidegate models` about signatures over models, files on disk, and bills of materials."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from registry.names import Ref
from tidegate.cli.doors import Door, pass_app
from tidegate.output import SHORT, progress, show
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from pipelines.model_judging import Believed, Judged

_MATERIAL = 1 << 20  # bytes of PEM
_CRL = 16 << 20  # bytes of a revocation list
_file = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=Door)
@click.argument("ref")
@click.option("--out", type=_file, required=True, help="Where the signature file goes; it must not be there.")
@click.option("--public-key-out", type=_file, help="Where the public key goes, in PEM.")
@click.option(
    "--key", metavar="URI", help="Sign with this ECDSA key instead of the home's own; kept beside it."
)
@pass_app
def sign(app: App, ref: str, out: Path, public_key_out: Path | None, key: str | None) -> None:
    """Write a signature over a version in the OpenSSF Model Signing format, for tools that are not ours.

    Example: tidegate models sign acme/tiny@3 --out model.sig --public-key-out harbour.pem, and then
    model_signing verify key FOLDER --signature model.sig --public_key harbour.pem
    """
    from pipelines.signing_models import signed

    signer = None
    if key is not None:
        from signing.keys import load_signer

        signer = load_signer(key if ":" in key else f"file:{Path(key).absolute()}", passphrase=app.passphrase)
    with _new_file(out) as sink:
        row, public = signed(app.work, Ref.parse(ref), signer=signer)
        sink.write(row.body.encode())
    if public_key_out is not None:
        with _new_file(public_key_out) as sink:
            sink.write(public)
    text = f"{ref} is signed in {out}\n  key {row.signer}"
    document = {"version": row.version, "signature": row.digest, "signer": row.signer, "out": str(out)}
    show(document, text, as_json=app.settings.as_json)


@click.command("verify-signature", cls=Door)
@click.argument("what", metavar="REF|FOLDER")
@click.option("--signature", type=_file, help="The signature file. Default for a REF: those that are kept.")
@click.option(
    "--public-key", type=_file, help="Believe this key, in PEM. Default for a REF: the publishers here."
)
@click.option("--certificate-chain", type=_file, help="Believe these authorities, in PEM.")
@click.option(
    "--revocations", type=_file, multiple=True, help="A revocation list of theirs; may be repeated."
)
@click.option(
    "--at", metavar="TIME", help="Judge certificates at this moment (2026-11-20T08:00:00Z). Default: now."
)
@pass_app
def verify_signature(
    app: App,
    what: str,
    signature: Path | None,
    public_key: Path | None,
    certificate_chain: Path | None,
    revocations: tuple[Path, ...],
    at: str | None,
) -> None:
    """Check OpenSSF Model Signing signatures: of a version, or of a FOLDER with its files.

    A FOLDER (a path with a '/' at its end or its beginning, or '.') needs no home. What the format does not cover is
    reported too: empty folders, links, modes.

    Example: tidegate models verify-signature ./tiny --signature tiny/model.sig --public-key acme.pem
    """
    from signing.times import from_rfc3339

    believed = _believed(public_key, certificate_chain, revocations)
    moment = None if at is None else from_rfc3339(at)
    given = None if signature is None else _read_signature(signature)
    if _is_folder(what):
        _verify_folder(app, Path(what), given, believed, moment)
        return
    from pipelines.checking import check_version, demand_valid

    named = None if believed is None else [believed]
    done = check_version(app.work, Ref.parse(what), given=given, believed=named, moment=moment)
    demand_valid(what, done)
    lines = [_line(one.what, one.judged) for one in done] or [
        f"{what} has no signature yet. Next: tidegate models sign {what}"
    ]
    show(
        [_document(one.what, one.source, one.judged) for one in done],
        "\n".join(lines),
        as_json=app.settings.as_json,
    )


@click.command("verify-files", cls=Door)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("ref")
@pass_app
def verify_files(app: App, folder: Path, ref: str) -> None:
    """Check that FOLDER holds exactly a version: every byte, and no file, empty folder, link or mode beside it."""
    from pipelines.closed_world import differences
    from registry.manifests import decode
    from signing.model_signature import ModelSignatureWrong

    with app.store.view() as view:
        version = view.version(Ref.parse(ref))
    manifest = decode(version.manifest.encode())
    with progress("verifying") as bar:
        found = differences(folder, manifest, progress=bar, expect=bar.expect)
    name = f"{version.model}@{version.ordinal}"
    if found:
        raise ModelSignatureWrong(f"{folder} is not {name}", "\n  ".join(["", *found[:50]]))
    document = {"folder": str(folder), "version": version.digest, "files": len(manifest.files)}
    show(document, f"{folder} is {name}: {len(manifest.files)} files.", as_json=app.settings.as_json)


@click.command("bom", cls=Door)
@click.argument("ref")
@click.option("--out", type=_file, help="Write it to this file; it must not be there.")
@pass_app
def bom(app: App, ref: str, out: Path | None) -> None:
    """Show a version's bill of materials (CycloneDX 1.7 JSON), by what is known now; a new one is kept.

    Example: tidegate models bom acme/tiny@3 --out tiny.cdx.json
    """
    from pipelines.bom import MAX_BODY, bill
    from signing.canonical import parse, pretty_bytes

    if out is None:
        row, _ = bill(app.work, Ref.parse(ref))
        document = parse(row.body.encode(), max_bytes=MAX_BODY, at="bill of materials")
        show(document, pretty_bytes(document).decode().rstrip(), as_json=app.settings.as_json)
        return
    with _new_file(out) as sink:
        row, new = bill(app.work, Ref.parse(ref))
        sink.write(row.body.encode())
    text = f"{row.name}: bill of materials {row.digest[:SHORT]}{', new,' if new else ''} is in {out}"
    show({"digest": row.digest, "new": new, "out": str(out)}, text, as_json=app.settings.as_json)


COMMANDS = (sign, verify_signature, verify_files, bom)


def signature_lines(judged: "tuple[Judged, ...]") -> list[str]:
    """What intake found of publishers' signatures."""
    return [
        f"  publisher's signature {one.outcome}"
        + (f" by {one.publisher.name}" if one.publisher else "")
        + (f": {one.problem}" if one.problem else "")
        for one in judged
    ]


def read_signature(place: Path | None) -> bytes | None:
    """The file that `--signature` names."""
    return None if place is None else _read_signature(place)


def _verify_folder(
    app: App, folder: Path, data: bytes | None, believed: "Believed | None", moment: datetime | None
) -> None:
    from pipelines.model_judging import VALID, check_folder
    from signing.model_signature import ModelSignatureWrong

    if data is None or believed is None:
        raise click.UsageError(
            "a folder is checked with --signature FILE and --public-key FILE or --certificate-chain FILE"
        )
    with progress("verifying") as bar:
        judged, beside = check_folder(
            folder, data, [believed], moment=moment or app.now, progress=bar, expect=bar.expect
        )
    if judged.outcome != VALID:
        raise ModelSignatureWrong(str(folder), f"{judged.outcome}, {judged.problem}")
    lines = [_line(str(folder), judged), *(f"  not covered by the signature: {found}" for found in beside)]
    document = _document(str(folder), "given", judged) | {"not_covered": beside}
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def _believed(
    public_key: Path | None, certificate_chain: Path | None, revocations: tuple[Path, ...]
) -> "Believed | None":
    if public_key is not None and certificate_chain is not None:
        raise click.UsageError("give --public-key FILE or --certificate-chain FILE, not both")
    place = public_key or certificate_chain
    if place is None:
        if revocations:
            raise click.UsageError("--revocations belongs to --certificate-chain")
        return None
    from pipelines.model_judging import Believed

    return Believed(
        name="given",
        method="key" if public_key else "certificate",
        material=read_file(place, max_bytes=_MATERIAL),
        crls=tuple(read_file(one, max_bytes=_CRL) for one in revocations),
    )


def _is_folder(what: str) -> bool:
    return what.startswith((".", "/")) or what.endswith("/")


def _read_signature(place: Path) -> bytes:
    from signing.model_signature import MAX_BUNDLE

    return read_file(place, max_bytes=MAX_BUNDLE)


def _line(what: str, judged: "Judged") -> str:
    who = f" by {judged.publisher.name}" if judged.publisher else ""
    told = f": {judged.problem}" if judged.problem else ""
    return f"{what} {judged.outcome}{who} ({judged.method} {judged.signer[:64]}){told}"


def _document(what: str, source: str, judged: "Judged") -> dict[str, object]:
    return {
        "what": what,
        "source": source,
        "outcome": judged.outcome,
        "method": judged.method,
        "signer": judged.signer,
        "publisher": judged.publisher.name if judged.publisher else None,
        "problem": judged.problem or None,
        "left_out": list(judged.left_out),
    }


@contextmanager
def _new_file(place: Path) -> Iterator[BinaryIO]:
    """A file that was not there, made before anything is kept; gone again if what it was made for is refused."""
    with place.open("xb") as sink:
        try:
            yield sink
        except BaseException:
            place.unlink()
            raise
