"""Texts of rows read again for an answer: whoever edited one may have made anything of it, and no answer fails over that.

Apart from the questions, so that a text that cannot be read comes to nothing in one way everywhere; that it was edited,
its proof says.
"""

from collections.abc import Mapping
from typing import Any

from registry import approval_requests
from registry.entities import ApprovalRequest
from signing.canonical import NotCanonical, parse

_BYTES = 16 << 20


def members(text: str) -> Mapping[str, Any]:
    """Return the members of an object; none where the text is no object any more."""
    found = _read(text)
    return found if isinstance(found, dict) else {}


def texts(text: str) -> list[str]:
    """Return the items of a list of texts; none where the text is no such list any more."""
    found = _read(text)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def page_of(row: ApprovalRequest) -> str | None:
    """Return what was shown, if the request still is what was recorded."""
    if not approval_requests.intact(row):
        return None
    try:
        return approval_requests.read(row).page
    except (NotCanonical, KeyError, TypeError):
        return None


def _read(text: str) -> Any:
    try:
        return parse(text.encode(errors="replace"), max_bytes=_BYTES, at="row")
    except NotCanonical:
        return None
