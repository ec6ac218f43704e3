"""A client's configuration, written from what a tier has pinned: nobody types a model name or an address twice.

Codex CLI: `config.toml` with one provider that speaks the Responses API; the older chat wire format is gone from it.
What the pinned companions say in their own `config.toml` comes after, but for the keys that the pin decides.
Source: https://developers.openai.com/codex/config-basic/ (model, model_provider, model_providers).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from registry import companions, contracts
from registry.entities import Pin
from registry.errors import NotFound
from registry.views import View

PROVIDER = "tidegate"
_DECIDED = (
    "model",
    "model_provider",
    "model_providers",
    "model_context_window",
    "profile",
    "profiles",
    "openai_base_url",
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class SurfaceMissing(JudgingRefused):
    """The pinned set does not serve what the client speaks."""

    exit_code: ClassVar[int] = 237
    next_step: ClassVar[str] = (
        "Pin a version whose tool contract and engine profile serve the surface `responses`; Codex speaks no other."
    )

    def __init__(self, model: str, tier: str, what: str) -> None:
        super().__init__(f"{model} in {tier}: the {what} does not serve the surface `responses`")
        self.model, self.tier, self.what = model, tier, what


class VariableUnusable(JudgingRefused):
    """A name that no environment variable has; most often the key itself was typed."""

    exit_code: ClassVar[int] = 238
    next_step: ClassVar[str] = (
        "Name the environment variable that holds the key, such as TEAM_API_KEY; never the key itself."
    )

    def __init__(self) -> None:
        super().__init__(
            "--env-key is not the name of an environment variable (it is not shown: it may be a key)"
        )


@dataclass(frozen=True)
class ClientConfig:
    """What to write, and what it was made from."""

    text: str
    pin: Pin
    left_out: tuple[str, ...]  # keys of the companions' own file that the pin decides


def codex(view: View, tier: str, model: str, *, base_url: str, env_key: str) -> ClientConfig:
    """Return the `config.toml` of Codex CLI for what a tier serves of a model.

    Args:
        base_url: the address that clients know, with `/v1`.
        env_key: the environment variable that holds the key; the key itself never stands in a file.

    Raises:
        NotFound: the tier serves nothing of this model.
        SurfaceMissing: contract or engine profile lack `responses`. VariableUnusable.
    """
    if not _VARIABLE.fullmatch(env_key):
        raise VariableUnusable
    pin = view.pin(tier, model)
    if pin is None:
        raise NotFound("version pinned as", f"{model}@{tier}")
    context = _context(view, pin)
    own = _own(view, pin)
    decided: dict[str, Any] = {"model": model, "model_provider": PROVIDER}
    if context is not None:
        decided["model_context_window"] = context
    provider = {
        "name": f"Tidegate, tier {tier}",
        "base_url": base_url,
        "env_key": env_key,
        "wire_api": "responses",
    }
    kept = {name: value for name, value in own.items() if name not in _DECIDED}
    head = f"# {model}@{pin.ordinal} ({pin.version[:12]}) as {tier} has it pinned since {pin.since}. Written from the pin: do not edit.\n"
    tables = {"model_providers": {PROVIDER: provider}}
    return ClientConfig(
        text=head + toml({**decided, **kept, **tables}),
        pin=pin,
        left_out=tuple(sorted(set(own) & set(_DECIDED))),
    )


def _context(view: View, pin: Pin) -> int | None:
    """Tokens of context; refuses a set that does not speak `responses`."""
    found: int | None = None
    for digest, what in ((pin.contract, "tool contract"), (pin.profile, "engine profile")):
        row = view.document_by_digest(digest) if digest else None
        document = contracts.decode_document(row.body.encode()) if row else None
        if document is None or "responses" not in document.surfaces:
            raise SurfaceMissing(pin.model, pin.tier, what)
        if isinstance(document, contracts.ToolContract):
            found = document.context
    return found


def _own(view: View, pin: Pin) -> dict[str, Any]:
    row = view.document_by_digest(pin.companions) if pin.companions else None
    if row is None:
        return {}
    text = companions.decode(row.body.encode()).files.get(companions.CONFIG, "")
    return companions.read_toml(text, at=companions.CONFIG)


def toml(values: Mapping[str, Any], at: tuple[str, ...] = ()) -> str:
    """Return TOML 1.0 for what `tomllib` reads: plain values first, then tables (toml.io/en/v1.0.0)."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    lines = [f"{_key(name)} = {_value(value)}\n" for name, value in plain.items()]
    head = f"\n[{'.'.join(map(_key, at))}]\n" if at and (lines or not tables) else ""
    return head + "".join(lines) + "".join(toml(table, (*at, name)) for name, table in tables.items())


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items()) + "}"
    return str(value).replace("+00:00", "Z") if not isinstance(value, int | float) else repr(value)


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped, and surrogate pairs, which it has not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
