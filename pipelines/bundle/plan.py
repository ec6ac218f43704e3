"""Where things lie: which volume holds which chunk, what this volume is, and every digest of it once more. Pure.

`plan.json` is signed by the packer's key alone, a machine's: it decides where things lie, never what they are, so
that other media need no release officer. There may be several plans of one bundle: the one it was made with, one
for other media, one for a repair that holds only some chunks. `volume.json` says which volume of which plan this
is, and `SHA256SUMS` repeats every digest for a person with `sha256sum -c`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.bundle import lanes
from pipelines.bundle.errors import FilesDamaged, MalformedBundle, VolumeTooSmall
from pipelines.bundle.fields import Fields
from pipelines.bundle.lanes import MAX_LANES, PIECE, ParitySet
from pipelines.bundle.media import Medium
from pipelines.bundle.tables import Chunk
from signing.canonical import canonical_bytes
from signing.digests import is_sha256, sha256_hex

MAX_PLAN = 128 << 20
MAX_VOLUMES = 999
MAX_SUMS = 64 << 20
PLAN_FORMAT = "tidegate-plan/1"
VOLUME_FORMAT = "tidegate-volume/1"
PLAN_TYPE = "application/vnd.tidegate.plan+json"


@dataclass(frozen=True)
class PlannedVolume:
    """What one volume holds: chunks in order, parity pieces, and their bytes together."""

    index: int  # 1 is the first
    chunks: tuple[str, ...]
    bytes: int
    parity: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedParity:
    """A parity set: over volumes (`across`), or over equal slices of one volume (`within`).

    The pieces of P and Q, in order; each but the last has `PIECE` bytes.
    """

    across: tuple[int, ...]  # volume indices, one lane each
    within: int | None
    lanes: int
    length: int  # bytes of the longest lane, and of P and Q
    p: tuple[str, ...]
    q: tuple[str, ...]

    def pieces(self) -> dict[str, int]:
        """Return piece to its bytes."""
        sizes = [min(PIECE, self.length - start) for start in range(0, self.length, PIECE)]
        return {piece: size for row in (self.p, self.q) for piece, size in zip(row, sizes, strict=bool(row))}

    def set_of(self, volumes: "Sequence[PlannedVolume]", sizes: Mapping[str, int]) -> ParitySet:
        """Return the lanes with their pieces. `sizes` gives every chunk's bytes."""

        def sized(index: int) -> list[tuple[str, int]]:
            return [(chunk, sizes[chunk]) for chunk in volumes[index - 1].chunks]

        scheme: lanes.Scheme = "pq" if self.q else "p"
        if self.within is None:
            layout = lanes.across([sized(index) for index in self.across], scheme)
        else:
            layout = ParitySet(scheme, tuple(lanes.slices(sized(self.within), self.length)), self.length)
        return replace(layout, p=self.p, q=self.q)


@dataclass(frozen=True)
class Plan:
    """Which volume holds what. A repair holds some of the chunks, every other plan all of them."""

    bundle: str
    export: str  # SHA-256 of the export document
    volumes: tuple[PlannedVolume, ...]
    parity: tuple[PlannedParity, ...] = ()
    repairs: bool = False

    def parity_sets(self, sizes: Mapping[str, int]) -> list[ParitySet]:
        """Return the parity sets, those within a volume first: they need the least. `sizes` as for `decode_plan`."""
        inner_first = sorted(self.parity, key=lambda one: one.within is None)
        return [one.set_of(self.volumes, sizes) for one in inner_first]

    def volume_of(self) -> dict[str, int]:
        """Return chunk to the volume that holds it."""
        return {chunk: volume.index for volume in self.volumes for chunk in volume.chunks}


@dataclass(frozen=True)
class Label:
    """`volume.json`: which volume this is."""

    bundle: str
    index: int
    of: int
    plan: str  # SHA-256 of plan.json


def piece_path(piece: str) -> str:
    """Return where a parity piece lies in its volume."""
    return f"parity/{piece[:2]}/{piece}"


