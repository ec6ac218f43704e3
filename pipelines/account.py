"""The auditor's account of one version: the stored facts folded into one story, each with its evidence."""

import json
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pipelines.break_glass import Override, overrides
from pipelines.workplace import Workplace
from registry import manifests
from registry.entities import Approval, Pin, Report, Version
from registry.names import Ref
from registry.views import View
from signing.canonical import parse

_BYTES = 64 << 20
_SHORT = 12


@dataclass(frozen=True)
class Account:
    """The same account for programs and for people."""

    document: dict[str, Any]
    text: str


def account(work: Workplace, ref: Ref) -> Account:
    """Fold everything that is recorded about a version. Raises `NotFound`."""
    with work.store.view() as view:
        version = view.version(ref)
        document = {
            "version": _version(version),
            "origin": _origin(view, version),
            "scans": [_report(view, row) for row in view.reports(version.digest, "scan")],
            "contract": _contract(view, version),
            "validations": [_report(view, row) for row in view.reports(version.digest, "validation")],
            "noted": [_noted(row) for row in view.reports(version.digest, "evidence")],
            "claims": [_claim(view, row.bundle, row.statement) for row in view.claims(version.digest)],
            "approvals": [_approval(row) for row in view.approvals(version.digest)],
            "served": _served(work, view, version),
            "withdrawn": _withdrawn(view, version),
            "bytes_removed": _bytes_removed(view, version),
            "profile": work.home.profile,
        }
    return Account(document, _text(document))


def _version(version: Version) -> dict[str, Any]:
    manifest = manifests.decode(version.manifest.encode())
    return {
        "model": version.model,
        "ordinal": version.ordinal,
        "digest": version.digest,
        "revision": version.revision,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "licence": {"state": manifest.licence.state, "ids": list(manifest.licence.ids)},
        "upstream": None
        if manifest.upstream is None
        else {"uri": manifest.upstream.uri, "commit": manifest.upstream.commit},
    }


def _origin(view: View, version: Version) -> dict[str, Any]:
    found: dict[str, Any] = {
        "brought_by": version.brought_by,
        "at": version.added_at,
        "by": version.added_by,
        "bundle": None,
    }
    for row in view.imports():
        if row.bundle == version.brought_by:
            export = json.loads(row.body)
            found["bundle"] = {
                "id": row.bundle,
                "sequence": row.sequence,
                "export": row.digest,
                "origin": export.get("origin"),
                "signed_at": row.signed_time,
            }
    return found


def _noted(row: Report) -> dict[str, Any]:
    """What another tool said, as a person here took it in."""
    log = parse(row.body.encode(), max_bytes=_BYTES, at="report")["log"]
    return {
        "report": row.digest,
        "tool": log.get("tool") or log.get("program"),
        "at": row.made_at,
        "by": row.made_by,
    }


def _report(view: View, row: Report) -> dict[str, Any]:
    body = parse(row.body.encode(), max_bytes=_BYTES, at="report")
    found: dict[str, Any] = {
        "report": row.digest,
        "outcome": row.outcome,
        "at": row.made_at,
        "by": row.made_by,
        "statement": row.statement,
    }
    if row.kind == "scan":
        found["findings"] = [
            f"{item['severity']}: {item['path']}: {item['message']}" for item in body["scan"]["findings"]
        ]
        return found
    suite, profile = view.document_by_digest(row.suite or ""), view.document_by_digest(row.profile or "")
    return {
        **found,
        "suite": {"name": suite.name if suite else None, "digest": row.suite},
        "engine_profile": {"name": profile.name if profile else None, "digest": row.profile},
        "contract": row.contract,
        "tier": body.get("tier"),
        "identity": body["identity"]["state"],
        "reasons": body["reasons"],
    }


def _contract(view: View, version: Version) -> dict[str, Any] | None:
    binding = view.binding(version.digest)
    if binding is None:
        return None
    row = view.document_by_digest(binding.contract)
    return {
        "digest": binding.contract,
        "name": row.name if row else None,
        "since": binding.since,
        "by": binding.actor,
    }


def _claim(view: View, bundle: str, digest: str) -> dict[str, Any]:
    row = view.statement(digest)
    return {"bundle": bundle, "statement": digest, "predicate": row.predicate if row else None}


def _approval(row: Approval) -> dict[str, Any]:
    payload = json.loads(row.payload)
    return {
        "digest": row.digest,
        "person": row.person,
        "decision": row.decision or "approve",
        "request": row.request,
        "tier": row.tier,
        "at": row.made_at,
        "reason": payload.get("reason"),
        "evidence": payload.get("evidence"),
    }


def _served(work: Workplace, view: View, version: Version) -> list[dict[str, Any]]:
    """Each stretch of time in which a tier served it; `until` null: it does now."""
    stretches = []
    broken = {(item.pin.tier, item.pin.position): item for item in overrides(work, view)
              if item.pin.model == version.model}  # fmt: skip
    for tier in view.tiers():
        history = view.pin_history(tier.tier, version.model)
        for line, following in zip_longest(history, history[1:]):
            if line.version == version.digest:
                stretches.append(_stretch(line, following, broken=broken.get((line.tier, line.position))))
    return stretches


