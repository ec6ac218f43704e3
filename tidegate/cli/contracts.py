"""`tidegate contracts`: what models emit, what engines parse, what routers accept; compared before they meet."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from registry.names import Ref
from tidegate.cli.doors import Noun, pass_app
from tidegate.cli.routers import patch, routers, set_router
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from pipelines.deriving import Said
    from registry.compatibility import Comparison
    from registry.contract_diff import Change, Diff
    from registry.contracts import Document, Tool
    from registry.views import View

_BYTES = 4 << 20
_SHOWN = 160  # characters of a value in a diff
Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(cls=Noun)
def contracts() -> None:
    """Tool contracts, engine profiles and router contracts: documents with a digest and a history."""


contracts.add_command(routers)
contracts.add_command(set_router)
contracts.add_command(patch)


def _said_options(command: Command) -> Command:
    """What a person may say about a tool contract that is made here."""
    for option in (
        click.option(
            "--parser",
            "parsers",
            multiple=True,
            metavar="ENGINE=NAME",
            help="The parser that reads its calls on an engine.",
        ),
        click.option(
            "--surface",
            "surfaces",
            multiple=True,
            type=click.Choice(["chat", "responses"]),
            help="A surface that it offers. Default: both.",
        ),
        click.option("--context", type=click.IntRange(min=1), help="Tokens. Default: what the files state."),
        click.option("--family", help="How it writes calls. Default: what the chat template writes."),
        click.option("--name", help="The contract's name. Default: the model's name and the family."),
    ):
        command = option(command)
    return command


@contracts.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--from-tools",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Make a tool contract of the tools in this file (JSON or Python) instead.",
)
@_said_options
@click.option("--for", "ref", help="Also say that this version keeps to this tool contract.")
@pass_app
def add(
    app: App,
    file: Path | None,
    from_tools: Path | None,
    ref: str | None,
    name: str | None,
    family: str | None,
    context: int | None,
    surfaces: tuple[str, ...],
    parsers: tuple[str, ...],
) -> None:
    """Keep the document in FILE: a tool contract, an engine profile or a router contract (JSON).

    With --from-tools no FILE is needed: the tools are read as people have them (OpenAI, MCP tools/list, a Python
    module, which is read and never run), and what else a tool contract says is given by options, or, with --for, read
    off the version's own files.
    """
    from pipelines.agreements import add_document
    from registry.contracts import MalformedContract, encode

    if (file is None) == (from_tools is None):
        raise click.UsageError("name a FILE, or --from-tools FILE")
    parsed = Ref.parse(ref) if ref is not None else None
    if from_tools is not None:
        said = _said(from_tools, name, family, context, surfaces, parsers)
        data, source = encode(_made(app, parsed, said)), from_tools.name
    else:
        assert file is not None
        data, source = read_file(file, max_bytes=_BYTES), file.name
    try:
        row, version = add_document(app.work, data, ref=parsed)
    except MalformedContract as refusal:
        raise MalformedContract(refusal.problem, at=f"{source}, {refusal.at}") from refusal
    text = f"{row.kind} {row.name} is {row.digest[:SHORT]}."
    if version is not None:
        text += f"\n{version.model}@{version.ordinal} keeps to it from now on."
    show(row.content(), text, as_json=app.settings.as_json)


@contracts.command()
@click.argument("ref")
@click.option(
    "--tools",
    "file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The tools that it will be given (JSON or Python).",
)
@_said_options
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the contract here.")
@pass_app
def derive(
    app: App,
    ref: str,
    file: Path,
    out: Path | None,
    name: str | None,
    family: str | None,
    context: int | None,
    surfaces: tuple[str, ...],
    parsers: tuple[str, ...],
) -> None:
    """Make the tool contract of REF out of its chat template and the tools in a file, and show it.

    The template is rendered over one fixed dialogue, in a child process: that tells how calls are written, which roles
    are taken, and the digests by which a later template is told apart. Nothing is kept; `contracts add` does that.
    """
    from registry.contracts import to_json
    from signing.canonical import pretty_bytes
    from signing.durable import write_durably

    said = _said(file, name, family, context, surfaces, parsers)
    document = to_json(_made(app, Ref.parse(ref), said))
    text = pretty_bytes(document).decode().rstrip()
    if out is not None:
        write_durably(out, pretty_bytes(document))
        text = f"Wrote {out}. Next: tidegate contracts add {out} --for {ref}"
    show(document, text, as_json=app.settings.as_json)


def _said(
    file: Path,
    name: str | None,
    family: str | None,
    context: int | None,
    surfaces: tuple[str, ...],
    parsers: tuple[str, ...],
) -> "Said":
    from pipelines.deriving import Said
    from registry.contracts import SURFACES

    pairs = [pair.partition("=") for pair in parsers]
    if any(not engine or not parser for engine, _, parser in pairs):
        raise click.UsageError("write --parser ENGINE=NAME, such as vllm=hermes")
    return Said(
        tools=_tools_in(file),
        name=name,
        family=family,
        context=context,
        surfaces=surfaces or SURFACES,
        parsers={engine: parser for engine, _, parser in pairs},
    )


def _made(app: App, ref: Ref | None, said: "Said") -> "Document":
    from pipelines.deriving import derived, written_down

    if ref is None:
        return written_down(said)
    with app.store.view() as view:
        return derived(app.work, view, ref, said)


def _tools_in(file: Path) -> tuple["Tool", ...]:
    from registry.contracts import UnreadableToolList, tools_from

    data = read_file(file, max_bytes=_BYTES)
    if file.suffix == ".py":
        from pipelines.python_tools import tools_from_python

        return tools_from_python(data, name=file.name)
    try:
        return tools_from(data)
    except UnreadableToolList as refusal:
        raise UnreadableToolList(refusal.problem, at=f"{file.name}, {refusal.at}") from refusal


@contracts.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_app
def tools(app: App, file: Path) -> None:
    """Show the tool definitions in FILE as the `tools` of a contract: OpenAI Chat or Responses tools, MCP tools/list, or a Python module.

    A Python module (.py) is read and never run.
    """
    from registry.contracts import tool_json

    found = [tool_json(tool) for tool in _tools_in(file)]
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
    from pipelines.agreements import compare_documents
    from registry.contracts import EngineProfile
    from registry.errors import NotFound

    with app.store.view() as view:
        profile = _document(app, view, engine) if engine else None
        if profile is not None and not isinstance(profile, EngineProfile):
            raise NotFound("engine profile", str(engine))
        found = compare_documents(_document(app, view, first), _document(app, view, second), profile)
    show(found.to_json(), comparison_text(found), as_json=app.settings.as_json)
    found.require()


@contracts.command("diff")
@click.argument("old")
@click.argument("new")
@pass_app
def diff_(app: App, old: str, new: str) -> None:
    """Show every place where NEW differs from OLD, two documents of one kind, and what that means. Names, digests or files."""
    from registry.contract_diff import diff

    with app.store.view() as view:
        first, second = _document(app, view, old), _document(app, view, new)
    found = diff(first, second)
    names = {"old": first.digest, "new": second.digest}
    show({**names, **found.to_json()}, _diff_text(found), as_json=app.settings.as_json)


def _document(app: App, view: "View", name: str) -> "Document":
    from pipelines.agreements import load

    path = app.named_file(name)
    return load(view, name, None if path is None else read_file(path, max_bytes=_BYTES))


def _diff_text(found: "Diff") -> str:
    if not found.changes:
        return "The same document."
    lines = [_change_line(change) for change in found.changes]
    return "\n".join([*lines, "What that means for those who were prepared for the first:", *[
        f"  {line}" for line in comparison_text(found.comparison).splitlines()
    ]])  # fmt: skip


def _change_line(change: "Change") -> str:
    """`~ tools get_weather input /properties/city/type: "string" -> "integer"`."""
    head, rest = (change.at[:3], change.at[3:]) if change.at[0] == "tools" else (change.at, ())
    place = " ".join((*head, *(["/" + "/".join(rest)] if rest else [])))
    before, after = _value(change.before), _value(change.after)
    said = {"added": f"+ {place}: {after}", "removed": f"- {place}: {before}"}
    return said.get(change.how, f"~ {place}: {before} -> {after}")


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


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
