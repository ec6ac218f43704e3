"""JSON Schema of what operations take and answer, made from the commands themselves."""

import inspect
from typing import Any

import click

from tidegate.afar import Way
from tidegate.server.api.performing import Command, is_list, kind_of

_TEXT = 100_000  # characters of a parameter; commands have limits of their own
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_PATH = {
    "type": "string",
    "minLength": 1,
    "maxLength": 1000,
    "description": "What you call it; opened nowhere.",
}
_FILE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path", "content"],
    "properties": {"path": _PATH, "content": _BASE64},
}
_FOLDER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path", "files"],
    "properties": {"path": _PATH, "files": {"type": "array", "maxItems": 5000, "items": _FILE}},
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["command", "exit_code", "document", "preface", "text", "notes", "files"],
    "properties": {
        "command": {"type": "string", "description": "As it is typed after `tidegate`."},
        "exit_code": {"type": "integer", "description": "As the command ends on the command line."},
        "document": {"description": "What the command shows with --json."},
        "preface": {"type": "string", "description": "What it prints before its answer, with ?as=text."},
        "text": {"type": ["string", "null"], "description": "What it shows to people; null: nothing."},
        "notes": {"type": "string", "description": "What it says on stderr."},
        "files": {
            "type": "array",
            "description": "What the command wrote.",
            "items": {
                "type": "object",
                "required": ["parameter", "path", "content"],
                "properties": {
                    "parameter": {"type": "string"},
                    "path": {"type": "string", "description": "Below the folder of the parameter's file."},
                    "content": _BASE64,
                },
            },
        },
    },
}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457, with the refusal as the command line has it.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The refusal's name."},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "exit_code": {"type": "integer"},
        "next_step": {"type": "string", "description": "What to do now."},
    },
}

COMPONENTS: dict[str, Any] = {"Answer": ANSWER, "Problem": PROBLEM}


def named(component: str) -> dict[str, str]:
    """A reference to one of `COMPONENTS`."""
    assert component in COMPONENTS, component
    return {"$ref": f"#/components/schemas/{component}"}


def request_schema(command: Command) -> dict[str, Any]:
    """The body of an operation."""
    parameters = command.parameters
    required = [name for name, parameter in parameters.items() if parameter.required]
    properties = {name: _parameter(command, name, parameter) for name, parameter in parameters.items()}
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**schema, "required": required} if required else schema


def description(command: click.Command) -> str:
    """A command's own help, as paragraphs."""
    return inspect.cleandoc(command.help or "").replace("\b\n", "")


def _parameter(command: Command, name: str, parameter: click.Parameter) -> dict[str, Any]:
    one = _one(command.rule.files.get(name), parameter)
    if is_list(parameter):
        most = {"minItems": 1} if parameter.required else {}
        one = {"type": "array", "items": one, "maxItems": 1000, **most}
    said = getattr(parameter, "help", None)
    return {**one, "description": said} if said else one


def _one(way: Way | None, parameter: click.Parameter) -> dict[str, Any]:
    if way is not None:
        return _of_path(way)
    wanted = kind_of(parameter)
    if wanted is bool:
        return {"type": "boolean"}
    if wanted is int:
        return {"type": "integer", **_range(parameter.type)}
    if isinstance(parameter.type, click.Choice):
        return {"type": "string", "enum": list(parameter.type.choices)}
    return {"type": "string", "maxLength": _TEXT}


def _range(kind: click.ParamType) -> dict[str, int]:  # type: ignore[type-arg]  # generic only to the type checker
    if not isinstance(kind, click.IntRange):
        return {}
    found = {"minimum": kind.min, "maximum": kind.max}
    return {name: int(value) for name, value in found.items() if value is not None}


def _of_path(way: Way) -> dict[str, Any]:
    if not way.inward:
        return {**_PATH, "description": "What you call it; its bytes are in the answer's `files`."}
    forms = {
        Way.FILE: [_FILE],
        Way.FOLDER: [_FOLDER],
        Way.EITHER: [_FILE, _FOLDER],
        Way.MAYBE: [{"type": "string", "maxLength": _TEXT}, _FILE],
    }[way]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}