def _stretch(line: Pin, following: Pin | None, *, broken: Override | None) -> dict[str, Any]:
    return {
        "tier": line.tier,
        "from": line.since,
        "until": following.since if following else None,
        "by": line.kind,
        "who": line.actor,
        "reason": line.reason,
        "evidence": json.loads(line.evidence),
        "left_by": following.kind if following else None,
        "break_glass": None if broken is None else {**broken.document(), "said": broken.said},
    }


def _withdrawn(view: View, version: Version) -> dict[str, Any] | None:
    row = view.withdrawal(version.digest)
    return None if row is None else {"reason": row.reason, "at": row.since, "by": row.actor}


def _bytes_removed(view: View, version: Version) -> list[dict[str, Any]]:
    return [
        {"reason": row.reason, "at": row.since, "by": row.actor, "bytes": row.bytes}
        for row in view.removals()
        if row.version == version.digest
    ]


def _text(document: dict[str, Any]) -> str:
    version, licence = document["version"], document["version"]["licence"]
    alone = " (single-person home)" if document["profile"] == "solo" else ""
    contract = document["contract"]
    sections: list[tuple[str, list[str]]] = [
        ("Where from", _whence(version, document["origin"])),
        ("Scanned here", [line for scan in document["scans"] for line in _scan_lines(scan)]),
        ("Tool contract", [_contract_line(contract)] if contract else []),
        ("Validated here", [line for run in document["validations"] for line in _run_lines(run)]),
        ("Approved" + alone, [_approval_line(item) for item in document["approvals"]]),
        ("Served", [_stretch_line(item) for item in document["served"]]),
    ]
    if document["claims"]:
        claims = [
            f"{c['predicate']} with bundle {c['bundle']}  [{_short(c['statement'])}]"
            for c in document["claims"]
        ]
        sections.insert(4, ("Claimed from outside (never enough for a gate here)", claims))
    if document["noted"]:
        noted = [
            f"{n['at']} {n['tool']}, taken in by {n['by']}  [{_short(n['report'])}]"
            for n in document["noted"]
        ]
        sections.insert(4, ("Noted of other tools (never enough for a gate)", noted))
    if document["withdrawn"]:
        gone = document["withdrawn"]
        sections.append(("Withdrawn", [f"{gone['at']} by {gone['by']}: {gone['reason']}"]))
    if document["bytes_removed"]:
        sections.append(("Bytes removed here", [_removal_line(item) for item in document["bytes_removed"]]))
    ids = f" ({', '.join(licence['ids'])})" if licence["ids"] else ""
    lines = [
        f"{version['model']}@{version['ordinal']}  {version['digest']}",
        f"  {version['files']} files, {version['bytes']:,} bytes; licence {licence['state'].replace('-', ' ')}{ids}",
    ]
    for title, found in sections:
        lines += [title, *(f"  {line}" for line in found or ["nothing recorded"])]
    return "\n".join(lines)


def _whence(version: dict[str, Any], origin: dict[str, Any]) -> list[str]:
    lines = []
    if version["upstream"]:
        commit = version["upstream"]["commit"]
        lines.append(version["upstream"]["uri"] + (f" at commit {commit}" if commit else ""))
    if origin["bundle"]:
        bundle = origin["bundle"]
        number = f"bundle {bundle['id']} (number {bundle['sequence']})"
        lines.append(f"{number} from {bundle['origin']}, signed {bundle['signed_at']}")
    return [*lines, f"taken in {origin['at']} by {origin['by']} ({origin['brought_by']})"]


def _scan_lines(scan: dict[str, Any]) -> list[str]:
    first = f"{scan['at']} {scan['outcome']} by {scan['by']}  [{_short(scan['report'])}]"
    return [first, *(f"  {finding}" for finding in scan["findings"])]


def _contract_line(contract: dict[str, Any]) -> str:
    return f"{contract['name']} [{_short(contract['digest'])}] since {contract['since']} by {contract['by']}"


def _run_lines(run: dict[str, Any]) -> list[str]:
    first = (
        f"{run['at']} {run['suite']['name']}: {run['outcome']} for {run['tier'] or 'no tier'} with {run['engine_profile']['name']}, "
        f"files served {run['identity']}, by {run['by']}  [{_short(run['report'])}]"
    )
    return [first, *(f"  {reason}" for reason in run["reasons"])]


def _approval_line(item: dict[str, Any]) -> str:
    pieces = f"on {len(item['evidence'])} pieces of evidence"
    said = "REJECTED " if item["decision"] == "reject" else ""
    return f"{item['at']} {said}{item['person']} for {item['tier']}: {item['reason']}  [{_short(item['digest'])}], {pieces}"


def _removal_line(item: dict[str, Any]) -> str:
    return f"{item['at']} by {item['by']}: {item['bytes']:,} bytes; {item['reason']}"


def _stretch_line(item: dict[str, Any]) -> str:
    began = {"promote": "promoted", "rollback": "rolled back to"}[item["by"]]
    ended = {"promote": "another promotion", "rollback": "a rollback"}
    until = f" to {item['until']}, ended by {ended[item['left_by']]}" if item["until"] else " until now"
    reason = f": {item['reason']}" if item["reason"] else ""
    broken = item["break_glass"]
    alone = f" [{broken['said']}; past {', '.join(broken['checks'])}]" if broken else ""
    return f"{item['tier']}, from {item['from']}{until}; {began} by {item['who']}{reason}{alone}"


def _short(digest: str) -> str:
    return digest[:_SHORT]
