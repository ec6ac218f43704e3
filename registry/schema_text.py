"""Which texts have to be tried so that a verdict on each is a verdict on all.

All patterns that both sides mention, every fixed text and the lengths that matter run side by side over the
same characters. Texts that lead to the same states are alike in every demand, so one visit to each state
that can be reached decides for all texts, shortest first; there are finitely many, and steps are limited.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from registry.schema_automata import Automaton, Ranges, Reading, Threads, union
from registry.schema_flat import Flat
from registry.schema_judge import FORMAT_EXAMPLES, Answer, judge_all
from registry.schema_nodes import Node
from registry.schema_numbers import related
from registry.schema_regex import compiled, matches
from registry.schemas import Work

MAX_LENGTH = 256  # characters counted one by one beside patterns
MAX_TEXT = 4096  # longest text made up as an example
MAX_VISITS = 5_000  # states of one product
MAX_FOUND = 3
_NICE = "abcxyzABC0123456789-_./ :@#é\n"
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Texts:
    """What a search over texts found: refused ones, whether it saw all, and whether a verdict stayed open."""

    refused: tuple[str, ...]
    complete: bool


def refused_texts(p: Flat, demands: Sequence[Node], work: Work) -> Texts:
    """Look for texts that the producer emits and the demands refuse. Raises `TooMuchWork`.

    Complete without a refused text is a proof, by the rules of ECMA-262 and by those of Python.
    """
    about = related(demands, work)
    words = [v for node in about for v in node.enum or () if isinstance(v, str)]
    patterns = list(dict.fromkeys(t for node in about for t in node.patterns if t not in p.patterns))
    bounds = {n for node in about for n in _bounds(node.min_length, node.max_length)}
    work.spend(sum(map(len, words)))
    if not (p.patterns or patterns or words):
        return _by_length(p, demands, bounds, work)
    found: list[str] = []
    complete = True
    for reading in Reading:
        product = _Product.of(reading, [*p.patterns, *patterns], words, _counted(p, bounds), work)
        for state in product.states():
            if not product.emitted(state, p):
                continue
            answer = judge_all(demands, _State(product, state, p), work)
            complete = complete and answer is not None
            if answer is False:
                found.append(product.text(state))
                if len(found) >= MAX_FOUND:
                    return Texts(tuple(found), complete=False)
        complete = complete and product.complete
    return Texts(tuple(dict.fromkeys(found)), complete)


def some_texts(p: Flat, work: Work, *, limit: int = 6) -> list[str]:
    """Return texts that the producer probably emits, simplest first; perhaps none."""
    if p.formats:
        return [FORMAT_EXAMPLES[name] for name in p.formats if name in FORMAT_EXAMPLES]
    least, most = p.lengths
    if not p.patterns:
        sizes = [n for n in (least, least + 1, most) if n is not None and n <= min(MAX_TEXT, most or n)]
        plain = [
            text
            for text in ("", "a", "example")
            if least <= len(text) <= (len(text) if most is None else most)
        ]
        return list(dict.fromkeys([*plain, *("a" * n for n in sizes)]))[:limit]
    product = _Product.of(Reading.PYTHON, p.patterns, [], _counted(p, set()), work)
    found = []
    for state in product.states():
        if product.emitted(state, p):
            text = product.text(state)
            if all(matches(pattern, text, work) for pattern in p.patterns):
                found.append(text)
        if len(found) >= limit:
            break
    return found


@dataclass(frozen=True)
class Sample:
    """A text of some kind, None where none was found; `complete` when there surely is none."""

    text: str | None
    complete: bool


def sample(matching: Sequence[str], avoiding: Sequence[str], excluded: Iterable[str], work: Work) -> Sample:
    """Look for a text that matches all of some patterns, none of others, and is none of the excluded ones.

    Patterns that cannot be read are taken to allow it.
    """
    avoided, complete = set(excluded), True
    for reading in Reading:
        product = _Product.of(reading, [*matching, *avoiding], sorted(avoided), 0, work)
        complete = complete and not product.unread
        for state in product.states():
            open_ = all(product.matched(pattern, state) is not False for pattern in matching)
            apart = all(product.matched(pattern, state) is not True for pattern in avoiding)
            if open_ and apart and product.word(state) not in avoided:
                return Sample(product.text(state), complete=False)
        complete = complete and product.complete
    return Sample(None, complete)


def _counted(p: Flat, bounds: set[int]) -> int:
    """Return how far lengths have to be counted: to the last bound that counting can reach."""
    return max((n for n in (*bounds, *_bounds(*p.lengths)) if n <= MAX_LENGTH), default=0)


def _bounds(least: int, most: int | None) -> list[int]:
    """Return the lengths from which on something is different."""
    return [n for n in (least, 0 if most is None else most + 1) if n > 0]


def _by_length(p: Flat, demands: Sequence[Node], bounds: set[int], work: Work) -> Texts:
    """Without patterns and fixed texts only the length matters, and only around the bounds."""
    least, most = p.lengths
    edges = {least, *bounds, *(n - 1 for n in bounds), *([most] if most is not None else [])}
    edges = {n for n in (*edges, max(edges) + 1) if n >= least and (most is None or n <= most)}
    found, complete = [], True
    for length in sorted(edges):
        answer = judge_all(demands, _Length(length, p), work)
        if answer is False and length <= MAX_TEXT:
            found.append("a" * length)
        complete = complete and (answer is True or (answer is False and length <= MAX_TEXT))
    return Texts(tuple(found[:MAX_FOUND]), complete)


# -------------------------------------------------------------------------------------------------- states

_At = tuple[tuple[Threads, ...], int, int]  # threads of each automaton, place among the words, counted length


@dataclass
class _Product:
    """Automata, fixed words and a counter, side by side."""

    automata: dict[str, Automaton]
    words: list[dict[str, int]]  # a tree: from each place the characters that lead on
    ends: dict[int, str]  # the word that ends at a place
    top: int
    work: Work
    letters: list[int] = field(default_factory=list)
    complete: bool = True
    unread: bool = False
    came: dict[_At, tuple[_At, int] | None] = field(default_factory=dict)
    moves: dict[tuple[str, Threads, int], Threads] = field(default_factory=dict)

    @classmethod
    def of(
        cls, reading: Reading, patterns: Iterable[str], words: Iterable[str], top: int, work: Work
    ) -> "_Product":
        patterns = list(patterns)
        found = {pattern: compiled(pattern, reading) for pattern in patterns}
        automata = {pattern: automaton for pattern, automaton in found.items() if automaton is not None}
        made = cls(automata, *_tree(words), top, work)
        made.unread = len(automata) < len(set(patterns))
        letters = [((ord(letter),) * 2,) for tree in made.words for letter in tree]
        made.letters = _letters([*(r for a in automata.values() for r in a.ranges()), *letters])
        return made

    def states(self) -> Iterator[_At]:
        """Yield every state that can be reached, once, by the shortest text; `complete` says if that was all."""
        first: _At = (tuple(automaton.begin() for automaton in self.automata.values()), 0, 0)
        self.came[first] = None
        todo = deque([first])
        while todo:
            state = todo.popleft()
            yield state
            for code in self.letters:
                self.work.spend(1 + len(self.automata))
                after = self.after(state, code)
                if after not in self.came:
                    if len(self.came) >= MAX_VISITS:
                        self.complete = False
                        return
                    self.came[after] = (state, code)
                    todo.append(after)

    def after(self, state: _At, code: int) -> _At:
        threads, place, length = state
        moved = tuple(
            self.moved(pattern, automaton, held, code)
            for (pattern, automaton), held in zip(self.automata.items(), threads, strict=True)
        )
        place = self.words[place].get(chr(code), -1) if place >= 0 else -1
        return moved, place, min(length + 1, self.top)

    def moved(self, pattern: str, automaton: Automaton, threads: Threads, code: int) -> Threads:
        key = (pattern, threads, code)
        found = self.moves.get(key)
        if found is None:
            self.work.spend(2 * len(threads))
            found = self.moves[key] = automaton.move(threads, code)
        return found

    def matched(self, pattern: str, state: _At) -> Answer:
        for (held, automaton), threads in zip(self.automata.items(), state[0], strict=True):
            if held == pattern:
                self.work.spend(len(threads))
                return automaton.accepts(threads)
        return None

    def word(self, state: _At) -> str | None:
        return self.ends.get(state[1])

    def emitted(self, state: _At, p: Flat) -> bool:
        """Whether the producer's patterns and counted lengths allow a text that ends here."""
        least, most = p.lengths
        fits = state[2] >= min(least, self.top) and (most is None or most >= self.top or state[2] <= most)
        return fits and all(self.matched(pattern, state) is not False for pattern in p.patterns)

    def text(self, state: _At) -> str:
        letters: list[str] = []
        step = self.came[state]
        while step is not None:
            letters.append(chr(step[1]))
            step = self.came[step[0]]
        return "".join(reversed(letters))


