"""Reads the fields of a decoded document one by one, and says exactly which one is wrong.

Fields that nobody asks for are left alone: a newer origin may say more. What a reader must not overlook, the
document names in `critical`. Source: DESIGN section 7; the idea of `crit` is RFC 7515 section 4.1.11.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.bundle.errors import FormatTooNew, MalformedBundle
from signing.canonical import NotCanonical, parse_canonical
from signing.digests import is_sha256
from signing.times import TimeUnreadable, from_rfc3339

MAX_TEXT = 1024  # characters
MAX_ITEMS = 1_000_000


@dataclass(frozen=True)
class Fields:
    """An object at a place, such as `exports/lab/3.json.blobs[2]`. Every method raises `MalformedBundle`."""

    value: dict[str, Any]
    at: str

    @classmethod
    def of(cls, data: bytes, *, at: str, max_bytes: int, format: str, known: Collection[str]) -> "Fields":  # noqa: A002 - the field's own name
        """Read a canonical document and check its `format` and `critical`.

        Raises:
            MalformedBundle: not canonical JSON, or another format.
            FormatTooNew: `critical` names a field outside `known`.
        """
        try:
            fields = cls.at_place(parse_canonical(data, max_bytes=max_bytes, at=at), at)
        except NotCanonical as exc:
            raise MalformedBundle(exc.problem, at=exc.at) from exc
        if fields.text("format") != format:
            raise MalformedBundle(
                f"{fields.value['format']!r}; this release reads {format!r}", at=f"{at}.format"
            )
        if unknown := [name for name in fields.texts("critical", optional=True) if name not in known]:
            raise FormatTooNew(unknown, at=f"{at}.critical")
        return fields

    @classmethod
    def at_place(cls, value: Any, at: str) -> "Fields":
        """Return `value` as an object."""
        if not isinstance(value, dict):
            raise MalformedBundle("an object is needed", at=at)
        return cls(value, at)

    def get(self, name: str) -> Any:
        """Return the raw value of a field that must be there."""
        if name not in self.value:
            raise MalformedBundle("missing", at=f"{self.at}.{name}")
        return self.value[name]

    def text(self, name: str, *, longest: int = MAX_TEXT) -> str:
        """Return a text of 1 to `longest` printable characters."""
        found = self.get(name)
        if not isinstance(found, str) or not 1 <= len(found) <= longest or not found.isprintable():
            raise MalformedBundle(
                f"a text of 1 to {longest} printable characters is needed", at=f"{self.at}.{name}"
            )
        return found

    def whole(self, name: str, *, least: int = 0) -> int:
        """Return a whole number of `least` or more."""
        found = self.get(name)
        if type(found) is not int or found < least:
            raise MalformedBundle(f"a whole number of {least} or more is needed", at=f"{self.at}.{name}")
        return found

    def flag(self, name: str) -> bool:
        """Return true or false."""
        found = self.get(name)
        if type(found) is not bool:
            raise MalformedBundle("true or false is needed", at=f"{self.at}.{name}")
        return found

    def wholes(self, name: str) -> list[int]:
        """Return a list of whole numbers from 0."""
        found = self._list(name)
        for number, item in enumerate(found):
            if type(item) is not int or item < 0:
                raise MalformedBundle("a whole number is needed", at=f"{self.at}.{name}[{number}]")
        return found

    def digest(self, name: str) -> str:
        """Return a SHA-256."""
        found = self.get(name)
        if not is_sha256(found):
            raise MalformedBundle("64 lower-case hex digits are needed", at=f"{self.at}.{name}")
        return str(found)

    def digest_or_none(self, name: str) -> str | None:
        """Return a SHA-256, or None where the document says null."""
        return None if self.get(name) is None else self.digest(name)

    def moment(self, name: str) -> str:
        """Return a moment as text, RFC 3339 in UTC."""
        found = self.text(name)
        try:
            from_rfc3339(found)
        except TimeUnreadable as exc:
            raise MalformedBundle(str(exc), at=f"{self.at}.{name}") from exc
        return found

    def below(self, name: str) -> "Fields":
        """Return the object in a field."""
        return self.at_place(self.get(name), f"{self.at}.{name}")

    def items(self, name: str) -> Iterator["Fields"]:
        """Yield the objects of a list."""
        for number, item in enumerate(self._list(name)):
            yield self.at_place(item, f"{self.at}.{name}[{number}]")

    def texts(self, name: str, *, optional: bool = False) -> list[str]:
        """Return a list of texts."""
        if optional and name not in self.value:
            return []
        for number, item in enumerate(self._list(name)):
            if not isinstance(item, str):
                raise MalformedBundle("a text is needed", at=f"{self.at}.{name}[{number}]")
        return list(self.value[name])

    def digests(self, name: str, *, repeated: bool = False) -> tuple[str, ...]:
        """Return a list of SHA-256, none of them twice unless `repeated`."""
        found = self.texts(name)
        for number, item in enumerate(found):
            if not is_sha256(item):
                raise MalformedBundle("64 lower-case hex digits are needed", at=f"{self.at}.{name}[{number}]")
        if len(set(found)) != len(found) and not repeated:
            raise MalformedBundle("a digest stands twice", at=f"{self.at}.{name}")
        return tuple(found)

    def _list(self, name: str) -> list[Any]:
        found = self.get(name)
        if not isinstance(found, list) or len(found) > MAX_ITEMS:
            raise MalformedBundle(f"a list of at most {MAX_ITEMS} entries is needed", at=f"{self.at}.{name}")
        return found
