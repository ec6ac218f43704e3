"""What people sign, the log's events and heads, ceremonies, timestamps on paper, held to their form. DECISIONS.md, AUDIT.md.

`verifier/verify.py` proves who signed; this says whether what they signed is what it has to be, to the letter.
"""

import hashlib
import json
import re
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import verify
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from verify import Wrong, canonical, demand, fits, hashed, pae

from strict import base64, fit, head_lines, like, once, read

__all__ = ["look"]

LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ROLES = ["auditor", "author", "reviewer", "steward"]
HEX64, BYTES = like("[0-9a-f]{64}"), like("(?:[0-9a-f]{2})+")


def exactly(value: Any, shape: dict[str, Any], at: str) -> dict[str, Any]:
    """An object with these fields and no other one."""
    demand(isinstance(value, dict) and set(value) == set(shape), f"{at}: other fields than {sorted(shape)}")
    fit(value, shape, at)
    return dict(value)


def is_sorted(value: Any, known: list[str] | None = None) -> bool:
    """Texts, at least one, sorted, none twice."""
    texts = isinstance(value, list) and value and all(isinstance(one, str) and one for one in value)
    return bool(texts) and value == sorted({*value}) and (known is None or {*value} <= {*known})


# -- what a person signs: DECISIONS.md ---------------------------------------------------------------------------------

OLD = {
    "format": {"tidegate-approval/1"}, "person": "string", "digest": "digest", "model": "said", "ordinal": "from 1",
    "tier": "said", "site": "said", "evidence": ["digest"], "reason": "said", "issued_at": "moment",
    "expires_at": "moment", "nonce": "nonce", "requested_by": "string?", "action": "said",
}  # fmt: skip
APPROVAL = {**OLD, "format": {"tidegate-approval/2"}, "decision": {"approve", "reject"}}
APPROVAL |= {"shown_sha256": "digest", "request": "digest", "policy": "digest"}
DECISION: dict[str, Any] = {
    "format": {"tidegate-decision/1"}, "kind": "said", "subject": "said", "details": {}, "home": "said",
    "person": "said", "reason": "said", "issued_at": "moment", "expires_at": "moment?", "nonce": "said",
}  # fmt: skip
DETAILS: dict[str, dict[str, Any]] = {
    "waive-finding": {"rule": "any", "path": "any"}, "accept-licence": {"text_sha256": "any"}, "quarantine-case": {},
    "allow-python": {}, "apply-policy": {}, "revoke": {}, "card-issuer": {}, "follow-origin": {"follow": "flag"},
    "break-glass": {"tier": "any", "model": "any", "checks": "any", "page_sha256": "digest"},
    "review": {"verdict": {"upheld", "objected"}},
    "set-person": {
        "position": "from 1", "roles": "any", "method": {"ssh", "piv"}, "public_key": "any", "active": "flag",
        "until": "moment?",
    },
}  # fmt: skip
TEXTS = {"rule", "path", "tier", "model", "public_key"}  # of details: any text, an empty one too
ABOUT_DIGEST = set(DETAILS) - {"accept-licence", "quarantine-case", "set-person"}


def read_approval(data: bytes) -> dict[str, Any]:
    demand(len(data) <= 64 << 10, "approval: too large")
    value = read(data, "approval")
    exactly(value, OLD if value.get("format") == "tidegate-approval/1" else APPROVAL, "approval")
    demand(value["evidence"] == sorted({*value["evidence"]}), "approval: evidence not sorted")
    demand(value["issued_at"] < value["expires_at"] and value["person"], "approval: over before it begins, or nobody's")
    demand(value["requested_by"] != "", "approval: requested by nobody")
    return value


