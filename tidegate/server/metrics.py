"""`/metrics` for Prometheus: what the doors do, counted as it happens, and what an operator is woken for, looked up.

Whatever the tables know is asked when somebody scrapes, at most every few seconds; so it is also right for what
commands did beside the server. Names and labels: docs/operator/metrics.md. Labels are routes, tiers, models and suites,
never a path, a person or a token.
"""

import shutil
import threading
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from registry.access import Right
from registry.views import View
from signing.times import from_rfc3339
from tidegate.server.guard import needs, router
from tidegate.server.log_watch import LogWatch
from tidegate.server.premises import Premises
from tidegate.server.problems import problem_json

_FRESH = 10.0  # seconds that a look at the tables serves for
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # the moment of each counter's birth doubles the text and tells nobody anything

doors = router(problem_json)


@doors.get("/metrics")
@needs(Right.LOOK)
def metrics(request: Request) -> Response:
    """Everything, in Prometheus' text form."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=_TYPE)


class Metrics:
    """The numbers of one process."""

    def __init__(self, premises: Premises, log: LogWatch) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tidegate_http_requests", "Requests that were answered.", ("route", "method", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "tidegate_http_request_seconds", "From the first byte in to the last byte out.", ("route",),
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._bytes = Counter(
            "tidegate_http_sent_bytes", "Bytes of answers that went through this process.", ("route",),
            registry=self._registry,
        )  # fmt: skip
        self._cut = Counter(
            "tidegate_http_cut", "Answers that did not end: the caller left, or a blob was found damaged.", ("route",),
            registry=self._registry,
        )  # fmt: skip
        self._registry.register(_Tables(premises, log))

    def request(self, line: dict[str, Any]) -> None:
        """Count one request, as the log line says it."""
        route = line["route"]
        method = line["method"] if line["method"] in _METHODS else "other"
        self._requests.labels(route, method, line["status"]).inc()
        self._seconds.labels(route).observe(line["milliseconds"] / 1000)
        self._bytes.labels(route).inc(line["bytes"])
        if line["cut"]:
            self._cut.labels(route).inc()

    def text(self) -> bytes:
        """Prometheus' text form."""
        return bytes(generate_latest(self._registry))


class _Tables(Collector):
    """What the tables say, looked up when somebody scrapes; once for all who scrape at the same time."""

    def __init__(self, premises: Premises, log: LogWatch) -> None:
        self._premises, self._log = premises, log
        self._lock = threading.Lock()
        self._until, self._kept = 0.0, list[Metric]()
        self._events, self._counted = Tally[str](), 0  # by kind, up to a position

    def describe(self) -> Iterable[Metric]:
        return ()  # without it the registry would look everything up at once, at the start

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._kept = list(self._look())
                self._until = time.monotonic() + _FRESH
            return self._kept

    def _look(self) -> Iterator[Metric]:
        premises, now = self._premises, self._premises.clock()
        yield _gauge(
            "tidegate_store_free_bytes", "Free where blobs lie.", shutil.disk_usage(premises.blobs.root).free
        )
        yield from _log(self._log)
        with premises.store.view() as view:
            yield self._count_events(view)
            yield from _pins(view, now)
            yield from _waiting(premises, view)
            yield from _endings(premises, view)
            yield from _drift(view, now)
            if premises.home.is_site:
                yield from _imports(view, now)
        watch = getattr(premises, "watch", None)
        if watch is not None:
            yield from _blobs(watch.counts)

    def _count_events(self, view: View) -> Metric:
        """Only what came since the last look is counted: a log holds millions, and never loses one."""
        head = view.head()
        self._events.update(view.events_by_kind(self._counted))
        self._counted = head.size if head else 0
        events = CounterMetricFamily("tidegate_events", "Events in the log, by kind.", labels=("kind",))
        for kind, count in sorted(self._events.items()):
            events.add_metric((kind,), count)
        return events


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _log(log: LogWatch) -> Iterator[Metric]:
    last = log.last
    yield _gauge(
        "tidegate_log_verified_timestamp_seconds",
        "When the whole log was last found to hold; 0 until it was.",
        last.at.timestamp() if last is not None and last.holds else 0,
    )
    yield _gauge(
        "tidegate_log_holds",
        "1 while the last look at the log found nothing wrong, 0 when it did, -1 before the first look.",
        -1 if last is None else int(last.holds),
    )


