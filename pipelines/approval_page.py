"""The page that a person reads before they sign: what is asked, what would be pinned, what the gate says, in words.

The signature binds the SHA-256 of exactly this text. So it holds no moment of its own (asked twice about the same facts,
it is the same page), and no character that a terminal would not show: what came from a medium cannot dress it up.
"""

from collections.abc import Iterator
from dataclasses import replace

from pipelines.case import Case
from pipelines.workplace import Workplace
from registry import manifests
from registry.approval_requests import BREAK_GLASS, Question
from registry.approvals_payload import PROMOTE
from registry.gate_facts import Finding
from registry.views import View

_LONGEST = 600  # characters of one line
# What people said and say: it changes while they sign, and is shown beside the page (`approvals show`).
_PEOPLE = ("approvals", "rejections")


def question(
    work: Workplace,
    view: View,
    found: Case,
    *,
    action: str = PROMOTE,
    requested_by: str | None = None,
    reason: str | None = None,
) -> Question:
    """Return what is asked about a version before a tier's gate, with its page."""
    version = found.version
    asked = Question(
        action=action,
        home=work.home.name,
        version=version.digest,
        model=version.model,
        ordinal=version.ordinal,
        tier=found.tier,
        policy=found.policy,
        evidence=sorted(set(found.evidence)),
        set={
            "contract": found.contract,
            "profile": found.profile,
            "router": found.router,
            "companions": found.companions,
        },
        serves=found.serves,
        checks={item.check: item.ok for item in found.findings if item.check not in _PEOPLE},
        rejections=sorted(no.digest for no in found.approvals.rejections),
        requested_by=requested_by,
        reason=reason,
    )
    lines = [_plain(line) for line in _lines(view, found, asked)]
    return replace(asked, page="\n".join(lines) + "\n")


def _lines(view: View, found: Case, asked: Question) -> Iterator[str]:
    ref = f"{asked.model}@{asked.ordinal}"
    if asked.action == BREAK_GLASS:
        yield f"BREAK-GLASS: on your word alone, {asked.tier} of {asked.home} would serve {ref}."
        yield "It is reviewed afterwards by somebody else, and shown as such for ever. You override:"
        yield from (f"  {item.check}: {item.message}" for item in found.against)
    else:
        yield f"May {asked.tier} of {asked.home} serve {ref}?"
    yield ""
    yield from _what(view, found, asked)
    yield ""
    yield "What the gate says of it"
    yield from map(_check, (item for item in found.findings if item.check not in _PEOPLE))
    yield ""
    yield "Evidence that you answer for having looked at (SHA-256)"
    yield from (f"  {digest}  {_kind(view, digest)}" for digest in asked.evidence)
    if asked.rejections:
        yield ""
        yield "Somebody said no, and that stands"
        yield from (f"  {no}  [{no.digest}]" for no in found.approvals.rejections)
    yield ""
    yield from _asked(asked)


def _what(view: View, found: Case, asked: Question) -> Iterator[str]:
    version = found.version
    manifest = manifests.decode(version.manifest.encode())
    licence = ", ".join(manifest.licence.ids) or manifest.licence.state.replace("-", " ")
    yield f"Version    {asked.model}@{asked.ordinal}, SHA-256 {asked.version}"
    yield f"           {len(manifest.files)} files, {version.size:,} bytes, licence: {licence}"
    yield f"From       {version.brought_by}, taken in {version.added_at} by {version.added_by}"
    yield f"With       {', '.join(_named(view, kind, digest) for kind, digest in asked.set.items())}"
    yield f"In place   {_in_place(view, asked)}"
    yield f"Policy     of {asked.tier}, SHA-256 {asked.policy}: {_demands(found)}"


def _demands(found: Case) -> str:
    rules = found.rules
    keys = " with hardware keys" if rules.hardware_keys else ""
    return f"{rules.approvals} approvals{keys}, suites {', '.join(rules.suites) or 'none'}"


def _in_place(view: View, asked: Question) -> str:
    if asked.serves is None:
        return f"nothing: {asked.tier} serves no version of {asked.model} yet"
    if asked.serves == asked.version:
        return "this very version"
    before = view.version_by_digest(asked.serves)
    return f"of {asked.model}@{before.ordinal if before else '?'}, SHA-256 {asked.serves}"


def _named(view: View, kind: str, digest: str | None) -> str:
    row = view.document_by_digest(digest) if digest else None
    return f"no {kind}" if digest is None else f"{kind} {row.name if row else '?'} [{digest[:12]}]"


def _check(item: Finding) -> str:
    return f"  {'ok ' if item.ok else 'NO '} {item.check}: {item.message}"


def _kind(view: View, digest: str) -> str:
    row = view.document_by_digest(digest)
    return f"{row.kind} {row.name}" if row else "report"


def _asked(asked: Question) -> Iterator[str]:
    if asked.action == BREAK_GLASS:
        yield "Nobody is asked: you act alone."
    elif asked.requested_by is None:
        yield "Nobody asked for it: who answers opens the question."
    else:
        yield f"Asked by {asked.requested_by}: {asked.reason}"


def _plain(line: str) -> str:
    """One line without a character that is not seen, cut where it is endless."""
    seen = "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in line)
    more = len(seen) - _LONGEST
    return seen if more <= 0 else f"{seen[:_LONGEST]} … ({more:,} more characters)"