def read_decision(data: bytes) -> dict[str, Any]:
    demand(len(data) <= 64 << 10, "decision: too large")
    value = exactly(read(data, "decision"), DECISION, "decision")
    kind, subject = value["kind"], value["subject"]
    demand(kind in DETAILS, f"decision: no kind {kind[:40]}")
    details = exactly(value["details"], DETAILS[kind], "decision.details")
    demand(kind not in ABOUT_DIGEST or HEX64(subject), "decision: its subject is no digest")
    demand(kind != "quarantine-case" or subject.count("/") == 1, "decision: not SUITE/CASE")
    demand(kind != "revoke" or value["expires_at"] is None, "decision: a revocation does not end")
    demand(all(isinstance(details[name], str) for name in TEXTS & set(details)), "decision.details: no text")
    demand(isinstance(details.get("text_sha256", ""), (str, type(None))), "decision.details: no text")
    demand("checks" not in details or is_sorted(details["checks"]), "decision: checks not sorted")
    demand("roles" not in details or is_sorted(details["roles"], ROLES), "decision: roles")
    return value


def check_signature(text: str, message: bytes, namespace: str, asked: dict[str, Any]) -> str:
    """Hold a person's signature against their key and what is demanded of it. Returns what made it."""
    demand(len(text) <= 16 << 10, "signature: too long")
    public = asked["public_key"]
    if public.split()[0] == "x509":
        value = exactly(json.loads(text), CARD, "card")
        at = datetime.fromisoformat(asked["at"]) if asked["at"] else None
        demand(base64(value["certificate"], "card") == base64(public.split()[1], "key"), "card: another certificate")
        base64(value["signature"], "card")
        known = judge_card(b64decode(public.split()[1]), at, asked["anchors"], asked["crls"])
        demand(known or not (asked["touch"] or asked["pin"]), "card: handed out by nobody who is known")
        return verify.how_made(text, message, namespace, public)
    begin, end = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
    body = text.rstrip()
    demand(body.startswith(begin) and body.endswith(end), "signature: not armored")
    raw = base64("".join(body[len(begin) : -len(end)].split()), "signature")
    parts = [*wire(raw[10:])]
    demand(len(parts) == 5 and parts[3] in (b"sha256", b"sha512"), "signature: not as PROTOCOL.sshsig has it")
    token, kind = public.startswith("sk-"), public.split()[0].encode()
    inner = [*wire(parts[4], 2)]
    rest = parts[4][8 + len(b"".join(inner)) :]
    demand(len(inner) == 2 and inner[0] in (kind, BROWSER[kind]), "signature: of another type than its key")
    demand(len(rest) >= 5 if token else not rest, "signature: flags and counter are a token's, and only a token's")
    check_page([*wire(rest[5:])], rest[:1], inner[0] == BROWSER[kind])
    made = verify.how_made(text, message, namespace, public)
    demand("NOT TOUCHED" not in made, "signature: nobody touched the token")
    hardware = token and "COPIED" not in made
    demand(hardware or not (asked["touch"] or asked["pin"]), "signature: a file where a token is demanded")
    demand("PIN" in made or not asked["pin"], "signature: the token was not given its PIN")
    return made


def check_page(page: list[bytes], flags: bytes, browser: bool) -> None:
    """What a browser added is as long as it may be, spelt as browsers spell, and as the flags say. DECISIONS.md, 2."""
    demand(len(page) == (3 if browser else 0), "signature: more or less than its type has")
    if browser:
        origin, client, more = page
        demand(len(origin) <= 300 and len(client) <= 4096 and len(more) <= 1024, "signature: a page of many words")
        said = loads_once(client)
        begin = [f'"{name}":"{said.get(name)}"' for name in ("type", "challenge", "origin")]
        demand(client.startswith(("{" + ",".join(begin)).encode()), "signature: not as browsers spell it")
        demand(not flags[0] & 0x40 and bool(flags[0] & 0x80) == bool(more), "signature: the flags contradict the rest")


