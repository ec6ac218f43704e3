"""The parts of a run, in order: real shipments, rates on large weights, codecs, raw bytes, parity, scale.

Stays small in memory itself: a child's figure of memory starts from its parent's, so everything that needs numpy is a
program of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import bundle_cases, peers
from benchmarks.bundle_cases import Case
from benchmarks.bundle_journey import COMPACT as COMPACTLY
from benchmarks.bundle_journey import FAST as PLAINLY
from benchmarks.bundle_journey import Exchange, Shipment, offers, tree_size
from benchmarks.bundle_peers import NOT_INSTALLED, Peer, Rivals
from benchmarks.bundle_results import (
    COMPACT,
    FAILED,
    FAST,
    NO_ANSWER,
    NOT_THERE,
    Ceiling,
    CodecRow,
    ParityCost,
    Results,
    Row,
    Sent,
    middle,
)
from benchmarks.measure import CommandFailed, run, settle, warm

_TINY = 1 << 20  # bytes of the model that shows what the commands cost without weights
_VOLUMES = 8  # of the exports that parity is measured on
_CODEC_CASES = (
    *bundle_cases.FIRST,
    bundle_cases.FULL,
    bundle_cases.LORA,
    bundle_cases.CHECKPOINT,
    bundle_cases.Q8_0,
    bundle_cases.Q4_K,
)


class Sizes(NamedTuple):
    """How much is measured. Bytes, and rounds of what is timed on large weights."""

    rates: int
    raw: int
    scaling: Sequence[int]
    rounds: int


class Measuring:
    """One run. Everything below `folder` is its own; `models` holds the cases' folders."""

    def __init__(
        self, folder: Path, models: Path, rivals: Rivals, python: Path | None, results: Results
    ) -> None:
        self._folder, self._models, self._rivals, self._python = folder, models, rivals, python
        self._results = results
        self._exchange = Exchange(folder / "exchange")
        self._modes: dict[str, Sequence[str] | None] = {
            FAST: PLAINLY,
            COMPACT: COMPACTLY if offers("--compact") else None,
        }

    def everything(self, sizes: Sizes) -> None:
        """Fill the results, part by part."""
        self._part("real weights")
        self._real()
        self._part("codecs")
        self._codecs()
        self._start(sizes.rounds)
        self._part("rates on large weights")
        self._rates(sizes)
        self._part("raw bytes")
        self._raw(sizes)
        self._part("scale")
        self._scaling(sizes)

    def _part(self, name: str) -> None:
        self._results.load.append(os.getloadavg()[0])
        _say(name)

    def _real(self) -> None:
        ready = bundle_cases.ready(self._models.parent)
        for held in dict.fromkeys(case.base for case in ready):
            since = self._hold(None if held is None else self._models / held)
            for case in (case for case in ready if case.base == held):
                row = self._row(
                    case.name, self._models / case.target, held and self._models / held, since=since, rounds=1
                )
                self._results.rows.append(row)
            self._let_go(since)
        order = [case.name for case in bundle_cases.CASES]
        self._results.rows.sort(key=lambda row: order.index(row.case))

    def _hold(self, held: Path | None) -> str:
        """Return the name of the homes in which the site holds that folder."""
        if held is None:
            return "enrolled"
        self._exchange.hold(held, name=held.name)
        return held.name

    def _let_go(self, since: str) -> None:
        if since != "enrolled":
            self._exchange.forget(since)
        self._rivals.forget()

    def _row(
        self,
        name: str,
        target: Path,
        held: Path | str | None,
        *,
        since: str,
        rounds: int,
        large: bool = False,
    ) -> Row:
        """Ship one case by everything."""
        base = Path(held) if held else None
        modes = (FAST,) if large and base is None else (FAST, COMPACT)  # compact is about deltas
        sent: dict[str, Sent | str] = dict(self._ours(name, target, modes, since=since, rounds=rounds))
        for peer, version in self._rivals.versions.items():
            if large and peer.small_only:
                continue
            sent[peer.name] = NOT_INSTALLED if version is None else self._theirs(name, peer, target, base)
        return Row(name, tree_size(target), sent)

    def _ours(
        self, name: str, target: Path, modes: Sequence[str] = (FAST,), *, since: str, rounds: int
    ) -> Iterable[tuple[str, Sent | str]]:
        for mode in modes:
            options = self._modes[mode]
            if options is None:
                yield mode, NOT_THERE
                continue
            warm(target)
            found = [self._exchange.ship(target, options, since=since) for _ in range(rounds)]
            _say(f"{name}: {mode}: {found[0].payload:,} bytes")
            yield mode, _middle(found)

    def _theirs(self, name: str, peer: Peer, target: Path, base: Path | None) -> Sent | str:
        warm(target)
        try:
            found = self._rivals.send(peer, target, base)
        except CommandFailed as failed:
            self._results.notes.append(f"{name}: {peer.name} failed")
            _say(str(failed))
            return FAILED
        if found is None:
            return NO_ANSWER
        _say(f"{name}: {peer.name}: {found.size:,} bytes")
        return Sent(found.size, found.encode, found.decode)

    def _codecs(self) -> None:
        ready = bundle_cases.ready(self._models.parent)
        for case in (case for case in _CODEC_CASES if case in ready):
            self._codecs_of(case)

    def _codecs_of(self, case: Case) -> None:
        words = [str(self._models / case.target), str(self._models / case.base) if case.base else "-"]
        for who, python in (
            ("ours", sys.executable),
            ("rivals", sys.executable),
            ("zipnn", str(self._python)),
        ):
            if who == "zipnn" and (self._python is None or "GGUF" in case.name or case.base):
                continue
            command = [python, "-m", "benchmarks.codecs", who, *words]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                self._results.notes.append(f"codecs, {case.name}: {who} failed")
                continue
            self._results.codecs += [CodecRow(data=case.name, **row) for row in json.loads(done.stdout)]

    def _start(self, rounds: int) -> None:
        place = self._folder / "tiny"
        _run_module("benchmarks.model", str(place), str(_TINY))
        found = [self._exchange.ship(place, PLAINLY, since="enrolled") for _ in range(max(3, rounds))]
        self._results.start = Row("random bytes, 1 MiB", tree_size(place), {FAST: _middle(found)})
        shutil.rmtree(place)

    def _rates(self, sizes: Sizes) -> None:
        place = self._synthetic(sizes.rates)
        base, tuned = place / "base", place / "tuned"
        first = self._row(
            "synthetic, first shipment", base, None, since="enrolled", rounds=sizes.rounds, large=True
        )
        self._results.rates.append(first)
        since = self._hold(base)
        second = self._row("synthetic, fine-tune", tuned, base, since=since, rounds=sizes.rounds, large=True)
        self._results.rates.append(second)
        self._let_go(since)
        shutil.rmtree(place)

    def _synthetic(self, size: int, *words: str) -> Path:
        place = self._folder / "synthetic"
        _run_module("benchmarks.synthetic", str(place), str(size), *words)
        return place

    def _raw(self, sizes: Sizes) -> None:
        place = self._folder / "random"
        _run_module("benchmarks.model", str(place), str(sizes.raw))
        shipped, walls = [], []
        for _ in range(sizes.rounds):
            walls.append(self._machine(place))
            shipped.append(self._exchange.ship(place, PLAINLY, since="enrolled"))
        self._results.raw = Row("random bytes", tree_size(place), {FAST: _middle(shipped)})
        self._results.ceiling = Ceiling(
            [one.take.wall for one in shipped],
            [min(round_[peers.SHA256SUM_ALL], round_[peers.HASHLIB_ALL]) for round_ in walls],
            {disk: [round_[disk] for round_ in walls] for disk in (peers.WRITE, peers.WRITE_BEHIND)},
        )
        self._parity(place, sizes.rounds)
        shutil.rmtree(place)

    def _machine(self, place: Path) -> Mapping[str, float]:
        """What bare hashing and writing of the same bytes take here, seconds."""
        scratch, walls = self._folder / "scratch", {}
        wanted = (peers.SHA256SUM_ALL, peers.HASHLIB_ALL, peers.WRITE, peers.WRITE_BEHIND)
        for name, command in peers.commands(place, scratch).items():
            if name in wanted:
                settle()
                warm(place)
                walls[name] = run(command).wall
                shutil.rmtree(scratch, ignore_errors=True)
        return walls

    def _parity(self, place: Path, rounds: int) -> None:
        """Export the same bytes to eight volumes without parity, with one volume of it, with two."""
        if not offers("--parity"):
            self._results.notes.append("parity: this build has none")
            return
        room = str(tree_size(place) // _VOLUMES + (8 << 20))
        exchange, found = self._exchange, {}
        exchange.back("enrolled")
        exchange.add(place)
        exchange.keep("added")
        for parity in (0, 1, 2):
            packed = []
            for _ in range(rounds):
                exchange.back("added")
                settle()
                options = ("--parity", str(parity)) if parity else ()
                packed.append(exchange.pack(("--volume-size", room, *options)))
            found[parity] = (middle(packed).wall, tree_size(exchange.medium))
        exchange.forget("added")
        plain_time, plain_size = found[0]
        self._results.parity += [
            ParityCost(parity, found[parity][0] / plain_time, found[parity][1] / plain_size)
            for parity in (1, 2)
        ]

    def _scaling(self, sizes: Sizes) -> None:
        for size in sizes.scaling:
            place = self._synthetic(size, "--base-only")
            made = tree_size(place / "base")
            name = f"synthetic, {made / (1 << 30):.2g} GiB"
            sent = dict(self._ours(name, place / "base", since="enrolled", rounds=1))
            self._results.scaling.append(Row(name, made, sent))
            shutil.rmtree(place)
            self._exchange.back("enrolled")


def _middle(found: Sequence[Shipment]) -> Sent:
    return Sent(
        found[0].payload,
        middle([one.pack for one in found]),
        middle([one.take for one in found]),
        found[0].whole,
    )


def _run_module(*words: str) -> None:
    subprocess.run([sys.executable, "-m", *words], check=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
