"""What a suite demands of a run as a whole: the gates of suite.toml, read strictly and held apart from their judging.

Two kinds. A share gate counts cases that were right; a speed gate looks at a figure over all requests. Either
may also compare with the version that the tier serves now (`vs = "pinned"`), measured beside it in the same run.

    cases.pass_rate  = { min = "0.80", interval = "wilson95", vs = "pinned", margin = "0.05", lost_cases_max = 5 }
    perf.ttft_p95_ms = { max = 1500, vs = "pinned", max_ratio = "1.25" }

Apart from `format.py`, which reads the rest of a suite, because a gate is judged without the suite's texts.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pipelines.suites.cases import exactly, whole
from pipelines.suites.refusals import SuiteMalformed

CASES_PASSED = "cases.pass_rate"
CALLS_PARSED = "contract.parse_rate"
ARGS_VALID = "contract.args_valid_rate"
CLUSTER, SURFACE, PERF = "cluster.", "surface.", "perf."
SURFACES = ("chat", "responses")
# Whether more is better: a rate has a floor, a time has a ceiling.
SPEEDS: Mapping[str, bool] = {
    "perf.ttft_p50_ms": False,
    "perf.ttft_p95_ms": False,
    "perf.seconds_p95": False,
    "perf.out_tok_s_p50": True,
}
METRICS = (
    CASES_PASSED,
    CALLS_PARSED,
    ARGS_VALID,
    *(f"{SURFACE}{name}" for name in SURFACES),
    *SPEEDS,
)
MAX_LOST = 10_000  # as many as a suite can have cases

_SHARE = re.compile(r"1(\.0{1,4})?|0\.\d{1,4}")
_DECIMAL = re.compile(r"\d{1,6}(\.\d{1,3})?")
_CLUSTER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True)
class ShareGate:
    """The share of what `metric` counts that has to be right, at least.

    `interval`: the lower end of the Wilson interval (95 %) has to reach it, not the share alone.
    `margin`: the share may be behind the pinned version's by less than this, proven on paired cases.
    `lost_cases_max`: so many cases that the pinned version gets right may go wrong.
    """

    metric: str
    least: Fraction
    written: str  # as the author wrote the share
    interval: bool = False
    margin: Fraction | None = None
    lost_cases_max: int | None = None

    @property
    def compares(self) -> bool:
        """Whether it needs the pinned version's answers."""
        return self.margin is not None or self.lost_cases_max is not None

    @property
    def judges_cases(self) -> bool:
        """Whether a case's failure counts against it, whatever kind of failure: every case needs such a gate."""
        return self.metric not in (CALLS_PARSED, ARGS_VALID)


@dataclass(frozen=True)
class SpeedGate:
    """A bound on a figure: a ceiling for times, a floor for rates; `ratio` is to the pinned version's figure."""

    metric: str
    bound: Fraction | None  # in the unit that the metric's name says
    ratio: Fraction | None

    @property
    def more_is_better(self) -> bool:
        """A rate, not a time."""
        return SPEEDS[self.metric]

    @property
    def compares(self) -> bool:
        """Whether it needs the pinned version's figures."""
        return self.ratio is not None

    @property
    def judges_cases(self) -> bool:
        """Never: a quick wrong answer is wrong."""
        return False

    @property
    def written(self) -> str:
        """The demand in a few words."""
        side = "at least" if self.more_is_better else "at most"
        parts = [] if self.bound is None else [f"{side} {shown(self.bound)}"]
        if self.ratio is not None:
            parts.append(f"{side} {shown(self.ratio)} times the pinned version's")
        return ", ".join(parts)


Gate = ShareGate | SpeedGate


def shown(number: Fraction) -> str:
    """Return a decimal without needless zeros: three places at most."""
    text = f"{float(number):.3f}".rstrip("0").rstrip(".")
    return text or "0"


def read_gates(raw: Any, *, at: str) -> tuple[Gate, ...]:
    """Decode the table `gates`. Raises `SuiteMalformed`, naming the gate's field."""
    if not isinstance(raw, dict) or not raw:
        raise SuiteMalformed("without a gate no run could fail", at=at)
    return tuple(_gates(raw, at=at))


