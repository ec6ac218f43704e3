"""`agent` and `drift`: what the engines truly serve, and whether that is what was pinned."""

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.output import SHORT, show, table
from tidegate.wiring import App


@click.command(cls=Door)
@click.argument("tier")
@click.option("--node", help="What to call this node, instead of what serving.toml does.")
@pass_app
def agent(app: App, tier: str, node: str | None) -> None:
    """Ask each engine of TIER on this node what it truly serves, hash the files, and record what was seen.

    Run it from a timer; `tidegate drift` judges what it saw. Exits 0 whatever was seen.
    """
    from pipelines.rollout.agent import observe
    from signing.canonical import parse

    app.demand("site")
    rows = observe(app.work, tier, node=node)
    found = [{**row.content(), "body": parse(row.body.encode(), max_bytes=1 << 20)} for row in rows]
    lines = [
        (row.node, row.model, row.state, row.version[:SHORT] if row.version else "-", one["body"]["why"])
        for row, one in zip(rows, found, strict=True)
    ]
    empty = f"serving.toml places no model in {tier}."
    text = table(("node", "model", "state", "digest", "seen"), lines, empty=empty)
    show(found, text, as_json=app.settings.as_json)


@click.command(cls=Door)
@click.argument("tier", required=False)
@pass_app
def drift(app: App, tier: str | None) -> None:
    """Hold what was last seen to be served against what is pinned. Exits 225 when anything is not as pinned.

    An engine that is silent, one that does not prove its files, and one that nobody looked at for too long are named
    too: of those, nobody knows what they serve.
    """
    from dataclasses import asdict

    from pipelines.drift import Drifted
    from pipelines.drift import drift as judge
    from tidegate.output import duration

    with app.store.view() as view:
        if tier is not None:
            view.tier(tier)
        pins = [pin for pin in view.pins() if tier in (None, pin.tier)]
        seen = view.observations(tier)
    found = judge(pins, seen, now=app.now, hours=_hours(app))
    lines = []
    for one in found:
        age = "never looked at" if one.age is None else f"{duration(max(one.age, 0) * 3600)} ago"
        where = f"{one.tier}/{one.node or '-'}"
        lines.append(f"  {'ok ' if one.ok else 'NO '}  {where}  {one.model}: {one.message} ({age})")
        if not one.ok:
            lines.append(f"       Next: {one.next_step}")
    text = "\n".join(lines) or "Nothing is pinned, and nothing was seen."
    document = [{**asdict(one), "ok": one.ok, "age_hours": one.age} for one in found]
    for line in document:
        del line["age"]  # said with its unit instead
    show(document, text, as_json=app.settings.as_json)
    wrong = sum(not one.ok for one in found)
    if wrong:
        raise Drifted(wrong, tier or "all tiers")


def _hours(app: App) -> dict[str, int]:
    """How old an observation may be in each tier; a home without serving.toml goes by the default."""
    from pipelines.rollout import settings
    from pipelines.rollout.settings import FILE

    if not (app.home.path / FILE).exists():
        return {}
    with app.store.view() as view:
        tiers = {row.tier for row in view.tiers()}
    found = settings.read(app.home.path, tiers=tiers)
    return {name: one.observe_hours for name, one in found.tiers.items()}
