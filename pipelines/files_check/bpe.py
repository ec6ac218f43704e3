"""A byte-pair tokenizer's vocabulary, held against itself: can every text be written in it and read back.

Apart from any library, so that a site without one can tell. Two ways of writing bytes are known: byte-level (GPT-2's,
each byte a printable letter) and byte fallback (`<0x41>` for what has no token, `▁` for a space). Texts are not split
into words as the tokenizer would; the pieces come out larger or smaller, and what is read back is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.scan.reading import quoted

SAMPLES = (
    "What is the weather in Oslo?",
    '{"name": "read_file", "arguments": {"path": "src/a.py"}}',
    "def add(a, b):\n\treturn a + b\n",
    "  two  spaces, 1234567890 and\ttabs ",
    "Größe, naïve, 東京, Ελλάδα, \U0001f600",  # letters of two, three and four bytes
    "".join(map(chr, range(33, 127))),
)
MAX_SAID = 20  # problems of one kind


def byte_letters() -> dict[int, str]:
    """GPT-2's letter for each byte: itself where it is printable, else one from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [number for number in range(256) if number not in plain]
    return {n: chr(n) for n in plain} | {n: chr(256 + place) for place, n in enumerate(others)}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens with their numbers, and the pairs that are merged, first ones first."""

    ids: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    byte_level: bool  # else byte fallback

    def problems(self) -> Iterator[str]:
        """Say what is wrong with it."""
        yield from self._bytes()
        bad = [pair for pair in self.merges if not {*pair, "".join(pair)} <= self.ids.keys()]
        for left, right in bad[:MAX_SAID]:
            yield f"merges {quoted(left)} and {quoted(right)}, and not all of them are tokens"
        if not bad:
            yield from self._round_trips()

    def _bytes(self) -> Iterator[str]:
        letters = byte_letters() if self.byte_level else {n: f"<0x{n:02X}>" for n in range(256)}
        missing = [number for number, letter in letters.items() if letter not in self.ids]
        if missing:
            yield f"has no token for {len(missing)} of 256 bytes, the first 0x{min(missing):02x}"

    def _round_trips(self) -> Iterator[str]:
        ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        for sample in SAMPLES:
            tokens = [token for word in _words(sample) for token in self._write(word, ranks)]
            if any(token not in self.ids for token in tokens):
                yield f"cannot write {quoted(sample)}"
            elif self._read(tokens) != sample:
                yield f"reads {quoted(sample)} back as {quoted(self._read(tokens))}"

    def _write(self, word: str, ranks: Mapping[tuple[str, str], int]) -> list[str]:
        if self.byte_level:
            letters = byte_letters()
            return merged([letters[byte] for byte in word.encode()], ranks)
        pieces = merged(list(word.replace(" ", "▁")), ranks)
        return [part for piece in pieces for part in ([piece] if piece in self.ids else _fallen(piece))]

    def _read(self, tokens: Sequence[str]) -> str:
        if self.byte_level:
            values = {letter: number for number, letter in byte_letters().items()}
            return bytes(values.get(letter, 0) for token in tokens for letter in token).decode(
                "utf-8", "replace"
            )
        data = b"".join(
            bytes([int(token[3:5], 16)]) if _is_byte(token) else token.replace("▁", " ").encode()
            for token in tokens
        )
        return data.decode("utf-8", "replace")


def merged(pieces: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Merge neighbours, the pair of the lowest rank first, until no pair is left."""
    while len(pieces) > 1:
        rank, place = min((ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairwise(pieces)))
        if rank == len(ranks):
            break
        pieces = [*pieces[:place], pieces[place] + pieces[place + 1], *pieces[place + 2 :]]
    return pieces


def _words(text: str) -> list[str]:
    """Cut before each space: a merge across words would change no round trip, only its cost."""
    return [part for part in text.replace(" ", "\0 ").split("\0") if part]


def _fallen(piece: str) -> list[str]:
    return [f"<0x{byte:02X}>" for byte in piece.replace("▁", " ").encode()]


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")
