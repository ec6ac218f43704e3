"""The commands of `tidegate contracts` about tiers: what each router speaks, what it must speak, and changing it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.names import Ref
from tidegate.cli.doors import Door, pass_app
from tidegate.output import SHORT, say, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.routers import Broken
    from registry.entities import RouterSetting
    from registry.router_patch import Patch
    from registry.views import View


@click.command(cls=Door)
@click.argument("tier", required=False)
@click.option("--history", is_flag=True, help="Also what it spoke before, oldest first.")
@pass_app
def routers(app: App, tier: str | None, *, history: bool) -> None:
    """What each tier's router speaks and its engines run, since when and by whom; of one tier or of all."""
    with app.store.view() as view:
        names = [view.tier(tier).tier] if tier is not None else [row.tier for row in view.tiers()]
        rows = [row for name in names for row in view.router_history(name)[0 if history else -1 :]]
        lines = [_line(view, row) for row in rows]
    text = table(
        ("tier", "no", "router contract", "digest", "engine profile", "digest", "since", "who"),
        lines,
        empty="No router contract is set. Next: tidegate contracts set-router TIER CONTRACT --engine PROFILE",
    )
    show([row.content() for row in rows], text, as_json=app.settings.as_json)


def _line(view: "View", row: "RouterSetting") -> tuple[object, ...]:
    router, profile = view.document_by_digest(row.router), view.document_by_digest(row.profile)
    names = [document.name if document is not None else "?" for document in (router, profile)]
    return (
        *(row.tier, row.position, names[0], row.router[:SHORT], names[1], row.profile[:SHORT]),
        *(row.since, row.actor),
    )


@click.command("set-router", cls=Door)
@click.argument("tier")
@click.argument("contract")
@click.option("--engine", required=True, help="The engine profile that the tier's engines run.")
@click.option(
    "--although-it-breaks",
    "although",
    multiple=True,
    metavar="REF",
    help="A version that stops working with this; each one has to be named.",
)
@click.option("--dry-run", is_flag=True, help="Show what would break and change nothing.")
@pass_app
def set_router(
    app: App, tier: str, contract: str, engine: str, although: tuple[str, ...], *, dry_run: bool
) -> None:
    """From now on TIER's router speaks CONTRACT. Refused while a version that TIER serves, or would go back to, breaks by it.

    With --dry-run nothing is changed; exits 0 only if the change would be made.
    """
    from pipelines.agreements import read_as
    from pipelines.routers import RouterBreaksPins, what_breaks
    from pipelines.routers import set_router as put
    from registry.contracts import EngineProfile, RouterContract

    app.demand("site")
    named = [Ref.parse(ref) for ref in although]
    with app.store.view() as view:
        view.tier(tier)
        router, profile = view.document("router-contract", contract), view.document("engine-profile", engine)
        broken = what_breaks(
            app.work,
            view,
            tier,
            read_as(view, router.digest, RouterContract),
            read_as(view, profile.digest, EngineProfile),
        )
        accepted = {view.version(ref).digest for ref in named}
    if not app.settings.as_json:
        _tell(tier, broken)
    what = f"router contract {router.name} ({router.digest[:SHORT]}), engine profile {profile.name} ({profile.digest[:SHORT]})"
    if dry_run:
        if unnamed := [item for item in broken if item.digest not in accepted]:
            raise RouterBreaksPins(tier, unnamed)
        document = {"tier": tier, "router": router.digest, "profile": profile.digest}
        text = f"{tier} would speak {what}."
        if not broken:
            text += " Nothing that it serves, or would go back to, breaks by it."
    else:
        row, broken = put(app.work, tier, router=router.digest, profile=profile.digest, although=named)
        document, text = row.content(), f"{tier}: {what}."
    show({**document, "breaks": [item.to_json() for item in broken]}, text, as_json=app.settings.as_json)


def _tell(tier: str, broken: list["Broken"]) -> None:
    for item in broken:
        found = item.comparison.against if item.comparison is not None else ()
        reasons = "; ".join(finding.message for finding in found) or "it was pinned without a tool contract"
        say(f"{tier}: {item.ref} ({item.place}) would be {item.verdict}: {reasons}", err=True)


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier that shall serve it.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the changed router contract here."
)
@click.option(
    "--out-engine",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the changed engine profile here.",
)
@pass_app
def patch(app: App, ref: str, tier: str, out: Path | None, out_engine: Path | None) -> None:
    """What must change in TIER's router contract and engine profile for REF to work there, as a JSON Patch (RFC 6902).

    The change was tried: with it the verdict is compatible. Also shows which other versions it would break. Writing it
    down changes no router; the router and the engines have to be changed by those who run them.
    """
    from pipelines.routers import patch as find
    from pipelines.routers import what_breaks
    from registry.contracts import to_json
    from signing.canonical import pretty_bytes
    from signing.durable import write_durably

    with app.store.view() as view:
        found = find(app.work, view, Ref.parse(ref), tier)
        broken = what_breaks(app.work, view, tier, found.router, found.profile)
    for path, changed in ((out, found.router), (out_engine, found.profile)):
        if path is not None:
            write_durably(path, pretty_bytes(to_json(changed)))
    document = {**found.to_json(), "breaks": [item.to_json() for item in broken]}
    show(document, _patch_text(found, broken, tier, out, out_engine), as_json=app.settings.as_json)


def _patch_text(
    found: "Patch", broken: list["Broken"], tier: str, out: Path | None, out_engine: Path | None
) -> str:
    from signing.canonical import canonical_bytes

    if not found.operations and not found.profile_operations:
        return f"Nothing has to change in {tier}: the verdict is compatible."
    lines = [f"Must change: {found.summary}."]
    for name, operations in (
        (f"router contract {found.router.name}", found.operations),
        (f"engine profile {found.profile.name}", found.profile_operations),
    ):
        lines += [f"JSON Patch of {name}:"] if operations else []
        lines += [f"  {canonical_bytes(dict(operation)).decode()}" for operation in operations]
    lines += [f"This breaks {item.ref} ({item.place}): {item.verdict}." for item in broken]
    lines += [f"Wrote {path}." for path in (out, out_engine) if path is not None]
    added = " and ".join(str(path) for path in (out, out_engine) if path is not None) or "what was changed"
    lines.append(
        f"Next: change the router and the engines so, `tidegate contracts add` {added}, then "
        f"`tidegate contracts set-router {tier} {found.router.name} --engine {found.profile.name}`."
    )
    return "\n".join(lines)
