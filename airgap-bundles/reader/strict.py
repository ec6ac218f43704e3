"""Whatever a site refuses, refused here too: fields, limits, tables, plans, parity, letters. SPEC.md, parity.md.

The half of a second reader that protects who reads: `verifier/verify.py` proves what a bundle says, this holds it to
its form. Give this folder to it: `verify.py bundle … --reader airgap-bundles/reader`. Each vector is judged by both.
"""

import hashlib
import json
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from importlib import import_module
from itertools import pairwise
from typing import Any

import verify
from verify import Wrong, canonical, demand

import frames

__all__ = ["frames", "look"]

CHUNK, COMPACT, GUARD, FRAME, PIECE = 64 << 20, 16 << 20, (4 << 30) - 1, 4 << 20, 16 << 20  # bytes
LOADED, MISSING = 16 << 30, object()  # bytes that frames may make a reader load, beside twice what there is
WITH_BASE, WITHOUT = {"delta", "sparse", "exponent", "blocks-delta"}, {"planes", "zstd", "blocks"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- forms: section 2 --------------------------------------------------------------------------------------------------


def check(value: Any, at: str, depth: int = 1) -> None:
    demand(depth <= 64, f"{at}: nested too deep")
    demand(value is None or isinstance(value, (bool, int, str, list, dict)), f"{at}: a number that is not whole")
    demand(not isinstance(value, int) or abs(value) < 1 << 53, f"{at}: a number beyond 2^53-1")
    demand(not isinstance(value, dict) or all(map(str.isascii, value)), f"{at}: a key that is not ASCII")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check(inner, at, depth + 1)


def read(data: bytes, at: str) -> dict[str, Any]:
    """A canonical JSON object."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as exc:
        raise Wrong(f"{at}: no JSON ({exc})") from exc
    check(value, at)
    demand(isinstance(value, dict) and canonical(value) == data, f"{at}: no object in canonical form")
    return dict(value)


def is_number(value: Any, least: int = 0) -> bool:
    return type(value) is int and value >= least


def like(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_text(value: Any) -> bool:
    if not isinstance(value, str) or not 1 <= len(value) <= 1024:
        return False
    hidden = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")
    return all(one == " " or unicodedata.category(one) not in hidden for one in value)


def is_moment(value: Any) -> bool:
    if not like(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")(value):
        return False
    try:
        return bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def base64(text: Any, at: str) -> bytes:
    demand(isinstance(text, str), f"{at}: no text")
    found = b64decode(text, validate=True)
    demand(b64encode(found).decode() == text, f"{at}: base64 with loose ends")
    return found


def head_lines(text: str) -> list[str]:
    """The lines of a signed head that are signed; whether somebody did is not asked. AUDIT.md, section 3."""
    body, blank, lines = text.rpartition("\n\n")
    demand(blank and lines.endswith("\n") and all(one >= " " or one == "\n" for one in text), "head: no signed note")
    said = body.split("\n")
    demand(len(said) >= 3 and all(said) and re.fullmatch("0|[1-9][0-9]{0,18}", said[1]), "head: no checkpoint")
    demand(len(base64(said[2], "head")) == 32, "head: a root has 32 bytes")
    for line in lines[:-1].split("\n"):
        dash, name, raw = line.split(" ")
        demand(
            dash == "\N{EM DASH}" and name and len(base64(raw, "head")) > 4, "head: a signature line of another form"
        )
    return said


def is_head(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) <= 16384 and bool(head_lines(value))
    except (Wrong, ValueError):
        return False


PART = r"(?!.*(--|\.\.))[a-z0-9]([a-z0-9._-]{0,94}[a-z0-9])?"
RUNS = r"[1-9][0-9]*(-[1-9][0-9]*)?( [1-9][0-9]*(-[1-9][0-9]*)?)*"
KINDS: dict[str, Callable[[Any], bool]] = {
    "digest": like("[0-9a-f]{64}"), "bundle": like("[a-z0-9][a-z0-9-]{0,47}"), "text": is_text, "moment": is_moment,
    "model": like(rf"(?!.*\.git$){PART}/{PART}"), "release": like(rf"releases/{PART}/{PART}/[1-9][0-9]*\.json"),
    "number": is_number, "from 1": lambda value: is_number(value, 1), "flag": lambda value: isinstance(value, bool),
    "commit": like("[0-9a-f]{40}"), "runs": like(RUNS), "extension": like("[a-z0-9]{1,16}"),
    "head": is_head, "any": lambda value: value is not MISSING,
    "string": lambda value: isinstance(value, str), "said": lambda value: isinstance(value, str) and bool(value.strip()),
    "nonce": like("[0-9a-f]{32}"), "person": like("[a-z][a-z0-9-]{0,30}"),
}  # fmt: skip


def fit(value: Any, shape: Any, at: str) -> None:
    """Hold a value against a shape: a kind, `kind?` (or null), a set of texts, [shape], {name: shape, "name?": shape}."""
    if isinstance(shape, dict):
        demand(isinstance(value, dict), f"{at}: no object")
        for name, inner in shape.items():
            if name.removesuffix("?") in value or name[-1] != "?":
                fit(value.get(name.removesuffix("?"), MISSING), inner, f"{at}.{name}")
    elif isinstance(shape, list):
        demand(isinstance(value, list) and len(value) <= 1_000_000, f"{at}: no list")
        for number, item in enumerate(value):
            fit(item, shape[0], f"{at}[{number}]")
    elif isinstance(shape, set):
        demand(isinstance(value, str) and value in shape, f"{at}: none of {sorted(shape)}")
    elif not (shape[-1] == "?" and value is None):
        demand(KINDS[shape.removesuffix("?")](value), f"{at}: no {shape}")


def document(data: bytes, at: str, form: str, shape: dict[str, Any], more: str = "") -> dict[str, Any]:
    value = read(data, at)
    demand(value.get("format") == form, f"{at}: not {form}")
    known = {"format", "critical", *more.split(), *(name.removesuffix("?") for name in shape)}
    demand(set(value.get("critical", [])) <= known, f"{at}: a critical field that this reader does not know")
    fit(value, shape, at)
    return value


def check_heads(log: dict[str, Any], at: str) -> None:
    proofs = log.get("proofs", [])
    demand(len(proofs) <= 64 and all(len(one["path"]) <= 126 for one in proofs), f"{at}: too many proofs, or too long")


def once(values: Iterable[Any], at: str) -> None:
    found = list(values)
    demand(len(set(found)) == len(found), f"{at}: one of them stands twice")


def check_key(key: dict[str, Any], at: str) -> None:
    """A public key: its id and its fingerprint are its own."""
    inner = {name: key[name] for name in ("keytype", "scheme", "keyval")}
    demand(set(key) == {"keyid", "fingerprint", *inner} and set(key["keyval"]) == {"public"}, f"{at}: no key")
    demand(key["keyid"] == sha256(canonical(inner).replace(b"\\n", b"\n")), f"{at}: another key id")
    if key["keytype"] == "ed25519":
        der = bytes.fromhex("302a300506032b6570032100" + key["keyval"]["public"])
    else:
        der = b64decode("".join(key["keyval"]["public"].split("-----")[2].split()))
    demand(key["fingerprint"] == sha256(der), f"{at}: another fingerprint")


# -- documents: section 4 ----------------------------------------------------------------------------------------------

HEADS: dict[str, Any] = {"checkpoint": "head", "proofs": [{"from": "from 1", "path": ["digest"]}]}
HEADS |= {"seen?": {"size": "from 1", "root": "digest"}, "cosigned?": "head"}
BLOBS, COUNTED = [{"sha256": "digest", "size": "number"}], {"sha256": "digest", "size": "number", "count": "number"}
TRANSFER = ("requester", "approver", "classification", "source_system", "destination_system", "medium")
EXPORT = {
    "bundle": "bundle", "sequence": "from 1", "audience": "text", "origin": "text", "issued_at": "moment",
    "previous": "digest?", "next_expected_by": "moment?", "profile": {"media", "guard"}, "readme": "digest",
    "base": {"receipt": "digest?", "assumed_received": [{"sequence": "from 1", "by": "text", "reason": "text"}]},
    "releases": [{"path": "release", "sha256": "digest"}], "blobs": BLOBS, "assumed": BLOBS, "bases": BLOBS,
    "documents": [{"digest": "digest", "kind": "text", "name": "text", "size": "number"}],
    "statements": [{"digest": "digest", "predicate": "text", "signature": "digest"}],
    "chunks": COUNTED, "history": COUNTED, "packer": {}, "withdrawals": [{"version": "digest", "reason": "text"}],
    "baseline?": "flag", "log?": HEADS,
    "transfer?": {**{f"{name}?": "text" for name in TRANSFER}, "control_numbers?": ["text"]},
}  # fmt: skip
RELEASE = {"model": "model", "ordinal": "from 1", "digest": "digest", "modelpack": "digest", "contract": "digest?"}
MANIFEST: dict[str, Any] = {"format": {"tidegate-manifest/1"}, "model": "model", "upstream": "any"}
MANIFEST |= {"files": [{"path": "any", "size": "number", "sha256": "digest"}]}
MANIFEST |= {"licence": {"state": {"stated", "not-stated", "not-readable"}, "ids": ["text"]}}
LABEL = {"bundle": "bundle", "index": "from 1", "of": "from 1", "plan": "digest"}
SENT: dict[str, Any] = {
    "sequence": "from 1",
    "bundle": "bundle",
    "export": "digest",
    "issued_at": "moment",
    "items": ["text"],
}
SENT |= {"documents": "number", "bytes": "number"}


def read_export(data: bytes, at: str) -> dict[str, Any]:
    demand(len(data) <= PIECE, f"{at}: too large")
    export = document(data, at, "tidegate-export/1", EXPORT, verify.EXPORT)
    check_key(export["packer"], f"{at}.packer")
    demand((export["previous"] is None) == (export["sequence"] == 1), f"{at}.previous")
    for lists in (("releases",), ("documents",), ("statements",), ("blobs", "assumed"), ("blobs", "bases")):
        items = [item for name in lists for item in export[name]]
        once((item.get("path") or item.get("digest") or item.get("sha256") for item in items), f"{at}.{lists[0]}")
    once((item["version"] for item in export["withdrawals"]), f"{at}.withdrawals")
    check_heads(export.get("log", {}), at)
    return export


def read_release(data: bytes, at: str) -> dict[str, Any]:
    demand(len(data) <= 1 << 20, f"{at}: too large")
    release = document(data, at, "tidegate-release/1", RELEASE | {"statements": ["digest"]}, verify.RELEASE)
    once(release["statements"], f"{at}.statements")
    return release


def read_manifest(data: bytes, at: str) -> dict[str, Any]:
    value = read(data, at)
    fit(value, MANIFEST, at)
    demand(set(value) == set(MANIFEST) and set(value["licence"]) == {"state", "ids"}, f"{at}: other fields")
    demand(all(set(entry) == {"path", "size", "sha256"} for entry in value["files"]), f"{at}.files: other fields")
    if value["upstream"] is not None:
        fit(value["upstream"], {"uri": "text", "commit": "commit?", "complete": "flag"}, f"{at}.upstream")
    paths = [plain_path(entry["path"]) for entry in value["files"]]
    demand(1 <= len(paths) <= 100_000 and paths == sorted(paths), f"{at}: no files, or not in order")
    folded = {unicodedata.normalize("NFC", path).casefold() for path in paths}
    above = {path[: cut.start()] for path in folded for cut in re.finditer("/", path)}
    demand(len(folded) == len(paths) and not folded & above, f"{at}: two paths are one file")
    return value


def plain_path(path: Any) -> str:
    right = isinstance(path, str) and len(path) <= 512 and not re.search(r'[\x00-\x1f\\:*?"<>|\x7f]', path)
    right = right and all(part and part[-1] not in " ." for part in path.split("/"))
    demand(right, f"{path!r}: no plain relative path")
    return str(path)


def read_history(data: bytes, below: int) -> None:
    lines = data.split(b"\n")
    demand(lines.pop() == b"" and len(lines) <= 10_000, "history.jsonl: its last line does not end, or too many")
    last = 0
    for number, line in enumerate(lines, 1):
        sent = read(line, f"history.jsonl line {number}")
        fit(sent, SENT, f"history.jsonl line {number}")
        demand(last < sent["sequence"] < below, f"history.jsonl line {number}: numbers rise, below the bundle's own")
        last = sent["sequence"]


def read_sums(data: bytes) -> dict[str, str]:
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    found = {line[66:-1]: line[:64] for line in lines if KINDS["digest"](line[:64])}
    demand(lines == [f"{found[name]}  {name}\n" for name in sorted(found)], "SHA256SUMS: not in its own form")
    return found


# -- the chunk table: section 5 ----------------------------------------------------------------------------------------


def read_table(data: bytes, export: dict[str, Any]) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """The chunk lines, and the part lines of each of the export's blobs."""
    lines = data.split(b"\n")
    demand(lines.pop() == b"", "chunks.jsonl: its last line does not end")
    rows = [read(line, f"chunks.jsonl line {number}") for number, line in enumerate(lines, 1)]
    count = next((number for number, line in enumerate(lines) if not line.startswith(b'{"chunk"')), len(rows))
    chunks, rest, blobs = rows[:count], rows[count:], list[list[dict[str, Any]]]()
    held = {base["sha256"]: base["size"] for base in (*export["bases"], *export["assumed"])}
    guard = export["profile"] == "guard"
    for number, chunk in enumerate(chunks):
        fit(chunk, {"chunk": "digest", "size": "from 1", "extension?": "extension"}, f"chunks.jsonl[{number}]")
        demand(guard or "extension" not in chunk, "chunks.jsonl: an extension that only guards need")
    once((chunk["chunk"] for chunk in chunks), "chunks.jsonl")
    for blob in export["blobs"]:
        demand(rest, "chunks.jsonl: ends too early")
        head, at = rest.pop(0), f"chunks.jsonl: {blob['sha256'][:12]}"
        fit(head, {"blob": "digest", "bases": ["digest"], "parts": "number", "size": "number"}, at)
        once(head["bases"], at)
        right = (head["blob"], head["size"]) == (blob["sha256"], blob["size"]) and head["parts"] <= len(rest)
        demand(right and set(head["bases"]) <= set(held), f"{at}: another blob, too few lines, or an unknown base")
        parts, rest = rest[: head["parts"]], rest[head["parts"] :]
        for part in parts:
            check_part(part, chunks, [held[base] for base in head["bases"]], guard=guard)
        demand(sum(part["size"] for part in parts) == blob["size"], f"{at}: is not covered")
        blobs.append(parts)
    demand(not rest, "chunks.jsonl: lines after the last blob")
    check_use(chunks, blobs, sum(blob["size"] for blob in export["blobs"]), guard=guard)
    return chunks, blobs


def check_part(part: dict[str, Any], chunks: list[dict[str, Any]], bases: list[int], *, guard: bool) -> None:
    at = f"chunks.jsonl: {part}"
    shape = {"size": "from 1", "base?": "number", "from?": "number", "chunk?": "number", "at?": "number"}
    fit(part, shape | {"stored?": "from 1", "encoding?": "text", "unit?": "text"}, at)
    if "base" in part:
        inside = part["base"] < len(bases) and part["from"] + part["size"] <= bases[part["base"]]
        demand(inside, f"{at}: outside of its base")
    if "chunk" not in part:
        demand("base" in part and not guard, f"{at}: neither a chunk nor a base")
        return
    encoding = part["encoding"]
    frame = encoding != "raw"
    stored = part["stored"] if frame else part["size"]
    if frame:
        check_encoding(encoding, part["unit"], part["size"], at)
        demand(stored < part["size"] <= FRAME and not guard, f"{at}: no frame")
    demand(("base" in part) == (encoding in WITH_BASE), f"{at}: a base too many or too few")
    inside = part["chunk"] < len(chunks) and part["at"] + stored <= chunks[part["chunk"]]["size"]
    demand(inside, f"{at}: outside of its chunk")


def check_encoding(encoding: str, unit: str, size: int, at: str) -> None:
    widths = frames.BLOCK if encoding.startswith("blocks") else frames.WIDTH
    known = encoding in WITH_BASE | WITHOUT and (unit in widths or (encoding == "zstd" and unit == "bytes"))
    demand(known and (encoding != "exponent" or unit in frames.EXPONENT), f"{at}: an encoding that is not known")
    demand(encoding == "zstd" or size % widths[unit] == 0, f"{at}: no whole elements")


def check_use(chunks: list[dict[str, Any]], blobs: list[list[dict[str, Any]]], carried: int, *, guard: bool) -> None:
    used, gives, loads = set[int](), dict[int, int](), 0
    for parts in blobs:
        places: dict[int, dict[int, int]] = {}
        before = None
        for part in (part for part in parts if "chunk" in part):
            used.add(part["chunk"])
            if part["encoding"] != "raw":
                places.setdefault(part["chunk"], {})[part["at"]] = part["size"]
                loads += chunks[part["chunk"]]["size"] if before != part["chunk"] else 0
                before = part["chunk"]
        for number, frame in places.items():  # frames at one place count once
            gives[number] = max(gives.get(number, 0), sum(frame.values()))
    demand(loads <= LOADED + 2 * (carried + sum(one["size"] for one in chunks)), "chunks.jsonl: read over and over")
    for number, chunk in enumerate(chunks):
        most = COMPACT if number in gives else GUARD if guard else CHUNK
        demand(number in used and chunk["size"] <= most, f"chunk {chunk['chunk'][:12]}: unused or too large")
        demand(gives.get(number, 0) <= CHUNK, f"chunk {chunk['chunk'][:12]}: its frames give too much")


# -- plans and parity: section 7, parity.md ----------------------------------------------------------------------------

PLAN: dict[str, Any] = {"bundle": "bundle", "export": "digest", "repairs": "flag"}
PLAN |= {"volumes": [{"index": "from 1", "chunks": ["digest"], "parity": ["digest"], "bytes": "number"}]}
SET = {"across": ["from 1"], "within": "any", "lanes": "from 1", "length": "from 1", "p": ["digest"], "q": ["digest"]}


def read_plan(
    files: dict[str, bytes], export: dict[str, Any], export_digest: str, sizes: dict[str, int]
) -> dict[str, Any]:
    """A plan that the packer signed, of this export, whose volumes hold every chunk once; and its volume's label."""
    data = files["plan.json"]
    check_signed(data, json.loads(files["plan.sig.json"]), export["packer"], "plan")
    plan = document(data, "plan.json", "tidegate-plan/1", PLAN | {"parity": [SET]})
    demand((plan["bundle"], plan["export"]) == (export["bundle"], export_digest), "plan.json: of another bundle")
    placed = [chunk for one in plan["volumes"] for chunk in one["chunks"]]
    once(placed, "plan.json: chunks")
    demand(set(placed) <= set(sizes) and (plan["repairs"] or len(placed) == len(sizes)), "plan.json: other chunks")
    count = len(plan["volumes"])
    demand([one["index"] for one in plan["volumes"]] == [*range(1, count + 1)] != [], "plan.json: volumes")
    pieces = [set(check_set(one, plan, sizes)) for one in plan["parity"]]
    once((index for one in plan["parity"] for index in one["across"]), "plan.json: a volume in two sets across")
    once((one["within"] for one in plan["parity"] if one["within"]), "plan.json: a volume in two sets within")
    named, lengths = set[str]().union(*pieces), dict[str, int]()
    for one in plan["parity"]:
        lengths |= {
            name: size for row in (one["p"], one["q"]) for name, size in zip(row, cut(one["length"]), strict=False)
        }
    for one in plan["volumes"]:
        once(one["parity"], "plan.json: pieces")
        total = sum(sizes[chunk] for chunk in one["chunks"]) + sum(lengths.get(name, 0) for name in one["parity"])
        demand(total == one["bytes"], f"plan.json: volume {one['index']} has other bytes")
    demand(named == {name for one in plan["volumes"] for name in one["parity"]}, "plan.json: other pieces")
    label = document(files["volume.json"], "volume.json", "tidegate-volume/1", LABEL)
    right = (label["bundle"], label["of"], label["plan"]) == (plan["bundle"], count, sha256(data))
    demand(right and label["index"] <= count, "volume.json: of another plan")
    return plan


def cut(length: int) -> list[int]:
    return [min(PIECE, length - at) for at in range(0, length, PIECE)]


def lanes_of(one: dict[str, Any], plan: dict[str, Any], sizes: dict[str, int]) -> list[tuple[list[str], int, int]]:
    """Each lane as chunks, where it begins in them, and how long it is."""
    demand(bool(one["across"]) != (one["within"] is not None), "plan.json: parity across or within, not both")
    indices = one["across"] or [one["within"]]
    demand(all(is_number(index, 1) and index <= len(plan["volumes"]) for index in indices), "plan.json: no such volume")
    rows = [plan["volumes"][index - 1]["chunks"] for index in indices]
    totals = [sum(sizes[chunk] for chunk in row) for row in rows]
    if one["across"]:
        return [(row, 0, total) for row, total in zip(rows, totals, strict=True)]
    step = one["length"]
    return [(rows[0], at, min(step, totals[0] - at)) for at in range(0, totals[0], step)]


def check_set(one: dict[str, Any], plan: dict[str, Any], sizes: dict[str, int]) -> list[str]:
    lanes = lanes_of(one, plan, sizes)
    demand(len(lanes) == one["lanes"] <= 255, "plan.json: other lanes")
    demand(max(size for _row, _at, size in lanes) == one["length"], "plan.json: another length")
    count = len(cut(one["length"]))
    demand(len(one["p"]) == count and len(one["q"]) in (0, count), "plan.json: other pieces")
    return [*one["p"], *one["q"]]


def check_parity(plan: dict[str, Any], sizes: dict[str, int], load: Callable[[str, int, int], bytes]) -> int:
    """Computes every P and Q anew. Returns how many pieces there are."""
    double = bytes((value << 1) & 255 ^ (0x1D if value & 0x80 else 0) for value in range(256))
    for one in plan["parity"]:
        lanes = lanes_of(one, plan, sizes)
        for number, count in enumerate(cut(one["length"])):
            p = q = 0
            for row, at, size in reversed(lanes):  # Horner: q = 2q + lane
                start = number * PIECE
                lane = lane_bytes(row, at + start, max(0, min(count, size - start)), sizes, load)
                value = int.from_bytes(lane.ljust(count, b"\0"), "big")
                p, q = p ^ value, int.from_bytes(q.to_bytes(count, "big").translate(double), "big") ^ value
            for sums, names in ((p, one["p"]), (q, one["q"])):
                right = not names or sha256(sums.to_bytes(count, "big")) == names[number]
                demand(right, "plan.json: parity is not the sum")
    return sum(len(one["p"]) + len(one["q"]) for one in plan["parity"])


def lane_bytes(
    row: list[str], start: int, size: int, sizes: dict[str, int], load: Callable[[str, int, int], bytes]
) -> bytes:
    out, at = b"", 0
    for chunk in row:
        low, high = max(start, at), min(start + size, at + sizes[chunk])
        out += load(chunk, low - at, high - low) if low < high else b""
        at += sizes[chunk]
    return out


# -- letters: section 10 -----------------------------------------------------------------------------------------------

LETTER = {
    "site": "text",
    "origin": "text",
    "bundle": "text",
    "sequence": "from 1",
    "export": "digest",
    "made_at": "moment",
}
RECEIPT: dict[str, Any] = LETTER | {
    "sequences": "runs",
    "freshness": {"FRESH", "DUE", "STALE", "UNKNOWN"},
    "trust": {"root": "from 1"},
}
RECEIPT |= {"log": {"size": "number", "root": "digest?", "heads?": HEADS}, "inventory?": "digest", "holds?": ["digest"]}
RECEIPT |= {"items?": [{"model": "text", "ordinal": "from 1", "digest": "digest", "outcome": "text", "scan": "text"}]}
PERSON, PEOPLE = "x-tidegate-person", "identities/people.json"
LOCAL = ("people", "people-following", "piv-anchor", "piv-crl", "publisher-crl")
SIZES = ({"items", "holds"}, {"inventory"})


def check_signed(payload: bytes, envelope: Any, key: dict[str, Any], kind: str) -> None:
    """A signature file: exactly one DSSE signature, by this key, as this type."""
    fit(
        envelope,
        {"payloadType": {f"application/vnd.tidegate.{kind}+json"}, "signatures": [{"keyid": "digest", "sig": "any"}]},
        kind,
    )
    demand(set(envelope) == {"payloadType", "signatures"} and len(envelope["signatures"]) == 1, f"{kind}: signatures")
    [one] = envelope["signatures"]
    said = verify.pae(payload, envelope["payloadType"])
    right = set(one) == {"keyid", "sig"} and one["keyid"] == key["keyid"]
    demand(right and verify.key_fits(key, b64decode(one["sig"]), said), f"{kind}: not signed by this key")


def read_letter(data: bytes, kind: str, key: dict[str, Any]) -> dict[str, Any]:
    """The payload of a receipt or a repair request that this key signed."""
    value = json.loads(data)
    again = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=2).encode() + b"\n"
    demand(set(value) == {"payload", "signature"} and again == data, f"{kind}: another form")
    payload = canonical(value["payload"])
    check_signed(payload, value["signature"], key, kind)
    if kind == "repair":
        request = document(payload, kind, "tidegate-repair/1", LETTER | {"chunks": ["digest"]})
        once(request["chunks"], kind)
        return request
    receipt = document(payload, kind, "tidegate-receipt/1", RECEIPT, "log")
    check_heads(receipt["log"].get("heads", {}), kind)
    demand(set(receipt) & {"items", "holds", "inventory"} in SIZES, "receipt: neither full nor digest only")
    ends = [tuple(map(int, run.split("-"))) for run in receipt["sequences"].split(" ")]
    apart = all(one[-1] + 1 < other[0] for one, other in pairwise(ends))
    rising = apart and all(len(one) == 1 or one[0] < one[1] for one in ends)
    among = any(one[0] <= receipt["sequence"] <= one[-1] for one in ends)
    demand(rising and among, "receipt: its runs of numbers")
    return receipt


