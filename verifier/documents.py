"""The documents of a bundle, fitted together, and its plans. SPEC.md, sections 4 to 9."""

import re
from typing import Any

from reading import OWN, Volume, demand, digest, document, parse, read, sha256, whole
from signatures import check_dsse

CHUNK, COMPACT, GUARD, FRAME = 64 << 20, 16 << 20, (4 << 30) - 1, 4 << 20  # bytes
NEEDS_BASE = {"delta", "sparse", "exponent", "blocks-delta"}
EXPORT = {
    "format",
    "critical",
    "bundle",
    "sequence",
    "audience",
    "origin",
    "issued_at",
    "previous",
    "next_expected_by",
    "base",
    "releases",
    "documents",
    "statements",
    "blobs",
    "assumed",
    "chunks",
    "withdrawals",
    "packer",
    "profile",
    "bases",
    "history",
    "readme",
}
RELEASE = {"format", "critical", "model", "ordinal", "digest", "modelpack", "contract", "statements"}
PLAN = {"format", "critical", "bundle", "export", "repairs", "volumes", "parity"}


class Bundle:
    """The documents, fitted together."""

    def __init__(
        self, volume: Volume, path: str, trusted: dict[str, str], catalogues: list[dict[str, str]]
    ) -> None:
        self.volume, data = volume, volume.read(path)
        self.digest, self.declared = sha256(data), {path, "README.txt", "chunks.jsonl", "history.jsonl"}
        demand(trusted.get(path) == self.digest, f"{path}: the site's role does not sign for it")
        self.export = export = document(data, path, "tidegate-export/1", EXPORT)
        demand(
            path == f"exports/{export['audience']}/{export['sequence']}.json",
            f"{path}: says it is another one",
        )
        demand((export["previous"] is None) == (export["sequence"] == 1), f"{path}: previous")
        for name, pin in (("chunks.jsonl", export["chunks"]), ("history.jsonl", export["history"])):
            lines = self.pinned(name, pin["sha256"], pin["size"])
            demand(lines.count(b"\n") == pin["count"] and lines[-1:] in (b"", b"\n"), f"{name}: other lines")
        self.pinned("README.txt", export["readme"])
        for item in export["documents"]:
            self.pinned(f"documents/{item['digest']}.json", item["digest"], item["size"])
        for item in export["statements"]:
            self.pinned(f"statements/{item['digest']}.json", item["digest"])
            self.pinned(f"statements/{item['digest']}.sig.json", item["signature"])
        self.known = {blob["sha256"]: blob["size"] for blob in (*export["blobs"], *export["assumed"])}
        for item in export["releases"]:
            signers = [catalogue[item["path"]] for catalogue in catalogues if item["path"] in catalogue]
            demand(signers and set(signers) == {item["sha256"]}, f"{item['path']}: no catalogue signs for it")
            self.release(item)
        self.chunks, self.blobs = self.table()

    def pinned(self, name: str, value: str, size: int | None = None) -> bytes:
        data = self.volume.read(name)
        demand(sha256(data) == value and size in (None, len(data)), f"{name}: not what the export names")
        self.declared.add(name)
        return data

    def release(self, item: dict[str, Any]) -> None:
        at = item["path"]
        release = document(self.pinned(at, item["sha256"]), at, "tidegate-release/1", RELEASE)
        demand(
            at == f"releases/{release['model']}/{release['ordinal']}.json", f"{at}: says it is another one"
        )
        shipped = {one["digest"]: one["kind"] for one in self.export["documents"]}
        pack = parse(self.pinned(f"documents/{release['modelpack']}.json", release["modelpack"]), at)
        wanted = [release["digest"], release["modelpack"], pack["config"]["digest"].removeprefix("sha256:")]
        wanted += [release["contract"]] if release["contract"] else []
        demand(set(wanted) <= set(shipped), f"{at}: names a document that is not shipped")
        demand(
            shipped.get(release["contract"], "tool-contract") == "tool-contract", f"{at}: no tool contract"
        )
        manifest = read(self.pinned(f"documents/{release['digest']}.json", release["digest"]), at)
        demand(manifest["model"] == release["model"], f"{at}: its manifest is of another model")
        for entry in manifest["files"]:
            demand(
                self.known.get(entry["sha256"]) == entry["size"],
                f"{at}: {entry['path']} is not accounted for",
            )

    def table(self) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
        rows = [
            read(line, f"chunks.jsonl line {number}")
            for number, line in enumerate(self.volume.read("chunks.jsonl").splitlines(), start=1)
        ]
        count = next(
            (number for number, row in enumerate(rows) if "chunk" not in row or "blob" in row or "at" in row),
            len(rows),
        )
        chunks, rest = rows[:count], rows[count:]
        guard = self.export["profile"] == "guard"
        held = {base["sha256"]: base["size"] for base in (*self.export["bases"], *self.export["assumed"])}
        blobs: dict[str, list[dict[str, Any]]] = {}
        for blob in self.export["blobs"]:
            demand(rest, "chunks.jsonl: ends too early")
            head = rest.pop(0)
            right = head.get("blob") == blob["sha256"] and head.get("size") == blob["size"]
            demand(
                right and len(rest) >= whole(head.get("parts"), "parts"),
                f"chunks.jsonl: {blob['sha256'][:12]} is next",
            )
            parts, rest = rest[: head["parts"]], rest[head["parts"] :]
            for part in parts:
                check_part(part, chunks, [(base, held[base]) for base in head["bases"]], guard=guard)
            demand(
                sum(part["size"] for part in parts) == blob["size"],
                f"chunks.jsonl: {blob['sha256'][:12]} is not covered",
            )
            blobs[blob["sha256"]] = [
                {**part, "base": head["bases"][part["base"]]} if "base" in part else part for part in parts
            ]
        demand(not rest, "chunks.jsonl: lines after the last blob")
        self.check_chunks(chunks, blobs, guard=guard)
        return chunks, blobs

    def check_chunks(
        self, chunks: list[dict[str, Any]], blobs: dict[str, list[dict[str, Any]]], *, guard: bool
    ) -> None:
        demand(len({chunk["chunk"] for chunk in chunks}) == len(chunks), "chunks.jsonl: a chunk stands twice")
        for number, chunk in enumerate(chunks):
            digest(chunk["chunk"], "chunks.jsonl")
            lying = [[part for part in parts if part.get("chunk") == number] for parts in blobs.values()]
            framed = [  # frames at one place count once
                sum({part["at"]: part["size"] for part in parts if part["encoding"] != "raw"}.values())
                for parts in lying
            ]
            most = COMPACT if any(framed) else GUARD if guard else CHUNK
            demand(
                any(lying) and 1 <= whole(chunk["size"], "size") <= most,
                f"chunk {chunk['chunk'][:12]}: unused or too large",
            )
            demand(max(framed) <= CHUNK, f"chunk {chunk['chunk'][:12]}: its frames give too much")