def _pins(view: View, now: datetime) -> Iterator[Metric]:
    ages = GaugeMetricFamily(
        "tidegate_pin_age_seconds", "How long the tier has served this version.", labels=("tier", "model")
    )
    numbers = GaugeMetricFamily(
        "tidegate_pin_version", "The number of the version that the tier serves.", labels=("tier", "model")
    )
    for pin in view.pins():
        ages.add_metric((pin.tier, pin.model), (now - from_rfc3339(pin.since)).total_seconds())
        numbers.add_metric((pin.tier, pin.model), pin.ordinal)
    yield from (ages, numbers)


def _waiting(premises: Premises, view: View) -> Iterator[Metric]:
    from pipelines.break_glass import overrides
    from pipelines.open_requests import waiting

    work = premises.app("metrics").work
    pending = GaugeMetricFamily(
        "tidegate_promotions_pending", "Requests that wait for stewards.", labels=("tier",)
    )
    open_ = [item.asked.tier for item in waiting(work, view) if item.open] if premises.home.is_site else []
    for tier in sorted({row.tier for row in view.tiers()} | set(open_)):
        pending.add_metric((tier,), open_.count(tier))
    yield pending
    unreviewed = sum(not item.reviews for item in overrides(work, view))
    yield _gauge("tidegate_break_glass_unreviewed", "Overrides that nobody else has looked at.", unreviewed)


def _endings(premises: Premises, view: View) -> Iterator[Metric]:
    from pipelines.questions.expiring import expiring

    ends = GaugeMetricFamily(
        "tidegate_expiry_seconds",
        "Until the soonest of its kind ends (root, role, person, publisher, …); below 0 it is over.",
        labels=("kind",),
    )
    soonest: dict[str, float] = {}
    now = premises.clock()
    for one in expiring(premises.app("metrics").work, view, days=None):
        left = (from_rfc3339(one.until) - now).total_seconds()
        soonest[one.kind] = min(left, soonest.get(one.kind, left))
    for kind, left in sorted(soonest.items()):
        ends.add_metric((kind,), left)
    yield ends


def _drift(view: View, now: datetime) -> Iterator[Metric]:
    from pipelines.drift import drift

    found = GaugeMetricFamily(
        "tidegate_drifted",
        "Models at nodes that were not seen, lately, to serve what is pinned.",
        labels=("tier", "kind"),
    )
    seen: dict[tuple[str, str], int] = {}
    for one in drift(view.pins(), view.observations(), now=now):
        if not one.ok:
            seen[one.tier, one.kind] = seen.get((one.tier, one.kind), 0) + 1
    for labels, count in sorted(seen.items()):
        found.add_metric(labels, count)
    yield found


def _imports(view: View, now: datetime) -> Iterator[Metric]:
    from pipelines.freshness import State, site_freshness

    state = GaugeMetricFamily("tidegate_freshness", "1 for the state that the site is in.", labels=("state",))
    found = site_freshness(view, now)
    for one in State:
        state.add_metric((str(one),), int(found.state is one))
    yield state
    signed = view.newest_signed_time()
    if signed is not None:
        age = (now - from_rfc3339(signed)).total_seconds()
        yield _gauge("tidegate_bundle_age_seconds", "Since the newest bundle that came in was signed.", age)


def _blobs(counts: Any) -> Iterator[Metric]:
    for name, what, value in (
        (
            "tidegate_blobs_verified",
            "Files read whole and found to be what their name says.",
            counts.verified,
        ),
        (
            "tidegate_blobs_damaged",
            "Files read whole and found damaged; they are not served.",
            counts.damaged,
        ),
        ("tidegate_blobs_scrubbed", "Files that were known to be whole, read again.", counts.scrubbed),
    ):
        yield CounterMetricFamily(name, what, value=value)