# -- a whole bundle ----------------------------------------------------------------------------------------------------


NEEDED = {
    "officers": (2, 2, 1),
    "hybrid": (4, 3, 2),
    "cnsa2": (2, 2, 1),
}  # signatures of people, of a site, of the station


def lint(trust: verify.Trust) -> None:
    """Nobody alone, no key or person in two roles, no role beyond its own paths: TUF itself asks for none of it."""
    profile, groups = trust.root["x-tidegate-profile"], dict[str, set[str]]()
    demand(profile in ("solo", *NEEDED), f"{trust.place}: a profile that is not known")
    delegations = trust.targets.get("delegations") or {"keys": {}, "roles": []}
    roles = [(name, role, trust.root["keys"]) for name, role in trust.root["roles"].items()]
    roles += [(role["name"], role, delegations["keys"]) for role in delegations["roles"]]
    people: dict[str, set[str]] = {}
    for name, role, keys in roles:
        group = {"snapshot": "station", "timestamp": "station"}.get(name, name.partition("-")[0])
        mine = [keys[keyid] for keyid in role["keyids"]]
        groups.setdefault(group, set()).update(key["keyval"]["public"].strip() for key in mine)
        people.setdefault(group, set()).update(key.get(PERSON, "") for key in mine)
        stated = trust.root.get("x-tidegate-persons") is not True or all(PERSON in key for key in mine)
        demand(group == "station" or stated, f"{trust.place}: a key of {name} states nobody")
        if profile != "solo":
            lint_role(f"{trust.place}: {name}", profile, group, role["threshold"], mine)
    shared = [one for one in groups for other in groups if one < other and groups[one] & groups[other]]
    demand(profile == "solo" or not shared, f"{trust.place}: one key serves {shared} and another role")
    both = people.get("catalog", set()) & people.get("site", set()) - {""}
    demand(profile == "solo" or not both, f"{trust.place}: {sorted(both)} in catalog and a site")
    for role in delegations["roles"]:
        paths = ["releases/*/*/*"] if role["name"] == "catalog" else [f"exports/{role['name'][5:]}/*"]
        right = role["paths"] == paths and role["terminating"] is True
        demand(right, f"{trust.place}: {role['name']} reaches too far")


