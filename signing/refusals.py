"""What trust refuses, each refusal with its exit code and the next thing a person does.

Apart from `trust.py` and `ceremony.py` so that the rules there can be read without scrolling past the words.
Two families: `BundleUntrusted` is about what came on the medium, `SiteNotReady` about the site that looks at
it. The refusals of the ceremony, at the origin, stand at the end.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from signing.errors import OperatorError
from signing.times import rfc3339


class BundleUntrusted(OperatorError):
    """Family: what lies on the medium may not be believed. Nothing of it has been taken in."""


class SiteNotReady(OperatorError):
    """Family: this site cannot judge any bundle yet."""


class MetadataTampered(BundleUntrusted):
    """A trust file or signed document is not, byte for byte, what was signed."""

    exit_code: ClassVar[int] = 11
    next_step: ClassVar[str] = (
        "Import nothing. Copy the bundle again from the connected side; if it fails again, keep the medium "
        "apart and tell the origin which file was named here."
    )

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name, self.problem = name, problem


class WrongKey(BundleUntrusted):
    """No key that may sign this document has signed it."""

    exit_code: ClassVar[int] = 12
    next_step: ClassVar[str] = (
        "Import nothing. Ask the origin, over another channel, which keys sign for it now. A bundle made "
        "before a change of keys has to be made again; a bundle that nobody there knows is an attack."
    )

    def __init__(self, name: str, role: str, *, problem: str = "") -> None:
        super().__init__(f"{name}: {problem or f'signed by no key that may sign as {role}'}")
        self.name, self.role = name, role


class TooFewSignatures(BundleUntrusted):
    """Some of the right people signed, but not enough of them."""

    exit_code: ClassVar[int] = 13
    next_step: ClassVar[str] = (
        "Import nothing. Send the bundle back: the origin collects the missing signatures and packs it again."
    )

    def __init__(self, name: str, role: str, *, have: int, need: int) -> None:
        super().__init__(f"{name}: {have} of {need} signatures that {role} needs")
        self.name, self.role, self.have, self.need = name, role, have, need


class OlderBundle(BundleUntrusted):
    """Something older than what this site has accepted already."""

    exit_code: ClassVar[int] = 14
    next_step: ClassVar[str] = (
        "Put the medium aside: this site already has something newer. If the newest bundle is meant, check "
        "the label; if an older version is wanted back, use `tidegate rollback`, not an old bundle."
    )

    def __init__(self, what: str, *, found: int | None = None, remembered: int | None = None) -> None:
        numbers = "" if found is None else f" {found}, but {remembered} was accepted here before"
        super().__init__(f"{what}{numbers}")
        self.what, self.found, self.remembered = what, found, remembered


class ForkedBundle(BundleUntrusted):
    """Two different histories under one number: one of them is not ours."""

    exit_code: ClassVar[int] = 15
    next_step: ClassVar[str] = (
        "Import nothing and tell the origin's security officer at once: either the origin was restored from "
        "an old backup and reused a number, or two origins sign with the same keys."
    )

    def __init__(self, what: str, *, found: str, remembered: str) -> None:
        super().__init__(f"{what}: here {found[:12]}, accepted before {remembered[:12]}")
        self.what, self.found, self.remembered = what, found, remembered


class ForeignBundle(BundleUntrusted):
    """A bundle that was packed for another site."""

    exit_code: ClassVar[int] = 16
    next_step: ClassVar[str] = (
        "Check the label and carry the medium to the site it was packed for; ask the origin for this site's own."
    )

    def __init__(self, audience: str, *, found: str) -> None:
        super().__init__(f"packed for {found}, and this site is {audience}")
        self.audience, self.found = audience, found


class ExpiredBundle(BundleUntrusted):
    """A signature whose time is over; what is served here keeps being served."""

    exit_code: ClassVar[int] = 17
    next_step: ClassVar[str] = (
        "Ask the origin for a fresh bundle (an empty one is enough), or for a fresh timestamp for this one "
        "(`tidegate trust restamp` there, `tidegate bundles import --timestamp` here). Serving is not affected."
    )

    def __init__(self, role: str, *, expired: datetime) -> None:
        super().__init__(f"{role} was valid until {rfc3339(expired)}")
        self.role, self.expired = role, expired


class ClockBehind(SiteNotReady):
    """This computer's clock is behind a time that was signed already."""

    exit_code: ClassVar[int] = 18
    next_step: ClassVar[str] = (
        "Set this computer's clock (UTC), with a second person looking on, and try again."
    )

    def __init__(self, *, now: datetime, signed: datetime, by: str) -> None:
        super().__init__(f"the clock says {rfc3339(now)}, but {by} is of {rfc3339(signed)}")
        self.now, self.signed, self.by = now, signed, by


