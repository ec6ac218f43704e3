"""`tidegate contracts`: what models emit, what engines parse, what routers accept; compared before they meet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.names import Ref
from tidegate.cli.doors import Noun, pass_app
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from registry.compatibility import Comparison
    from registry.contracts import Document
    from registry.views import View

_BYTES = 4 << 20


@click.group(cls=Noun)
def contracts() -> None:
    """Tool contracts, engine profiles and router contracts: documents with a digest and a history."""


@contracts.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--for", "ref", help="Also say that this version keeps to this tool contract.")
@pass_app
def add(app: App, file: Path, ref: str | None) -> None:
    """Keep the document in FILE: a tool contract, an engine profile or a router contract (JSON)."""
    from pipelines.agreements import add_document
    from registry.contracts import MalformedContract

    parsed = Ref.parse(ref) if ref is not None else None
    data = read_file(file, max_bytes=_BYTES)
    try:
        row, version = add_document(app.work, data, ref=parsed)
    except MalformedContract as refusal:
        raise MalformedContract(refusal.problem, at=f"{file.name}, {refusal.at}") from refusal
    text = f"{row.kind} {row.name} is {row.digest[:SHORT]}."
    if version is not None:
        text += f"\n{version.model}@{version.ordinal} keeps to it from now on."
    show(row.content(), text, as_json=app.settings.as_json)


@contracts.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_app
def tools(app: App, file: Path) -> None:
    """Show the tool definitions in FILE as the `tools` of a contract: OpenAI Chat or Responses tools, or MCP tools/list."""
    from registry.contracts import UnreadableToolList, tool_json, tools_from

    data = read_file(file, max_bytes=_BYTES)
    try:
        found = [tool_json(tool) for tool in tools_from(data)]
    except UnreadableToolList as refusal:
        raise UnreadableToolList(refusal.problem, at=f"{file.name}, {refusal.at}") from refusal
    show(found, json.dumps(found, indent=2, ensure_ascii=False), as_json=app.settings.as_json)


@contracts.command("list")
@pass_app
def list_(app: App) -> None:
    """Every document, and which tier's router speaks which."""
    from pipelines.agreements import KINDS

    with app.store.view() as view:
        rows = view.documents(*KINDS.values())
        settings = [setting for tier in view.tiers() if (setting := view.router(tier.tier)) is not None]
    used: dict[str, list[str]] = {}
    for setting in settings:
        for digest in (setting.router, setting.profile):
            used.setdefault(digest, []).append(setting.tier)
    lines = [
        (row.kind, row.name, row.digest[:SHORT], ", ".join(used.get(row.digest, ())) or "-", row.added_at)
        for row in rows
    ]
    text = table(
        ("kind", "name", "digest", "tiers", "since"),
        lines,
        empty="None yet. Next: tidegate contracts add FILE",
    )
    show(
        [{**row.content(), "tiers": used.get(row.digest, [])} for row in rows],
        text,
        as_json=app.settings.as_json,
    )


@contracts.command("show")
@click.argument("name")
@pass_app
def show_(app: App, name: str) -> None:
    """One document, by name or digest."""
    from pipelines.agreements import find

    with app.store.view() as view:
        row = find(view, name)
    document = json.loads(row.body)
    show(document, json.dumps(document, indent=2, ensure_ascii=False), as_json=app.settings.as_json)


@contracts.command()
@click.argument("first")
@click.argument("second")
@click.option("--engine", help="Also compare with this engine profile.")
@pass_app
def compare(app: App, first: str, second: str, engine: str | None) -> None:
    """Would a model that keeps to FIRST work with SECOND? Names, digests or files.

    FIRST is a tool contract; SECOND a router contract, or a later tool contract (what changed). Exits 0 only when
    the verdict is compatible. Each finding names the tool, the place, the rule, and a call that would break.
    """
    from pipelines.agreements import compare_documents, load
    from registry.contracts import EngineProfile
    from registry.errors import NotFound

    def document(view: "View", name: str) -> "Document":
        path = Path(name)
        return load(view, name, read_file(path, max_bytes=_BYTES) if path.is_file() else None)

    with app.store.view() as view:
        profile = document(view, engine) if engine else None
        if profile is not None and not isinstance(profile, EngineProfile):
            raise NotFound("engine profile", str(engine))
        found = compare_documents(document(view, first), document(view, second), profile)
    show(found.to_json(), comparison_text(found), as_json=app.settings.as_json)
    found.require()


def comparison_text(found: "Comparison") -> str:
    """The verdict, then each finding with its witness and next step."""
    lines = [f"Verdict: {found.verdict}"]
    for finding in found.findings:
        place = " ".join(part for part in (finding.tool, finding.path) if part)
        lines.append(
            f"  {finding.verdict}: {finding.rule}{f' at {place}' if place else ''}: {finding.message}"
        )
        if finding.witness is not None:
            lines.append(f"       Example: {json.dumps(finding.witness, ensure_ascii=False)}")
        if finding.next_step:
            lines.append(f"       Next: {finding.next_step}")
    return "\n".join(lines)


@contracts.command("set-router")
@click.argument("tier")
@click.argument("contract")
@click.option("--engine", required=True, help="The engine profile that the tier's engines run.")
@pass_app
def set_router(app: App, tier: str, contract: str, engine: str) -> None:
    """From now on TIER's router speaks CONTRACT. Shows which pinned versions that breaks, before it takes effect."""
    from pipelines.promote import contract_fact
    from pipelines.promote import set_router as put

    app.demand("site")
    with app.store.view() as view:
        router, profile = view.document("router-contract", contract), view.document("engine-profile", engine)
        broken = []
        for pin in view.pins():
            if pin.tier == tier and pin.contract:
                fact = contract_fact(view, pin.contract, router=router.digest, profile=profile.digest)
                if fact.verdict != "compatible":
                    broken.append((f"{pin.model}@{pin.ordinal}", fact.verdict, fact.reasons))
    for name, verdict, reasons in broken:
        click.echo(f"{tier} serves {name}, which is {verdict} with this: {'; '.join(reasons)}", err=True)
    row = put(app.work, tier, router=router.digest, profile=profile.digest)
    text = f"{tier}: router contract {router.name} ({router.digest[:SHORT]}), engine profile {profile.name} ({profile.digest[:SHORT]})."
    document = {
        **row.content(),
        "breaks": [{"version": name, "verdict": verdict} for name, verdict, _ in broken],
    }
    show(document, text, as_json=app.settings.as_json)
