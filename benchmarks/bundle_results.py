"""What one run found out, as values; and the bars that they are held against. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks import bundle_cases
from benchmarks.bundle_cases import Case
from benchmarks.measure import Cost

FAST, COMPACT = "ours", "ours, compact"
BITX = "BitX-style XOR delta"
NO_ANSWER, FAILED, NOT_THERE = "no answer", "failed", "not in this build"
RAW = "raw"
_GIGA = 1e9


@dataclass(frozen=True)
class Sent:
    """One shipment by one tool; of several rounds, the costs are the medians."""

    size: int  # bytes shipped; ours: chunks and their table
    encode: Cost
    decode: Cost
    whole: int | None = None  # bytes of our whole bundle


@dataclass(frozen=True)
class Row:
    """One case by every tool. A tool that has no figure has a word: why."""

    case: str
    raw: int  # bytes of the folder
    sent: Mapping[str, Sent | str]

    def share(self, tool: str) -> float | None:
        """Shipped bytes over the folder's."""
        found = self.sent.get(tool)
        return found.size / self.raw if isinstance(found, Sent) else None

    def rate(self, tool: str, what: str, *, start: float = 0) -> float | None:
        """Bytes of the folder per second of wall time, for `encode` or `decode`, GB/s.

        Args:
            start: seconds of a process's start and end that are not counted.
        """
        found = self.sent.get(tool)
        if not isinstance(found, Sent):
            return None
        cost: Cost = getattr(found, what)
        return self.raw / max(cost.wall - start, 1e-3) / _GIGA


@dataclass(frozen=True)
class CodecRow:
    """One codec on one folder's tensors, one core. Seconds are of CPU."""

    data: str
    codec: str
    raw: int  # bytes
    stored: int  # bytes
    encode: float
    decode: float
    checked: float | None  # encode and decode again, as we do
    encodings: Mapping[str, int]

    def rate(self, what: str) -> float | None:
        """GB of tensor per second of CPU."""
        seconds: float | None = getattr(self, what)
        return self.raw / seconds / _GIGA if seconds else None


@dataclass(frozen=True)
class Ceiling:
    """A raw import beside what the machine allows: wall seconds of each round."""

    imports: Sequence[float]
    hashing: Sequence[float]  # SHA-256 on all cores, the faster of two programs
    disks: Mapping[str, Sequence[float]]  # a way to write the same bytes

    def share(self, disk: str) -> float:
        """Import's speed over the slower of disk and hashing, median of the rounds."""
        rounds = zip(self.imports, self.hashing, self.disks[disk], strict=True)
        return median(max(hashing, wrote) / took for took, hashing, wrote in rounds)


@dataclass(frozen=True)
class ParityCost:
    """An export with so many parity volumes beside the same export without."""

    parity: int
    time: float  # wall, as a factor of the time without
    size: float  # bytes, the same


@dataclass
class Results:
    """Everything of one run; it grows while the run lasts."""

    command: str
    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]  # of every tool, "not installed" too
    rows: list[Row] = field(default_factory=list)  # real weights
    rates: list[Row] = field(default_factory=list)  # synthetic weights: rates and memory
    codecs: list[CodecRow] = field(default_factory=list)
    start: Row | None = None  # a model of next to nothing: what the commands cost without weights
    raw: Row | None = None  # bytes that nothing can compress
    ceiling: Ceiling | None = None
    parity: list[ParityCost] = field(default_factory=list)
    scaling: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was not measured, and why
    load: list[float] = field(default_factory=list)  # processes running, 1-minute average, at each part

    def row(self, case: Case) -> Row | None:
        """The row of a case."""
        return next((row for row in self.rows if row.case == case.name), None)

    def document(self) -> dict[str, object]:
        """The same for programs: bytes and seconds."""
        return asdict(self)


@dataclass(frozen=True)
class Bar:
    """One aim and what was found. `found` None: not measured in this run."""

    aim: str
    limit: float
    found: float | None
    at_most: bool = True
    unit: str = ""

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        met = self.found <= self.limit if self.at_most else self.found >= self.limit
        return "met" if met else "**missed**"

    @property
    def text(self) -> str:
        return "" if self.found is None else f"{_number(self.found)}{self.unit}"


def _number(value: float) -> str:
    return f"{value:.4g}" if value < 100 else f"{value:.0f}"


def bars(results: Results) -> list[Bar]:
    """Hold the results against the aims."""
    return [
        *_first(results),
        *_tuned(results),
        *_small(results),
        *_commands(results),
        *_scale(results),
    ]


def _share(results: Results, case: Case, tool: str) -> float | None:
    row = results.row(case)
    return None if row is None else row.share(tool)


def _core(results: Results, case: Case, codec: str, what: str) -> float | None:
    found = next((row for row in results.codecs if (row.data, row.codec) == (case.name, codec)), None)
    return None if found is None else found.rate(what)


def _first(results: Results) -> Iterator[Bar]:
    bf16 = bundle_cases.FIRST[1]
    yield Bar("first shipment, bf16: at most 0.67 of raw", 0.67, _share(results, bf16, FAST))
    encode, decode = (_core(results, bf16, FAST, what) for what in ("encode", "decode"))
    checked = _core(results, bf16, FAST, "checked")
    yield Bar("… encode at least 1.2 GB/s per core, coding alone", 1.2, encode, False, " GB/s")
    yield Bar("… encode at least 1.2 GB/s per core, decoded again and compared", 1.2, checked, False, " GB/s")
    yield Bar("… decode at least 2.5 GB/s per core", 2.5, decode, False, " GB/s")