class BadRoot(BundleUntrusted):
    """Key metadata that is signed, and must not be trusted all the same."""

    exit_code: ClassVar[int] = 19
    next_step: ClassVar[str] = (
        "Do not install it. Where it came from an origin, tell its security officers what is named; they correct it "
        "and sign a new one. In a ceremony, mend it before anybody signs: `tidegate trust add-key`, or begin anew."
    )

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        super().__init__(f"{name}: " + "; ".join(problems))
        self.name, self.problems = name, tuple(problems)


class NotInCatalogue(BundleUntrusted):
    """A document that the role responsible for it did not sign for."""

    exit_code: ClassVar[int] = 50
    next_step: ClassVar[str] = (
        "Import nothing. The release managers and the export officers at the origin do not agree on what this "
        "bundle holds: let both look at the document named here."
    )

    def __init__(
        self, path: str, role: str, *, problem: str = "is not among the documents that it signs for"
    ) -> None:
        super().__init__(f"{path}: {role}: {problem}")
        self.path, self.role, self.problem = path, role, problem


class NotEnrolled(SiteNotReady):
    """This site has no root to trust, so it can trust nothing."""

    exit_code: ClassVar[int] = 51
    next_step: ClassVar[str] = (
        "Enrol first: `tidegate trust enrol ROOT.json --fingerprint …`, with the fingerprint that two people "
        "received over another channel than the file."
    )

    def __init__(self) -> None:
        super().__init__("this site has not been enrolled with any origin")


class RootFingerprintWrong(SiteNotReady):
    """The root file is not the one whose fingerprint was read out."""

    exit_code: ClassVar[int] = 52
    next_step: ClassVar[str] = (
        "Do not enrol. Compare the fingerprint with the origin again, by voice, letter group by letter group; "
        "if it still differs, the file was exchanged on the way."
    )

    def __init__(self, *, expected: str, actual: str) -> None:
        if len(expected) == len(actual):
            given = f"the one given is {expected[:16]}…"
        else:
            given = f"the one given has {len(expected)} of {len(actual)} characters: {expected[:16]}"
        super().__init__(f"the file's fingerprint is {actual[:16]}…, {given}")
        self.expected, self.actual = expected, actual


class TrustFileMissing(BundleUntrusted):
    """A file that the trust walk needs is not in the bundle, or is not an ordinary readable file."""

    exit_code: ClassVar[int] = 53
    next_step: ClassVar[str] = (
        "Check that the whole bundle folder was copied, with its trust, exports and releases folders; "
        "copy it again from the connected side."
    )

    def __init__(self, path: str, problem: str = "missing") -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class ExportMalformed(BundleUntrusted):
    """The export document is signed, and does not say what an export document says."""

    exit_code: ClassVar[int] = 97
    next_step: ClassVar[str] = (
        "Import nothing. If this site's Tidegate is older than the origin's, update it; otherwise the origin "
        "has to correct its exporter and pack again."
    )

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.at, self.problem = at, problem


class UpstreamNotEnrolled(SiteNotReady):
    """A release that the packing site only passes on, and this site knows nothing of the origin behind it."""

    exit_code: ClassVar[int] = 120
    next_step: ClassVar[str] = (
        "Enrol with that origin too: `tidegate trust enrol ROOT.json --upstream --fingerprint …`, with the "
        "fingerprint that two people received from the origin itself, not from the site that passes it on."
    )

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: released by the origin behind ours, which this site was not enrolled with")
        self.path = path


class ReleaseContradicted(BundleUntrusted):
    """The packing site signs for other content under a number that the origin behind it has released."""

    exit_code: ClassVar[int] = 121
    next_step: ClassVar[str] = (
        "Import nothing and tell the security officers of both: either the release managers of the packing site "
        "gave a number out that is not theirs, or somebody else has their keys."
    )

    def __init__(self, path: str, *, packed: str, upstream: str) -> None:
        super().__init__(f"{path}: signed as {packed[:12]} by the packing site, as {upstream[:12]} upstream")
        self.path, self.packed, self.upstream = path, packed, upstream