def lint_role(at: str, profile: str, group: str, threshold: int, keys: list[dict[str, Any]]) -> None:
    """What a profile asks of one role, so that neither one person nor one kind of key is enough."""
    person, site, station = NEEDED[profile]
    demand(threshold >= {"station": station, "site": site}.get(group, person), f"{at} needs too few signatures")
    modern = [key for key in keys if key["keytype"] == "ml-dsa"]
    if profile == "cnsa2":
        demand(all(key["scheme"] == "ml-dsa-87/1" for key in keys), f"{at}: a key that is not ML-DSA-87")
    if profile == "hybrid":
        fewer = max(len(modern), len(keys) - len(modern)) < threshold
        demand(fewer, f"{at}: keys of one kind are enough")
    for name in {key[PERSON] for key in keys if PERSON in key}:
        own = [key["keytype"] == "ml-dsa" for key in keys if key.get(PERSON) == name]
        demand(own.count(True) <= 1 and own.count(False) <= 1 and len(own) < threshold, f"{at}: {name} alone is enough")


def look(bundle: verify.Bundle, trusts: list[verify.Trust], volumes: list[verify.Folder]) -> Iterator[str]:
    """Hold a bundle, whose signatures and digests fit, to the form of all its documents; compute its parity anew."""
    for trust in trusts:
        lint(trust)
    lead = bundle.volume
    [path] = lead.below("exports/")
    data = lead.read(path)
    export = read_export(data, path)
    for name in ("chunks", "history"):
        lines, pin = lead.read(f"{name}.jsonl"), export[name]
        demand((len(lines), lines.count(b"\n")) == (pin["size"], pin["count"]), f"{name}.jsonl: other lines")
    read_history(lead.read("history.jsonl"), export["sequence"])
    shipped = {one["digest"]: one for one in export["documents"]}
    for one in export["documents"]:
        demand(len(lead.read(f"documents/{one['digest']}.json")) == one["size"], f"{one['digest'][:12]}: another size")
    for one in export["releases"]:
        check_release(lead, one["path"], shipped)
    check_kinds(export)
    if PEOPLE in lead.sums:
        import_module("signed").read_people(lead.read(PEOPLE))
    chunks, _blobs = read_table(lead.read("chunks.jsonl"), export)
    sizes = {chunk["chunk"]: chunk["size"] for chunk in chunks}
    places = {name: volume.path / path for volume in volumes for path, name in volume.stored.items()}
    plans = [check_volume(volume, export, sha256(data), chunks) for volume in volumes]
    whole = [plan for plan in plans if set(sizes) <= set(places)]

    def load(name: str, start: int, size: int) -> bytes:
        return b"".join(verify.pieces(places[name], start, size))

    pieces = sum(check_parity(plan, sizes, load) for plan in {plan["export"]: plan for plan in whole}.values())
    yield f"form: as a site demands it; parity: {pieces} pieces, each is the sum that it should be"


