"""`tidegate trust init|add-key|lint|sign|publish|rotate`: ceremonies of officers who are not in one room.

A ceremony is a folder that travels (`signing.draft_folder`). It begins and ends at the origin's home; in between it
is looked at and signed on any machine, without a home.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.home import PROFILES
from tidegate.cli.doors import Door, pass_app, passphrase_option
from tidegate.output import plain, say, show
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from securesystemslib.signer import Key

    from signing.drafts import Draft, Waiting
    from signing.profiles import Quorum
    from signing.repository import TrustState

_KEY_BYTES = 64 << 10
_ROOT_BYTES = 1 << 20
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


class _Raised(click.ParamType):  # type: ignore[type-arg]  # generic only to the type checker
    """A number of keys that is above the profile's: `root=3/5`."""

    name = "ROLE=NEED/OF"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, "Quorum"]:
        from signing.profiles import Quorum

        match = re.fullmatch(r"(root|targets|catalog)=([1-9][0-9]?)/([1-9][0-9]?)", str(value))
        if match is None:
            self.fail(
                "write root=3/5: a role (root, targets or catalog), how many keys, of how many", param, ctx
            )
        return match[1], Quorum(int(match[2]), int(match[3]))


class _Exchange(click.ParamType):  # type: ignore[type-arg]  # generic only to the type checker
    """A key that takes another's place: `3fa90c1d=new.pub.json`."""

    name = "OLD=FILE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        old, equals, file = str(value).partition("=")
        if not equals or not file or not re.fullmatch(r"[0-9a-f]{8,64}", old):
            self.fail(
                "write OLD=FILE: 8 or more digits of the old key's id, and the new public half", param, ctx
            )
        return old, Path(file)


@click.command("init", cls=Door)
@click.argument("folder", type=_FOLDER)
@click.option(
    "--profile", type=click.Choice(PROFILES), help="Must be the home's own; stated to be sure of it."
)
@click.option(
    "--threshold", "thresholds", type=_Raised(), multiple=True,
    help="More keys than the profile asks for, such as root=3/5. Never fewer.",
)  # fmt: skip
@pass_app
def begin(app: App, folder: Path, profile: str | None, thresholds: tuple[tuple[str, "Quorum"], ...]) -> None:
    """Begin an origin's first ceremony in FOLDER, where the officers' keys are elsewhere.

    \b
    tidegate init harbour --role origin --profile officers --officers-elsewhere
    tidegate trust init ceremony --threshold root=3/5
    tidegate trust add-key ceremony --role root --person alice alice.pub.json
    """
    from pipelines.trust_changes import held_at
    from signing import draft_making
    from signing.drafts import CeremonyUnusable
    from signing.profiles import Profile
    from signing.repository import TrustRepository
    from tidegate.founding import station_keys

    app.demand("origin")
    if profile not in (None, app.home.profile):
        raise CeremonyUnusable("--profile", f"is {profile}, and the home was made with {app.home.profile}")
    if held_at(TrustRepository(app.home.trust)).roots:
        raise CeremonyUnusable(str(app.home.trust), "this origin has its trust; `trust rotate` changes it")
    chosen = Profile(app.home.profile)
    draft = draft_making.begin(
        chosen, app.home.name, station_keys(app.home, chosen), now=app.now, quorums=dict(thresholds)
    )
    _begun(app, folder, draft)


@click.command("add-key", cls=Door)
@click.argument("folder", type=_FOLDER)
@click.argument("file", type=_FILE)
@click.option("--role", required=True, help="root, targets, catalog or site-NAME.")
@click.option(
    "--person", required=True, metavar="NAME", help="Whose key it is; stands in the signed document."
)
@pass_app
def add_key(app: App, folder: Path, file: Path, role: str, person: str) -> None:
    """Let the public key in FILE sign as a role from this ceremony on. Before anybody has signed.

    \b
    tidegate trust add-key ceremony --role catalog --person alice alice.pub.json
    """
    from signing import draft_folder, draft_making
    from signing.drafts import CeremonyUnusable

    draft = draft_folder.read(folder)
    if draft_folder.signatures(folder):
        raise CeremonyUnusable(str(folder), "somebody has signed already; other keys take a new ceremony")
    draft = draft_making.with_key(draft, role, person, _public_key(file))
    draft_folder.rewrite(folder, draft)
    _shown(app, folder, draft)


@click.command(cls=Door)
@click.argument("place", metavar="FOLDER|ROOT.json", type=click.Path(path_type=Path))
@pass_app
def lint(app: App, place: Path) -> None:
    """Look a ceremony or a root over: numbers of keys and people, kinds of keys, roles apart, expiry.

    \b
    tidegate trust lint ceremony
    tidegate trust lint harbour-root.json
    """
    from pipelines.shipment_words import shipments
    from signing import draft_folder, drafts
    from signing.issue import refuse
    from signing.lint import lint_root

    if place.is_dir():
        draft = draft_folder.read(place)
        drafts.waiting(draft, draft_folder.signatures(place))
        problems = drafts.problems(draft, now=app.now)
        shipments(draft)
    else:
        problems = lint_root(read_file(place, max_bytes=_ROOT_BYTES), now=app.now)
    refuse(place.name, problems)
    show(
        {"place": str(place), "problems": []},
        f"{place}: nothing is wrong with it.",
        as_json=app.settings.as_json,
    )