class EnrolledOtherwise(SiteNotReady):
    """This site trusts another root already. Nothing was changed."""

    exit_code: ClassVar[int] = 124
    next_step: ClassVar[str] = (
        "For the root of the origin behind ours, add --upstream. To leave the origin that this site trusts for another "
        "one, add --replace, after two people have agreed on it."
    )

    def __init__(self, *, trusted: str, since: str, offered: str) -> None:
        super().__init__(f"this site trusts root {trusted[:16]}… since {since}, and this is {offered[:16]}…")
        self.trusted, self.since, self.offered = trusted, since, offered


class NothingToRelay(SiteNotReady):
    """This site cannot prove to others what its origin released."""

    exit_code: ClassVar[int] = 122
    next_step: ClassVar[str] = (
        "Import the newest bundle of the origin here (an empty one is enough), then pack again."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(f"the releases of the origin cannot be passed on: {problem}")
        self.problem = problem


class NotABeginning(SiteNotReady):
    """A site that has taken in nothing yet, and a bundle for one that goes on. Somebody forgot what was here."""

    exit_code: ClassVar[int] = 254
    next_step: ClassVar[str] = (
        "Import bundle number 1 first, if it is here. If this site was set up anew, tell the origin, which adds this "
        "site's new identity (`tidegate sites add`) and packs a bundle that it can begin with "
        "(`tidegate bundles create --baseline`)."
    )

    def __init__(self, number: int) -> None:
        super().__init__(
            f"number {number} goes on where this site has nothing, and is not marked as a beginning"
        )
        self.number = number


class RestampRefused(OperatorError):
    """A fresh timestamp that cannot be made for this bundle, cannot be read, or is for another one."""

    exit_code: ClassVar[int] = 253
    next_step: ClassVar[str] = (
        "Type a line that is named here again. Otherwise do at the origin what is said here, or pack a fresh bundle "
        "for the site: an empty one is enough."
    )


class UpstreamExpired(BundleUntrusted):
    """The word of the origin behind ours is too old; the packing site has to hear from it first."""

    exit_code: ClassVar[int] = 123
    next_step: ClassVar[str] = (
        "Ask the site that packed this to import a fresh bundle of its own origin and to pack again. "
        "Serving is not affected."
    )

    def __init__(self, role: str, *, expired: datetime) -> None:
        super().__init__(f"{role} was valid until {rfc3339(expired)}")
        self.role, self.expired = role, expired


class TooFewSigners(OperatorError):
    """Not enough of the people who must sign are here. Nothing was written."""

    exit_code: ClassVar[int] = 94
    next_step: ClassVar[str] = (
        "Bring the missing key holders to the table and pass all their keys (--key, once per person). Where they are "
        "elsewhere give --draft FOLDER instead: each signs it on their own machine (`tidegate trust sign`), and "
        "`tidegate trust show FOLDER` says who may still sign."
    )

    def __init__(self, role: str, *, have: int, need: int) -> None:
        super().__init__(f"{role}: {have} of {need} keys that have to sign it are here")
        self.role, self.have, self.need = role, have, need


class AlreadyPublished(OperatorError):
    """A document was published under this path with other bytes; published documents never change."""

    exit_code: ClassVar[int] = 95
    next_step: ClassVar[str] = "Give the new document the next number; a published one stays what it is."

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: published before with other content")
        self.path = path


class RoleExpired(OperatorError):
    """A document that this publication leans on is no longer valid, so no site would take it."""

    exit_code: ClassVar[int] = 96
    next_step: ClassVar[str] = (
        "Have its key holders sign it anew (the yearly ceremony, docs/how-to/platform-owner.md), then repeat."
    )

    def __init__(self, role: str, *, expired: datetime) -> None:
        super().__init__(f"{role}: was valid until {rfc3339(expired)}")
        self.role, self.expired = role, expired


class NoSuchRole(OperatorError):
    """A document or a key for a role that this origin does not have."""

    exit_code: ClassVar[int] = 98
    next_step: ClassVar[str] = (
        "Name a role, key or person that `tidegate trust show` lists, written as it stands there; a new site begins "
        "with `tidegate sites add`."
    )

    def __init__(self, what: str, role: str, *, why: str = "") -> None:
        super().__init__(f"{what}: {why or f'there is no role {role}'}")
        self.what, self.role = what, role


class SiteNameRefused(OperatorError):
    """A site name that is taken, or that cannot be one."""

    exit_code: ClassVar[int] = 99
    next_step: ClassVar[str] = (
        "Choose another name: at most 63 lower-case letters, digits and inner hyphens, not used before."
    )

    def __init__(self, site: str, problem: str) -> None:
        super().__init__(f"site {site!r}: {problem}")
        self.site, self.problem = site, problem
