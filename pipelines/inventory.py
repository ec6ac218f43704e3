"""What export documents name, which of them arrived, and one digest for all that a site holds of it.

Apart from receipts and baselines because both sides compute the same here: the site over what it holds, the origin
over what it sent. Pure. An export document is read loosely, by three fields: it is our own row, checked when it
was recorded.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.bundle.documents import MAX_EXPORT
from registry.names import Ref
from signing.canonical import parse
from signing.digests import sha256_hex

_RUN = re.compile(r"([1-9][0-9]{0,15})(?:-([1-9][0-9]{0,15}))?")


@dataclass(frozen=True)
class Named:
    """Blobs of one export document, each with its bytes."""

    carried: Mapping[str, int]  # in the bundle itself
    leaned: Mapping[str, int]  # left out, or read as a base: the site held them already

    @property
    def all(self) -> frozenset[str]:
        """Every one of them."""
        return frozenset(self.carried) | frozenset(self.leaned)


@dataclass(frozen=True)
class Arrivals:
    """Numbers of bundles that a site took in, as runs: `1-41 43`."""

    runs: tuple[range, ...]

    def __contains__(self, sequence: int) -> bool:
        return any(sequence in run for run in self.runs)

    @property
    def highest(self) -> int:
        """The highest number among them; 0 when there is none."""
        return self.runs[-1].stop - 1 if self.runs else 0

    def cover(self, earlier: "Arrivals") -> bool:
        """Say whether every bundle that had arrived then has arrived still, however long the runs are."""
        return all(
            any(run.start >= mine.start and run.stop <= mine.stop for mine in self.runs)
            for run in earlier.runs
        )


def named(body: str) -> Named:
    """Return what a recorded export document names.

    Source of the fields: `airgap-bundles/SPEC.md`: `blobs`, `assumed`, `bases`.
    """
    document = parse(body.encode(), max_bytes=MAX_EXPORT, at="export")
    carried = {blob["sha256"]: blob["size"] for blob in document["blobs"]}
    leaned = [*document["assumed"], *document.get("bases", ())]
    return Named(carried, {blob["sha256"]: blob["size"] for blob in leaned})


def version_of(path: str) -> Ref:
    """Return the version that a release document at this path is of: `releases/acme/tiny/3.json` is acme/tiny@3."""
    model, _, ordinal = path.removeprefix("releases/").removesuffix(".json").rpartition("/")
    return Ref(model, ordinal=int(ordinal))


def inventory(digests: Collection[str]) -> str:
    """Return the SHA-256 over the sorted digests, each a line of 64 hex digits."""
    return sha256_hex("".join(f"{digest}\n" for digest in sorted(set(digests))).encode())


def write_runs(numbers: Iterable[int]) -> str:
    """Return `1-41 43` for the numbers of bundles, as a person reads them."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def read_runs(text: str) -> tuple[range, ...] | None:
    """Undo `write_runs`, without ever making a list of the numbers. None for any other spelling."""
    found: list[range] = []
    for word in text.split(" "):
        match = _RUN.fullmatch(word)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if (match[2] and last <= first) or (found and first <= found[-1].stop):
            return None
        found.append(range(first, last + 1))
    return tuple(found)


def spell(runs: Sequence[range]) -> str:
    """Return the text that `read_runs` reads."""
    return " ".join(str(run.start) if len(run) == 1 else f"{run.start}-{run.stop - 1}" for run in runs)
