"""What the doors refuse themselves: exit codes 3-9, 100-109, 160-175 and 193-199."""

from collections.abc import Sequence
from typing import ClassVar

from signing.errors import OperatorError


class DoorRefusal(OperatorError):
    """Something a command found or lacks before or after the work below it."""


class NotAllowed(DoorRefusal):
    """Somebody who is known asked for something that no grant of theirs gives."""

    exit_code: ClassVar[int] = 3
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = (
        "Ask an administrator of this home for the grant (`tidegate accounts grant`), or let somebody do it who has it."
    )

    def __init__(self, name: str, right: str, tier: str | None = None) -> None:
        super().__init__(f"{name} may not {right}{f' in {tier}' if tier else ''} here")
        self.name, self.right, self.tier = name, right, tier


class NotSignedIn(DoorRefusal):
    """Nobody has shown who they are, and nobody unknown may do this."""

    exit_code: ClassVar[int] = 4
    status: ClassVar[int] = 401
    next_step: ClassVar[str] = (
        "Sign in on the page, or send a token (`Authorization: Bearer tdg_...`); `tidegate tokens create` makes one."
    )

    def __init__(self, right: str) -> None:
        what = "this is for who is known here" if right == "own" else f"to {right} here"
        super().__init__(f"{what}: show who you are")
        self.right = right
        self.headers = {"WWW-Authenticate": 'Basic realm="tidegate", charset="UTF-8"'}


class ServerSettingsWrong(DoorRefusal):
    """A line of server.toml that means nothing, or contradicts another."""

    exit_code: ClassVar[int] = 5
    next_step: ClassVar[str] = "Correct the line that is named, then look with `tidegate server check`."

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class RequestUnreadable(DoorRefusal):
    """A request whose parameters or body are not what the address takes."""

    exit_code: ClassVar[int] = 9
    status: ClassVar[int] = 422
    next_step: ClassVar[str] = "Correct what is named; /api/v1/openapi.json describes every address."

    def __init__(self, problem: str) -> None:
        super().__init__(f"the request cannot be read: {problem}")
        self.problem = problem


class DoctorFoundProblems(DoorRefusal):
    """The doctor's findings, as an exit code."""

    exit_code: ClassVar[int] = 100
    next_step: ClassVar[str] = "Do what stands under each problem, then run `tidegate doctor` again."

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found")
        self.count = count


class AuditBroken(DoorRefusal):
    """The audit log is damaged, or a table says something that the log does not."""

    exit_code: ClassVar[int] = 101
    next_step: ClassVar[str] = (
        "Trust no pin of this home. Keep the database as it is, tell the security officer, and restore from a copy that verifies."
    )

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(
            "the audit log and the tables do not agree:" + "".join(f"\n  {problem}" for problem in problems)
        )
        self.problems = problems


class EvidenceDoubted(DoorRefusal):
    """An answer to an auditor's question rests on evidence that does not hold now."""

    exit_code: ClassVar[int] = 196
    next_step: ClassVar[str] = (
        "Do not rely on this answer. Run `tidegate audit verify`, keep the database as it is, and tell the security officer."
    )

    def __init__(self, doubts: Sequence[str]) -> None:
        shown = "".join(f"\n  {doubt}" for doubt in doubts)
        super().__init__(f"{len(doubts)} of what the answer rests on is not verified:{shown}")
        self.doubts = tuple(doubts)


class PolicyBroken(DoorRefusal):
    """Something that serves breaks the policy of today."""

    exit_code: ClassVar[int] = 197
    next_step: ClassVar[str] = "Follow the step under each line; what serves goes on serving meanwhile."

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} {'thing breaks' if count == 1 else 'things break'} the policy of today")
        self.count = count


class SuiteNotPassed(DoorRefusal):
    """The suite ran to its end, and the version did not pass it."""

    exit_code: ClassVar[int] = 102
    next_step: ClassVar[str] = (
        "Mend what the lines above name and run the suite again. This report is kept; the gate stays closed "
        "until one has PASSED on files that are proven."
    )

    def __init__(self, suite: str, ref: str, outcome: str) -> None:
        super().__init__(f"{suite} on {ref}: {outcome}")
        self.suite, self.ref, self.outcome = suite, ref, outcome


class AskpassFailed(DoorRefusal):
    """The program of TIDEGATE_ASKPASS gave no passphrase or PIN."""

    exit_code: ClassVar[int] = 103
    next_step: ClassVar[str] = (
        "Run the program yourself with a question as its argument: it has to print the answer and end with 0. "
        "Unset TIDEGATE_ASKPASS to be asked in the terminal."
    )

    def __init__(self, program: str, problem: str) -> None:
        super().__init__(f"{program}: {problem}")
        self.program, self.problem = program, problem


