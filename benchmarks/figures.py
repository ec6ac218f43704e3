"""Costs become figures: medians, ratios within one round, and the table that a person reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks import journey, peers
from benchmarks.measure import Cost

OURS = (journey.ADD, journey.CREATE, journey.IMPORT)
PEERS = (peers.SHA256SUM, peers.SHA256SUM_ALL, peers.HASHLIB_ALL, peers.COPY, peers.WRITE, peers.WRITE_BEHIND)
DISKS = (peers.WRITE, peers.WRITE_BEHIND)
Round = Mapping[str, Cost]


@dataclass(frozen=True)
class Figures:
    """Everything that one run found out."""

    machine: Mapping[str, str]
    size: int  # bytes of the model
    cache: str  # "warm" or "cold": were the bytes to read in the page cache
    rounds: Sequence[Round]
    help_cpu: float  # seconds, median
    distributions: int | None = None  # None: not looked at
    installed: int | None = None  # bytes
    load: Sequence[float] = field(default=())  # running processes before each round, 1-minute average

    def median(self, name: str, what: str) -> float:
        """The median over the rounds of `wall`, `cpu` or `peak`."""
        values: list[float] = [getattr(costs[name], what) for costs in self.rounds]
        return median(values)

    def ratio(self, ours: str, peer: str) -> float:
        """How fast compared with the peer in the same round, as a median: 1 is as fast, 0.5 takes twice as long."""
        return median(costs[peer].wall / costs[ours].wall for costs in self.rounds)

    def of_what_is_allowed(self, disk: str) -> list[float]:
        """Import's speed over that of the slower of disk and hashing on all cores, for each round.

        Args:
            disk: the peer that stands for the disk. Of the two peers that hash on all cores, the faster counts.
        """
        return [_share(disk, {name: cost.wall for name, cost in costs.items()}) for costs in self.rounds]

    def fastest_of_what_is_allowed(self, disk: str) -> float:
        """The same from the fastest run of each in any round: what else the machine does only ever adds time.

        Where the rounds differ much, this is the figure to believe.
        """
        names = (*PEERS, journey.IMPORT)
        return _share(disk, {name: min(costs[name].wall for costs in self.rounds) for name in names})

    def import_peak(self) -> int:
        """The most memory of any import, bytes."""
        return max(costs[journey.IMPORT].peak for costs in self.rounds)

    def document(self) -> dict[str, object]:
        """The same for programs: seconds and bytes."""
        return {
            "machine": dict(self.machine),
            "size": self.size,
            "cache": self.cache,
            "load": list(self.load),
            "rounds": [{name: vars(cost) for name, cost in costs.items()} for costs in self.rounds],
            "ratios": {ours: {peer: self.ratio(ours, peer) for peer in PEERS} for ours in OURS},
            "import_of_what_is_allowed": {
                disk: {
                    "rounds": self.of_what_is_allowed(disk),
                    "fastest": self.fastest_of_what_is_allowed(disk),
                }
                for disk in DISKS
            },
            "help_cpu": self.help_cpu,
            "distributions": self.distributions,
            "installed": self.installed,
        }

    def text(self) -> str:
        """For people."""
        speeds = [self._speed(name) for name in (*PEERS, *OURS)]
        lines = [
            f"Model of {self.size / (1 << 30):.2f} GiB; {self.cache} page cache; medians of {len(self.rounds)} rounds.",
            "; ".join(f"{name} {value}" for name, value in self.machine.items()),
            f"Processes running before each round (1-minute load): {', '.join(f'{load:.1f}' for load in self.load)}",
            "",
            *_table(("", "fastest s", "median s", "MiB/s", "CPU s", "peak MiB"), speeds),
            "",
            "Speed as a ratio to each peer in the same round (1.00 is as fast, above is faster):",
            *_table(("", *PEERS), [(o, *(f"{self.ratio(o, p):.2f}" for p in PEERS)) for o in OURS]),
            "",
            "bundles import / min(disk, sha256 on all cores)  (aim: at least 0.70):",
            *(self._allowed(disk) for disk in DISKS),
            f"bundles import, peak memory: {self.import_peak() / (1 << 20):.0f} MiB  (aim: under 256)",
            f"tidegate --help: {self.help_cpu * 1000:.0f} ms of CPU  (aim: under 200)",
        ]
        if self.distributions is not None and self.installed is not None:
            lines.append(
                f"Base install: {self.distributions} distributions and Tidegate itself,"
                f" {self.installed / 1e6:.0f} MB  (aim: under 35)"
            )
        return "\n".join(lines)

    def _allowed(self, disk: str) -> str:
        shares = self.of_what_is_allowed(disk)
        rounds = ", ".join(f"{share:.2f}" for share in shares)
        fastest = self.fastest_of_what_is_allowed(disk)
        return f"  disk as {disk}: {fastest:.2f} fastest runs, {median(shares):.2f} median (rounds: {rounds})"

    def _speed(self, name: str) -> tuple[str, ...]:
        wall = self.median(name, "wall")
        fastest = min(costs[name].wall for costs in self.rounds)
        numbers = (wall, self.size / wall / (1 << 20), self.median(name, "cpu"))
        peak = f"{self.median(name, 'peak') / (1 << 20):.0f}" if name in OURS else ""
        return (name, f"{fastest:.2f}", f"{numbers[0]:.2f}", f"{numbers[1]:.0f}", f"{numbers[2]:.2f}", peak)


def _share(disk: str, wall: Mapping[str, float]) -> float:
    hashing = min(wall[peers.SHA256SUM_ALL], wall[peers.HASHLIB_ALL])
    return max(wall[disk], hashing) / wall[journey.IMPORT]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
