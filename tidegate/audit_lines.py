"""The auditor's answers as lines for people. What programs get is each answer's own document."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tidegate.output import SHORT, table

if TYPE_CHECKING:
    from pipelines.questions.allowing import Allowed
    from pipelines.questions.breaking import Breach
    from pipelines.questions.deciding import Decided, Word
    from pipelines.questions.expiring import Ending
    from pipelines.questions.overridden import Overridden
    from pipelines.questions.serving import Served
    from pipelines.questions.touched import Touched
    from pipelines.questions.transfers import Crossing
    from pipelines.questions.whence import Whence

_SERVED = ("tier", "served", "digest", "engine profile", "router", "companions", "from", "until", "by", "log")
_CROSSED = (
    "date", "way", "bundle", "from, to", "originator", "approver", "class", "medium", "files", "outcome", "log",
)  # fmt: skip
_OVERRIDDEN = ("date", "what", "about", "who", "reason", "now", "signature")
_ABOUT = 60  # characters of a column


def served_table(found: "Iterable[Served]", names: dict[str, str], *, then: bool) -> str:
    """What served. `names`: digest of a document to its name."""
    lines = [
        (
            one.pin.tier,
            f"{one.pin.model}@{one.pin.ordinal}",
            one.pin.version[:SHORT],
            *(names.get(part or "", "-") for part in (one.pin.profile, one.pin.router, one.pin.companions)),
            one.pin.since,
            one.until or "now",
            f"BREAK-GLASS {one.pin.kind}" if one.pin.override else one.pin.kind,
            "NOT VERIFIED" if one.problem else "VERIFIED",
        )
        for one in found
    ]
    return table(_SERVED, lines, empty="Nothing was served." if then else "Nothing is served.")


def why_text(found: "Allowed") -> str:
    """Why a tier may serve what it serves."""
    pin, judged = found.served.pin, found.judged
    until = f"until {found.served.until}" if found.served.until else "until now"
    lines = [f"{pin.tier} served {pin.model}@{pin.ordinal} ({pin.version[:SHORT]}) from {pin.since} {until}."]
    if judged.position != pin.position:
        lines.append(f"It went back to what was promoted on {judged.since}; going back asks no gate.")
    if found.overridden:
        lines.append(f"BREAK-GLASS: one person overrode {', '.join(found.overridden)}.")
    rules = found.policy or {}
    suites = ", ".join(rules.get("suites", [])) or "no suite"
    lines.append(f"The tier's policy then: {rules.get('approvals', '?')} approvals, {suites}.")
    if found.checks:
        lines.append(f"The gate looked at: {', '.join(found.checks)}.")
    lines.append(f"Approvals that count, judged again: {', '.join(found.counted) or 'none'}.")
    lines.append(f"The gate answered: {found.verdict or 'no signed answer was kept by that release'}.")
    lines += ["Evidence, looked at now:", f"  {found.served.proof}"]
    lines += [f"  {proof}" for proof in found.proofs]
    lines += [f"  NOT VERIFIED {problem}" for problem in (*found.served.gone, *found.problems)]
    return "\n".join(lines)


def decided_text(found: "Decided", *, pages: bool) -> str:
    """Who decided, and what they saw."""
    lines = [line for word in found.words for line in _word(word, pages=pages)]
    pin = found.served.pin
    head = f"{pin.tier} serves {pin.model}@{pin.ordinal} from {pin.since}; {pin.actor} typed the {pin.kind}."
    lines = [head, *(lines or ["Nobody's word is on record."])]
    return "\n".join([*lines, *(f"NOT VERIFIED {problem}" for problem in found.problems)])


def _word(word: "Word", *, pages: bool) -> Iterator[str]:
    counted = "counted" if word.counted else "did not count"
    yield f"{word.at}  {word.person}: {word.decision} ({counted}): {word.reason}"
    yield f"  Key: {word.how}"
    yield f"  {word.proof}"
    if word.not_signed:
        yield f"  Did not sign for: {', '.join(one[:SHORT] for one in word.not_signed)}"
    if word.shown is None:
        yield "  What was shown is not on record."
    elif pages:
        yield f"  Saw this page, whose SHA-256 {word.shown_sha256} stands in what was signed:"
        yield from (f"  | {line}" for line in word.shown.splitlines())
    else:
        yield f"  Saw a page of {len(word.shown.splitlines())} lines (--pages shows it); its SHA-256 stands in what was signed."


def origin_text(found: "Whence") -> str:
    """Where a version came from."""
    version = found.version
    lines = [f"{version.model}@{version.ordinal}  {version.digest}", *_before(found), *_crossing(found)]
    lines.append(f"Taken in    {version.added_at} by {version.added_by}")
    lines += [f"  {proof}" for proof in found.proofs]
    return "\n".join([*lines, *(f"  NOT VERIFIED {problem}" for problem in found.problems)])


def _before(found: "Whence") -> Iterator[str]:
    if found.upstream:
        commit = found.upstream["commit"]
        yield f"Upstream    {found.upstream['uri']}{f' at commit {commit}' if commit else ''}"
    for one in found.fetched:
        claim = f" (claimed with bundle {one['claimed_with']})" if one["claimed_with"] else ""
        yield f"Fetched     {one['finished']} by {one['by']}, {one['sources']} sources{claim}"
        if one["run"]:
            yield f"Trained     {one['run']}, says the server that it was fetched from"
    for one in found.signatures:
        yield f"Signed      {one['source']}, {one['method']}: {one['signer']}: {one['outcome']}"


def _crossing(found: "Whence") -> Iterator[str]:
    if (one := found.bundle) is not None:
        yield f"Bundle      {one['bundle']} (number {one['sequence']}) of {one['origin']}, signed {one['signed_at']}"
        yield f"Trust       root version {one['root'] or 'unknown'}, profile {one['profile'] or 'unknown'}"
        for name, said in one["said"].items():
            yield f"            {name.replace('_', ' ')}: {said}"
    for one in found.media:
        yield (
            f"Medium      {one['volume']} of {one['of']}: {one['outcome']}, serial {one['serial'] or '-'}, "
            f"seal {one['seal'] or '-'}, carried by {one['carrier'] or '-'}, read {one['at']} by {one['by']}"
        )


def touched_text(found: "Touched") -> str:
    """What a person or key touched."""
    lines = ["Keys"]
    lines += [f"  {key.line}: {key.proof.mark}" for key in found.keys]
    lines += [f"  {key.line}" for key in found.trust]
    if len(lines) == 1:
        lines.append("  none")
    lines.append("Signed (proved by the signature)")
    lines += [
        f"  {one.at}  {one.what}: {one.about}: {one.proof.mark}  [{one.proof.digest[:SHORT]}]"
        for one in found.signed
    ]
    lines += [
        f"  {one.document_name}: {'VERIFIED' if one.holds else 'NOT VERIFIED'}  [{one.digest[:SHORT]}]"
        for one in found.trust_signed
    ]
    if not found.signed and not found.trust_signed:
        lines.append("  nothing")
    lines.append("Ran in this name (what the shell said, proved by nothing)")
    lines += [f"  {one['at']}  event {one['event']}: {one['kind']}" for one in found.acted] or ["  nothing"]
    return "\n".join([*lines, *(f"NOT VERIFIED {problem}" for problem in found.gone)])


def transfers_table(found: "Iterable[Crossing]") -> str:
    """Which transfers crossed."""
    lines = [
        (
            one.date,
            one.direction,
            one.bundle,
            f"{one.source} to {one.destination}",
            one.said.requester or "-",
            one.said.approver or "-",
            one.said.classification or "-",
            one.said.medium or "-",
            f"{len(one.files)} ({', '.join(sorted({file.format for file in one.files}))})"
            if one.files
            else "none",
            one.outcome,
            one.proof.mark,
        )
        for one in found
    ]
    return table(_CROSSED, lines, empty="Nothing crossed.")


def overrides_table(found: "Iterable[Overridden]") -> str:
    """What was overridden."""
    lines = [
        (one.at, one.what, _cut(one.about), one.person, _cut(one.reason), one.standing, one.mark)
        for one in found
    ]
    return table(_OVERRIDDEN, lines, empty="Nothing was overridden.")


def expiring_text(found: "Iterable[Ending]", days: int) -> str:
    """What ends soon."""
    endings = list(found)
    lines = [(one.level, one.until, one.days, one.what) for one in endings]
    text = table(("", "ends", "days left", "what"), lines, empty=f"Nothing ends within {days} days.")
    return "\n".join(
        [text, *(f"Next:    {step}" for step in dict.fromkeys(one.next_step for one in endings))]
    )


def breaches_text(found: "Iterable[Breach]") -> str:
    """What breaks policy today."""
    lines = [
        line
        for one in found
        for line in (
            f"{one.tier}: {one.model}{f'@{one.ordinal}' if one.ordinal else ''}: {one.check}: {one.message}",
            f"  Next: {one.next_step}",
        )
    ]
    return "\n".join(lines) or "Everything that serves keeps to the policy of today."


def _cut(text: str) -> str:
    return text if len(text) <= _ABOUT else f"{text[: _ABOUT - 1]}…"
