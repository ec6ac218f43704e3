"""Checks a bundle with nothing of Tidegate: written from `airgap-bundles/SPEC.md` by hand, for whoever wants a second opinion.

    python check_bundle.py --root FINGERPRINT --site NAME [--held FOLDER]... FOLDER...

Needs Python 3.11 and `cryptography`; numpy and zstandard too where a bundle holds compact frames. Reads, never writes,
prints what it found, exits 0 when every byte is accounted for and 1 otherwise. It knows nothing of what a site
remembers, so it cannot see that a bundle is older than another one, or a second one under the same number.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from documents import Bundle, check_plan
from reading import HEX, Volume, Wrong, demand, sha256, volumes_below
from signatures import MOMENT, Trust

PIECE = 16 << 20  # bytes of a parity piece, and of what is read at once


class Shelf:
    """Stored files by name, each hashed once before it is used."""

    def __init__(self, volumes: list[Volume]) -> None:
        self.places: dict[str, tuple[Volume, str]] = {}
        for volume in volumes:
            for path, name in volume.sums.items():
                if path.startswith(("chunks/", "parity/")):
                    demand(path in volume.files, f"{volume.path}/{path}: missing")
                    demand(self.hash(volume, path) == name, f"{volume.path}/{path}: holds other bytes")
                    self.places[name] = (volume, path)

    def hash(self, volume: Volume, path: str) -> str:
        found = hashlib.sha256()
        for start in range(0, volume.files[path], PIECE):
            found.update(volume.read(path, start, min(PIECE, volume.files[path] - start)))
        return found.hexdigest()

    def read(self, name: str, start: int, size: int) -> bytes:
        demand(name in self.places, f"{name[:12]}: on none of the volumes given")
        volume, path = self.places[name]
        return volume.read(path, start, size)


def check_parity(plan: dict[str, Any], sizes: dict[str, int], shelf: Shelf) -> int:
    """Computes every P and Q anew. Returns how many pieces there are."""
    double = bytes((value << 1) ^ (0x11D if value & 0x80 else 0) for value in range(256))
    for one in plan["parity"]:
        indices = one["across"] or [one["within"]]
        rows = [plan["volumes"][index - 1]["chunks"] for index in indices]
        total = sum(sizes[chunk] for chunk in rows[0])
        lanes = [(row, 0, sum(sizes[chunk] for chunk in row)) for row in rows]
        if one["within"] is not None:
            lanes = [(rows[0], at, min(one["length"], total - at)) for at in range(0, total, one["length"])]
        demand(len(lanes) == one["lanes"] <= 255, "plan.json: other lanes")
        demand(max(size for _row, _at, size in lanes) == one["length"], "plan.json: another length")
        for number, start in enumerate(range(0, one["length"], PIECE)):
            count = min(PIECE, one["length"] - start)
            p = q = 0
            for row, at, size in reversed(lanes):  # Horner: q = 2q + lane
                lane = lane_bytes(row, at + start, max(0, min(count, size - start)), sizes, shelf)
                value = int.from_bytes(lane.ljust(count, b"\0"), "big")
                p, q = p ^ value, int.from_bytes(q.to_bytes(count, "big").translate(double), "big") ^ value
            for sums, names in ((p, one["p"]), (q, one["q"])):
                demand(
                    not names or sha256(sums.to_bytes(count, "big")) == names[number],
                    "plan.json: parity is not the sum",
                )
    return sum(len(one["p"]) + len(one["q"]) for one in plan["parity"])


def lane_bytes(row: list[str], start: int, size: int, sizes: dict[str, int], shelf: Shelf) -> bytes:
    out, at = b"", 0
    for chunk in row:
        low, high = max(start, at), min(start + size, at + sizes[chunk])
        out += shelf.read(chunk, low - at, high - low) if low < high else b""
        at += sizes[chunk]
    return out


def check_blob(bundle: Bundle, name: str, shelf: Shelf, held: dict[str, Path]) -> None:
    found = hashlib.sha256()
    for data in blob_bytes(bundle, name, shelf, held):
        found.update(data)
    demand(found.hexdigest() == name, f"blob {name[:12]}: comes out otherwise")


def blob_bytes(bundle: Bundle, name: str, shelf: Shelf, held: dict[str, Path]) -> Iterator[bytes]:
    """What the blob's parts give, in order."""
    loaded = ("", b"")
    for part in bundle.blobs[name]:
        steps = [(done, min(PIECE, part["size"] - done)) for done in range(0, part["size"], PIECE)]
        if "chunk" not in part:
            yield from (held_bytes(held, part["base"], part["from"] + done, size) for done, size in steps)
            continue
        chunk = bundle.chunks[part["chunk"]]
        if part["encoding"] == "raw":
            yield from (shelf.read(chunk["chunk"], part["at"] + done, size) for done, size in steps)
            continue
        if loaded[0] != chunk["chunk"]:
            loaded = (chunk["chunk"], shelf.read(chunk["chunk"], 0, chunk["size"]))
            demand(sha256(loaded[1]) == chunk["chunk"], f"{chunk['chunk'][:12]}: changed while it was read")
        stored = loaded[1][part["at"] : part["at"] + part["stored"]]
        base = held_bytes(held, part["base"], part["from"], part["size"]) if "base" in part else None
        yield decoded(part, stored, base, f"a frame of {name[:12]}")


