"""The flags of an engine profile: read by meaning, so that no signed document moves, opens or phones anything.

A profile crosses the gap and ends on a command line. What is served, where, and under which name is the driver's;
code and models from elsewhere, keys and addresses have no place in a document that many people read.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pipelines.errors import JudgingRefused
from registry.contracts import EngineProfile

OWNED = "is set by Tidegate itself"
FETCHES = "fetches something from elsewhere"
CODE = "runs code that no manifest names"
SECRET = "carries a secret, which every user of the machine could read"  # noqa: S105 - a sentence
WEIGHTS = "loads files that the version's identity does not cover"
LOGS = "writes down what people ask"
OPENS = "opens the machine to whoever can send a request"


class FlagRefused(JudgingRefused):
    """A profile's flag that is the driver's own, fetches something, runs foreign code or carries a secret."""

    exit_code: ClassVar[int] = 219
    next_step: ClassVar[str] = (
        "Take this flag out of the engine profile, add the profile anew with `tidegate contracts add`, and use that."
    )

    def __init__(self, profile: str, flag: str, why: str) -> None:
        super().__init__(f"engine profile {profile}: {flag} {why}")
        self.profile, self.flag, self.why = profile, flag, why


def check(profile: EngineProfile, refused: Mapping[str, str], *, abbreviated: bool) -> None:
    """Raise `FlagRefused` for the first flag of the profile that is refused.

    Args:
        refused: each flag with its reason.
        abbreviated: the engine takes any beginning of a long flag for the flag, and `_` for `-`.
    """
    for word in profile.flags:
        name = name_of(word)
        why = refused.get(name) if word.isprintable() else "holds a character that no flag has"
        if why is None and abbreviated and name.startswith("--"):
            why = next((why for flag, why in refused.items() if flag.startswith(name)), None)
        if why is not None:
            raise FlagRefused(profile.name, name or repr(word[:80]), why)


def name_of(word: str) -> str:
    """Return the flag in a word, in one spelling; empty for a value. `-1` is a number."""
    name = word.split("=", 1)[0]
    if not name.startswith("-") or name.lstrip("-")[:1].isdigit():
        return ""
    return "--" + name[2:].replace("_", "-") if name.startswith("--") else name


def value_of(flags: Sequence[str], *names: str) -> str | None:
    """Return the value of the last of these flags, written `--flag value` or `--flag=value`; None without one."""
    found = None
    for place, word in enumerate(flags):
        if name_of(word) in names:
            if "=" in word:
                found = word.split("=", 1)[1]
            elif place + 1 < len(flags):
                found = flags[place + 1]
    return found


def has(flags: Sequence[str], *names: str) -> bool:
    """Whether one of these flags is given."""
    return any(name_of(word) in names for word in flags)