def split(
    items: Sequence[Sequence[int]], chunks: Sequence[Chunk], *, medium: Medium | None, small: int
) -> list[list[int]]:
    """Return the chunk numbers of each volume: whole items together where they fit, large ones from volume to volume.

    Args:
        items: the chunk numbers of what a person would miss as one thing (a version); a chunk counts for the first.
        medium: None makes one volume.
        small: bytes that every volume spends on the documents.

    Raises:
        VolumeTooSmall: not even one chunk would fit beside the documents, or more than 999 volumes are needed.
    """
    fresh = _once(items)
    if medium is None:
        return [[number for item in fresh for number in item]]
    cost = [medium.room(chunk.size) for chunk in chunks]
    demand_room(medium, small=small, largest=max(cost, default=0))
    volumes, free = [list[int]()], [medium.bytes - small]
    for item in fresh:
        whole = sum(cost[number] for number in item)
        place = next((index for index, left in enumerate(free) if whole <= left), None)
        if place is None and whole <= medium.bytes - small:
            place = _opened(volumes, free, medium.bytes - small)
        for number in item:
            at = len(volumes) - 1 if place is None else place
            if cost[number] > free[at]:
                at = _opened(volumes, free, medium.bytes - small)
            volumes[at].append(number)
            free[at] -= cost[number]
    if len(volumes) > MAX_VOLUMES:
        raise VolumeTooSmall(medium.bytes, least=small + max(cost) + sum(cost) // MAX_VOLUMES)
    return volumes


def _once(items: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the items without the chunks that stand in one before."""
    placed: set[int] = set()
    fresh = []
    for item in items:
        fresh.append([number for number in dict.fromkeys(item) if number not in placed])
        placed.update(item)
    return fresh


def _opened(volumes: list[list[int]], free: list[int], room: int) -> int:
    """Add a volume (an empty first one serves) and return its place in the list."""
    if volumes[-1]:
        volumes.append([])
        free.append(room)
    return len(volumes) - 1


def demand_room(medium: Medium, *, small: int, largest: int) -> None:
    """Raise `VolumeTooSmall` unless the documents and the largest chunk fit on one medium together."""
    if small + largest > medium.bytes:
        raise VolumeTooSmall(medium.bytes, least=small + largest)


def encode_plan(plan: Plan) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes(
        {
            "format": PLAN_FORMAT,
            "critical": [],
            "bundle": plan.bundle,
            "export": plan.export,
            "repairs": plan.repairs,
            "volumes": [
                {"index": v.index, "chunks": list(v.chunks), "parity": list(v.parity), "bytes": v.bytes}
                for v in plan.volumes
            ],
            "parity": [
                {
                    "across": list(s.across),
                    "within": s.within,
                    "lanes": s.lanes,
                    "length": s.length,
                    "p": list(s.p),
                    "q": list(s.q),
                }
                for s in plan.parity
            ],
        }
    )


def decode_plan(data: bytes, *, sizes: Mapping[str, int], at: str = "plan.json") -> Plan:
    """Read a plan; its signature is checked elsewhere.

    Args:
        sizes: every chunk of the bundle and its bytes; the volumes must hold each of them exactly once, those of a
            repair at most once.

    Raises:
        MalformedBundle, FormatTooNew.
    """
    known = {"format", "critical", "bundle", "export", "repairs", "volumes", "parity"}
    top = Fields.of(data, at=at, max_bytes=MAX_PLAN, format=PLAN_FORMAT, known=known)
    volumes = tuple(
        PlannedVolume(
            item.whole("index", least=1),
            item.digests("chunks"),
            item.whole("bytes"),
            item.digests("parity"),
        )
        for item in top.items("volumes")
    )
    if not 1 <= len(volumes) <= MAX_VOLUMES or [v.index for v in volumes] != list(range(1, len(volumes) + 1)):
        raise MalformedBundle(
            f"1 to {MAX_VOLUMES} volumes, numbered in order, are needed", at=f"{at}.volumes"
        )
    repairs = top.flag("repairs")
    _demand_apart(top)
    parity = tuple(_parity(item, volumes, sizes) for item in top.items("parity"))
    _demand_whole(volumes, sizes, {p: n for s in parity for p, n in s.pieces().items()}, repairs, at=at)
    return Plan(top.text("bundle"), top.digest("export"), volumes, parity, repairs)


def _demand_whole(
    volumes: Sequence[PlannedVolume],
    sizes: Mapping[str, int],
    pieces: Mapping[str, int],
    repairs: bool,
    *,
    at: str,
) -> None:
    placed = [chunk for volume in volumes for chunk in volume.chunks]
    if (
        len(set(placed)) != len(placed)
        or not set(placed) <= set(sizes)
        or (not repairs and len(placed) != len(sizes))
    ):
        raise MalformedBundle("the volumes do not hold each chunk exactly once", at=f"{at}.volumes")
    if {piece for volume in volumes for piece in volume.parity} != set(pieces):
        raise MalformedBundle("the volumes do not hold exactly the parity pieces", at=f"{at}.volumes")
    for volume in volumes:
        held = sum(sizes[chunk] for chunk in volume.chunks) + sum(pieces[piece] for piece in volume.parity)
        if volume.bytes != held:
            raise MalformedBundle(
                "not the bytes of what it holds", at=f"{at}.volumes[{volume.index - 1}].bytes"
            )


def _demand_apart(top: Fields) -> None:
    """A volume is a lane of one set at most, and cut into lanes by one: what sets cost stays linear in the chunks."""
    lanes_of, cut = set[int](), set[int]()
    for item in top.items("parity"):
        across = item.wholes("across")
        within = None if item.get("within") is None else item.whole("within")
        if within in cut or not lanes_of.isdisjoint(across):
            raise MalformedBundle("a volume stands in two sets of one kind", at=item.at)
        lanes_of.update(across)
        cut.update(() if within is None else (within,))


def _parity(item: Fields, volumes: Sequence[PlannedVolume], sizes: Mapping[str, int]) -> PlannedParity:
    across = tuple(item.wholes("across"))
    within = None if item.get("within") is None else item.whole("within", least=1)
    indices = (*across, *(() if within is None else (within,)))
    if bool(across) == (within is not None) or len(set(across)) != len(across):
        raise MalformedBundle("either over several volumes or within one", at=item.at)
    if not all(1 <= index <= len(volumes) for index in indices):
        raise MalformedBundle("over volumes that the plan does not have", at=item.at)
    if any(chunk not in sizes for index in indices for chunk in volumes[index - 1].chunks):
        raise MalformedBundle("over chunks that the bundle does not have", at=item.at)
    parity = PlannedParity(
        across,
        within,
        item.whole("lanes", least=1),
        item.whole("length", least=1),
        item.digests("p", repeated=True),
        item.digests("q", repeated=True),
    )
    whole = sum(sizes[chunk] for index in indices for chunk in volumes[index - 1].chunks)
    if parity.lanes > MAX_LANES or parity.length > whole or -(-whole // parity.length) > MAX_LANES:
        raise MalformedBundle(f"at most {MAX_LANES} lanes over what is there", at=item.at)
    layout = parity.set_of(volumes, sizes)
    counted = len(layout.lanes)
    problem = layout.problem() if counted == parity.lanes else f"has {counted} lanes"
    if problem is not None:
        raise MalformedBundle(problem, at=item.at)
    return parity


def label_of(plan: Plan, index: int) -> Label:
    """Return what `volume.json` of one volume says."""
    return Label(plan.bundle, index, len(plan.volumes), sha256_hex(encode_plan(plan)))


def encode_label(label: Label) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes(
        {
            "format": VOLUME_FORMAT,
            "critical": [],
            "bundle": label.bundle,
            "index": label.index,
            "of": label.of,
            "plan": label.plan,
        }
    )


def decode_label(data: bytes, *, at: str = "volume.json") -> Label:
    """Read `volume.json`. Raises `MalformedBundle`, `FormatTooNew`."""
    known = {"format", "critical", "bundle", "index", "of", "plan"}
    top = Fields.of(data, at=at, max_bytes=4096, format=VOLUME_FORMAT, known=known)
    label = Label(
        top.text("bundle", longest=48),
        top.whole("index", least=1),
        top.whole("of", least=1),
        top.digest("plan"),
    )
    if label.index > label.of or label.of > MAX_VOLUMES:
        raise MalformedBundle("a volume's number is at most the number of volumes", at=f"{at}.index")
    return label


def encode_sums(digests: Mapping[str, str]) -> bytes:
    """Return `SHA256SUMS` (GNU coreutils, text mode) of path to digest, in order of the paths."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()


def decode_sums(data: bytes, *, at: str) -> dict[str, str]:
    """Read `SHA256SUMS` as this product writes it. Raises `FilesDamaged`, naming the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        digest, _, path = line.decode("utf-8", "replace").partition("  ")
        if not is_sha256(digest) or not path:
            raise FilesDamaged([f"{at}: line {number} is not a digest and a path"])
        found[path] = digest
    if encode_sums(found) != data:
        raise FilesDamaged([f"{at}: not in the form in which it was written"])
    return found
