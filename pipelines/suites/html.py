"""A report as one HTML page that a steward reads: the verdict first, then why, then everything that it stands on.

One file: no script, no request, no font from elsewhere; its policy forbids all of that, and names the digest of
the only style. Made of the report's body alone, so that the page of an old report can be made again.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.suites import html_charts as charts
from pipelines.suites.html_cases import case_groups, changed_cases
from pipelines.suites.html_parts import Markup, joined, rows, table, tag
from pipelines.suites.html_style import STYLE
from pipelines.suites.statistics import wilson

Body = Mapping[str, Any]
_SAID = {
    "PASSED": "Every gate held.",
    "FAILED": "This version does not pass.",
    "INCONCLUSIVE": "Nothing is decided; this blocks like a failure.",
}


def page(body: Body, digest: str) -> str:
    """Return the whole page.

    Args:
        body: a validation report's, also one that was made before the fields for tiers and baselines.
        digest: the report's, shown so that the page can be held against the registry.
    """
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    title = f"{body['suite']['name']} on {_ref(body['version'])}: {body['outcome']}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    parts = (
        _verdict(body, digest),
        _gates(body),
        changed_cases(body),
        _clusters(body),
        _times(body),
        _doubtful(body),
        case_groups(body),
        _measured(body, digest),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', rows(*parts)), lang='en')}\n"


def _ref(version: Body) -> str:
    return f"{version['model']}@{version['ordinal']}"


def _pinned(body: Body) -> str | None:
    """The pinned version's name, if it was measured."""
    measured = body.get("comparison", {}).get("state") == "measured"
    return _ref(body["baseline"]["version"]) if measured and body.get("baseline") else None


def _verdict(body: Body, digest: str) -> Markup:
    outcome, counts = body["outcome"], body["counts"]
    facts = [
        ("cases right", f"{counts['passed']} of {len(body['cases'])}"),
        ("tier", body.get("tier") or "none"),
        ("compared with", _pinned(body) or "nothing"),
        ("files served", body["identity"]["state"]),
        ("made", f"{body['started']} by {body['made_by']}"),
        ("took", f"{body['milliseconds'] / 1000:.1f} s"),
        ("report", digest[:12]),
    ]
    return tag(
        "header",
        tag(
            "h1",
            tag("span", outcome, class_="word"),
            f" — {body['suite']['name']} on {_ref(body['version'])}",
        ),
        tag("p", _SAID.get(outcome, "")),
        tag("ul", *(tag("li", reason) for reason in body["reasons"]), class_="why")
        if body["reasons"]
        else None,
        tag("div", *(tag("span", f"{name} ", tag("b", value)) for name, value in facts), class_="facts"),
        class_=f"verdict {outcome}",
    )


# -- gates ----------------------------------------------------------------------------------------------


def _gates(body: Body) -> Markup:
    pinned = _pinned(body)
    return tag(
        "section",
        tag("h2", "Gates"),
        _legend(pinned),
        *(_gate(gate, pinned) for gate in body["gates"]),
        None if pinned else tag("p", body.get("comparison", {}).get("why"), class_="note"),
    )


def _legend(pinned: str | None) -> Markup:
    def mark(*shapes: Markup) -> Markup:
        return tag("svg", *shapes, viewBox="0 0 22 12", width=22, height=12)

    dot = mark(
        tag("rect", x=0, y=3, width=22, height=6, rx=3, class_="interval"),
        tag("circle", cx=11, cy=6, r=4, class_="own"),
    )
    ring = mark(tag("circle", cx=11, cy=6, r=5, class_="pinned"))
    limit = mark(tag("line", x1=11, x2=11, y1=0, y2=12, class_="limit"))
    return tag(
        "div",
        tag("span", dot, "this version, with the interval of 95 %"),
        tag("span", ring, f"pinned: {pinned}") if pinned else None,
        tag("span", limit, "what is demanded"),
        class_="legend",
    )


