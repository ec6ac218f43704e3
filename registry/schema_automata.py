"""Nondeterministic automata over texts: what a pattern is once it has been read, and what answers in bounded time.

Apart from the reading of patterns (`registry.schema_regex`), because nothing here knows how one is written, and
the search over texts (`registry.schema_text`) runs several automata side by side without knowing either. A text
is matched by following the set of states that it may be in, so no automaton is slow.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

MAX_STATES = 1500  # of one automaton

Ranges = tuple[tuple[int, int], ...]  # code points, first and last, sorted and apart
LAST = sys.maxunicode
ALL: Ranges = ((0, LAST),)


class Reading(Enum):
    """Whose rules a pattern is read by."""

    ECMA = "ecma"
    PYTHON = "python"


class TooManyStatesError(Exception):
    """The automaton would be larger than `MAX_STATES`. Never leaves this layer."""


def union(*parts: Ranges) -> Ranges:
    """Return the code points in any of the parts."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(pair for part in parts for pair in part):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def others(part: Ranges) -> Ranges:
    """Return the code points that are not in `part`."""
    out, place = [], 0
    for first, last in part:
        if first > place:
            out.append((place, first - 1))
        place = last + 1
    return (*out, (place, LAST)) if place <= LAST else tuple(out)


def singles(text: str) -> Ranges:
    """Return the code points of these characters."""
    return union(*(((ord(letter), ord(letter)),) for letter in text))


@dataclass
class Automaton:
    """States are numbers; `steps[s]` are moves on a character, `free[s]` without one.

    `at_start[s]` and `at_end[s]` are free moves that `^` and `$` allow. A thread is (state, mode): mode 0 is
    anywhere, 1 has passed a `$` before a final newline that is still to come, 2 has read that newline.
    """

    reading: Reading
    steps: list[list[tuple[Ranges, int]]] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)
    at_start: list[list[int]] = field(default_factory=list)
    at_end: list[list[int]] = field(default_factory=list)
    first: int = 0
    last: int = 0

    def add(self) -> int:
        if len(self.steps) >= MAX_STATES:
            raise TooManyStatesError
        self.steps.append([])
        for table in (self.free, self.at_start, self.at_end):
            table.append([])
        return len(self.steps) - 1

    def ranges(self) -> Iterator[Ranges]:
        """Yield every set of characters that a move is made on."""
        for moves in self.steps:
            yield from (ranges for ranges, _ in moves)

    def begin(self) -> "Threads":
        """Return the threads before the first character."""
        threads = self._closed({(self.first, 0)}, start=True)
        return threads if threads is MATCHED else threads | {_START}

    def move(self, threads: "Threads", code: int) -> "Threads":
        """Return the threads after the character with this code point."""
        if threads is MATCHED:
            return MATCHED
        reached = set()
        for state, mode in threads:
            if state < 0 or mode == 2 or (mode == 1 and code != 10):
                continue
            after = 2 if mode == 1 else 0
            if state == self.last:
                reached.add((state, after))
            reached.update((target, after) for ranges, target in self.steps[state] if _holds(ranges, code))
        return self._closed(reached, start=False)

    def accepts(self, threads: "Threads") -> bool:
        """Whether the text may end here."""
        if threads is MATCHED:
            return True
        todo, seen = [state for state, mode in threads if mode != 1 and state >= 0], set[int]()
        while todo:
            state = todo.pop()
            if state == self.last:
                return True
            if state not in seen:
                seen.add(state)
                todo += [*self.free[state], *self.at_end[state]]
                todo += self.at_start[state] if _START in threads else []
        return False

    def _closed(self, threads: set[tuple[int, int]], *, start: bool) -> "Threads":
        todo, seen = list(threads), set(threads)
        while todo:
            state, mode = todo.pop()
            more = [(target, mode) for target in self.free[state]]
            if start:
                more += [(target, mode) for target in self.at_start[state]]
            if self.reading is Reading.PYTHON and mode != 2:
                more += [(target, 1) for target in self.at_end[state]]
            fresh = [thread for thread in more if thread not in seen]
            seen.update(fresh)
            todo += fresh
        if (self.last, 0) in seen:
            return MATCHED
        return frozenset(seen)


Threads = frozenset[tuple[int, int]]
MATCHED: Threads = frozenset([(-1, 0)])  # whatever follows, the text matches
_START = (-2, 0)  # among the threads before the first character


def _holds(ranges: Ranges, code: int) -> bool:
    return any(first <= code <= last for first, last in ranges)
