"""`tidegate gc`: frees space, and says before what goes, what stays, and why."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.output import SHORT, show, size, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.gc import Plan


@click.command(cls=Door)
@click.option("--plan", "only_plan", is_flag=True, help="Only say what would go and what stays, and why.")
@click.option(
    "--discard-quarantine",
    "discard",
    multiple=True,
    metavar="BUNDLE",
    help="Also give up an unfinished or refused arrival; named by its folder, as --plan shows it. Recorded.",
)
@pass_app
def gc(app: App, only_plan: bool, discard: tuple[str, ...]) -> None:
    """Free space: remove bytes that no tier, rollback, transfer or delta can need, and what crashes left behind.

    Records stay: a version whose bytes went is still in the log, and the bundle that brought it brings it again.
    Works on a full disk; refused while others import, export or hand over.
    """
    from pipelines.gc import collect, plan
    from registry.reserve import lent

    with lent(app.home.path):
        try:
            found = (plan if only_plan else collect)(app.work, discard=discard)
        finally:
            app.close()  # the database's own log takes space until then
    show(
        _document(found, done=not only_plan),
        _text(app, found, done=not only_plan),
        as_json=app.settings.as_json,
    )


def _text(app: App, found: "Plan", *, done: bool) -> str:
    goes = [(item.version.ref, size(item.bytes), item.reason) for item in found.versions.removable]
    counts, sizes = Counter[str](), Counter[str]()
    for item in found.rubbish:
        counts[item.what] += 1
        sizes[item.what] += item.bytes
    goes += [(f"{counts[what]} not of a version", size(sizes[what]), what) for what in counts]
    stays = [
        (item.version.ref, size(sum(item.version.blobs.values())), "; ".join(item.reasons))
        for item in found.versions.kept
    ]
    stays += [(room.name[:SHORT], size(room.bytes), f"in quarantine: {room.what}") for room in found.waiting]
    lines = [
        table(("removed" if done else "goes", "bytes", "why"), goes, empty="Nothing to remove."),
        "",
        table(("stays", "bytes", "why"), stays, empty="Nothing else is here."),
        "",
        f"{'Freed' if done else 'Would free'} {size(found.bytes - found.linked)}."
        + (f" {size(found.linked)} more are held by folders handed over to engines." if found.linked else ""),
    ]
    if found.in_use:
        lines.append("Others are at work: quarantine and what is half-written were not looked at.")
    return "\n".join([*lines, *_next(app, found, done=done)])


def _next(app: App, found: "Plan", *, done: bool) -> list[str]:
    if not done:
        return ["Next:    tidegate gc"] if found.bytes else []
    if app.home.is_site and found.versions.removable:
        return [
            "Next:    tidegate receipts write --out FILE  (the origin builds on what the last receipt names)"
        ]
    return []


def _document(found: "Plan", *, done: bool) -> dict[str, Any]:
    return {
        "done": done,
        "bytes": found.bytes,
        "linked": found.linked,
        "in_use": found.in_use,
        "versions": [
            {
                "version": item.version.ref,
                "digest": item.version.digest,
                "reason": item.reason,
                "bytes": item.bytes,
                "blobs": sorted(item.blobs),
            }
            for item in found.versions.removable
        ],
        "rubbish": [
            {"what": item.what, "place": str(item.place), "bytes": item.bytes} for item in found.rubbish
        ],
        "kept": [
            {"version": item.version.ref, "digest": item.version.digest, "reasons": list(item.reasons)}
            for item in found.versions.kept
        ],
        "quarantine": [{"name": room.name, "what": room.what, "bytes": room.bytes} for room in found.waiting],
    }