def _gates(raw: Mapping[str, Any], *, at: str) -> Iterator[Gate]:
    for family, metrics in raw.items():
        if not isinstance(metrics, dict) or not metrics:
            raise SuiteMalformed('a gate is written family.metric = { min = "1.0" }', at=f"{at}.{family}")
        for name, rule in metrics.items():
            metric, place = f"{family}.{name}", f"{at}.{family}.{name}"
            if metric in SPEEDS:
                yield _speed(metric, rule, at=place)
            elif metric in METRICS or (family == "cluster" and _CLUSTER_NAME.fullmatch(name)):
                yield _share_gate(metric, rule, at=place)
            else:
                raise SuiteMalformed(f"known are {', '.join(METRICS)} and cluster.NAME", at=place)


def _share_gate(metric: str, rule: Any, *, at: str) -> ShareGate:
    item = exactly(rule, {"min"}, {"interval", "vs", "margin", "lost_cases_max"}, at=at)
    least = _share(item["min"], at=f"{at}.min")
    if metric in (CALLS_PARSED, ARGS_VALID) and (least != 1 or len(item) > 1):
        raise SuiteMalformed('a contract is kept or not: only "1.0" may stand here', at=f"{at}.min")
    if item.get("interval", "wilson95") != "wilson95":
        raise SuiteMalformed("only 'wilson95' is known", at=f"{at}.interval")
    if "interval" in item and least == 1:
        raise SuiteMalformed("no number of cases brings the interval's lower end to 1", at=f"{at}.interval")
    _pinned(item, ("margin", "lost_cases_max"), at=at)
    lost = item.get("lost_cases_max")
    return ShareGate(
        metric,
        least,
        item["min"],
        interval="interval" in item,
        margin=_share(item["margin"], at=f"{at}.margin") if "margin" in item else None,
        lost_cases_max=None if lost is None else whole(lost, 0, MAX_LOST, at=f"{at}.lost_cases_max"),
    )


def _speed(metric: str, rule: Any, *, at: str) -> SpeedGate:
    side = "min" if SPEEDS[metric] else "max"
    item = exactly(rule, set(), {side, "vs", f"{side}_ratio"}, at=at)
    _pinned(item, (f"{side}_ratio",), at=at)
    if not item:
        raise SuiteMalformed(f"demands nothing: give {side}, or {side}_ratio with vs", at=at)
    bound, ratio = item.get(side), item.get(f"{side}_ratio")
    return SpeedGate(
        metric,
        None if bound is None else _decimal(bound, at=f"{at}.{side}"),
        None if ratio is None else _decimal(ratio, at=f"{at}.{side}_ratio"),
    )


def _pinned(item: Mapping[str, Any], comparing: tuple[str, ...], *, at: str) -> None:
    """A comparison says with what, and `vs` says how."""
    given = [name for name in comparing if name in item]
    if "vs" in item and item["vs"] != "pinned":
        raise SuiteMalformed("only 'pinned' is known", at=f"{at}.vs")
    if given and "vs" not in item:
        raise SuiteMalformed('compares, so vs = "pinned" has to stand beside it', at=f"{at}.{given[0]}")
    if "vs" in item and not given:
        raise SuiteMalformed(f"compares nothing: give {' or '.join(comparing)}", at=f"{at}.vs")


def _share(value: Any, *, at: str) -> Fraction:
    if not isinstance(value, str) or not _SHARE.fullmatch(value):
        raise SuiteMalformed('a share between quotes, from "0.0001" to "1.0"', at=at)
    if Fraction(value) == 0:
        raise SuiteMalformed("demands nothing", at=at)
    return Fraction(value)


def _decimal(value: Any, *, at: str) -> Fraction:
    if type(value) is int and 0 < value < 10**6:
        return Fraction(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value) and Fraction(value) > 0:
        return Fraction(value)
    raise SuiteMalformed('a whole number, or a decimal between quotes such as "1.25"; more than 0', at=at)