def check_part(
    part: dict[str, Any], chunks: list[dict[str, Any]], bases: list[tuple[str, int]], *, guard: bool
) -> None:
    at, size = f"chunks.jsonl: {part}", whole(part.get("size"), "size", 1)
    if "base" in part:
        number, start = whole(part["base"], at), whole(part.get("from"), at)
        demand(number < len(bases) and start + size <= bases[number][1], f"{at}: outside of its base")
    if "chunk" not in part:
        demand("base" in part, f"{at}: neither a chunk nor a base")
        return
    encoding = part["encoding"]
    stored = size if encoding == "raw" else whole(part.get("stored"), at, 1)
    demand(encoding == "raw" or (stored <= size <= FRAME and not guard), f"{at}: no frame")
    demand(("base" in part) == (encoding in NEEDS_BASE), f"{at}: a base too many or too few")
    number = whole(part["chunk"], at)
    demand(
        number < len(chunks) and whole(part["at"], at) + stored <= chunks[number]["size"],
        f"{at}: outside of its chunk",
    )
    part["stored"] = stored


def check_plan(volume: Volume, bundle: Bundle) -> dict[str, Any]:
    """The volume's plan; adds to `volume.stored` where its chunks and pieces lie."""
    data, at = volume.read("plan.json"), f"{volume.path}/plan.json"
    plan = document(data, at, "tidegate-plan/1", PLAN)
    check_dsse(
        data,
        parse(volume.read("plan.sig.json"), at),
        bundle.export["packer"],
        "application/vnd.tidegate.plan+json",
        at,
    )
    demand(
        (plan["bundle"], plan["export"]) == (bundle.export["bundle"], bundle.digest),
        f"{at}: of another bundle",
    )
    placed = [chunk for one in plan["volumes"] for chunk in one["chunks"]]
    every = {chunk["chunk"] for chunk in bundle.chunks}
    demand(
        len(set(placed)) == len(placed) and set(placed) <= every, f"{at}: a chunk twice, or of another bundle"
    )
    demand(plan["repairs"] or len(placed) == len(every), f"{at}: not all chunks")
    demand(
        [one["index"] for one in plan["volumes"]] == [*range(1, len(plan["volumes"]) + 1)], f"{at}: volumes"
    )
    for kind in ("across", "within"):
        used = [
            index
            for one in plan["parity"]
            for index in (one["across"] if kind == "across" else [one["within"]])
        ]
        used = [index for index in used if index is not None]
        demand(len(set(used)) == len(used), f"{at}: a volume in two parity sets")
    label = {"format": "tidegate-volume/1", "critical": [], "bundle": plan["bundle"], "plan": sha256(data)}
    label |= {"index": volume.label["index"], "of": len(plan["volumes"])}
    demand(
        volume.label | label == volume.label and 1 <= label["index"] <= label["of"], f"{volume.path}: label"
    )
    mine = plan["volumes"][volume.label["index"] - 1]
    stored = {
        stored_path(chunk): chunk["chunk"] for chunk in bundle.chunks if chunk["chunk"] in mine["chunks"]
    }
    stored |= {f"parity/{piece[:2]}/{piece}": piece for piece in mine["parity"]}
    listed = {name: value for name, value in volume.sums.items() if name.startswith(("chunks/", "parity/"))}
    demand(listed == stored, f"{volume.path}/SHA256SUMS: says otherwise than the plan")
    trust = {name for name in volume.files if re.fullmatch(r"(trust|upstream)/[a-z0-9.-]+\.json", name)}
    everything = bundle.declared | OWN | set(stored) | (trust & set(volume.sums))
    demand(
        set(volume.files) <= everything,
        f"{volume.path}: {sorted(set(volume.files) - everything)[:3]} not declared",
    )
    return plan


def stored_path(chunk: dict[str, Any]) -> str:
    ending = f".{chunk['extension']}" if "extension" in chunk else ""
    return f"chunks/{chunk['chunk'][:2]}/{chunk['chunk']}{ending}"
