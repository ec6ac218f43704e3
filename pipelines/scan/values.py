"""What goes into a scan and what comes out of it, as values; and the one JSON form in which results are kept."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, get_args

from pipelines.scan.errors import MalformedScanResult
from pipelines.scan.reading import quoted
from pipelines.scan.rules import RULES, RULESET, SEVERITIES, Severity
from signing.digests import is_sha256

MAX_PER_RULE = 20  # findings of one rule in one file that are listed one by one

LicenceState = Literal["stated", "not-stated", "not-readable"]


@dataclass(frozen=True)
class ScannedFile:
    """One file of a version, wherever its bytes are: a folder at intake, the blob store at a site.

    `path` is POSIX and relative to the version's folder, `size` in bytes. `open` gives a new binary stream at
    offset 0, seekable, whose `OSError`s the scan lets through. `sha256` (64 hex digits) is needed for waivers only.
    """

    path: str
    size: int
    open: Callable[[], BinaryIO]
    sha256: str | None = None


@dataclass(frozen=True)
class Waiver:
    """A reviewed exception: this rule, for the file with exactly this SHA-256, accepted by this person.

    With a `path`, only where the file has that name. `decision` is the digest of what that person signed.
    """

    rule: str
    sha256: str
    by: str
    reason: str
    path: str | None = None
    decision: str | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that a scan saw. `at` is the place inside the file (`line 3`, `$.auto_map`), or empty."""

    rule: str
    severity: Severity
    path: str
    at: str
    message: str
    next_step: str


@dataclass(frozen=True)
class ChatTemplate:
    """One copy of a chat template: its name, where it stands, SHA-256 of its UTF-8 text, families of its wire marks."""

    name: str
    source: str
    sha256: str
    families: tuple[str, ...] = ()


@dataclass(frozen=True)
class Licence:
    """What the files say about their licence. `not-stated` and `not-readable` are different answers."""

    state: LicenceState = "not-stated"
    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScanFacts:
    """What the files say of themselves. Counts are those of the safetensors files, or without any, of the GGUF files."""

    formats: tuple[str, ...] = ()
    tensor_count: int = 0
    parameter_count: int = 0
    dtypes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    model_type: str | None = None
    context_length: int | None = None  # tokens; None: not stated
    chat_templates: tuple[ChatTemplate, ...] = ()
    licence: Licence = field(default_factory=Licence)
    wire_markers: tuple[str, ...] = ()  # families of all templates, sorted


@dataclass(frozen=True)
class ScanResult:
    """The outcome of one scan under one rule set: findings sorted by weight, path, rule and place."""

    findings: tuple[Finding, ...]
    facts: ScanFacts
    ruleset: str = RULESET

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The findings that forbid the version, as long as no waiver names them."""
        return tuple(finding for finding in self.findings if finding.severity == "blocker")

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings that weigh as much as this or more: what a tier refuses that blocks from `severity` up.

        What is waived stays so at any level.
        """
        counted = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return tuple(f for f in self.findings if f.severity in counted and f.severity != "waived")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values that `canonical_bytes` takes."""
        facts = self.facts
        return {
            "ruleset": self.ruleset,
            "findings": [dict(vars(finding)) for finding in self.findings],
            "facts": {
                **{name: list(getattr(facts, name)) for name in _TEXT_LISTS},
                **{name: getattr(facts, name) for name in _COUNTS},
                "model_type": facts.model_type,
                "context_length": facts.context_length,
                "chat_templates": [_template_json(template) for template in facts.chat_templates],
                "licence": {
                    "state": facts.licence.state,
                    "ids": list(facts.licence.ids),
                    "sources": list(facts.licence.sources),
                },
            },
        }

    @classmethod
    def from_json(cls, value: Any) -> "ScanResult":
        """Read what `to_json` gave, of this rule set or another.

        Raises:
            MalformedScanResult: naming the place, `$.findings[3].severity`.
        """
        fields = _object(value, {"ruleset", "findings", "facts"}, "$")
        return cls(
            findings=tuple(
                _finding(item, f"$.findings[{number}]")
                for number, item in enumerate(_list(fields["findings"], "$.findings"))
            ),
            facts=_facts(fields["facts"], "$.facts"),
            ruleset=_text(fields["ruleset"], "$.ruleset"),
        )


class FindingList:
    """Collects findings of one scan; a flood from one file under one rule is counted, not listed."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, rule: str, path: str, message: str, *, at: str = "") -> None:
        """Add a finding of a rule in `RULES`. `path` and `at` may be foreign text; `message` quotes what is."""
        self._counts[rule, path] += 1
        if self._counts[rule, path] <= MAX_PER_RULE:
            self._found.append(_made(rule, path, at, message))

    def sorted(self) -> tuple[Finding, ...]:
        """Return all findings, most serious first."""
        floods = [
            _made(rule, path, "more places", f"{count - MAX_PER_RULE} more of this kind are not listed")
            for (rule, path), count in self._counts.items()
            if count > MAX_PER_RULE
        ]
        return in_order([*self._found, *floods])


