"""Judges a version's files without executing anything and without trusting a name.

`scan` takes files from anywhere (a folder at intake, the blob store at a site) and returns findings and facts, all
values. A finding is not an exception: a hostile file is an expected answer. The header readers may be used alone;
`safetensors.read_header` and `gguf.read_header` raise one refusal class each.

Every published pickle scanner can be passed by (research: validation, section 4.1), so pickles are not examined here
but refused, as is everything that is not on a short list of names.
"""

from pipelines.scan.rules import RULES, RULESET, Rule, Severity
from pipelines.scan.scanner import scan
from pipelines.scan.values import (
    ChatTemplate,
    Finding,
    Licence,
    ScanFacts,
    ScannedFile,
    ScanResult,
    Waiver,
)

__all__ = [
    "RULES",
    "RULESET",
    "ChatTemplate",
    "Finding",
    "Licence",
    "Rule",
    "ScanFacts",
    "ScanResult",
    "ScannedFile",
    "Severity",
    "Waiver",
    "scan",
]
