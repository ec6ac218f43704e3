"""Commands of `tidegate people` about other homes and about cards: publish, follow-origin, card-issuer, card-list."""

from pathlib import Path

import click

from tidegate.cli.ceremonies import begin_people
from tidegate.cli.doors import Door, pass_app, passphrase_option
from tidegate.cli.signatures import Hand, signing_options
from tidegate.output import SHORT, show
from tidegate.wiring import App, read_file

_CERTIFICATE_BYTES, _LIST_BYTES = 16 << 10, 16 << 20
_file = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=Door)
@click.option(
    "--key", "keys", multiple=True, metavar="URI|PATH", help="Officers' keys. Default: those in the home."
)
@click.option(
    "--draft", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Begin a ceremony there, for officers elsewhere: `trust sign`, then `trust publish`.",
)  # fmt: skip
@passphrase_option
@pass_app
def publish(app: App, keys: tuple[str, ...], draft: Path | None) -> None:
    """Sign who the people of this origin are, for every bundle from here on. Officers with the targets role sign.

    Leavers and lost keys act at every site with the next bundle; who joins acts where the site follows its origin.
    """
    if draft is not None:
        begin_people(app, draft)
        return
    from collections.abc import Mapping

    from pipelines.people import publish_people
    from signing import ceremony
    from signing.repository import TrustRepository
    from tidegate.keyring import role_signers

    app.demand("origin")
    signers = [*app.work.publishers, *role_signers(app.home, named=keys, passphrase=app.passphrase)]
    repository = TrustRepository(app.home.trust)

    def signed(documents: Mapping[str, bytes]) -> None:
        repository.save(ceremony.publish(repository.load(), documents, signers, now=app.now))

    done = publish_people(app.work, signed)
    lines = [str(item) for item in done.differences] or ["Nothing changed since it was published last."]
    lines.append(
        f"Edition {done.version} of the people ({done.digest[:SHORT]}) rides in every bundle from here on."
    )
    document = {
        "version": done.version,
        "digest": done.digest,
        "differences": [vars(item) for item in done.differences],
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@click.command(cls=Door, name="follow-origin")
@click.option("--stop", is_flag=True, help="Follow no longer. One steward's signature is enough.")
@signing_options(optional=True)
@pass_app
def follow_origin(app: App, *, stop: bool, hand: Hand) -> None:
    """Let who joins at this site's origin act here, too, from the next bundle on.

    Leavers and lost keys of the origin act here in any case. Signed by as many stewards as a new person needs, each
    with this command; by nobody while nobody is registered here.
    """
    from pipelines.decide import request_decision
    from pipelines.people_following import enrolled_root, follow, follow_unsigned
    from registry.decisions import NAMESPACE, Kind

    app.demand("site")
    if not hand.given:
        if stop:
            raise click.UsageError("say who signs with --person, --reason and --key")
        changed = follow_unsigned(app.work)
        text = "This site follows its origin's people from now on." if changed else "It does so already."
        show({"follow": True, "missing": 0}, text, as_json=app.settings.as_json)
        return
    with app.store.view() as view:
        root = enrolled_root(view)
    signed = hand.signed(
        app,
        lambda reason: request_decision(
            app.work, Kind.FOLLOW_ORIGIN, root, hand.name, reason=reason, details={"follow": not stop}
        ),
        namespace=NAMESPACE,
        said=lambda asked: f"following the people of {asked['subject'][:SHORT]}",
    )
    if signed is None:
        return
    missing = follow(app.work, hand.name, payload=signed[0], signature=signed[1])
    text = "This site no longer follows its origin's people." if stop else _followed(missing)
    show({"follow": not stop, "missing": missing}, text, as_json=app.settings.as_json)


def _followed(missing: int) -> str:
    if missing == 0:
        return "This site follows its origin's people from now on."
    return f"Signed; {missing} more steward(s) give the same command."


@click.command(cls=Door, name="card-issuer")
@click.argument("file", type=_file)
@signing_options(optional=True)
@pass_app
def card_issuer(app: App, file: Path, *, hand: Hand) -> None:
    """Count PIV cards whose certificate the issuer in FILE (PEM or DER) signed as hardware keys.

    Signed by as many stewards as a new person needs, each with this command; by nobody while nobody is registered.
    """
    from pipelines.cards import add_issuer, issuer_digest
    from pipelines.decide import record_decision, request_decision
    from registry.decisions import NAMESPACE, Kind

    data = read_file(file, max_bytes=_CERTIFICATE_BYTES)
    digest = issuer_digest(data)
    if hand.given:
        signed = hand.signed(
            app,
            lambda reason: request_decision(app.work, Kind.CARD_ISSUER, digest, hand.name, reason=reason),
            namespace=NAMESPACE,
            said=lambda asked: f"the issuer of cards {asked['subject'][:SHORT]}",
        )
        if signed is None:
            return
        record_decision(app.work, hand.name, payload=signed[0], signature=signed[1])
    row = add_issuer(app.work, data, signed=hand.given)
    counts = _counts(app, row.body)
    text = f"The issuer {digest[:SHORT]} is kept. " + (
        "Its cards count from now on."
        if counts
        else "Its cards count once another steward gives the same command."
    )
    show({"digest": digest, "counts": counts}, text, as_json=app.settings.as_json)


def _counts(app: App, body: str) -> bool:
    from pipelines.decide import card_issuers

    with app.store.view() as view:
        return body.encode() in card_issuers(app.work, view).anchors


@click.command(cls=Door, name="card-list")
@click.argument("file", type=_file)
@pass_app
def card_list(app: App, file: Path) -> None:
    """Take in the list of revoked cards in FILE (PEM or DER), newer than the one that is held.

    Its issuer signed it, so nobody here has to. Once a list is here a newer one has to follow before it ends.
    """
    from pipelines.cards import add_list

    row = add_list(app.work, read_file(file, max_bytes=_LIST_BYTES))
    text = f"Taken in: the list of {row.name}." if row else "Nothing changed: a list as new as this is held."
    show({"taken": row is not None}, text, as_json=app.settings.as_json)


COMMANDS = (publish, follow_origin, card_issuer, card_list)
