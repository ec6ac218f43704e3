"""The chat template that an engine would really render: the version's own, or the companions', which takes its place.

Apart because the gate asks three things about one template: is it clean, does the contract hold with it, and was it
the one behind the suites' answers. A template among companions never went through the intake of models.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.decide import standing
from pipelines.workplace import Workplace
from registry import companions
from registry.decisions import Kind
from registry.manifests import Manifest
from registry.policy import SEVERITIES, Policy
from registry.views import View
from signing.digests import sha256_hex

FILE = "chat_template.jinja"
MAX_BYTES = 1 << 20  # of a version's own; longer ones are not looked at


def brought(view: View, digest: str | None) -> str | None:
    """The chat template that a set of companions brings, if it brings one."""
    row = view.document_by_digest(digest) if digest else None
    return companions.decode(row.body.encode()).files.get(FILE) if row else None


def objections(work: Workplace, view: View, template: str | None, rules: Policy) -> tuple[str, ...]:
    """What a scan has against a template that companions bring, of the weight that the tier blocks; waived is waived."""
    if template is None:
        return ()
    heavy = SEVERITIES[: SEVERITIES.index(rules.block) + 1]
    found = [(rule, said) for rule, severity, said in _seen(template) if severity in heavy]
    digest = sha256_hex(template.encode())
    waived = {
        one.details["rule"]
        for one in (standing(work, view, Kind.WAIVE_FINDING) if found else ())
        if (one.subject, one.details["path"]) == (digest, FILE)
    }
    return tuple(f"{FILE}: {said}" for rule, said in found if rule not in waived)


def measured(work: Workplace, manifest: Manifest, template: str | None, report: Mapping[str, Any]) -> bool:
    """Whether a suite's report is about the template that would be served. Where nobody knows: only if it is the version's own."""
    engine, fingerprint = report["engine"], report["fingerprint"]
    wanted = shown_as(work, manifest, template)
    if engine is None or wanted is None:
        return True
    said = engine["template"]["sha256"] or fingerprint["template_sha256"]
    return template is None if said is None else said in wanted


def shown_as(work: Workplace, manifest: Manifest, template: str | None) -> frozenset[str] | None:
    """The SHA-256 of each form in which an engine may show the template that it would render; None where there is none.

    Args:
        template: the companions', if they bring one. Engines leave out the end of the last line.
    """
    text = _own(work, manifest) if template is None else template.encode()
    if text is None:
        return None
    return frozenset(sha256_hex(form) for form in (text, text.rstrip(b"\r\n"), text.strip()))


def _seen(template: str) -> Iterable[tuple[str, str, str]]:
    from pipelines.scan.errors import MalformedTemplate  # noqa: PLC0415 - jinja2; few companions bring a template
    from pipelines.scan.rules import RULES  # noqa: PLC0415
    from pipelines.scan.templates import audit  # noqa: PLC0415

    try:
        notes = [(note.rule, f"line {note.line}: {note.message}") for note in audit(template).notes]
    except MalformedTemplate as exc:
        notes = [("template.malformed", exc.problem)]
    return [(rule, RULES[rule].severity, said) for rule, said in notes]


def _own(work: Workplace, manifest: Manifest) -> bytes | None:
    entry = next((entry for entry in manifest.files if entry.path == FILE), None)
    if entry is None or entry.size > MAX_BYTES or not work.blobs.has(entry.sha256):
        return None
    return work.blobs.read(entry.sha256, max_bytes=MAX_BYTES)