def decoded(part: dict[str, Any], stored: bytes, base: bytes | None, at: str) -> bytes:
    import frames  # numpy and zstandard, only where there are frames

    try:
        return frames.decode(part["encoding"], part["unit"], stored, part["size"], base)
    except frames.Malformed as exc:
        raise Wrong(f"{at}: {exc}") from exc


def held_bytes(held: dict[str, Path], name: str, at: int, size: int) -> bytes:
    demand(name in held, f"base {name[:12]}: not at hand; name the site's store with --held")
    with held[name].open("rb") as stream:
        stream.seek(at)
        return stream.read(size)


def held_below(folders: list[Path]) -> dict[str, Path]:
    return {
        path.name: path
        for folder in folders
        for path in folder.rglob("*")
        if HEX.fullmatch(path.name) and path.is_file()
    }


def check(options: argparse.Namespace) -> Iterator[str]:
    volumes = volumes_below([folder.resolve() for folder in options.folders])
    lead = volumes[0]
    trust = Trust(lead, "trust", options.root.lower(), options.now)
    yield f"trust: root {trust.root['version']} of profile {trust.root['x-tidegate-profile']}, all signatures fit"
    catalogues = [trust.role("catalog")]
    if options.upstream:
        catalogues.append(Trust(lead, "upstream", options.upstream.lower(), options.now).role("catalog"))
    exports = trust.role(f"site-{options.site}")
    mine = [
        name for name in lead.files if re.fullmatch(rf"exports/{re.escape(options.site)}/[0-9]+\.json", name)
    ]
    demand(len(mine) == 1, f"no one export for {options.site}")
    bundle = Bundle(lead, mine[0], exports, catalogues)
    export = bundle.export
    yield f"export: bundle {export['bundle']}, number {export['sequence']} from {export['origin']}, {export['profile']}"
    plans = {volume.label["plan"]: check_plan(volume, bundle) for volume in volumes}
    shelf = Shelf(volumes)
    yield f"volumes: {len(volumes)}, {len(shelf.places)} stored files, each is what its name says"
    held = held_below(options.held)
    for name in held.keys() & {part.get("base") for parts in bundle.blobs.values() for part in parts}:
        demand(sha256(held[name].read_bytes()) == name, f"base {name[:12]}: rotten")
    for blob in bundle.blobs:
        check_blob(bundle, blob, shelf, held)
    yield f"blobs: {len(bundle.blobs)}, {sum(blob['size'] for blob in export['blobs'])} bytes, each is what its name says"
    sizes = {chunk["chunk"]: chunk["size"] for chunk in bundle.chunks}
    pieces = sum(check_parity(plan, sizes, shelf) for plan in plans.values())
    yield f"parity: {pieces} pieces, each is the sum that it should be"


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folders", nargs="+", type=Path, help="where the volumes lie")
    options.add_argument(
        "--root", required=True, help="SHA-256 of the root file that the site was enrolled with"
    )
    options.add_argument("--site", required=True, help="whom the bundle is for")
    options.add_argument("--upstream", help="the same of the origin behind, for a relayed bundle")
    options.add_argument(
        "--held", action="append", default=[], type=Path, help="folder with blobs named by their SHA-256"
    )
    options.add_argument(
        "--now",
        type=lambda text: datetime.strptime(text, MOMENT).replace(tzinfo=UTC),
        default=datetime.now(UTC),
    )
    try:
        for line in check(options.parse_args(arguments)):
            print(line)
    except (Wrong, KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as exc:
        said = (
            str(exc)
            if isinstance(exc, (Wrong, OSError))
            else f"a document lacks something or says it otherwise: {exc!r}"
        )
        print(f"WRONG: {said}")
        return 1
    print("everything fits")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