@dataclass(frozen=True)
class _State:
    """The texts that lead to one state (`schema_judge.SomeText`)."""

    product: _Product
    state: _At
    p: Flat

    def matching(self, pattern: str) -> Answer:
        return True if pattern in self.p.patterns else self.product.matched(pattern, self.state)

    def at_least(self, length: int) -> Answer:
        known = _known_length(self.p, length)
        if known is not None or length > self.product.top:
            return known
        return self.state[2] >= length

    def formatted(self, name: str) -> Answer:
        return True if name in self.p.formats else None

    def among(self, texts: Iterable[str]) -> Answer:
        word = self.product.word(self.state)
        return word is not None and word in texts


@dataclass(frozen=True)
class _Length:
    """The texts of one length, where nothing else matters (`schema_judge.SomeText`)."""

    length: int
    p: Flat

    def matching(self, pattern: str) -> Answer:  # noqa: ARG002 -- there are no patterns here
        return None

    def at_least(self, length: int) -> Answer:
        return self.length >= length

    def formatted(self, name: str) -> Answer:
        return True if name in self.p.formats else None

    def among(self, texts: Iterable[str]) -> Answer:
        return False if not list(texts) else None


def _known_length(p: Flat, length: int) -> Answer:
    least, most = p.lengths
    if least >= length:
        return True
    return False if most is not None and most < length else None


