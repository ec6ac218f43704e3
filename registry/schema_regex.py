r"""Regular expressions of schemas, as automata that answer in bounded time.

A schema's pattern is somebody else's program. Here the part of the language that is regular, and that every
reader writes the same way, becomes a nondeterministic automaton (`registry.schema_automata`). Look-around, back
references, flags and spellings on which engines disagree are not read at all: `compiled` answers None, and
callers know nothing about that pattern.

Two readings remain for the part that is read: ECMA-262, which JSON Schema names, and that of Python, which
most routers run. They differ in `.`, `$`, `\d`, `\w` and `\s`. What must hold, must hold in both.

Source: JSON Schema 2020-12 Core 6.4; ECMA-262 22.2; the Python `re` documentation.
"""

import re
from functools import cache, lru_cache

from registry.schema_automata import (
    ALL,
    LAST,
    MATCHED,
    Automaton,
    Ranges,
    Reading,
    TooManyStatesError,
    others,
    singles,
    union,
)
from registry.schemas import Work

MAX_PATTERN = 512  # characters
KEPT = 256  # patterns whose automata are kept, at most about 80 MB
MAX_DEPTH = 40  # groups inside groups
MAX_REPEATS = 400  # of one atom, by counting
MAX_MATCH = 200_000  # states looked at when one text is matched, by each reading


class _NotReadError(Exception):
    """The pattern has a part that is not read here."""


def compiled(pattern: str, reading: Reading) -> Automaton | None:
    """Return the automaton that finds `pattern` anywhere in a text, or None where it is not read here."""
    return _compiled(pattern, reading)[0]


def effort(pattern: str) -> int:
    """Return the steps that it takes to compile a pattern: the same number whether or not it is kept already."""
    return 1 + sum(_compiled(pattern, reading)[1] for reading in Reading)


def matches(pattern: str, text: str, work: Work) -> bool | None:
    """Say whether the text matches in both readings, in neither (False), or that it cannot be told (None).

    Raises:
        TooMuchWork: after a match that took more steps than were left; one takes at most `MAX_MATCH` twice.
    """
    answer, steps = _matched(pattern, text)
    work.spend(steps)
    return answer


@lru_cache(maxsize=2 * KEPT)
def _compiled(pattern: str, reading: Reading) -> tuple[Automaton | None, int]:
    """Return the automaton and how many states were made for it."""
    if len(pattern) > MAX_PATTERN:
        return None, 0
    compiler = _Compiler(pattern, reading)
    try:
        return compiler.whole(), len(compiler.made.steps)
    except (_NotReadError, TooManyStatesError):
        return None, len(compiler.made.steps)


@lru_cache(maxsize=4096)
def _matched(pattern: str, text: str) -> tuple[bool | None, int]:
    """Return the answer of `matches` and how many states were looked at."""
    found = [_answer(compiled(pattern, reading), text) for reading in Reading]
    answers = {answer for answer, _ in found}
    return answers.pop() if len(answers) == 1 else None, 1 + sum(looked for _, looked in found)


def _answer(automaton: Automaton | None, text: str) -> tuple[bool | None, int]:
    if automaton is None:
        return None, 0
    threads, looked = automaton.begin(), 0
    for letter in text:
        if threads is MATCHED or not threads:
            break
        looked += len(threads)
        if looked > MAX_MATCH:
            return None, looked
        threads = automaton.move(threads, ord(letter))
    return automaton.accepts(threads), looked + len(threads)


# -------------------------------------------------------------------------------------------------- reading


@cache
def _python_class(letter: str) -> Ranges:
    r"""Return what Python's own engine takes for `\d`, `\w` or `\s`, asked of it once."""
    apart = re.finditer(f"\\{letter.upper()}+", _everything())  # the other way round is ten times as slow
    return others(tuple((found.start(), found.end() - 1) for found in apart))


@cache
def _everything() -> str:
    return "".join(map(chr, range(LAST + 1)))


_ECMA_CLASS: dict[str, Ranges] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": union(
        ((9, 13), (32, 32), (160, 160), (0x2000, 0x200A)),
        singles("\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"),
    ),
}
_ECMA_DOT, _PYTHON_DOT = others(singles("\n\r\u2028\u2029")), others(singles("\n"))
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}

_Part = tuple[int, int]  # first and last state of a piece of the automaton


