"""README.txt of a bundle: what it is, in words for the person who holds the medium and has no Tidegate at hand."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 78


@dataclass(frozen=True)
class Heading:
    """What a person has to know first."""

    bundle: str
    origin: str
    site: str
    sequence: int
    made: str  # RFC 3339


def readme(heading: Heading, lines: Sequence[str]) -> bytes:
    """Return the text, the same for every volume of every plan; the export document pins it.

    Args:
        lines: what the bundle carries, one item each, in plain words.
    """
    parts = [
        f"TIDEGATE BUNDLE {heading.bundle}",
        "=" * (16 + len(heading.bundle)),
        "",
        f"From {heading.origin} to {heading.site}; bundle number {heading.sequence} for that site.",
        f"Made on {heading.made} (UTC). volume.json says which volume this is, and of how many.",
        "",
        "It carries:",
        *(f"  - {line}" for line in lines),
        "",
        "Check this volume by hand (says OK for every file; proves that the copy is whole,",
        "not who made it):",
        "",
        "    sha256sum -c SHA256SUMS",
        "",
        "Look at it and take it in, at the site (in any order of the volumes; nothing is",
        "ever written to the medium):",
        "",
        "    tidegate bundles inspect FOLDER...",
        "    tidegate bundles import  FOLDER... --receipt FILE",
        "",
        "If the import refuses, it says why and what to do. Do not change, add or remove any",
        "file in this folder: a changed bundle is refused.",
        "",
    ]
    return "\n".join(parts).encode("ascii", "backslashreplace")