def _tuned(results: Results) -> Iterator[Bar]:
    full = bundle_cases.FULL
    fast, compact = (_share(results, full, tool) for tool in (FAST, COMPACT))
    bitx = _share(results, full, BITX)
    yield Bar("full fine-tune, compact: at most 0.11 of the file", 0.11, compact)
    yield Bar("… at most 2/3 of a BitX-style delta of the same pair", 2 / 3, _over(compact, bitx))
    yield Bar("full fine-tune, fast: at most 0.14 of the file", 0.14, fast)
    encode, decode = (_core(results, full, FAST, what) for what in ("encode", "decode"))
    checked = _core(results, full, FAST, "checked")
    yield Bar("… encode at least 0.8 GB/s per core, coding alone", 0.8, encode, False, " GB/s")
    yield Bar("… encode at least 0.8 GB/s per core, decoded again and compared", 0.8, checked, False, " GB/s")
    yield Bar("… decode at least 1.6 GB/s per core", 1.6, decode, False, " GB/s")
    row = results.row(full)
    for tool in ("restic", "borg", "casync"):
        shares = [] if row is None else [row.share(name) for name in row.sent if name.startswith(tool)]
        best = min((share for share in shares if share is not None), default=None)
        yield Bar(
            f"… fast, at least 5 times smaller than {tool} at its best", 5, _over(best, fast), False, " times"
        )


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _small(results: Results) -> Iterator[Bar]:
    for case, tool, limit in (
        (bundle_cases.LAST, COMPACT, 0.03),
        (bundle_cases.LORA, COMPACT, 0.12),
        (bundle_cases.CHECKPOINT, COMPACT, 0.02),
        (bundle_cases.SHARDED, FAST, 0.0005),
        (bundle_cases.RENAMED, FAST, 0.0005),
        (bundle_cases.CONFIG, FAST, 0.0005),
        (bundle_cases.Q4_K, FAST, 0.10),
    ):
        mode = "compact" if tool == COMPACT else "fast"
        yield Bar(f"{case.name}, {mode}: at most {limit:g} of the file", limit, _share(results, case, tool))


def _commands(results: Results) -> Iterator[Bar]:
    for row in results.rates:
        for what, aim, limit in (
            ("decode", "verified import at least 1.0 GB/s", 1.0),
            ("encode", "export at least 0.8 GB/s", 0.8),
        ):
            yield Bar(f"{row.case}: {aim}", limit, row.rate(FAST, what), False, " GB/s")
            rate = row.rate(FAST, what, start=_start(results, what))
            yield Bar("… without what the command takes for a model of 1 MiB", limit, rate, False, " GB/s")
    disks = results.ceiling.disks if results.ceiling else ("write + fsync", "write early + fsync")
    for disk in disks:
        share = results.ceiling.share(disk) if results.ceiling else None
        yield Bar(f"raw import at least 0.9 of min({disk}, SHA-256 on all cores)", 0.9, share, False)
    for parity in (1, 2):
        cost = next((one.time for one in results.parity if one.parity == parity), None)
        yield Bar(f"`--parity {parity}`: export takes at most 1.25 times as long", 1.25, cost)


def _start(results: Results, what: str) -> float:
    """Wall seconds of a command that has no weights to move."""
    return 0.0 if results.start is None else _seconds(results.start, what)


def _scale(results: Results) -> Iterator[Bar]:
    for row in (*results.scaling, *results.rates):
        yield Bar(f"at most 256 MiB resident: {row.case}", 256, _peak(row), unit=" MiB")
    yield Bar("time per byte, largest over smallest: at most 1.15 (linear is 1)", 1.15, _linear(results))
    share = None if results.raw is None else results.raw.share(FAST)
    growth = None if share is None else max(0.0, share - 1) * 100
    yield Bar("random bytes grow by at most 0.002 %", 0.002, growth, unit=" %")


def _linear(results: Results) -> float | None:
    """How much longer a byte of the largest model takes than one of the smallest, the commands' start left out."""
    if len(results.scaling) < 2:
        return None
    small, large = results.scaling[0], results.scaling[-1]
    slower = []
    for what in ("encode", "decode"):
        one, other = (row.rate(FAST, what, start=_start(results, what)) for row in (small, large))
        slower.append(_over(one, other) or 0)
    return max(slower)


def _seconds(row: Row, what: str) -> float:
    found = row.sent[FAST]
    assert isinstance(found, Sent)
    cost: Cost = getattr(found, what)
    return cost.wall


def _peak(row: Row) -> float | None:
    """Of our commands, in any mode, MiB."""
    sent = [one for name, one in row.sent.items() if name in (FAST, COMPACT) and isinstance(one, Sent)]
    return max((max(one.encode.peak, one.decode.peak) for one in sent), default=0) / (1 << 20) or None


def middle(costs: Sequence[Cost]) -> Cost:
    """The medians of some runs; of memory, the most."""
    return Cost(
        median(cost.wall for cost in costs),
        median(cost.cpu for cost in costs),
        max(cost.peak for cost in costs),
    )