@click.command(cls=Door)
@click.argument("folder", type=_FOLDER)
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="URI|PATH",
    help="Your key; in the hybrid profile both.",
)
@passphrase_option
@pass_app
def sign(app: App, folder: Path, keys: tuple[str, ...]) -> None:
    """Sign what the ceremony in FOLDER changes, after reading it in words. On any machine, without a home.

    \b
    tidegate trust sign ceremony --key alice.pem
    """
    from pipelines.shipment_words import words
    from signing import draft_folder, drafts
    from signing.issue import refuse
    from signing.keys import load_signer
    from tidegate.keyring import key_uri

    draft = draft_folder.read(folder)
    refuse("the ceremony", drafts.problems(draft, now=app.now))
    changes = words(draft)
    if not app.settings.as_json:
        say(plain("\n".join(["You sign this:", "", *changes, ""])))
        say(plain("\n".join(_base_lines(draft))))
    made = []
    for name in keys:
        signer = load_signer(key_uri(name), passphrase=app.passphrase)
        made += drafts.sign(draft, signer, now=app.now)
    files = [draft_folder.add_signature(folder, one) for one in made]
    lines = [f"Wrote {file}." for file in files]
    lines.append(
        "Next:    carry the folder on, or these files back into it; at the origin: tidegate trust publish FOLDER"
    )
    document = {"files": [str(file) for file in files], "roles": [one.role for one in made]}
    show({**document, "changes": changes}, "\n".join(lines), as_json=app.settings.as_json)


@click.command(cls=Door)
@click.argument("folder", type=_FOLDER)
@pass_app
def publish(app: App, folder: Path) -> None:
    """Put the ceremony in FOLDER in force at its origin, once enough have signed.

    Every signature is verified and every number counted here again; the station adds snapshot and timestamp.

    \b
    tidegate trust publish ceremony
    """
    from pipelines.shipment_words import shipments
    from pipelines.trust_changes import put_in_force
    from signing import draft_folder
    from signing.digests import sha256_hex

    app.demand("origin")
    draft = draft_folder.read(folder)
    done = put_in_force(app.work, draft, draft_folder.signatures(folder))
    root = done.state.roots[-1]
    lines = [f"{role}: signed by {', '.join(who)}" for role, who in done.signers.items()]
    lines.insert(
        0, "In force already." if done.again else f"In force: {', '.join(draft_folder.numbered(draft))}."
    )
    packed = ", ".join(one.export.bundle for one in shipments(draft))
    lines.append(f"Next:    {_after(draft, packed)}")
    document = {"root": len(done.state.roots), "fingerprint": sha256_hex(root), "signed": dict(done.signers)}
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@click.command(cls=Door)
@click.argument("folder", type=_FOLDER)
@click.option(
    "--replace", "replaced", type=_Exchange(), multiple=True,
    help="A key that takes the place of another, in every role that the other has.",
)  # fmt: skip
@click.option("--person", metavar="NAME", help="Whose the new keys are. Default: the person of each old one.")
@click.option(
    "--retire", "retired", multiple=True, metavar="NAME", help="A person whose keys leave every role."
)
@click.option(
    "--renew",
    multiple=True,
    metavar="ROLE",
    help="Sign anew for another lifetime: root, targets, catalog, site-NAME.",
)
@click.option("--replace-station", is_flag=True, help="New keys of this machine for snapshot and timestamp.")
@pass_app
def rotate(
    app: App,
    folder: Path,
    replaced: tuple[tuple[str, Path], ...],
    person: str | None,
    retired: tuple[str, ...],
    renew: tuple[str, ...],
    *,
    replace_station: bool,
) -> None:
    """Begin a change of keys, or the yearly signature, in FOLDER; then add-key, sign and publish as at the first.

    \b
    tidegate trust rotate ceremony --replace 3fa90c1d=alice-new.pub.json
    tidegate trust rotate ceremony --renew root --renew targets --renew catalog
    """
    from signing import draft_folder, draft_making
    from signing.profiles import Profile
    from signing.repository import TrustRepository
    from tidegate.founding import station_keys

    app.demand("origin")
    if not (replaced or retired or renew or replace_station):
        raise click.UsageError("say what changes: --replace, --retire, --renew or --replace-station")
    draft_folder.demand_new(folder)
    state = TrustRepository(app.home.trust).load()
    exchanged = {}
    for old, file in replaced:
        keyid, owner = _held_key(state, old)
        exchanged[keyid] = _owned(_public_key(file), person or owner)

    def change(*more: str, station: Sequence["Key"] = ()) -> "Draft":
        return draft_making.changing(
            state,
            app.home.name,
            now=app.now,
            replaced=exchanged,
            retired=retired,
            renew=(*renew, *more),
            station=station,
        )

    if replace_station:
        change("root")  # whatever is wrong is said before a key is made
        draft = change(station=station_keys(app.home, Profile(app.home.profile), replacing=True))
    else:
        draft = change()
    _begun(app, folder, draft)


