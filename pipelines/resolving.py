"""Which version a client means by a revision, and whether it may take it: one answer for every protocol.

Hub, MLflow, OCI and Ollama spell it differently; what a word means and who may have the bytes is decided here alone.
The rules, in their order:
(1) a revision is a tier, a number (`3`, `v3`), `sha256:` and a prefix, a bare prefix of 8 hex digits or more, or a
    commit of 40; `main` and `latest` mean the tier that the door says, else what all the caller's tiers agree on;
(2) withdrawn: to nobody, whatever they may;
(3) what no tier ever served: only to who may pull anything; the others are told what the gate says;
(4) who is bound to tiers takes what those serve or served;
(5) what was served and is not any more: taken, with a warning.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from pipelines.errors import JudgingRefused
from pipelines.removed import whole
from pipelines.workplace import Workplace
from registry import store_pulls
from registry.entities import Pin, Version
from registry.errors import NotFound
from registry.keeping import BytesRemoved
from registry.names import Ref
from registry.views import View
from signing.errors import OperatorError

DEFAULT_NAMES = ("main", "latest")
_TIER = re.compile(r"[a-z][a-z0-9-]{0,30}")
_ORDINAL = re.compile(r"v?([1-9][0-9]{0,8})")
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REASON = 600  # characters of the gate's reason: it goes into headers


@dataclass(frozen=True)
class Puller:
    """What somebody may take: everything promoted, as a rule."""

    any_version: bool = False  # also what no tier ever served
    tiers: frozenset[str] | None = None  # bound to these; None: to none
    default_tier: str | None = None  # what `main` means to them

    def admitted(self, tier: str) -> bool:
        """Whether what this tier serves is theirs to take."""
        return self.tiers is None or tier in self.tiers


@dataclass(frozen=True)
class Resolved:
    """The version that is meant and may be taken."""

    version: Version
    tier: str | None  # by which it was asked for
    warning: str | None = None  # for the client's screen


class RevisionUnknown(JudgingRefused):
    """A revision that means no version of the model here."""

    exit_code: ClassVar[int] = 176
    status: ClassVar[int] = 404
    next_step: ClassVar[str] = (
        "Ask for a tier, a number, a digest or a commit; `tidegate models show MODEL` lists the versions, `tidegate "
        "pins` what each tier serves."
    )

    def __init__(self, model: str, revision: str, problem: str) -> None:
        super().__init__(f"{model} has no revision {revision!r}: {problem}")
        self.model, self.revision, self.problem = model, revision, problem


class VersionWithdrawn(JudgingRefused):
    """A withdrawn version is served to nobody, not even where a tier still points at it."""

    exit_code: ClassVar[int] = 177
    status: ClassVar[int] = 404
    next_step: ClassVar[str] = (
        "Take another version, and remove this one where it was loaded; the tier's steward goes back: `tidegate "
        "rollback MODEL --tier TIER --reason WHY`."
    )

    def __init__(self, ref: str, reason: str, *, since: str) -> None:
        super().__init__(f"{ref} is withdrawn since {since}: {reason}")
        self.ref, self.reason, self.since = ref, reason, since


class NotPromoted(JudgingRefused):
    """A version that no tier of this caller ever served."""

    exit_code: ClassVar[int] = 178
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = (
        "Ask for what a tier serves, or have the version promoted: `tidegate gate REF --tier TIER` says what is missing."
    )

    def __init__(self, ref: str, reason: str, *, served_in: tuple[str, ...] = ()) -> None:
        super().__init__(f"{ref} is not promoted: {reason}")
        self.ref, self.reason = ref, reason
        self.served_in = served_in  # other tiers, to which the caller is not admitted


def resolve(work: Workplace, view: View, model: str, revision: str, puller: Puller) -> Resolved:
    """Say which version of `model` is meant, if the caller may take it.

    Args:
        model: a registry name; other spellings are the door's to translate.
        revision: as the client wrote it, decoded.

    Raises:
        NotFound: no such model.
        RevisionUnknown: it means nothing, or more than one version.
        VersionWithdrawn: rule (2).
        NotPromoted: rules (3) and (4).
        BytesRemoved: the record is here and the bytes are not.
    """
    tier, candidates = _meant(view, model, revision, puller)
    refusals = []
    for version in candidates:
        try:
            warning = _permit(work, view, version, puller, named=tier)
        except (VersionWithdrawn, NotPromoted) as no:
            refusals.append(no)
            continue
        _demand_bytes(work, view, version)
        return Resolved(version, tier, warning)
    # One commit that was taken in twice: a withdrawal is the answer that stops a client.
    raise min(refusals, key=lambda no: isinstance(no, NotPromoted))


def serving(view: View, model: str, puller: Puller) -> list[Pin]:
    """What each tier that the caller is admitted to serves of a model now, lowest tier first; withdrawn ones too."""
    tiers = [row.tier for row in view.tiers() if puller.admitted(row.tier)]
    return [pin for tier in tiers if (pin := view.pin(tier, model)) is not None]


def _meant(view: View, model: str, revision: str, puller: Puller) -> tuple[str | None, list[Version]]:
    """Rule (1): the tier that was named, and the versions that can be meant."""
    if revision in DEFAULT_NAMES:
        revision = _default(view, model, revision, puller)
    pin = view.pin(revision, model) if _TIER.fullmatch(revision) else None
    if pin is not None:
        return revision, [_of_pin(view, pin)]
    if not store_pulls.holds_model(view, model):
        raise NotFound("model", model)
    if ordinal := _ORDINAL.fullmatch(revision):
        found = [store_pulls.numbered(view, model, int(ordinal[1]))]
    elif _COMMIT.fullmatch(revision):
        found = [*store_pulls.by_revision(view, model, revision)]
    elif prefix := _PREFIX.fullmatch(revision):
        found = [*store_pulls.by_digest_prefix(view, model, prefix[1])]
        if len(found) > 1:
            raise RevisionUnknown(model, revision, "more than one digest begins so; write more of it")
    else:
        found = []
    versions = [version for version in found if version is not None]
    if not versions:
        raise RevisionUnknown(model, revision, _what_there_is(view, model, puller))
    return None, versions


def _default(view: View, model: str, revision: str, puller: Puller) -> str:
    """The tier that `main` means: the door's, else any of those that are the caller's where all serve one version."""
    if puller.default_tier and puller.admitted(puller.default_tier):
        return puller.default_tier
    pins = serving(view, model, puller)
    if len({pin.version for pin in pins}) == 1:
        return pins[0].tier
    if not store_pulls.holds_model(view, model):
        raise NotFound("model", model)
    raise RevisionUnknown(model, revision, _what_there_is(view, model, puller))


def _what_there_is(view: View, model: str, puller: Puller) -> str:
    pins = serving(view, model, puller)
    if not pins:
        return "no tier serves it yet"
    return "ask for " + " or ".join(f"{pin.tier} (serves {pin.ordinal})" for pin in pins)


def _of_pin(view: View, pin: Pin) -> Version:
    version = store_pulls.numbered(view, pin.model, pin.ordinal)
    if version is None or version.digest != pin.version:
        raise NotFound("version pinned as", str(Ref(pin.model, tier=pin.tier)))
    return version


def _permit(
    work: Workplace, view: View, version: Version, puller: Puller, *, named: str | None
) -> str | None:
    """Rules (2) to (5): the warning that goes with the version, if it may be taken. `named`: the tier that serves it."""
    ref = f"{version.model}@{version.ordinal}"
    withdrawal = view.withdrawal(version.digest)
    if withdrawal is not None:
        raise VersionWithdrawn(ref, withdrawal.reason, since=withdrawal.since)
    if named is not None and puller.admitted(named):
        return None
    everywhere = store_pulls.pinned_in(view, version.digest)
    tiers = [tier for tier in everywhere if puller.admitted(tier)]
    if tiers:
        return _superseded(view, version, tiers)
    if puller.any_version:
        return None
    raise NotPromoted(ref, gate_says(work, view, version, puller), served_in=tuple(everywhere))


def _superseded(view: View, version: Version, tiers: list[str]) -> str | None:
    pins = [view.pin(tier, version.model) for tier in tiers]
    if any(pin is not None and pin.version == version.digest for pin in pins):
        return None
    last = pins[0]  # of the tier that came to this version last
    return f"superseded: {last.tier} serves {last.ordinal} since {last.since}" if last else None


def gate_says(work: Workplace, view: View, version: Version, puller: Puller) -> str:
    """What the lowest tier has against the version: of those that the caller is admitted to, and that serve the model."""
    admitted = [row.tier for row in view.tiers() if puller.admitted(row.tier)]
    tiers = [tier for tier in admitted if view.pin(tier, version.model)] or admitted
    if not tiers:
        return "no tier could serve it"
    from pipelines.case import case  # noqa: PLC0415 - 0.5 s and 12 MiB that only a refusal needs

    try:
        judged = case(work, view, Ref(version.model, ordinal=version.ordinal), tiers[0])
    except OperatorError as refusal:  # a gate that cannot be asked is not open
        return f"for {tiers[0]}, {refusal}"[:_REASON]
    against = "; ".join(f"{finding.check}: {finding.message}" for finding in judged.against)
    return f"for {tiers[0]}, {against or 'its gate is open and nobody has promoted it'}"[:_REASON]


def _demand_bytes(work: Workplace, view: View, version: Version) -> None:
    rows = store_pulls.removals_of(view, version.digest)
    if rows and not whole(version, work.blobs):
        last = rows[-1]
        ref = f"{version.model}@{version.ordinal}"
        raise BytesRemoved(ref, since=last.since, by=last.actor, reason=last.reason)
