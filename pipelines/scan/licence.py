"""What a version's files say about its licence: stated, not stated, or not readable. Never a guess.

A model card's front matter is YAML. It is not parsed as YAML: only plain `license:` lines are read, and anything
that needs a YAML parser to be understood counts as not readable.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.scan import spdx
from pipelines.scan.values import Licence, LicenceState

READ_BYTES = 64 << 10  # from the start of a model card or a licence text

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_KEY = re.compile(r"(license|license_name)\s*:(?:\s+(.*))?")
_ITEM = re.compile(r"\s*-\s+(.*)")


@dataclass(frozen=True)
class Statement:
    """What one file says. `ids` lower case, empty unless the state is `stated`."""

    source: str
    state: LicenceState
    ids: tuple[str, ...] = ()


def from_model_card(source: str, text: str) -> Statement:
    """Read the front matter of a README.md."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return Statement(source, "not-stated")
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), None)
    if end is None:
        return Statement(source, "not-readable")
    values: dict[str, tuple[str, ...] | None] = {}
    for number, line in enumerate(lines[1:end], 1):
        if match := _KEY.fullmatch(line.rstrip()):
            ids = _values(match[2] or "", lines[number + 1 : end])
            values[match[1]] = None if match[1] in values else ids  # a key twice has no one meaning
        elif re.match(r"""['"?{&*!]|license\b""", line):  # a spelling of a key that these rules do not read
            return Statement(source, "not-readable")
    if not values:
        return Statement(source, "not-stated")
    ids = values.get("license", ())
    if ids in (("other",), ()) and "license_name" in values:
        ids = values["license_name"]
    return Statement(source, "stated", ids) if ids else Statement(source, "not-readable")


def _values(inline: str, following: Sequence[str]) -> tuple[str, ...] | None:
    """Return the ids of a scalar on the line or a list under it; None for anything else."""
    scalar = _scalar(inline)
    if scalar:
        return (scalar,)
    if scalar is None:
        return None
    found = []
    for line in following:
        match = _ITEM.fullmatch(line)
        if match is None:
            if line.startswith((" ", "\t")) and line.strip():
                return None
            break
        item = _scalar(match[1])
        if not item:
            return None
        found.append(item)
    return tuple(found) or None


def _scalar(text: str) -> str | None:
    """Return one plain or simply quoted id, "" for an empty value, None for anything else."""
    text = re.sub(r"(?:^|\s+)#.*", "", text).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if not text:
        return ""
    return spdx.licence_id(text) or (text.lower() if _ID.fullmatch(text) else None)


def from_licence_text(source: str, text: str) -> Statement:
    """Recognise a licence by the words that its text is known by. An unknown text is not readable, not absent."""
    known = spdx.identify(text)
    return Statement(source, "stated", (known,)) if known else Statement(source, "not-readable")


def from_identifier(source: str, value: object) -> Statement:
    """Read one id, such as GGUF's `general.license`."""
    ids = _scalar(value) if isinstance(value, str) else None
    return Statement(source, "stated", (ids,)) if ids else Statement(source, "not-readable")


def combine(statements: Sequence[Statement]) -> Licence:
    """Fold what the files say. One readable statement is enough for `stated`; the others are reported beside it."""
    telling = [statement for statement in statements if statement.state != "not-stated"]
    stated = [statement for statement in telling if statement.state == "stated"]
    chosen = stated or telling
    return Licence(
        state="stated" if stated else "not-readable" if telling else "not-stated",
        ids=tuple(sorted({name for statement in stated for name in statement.ids})),
        sources=tuple(sorted(statement.source for statement in chosen)),
    )


def disagree(statements: Sequence[Statement]) -> bool:
    """Whether no licence id is common to all files that state one."""
    stated = [set(statement.ids) for statement in statements if statement.state == "stated"]
    return len(stated) > 1 and not set.intersection(*stated)