def _tree(words: Iterable[str]) -> tuple[list[dict[str, int]], dict[int, str]]:
    tree: list[dict[str, int]] = [{}]
    ends = {}
    for word in words:
        place = 0
        for letter in word:
            if letter not in tree[place]:
                tree[place][letter] = len(tree)
                tree.append({})
            place = tree[place][letter]
        ends[place] = word
    return tree, ends


def _letters(sets: Iterable[Ranges]) -> list[int]:
    """Return one character for each way of being in some of the sets and not in the others, readable first."""
    changes: dict[int, int] = {0: 0, 10: 0, 11: 0}
    bit = 2
    changes[10] ^= 1  # a newline is a class of its own: `$` cares
    changes[11] ^= 1
    for ranges in dict.fromkeys(sets):
        for first, last in union(ranges):
            changes[first] = changes.get(first, 0) ^ bit
            changes[last + 1] = changes.get(last + 1, 0) ^ bit
        bit <<= 1
    return _one_of_each(changes)


def _one_of_each(changes: dict[int, int]) -> list[int]:
    """Follow the changes of membership from the first code point to the last; see `_letters`."""
    nice = sorted(map(ord, _NICE))
    rank = {ord(letter): place for place, letter in enumerate(_NICE)}
    found: dict[int, int] = {}
    edges = sorted(edge for edge in changes if edge <= 0x10FFFF)
    held = 0
    for place, first in enumerate(edges):
        held ^= changes[first]
        last = (edges[place + 1] if place + 1 < len(edges) else 0x110000) - 1
        inside = [code for code in nice if first <= code <= last]
        best = min(inside, key=lambda code: rank[code], default=_readable(first, last))
        if held not in found or rank.get(best, 999) < rank.get(found[held], 999):
            found[held] = best
    return sorted(found.values(), key=lambda code: (rank.get(code, 999), code))


def _readable(first: int, last: int) -> int:
    if first < 32 < last:
        return 33
    return _SURROGATES.stop if first in _SURROGATES and last >= _SURROGATES.stop else first
