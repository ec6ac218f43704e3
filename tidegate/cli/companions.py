"""`tidegate companions` and `tidegate client-config`: the files that go with a model, and what a client reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref, model_name
from tidegate.cli.doors import Noun, pass_app
from tidegate.errors import CompanionsDrifted
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from registry.companions import Companions

_tier = click.option("--tier", required=True, help="The tier that has it pinned.")
_model = click.option("--model", required=True, metavar="NAMESPACE/NAME", help="The model that it goes with.")


@click.group(cls=Noun)
def companions() -> None:
    """AGENTS.md, skills, prompts, client policies: bundled, pinned and rolled back with the model."""


@companions.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", required=True, help="What the set is called; a new set may take the name over.")
@pass_app
def add(app: App, folder: Path, name: str) -> None:
    """Take FOLDER in as a set of companions; a file that holds what looks like a secret is refused.

    It may hold AGENTS.md, README.md, requirements.toml, managed_config.toml, config.toml, engine.toml,
    chat_template.jinja, contract.json, prompts/* and skills/NAME/*, and nothing else.
    """
    from pipelines.companions import add_companions
    from registry.companions import bound_to_a_place, decode

    row = add_companions(app.work, folder, name=name)
    bound = bound_to_a_place(decode(row.body.encode()))
    lines = [f"Companions {row.name} are {row.digest[:SHORT]}."]
    lines += [f"  Not portable across tiers: {item}." for item in bound]
    document = {**_brief(row.content()), "not_portable": [str(item) for item in bound]}
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@companions.command("set")
@click.argument("model")
@click.argument("name", required=False)
@click.option("--none", "nothing", is_flag=True, help="From now on no companions go with it.")
@pass_app
def set_(app: App, model: str, name: str | None, *, nothing: bool) -> None:
    """Say that the companions NAME go with MODEL (or with one version, MODEL@3) from the next promotion on."""
    from pipelines.companions import set_companions

    if (name is None) != nothing:
        raise click.UsageError("name the companions, or say --none")
    digest = None
    if name is not None:
        with app.store.view() as view:
            digest = view.document("companions", name).digest
    row = set_companions(app.work, model, digest)
    said = f"{name} ({str(digest)[:SHORT]}) go" if digest else "No companions go"
    show(row.content(), f"{said} with {model} from the next promotion on.", as_json=app.settings.as_json)


@companions.command("list")
@pass_app
def list_(app: App) -> None:
    """Every set held here, and the tiers that have it pinned."""
    with app.store.view() as view:
        rows, pins = view.documents("companions"), view.pins()
    where = {
        row.digest: [f"{pin.tier}:{pin.model}" for pin in pins if pin.companions == row.digest]
        for row in rows
    }
    lines = [
        (row.name, row.digest[:SHORT], ", ".join(where[row.digest]) or "-", row.added_at) for row in rows
    ]
    empty = "None yet. Next: tidegate companions add FOLDER --name NAME"
    text = table(("companions", "digest", "pinned in", "since"), lines, empty=empty)
    document = [{**_brief(row.content()), "pinned": where[row.digest]} for row in rows]
    show(document, text, as_json=app.settings.as_json)


@companions.command("show")
@click.argument("name")
@pass_app
def show_(app: App, name: str) -> None:
    """The files of a set, and what in them holds in one place only."""
    from registry.companions import bound_to_a_place, decode

    with app.store.view() as view:
        row = view.document("companions", name)
    found = decode(row.body.encode())
    bound = bound_to_a_place(found)
    lines = [f"{found.name} ({row.digest[:SHORT]})"]
    lines += [f"  {path}  {len(text.encode()):,} bytes" for path, text in found.files.items()]
    lines += [f"  Not portable across tiers: {item}." for item in bound]
    document = {
        "name": found.name,
        "digest": row.digest,
        "files": dict(found.files),
        "not_portable": [str(b) for b in bound],
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@companions.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_tier
@_model
@pass_app
def write(app: App, folder: Path, tier: str, model: str) -> None:
    """Write the pinned files below FOLDER, as they were reviewed."""
    from pipelines.companions import write_companions

    found = _pinned(app, tier, model)
    written = write_companions(found, folder)
    text = f"Wrote {len(written)} files of {found.name} ({found.digest[:SHORT]}) below {folder}."
    show(
        {"digest": found.digest, "files": [str(path) for path in written]}, text, as_json=app.settings.as_json
    )


@companions.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_tier
@_model
@click.option(
    "--as", "name", default="requirements.toml", show_default=True, help="The pinned file to hold it against."
)
@pass_app
def drift(app: App, file: Path, tier: str, model: str, name: str) -> None:
    """How FILE on this machine (/etc/codex/requirements.toml) differs from the pinned one. Exits 194 if it does."""
    from pipelines.companions import drifted, pinned_companions
    from registry.companions import MAX_BYTES

    text = read_file(file, max_bytes=MAX_BYTES).decode(errors="replace")
    with app.store.view() as view:
        found = drifted(pinned_companions(view, tier, model_name(model)), name, text)
    lines = [f"  {item}" for item in found] or [f"{file} says what {tier} has pinned."]
    document = [{"at": item.at, "pinned": item.pinned, "found": item.found} for item in found]
    show(document, "\n".join(lines), as_json=app.settings.as_json)
    if found:
        raise CompanionsDrifted(str(file), len(found))


@click.group("client-config", cls=Noun)
def client_config() -> None:
    """The configuration of a client, written from what a tier has pinned."""


@client_config.command()
@_tier
@_model
@click.option(
    "--base-url",
    required=True,
    help="The address that clients know, such as http://llm.team.example:8080/v1.",
)
@click.option(
    "--env-key",
    default="TIDEGATE_API_KEY",
    show_default=True,
    help="Environment variable that holds the key.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it here instead of showing it."
)
@pass_app
def codex(app: App, tier: str, model: str, base_url: str, env_key: str, out: Path | None) -> None:
    """The config.toml of Codex CLI: model, address, Responses API and context window from the pin."""
    from pipelines.client_config import codex as make
    from pipelines.engines.endpoint import Endpoint
    from signing.durable import write_durably

    address = f"{Endpoint.parse(base_url)}/v1"
    with app.store.view() as view:
        made = make(view, tier, model_name(model), base_url=address, env_key=env_key)
    if out is not None:
        write_durably(out, made.text.encode())
    text = made.text.rstrip() if out is None else f"Wrote {out} for {model}@{made.pin.ordinal} in {tier}."
    if made.left_out and out is not None:
        text += f"\nLeft out of the companions' own config.toml, as the pin decides it: {', '.join(made.left_out)}."
    document = {"config": made.text, "version": made.pin.version, "left_out": list(made.left_out)}
    show(document, text, as_json=app.settings.as_json)


def _pinned(app: App, tier: str, model: str) -> "Companions":
    from pipelines.companions import pinned_companions

    with app.store.view() as view:
        return pinned_companions(view, tier, Ref.parse(model).model).companions


def _brief(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != "body"}
