"""How many requests an engine works on, in its own words, and waiting until there are none.

Apart from the drivers because every driver waits in the same way. A count that cannot be had is None, and None is
never zero: the proxy has long been switched, and a stream cut off is a user's answer lost.
Sources: llama.cpp `tools/server/README.md` (`/slots`, `/metrics`); vLLM `docs/usage/metrics.md`; the Prometheus
text format 0.0.4.
"""

import time
from collections.abc import Callable
from typing import Any

from pipelines.engines.endpoint import Endpoint, EngineTrouble
from pipelines.engines.launch import Drained
from signing.canonical import NotCanonical, parse

_SECONDS = 5.0  # for each question
_POLL = 0.2  # seconds
_QUIET = 3  # polls in a row: a request that was just taken on is in no counter for a moment
_MAX_LINES = 200_000


def llama_server(endpoint: Endpoint) -> int | None:
    """Slots at work and requests that wait for one. Both pages need flags, which the driver sets."""
    at_work = _busy_slots(_json(endpoint, "/slots"))
    told = _metrics(endpoint, "llamacpp:requests_processing", "llamacpp:requests_deferred")
    if at_work is None or told is None:
        return None
    processing, deferred = told
    return max(at_work, processing) + deferred


def vllm(endpoint: Endpoint) -> int | None:
    """Requests that run and that wait, over all of the engine's parts."""
    told = _metrics(endpoint, "vllm:num_requests_running", "vllm:num_requests_waiting")
    return None if told is None else sum(told)


def wait_idle(count: Callable[[], int | None], *, seconds: float) -> Drained:
    """Poll until nothing was in flight for several polls in a row, or until the deadline.

    Where the engine does not say, the whole time is waited: what is in flight then had that long to end.
    """
    began = time.monotonic()
    deadline = began + seconds
    quiet = 0
    while True:
        last = count()
        quiet = quiet + 1 if last == 0 else 0
        now = time.monotonic()
        if quiet >= _QUIET:
            return Drained(idle=True, seconds=now - began, why=f"nothing in flight, {_QUIET} times in a row")
        if now >= deadline:
            return Drained(idle=False, seconds=now - began, why=_why_not(last, seconds))
        time.sleep(min(_POLL, deadline - now))


def _why_not(last: int | None, seconds: float) -> str:
    if last is None:
        return f"the engine does not say what it works on; {seconds:g} s were waited and nothing is known"
    return f"{last} requests in flight after {seconds:g} s"


def _metrics(endpoint: Endpoint, *names: str) -> tuple[int, ...] | None:
    """The sum of each metric over its labels, None if one of them is not there."""
    body = _get(endpoint, "/metrics")
    if body is None:
        return None
    sums: dict[str, float] = {}
    for line in body.decode("utf-8", "replace").splitlines()[:_MAX_LINES]:
        name, value = line.split("{", 1)[0].split(" ", 1)[0], line.rpartition(" ")[2]
        if name in names:
            try:
                sums[name] = sums.get(name, 0.0) + float(value)
            except ValueError:
                return None
    try:
        return tuple(max(0, round(sums[name])) for name in names)
    except (KeyError, ValueError, OverflowError):  # not there, or not a finite number
        return None


def _busy_slots(value: Any) -> int | None:
    if not isinstance(value, list) or not value:
        return None
    states = [item.get("is_processing") if isinstance(item, dict) else None for item in value]
    return sum(states) if all(isinstance(state, bool) for state in states) else None  # type: ignore[arg-type]


def _json(endpoint: Endpoint, path: str) -> Any:
    body = _get(endpoint, path)
    try:
        return None if body is None else parse(body, max_bytes=len(body), at=path)
    except NotCanonical:
        return None


def _get(endpoint: Endpoint, path: str) -> bytes | None:
    try:
        answer = endpoint.get(path, seconds=_SECONDS)
    except EngineTrouble:
        return None
    return answer.body if answer.status == 200 else None
