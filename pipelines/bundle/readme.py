"""README.txt of a bundle: what it is, in words for the person who holds the medium and has no Tidegate at hand."""

from collections.abc import Sequence

from pipelines.bundle.documents import Export

WIDTH = 78


def readme(export: Export, lines: Sequence[str], *, volumes: int) -> bytes:
    """Return the text, the same for every volume.

    Args:
        lines: what the bundle carries, one item each, in plain words.
    """
    parts = [
        f"TIDEGATE BUNDLE {export.bundle}",
        "=" * (16 + len(export.bundle)),
        "",
        f"From {export.origin} to {export.audience}; bundle number {export.sequence} for that site.",
        f"Made on {export.issued_at} (UTC), on {volumes} volume{'s' if volumes > 1 else ''}.",
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