def _gate(gate: Body, pinned: str | None) -> Markup:
    outcome = gate.get("outcome", "HELD" if gate["held"] else "FAILED")
    why = gate.get("why") or [f"{gate['good']} of {gate['counted']} cases"]
    words = tag(
        "div",
        tag("span", gate["metric"], class_="name"),
        tag("span", outcome, class_=f"badge {outcome}"),
        tag("p", f"demanded: {gate.get('demanded', gate.get('least', ''))}", class_="faint"),
        *(tag("p", one) for one in why),
        tag("p", gate["note"], class_="note") if gate.get("note") else None,
    )
    return tag("div", words, tag("div", *_drawings(gate, pinned)), class_=f"gate {outcome}")


def _drawings(gate: Body, pinned: str | None) -> list[Markup]:
    if gate.get("interval"):
        return [_share(gate, pinned), *_difference(gate)]
    if gate.get("figure") is None:
        return []
    value = float(gate["figure"])
    other = None if gate.get("pinned_figure") is None else float(gate["pinned_figure"])
    title = f"{gate['metric']}: {value:g}" + ("" if other is None else f", pinned {other:g}")
    return [charts.figure(value, bound=_number(gate.get("bound")), pinned=other, title=title)]


def _share(gate: Body, pinned: str | None) -> Markup:
    ends = {name: float(value) for name, value in gate["interval"].items()}
    against = gate.get("pinned")
    other = against["good"] / against["counted"] if against and against["counted"] else None
    title = f"{gate['good']} of {gate['counted']}, interval {ends['low']:.2f} to {ends['high']:.2f}"
    if other is not None:
        title += f"; {pinned}: {other:.2f}"
    return charts.share(
        ends["low"],
        ends["estimate"],
        ends["high"],
        least=float(gate["least"]),
        pinned=other,
        title=title,
    )


def _difference(gate: Body) -> list[Markup]:
    against = gate.get("pinned")
    if not against or not against["counted"] or gate.get("margin") is None:
        return []
    ends = {name: float(value) for name, value in against["difference"].items()}
    title = (
        f"difference to the pinned version {ends['estimate']:+.3f}, interval {ends['low']:+.3f} to "
        f"{ends['high']:+.3f}"
    )
    said = (
        f"{len(against['lost'])} lost, {len(against['won'])} won of {against['counted']}; "
        f"McNemar {_p_value(float(against['p_value']))}"
    )
    drawn = charts.difference(
        ends["low"], ends["estimate"], ends["high"], margin=_number(gate.get("margin")), title=title
    )
    return [drawn, tag("p", said, class_="faint")]