def shown_path(path: str) -> str:
    """Return a path as findings and facts show it: unchanged unless it holds what cannot be shown."""
    return quoted(path, limit=1024, quotes=False)


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order of a report, the same on every machine."""
    return tuple(
        sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.path, f.rule, f.at, f.message))
    )


def _made(rule: str, path: str, at: str, message: str) -> Finding:
    return Finding(
        rule=rule,
        severity=RULES[rule].severity,
        path=shown_path(path),
        at=quoted(at, limit=1024, quotes=False),
        message=message,
        next_step=RULES[rule].next_step,
    )


_COUNTS = ("tensor_count", "parameter_count")
_TEXT_LISTS = ("formats", "dtypes", "architectures", "wire_markers")


def _template_json(template: ChatTemplate) -> dict[str, Any]:
    return {**vars(template), "families": list(template.families)}


def _finding(value: Any, at: str) -> Finding:
    names = ("rule", "severity", "path", "at", "message", "next_step")
    fields = _object(value, set(names), at)
    texts = {name: _text(fields[name], f"{at}.{name}") for name in names}
    severity = next((known for known in SEVERITIES if known == texts["severity"]), None)
    if severity is None:
        raise MalformedScanResult("unknown severity", at=f"{at}.severity")
    return Finding(texts["rule"], severity, texts["path"], texts["at"], texts["message"], texts["next_step"])


def _facts(value: Any, at: str) -> ScanFacts:
    names = {*_TEXT_LISTS, *_COUNTS, "model_type", "context_length", "chat_templates", "licence"}
    fields = _object(value, names, at)
    model_type, context = fields["model_type"], fields["context_length"]
    return ScanFacts(
        formats=_texts(fields["formats"], f"{at}.formats"),
        tensor_count=_count(fields["tensor_count"], f"{at}.tensor_count"),
        parameter_count=_count(fields["parameter_count"], f"{at}.parameter_count"),
        dtypes=_texts(fields["dtypes"], f"{at}.dtypes"),
        architectures=_texts(fields["architectures"], f"{at}.architectures"),
        wire_markers=_texts(fields["wire_markers"], f"{at}.wire_markers"),
        model_type=None if model_type is None else _text(model_type, f"{at}.model_type"),
        context_length=None if context is None else _count(context, f"{at}.context_length"),
        chat_templates=tuple(
            _template(item, f"{at}.chat_templates[{number}]")
            for number, item in enumerate(_list(fields["chat_templates"], f"{at}.chat_templates"))
        ),
        licence=_licence(fields["licence"], f"{at}.licence"),
    )


def _template(value: Any, at: str) -> ChatTemplate:
    fields = _object(value, {"name", "source", "sha256", "families"}, at)
    if not is_sha256(fields["sha256"]):
        raise MalformedScanResult("not a SHA-256 in hex", at=f"{at}.sha256")
    return ChatTemplate(
        name=_text(fields["name"], f"{at}.name"),
        source=_text(fields["source"], f"{at}.source"),
        sha256=fields["sha256"],
        families=_texts(fields["families"], f"{at}.families"),
    )


def _licence(value: Any, at: str) -> Licence:
    fields = _object(value, {"state", "ids", "sources"}, at)
    if fields["state"] not in get_args(LicenceState):
        raise MalformedScanResult("unknown state", at=f"{at}.state")
    ids, sources = _texts(fields["ids"], f"{at}.ids"), _texts(fields["sources"], f"{at}.sources")
    return Licence(fields["state"], ids, sources)


def _object(value: Any, names: set[str], at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise MalformedScanResult(f"not an object with exactly {', '.join(sorted(names))}", at=at)
    return value


def _list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedScanResult("not a list", at=at)
    return value


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise MalformedScanResult("not text", at=at)
    return value


def _texts(value: Any, at: str) -> tuple[str, ...]:
    return tuple(_text(item, f"{at}[{number}]") for number, item in enumerate(_list(value, at)))


def _count(value: Any, at: str) -> int:
    if type(value) is not int or value < 0:
        raise MalformedScanResult("not a count", at=at)
    return value