def check_kinds(export: dict[str, Any]) -> None:
    """A model's signature is for a version of the bundle; and nothing is in it that a home only says for itself."""
    manifests = {one["digest"] for one in export["documents"] if one["kind"] == "manifest"}
    for one in export["documents"]:
        source, _, digest = one["name"].partition("/")
        right = source in ("publisher", "origin") and digest in manifests
        demand(one["kind"] != "model-signature" or right, f"{one['name']}: a signature for no version of the bundle")
        demand(one["kind"] not in LOCAL, f"{one['digest'][:12]}: {one['kind']} comes with no bundle")


def check_release(lead: verify.Folder, at: str, shipped: dict[str, Any]) -> None:
    release = read_release(lead.read(at), at)
    pack = json.loads(lead.read(f"documents/{release['modelpack']}.json"))
    wanted = {release["digest"], release["modelpack"], pack["config"]["digest"].removeprefix("sha256:")}
    demand(wanted <= set(shipped), f"{at}: names a document that is not shipped")
    contract = release["contract"]
    demand(contract is None or shipped[contract]["kind"] == "tool-contract", f"{at}: no tool contract")
    read_manifest(lead.read(f"documents/{release['digest']}.json"), at)


def check_volume(
    volume: verify.Folder, export: dict[str, Any], digest: str, chunks: list[dict[str, Any]]
) -> dict[str, Any]:
    read_sums(volume.read("SHA256SUMS"))
    files = {name: volume.read(name) for name in ("volume.json", "plan.json", "plan.sig.json")}
    plan = read_plan(files, export, digest, {chunk["chunk"]: chunk["size"] for chunk in chunks})
    mine = plan["volumes"][json.loads(files["volume.json"])["index"] - 1]
    endings = {chunk["chunk"]: f".{chunk['extension']}" if "extension" in chunk else "" for chunk in chunks}
    paths = {f"chunks/{one[:2]}/{one}{endings[one]}": one for one in mine["chunks"]}
    paths |= {f"parity/{piece[:2]}/{piece}": piece for piece in mine["parity"]}
    demand(volume.stored == paths, f"{volume.path}/SHA256SUMS: says otherwise than the plan")
    return plan
