"""Secrets that somebody left in a text: private keys, tokens of known forms, passwords written beside their name.

Few and certain rather than many: a finding stops a person's work. A token is known by its form; an assignment counts
when its value looks random and is no example. Values are never shown whole: a report is read by more people than a
secret may be. Time grows with the text alone, of which at most `MAX_TEXT` characters are read.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

MAX_TEXT = 4 << 20  # characters
MAX_FOUND = 100

_CERTAIN: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("private key", r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
        ("age secret key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
        ("Hugging Face token", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,64}\b"),
        ("GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,251})\b"),
        ("GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,64}"),
        ("AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("Google API key", r"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
        ("Slack token", r"\bxox[abeoprs]-[0-9A-Za-z-]{20,250}"),
        ("OpenAI or Anthropic key", r"\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,250}"),
        ("Stripe key", r"\b[rs]k_live_[0-9A-Za-z]{20,100}\b"),
        ("npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("PyPI token", r"\bpypi-AgE[A-Za-z0-9_-]{50,250}"),
        ("JSON web token", r"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}"),
        ("password in an address", r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"<>{}$%]{1,64}:[^\s/@'\"<>{}$%*]{6,128}@[\w.-]{1,253}"),
    )
)  # fmt: skip
_ASSIGNED = re.compile(
    r"(?i)(?P<name>(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token"
    r"|bearer[_-]?token|private[_-]?key)[A-Za-z0-9_-]{0,20})[\"']?[ \t]{0,8}(?:=>|:=|=|:)[ \t]{0,8}[\"']?"
    r"(?P<value>[A-Za-z0-9+/=_!@#%^&*.~-]{12,200})"
)
_EXAMPLE = re.compile(
    r"(?i)example|placeholder|change[_-]?me|your[_-]|dummy|xxxx|\*{3}|\.{3}|^env[._:]|_env$|_file$|1234|abcd|test|redacted"
)
_BITS = 3.3  # of each character, from where a value looks random; English words have about 2.5 to 3


@dataclass(frozen=True)
class SecretFinding:
    """One secret: what it looks like, the line (from 1), and its first letters."""

    kind: str
    line: int
    shown: str


def find_secrets(text: str, *, certain: bool = False) -> list[SecretFinding]:
    """Return what looks like a secret in a text, at most `MAX_FOUND`, one a line.

    With `certain` only keys and tokens that are known by their form, not values that look random beside a name.
    """
    text = text[:MAX_TEXT]
    found: list[tuple[int, str, str]] = []
    for kind, pattern in _CERTAIN:
        found += [
            (match.start(), kind, match[0]) for match in pattern.finditer(text) if not _is_example(match[0])
        ]
    found += [] if certain else _assignments(text)
    once: dict[int, SecretFinding] = {}
    line, place = 1, 0
    for start, kind, value in sorted(found, key=lambda item: item[0]):
        line, place = line + text.count("\n", place, start), start
        if line not in once and len(once) < MAX_FOUND:  # a token behind its name is one finding
            once[line] = SecretFinding(kind, line, _shown(value))
    return list(once.values())


def _assignments(text: str) -> Iterator[tuple[int, str, str]]:
    for match in _ASSIGNED.finditer(text):
        value = match["value"].strip("\"'")
        before = text[max(0, match.start() - 20) : match.start()].rpartition("\n")[2]
        if _looks_random(value) and not _is_example(value) and not _EXAMPLE.search(before + match["name"]):
            yield match.start(), f"value of {match['name'].lower()[-40:]}", value


def _is_example(value: str) -> bool:
    """Values that documents show; one letter over and over is one, too."""
    return _EXAMPLE.search(value) is not None or len(set(value[-20:])) < _FEW


_FEW = 6  # different characters


def _looks_random(value: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    mixed = sum(any(kind(letter) for letter in value) for kind in kinds)
    counts = Counter(value)
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return (
        mixed > 1 and any(letter.isdigit() for letter in value) and bits >= _BITS and "." not in value[1:-1]
    )


def _shown(value: str) -> str:
    if value.startswith("-----"):
        return value
    return f"{value[:4]}… ({len(value)} characters)"
