"""What each command may do from afar: the one table that the server's operations and `--server` go by.

A command acts from afar (`Act`) for whoever has its right, or it stays where it is (`Stay`) and says why. Nothing is
taken for granted: a command without a line here fails a test, and so does a path that no line speaks of, because

(1) no caller names a file of the server: what a path means travels as bytes, in the request or in the answer;
(2) no caller hands over a passphrase or a private key, or has the server use one of its officers';
(3) no caller sends the server's own credentials anywhere.

On the standard library alone: the command line reads it as well as the server.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.access import Right


class Way(StrEnum):
    """How what a path means travels."""

    FILE = "file"  # its bytes, in the request
    FOLDER = "folder"  # the bytes of all files in it, in the request
    EITHER = "file or folder"
    MAYBE = "name or file"  # a file of the caller's if there is one, else a name that means something at the server
    OUT = "written file"  # in the answer
    OUT_NEW = "new file"  # in the answer; must not be there yet
    OUT_FOLDER = "written folder"  # in the answer, file by file
    OUT_EITHER = "written file or folder"

    @property
    def inward(self) -> bool:
        """Whether bytes go to the server."""
        return not self.value.startswith(("written", "new"))


@dataclass(frozen=True)
class Act:
    """A command that whoever has the right may give from afar."""

    right: Right
    tier: str | None = None  # the parameter that names the tier which the right has to be for
    writes: bool = False
    files: Mapping[str, Way] = field(default_factory=dict)  # by parameter
    withheld: Mapping[str, str] = field(default_factory=dict)  # parameters that stay, each with the reason
    also: Mapping[str, Right] = field(
        default_factory=dict
    )  # what else is demanded once this parameter is given
    secret: bool = False  # the answer shows something once, and is kept nowhere


@dataclass(frozen=True)
class Stay:
    """A command that is given on the machine itself."""

    reason: str
    homeless: bool = False  # works on files of the machine where it is given, whichever server is named


_OWN_KEY = "your key stays with you; you sign where you are"
_SIGNED = {"key": _OWN_KEY}
_SIGNED_FILES = {"write_payload": Way.OUT, "payload": Way.FILE, "signature": Way.FILE}
_TOKEN = "the server would show its own token there"  # noqa: S105 - a sentence
_OFFICERS = Stay("it needs the officers' private keys")
_CEREMONY = Stay("it works on a folder that officers carry")
_MEDIUM = Stay("it works on a medium in the drive")
_ENGINE = Stay("it starts, asks or changes engines on the machine")
_HOME = Stay("it makes or changes the home itself")
_FOLDER = Stay("it works on a folder of that machine")


def _signed(right: Right = Right.DECIDE, tier: str | None = None, **files: Way) -> Act:
    return Act(right, tier, writes=True, files={**files, **_SIGNED_FILES}, withheld=_SIGNED)


LOOK = Act(Right.LOOK)
_AUDIT = Act(Right.AUDIT)
_DECIDE = Act(Right.DECIDE, writes=True)
_VALIDATE = Act(Right.VALIDATE, writes=True)
_ADMINISTER = Act(Right.ADMINISTER, writes=True)
_CODE = Act(Right.ADMINISTER, writes=True, secret=True)

COMMANDS: Mapping[str, Act | Stay] = {
    "init": _HOME,
    "upgrade": _HOME,
    "doctor": Act(Right.OPERATE),
    "gc": Act(Right.OPERATE, writes=True),
    "models add": Stay("the files of a model are too large for a request; add them where they lie"),
    "models bom": Act(Right.VALIDATE, writes=True, files={"out": Way.OUT_NEW}),
    "models fetch": Act(
        Right.IMPORT,
        writes=True,
        files={"signature": Way.FILE},
        withheld={"endpoint": _TOKEN, "tracking_uri": _TOKEN},
    ),
    "models list": LOOK,
    "models rescan": _VALIDATE,
    "models scan": _VALIDATE,
    "models second-opinion": Act(Right.VALIDATE, writes=True, files={"file": Way.EITHER}),
    "models show": LOOK,
    "models sign": Stay("it signs with a private key of the home"),
    "models verify-files": _FOLDER,
    "models verify-signature": _FOLDER,
    "models withdraw": Act(Right.WITHDRAW, writes=True),
    "contracts add": Act(Right.VALIDATE, writes=True, files={"file": Way.FILE, "from_tools": Way.FILE}),
    "contracts compare": Act(
        Right.LOOK, files={"first": Way.MAYBE, "second": Way.MAYBE, "engine": Way.MAYBE}
    ),
    "contracts derive": Act(Right.LOOK, files={"file": Way.FILE, "out": Way.OUT}),
    "contracts diff": Act(Right.LOOK, files={"old": Way.MAYBE, "new": Way.MAYBE}),
    "contracts list": LOOK,
    "contracts patch": Act(Right.LOOK, files={"out": Way.OUT, "out_engine": Way.OUT}),
    "contracts routers": LOOK,
    "contracts set-router": Act(Right.DECIDE, "tier", writes=True),
    "contracts show": LOOK,
    "contracts tools": Act(Right.LOOK, files={"file": Way.FILE}),
    "suites add": Act(Right.VALIDATE, writes=True, files={"folder": Way.FOLDER}),
    "suites adopt": _DECIDE,
    "suites evidence": Act(Right.VALIDATE, writes=True, files={"file": Way.EITHER}),
    "suites flips": LOOK,
    "suites list": LOOK,
    "suites report": Act(Right.LOOK, files={"html": Way.OUT, "junit": Way.OUT}),
    "suites run": _ENGINE,
    "tiers list": LOOK,
    "tiers show": LOOK,
    "policy apply": _signed(file=Way.FILE),
    "policy check": Act(Right.LOOK, files={"file": Way.FILE}),
    "policy diff": Act(Right.LOOK, files={"file": Way.FILE}),
    "policy history": LOOK,
    "policy show": LOOK,
    "people add": _signed(public_key=Way.FILE, certificate=Way.FILE),
    "people card-issuer": _signed(file=Way.FILE),
    "people card-list": Act(Right.DECIDE, writes=True, files={"file": Way.FILE}),
    "people confirm": _signed(),
    "people follow-origin": _signed(),
    "people list": LOOK,
    "people pending": LOOK,
    "people publish": _OFFICERS,
    "people remove": _signed(),
    "decisions accept-licence": _signed(),
    "decisions allow-python": _signed(),
    "decisions list": LOOK,
    "decisions quarantine": _signed(),
    "decisions revoke": _signed(),
    "decisions waive": _signed(what=Way.MAYBE),
    "keys create": Stay("a private key is made where it is kept", homeless=True),
    "keys show": Stay("it reads a private key", homeless=True),
    "publishers add": Act(
        Right.DECIDE, writes=True, files={"public_key": Way.FILE, "certificate_chain": Way.FILE}
    ),
    "publishers list": LOOK,
    "publishers remove": _DECIDE,
    "publishers revocations": Act(Right.DECIDE, writes=True, files={"file": Way.FILE}),
    "trust add-key": _CEREMONY,
    "trust enrol": Stay("two people compare the fingerprint at the machine itself"),
    "trust identity": Act(Right.LOOK, files={"file": Way.OUT}),
    "trust init": _CEREMONY,
    "trust lint": Stay("it looks at files of the machine where it is given", homeless=True),
    "trust publish": _CEREMONY,
    "trust restamp": Stay("it makes what is carried, with the station's key"),
    "trust root": Act(Right.LOOK, files={"file": Way.OUT}),
    "trust rotate": _CEREMONY,
    "trust show": Act(Right.LOOK, withheld={"folder": "officers carry that folder"}),
    "trust sign": _CEREMONY,
    "sites add": _OFFICERS,
    "sites list": LOOK,
    "bundles acknowledge": Act(Right.IMPORT, writes=True, files={"file": Way.FILE}),
    "bundles create": _MEDIUM,
    "bundles finish": _MEDIUM,
    "bundles import": _MEDIUM,
    "bundles inspect": _MEDIUM,
    "bundles list": LOOK,
    "bundles redraft": _CEREMONY,
    "bundles repair": _MEDIUM,
    "bundles repair-request": _MEDIUM,
    "bundles resplit": _MEDIUM,
    "bundles verify": _MEDIUM,
    "receipts hear": Act(Right.IMPORT, writes=True),
    "receipts secret": Stay("the secret is said face to face"),
    "receipts speak": Act(Right.IMPORT, secret=True),
    "receipts status": LOOK,
    "receipts write": Act(Right.IMPORT, writes=True, files={"out": Way.OUT_EITHER}),
    "companions add": Act(Right.IMPORT, writes=True, files={"folder": Way.FOLDER}),
    "companions drift": Act(Right.LOOK, files={"file": Way.FILE}),
    "companions list": LOOK,
    "companions set": _DECIDE,
    "companions show": LOOK,
    "companions write": Act(Right.LOOK, files={"folder": Way.OUT_FOLDER}),
    "client-config codex": Act(Right.LOOK, files={"out": Way.OUT}),
    "advisories add": Act(Right.IMPORT, writes=True, files={"file": Way.FILE}),
    "advisories list": LOOK,
    "validate": _ENGINE,
    "gate": LOOK,
    "approvals list": LOOK,
    "approvals request": Act(Right.ASK, "tier", writes=True),
    "approvals review": _signed(Right.APPROVE),
    "approvals show": LOOK,
    "approve": _signed(Right.APPROVE, "tier"),
    "reject": _signed(Right.APPROVE, "tier"),
    "promote": _signed(Right.PROMOTE, "tier"),
    "pins": LOOK,
    "rollback": Act(Right.ROLL_BACK, "tier", writes=True),
    "rollout": _ENGINE,
    "serving show": LOOK,
    "serving units": _FOLDER,
    "agent": _ENGINE,
    "drift": LOOK,
    "materialise": _FOLDER,
    "reconcile": _ENGINE,
    "serve": Stay("it opens the doors themselves"),
    "server check": Act(Right.OPERATE),
    "server nginx": Stay("it is about files and sockets of that machine"),
    "support-bundle": Act(Right.OPERATE, files={"out": Way.OUT, "log": Way.FILE}),
    "accounts add": _CODE,
    "accounts deactivate": _ADMINISTER,
    "accounts grant": _ADMINISTER,
    "accounts list": Act(Right.ADMINISTER),
    "accounts password": Stay(
        "a password is typed at the machine itself, or chosen on the page with a one-time code"
    ),
    "accounts revoke": _ADMINISTER,
    "accounts unlock": _ADMINISTER,
    "tokens create": _CODE,
    "tokens list": Act(Right.ADMINISTER),
    "tokens revoke": _ADMINISTER,
    "audit breaches": _AUDIT,
    "audit check-proof": Stay("it looks at files of the machine where it is given", homeless=True),
    "audit decided": _AUDIT,
    "audit expiring": _AUDIT,
    "audit explain": _AUDIT,
    "audit export": _FOLDER,
    "audit head": Act(Right.AUDIT, files={"out": Way.OUT}),
    "audit log": _AUDIT,
    "audit origin": _AUDIT,
    "audit overrides": _AUDIT,
    "audit prove": Act(Right.AUDIT, files={"out": Way.OUT}),
    "audit report": Act(Right.AUDIT, files={"out": Way.OUT}),
    "audit served": _AUDIT,
    "audit touched": _AUDIT,
    "audit transfers": _AUDIT,
    "audit verify": Act(Right.AUDIT, files={"heads": Way.FILE, "receipts": Way.FILE}),
    "audit why": _AUDIT,
    "audit witnesses": Act(Right.AUDIT, writes=True, also={"accept": Right.OPERATE}),
}