class PassphraseMissing(DoorRefusal):
    """A sealed key is needed, and there is neither a terminal nor another source of its passphrase."""

    exit_code: ClassVar[int] = 104
    next_step: ClassVar[str] = (
        "Run the command in a terminal to be asked, or name a source of the passphrase or PIN: --passphrase-file, "
        "--passphrase-fd, TIDEGATE_PASSPHRASE_FILE or TIDEGATE_ASKPASS."
    )

    def __init__(self, key: str) -> None:
        super().__init__(f"the passphrase or PIN of {key} is needed and nobody can be asked")
        self.key = key


class PassphraseUnreadable(DoorRefusal):
    """A file or descriptor was named for the passphrase, and holds none that can be used."""

    exit_code: ClassVar[int] = 109
    next_step: ClassVar[str] = (
        "Give the passphrase as the first line, and the number of a descriptor that is open: "
        "`tidegate bundles create ... --passphrase-fd 3 3< FILE`."
    )

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place, self.problem = place, problem


class NotHere(DoorRefusal):
    """A command for the other kind of home."""

    exit_code: ClassVar[int] = 105
    next_step: ClassVar[str] = (
        "Name the right home with --home or TIDEGATE_HOME; bundles are made at an origin and imported at a site."
    )

    def __init__(self, home: str, role: str) -> None:
        wanted, found = ("an origin", "a site") if role == "origin" else ("a site", "an origin")
        super().__init__(f"{home} is not {wanted} (it is {found})")
        self.home, self.role = home, role


class DatabaseAddressRefused(DoorRefusal):
    """An address that is no PostgreSQL address, or one with a password in it."""

    exit_code: ClassVar[int] = 106
    next_step: ClassVar[str] = (
        "Give postgresql+psycopg://USER@HOST/NAME without a password; keep the password in ~/.pgpass or PGPASSFILE."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(f"this database address cannot be used: {problem}")
        self.problem = problem


class SystemRefused(DoorRefusal):
    """The operating system would not read or write a file: no permission, no space, no such folder, a broken disk."""

    exit_code: ClassVar[int] = 108
    next_step: ClassVar[str] = (
        "Mend what the message names (path, permissions, free space), then run the same command again; "
        "what was half-written is not visible."
    )

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path, self.problem = path, problem


class FileUnreadable(DoorRefusal):
    """A file that was named on the command line cannot be read."""

    exit_code: ClassVar[int] = 107
    next_step: ClassVar[str] = (
        "Check the path and its permissions, then run the same command again; nothing was changed."
    )

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class PolicyNotClean(DoorRefusal):
    """A policy file would break versions that are pinned now; `policy diff` says which."""

    exit_code: ClassVar[int] = 193
    next_step: ClassVar[str] = (
        "Change the file, or mend the versions first. `tidegate policy apply` takes it only with --although-it-breaks."
    )

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} pinned version{'s' if count != 1 else ''} would break")
        self.count = count


class CompanionsDrifted(DoorRefusal):
    """A machine's policy file says something else than the one that is pinned."""

    exit_code: ClassVar[int] = 194
    next_step: ClassVar[str] = (
        "Put the pinned file in place (`tidegate companions write FOLDER`), or have the change reviewed, added and promoted."
    )

    def __init__(self, file: str, count: int) -> None:
        super().__init__(f"{file} differs from the pinned one in {count} place{'s' if count != 1 else ''}")
        self.file, self.count = file, count


class FolderNotEmpty(DoorRefusal):
    """A folder that is to be written holds files already."""

    exit_code: ClassVar[int] = 195
    next_step: ClassVar[str] = (
        "Name a folder that is empty or not there yet; what lies in this one stays as it is."
    )

    def __init__(self, folder: str) -> None:
        super().__init__(f"{folder} is not empty")
        self.folder = folder


class HomeOlder(DoorRefusal):
    """The home is of an older release; nothing in it was touched."""

    exit_code: ClassVar[int] = 198
    next_step: ClassVar[str] = (
        "Stop whatever works in this home, back it up (keys apart), then run `tidegate upgrade`."
    )

    def __init__(self, home: str, found: str, wanted: str) -> None:
        super().__init__(f"{home} has shape {found}, of an older release; this release reads {wanted}")
        self.home, self.found, self.wanted = home, found, wanted
