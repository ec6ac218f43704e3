"""What of a file a request asks for: conditions and ranges of RFC 9110 sections 13 and 14, decided without I/O.

Every file has one strong ETag and never changes below it, so dates play no part. Several ranges in one request are
answered with the whole file, which the RFC allows and which costs an attacker more than us.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*")
_TAGS = re.compile(r'(?:W/)?("[^"]*")')


@dataclass(frozen=True)
class Asked:
    """The answer's status and what goes out: bytes `first` up to `stop`, which is not sent."""

    status: int  # 200, 206, 304, 412 or 416
    first: int
    stop: int


def asked(headers: Mapping[str, str], *, etag: str, size: int) -> Asked:
    """Decide what to answer.

    Args:
        headers: the request's, names in lower case or a mapping that does not care.
        etag: with its quotes.
        size: bytes of the file.
    """
    whole = Asked(200, 0, size)
    if not _matches(headers.get("if-match"), etag, otherwise=True):
        return Asked(412, 0, 0)
    if _matches(headers.get("if-none-match"), etag, otherwise=False):
        return Asked(304, 0, 0)
    if headers.get("if-range", etag).strip() != etag:
        return whole
    found = _RANGE.fullmatch(headers.get("range", ""))
    return whole if found is None else _span(found[1], found[2], whole)


def _matches(header: str | None, etag: str, *, otherwise: bool) -> bool:
    if header is None:
        return otherwise
    return header.strip() == "*" or etag in _TAGS.findall(header)


def _span(first: str, last: str, whole: Asked) -> Asked:
    size = whole.stop
    if not first:
        if not last:
            return whole  # "bytes=-": no range at all
        begin, stop = max(0, size - int(last)), size
    else:
        begin, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return whole  # the RFC's "invalid", to be taken as not there
    return Asked(206, begin, stop) if begin < stop else Asked(416, 0, 0)
