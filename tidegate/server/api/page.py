"""The API as a page to read, made from its description."""

from collections.abc import Iterator, Mapping
from typing import Any

from tidegate.afar import COMMANDS, Act, Stay
from tidegate.server.api.openapi import description

_INTRODUCTION = """\
# REST API

One principle: **resources to read, operations to act.** `/api/v1/openapi.json` describes all of it for programs.

- Show a token: `Authorization: Bearer tdg_…` (`tidegate tokens create` makes one). What it may do is its account's rights,
  cut to its own grants.
- Lists come a page at a time: `limit` (at most 200), and `next`, in the body and as a `Link` header. Follow it as it stands.
- Every resource has an `ETag`; send it back with `If-None-Match`, and the answer is 304 while nothing changed.
- A refusal is a problem document (RFC 9457, `application/problem+json`) with the command line's `exit_code`, its sentence
  (`detail`) and its `next_step`.
- An operation is a command of the command line. Its body holds the command's own parameters; the answer holds what the
  command shows with `--json` (`document`) and to people (`text`), and the files that it wrote (`files`, in base64).
- Files travel as bytes: `{"path": "what you call it", "content": "base64"}`. No path is opened on the server.
- Send an `Idempotency-Key` with an operation, and repeat the request with the same key when you had no answer: it is done
  once, and answered again. The key belongs to your account and to that request, for a day.
- A private key never travels. What a person signs is asked for with `write_payload`, signed where the person is, and handed
  in as `payload` and `signature`; the command line with `--server` does that by itself.

The command line works against a server, with the same words and the same exit codes:

```
export TIDEGATE_SERVER=https://models.example TIDEGATE_TOKEN_FILE=~/.config/tidegate/token
tidegate pins
tidegate approve acme/coder@2 --tier org --person carla --reason 'read the report' --key ~/.ssh/id_ed25519
```
"""


def page(note: str) -> str:
    """Return `docs/reference/rest-api.md`, with the note that says who wrote it."""
    paths = description()["paths"]
    read = {path: methods["get"] for path, methods in paths.items() if "get" in methods}
    act = {path: methods["post"] for path, methods in paths.items() if "post" in methods}
    lines = [note, "", _INTRODUCTION, "## Resources", "", "| address | what | parameters |", "|---|---|---|"]
    lines += [f"| `GET {path}` | {one['summary']} | {_query(one)} |" for path, one in read.items()]
    lines += ["", "## Operations", ""]
    for path, one in act.items():
        lines += [f"### POST {path}", "", *_operation(one), ""]
    lines += ["## What stays on the machine", "", "| command | why |", "|---|---|"]
    lines += [
        f"| `tidegate {name}` | {rule.reason} |" for name, rule in COMMANDS.items() if isinstance(rule, Stay)
    ]
    return "\n".join(lines) + "\n"


def _query(operation: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"`{one['name']}`" for one in operation.get("parameters", []) if one["in"] == "query")
        or "-"
    )


def _operation(one: Mapping[str, Any]) -> Iterator[str]:
    rule = _BY_ID[one["operationId"]]
    assert isinstance(rule, Act), one["operationId"]
    changes = "Changes things." if rule.writes else "Changes nothing."
    yield f"{one['summary']} {changes} Needs the right to {rule.right}{' for the tier' if rule.tier else ''}."
    body = one["requestBody"]["content"]["application/json"]["schema"]
    required = body.get("required", [])
    if body["properties"]:
        yield from ("", "| parameter | type | meaning |", "|---|---|---|")
    for name, schema in body["properties"].items():
        needed = "Required. " if name in required else ""
        meaning = f"{needed}{schema.get('description', '')}".strip().replace("|", "\\|")
        yield f"| `{name}` | {_type(schema)} | {meaning} |"


_BY_ID = {name.replace(" ", "-"): rule for name, rule in COMMANDS.items()}


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        return "folder" if "files" in schema["properties"] else "file"
    return {"string": "text", "integer": "number", "boolean": "true, false"}[str(schema["type"])]