def _p_value(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


# -- scores and times -----------------------------------------------------------------------------------


def _clusters(body: Body) -> Markup:
    names = sorted({case["cluster"] for case in body["cases"]})
    pinned = _pinned(body)
    headings = ("cluster", "right", *(("pinned",) if pinned else ()), "share with its interval")
    lines = [
        _cluster(name, [case for case in body["cases"] if case["cluster"] == name], pinned) for name in names
    ]
    return tag("section", tag("h2", "Scores by cluster"), table(headings, lines))


def _cluster(name: str, cases: Sequence[Body], pinned: str | None) -> Markup:
    good = sum(case["outcome"] == "passed" for case in cases)
    other = sum(case.get("pinned", {}).get("outcome") == "passed" for case in cases)
    found = wilson(good, len(cases))
    drawn = charts.share(
        found.low,
        found.estimate,
        found.high,
        least=None,
        pinned=other / len(cases) if pinned else None,
        title=f"{name}: {good} of {len(cases)}",
    )
    return tag(
        "tr",
        tag("td", name),
        tag("td", f"{good} of {len(cases)}"),
        tag("td", f"{other} of {len(cases)}") if pinned else None,
        tag("td", drawn),
    )


_CHARTS = (
    ("whole answer", "s", lambda attempt: attempt["milliseconds"] / 1000),
    ("first token", "ms", lambda attempt: attempt.get("ttft_ms")),
    ("tokens of an answer", "tokens", lambda attempt: attempt.get("output_tokens")),
)


def _times(body: Body) -> Markup:
    pinned, drawn = _pinned(body), []
    for name, unit, value in _CHARTS:
        own, other = _values(body, None, value), _values(body, "pinned", value)
        if not own:
            continue
        lines = [("this version", own), *([("pinned", other)] if other else [])]
        said = [f"{whose}: {_middle(values, unit)}" for whose, values in lines]
        drawn.append(
            tag(
                "div",
                tag("h3", name),
                *(tag("p", line, class_="faint") for line in said),
                charts.distribution(own, other, unit=unit, title=f"{name}; {'; '.join(said)}"),
            )
        )
    under = f"Above the line this version, below it {pinned}." if pinned else None
    return tag(
        "section",
        tag("h2", "Times and lengths"),
        tag("p", f"{under} The two took turns, request by request." if under else None, class_="note"),
        tag("div", *drawn, class_="charts") if drawn else tag("p", "nothing was asked", class_="note"),
    )


def _values(body: Body, side: str | None, value: Any) -> list[float]:
    attempts = [
        attempt
        for case in body["cases"]
        for attempt in (case if side is None else case.get(side, {})).get("attempts", [])
        if attempt["outcome"] != "trouble"
    ]
    return [float(found) for attempt in attempts if (found := value(attempt)) is not None]


def _middle(values: Sequence[float], unit: str) -> str:
    held = sorted(values)
    half, most = held[(len(held) - 1) // 2], held[max(0, -(-len(held) * 95 // 100) - 1)]
    return f"half within {half:.4g} {unit}, 95 % within {most:.4g} ({len(held)} answers)"


# -- what is doubtful, and what it all stands on --------------------------------------------------------


def _doubtful(body: Body) -> Markup:
    flips, aside = body.get("flips", []), body.get("quarantined", [])
    if not flips and not aside:
        return joined()
    lines = [
        tag(
            "tr",
            tag("td", flip["case"]),
            tag("td", f"{flip['flipped']} of {flip['asked']} answers, {flip['runs']} runs"),
        )
        for flip in flips
    ]
    decided = [
        tag(
            "tr",
            tag("td", one["case"]),
            tag("td", one["person"]),
            tag("td", one["reason"]),
            tag("td", tag("code", one["decision"][:12])),
        )
        for one in aside
    ]
    return tag(
        "section",
        tag("h2", "Cases to doubt"),
        tag("h3", "The same question, another outcome") if lines else None,
        table(("case", "flipped"), lines) if lines else None,
        tag("h3", "Set aside by decision: shown, and no gate counts them") if decided else None,
        table(("case", "by", "reason", "decision"), decided) if decided else None,
    )


def _measured(body: Body, digest: str) -> Markup:
    engine, node = body.get("engine") or {}, body.get("node")
    told = [
        ("report", digest),
        ("version", f"{_ref(body['version'])} {body['version']['digest']}"),
        *(
            (kind, f"{body[kind]['name']} {body[kind]['digest']}")
            for kind in ("suite", "contract", "profile")
        ),
        ("files served", f"{body['identity']['state']}: {body['identity']['why']}"),
        *(("file", f"{one['path']} {one['sha256']}") for one in body["identity"]["files"]),
        ("engine", f"{engine.get('kind', 'none')} {engine.get('version') or ''}"),
        *_fingerprint("engine", body.get("fingerprint")),
        *_beside(body),
        ("node", node or "unknown"),
        *((name.replace("_", " "), str(value)) for name, value in body["settings"].items()),
    ]
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", tag("code", value))) for name, value in told]
    return tag(
        "section",
        tag("h2", "What was measured"),
        tag("div", tag("table", tag("tbody", rows(*lines))), class_="wide"),
        tag(
            "p",
            "This page is a copy for reading. The signed report is in the registry: ",
            tag("code", f"tidegate suites report {digest[:12]}"),
            class_="note",
        ),
    )


def _fingerprint(whose: str, found: Body | None) -> list[tuple[str, str]]:
    return [
        (f"{whose}: {name.replace('_', ' ')}", " ".join(value) if isinstance(value, list) else str(value))
        for name, value in (found or {}).items()
        if value is not None and name not in ("format", "engine")
    ]


def _beside(body: Body) -> list[tuple[str, str]]:
    baseline = body.get("baseline")
    if not baseline:
        return []
    version = baseline["version"]
    return [
        ("pinned version", f"{_ref(version)} {version['digest']} ({baseline['identity']})"),
        *_fingerprint("pinned engine", baseline["engine"]),
    ]
