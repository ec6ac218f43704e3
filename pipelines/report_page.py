"""What is known of one model, as one HTML page to print and to file: the verdict first, then everything it stands on.

One file: no script, no request, no font from elsewhere; its policy forbids all of that and names the digest of the only
style. Nothing is folded away: paper cannot be clicked.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator

from pipelines.questions.deciding import Word
from pipelines.questions.proving import Proof
from pipelines.questions.reporting import Line, ModelReport, VersionStory
from pipelines.report_picture import picture
from pipelines.suites.html_parts import Markup, joined, rows, table, tag
from pipelines.suites.html_style import STYLE

PAGE_STYLE = (
    STYLE
    + """
body { max-width: 72rem; }
svg.way { width: 100%; margin: .8rem 0 1rem; }
svg.way .box { fill: var(--field); stroke: var(--line); stroke-width: 1.5; }
svg.way .box.good { stroke: var(--good); }
svg.way .box.bad, svg.way .box.loud { stroke: var(--bad); stroke-width: 3; }
svg.way .box.claimed { stroke-dasharray: 5 4; }
svg.way path { fill: var(--faint); }
svg.way .go { stroke: var(--faint); stroke-width: 1.5; fill: none; }
svg.way text { fill: var(--ink); font: 12.5px system-ui, "Segoe UI", "Noto Sans", sans-serif; }
svg.way text.step { font-weight: 700; font-size: 14px; }
svg.way text.who { fill: var(--faint); }
svg.way text.mark { font-weight: 700; font-size: 10px; letter-spacing: .03em; }
svg.way text.good { fill: var(--good); } svg.way text.bad { fill: var(--bad); }
.VERIFIED { --tone: var(--good); } .NOT-VERIFIED, .glass { --tone: var(--bad); }
table.evidence { table-layout: fixed; }
table.evidence th:nth-child(1) { width: 8.4rem; } table.evidence th:nth-child(3) { width: 17.5rem; }
table.evidence th:nth-child(4) { width: 13rem; } table.evidence th:nth-child(5) { width: 3.6rem; }
table.evidence th:nth-child(5) { text-align: right; }
table.evidence code { font-size: 11.5px; }
td { overflow-wrap: anywhere; }
td.date { white-space: nowrap; overflow-wrap: normal; }
.problem { color: var(--bad); }
.spoken { border-left: 3px solid var(--line); padding: .1rem 0 .1rem .9rem; margin: .8rem 0; }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --faint: #444; --line: #bbb; --field: #fff; --good: #14653c;
    --bad: #a01c14; }
  body { font-size: 9.5pt; padding: 0; } table, .said, code { font-size: 8pt; } .badge { font-size: 6.5pt; }
  th { font-size: 7.5pt; } th, td { padding-right: .5rem; } td code, table.evidence code { font-size: 7pt; }
  table.evidence th:nth-child(1) { width: 5.4rem; } table.evidence th:nth-child(3) { width: 12.4rem; }
  table.evidence th:nth-child(4) { width: 10rem; } table.evidence th:nth-child(5) { width: 2.6rem; }
  h2 { break-after: avoid; } h3 { break-after: avoid; }
  svg.way, tr, .spoken > p { break-inside: avoid; } .wide { overflow: visible; }
}
@page { size: A4; margin: 14mm 12mm; }
"""
)


def page(found: ModelReport) -> str:
    """Return the whole page."""
    style = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{found.model} at {found.home}, {found.at}"),
        tag("style", Markup(PAGE_STYLE)),
    )
    parts = [_verdict(found), _history(found)]
    parts += [_version(found, story) for story in found.versions]
    parts += [_line(line) for line in found.lines]
    parts += [_people(found), _how(found)]
    return f"<!doctype html>\n{tag('html', head, tag('body', rows(*parts)), lang='en')}\n"


def _verdict(found: ModelReport) -> Markup:
    doubts, pieces = found.doubts, len(set(_proofs(found)))
    word = "VERIFIED" if not doubts else "NOT VERIFIED"
    said = (
        f"All {pieces} pieces of evidence are what was recorded, signed as they say, and in the signed log."
        if not doubts
        else f"Of what this page rests on, {len(doubts)} {'does' if len(doubts) == 1 else 'do'} not hold. Do not rely on it."
    )
    facts = (
        ("Home", f"{found.home} ({found.profile})"),
        ("Made", found.at),
        ("Log", f"{found.size} events"),
        ("Versions", str(len(found.versions))),
    )
    return tag(
        "div",
        tag("h1", found.model),
        tag("p", tag("span", word, class_="word"), " ", said),
        tag("p", "Head of the log: ", tag("code", found.root)),
        tag("div", *(tag("span", name, " ", tag("b", value)) for name, value in facts), class_="facts"),
        tag("ul", *(tag("li", doubt, class_="problem") for doubt in doubts), class_="why")
        if doubts
        else None,
        class_=f"verdict {_class(word)}",
    )


def _history(found: ModelReport) -> Markup:
    lines = [_history_line(line) for line in found.lines]
    if not lines:
        return joined(tag("h2", "What served"), tag("p", "No tier ever served it.", class_="faint"))
    headings = ("Tier", "Line", "Served", "From", "Until", "How", "Typed by", "In the log")
    return joined(tag("h2", "What served, tier by tier"), table(headings, lines))


def _history_line(line: Line) -> Markup:
    pin = line.served.pin
    glass = tag("span", "BREAK-GLASS", class_="badge glass") if pin.override else None
    return tag(
        "tr",
        tag("td", pin.tier),
        tag("td", pin.position),
        tag("td", tag("b", f"@{pin.ordinal}"), " ", tag("code", pin.version[:12])),
        tag("td", pin.since, class_="date"),
        tag("td", line.served.until or "now", class_="date"),
        tag("td", pin.kind, " ", glass),
        tag("td", pin.actor),
        tag("td", _badge("NOT VERIFIED" if line.served.problem else "VERIFIED")),
    )


def _version(found: ModelReport, story: VersionStory) -> Markup:
    version = story.version
    claims = (
        f" Others say {story.claims} things about it, which count for no gate here." if story.claims else ""
    )
    return joined(
        tag("h2", f"Version {version.ordinal}"),
        tag("p", "SHA-256 of its manifest: ", tag("code", version.digest)),
        tag("p", f"{version.size:,} bytes.{claims}", class_="faint"),
        picture(found, story),
        _said(story),
        _evidence(story.proofs, story.whence.problems),
    )


def _said(story: VersionStory) -> Markup | None:
    """What people said of the transfer."""
    said = (story.whence.bundle or {}).get("said", {})
    if not said:
        return None
    facts = [
        tag(
            "span",
            name.replace("_", " "),
            " ",
            tag("b", " ".join(value) if isinstance(value, list) else value),
        )
        for name, value in said.items()
    ]
    return tag("div", *facts, class_="facts")


def _line(line: Line) -> Markup:
    pin, why = line.served.pin, line.allowed
    rules = why.policy or {}
    answered = why.verdict or "no signed answer was kept by that release"
    past = f", past {', '.join(why.overridden)}" if why.overridden else ""
    back = (
        tag("p", f"It went back to what was promoted on {why.judged.since}; going back asks no gate.")
        if why.judged.position != pin.position
        else None
    )
    return joined(
        tag("h2", f"Why {pin.tier} served @{pin.ordinal} from {pin.since}"),
        tag(
            "p",
            f"The gate answered {answered}{past}. The policy then: approvals {rules.get('approvals', '?')}, ",
            f"suites {', '.join(map(str, rules.get('suites', []))) or 'none'}.",
        ),
        tag("p", f"It looked at: {', '.join(why.checks) or 'unknown'}.", class_="faint"),
        back,
        tag("p", f"{pin.actor} typed the {pin.kind}, and why: ", pin.reason),
        *_words(line.decided.words),
        _evidence([line.served.proof, *why.proofs], [*line.served.gone, *why.problems]),
    )


def _words(words: Iterable[Word]) -> Iterator[Markup]:
    """What each person said; a page that two of them saw stands there once."""
    seen: dict[str, str] = {}
    for word in words:
        yield _word(word, seen.get(word.shown or ""))
        if word.shown:
            seen.setdefault(word.shown, word.person)


def _word(word: Word, same: str | None) -> Markup:
    counted = "counted" if word.counted else "did not count"
    missed = ", ".join(one[:16] for one in word.not_signed)
    return tag(
        "div",
        tag(
            "p", tag("b", word.person), f": {word.decision} ({counted}), {word.at} ", _badge(word.proof.mark)
        ),
        tag("p", word.reason),
        tag("p", word.how, class_="faint"),
        tag("p", "Did not sign for: ", missed, class_="problem") if missed else None,
        *_shown(word, same),
        class_="spoken",
    )


def _shown(word: Word, same: str | None) -> Iterator[Markup]:
    if word.shown is None:
        yield tag("p", "What they saw is not on record.")
    elif same is not None:
        yield tag("p", f"Saw the same page as {same}, and signed its SHA-256 too.", class_="faint")
    else:
        yield tag("p", "What they saw; its SHA-256 stands in what they signed:", class_="faint")
        yield tag("div", word.shown, class_="said")


def _evidence(proofs: Iterable[Proof], problems: Iterable[str]) -> Markup:
    lines = [_proof(proof) for proof in dict.fromkeys(proofs)]
    lines += [tag("tr", tag("td", _badge("NOT VERIFIED")), tag("td", said, colspan=4)) for said in problems]
    return table(("", "Evidence", "SHA-256", "Signed by", "Event"), lines, class_="evidence")


def _proof(proof: Proof) -> Markup:
    return tag(
        "tr",
        tag("td", _badge(proof.mark)),
        tag("td", proof.said, *(tag("p", one, class_="problem") for one in proof.problems)),
        tag("td", tag("code", proof.digest) if proof.digest else None),
        tag("td", proof.signed_by or None),
        tag("td", "" if proof.event is None else proof.event, class_="number"),
    )


def _people(found: ModelReport) -> Markup:
    lines = [
        tag(
            "tr",
            tag("td", _badge(key.proof.mark)),
            tag("td", tag("b", key.person)),
            tag("td", key.roles.replace(",", ", ")),
            tag("td", tag("code", key.fingerprint), f" ({key.method})"),
            tag("td", key.since, class_="date"),
            tag("td", key.until or "now", class_="date"),
            tag("td", key.by),
        )
        for key in found.keys
    ]
    headings = ("", "Person", "Roles", "Key", "From", "Until", "By the word of")
    nobody = None if lines else tag("p", "Nobody spoke about it.", class_="faint")
    return joined(tag("h2", "People and their keys"), nobody or table(headings, lines))


def _how(found: ModelReport) -> Markup:
    return joined(
        tag("h2", "What VERIFIED means"),
        tag(
            "p",
            "Looked at again when this page was made: the bytes hash to the SHA-256 beside them, the row says word for "
            "word what its event recorded, the signature is by a key that was in force for its owner then, and the event "
            "is a leaf under the newest signed head. Names without a signature (typed by, taken in by) are what a shell said.",
        ),
        tag(
            "p",
            "This page is signed by nobody. To check it without us: ",
            tag("code", f"tidegate audit export FOLDER --model {found.model}"),
            ", then ",
            tag("code", "verify.py audit FOLDER"),
            ". Whether the newest events were cut off together with their head, only a head that was kept elsewhere can show: ",
            tag("code", "tidegate audit verify --kept-head FILE"),
            ".",
        ),
    )


def _proofs(found: ModelReport) -> Iterator[Proof]:
    for story in found.versions:
        yield from story.proofs
    for line in found.lines:
        yield line.served.proof
        yield from line.allowed.proofs
        yield from (word.proof for word in line.decided.words)
    yield from (key.proof for key in found.keys)


def _badge(mark: str) -> Markup:
    return tag("span", mark, class_=f"badge {_class(mark)}")


def _class(mark: str) -> str:
    return mark.replace(" ", "-")
