"""What things may be called, so that one name works on every protocol and file system.

A model is `namespace/name`: legal as a Hugging Face repository id, an OCI name and, with `--` for the slash,
an MLflow name. A tier is legal as a git ref and as an MLflow alias. (research: registries, section 3.3)
"""

import re
from dataclasses import dataclass

from registry.errors import NameUnusable

_PART = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,94}[a-z0-9])?")
_WORD = re.compile(r"[a-z][a-z0-9-]{0,30}")
_RESERVED = {"latest", "main", "master", "head"}


def model_name(text: str) -> str:
    """Return `text` if it may name a model. Raises `NameUnusable`."""
    rule = "write namespace/name, each of a-z 0-9 . _ -, beginning and ending with a letter or digit, without '--' or '..'"
    name, at, _ = text.partition("@")
    if at and name:
        raise NameUnusable(
            "model", text, f"a model is meant and not one version: write namespace/name alone, here {name!r}"
        )
    parts = text.split("/")
    if len(parts) != 2 or any(not _PART.fullmatch(part) for part in parts):
        raise NameUnusable("model", text, rule)
    if "--" in text or ".." in text or text.endswith(".git"):
        raise NameUnusable("model", text, rule)
    return text


def word(what: str, text: str) -> str:
    """Return `text` if it may name a tier, a site or a person. Raises `NameUnusable`."""
    if (
        not _WORD.fullmatch(text)
        or "--" in text
        or text in _RESERVED
        or re.fullmatch(r"v\d+|[0-9a-f]{12,}", text)
    ):
        raise NameUnusable(
            what,
            text,
            "use a-z, 0-9 and single '-', beginning with a letter, at most 31; not latest, main, v1",
        )
    return text


@dataclass(frozen=True)
class Ref:
    """What a person types to mean a version: `namespace/name[@ORDINAL | @TIER | @sha256:PREFIX]`."""

    model: str
    ordinal: int | None = None
    tier: str | None = None
    digest_prefix: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Ref":
        """Raises `NameUnusable`, saying the three forms."""
        name, at, rest = text.partition("@")
        model = model_name(name)
        if not at:
            return cls(model)
        if re.fullmatch(r"[1-9]\d{0,8}", rest):
            return cls(model, ordinal=int(rest))
        if match := re.fullmatch(r"sha256:([0-9a-f]{8,64})", rest):
            return cls(model, digest_prefix=match[1])
        if _WORD.fullmatch(rest):
            return cls(model, tier=rest)
        raise NameUnusable(
            "version", text, "write namespace/name@3, namespace/name@TIER or namespace/name@sha256:ab12cd34…"
        )

    def __str__(self) -> str:
        last = self.ordinal or self.tier or (self.digest_prefix and f"sha256:{self.digest_prefix}")
        return f"{self.model}@{last}" if last else self.model
