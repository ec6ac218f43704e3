"""File names that may come in, and what the bytes under them really are.

Names are an allow-list: what no engine needs is refused, not examined. Contents are sniffed whatever the name says,
because scanners that go by the name miss a pickle called `model` and a program called `config.json`.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterable
from typing import BinaryIO, Literal

from pipelines.scan.reading import quoted, read_at_most

MAX_FILES = 10_000
MAX_PATH = 512  # characters; `registry.manifests` carries no longer one
MAX_COMPONENT_BYTES = 255  # ext4, FAT32, APFS
MAX_TEXT_BYTES = 256 << 20  # the largest published tokenizer.json is about 35 MB
SNIFFED = 4096  # bytes from the start

Kind = Literal["safetensors", "gguf", "json", "template", "text"]

_JSON_NAMES = frozenset(
    (
        *("config.json", "generation_config.json", "quantization_config.json", "hf_quant_config.json"),
        *(
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.json",
            "added_tokens.json",
        ),
        *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
        "chat_template.json",
    )
)
# The last three: where publishers put their signature over the files (OpenSSF Model Signing).
_TEXT_NAMES = frozenset(
    (
        *("README.md", "USE_POLICY.md", "merges.txt", ".gitattributes"),
        *("model.sig", "signature.oms", "model.oms.sig"),
    )
)
_TEXT_PREFIX = re.compile(r"(?:LICEN[CS]E|NOTICE)(?:[._-][A-Za-z0-9._-]{1,40})?")
_CODE_ENDINGS = (".py", ".pyc", ".pyi", ".pyx", ".pyd", ".so", ".ipynb")


def kind_of(path: str) -> Kind | None:
    """Return what a file of this name must hold, or None where the name is not on the allow-list."""
    folder, _, name = path.rpartition("/")
    if name.endswith(".safetensors"):
        return "safetensors"
    if name.endswith(".gguf"):
        return "gguf"
    if name in _JSON_NAMES or name.endswith(".safetensors.index.json"):
        return "json"
    if name == "chat_template.jinja" or (
        name.endswith(".jinja") and folder.rpartition("/")[2] == "additional_chat_templates"
    ):
        return "template"
    if name in _TEXT_NAMES or (_TEXT_PREFIX.fullmatch(name) and not is_code(name)):
        return "text"
    return None


def is_code(path: str) -> bool:
    """Whether the name says program code, which an engine might import."""
    return path.lower().endswith(_CODE_ENDINGS)


def path_problem(path: str) -> str | None:
    """Return why this path is unsafe on some system that it will reach, or None."""
    parts = path.split("/")
    if len(path) > MAX_PATH or any(
        len(part.encode("utf-8", "replace")) > MAX_COMPONENT_BYTES for part in parts
    ):
        return f"longer than {MAX_PATH} characters, or a part longer than {MAX_COMPONENT_BYTES} bytes"
    if any(part in ("", ".", "..") for part in parts):
        return "absolute, or with an empty part, '.' or '..'"
    if any(_bad_letter(letter) for letter in path):
        return "holds a backslash, a colon, a wildcard, a control character or an invisible one"
    if any(part.startswith(("-", " ", "~")) or part.endswith((".", " ")) for part in parts):
        return "a part begins with '-', '~' or a space, or ends with a dot or a space"
    return None


_BAD_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _bad_letter(letter: str) -> bool:
    category = unicodedata.category(letter)
    return letter in '\\:*?"<>|' or category in _BAD_CATEGORIES or (category == "Zs" and letter != " ")


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of paths that some file system takes for one: by case, by Unicode form, or file against folder.

    The first of each pair is the one that stood earlier. Folders collide too: `A/x` and `a/y` merge elsewhere.
    """
    pairs = []
    spelling: dict[str, tuple[str, bool, str]] = {}  # folded: as written, is a file, the path that brought it
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            written, is_file = "/".join(parts[:depth]), depth == len(parts)
            known = spelling.get(_folded(written))
            if known is None:
                spelling[_folded(written)] = (written, is_file, path)
            elif is_file or known[:2] != (written, is_file):
                pairs.append((known[2], path))
                break
    return pairs


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "rar"),
    (b"PK\x07\x08", "zip"), (b"\x1f\x9d", "compress"), (b"\x1f\xa0", "compress"), (b"LZIP", "lzip"),
    (b"\x04\x22\x4d\x18", "lz4"), (b"\x5d\0\0\x80\0\xff", "lzma"), (b"MSCF\0\0\0\0", "cabinet"), (b"!<arch>\n", "ar"),
    (b"\xed\xab\xee\xdb", "rpm"), (b"hsqs", "squashfs"), (b"xar!", "xar"),
    (b"\x7fELF", "ELF program"), (b"MZ", "Windows program"), (b"\0asm", "WebAssembly"), (b"#!", "script"),
    (b"\xfe\xed\xfa\xce", "Mach-O program"), (b"\xfe\xed\xfa\xcf", "Mach-O program"),
    (b"\xce\xfa\xed\xfe", "Mach-O program"), (b"\xcf\xfa\xed\xfe", "Mach-O program"),
    (b"\xca\xfe\xba\xbe", "Mach-O or Java program"), (b"GGUF", "gguf"), (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x93NUMPY", "numpy array"), (b"SQLite format 3\0", "SQLite"), (b"%PDF-", "PDF"),
    (b"version https://git-lfs.github.com/spec/", "git-lfs pointer"),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x00-\x05]")
