"""`tidegate-people/1`: everybody who may sign, with their keys, as one document that an origin signs and bundles carry.

Pure: encode, decode, compare. The document says of every key from when and until when it is good, so that a leaver
and a lost key reach every site by the way that everything else takes. Whose word puts a person in force in one home
is `registry.authority`.

A person has at most one good key at a time; keys that ended stay in the list, so that a site which never saw a
document between knows them too. Lists are sorted: the same people have one spelling.
"""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, ClassVar

from registry.decisions import METHODS, ROLES
from registry.errors import NameUnusable, RegistryRefusal
from registry.names import word
from registry.signed import moment
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.person_signature import PersonSignatureUncheckable, key_material, method_of
from signing.times import from_rfc3339

FORMAT = "tidegate-people/1"
KIND = "people"
MAX_BYTES = 4 << 20
MAX_PEOPLE = 2000
MAX_KEYS = 64  # of one person
MAX_NOTE = 500  # characters
KNOWN = frozenset({"format", "version", "issued_at", "people", "critical"})
MAX_KEY_TEXT = 16 << 10  # characters; a certificate of a card has about 3,000


class PeopleRefused(RegistryRefusal):
    """A document that does not say who the people are, or that another one has taken the place of."""

    exit_code: ClassVar[int] = 245
    next_step: ClassVar[str] = (
        "Keep what came, and ask the origin which edition of its people is right; `tidegate people publish` there makes the next one."
    )

    def __init__(self, problem: str, *, at: str = "people") -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Key:
    """A key and the moments between which it is good. `until` None: until another document says so."""

    method: str  # ssh or piv
    public_key: str  # one OpenSSH line, or `x509 ` and the certificate in base64
    since: str  # RFC 3339; `from` in the document
    until: str | None = None

    @property
    def material(self) -> str:
        """64 hex digits that this key has under every name and comment."""
        return key_material(self.public_key)

    def good(self, at: datetime) -> bool:
        """Whether it may sign at this moment."""
        return self.until is None or at < from_rfc3339(self.until)


@dataclass(frozen=True)
class Entry:
    """One person. `keys` by the moment from which they are good."""

    name: str
    roles: tuple[str, ...]  # sorted
    keys: tuple[Key, ...]
    active: bool
    note: str = ""

    def key(self, at: datetime) -> Key | None:
        """The key that this person signs with at a moment; None for somebody who has left."""
        good = [key for key in self.keys if key.good(at)]
        return good[-1] if self.active and good else None


@dataclass(frozen=True)
class People:
    """The document."""

    version: int
    issued_at: str
    people: tuple[Entry, ...]

    def ended(self, at: datetime) -> frozenset[str]:
        """The material of every key that it says is no longer good."""
        return frozenset(
            key.material
            for entry in self.people
            for key in entry.keys
            if not entry.active or not key.good(at)
        )


@dataclass(frozen=True)
class Difference:
    """One thing that a newer document says otherwise. `what`: joined, left, roles, key added, key ended."""

    name: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}{': ' + self.detail if self.detail else ''}"


def encode(people: People) -> bytes:
    """Return the document's canonical bytes. Raises `PeopleRefused` for what `decode` would refuse."""
    _demand(people)
    return canonical_bytes(
        {
            "format": FORMAT,
            "version": people.version,
            "issued_at": people.issued_at,
            "people": [_entry_document(entry) for entry in people.people],
        }
    )


def decode(data: bytes) -> People:
    """Read the document. Raises `PeopleRefused`, naming the place, for bytes that `encode` would not have written."""
    try:
        raw = parse_canonical(data, max_bytes=MAX_BYTES, at="people")
    except NotCanonical as exc:
        raise PeopleRefused(exc.problem, at=exc.at) from exc
    fit = _object(raw, {"format", "version", "issued_at", "people"}, at="people")
    if fit["format"] != FORMAT:
        raise PeopleRefused(f"the format is not {FORMAT}", at="people.format")
    _demand_understood(fit.get("critical", []))
    entries = _list(fit["people"], MAX_PEOPLE, at="people.people")
    found = People(
        version=fit["version"],
        issued_at=fit["issued_at"],
        people=tuple(_entry(item, at=f"people.people[{at}]") for at, item in enumerate(entries)),
    )
    _demand(found)
    return found


def compare(old: People | None, new: People) -> list[Difference]:
    """Return what the newer document says otherwise: joiners, leavers, roles and keys, by name."""
    before = {entry.name: entry for entry in old.people} if old else {}
    after = {entry.name: entry for entry in new.people}
    found: list[Difference] = []
    for name in sorted({*before, *after}):
        found.extend(_entry_differences(name, before.get(name), after.get(name), new.issued_at))
    return found


def _entry_differences(name: str, was: Entry | None, now: Entry | None, at: str) -> list[Difference]:
    if now is None or not now.active:
        return [Difference(name, "left", "")] if was is not None and was.active else []
    if was is None or not was.active:
        return [Difference(name, "joined", ", ".join(now.roles))]
    found = []
    if was.roles != now.roles:
        found.append(Difference(name, "roles", f"{', '.join(was.roles)} become {', '.join(now.roles)}"))
    moment_ = from_rfc3339(at)
    good = {key.public_key for key in was.keys if key.good(moment_)}
    good_now = {key.public_key for key in now.keys if key.good(moment_)}
    found += [Difference(name, "key added", key) for key in sorted(good_now - good)]
    found += [Difference(name, "key ended", key) for key in sorted(good - good_now)]
    return found


