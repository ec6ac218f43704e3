"""Literal text of a template, told apart: marks of a wire format, prose, addresses, what is hidden from a reader."""

import re
import unicodedata
from collections.abc import Iterator

from pipelines.scan.reading import quoted

_URL = re.compile(r"\b(?:https?|ftp|file|data|javascript):(?://|[a-z]+/)[^\s'\"<>]{0,80}", re.IGNORECASE)
_HOST = re.compile(
    r"(?<![\w.@-])(?:[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?(?:\.|\[\.\])){1,4}"
    r"(?:com|net|org|info|biz|io|dev|app|ai|sh|co|me|xyz|top|site|online|club|shop|link|ru|cn|su|tk|onion|example|test)"
    r"(?![\w-]|\.\w)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{64,}")
_LONG_CODE = 200  # characters: encoded text whatever its letters
_RULER = 12  # different characters; a drawn line has fewer
_COMMAND = re.compile(
    r"\b(?:curl|wget)\s+\S|\bpip3?\s+install\b|\bnpm\s+(?:install|i)\b|\bpowershell\b|\b(?:ba)?sh\s+-c\b"
    r"|\brm\s+-rf\b|\|\s*(?:ba)?sh\b|\bbase64\s+(?:-d|--decode)\b|\bchmod\s+\+x\b",
    re.IGNORECASE,
)
_MARK = re.compile(
    r"\s*(?:</?[^<>\s]{1,60}(?:\s[^<>]{0,60})?>?|\[/?[A-Z_ ]{2,40}\]?|```\w*|[^\w]+|\\n)(?:\s*(?:</?[^<>\s]{1,60}>?))*\s*"
)
_LONGEST_MARK = 200  # characters
_FRAMED = re.compile(r"\s*<[^<>\s]{1,40}>[^\s<>]{1,20}<[^<>\s]{1,40}>\s*")  # `<|channel|>final<|message|>`
_TAGS = re.compile(r"<[^<>]{1,80}>|\[/?[A-Z_]{2,40}\]")
_WORD = re.compile(r"(?<![\w/.=\"'{])[A-Za-z][a-z]+(?:['’][a-z]+)?(?![\w/=\"'}(])")  # noqa: RUF001
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def is_mark(text: str) -> bool:
    """Whether a text is a mark of a wire format, `</think>`, or has no letter: not a word that a person writes."""
    if len(text) > _LONGEST_MARK:
        return False
    framed = _FRAMED.fullmatch(text) is not None
    return framed or not any(letter.isalpha() for letter in text) or _MARK.fullmatch(text) is not None


def is_prose(text: str, *, words: int = 3) -> bool:
    """Whether a text says something to the model in a language, marks aside."""
    plain = _TAGS.sub(" ", text)
    return len(_WORD.findall(plain)) >= words or len(_IDEOGRAPH.findall(plain)) >= 2 * words


def addresses(text: str) -> Iterator[str]:
    """Every address of the network in a text: with a scheme, a host by name, a host by number."""
    seen = []
    for match in _URL.finditer(text):
        seen.append(match.span())
        yield match[0]
    for pattern in (_HOST, _ADDRESS):
        for match in pattern.finditer(text):
            if not any(start <= match.start() < end for start, end in seen):
                yield match[0]


def look_at(text: str) -> Iterator[tuple[str, str]]:
    """What no literal of a chat template has a reason to hold: pairs of a rule and a message."""
    for address in addresses(text):
        yield "template.url", f"contains the address {quoted(address)}"
    for match in _ENCODED.finditer(text):
        if _is_code(match[0]):
            yield "template.encoded-text", f"contains {len(match[0])} characters of encoded text"
    for match in _COMMAND.finditer(text):
        yield "template.command", f"contains a command for a shell: {quoted(match[0])}"
    hidden = sorted({letter for letter in text if _hidden(letter)})
    if hidden:
        shown = quoted("".join(hidden), limit=20)
        yield "template.invisible-text", f"contains characters that no reader sees: {shown}"


def _is_code(text: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    mixed = all(any(kind(letter) for letter in text) for kind in kinds)
    return len(set(text)) > _RULER and (len(text) >= _LONG_CODE or (mixed and len(set(text)) > 2 * _RULER))


def _hidden(letter: str) -> bool:
    return letter > "~" and unicodedata.category(letter) in ("Cf", "Co", "Cc", "Cs", "Zl", "Zp")
