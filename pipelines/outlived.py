"""Evidence that rests on a person's decision, held against what stands now.

A scan lets a finding pass because a reviewer waived it; a suite passes without a case that a steward set aside. Both
reports stay as they are for ever, and the decisions do not: revoked or over, what they let pass counts again, at once
and not at the next scan or run.
"""

from collections.abc import Mapping
from typing import Any

from pipelines.decide import standing
from pipelines.scan.rules import RULES, SEVERITIES
from pipelines.scan.values import ScanResult
from pipelines.workplace import Workplace
from registry.decisions import Kind
from registry.manifests import Manifest
from registry.policy import Policy
from registry.views import View


def waivers(work: Workplace, view: View, result: ScanResult, rules: Policy, manifest: Manifest) -> list[str]:
    """What a scan found of the weight that the tier blocks, and let pass by a waiver that stands no longer."""
    heavy = SEVERITIES[: SEVERITIES.index(rules.block) + 1]
    waived = [item for item in result.findings if item.severity == "waived" and _weight(item.rule) in heavy]
    if not waived:
        return []
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    alive = {
        (one.details["rule"], one.subject, one.details["path"])
        for one in standing(work, view, Kind.WAIVE_FINDING)
    }
    return [
        f"{item.path}: {item.message}; that waiver stands no longer"
        for item in waived
        if (item.rule, digests.get(item.path), item.path) not in alive
    ]


def set_aside(work: Workplace, view: View, report: Mapping[str, Any]) -> list[str]:
    """Cases that a run set aside by a decision that stands no longer: nobody knows whether its gates hold with them."""
    aside = report["quarantined"]
    alive = {one.digest for one in standing(work, view, Kind.QUARANTINE_CASE)} if aside else set()
    return [
        f"case {one['case']} was set aside by a decision of {one['person']} that stands no longer"
        for one in aside
        if one["decision"] not in alive
    ]


def licences(work: Workplace, view: View, manifest: Manifest) -> frozenset[str]:
    """The licence ids that a reviewer accepted; who accepted one text of it did so for versions that hold that text."""
    texts = {None, *(entry.sha256 for entry in manifest.files)}
    return frozenset(
        found.subject
        for found in standing(work, view, Kind.ACCEPT_LICENCE)
        if found.details["text_sha256"] in texts
    )


def _weight(rule: str) -> str:
    """What a finding weighs without its waiver; of a rule that is known no longer, the most."""
    return RULES[rule].severity if rule in RULES else SEVERITIES[0]