def begin_site(app: App, folder: Path, site: str) -> None:
    """Begin the ceremony that adds a site, for `tidegate sites add --draft`."""
    from signing import draft_making
    from signing.repository import TrustRepository

    state = TrustRepository(app.home.trust).load()
    _begun(app, folder, draft_making.adding_site(state, site, app.home.name, now=app.now))


def begin_people(app: App, folder: Path) -> None:
    """Begin the ceremony that signs who the people are, for `tidegate people publish --draft`."""
    from pipelines.trust_changes import people_to_sign
    from signing import draft_making
    from signing.repository import TrustRepository
    from signing.roots import PEOPLE_PATH

    app.demand("origin")
    state = TrustRepository(app.home.trust).load()
    payloads = {PEOPLE_PATH: people_to_sign(app.work)}
    _begun(app, folder, draft_making.publishing(state, payloads, app.home.name, now=app.now))


def show_folder(app: App, folder: Path) -> None:
    """Print what a ceremony changes, who has signed and who may still sign, for `tidegate trust show FOLDER`."""
    from signing import draft_folder

    _shown(app, folder, draft_folder.read(folder))


def _begun(app: App, folder: Path, draft: "Draft") -> None:
    from signing import draft_folder

    draft_folder.create(folder, draft)
    _shown(app, folder, draft)


def _shown(app: App, folder: Path, draft: "Draft") -> None:
    from pipelines.shipment_words import words
    from signing import draft_folder, drafts

    counts = drafts.waiting(draft, draft_folder.signatures(folder))
    problems = drafts.problems(draft, now=app.now)
    changes = words(draft)
    lines = [*changes, ""]
    lines += (
        [f"lacking: {problem}" for problem in problems] if problems else [_count_line(one) for one in counts]
    )
    lines.append(f"Next:    {_next_step(problems, counts)}")
    document = {
        "kind": draft.kind,
        "changes": changes,
        "lacking": problems,
        "signatures": [
            {"role": one.role, "asked_by": one.asked_by, "need": one.need, "signed": sorted(one.signed)}
            for one in counts
        ],
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def _count_line(count: "Waiting") -> str:
    from signing.drafts import shown_key

    missing = [shown_key(key) for keyid, key in count.keys.items() if keyid not in count.signed]
    line = f"{count.role}, as {count.asked_by} asks: {len(count.signed)} of {count.need} signatures"
    return line if count.done else "\n    ".join([f"{line}; may still sign:", *missing])


def _next_step(problems: list[str], counts: list["Waiting"]) -> str:
    if problems:
        return "tidegate trust add-key FOLDER --role ROLE --person NAME FILE.pub.json"
    if all(count.done for count in counts):
        return "tidegate trust publish FOLDER, at the origin"
    return "carry the folder to each officer: tidegate trust sign FOLDER --key KEY"


def _after(draft: "Draft", packed: str) -> str:
    if packed:
        return f"tidegate bundles finish DIR, where bundle {packed} was packed"
    if draft.kind == "add-site":
        return "tidegate sites add NAME --identity FILE, so that the site can be shipped to"
    if draft.kind == "init":
        return "tidegate trust root FILE, for sites that enrol"
    return "ship: sites get it with their next bundle"


def _base_lines(draft: "Draft") -> list[str]:
    from signing.digests import sha256_hex

    if not draft.base.roots:
        return ["This is a first root: compare every key above with its owner."]
    return [f"It follows root {len(draft.base.roots)}, fingerprint {sha256_hex(draft.base.roots[-1])}."]


def _held_key(state: "TrustState", start: str) -> tuple[str, str | None]:
    """Return the id and the person of the one key whose id begins so."""
    from signing.profiles import person_of
    from signing.refusals import NoSuchRole

    delegations = state.targets.delegations
    keys = {**state.root.keys, **(delegations.keys if delegations else {})}
    found = [keyid for keyid in keys if keyid.startswith(start)]
    if len(found) != 1:
        raise NoSuchRole("change of keys", f"with exactly one key {start}…")
    return found[0], person_of(keys[found[0]])


def _owned(key: "Key", person: str | None) -> "Key":
    from signing.draft_making import owned

    return key if person is None else owned(key, person)


def _public_key(file: Path) -> "Key":
    from signing.keys import public_key_from_json

    return public_key_from_json(read_file(file, max_bytes=_KEY_BYTES), at=file.name)


COMMANDS = (begin, add_key, lint, sign, publish, rotate)
