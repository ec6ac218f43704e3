"""Every rule that a scan can report, with how much it weighs and what a person does about it.

One table, so that a page can list it and a test can ask for a file that trips each line. A rule's id never changes
its meaning; a change of any line, or of what trips it, is a new `RULESET`.
"""

from dataclasses import dataclass
from typing import Literal

RULESET = "tidegate-scan/2"

Severity = Literal["blocker", "review", "note", "waived"]
SEVERITIES: tuple[Severity, ...] = ("blocker", "review", "note", "waived")  # the order of a report

_REFETCH = "Fetch the file again and compare its SHA-256 with the publisher's; if it is the same, do not use this version."
_RENAME = "Do not rename it here. Ask the publisher for a repository whose file names are safe everywhere."
_LEAVE_OUT = (
    "Leave the file out at intake if the model runs without it; else a reviewer reads it and signs a waiver."
)
_NO_CODE = (
    "Use a version that the engine supports without repository code; else review the code and sign a waiver."
)
_READ_TEMPLATE = (
    "Compare the template with the publisher's original, read the place named, and approve or refuse it."
)
_LIES_OPEN = "Tell the publisher that a secret lies open in the file; do not carry it into the site: leave the file out or have it waived."
_LICENCE = "Read the licence at the publisher and record what your organisation accepts before approving."
_SHARDS = "Fetch the complete set of weight files of one commit and scan again."


@dataclass(frozen=True)
class Rule:
    """How a finding of this rule counts, unless a waiver for the very file lowers it, where one may."""

    severity: Severity
    next_step: str
    waivable: bool = False


RULES: dict[str, Rule] = {
    "folder.empty": Rule("blocker", "Name a folder that holds a model's files."),
    "folder.no-weights": Rule("review", "Check that the weights were fetched too; a version without any serves nothing."),
    "folder.too-many-tensors": Rule("blocker", "Report it: no published model has that many tensors."),
    "folder.too-many-files": Rule("blocker", "Leave out what is not part of the model."),
    "path.unsafe": Rule("blocker", _RENAME),
    "path.collision": Rule("blocker", _RENAME),
    "file.not-allowed": Rule("blocker", _LEAVE_OUT, waivable=True),
    "file.pickle": Rule("blocker", "Use the safetensors form of these weights. Never open this file.", waivable=True),
    "file.disguised": Rule("blocker", _REFETCH),
    "file.lfs-pointer": Rule("blocker", "This is a placeholder, not the file. Fetch it with a client that follows Git LFS."),
    "file.not-text": Rule("blocker", _REFETCH),
    "file.size": Rule("blocker", _REFETCH),
    "file.too-large": Rule("blocker", _LEAVE_OUT),
    "code.python-file": Rule("blocker", _NO_CODE, waivable=True),
    "code.auto-map": Rule("blocker", _NO_CODE, waivable=True),
    "code.custom-pipeline": Rule("blocker", _NO_CODE, waivable=True),
    "code.trust-remote-code": Rule("blocker", _NO_CODE, waivable=True),
    "code.python-reference": Rule("blocker", _NO_CODE, waivable=True),
    "safetensors.malformed": Rule("blocker", _REFETCH),
    "gguf.malformed": Rule("blocker", _REFETCH),
    "shard.missing": Rule("blocker", _SHARDS),
    "document.encoded-payload": Rule("blocker", _REFETCH, waivable=True),
    "text.secret": Rule("review", _LIES_OPEN, waivable=True),
    "document.malformed": Rule("blocker", _REFETCH),
    "document.claim": Rule("review", "Compare the value with the publisher's model card before approving.", waivable=True),
    "index.malformed": Rule("blocker", _SHARDS),
    "index.shard-missing": Rule("blocker", _SHARDS),
    "index.shard-unlisted": Rule("review", "Find out whether an engine would load this file too; leave it out if none does.", waivable=True),
    "index.tensor-missing": Rule("blocker", _SHARDS),
    "index.tensor-unlisted": Rule("review", "Compare the index with the publisher's; a tensor stands in a file that does not list it.", waivable=True),
    "index.total-size": Rule("note", "Nothing, if the rest is in order: the index states another total than its files have."),
    "template.malformed": Rule("blocker", "Take the template from the publisher's original repository.", waivable=True),
    "template.private-attribute": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.computed-attribute": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.attr-filter": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.import": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.url": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.encoded-text": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.disagreement": Rule("blocker", "Find out which copy the publisher means; engines take different ones.", waivable=True),
    "template.trigger-text": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.invisible-text": Rule("blocker", _READ_TEMPLATE, waivable=True),
    "template.command": Rule("review", _READ_TEMPLATE, waivable=True),
    "template.content-branch": Rule("review", _READ_TEMPLATE, waivable=True),
    "template.content-rewrite": Rule("review", _READ_TEMPLATE, waivable=True),
    "template.clock-branch": Rule("review", _READ_TEMPLATE, waivable=True),
    "template.chance": Rule("review", _READ_TEMPLATE, waivable=True),
    "template.added-text": Rule("review", _READ_TEMPLATE, waivable=True),
    "template.unknown-call": Rule("review", _READ_TEMPLATE, waivable=True),
    "licence.not-stated": Rule("review", _LICENCE),
    "licence.not-readable": Rule("review", _LICENCE, waivable=True),
    "licence.disagreement": Rule("review", _LICENCE),
    "waiver.unused": Rule("note", "Remove the waiver, or find out why the file it was signed for is not here."),
}  # fmt: skip
