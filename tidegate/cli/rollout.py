"""`rollout` and `serving`: a pin carried out to the engines, and the files that say how."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.doors import Door, Noun, pass_app
from tidegate.output import SHORT, progress, say, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.rollout.carry import Done, Preview

_STRATEGIES = ("blue-green", "recreate", "alias-swap")  # a test holds them against the plan's


@click.command(cls=Door)
@click.argument("tier")
@click.argument("model")
@click.option(
    "--strategy", type=click.Choice(_STRATEGIES), help="Instead of the one in serving.toml, this once."
)
@click.option("--dry-run", is_flag=True, help="Show every step and what takes it back; touch nothing.")
@pass_app
def rollout(app: App, tier: str, model: str, strategy: str | None, *, dry_run: bool) -> None:
    """Make the engines of TIER on this node serve what is pinned for MODEL, without dropping a request.

    Starts the new engine, proves that it answers and which files it serves, runs the smoke suite on it, switches
    the proxy, lets the old engine finish, and stops it. If a step fails, what served before serves. If this command
    is cut off, the same command goes on where it was. After a rollback the same command carries the way back out.
    """
    from pipelines.rollout import carry
    from registry.names import model_name

    app.demand("site")
    name = model_name(model)
    if dry_run:
        _show_preview(app, tier, carry.preview(app.work, tier, name, strategy=strategy))
        return
    with progress("reading the files") as bar:
        done = carry.carry_out(app.work, tier, name, strategy=strategy, progress=bar, say=_say(app))
    _show_done(app, tier, done)


def _say(app: App) -> Any:
    """Each step as it begins, on stderr."""
    return (lambda _text: None) if app.settings.as_json else lambda text: say(f"  {text}", err=True)


def _show_preview(app: App, tier: str, found: "Preview") -> None:
    from pipelines.rollout.durations import durations

    with app.store.view() as view:
        took = durations(view, tier, found.pinned.model)
    live = found.live
    now = (
        f"{live.ref or 'nothing'}, slot {live.slot}{', gate shut' if live.closed else ''}"
        if live
        else "nothing"
    )
    lines = [
        f"{tier} would serve {found.pinned.ref} ({found.pinned.version[:SHORT]}) by {found.plan.strategy}; now: {now}.",
        f"It takes {took}." if took else "How long it takes was never measured here.",
        *(
            [f"First, rollout {found.unfinished} would be finished; it was cut off."]
            if found.unfinished
            else []
        ),
        *(f"  {step.name}{_undone(step.undo)}" for step in found.plan.steps),
    ]
    document = {
        "tier": tier,
        "set": found.pinned.document(),
        "strategy": str(found.plan.strategy),
        "live": live.document() if live else None,
        "unfinished": found.unfinished,
        "steps": [{"step": s.name, "undo": [u.name for u in s.undo]} for s in found.plan.steps],
        "milliseconds": took.median if took else None,
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def _undone(undo: Any) -> str:
    return f"   (taken back by: {', then '.join(step.name for step in undo)})" if undo else ""


def _show_done(app: App, tier: str, done: "Done") -> None:
    from pipelines.rollout.durations import seconds
    from signing.canonical import parse

    said = "serves" if done.row else "served already, and answers:"
    lines = [f"{tier} {said} {done.pinned.ref} ({done.pinned.version[:SHORT]}) from slot {done.live.slot}."]
    body: dict[str, Any] = {}
    if done.row is not None:
        body = parse(done.row.body.encode(), max_bytes=8 << 20, at="rollout")
        lines.append(f"  rollout {done.row.rollout}: {seconds(done.row.milliseconds)} in all")
        lines += [
            f"  {text}: {seconds(body[name])}"
            for name, text in (("switch_ms", "switch"), ("closed_ms", "gate shut"))
            if body[name] is not None
        ]
    lines += [f"  {note}" for note in done.notes]
    lines.append(f"Next:    tidegate agent {tier}, so that `tidegate drift {tier}` knows")
    document = {
        "tier": tier,
        "outcome": done.outcome,
        "set": done.pinned.document(),
        "live": done.live.document(),
        "rollout": done.row.rollout if done.row else None,
        "milliseconds": done.row.milliseconds if done.row else None,
        "account": body,
        "notes": list(done.notes),
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@click.group(cls=Noun)
def serving() -> None:
    """Where models are served on this node: what serving.toml says, and the files made from it."""


@serving.command("show")
@pass_app
def show_(app: App) -> None:
    """Check serving.toml, and say for each model where it is served, from which slot, and how long a rollout takes."""
    from pipelines.rollout.durations import durations
    from pipelines.rollout.front import NginxFront

    found = _read(app)
    rows: list[dict[str, Any]] = []
    with app.store.view() as view:
        for tier in found.tiers.values():
            for place in tier.models.values():
                front = NginxFront(tier.nginx, tier.tier, place.model, place.listen)
                live = front.live()
                took = durations(view, tier.tier, place.model)
                rows.append(
                    {
                        "tier": tier.tier,
                        "model": place.model,
                        "node": tier.node,
                        "strategy": str(tier.strategy),
                        "runner": tier.runner,
                        "listen": str(place.listen),
                        "live": live.document() if live else None,
                        "milliseconds": took.median if took else None,
                        "takes": str(took) if took else "not measured yet",
                    }
                )
    lines = [
        (r["tier"], r["model"], r["strategy"], r["listen"], _serving_now(r["live"]), r["takes"]) for r in rows
    ]
    text = table(
        ("tier", "model", "strategy", "clients come to", "serves", "a rollout takes"),
        lines,
        empty="serving.toml places no model yet.",
    )
    show(rows, text, as_json=app.settings.as_json)


def _serving_now(live: dict[str, Any] | None) -> str:
    if live is None:
        return "nothing yet"
    return "gate shut" if live["closed"] else f"{live['ref']} ({live['slot']})"


def _read(app: App) -> Any:
    from pipelines.rollout import settings

    with app.store.view() as view:
        tiers = {row.tier for row in view.tiers()}
    return settings.read(app.home.path, tiers=tiers)


@serving.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A new or empty folder for the files.",
)
@pass_app
def units(app: App, out: Path) -> None:
    """Write systemd units and the proxy's configuration, made from serving.toml, for somebody to read and install."""
    import shutil

    from pipelines.materialise import FolderTaken
    from pipelines.rollout.units import files
    from signing.durable import write_durably

    made = files(_read(app), app.home.path, program=shutil.which("tidegate") or "/usr/bin/tidegate")
    if out.exists() and any(out.iterdir()):
        raise FolderTaken(str(out), "is not empty")
    for name, text in made.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_durably(out / name, text.encode())
    listed = "\n".join(f"  {name}" for name in made)
    text = f"{len(made)} files in {out}:\n{listed}\nRead README first."
    show({"folder": str(out), "files": list(made)}, text, as_json=app.settings.as_json)