_IN_BASE64 = re.compile(
    r"\s*(?:data:[\w/+.-]{0,60};base64,)?"
    r"(?:UEsDB|H4sI|gA[JNR]|gAS[VU]|gAWV|f0VMR|TVqQ|N3q8r|/Td6WFo|QlpoO|KLUv/|UmFyIR)[A-Za-z0-9+/\s_-]{64,}={0,2}\s*"
)
# Protocol 0 has no magic: it is text that starts by naming a function to call.
_PICKLE_TEXT = re.compile(rb"[(\]})lN0]{0,8}[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n(?:p\d+\n)?[()\]}NVSIt0q]")
_HTML = re.compile(
    rb"(?:<!--.{0,512}?-->\s*)*<(?:!doctype\s+html|html|head|script)\b", re.IGNORECASE | re.DOTALL
)
_SAFETENSORS = re.compile(rb".{3}[\x00-\x06]\x00{4}\{\s*[\"}]", re.DOTALL)


def sniff(head: bytes) -> str | None:
    """Return the format that the first bytes announce, or None for one that is not known here.

    A safetensors file starts with a length, so its first bytes may look like any magic: a header of 640 bytes starts
    like a pickle. It is recognised first, by the zeros and the brace behind.
    """
    if _SAFETENSORS.match(head):
        return "safetensors"
    for magic, name in _MAGIC:
        if head.startswith(magic) and (magic != b"MZ" or b"\0" in head):  # two letters also start a text
            return name
    if head[257:262] == b"ustar":
        return "tar"
    if _PICKLE.match(head) or _PICKLE_TEXT.match(head):
        return "pickle"
    return "HTML" if _HTML.match(head.lstrip()) else None


def encoded_payload(text: str) -> bool:
    """Whether a text is base64 of an archive, a program or a pickle: bytes that somebody means to unpack."""
    return len(text) > _SHORTEST_PAYLOAD and _IN_BASE64.fullmatch(text) is not None


_SHORTEST_PAYLOAD = 64  # characters


def ends_as_zip(stream: BinaryIO, size: int) -> bool:
    """Whether a zip reader would find an archive at the end of these bytes: such a file is two files.

    Readers look for an end record in the last 64 KiB; some let bytes follow that are no comment. So a record counts
    when its comment reaches exactly the end of the file, or when its central directory stands before it. Weights
    match neither by chance.
    """
    start = max(0, size - 65_557)  # 22 bytes of record, 65535 of comment
    stream.seek(start)
    tail = read_at_most(stream, size - start)
    place = tail.rfind(b"PK\x05\x06")
    for _ in range(_MAX_RECORDS):
        record = tail[place : place + 22] if place >= 0 else b""
        if len(record) < 22:
            return False
        if place + 22 + int.from_bytes(record[20:], "little") == len(tail):
            return True
        if _has_directory(stream, start + place, int.from_bytes(record[12:16], "little")):
            return True
        place = tail.rfind(b"PK\x05\x06", 0, place)
    return True  # so many records are no chance


_MAX_RECORDS = 64


def _has_directory(stream: BinaryIO, end: int, length: int) -> bool:
    """Whether the `length` bytes before `end` start like a central directory."""
    if not 46 <= length <= end:  # bytes of the shortest entry
        return False
    stream.seek(end - length)
    return read_at_most(stream, 4) == b"PK\x01\x02"


_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


def text_problem(stream: BinaryIO) -> str | None:
    """Return why these bytes are not plain UTF-8 text, or None. Reads in blocks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    while True:
        block = read_at_most(stream, 1 << 20)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as exc:
            return f"not UTF-8 near byte {done + exc.start}"
        if found := _CONTROL.search(text):
            return f"holds the control character {quoted(found[0])}"
        if not block:
            return None
        done += len(block)
