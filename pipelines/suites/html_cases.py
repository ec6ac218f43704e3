"""The report's cases: lost and won ones with both versions' words side by side, then all of them to unfold."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.suites.html_parts import Markup, joined, rows, tag

Body = Mapping[str, Any]
MAX_OPEN = 200  # lost or won cases with transcripts; the list by name is always whole
MAX_TOLD = 500  # cases with transcripts in the list of all cases
_ROLES = ("system", "developer", "user", "assistant", "tool")
_GROUPS = (
    ("without-result", "Without a whole result"),
    ("failed", "Not right"),
    ("passed", "Right every time"),
)


def changed_cases(body: Body) -> Markup:
    """Return the cases that differ from the pinned version, with transcripts; nothing where nothing was compared."""
    if body.get("comparison", {}).get("state") != "measured":
        return joined()
    held = {case["id"]: case for case in body["cases"]}
    lost, won = ([held[name] for name in body[key]] for key in ("lost", "won"))
    return tag(
        "section",
        tag("h2", "Against the pinned version"),
        tag(
            "p",
            f"{len(lost)} lost, {len(won)} won, {len(held) - len(lost) - len(won)} as before.",
        ),
        *_changed("Lost: the pinned version gets it right", lost, body),
        *_changed("Won: only this version gets it right", won, body),
    )


def _changed(title: str, cases: Sequence[Body], body: Body) -> list[Markup]:
    if not cases:
        return []
    more = len(cases) - MAX_OPEN
    return [
        tag("h3", f"{title} ({len(cases)})"),
        *(_case(case, body, opened=number == 0) for number, case in enumerate(cases[:MAX_OPEN])),
        *([tag("p", f"and {', '.join(case['id'] for case in cases[MAX_OPEN:])}")] if more > 0 else []),
    ]


def case_groups(body: Body) -> Markup:
    """Return every case, by outcome; a group unfolds, and in it each case with what was said."""
    parts, told = [], 0
    for outcome, title in _GROUPS:
        cases = [case for case in body["cases"] if case["outcome"] == outcome]
        if not cases:
            continue
        shown = []
        for case in cases:
            told += 1
            shown.append(_case(case, body) if told <= MAX_TOLD else _line(case))
        parts.append(
            tag(
                "details",
                tag("summary", title, tag("span", f"{len(cases)} cases", class_="right")),
                tag("div", rows(*shown), class_="inside"),
                class_="group",
            )
        )
    return tag("section", tag("h2", f"All {len(body['cases'])} cases"), *parts)


def _line(case: Body) -> Markup:
    return tag("p", _badge(case), " ", case["id"], tag("span", f" {case['cluster']}", class_="faint"))


def _badge(case: Body) -> Markup:
    word = {"passed": "right", "failed": "wrong"}.get(case["outcome"], "no result")
    return tag("span", word, class_=f"badge {case['outcome']}")


def _case(case: Body, body: Body, *, opened: bool = False) -> Markup:
    spent = sum(attempt["milliseconds"] for attempt in case["attempts"])
    aside = tag("span", "set aside", class_="badge aside") if case.get("quarantined") else None
    beside = case.get("pinned")
    summary = tag(
        "summary",
        _badge(case),
        " ",
        case["id"],
        " ",
        aside,
        tag("span", f"{case['cluster']} · {spent} ms", class_="right"),
    )
    inside = [_side("this version", "side-own", case["attempts"])]
    if beside:
        version = body["baseline"]["version"]
        inside.append(
            _side(f"pinned: {version['model']}@{version['ordinal']}", "side-pinned", beside["attempts"])
        )
    return tag(
        "details",
        summary,
        tag("div", tag("div", *inside, class_="sides") if beside else inside[0], class_="inside"),
        open="" if opened else None,
    )


def _side(title: str, class_: str, attempts: Sequence[Body]) -> Markup:
    """One version's attempts. Equal ones are shown once, with how often."""
    seen: list[tuple[Markup, list[int]]] = []
    for number, attempt in enumerate(attempts, start=1):
        words = _attempt(attempt)
        same = next((numbers for held, numbers in seen if held == words), None)
        if same is None:
            seen.append((words, [number]))
        else:
            same.append(number)
    several = len(attempts) > 1
    return tag(
        "div",
        tag("h3", title),
        *(
            joined(
                tag("p", f"{len(numbers)} of {len(attempts)} times", class_="faint") if several else None,
                words,
            )
            for words, numbers in seen
        ),
        None if attempts else tag("p", "no answer was recorded", class_="note"),
        class_=class_,
    )


def _attempt(attempt: Body) -> Markup:
    how = attempt.get("surface", "chat") + (", streamed" if attempt.get("stream") else "")
    wrong = [tag("div", reason, class_="said wrong") for reason in attempt["reasons"]]
    return joined(tag("p", how, class_="faint"), *_said(attempt), *wrong)


def _said(attempt: Body) -> list[Markup]:
    messages = attempt.get("messages")
    if messages:
        return [_message(message) for message in messages]
    content = [tag("div", tag("b", "assistant "), attempt["content"], class_="said assistant")]
    calls = [
        tag("div", tag("b", "calls "), call, class_="said assistant") for call in attempt.get("calls", [])
    ]
    return [*(content if attempt["content"] else []), *calls] or [
        tag("p", "the answer has neither words nor calls", class_="note")
    ]


def _message(text: str) -> Markup:
    who, colon, words = text.partition(": ")  # "user", "assistant", "assistant calls"
    role = who.split(" ")[0]
    if not colon or role not in _ROLES:
        return tag("div", text, class_="said assistant")
    return tag("div", tag("b", f"{who} "), words, class_=f"said {role}")