def _entry_document(entry: Entry) -> dict[str, Any]:
    keys = [
        {"from": key.since, **{n: v for n, v in asdict(key).items() if n != "since"}} for key in entry.keys
    ]
    return {**asdict(entry), "roles": list(entry.roles), "keys": keys}


def _entry(raw: Any, *, at: str) -> Entry:
    found = _object(raw, {field.name for field in fields(Entry)}, at=at)
    keys = _list(found["keys"], MAX_KEYS, at=f"{at}.keys")
    roles = _list(found["roles"], len(ROLES), at=f"{at}.roles")
    return Entry(
        name=found["name"],
        roles=tuple(roles),
        keys=tuple(_key(item, at=f"{at}.keys[{n}]") for n, item in enumerate(keys)),
        active=found["active"],
        note=found["note"],
    )


def _key(raw: Any, *, at: str) -> Key:
    found = _object(raw, {"method", "public_key", "from", "until"}, at=at)
    return Key(found["method"], found["public_key"], found["from"], found["until"])


def _object(raw: Any, names: set[str], *, at: str) -> dict[str, Any]:
    """Fields that a later release knows are passed over, unless the document says that they may not be."""
    if not isinstance(raw, dict) or not names <= set(raw):
        raise PeopleRefused(f"not an object with {', '.join(sorted(names))}", at=at)
    return raw


def _demand_understood(critical: Any) -> None:
    listed = (
        critical if isinstance(critical, list) and all(isinstance(name, str) for name in critical) else None
    )
    if listed is None:
        raise PeopleRefused("not a list of names", at="people.critical")
    if unknown := sorted(set(listed) - KNOWN):
        shown = ", ".join(unknown)[:100]
        raise PeopleRefused(f"a newer release is needed to understand {shown}", at="people.critical")


def _list(raw: Any, most: int, *, at: str) -> list[Any]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= most:
        raise PeopleRefused(f"not a list of 1 to {most}", at=at)
    return raw


def _demand(people: People) -> None:
    """Hold every value against what it means; raises at the first that does not fit."""
    if type(people.version) is not int or people.version < 1:
        raise PeopleRefused("not a number from 1", at="people.version")
    _demand_moment(people.issued_at, at="people.issued_at")
    names = [entry.name for entry in people.people]
    for number, entry in enumerate(people.people):
        _demand_entry(entry, at=f"people.people[{number}]")
    if names != sorted(set(names)):
        raise PeopleRefused("not by name, or one name twice", at="people.people")
    materials = [(key.material, entry.name) for entry in people.people for key in entry.keys]
    if len({material for material, _ in materials}) != len(materials):
        raise PeopleRefused("one key stands twice; each person signs with their own", at="people.people")


def _demand_entry(entry: Entry, *, at: str) -> None:
    values: dict[str, Any] = vars(entry)  # decoded JSON may hold anything under these names
    if not isinstance(values["name"], str):
        raise PeopleRefused("not a text", at=f"{at}.name")
    try:
        word("person", entry.name)
    except NameUnusable as exc:
        raise PeopleRefused(str(exc), at=f"{at}.name") from exc
    if any(role not in ROLES for role in entry.roles):
        raise PeopleRefused(f"not some of {', '.join(ROLES)}", at=f"{at}.roles")
    if not entry.roles or list(entry.roles) != sorted(set(entry.roles)):
        raise PeopleRefused("none, not sorted, or one twice", at=f"{at}.roles")
    if not isinstance(values["active"], bool):
        raise PeopleRefused("not true or false", at=f"{at}.active")
    if not isinstance(values["note"], str) or len(entry.note) > MAX_NOTE:
        raise PeopleRefused(f"not a text of at most {MAX_NOTE} characters", at=f"{at}.note")
    for number, key in enumerate(entry.keys):
        _demand_key(key, at=f"{at}.keys[{number}]")
    if not entry.keys or list(entry.keys) != sorted(entry.keys, key=lambda key: (key.since, key.public_key)):
        raise PeopleRefused("none, or not by the moment from which they are good", at=f"{at}.keys")


def _demand_key(key: Key, *, at: str) -> None:
    values: dict[str, Any] = vars(key)
    if not isinstance(values["public_key"], str) or len(key.public_key) > MAX_KEY_TEXT:
        raise PeopleRefused("not a public key", at=f"{at}.public_key")
    if values["method"] not in METHODS or method_of(key.public_key) != key.method:
        raise PeopleRefused("not the method of this key", at=f"{at}.method")
    try:
        _ = key.material
    except PersonSignatureUncheckable as exc:
        raise PeopleRefused(str(exc), at=f"{at}.public_key") from exc
    if key.public_key != key.public_key.strip() or "\n" in key.public_key:
        raise PeopleRefused("not one line", at=f"{at}.public_key")
    _demand_moment(key.since, at=f"{at}.from")
    if key.until is not None:
        _demand_moment(key.until, at=f"{at}.until")


def _demand_moment(value: Any, *, at: str) -> None:
    try:
        moment(value, at=at)
    except NotCanonical as exc:
        raise PeopleRefused(exc.problem, at=at) from exc