class _Compiler:
    """Reads a pattern from left to right and builds its automaton as it goes."""

    def __init__(self, pattern: str, reading: Reading) -> None:
        self.pattern, self.place, self.depth = pattern, 0, 0
        self.made = Automaton(reading)
        self.python = reading is Reading.PYTHON

    def whole(self) -> Automaton:
        made = self.made
        anywhere = made.add()
        first, last = self.choice()
        if self.place != len(self.pattern):
            raise _NotReadError
        made.steps[anywhere].append((ALL, anywhere))
        made.free[anywhere].append(first)
        made.at_start[anywhere].append(first)
        made.first, made.last = anywhere, last
        return made

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def take(self) -> str:
        letter = self.peek()
        if not letter:
            raise _NotReadError
        self.place += 1
        return letter

    def taken(self, text: str) -> bool:
        if self.pattern.startswith(text, self.place):
            self.place += len(text)
            return True
        return False

    def choice(self) -> _Part:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _NotReadError
        made = self.made
        first, last = made.add(), made.add()
        while True:
            start, end = self.sequence()
            made.free[first].append(start)
            made.free[end].append(last)
            if not self.taken("|"):
                break
        self.depth -= 1
        return first, last

    def sequence(self) -> _Part:
        first = last = self.made.add()
        while self.peek() not in ("", "|", ")"):
            start, end = self.repeated()
            self.made.free[last].append(start)
            last = end
        return first, last

    def repeated(self) -> _Part:
        """Read one atom and its counts; an atom that repeats is read again from its own place."""
        begin = self.place
        part = self.atom()
        after_atom = self.place
        counts = self.counts()
        if counts is None:
            return part
        if self.pattern[begin] in "^$":
            raise _NotReadError
        after = self.place
        part = self.counted(begin, part, *counts)
        if self.place not in (after_atom, after):
            raise _NotReadError
        self.place = after
        return part

    def counted(self, begin: int, one: _Part, least: int, most: int | None) -> _Part:
        made = self.made
        first, last = made.add(), made.add()
        at = first
        copies = max(least, most if most is not None else least, 1)
        for number in range(copies):
            start, end = one if number == 0 else self.again(begin)
            if number >= least:
                made.free[at].append(last)
            if most == 0:
                break
            made.free[at].append(start)
            if most is None and number == copies - 1:
                made.free[end].append(start)
            at = end
        made.free[at].append(last)
        return first, last

    def again(self, begin: int) -> _Part:
        self.place = begin
        return self.atom()

    def counts(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        letter = self.peek()
        if letter in simple and letter:
            self.place += 1
            found = simple[letter]
        elif letter == "{":
            found = self.braces()
        else:
            return None
        self.taken("?")  # lazy: the same texts match
        if self.peek() in ("*", "+", "?", "{") and self.peek():
            raise _NotReadError
        return found

    def braces(self) -> tuple[int, int | None]:
        shape = re.compile(r"\{([0-9]{1,4})(,([0-9]{0,4}))?\}").match(self.pattern, self.place)
        if shape is None:
            raise _NotReadError
        self.place = shape.end()
        least = int(shape[1])
        most = least if shape[2] is None else int(shape[3]) if shape[3] else None
        if max(least, most or 0) > MAX_REPEATS or (most is not None and most < least):
            raise _NotReadError
        return least, most

    def atom(self) -> _Part:
        letter = self.take()
        if letter == "(":
            return self.group()
        if letter in "^$":
            return self.anchor(letter)
        if letter in "*+?{}])":
            raise _NotReadError
        if letter == ".":
            return self.on(_PYTHON_DOT if self.python else _ECMA_DOT)
        if letter == "[":
            return self.on(self.members())
        return self.on(self.escaped() if letter == "\\" else singles(letter))

    def group(self) -> _Part:
        if not self.taken("?:") and self.peek() == "?":
            raise _NotReadError
        part = self.choice()
        if not self.taken(")"):
            raise _NotReadError
        return part

    def anchor(self, letter: str) -> _Part:
        first, last = self.made.add(), self.made.add()
        (self.made.at_start if letter == "^" else self.made.at_end)[first].append(last)
        return first, last

    def on(self, ranges: Ranges) -> _Part:
        first, last = self.made.add(), self.made.add()
        self.made.steps[first].append((ranges, last))
        return first, last

    def escaped(self) -> Ranges:
        letter = self.take()
        if letter.lower() in "dws":
            found = _python_class(letter.lower()) if self.python else _ECMA_CLASS[letter.lower()]
            return others(found) if letter.isupper() else found
        if letter in "xu":
            digits = self.pattern[self.place : self.place + (2 if letter == "x" else 4)]
            if not re.fullmatch("[0-9a-fA-F]{2}|[0-9a-fA-F]{4}", digits) or len(digits) != (
                2 if letter == "x" else 4
            ):
                raise _NotReadError
            self.place += len(digits)
            return singles(chr(int(digits, 16)))
        if letter in _CONTROLS:
            return singles(_CONTROLS[letter])
        if letter.isalnum() or letter == "_" or not letter.isascii():
            raise _NotReadError
        return singles(letter)

    def members(self) -> Ranges:
        """Read the inside of a class; what Python and ECMA-262 spell differently is not read."""
        negated = self.taken("^")
        if self.peek() == "]":
            raise _NotReadError
        parts = []
        while not self.taken("]"):
            part = self.member()
            if self.peek() == "-" and self.pattern[self.place + 1 : self.place + 2] not in ("]", ""):
                self.place += 1
                part = _between(part, self.member())
            parts.append(part)
        found = union(*parts)
        return others(found) if negated else found

    def member(self) -> Ranges:
        letter = self.take()
        if letter == "[" or (letter in "-&|~" and self.peek() == letter):
            raise _NotReadError  # set operations in some engines
        return self.escaped() if letter == "\\" else singles(letter)


def _between(low: Ranges, high: Ranges) -> Ranges:
    one = len(low) == 1 == len(high) and low[0][0] == low[0][1] and high[0][0] == high[0][1]
    if not one or low[0][0] > high[0][0]:
        raise _NotReadError
    return ((low[0][0], high[0][0]),)