def loads_once(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name stands twice."""

    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        demand(len({*dict(pairs)}) == len(pairs), "signature: a name twice")
        return dict(pairs)

    value = json.loads(data.decode(), object_pairs_hook=once_each)
    demand(isinstance(value, dict), "signature: no object")
    return dict(value)


BROWSER = defaultdict(bytes, {b"sk-ecdsa-sha2-nistp256@openssh.com": b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com"})
CARD = {"format": {"tidegate-piv-signature/1"}, "certificate": "string", "signature": "string"}


def wire(data: bytes, most: int = 9) -> Iterator[bytes]:
    """Strings of RFC 4251, none of them cut off; as many as there are, up to `most`."""
    while data and (most := most - 1) >= 0:
        end = 4 + int.from_bytes(data[:4], "big")
        demand(4 <= len(data) >= end, "signature: ends too early")
        yield data[4:end]
        data = data[end:]


def judge_card(der: bytes, at: datetime | None, anchors: list[str], crls: list[str]) -> bool:
    """Whether one who is known handed the card out; it is for signing, was valid then, and nobody took it back."""
    card = x509.load_der_x509_certificate(der)
    usage = card.extensions.get_extension_for_class(x509.KeyUsage).value
    demand(usage.digital_signature, "card: not for signatures")
    if at is None:
        return False
    demand(card.not_valid_before_utc <= at <= card.not_valid_after_utc, "card: not valid then")
    for one in map(b64decode, crls):
        listed = x509.load_der_x509_crl(one).get_revoked_certificate_by_serial_number(card.serial_number)
        demand(listed is None, "card: taken back")
    issuers = [x509.load_der_x509_certificate(b64decode(one)) for one in anchors]
    named = [issuer for issuer in issuers if issuer.subject == card.issuer]
    for issuer in named:
        card.verify_directly_issued_by(issuer)
    return bool(named)


# -- people: DECISIONS.md ----------------------------------------------------------------------------------------------

PERSON = {"name": "person", "roles": "any", "keys": [{}], "active": "flag", "note": "string"}
KEY = {"method": {"ssh", "piv"}, "public_key": "string", "from": "moment", "until": "moment?"}
PEOPLE = {"format": {"tidegate-people/1"}, "version": "from 1", "issued_at": "moment", "people": [PERSON]}


def read_people(data: bytes) -> dict[str, Any]:
    value = read(data, "people")
    fit(value, PEOPLE, "people")
    demand({*value.get("critical", [])} <= {"critical", *PEOPLE}, "people: critical fields that are not known")
    names, keys = [one["name"] for one in value["people"]], [one for row in value["people"] for one in row["keys"]]
    demand(1 <= len(names) <= 2000 and names == sorted({*names}), "people: nobody, or not by name")
    for row in value["people"]:
        fit(row["keys"], [KEY], "people.keys")
        times = [(key["from"], key["public_key"]) for key in row["keys"]]
        demand(1 <= len(times) <= 64 and times == sorted(times), "people: keys not by time")
        demand(is_sorted(row["roles"], ROLES) and len(row["note"]) <= 500, "people: roles or note")
    once((material(key) for key in keys), "people: one key")
    return value


def material(key: dict[str, Any]) -> str:
    """What one key has under every name: the SHA-256 of the point, or of an RSA key's DER."""
    kind, text = key["public_key"].split()[:2]
    demand((kind == "x509") == (key["method"] == "piv"), "people: not the method of this key")
    if kind == "x509":
        public: Any = x509.load_der_x509_certificate(base64(text, "key")).public_key()
        numbers = public.public_numbers()
        if hasattr(numbers, "n"):
            return f"{numbers.n} {numbers.e}"
        size = public.key_size // 8
        return hashed([b"\4" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")])
    parts = [*wire(base64(text, "key"))]
    demand(parts[0].decode() == kind, "people: a key of another type")
    verify.ssh_key(kind, b64decode(text))
    return hashed([parts[2 if "ecdsa" in kind else 1]])


# -- the log: AUDIT.md -------------------------------------------------------------------------------------------------

ROW: dict[str, Any] = {"table": "string", "row": {}}
EVENT: dict[str, Any] = {
    "format": {"tidegate-event/1", "tidegate-event/2"}, "position": "any", "kind": "string", "subject": "string",
    "at": "string", "actor": "string", "rows": [ROW], "note": {},
}  # fmt: skip


def read_event(leaf: bytes, openings: Any) -> dict[str, Any]:
    """An event with all its salted values opened."""
    value = read(leaf, "event")
    demand(openings is None or value["format"] == "tidegate-event/2", "event: hides nothing, and has openings")
    for one in openings or []:
        pointer, salt, plain = one
        holder: Any = value
        last: Any = ""
        spot: Any = value
        for step in (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]):
            demand(isinstance(spot, dict) or like("0|[1-9][0-9]*")(step), f"event: {pointer} is no place")
            holder, last = spot, step if isinstance(spot, dict) else int(step)
            spot = spot[last]
        demand(len(salt) == 32 and BYTES(salt), "event: a salt has 16 bytes")
        same = spot == {"salted": hashed([bytes.fromhex(salt) + canonical(plain)])}
        demand(same and holder is not spot, f"event: {pointer} opens to something else")
        holder[last] = plain
    for row in exactly(value, EVENT, "event")["rows"]:
        exactly(row, ROW, "event.rows")
    demand(type(value["position"]) is int and b'{"salted":"' not in canonical(value), "event: not all of it is open")
    return value


def read_head(text: str, log_key: str, witnesses: list[str]) -> tuple[int, bytes]:
    """A signed head: size and root. The log signed it, and so did each of these witnesses."""
    said = head_lines(text)
    size, root, good = verify.note(text, [log_key, *witnesses])
    wanted = {key.partition("+")[0] for key in (log_key, *witnesses)}
    missing = wanted - {one.partition("+")[0] for one in good}
    demand(not missing, f"head: not signed by {sorted(missing)}")
    demand(said[0] == log_key.partition("+")[0], "head: of another log")
    return size, root


def read_proof(data: bytes, log_key: str, witnesses: list[str], openings: list[Any]) -> dict[str, Any]:
    """The event that a .tlog-proof shows, as much of it as is opened."""
    first, _, note = data.decode().partition("\n\n")
    lines = first.split("\n")
    demand(
        lines.pop(0) == "c2sp.org/tlog-proof@v1" and lines[0].startswith("extra "), "proof: another form, or no event"
    )
    leaf = base64(lines.pop(0)[6:], "proof")
    demand(like("index (0|[1-9][0-9]*)")(number := lines.pop(0)), "proof: no index")
    size, root = read_head(note, log_key, witnesses)
    at, last, found = int(number[6:]), size - 1, hashlib.sha256(b"\0" + leaf).digest()
    demand(at <= last, "proof: beyond the head")
    for one in (base64(line, "proof") for line in lines):  # RFC 9162, 2.1.3.2
        demand(len(one) == 32 and last > 0, "proof: a hash too long, or one too many")
        if at % 2 or at == last:
            found = hashlib.sha256(b"\1" + one + found).digest()
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            found = hashlib.sha256(b"\1" + found + one).digest()
        at, last = at // 2, last // 2
    demand(last == 0 and found == root, "proof: the event does not stand there")
    event: Any = json.loads(leaf)
    for pointer, salt, plain in openings:
        holder = spot = event
        for step in pointer.split("/")[1:]:
            holder, spot = spot, spot[int(step) if isinstance(spot, list) else step]
        same = holder is not spot and spot == {"salted": hashed([bytes.fromhex(salt) + canonical(plain)])}
        demand(same, f"proof: {pointer} opens to something else")
    return dict(event)


# -- ceremonies, and a timestamp on paper: DECISIONS.md, SPEC.md -------------------------------------------------------

CEREMONY: dict[str, Any] = {
    "format": {"tidegate-ceremony/1"}, "kind": {"init", "rotate", "add-site", "rekey", "publish"}, "origin": "string",
    "profile": {"solo", "officers", "hybrid", "cnsa2"}, "base": {}, "made_at": "moment", "changes": ["string"],
    "quorums": {}, "payloads": {}, "evidence": {},
}  # fmt: skip
PARTIAL = {"format": {"tidegate-partial-signature/1"}, "document": "digest", "keyid": "digest", "sig": "string"}
PLACE = like(r"([a-z0-9_-][a-z0-9._-]*/){1,4}[a-z0-9_-][a-z0-9._-]*")


def read_ceremony(folder: Path) -> dict[str, int]:
    """A ceremony's folder: how many signatures each new document has; each is good and may be there."""
    stated = exactly(json.loads((folder / "ceremony.json").read_bytes()), CEREMONY, "ceremony.json")
    demand((stated["kind"] == "init") == (not stated["base"]["roots"]), "ceremony.json: another kind of ceremony")
    pairs = all(len(pair) == 2 and min(pair) > 0 for pair in stated["quorums"].values())
    named = all(PLACE(path) and HEX64(one) for name in ("payloads", "evidence") for path, one in stated[name].items())
    demand(pairs and named, "ceremony.json: quorums, or what lies beside it")
    for name, top in (("payloads", "targets"), ("evidence", "evidence")):
        for path, value in stated[name].items():
            place = folder / top / path
            right = place.is_file() and hashed([place.read_bytes()]) == value
            demand(right, f"{top}/{path}: not as it was put there")
    new, held = new_documents(folder), held_trust(folder, stated["base"])
    newest = held | new
    root, office = newest["root"], newest["targets"]["delegations"]
    demand(root["x-tidegate-profile"] == stated["profile"], "ceremony.json: another profile than the root's")
    if stated["kind"] == "init":
        threshold_words(stated, root, office)
    may = {role: {keyid: root["keys"][keyid] for keyid in about["keyids"]} for role, about in root["roles"].items()}
    may |= {about["name"]: {keyid: office["keys"][keyid] for keyid in about["keyids"]} for about in office["roles"]}
    before = held.get("root", root)
    may["root"] |= {keyid: before["keys"][keyid] for keyid in before["roles"]["root"]["keyids"]}
    counts = dict.fromkeys(new, 0)
    for role, value in new.items():
        demand(value["version"] == held.get(role, {"version": 0})["version"] + 1, f"{role}: another version")
    for path in sorted((folder / "signatures").glob("*/*")):
        role, keyid = path.parent.name, path.stem
        one = exactly(json.loads(path.read_bytes()), PARTIAL, path.name)
        said = canonical(new[role]).replace(b"\\n", b"\n")
        right = one["keyid"] == keyid and keyid in may[role] and BYTES(one["sig"]) and one["document"] == hashed([said])
        demand(right, f"{path.name}: of another key or document")
        demand(
            verify.key_fits(may[role][keyid], bytes.fromhex(one["sig"]), said), f"{path.name}: not a signature of it"
        )
        counts[role] += 1
    return counts


def new_documents(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((folder / "documents").iterdir()):
        number, role = path.name.split(".")[:2]
        value = json.loads(path.read_bytes())
        demand(path.name == f"{number}.{role}.json" and role not in found, f"{path.name}: does not belong here")
        demand(value["signatures"] == [] and value["signed"]["version"] == int(number), f"{path.name}: signed already")
        found[role] = value["signed"]
    return found


def held_trust(folder: Path, base: dict[str, Any]) -> dict[str, Any]:
    """The newest document of each role that the ceremony starts from: as named, and signed as an origin signs it."""
    files = {hashed([path.read_bytes()]): path.read_bytes() for path in (folder / "trust").glob("*.json")}
    held: dict[str, Any] = {}
    for number, value in enumerate(base["roots"], start=1):
        said = json.loads(files[value])["signed"]
        by = [(one["keys"], one["roles"]["root"]) for one in (held.get("root"), said) if one]
        held["root"] = verify.signed(files[value], f"{number}.root.json", "root", by)
        demand(said["version"] == number, f"{number}.root.json: another number")
    for role in sorted({*base} - {"roots", "snapshot", "timestamp"}, key=lambda role: role != "targets"):
        root, office = held["root"], held.get("targets", {}).get("delegations") or {"keys": {}, "roles": []}
        known = {"targets": (root["keys"], root["roles"]["targets"])}
        known |= {one["name"]: (office["keys"], one) for one in office["roles"]}
        held[role] = verify.signed(files[base[role]], role, "targets", [known[role]])
    return held


def threshold_words(stated: dict[str, Any], root: dict[str, Any], office: dict[str, Any]) -> None:
    """The words beside the documents say of each role what the documents do."""
    roles = [*root["roles"].items(), *((one["name"], one) for one in office["roles"])]
    for name, one in roles:
        words = f"  {name}: {one['threshold']} of {len(one['keyids'])} keys must sign."
        demand(words in stated["changes"], f"ceremony.json: says otherwise of {name}")


def read_paper(text: str, own: bytes) -> bytes:
    """The timestamp that typed lines and the bundle's own one make together."""
    found = ""
    for number, line in enumerate((line for line in text.splitlines() if line.strip()), start=1):
        match = re.fullmatch(r"\s*([0-9]{1,2})[\s.:)]+(\S.*)", line)
        demand(match and int(match[1]) == number, f"paper: line {number} is missing")
        letters = (match[2] if match else "").upper().translate(str.maketrans("OIL", "011", " -\t"))
        piece, check = letters[:-2], letters[-2:]
        bits = f"{number:b}" + "".join(f"{LETTERS.index(one):05b}" for one in piece)
        left = int(bits, 2) << 10
        while left.bit_length() > 10:
            left ^= 0b11000110011 << (left.bit_length() - 11)
        demand(
            0 < len(piece) <= 20 and check == LETTERS[left >> 5] + LETTERS[left & 31],
            f"paper: line {number} is mistyped",
        )
        found += piece
    bits = "".join(f"{LETTERS.index(one):05b}" for one in found)
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
    demand(
        data[:1] == b"\1" and len(found) == -(-data[1] * 8 // 5) and data[1] > 15,
        "paper: lines are missing or too many",
    )
    value = json.loads(own)
    signed, data = value["signed"], data[: data[1]]
    demand(signed["meta"]["snapshot.json"]["hashes"]["sha256"][:8] == data[2:6].hex(), "paper: for another bundle")
    until = datetime.fromtimestamp(int.from_bytes(data[10:15], "big"), UTC)
    signed |= {"version": int.from_bytes(data[6:10], "big"), "expires": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
    [value["signatures"][0]["sig"]] = [data[15:].hex()]
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


# -- signatures over models: OpenSSF Model Signing 1.0 -----------------------------------------------------------------


def read_model_signature(data: bytes, pem: bytes) -> list[str]:
    """The names of the files, or parts of files, that this key signed for."""
    value = json.loads(data)
    demand(value["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json", "model.sig: another media type")
    demand("certificate" not in value["verificationMaterial"], "model.sig: keyless")
    envelope = value["dsseEnvelope"]
    [one], kind = envelope["signatures"], "application/vnd.in-toto+json"
    demand(envelope["payloadType"] == kind, "model.sig: another payload")
    payload, key = b64decode(envelope["payload"], validate=True), load_pem_public_key(pem)
    demand(fits(key, b64decode(one["sig"], validate=True), pae(payload, kind)), "model.sig: not signed by this key")
    said = json.loads(payload)
    demand(said["predicateType"] == "https://model_signing/signature/v1.0", "model.sig: of another release")
    how, files = said["predicate"]["serialization"], said["predicate"]["resources"]
    [subject], parts = said["subject"], how["method"] == "shards"
    demand(parts or how["method"] == "files", "model.sig: a way to list files that is not known")
    size = {"sha256": 64, "blake2b": 128, "blake3": 64}[how["hash_type"]]
    for item in files:
        name = item["name"]
        if parts:
            name, first, last = name.rsplit(":", 2)
            step = int(how["shard_size"])
            demand(int(first) % step == 0 and int(first) <= int(last) <= int(first) + step, "model.sig: parts overlap")
        demand(item["algorithm"] == how["hash_type"] or parts, "model.sig: another algorithm")
        demand(len(item["digest"]) == size and BYTES(item["digest"]), "model.sig: no digest")
        demand(name == "." or not {"", ".", ".."} & {*name.split("/")}, "model.sig: no plain relative path")
    once((item["name"] for item in files), "model.sig: a name")
    root = hashed(bytes.fromhex(item["digest"]) for item in files)
    demand(files and subject["digest"] == {"sha256": root}, "model.sig: not the digest of its parts")
    return [item["name"] for item in files]


# -- an audit folder ---------------------------------------------------------------------------------------------------

PAPERS: dict[str, Callable[[bytes], dict[str, Any]]] = {"approvals": read_approval, "decisions": read_decision}


def look(log: verify.Audit) -> Iterator[str]:
    """Hold what people signed, as the folder has it, to its form."""
    for top, reader in PAPERS.items():
        names = [name for name in log.folder.below(f"{top}/") if name.endswith(".json")]
        for name in names:
            try:
                reader(log.folder.read(name))
            except Wrong as wrong:
                raise Wrong(f"{name}: {wrong}") from wrong
        yield f"{top}: {len(names)}, of the form that people sign"
