"""What the registry refuses: exit codes 40-49, 80-89, 188-192 and 240-249."""

from collections.abc import Sequence
from typing import ClassVar

from signing.errors import OperatorError


class RegistryRefusal(OperatorError):
    """The registry's state or a name given to it does not allow what was asked."""


class NameUnusable(RegistryRefusal):
    """A name that would not work on every protocol and file system."""

    exit_code: ClassVar[int] = 40
    next_step: ClassVar[str] = (
        "Write the name as the message says: lower-case letters, digits, '-', '_' and '.'."
    )

    def __init__(self, what: str, name: str, rule: str) -> None:
        super().__init__(f"{name!r} cannot be {'an' if what[0] in 'aeiou' else 'a'} {what}: {rule}")
        self.what, self.name, self.rule = what, name, rule


# Where to look instead, by what was looked for.
_SEE = {
    "version": "`tidegate models list` shows what there is",
    "model": "`tidegate models list` shows what there is",
    "version pinned as": "`tidegate pins` shows what each tier serves",
    "version served by the tier": "`tidegate pins` shows what each tier serves",
    "tier": "`tidegate tiers list` shows what there is",
    "site": "`tidegate sites list` shows what there is",
    "person": "`tidegate people list` shows who there is",
    "account": "`tidegate accounts list` shows who there is",
    "token": "`tidegate tokens list` shows what there is",
    "decision": "`tidegate decisions list` shows what there is",
    "suite": "`tidegate suites list` shows what there is",
    "tool contract of": "`tidegate contracts add FILE --for REF` says which one it keeps to",
    "router setting of tier": "`tidegate contracts set-router TIER ROUTER --engine PROFILE` makes one",
    "companions": "`tidegate companions list` shows what there is",
    "suite, companions, contract or profile": "`tidegate suites list`, `tidegate companions list` and `tidegate contracts list` show what there is",
    "blob": "`tidegate doctor --deep` shows what else is missing; the bundle that brought it brings it again",
} | dict.fromkeys(
    ("tool-contract", "router-contract", "engine-profile", "engine profile", "contract or profile"),
    "`tidegate contracts list` shows what there is",
)


class NotFound(RegistryRefusal):
    """Nothing of that name is held in this home."""

    exit_code: ClassVar[int] = 41
    next_step: ClassVar[str] = (
        "Do what the message says, or check the spelling; if it should be there, check which home this is (--home)."
    )

    def __init__(self, what: str, name: str) -> None:
        see = _SEE.get(what)
        super().__init__(f"no {what} {name!r} in this home" + (f": {see}" if see else ""))
        self.what, self.name = what, name


class VersionConflict(RegistryRefusal):
    """The same ordinal, other bytes: somebody numbered two different sets alike."""

    exit_code: ClassVar[int] = 48
    next_step: ClassVar[str] = (
        "Import nothing more from that origin; ask its transfer officer which set of files the number belongs to."
    )

    def __init__(self, model: str, ordinal: int, *, held: str, offered: str) -> None:
        super().__init__(f"{model}@{ordinal} is {held[:12]} here and {offered[:12]} there")
        self.model, self.ordinal, self.held, self.offered = model, ordinal, held, offered


class BlobDamaged(RegistryRefusal):
    """A held file's bytes are not the ones that its name promises."""

    exit_code: ClassVar[int] = 49
    next_step: ClassVar[str] = (
        "Stop serving that file. Import the bundle that brought it again; then look at the disk's health."
    )

    def __init__(self, path: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{path}: named {expected[:12]}, holds {actual[:12]}")
        self.path, self.expected, self.actual = path, expected, actual


class HomeUnusable(RegistryRefusal):
    """A folder that is no home, or a home whose settings or keys cannot be read."""

    exit_code: ClassVar[int] = 81
    next_step: ClassVar[str] = (
        "Name the right home with --home or TIDEGATE_HOME; `tidegate doctor` says what is wrong with one."
    )

    def __init__(self, home: str, problem: str) -> None:
        super().__init__(f"{home}: {problem}")
        self.home, self.problem = home, problem


class StoreUnusable(RegistryRefusal):
    """The database does not answer, is full, or has the shape of another release."""

    exit_code: ClassVar[int] = 82
    next_step: ClassVar[str] = (
        "Check that the database is up, its disk not full (`tidegate gc` works on a full one) and its address in tidegate.toml right; then run `tidegate doctor`."
    )

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where, self.problem = where, problem


class DocumentRefused(RegistryRefusal):
    """A document that a person wrote does not say what such a document says."""

    exit_code: ClassVar[int] = 84
    next_step: ClassVar[str] = "Correct the document at the place named; the reference pages show each field."

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class SpaceShort(RegistryRefusal):
    """The file system does not hold what is about to be written."""

    exit_code: ClassVar[int] = 85
    next_step: ClassVar[str] = (
        "Free at least the missing bytes on that file system (in a home: `tidegate gc`), then run the same command again."
    )

    def __init__(self, where: str, *, needed: int, free: int) -> None:
        super().__init__(f"{where}: {needed:,} bytes needed, {free:,} free, {needed - free:,} short")
        self.where, self.needed, self.free = where, needed, free


class PolicyUnsigned(RegistryRefusal):
    """A policy that no steward has signed, or too few for one that would ask less of people."""

    exit_code: ClassVar[int] = 241
    next_step: ClassVar[str] = (
        "Have a steward sign it, or the next one: `tidegate policy apply FILE --person NAME --reason WHY --key FILE`."
    )

    def __init__(
        self, digest: str, *, earlier: bool = False, signed: Sequence[str] = (), needed: int = 1
    ) -> None:
        late = "; the one that there is was made before the policy of now was put in force" if earlier else ""
        said = f"no steward's decision stands for this policy file ({digest[:12]}){late}"
        if signed:
            said = (
                f"this policy file ({digest[:12]}) asks less of people, so as many stewards sign it as approve now: "
                f"{needed}; so far {', '.join(signed)}"
            )
        super().__init__(said)
        self.digest = digest


class PolicyBreaksPins(RegistryRefusal):
    """Versions that are pinned now would not pass under this policy."""

    exit_code: ClassVar[int] = 242
    next_step: ClassVar[str] = (
        "Change the policy, or mend the versions first; or name each one that may stay as it is: --although-it-breaks TIER:MODEL."
    )

    def __init__(self, broken: Sequence[str]) -> None:
        super().__init__("pinned versions would break:" + "".join(f"\n  {item}" for item in broken))
        self.broken = tuple(broken)


class PeopleUnsigned(RegistryRefusal):
    """A change of the people of a home that stewards have to sign for first."""

    exit_code: ClassVar[int] = 244
    next_step: ClassVar[str] = (
        "Have a steward sign it: the same command with --person NAME --reason WHY --key FILE; `tidegate people pending` shows what waits for more."
    )

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name, self.problem = name, problem


class CursorUnusable(RegistryRefusal):
    """The cursor of a list's next page is of another list, or was changed."""

    exit_code: ClassVar[int] = 191
    status: ClassVar[int] = 400
    next_step: ClassVar[str] = (
        "Follow the `next` link of the page before as it stands, or leave the cursor out to begin with the first page."
    )

    def __init__(self) -> None:
        super().__init__("this cursor was not given by a page of this list")
