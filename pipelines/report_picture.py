"""The way of one version as a picture: a box for each step with who, when and which digest, inline SVG.

What a box has no room for stands in the tables below the picture; nothing is in the picture alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.questions.reporting import Finding, Line, ModelReport, VersionStory
from pipelines.suites.html_parts import Markup, joined, tag

WIDTH, ACROSS = 1000.0, 4  # units; boxes in a row
_BOX, _HIGH, _GAP, _TURN = 226.0, 108.0, 32.0, 34.0
_LETTERS = 32  # of a line in a box


@dataclass(frozen=True)
class Step:
    """One box."""

    title: str
    lines: tuple[str, ...]  # at most three: who, when, which
    verified: bool | None  # None: this is somebody's word, or nothing that could be proved
    loud: bool = False  # shown as what it is for ever, verified or not
    href: str | None = None  # where its evidence is, on a page that has others beside it


def picture(found: ModelReport, story: VersionStory) -> Markup:
    """Return the picture of one version's way, from its publisher to where it serves."""
    return drawn(f"{story.version.model}@{story.version.ordinal}", list(steps_of(found, story)))


def drawn(ref: str, steps: Sequence[Step]) -> Markup:
    """Return boxes in the order of the steps, joined by arrows."""
    rows = -(-len(steps) // ACROSS)
    height = rows * _HIGH + (rows - 1) * _TURN + 4
    said = f"The way of {ref}: {' → '.join(step.title for step in steps)}"
    linked = any(step.href for step in steps)  # an image has nothing in it that can be followed
    return tag(
        "svg",
        tag("title", said),
        *(_arrow(number) for number in range(1, len(steps))),
        *(_box(number, step) for number, step in enumerate(steps)),
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        class_="way",
        role="group" if linked else "img",
        aria_label=said if linked else None,
    )


def steps_of(found: ModelReport, story: VersionStory) -> Iterator[Step]:
    """Yield each step that is on record, in order."""
    yield from _before(story)
    yield from _crossing(story)
    yield _findings("Scan here", [one for one in story.findings if one.row.kind == "scan"])
    yield _findings("Suites here", [one for one in story.findings if one.row.kind == "validation"])
    lines = found.lines_of(story.version)
    if lines:
        yield _approved(lines[-1])
        yield _pinned(lines[-1])
    else:
        yield Step("No tier", ("was ever given it",), None)
    if story.withdrawn is not None:
        yield Step("Withdrawn", (story.withdrawn.said.removeprefix("withdrawn "),), story.withdrawn.verified)


def _before(story: VersionStory) -> Iterator[Step]:
    whence = story.whence
    signed = [one for one in whence.signatures if one["source"] == "publisher"]
    upstream = whence.upstream or {}
    if upstream or signed:
        says = [f"signature {one['outcome']}" for one in signed] or ["no publisher's signature"]
        commit = str(upstream.get("commit") or "")[:12]
        yield Step("Publisher", (str(upstream.get("uri", "unknown")), commit, *says), None)
    for one in whence.fetched:
        proofs = [proof for proof in whence.proofs if proof.digest == one["statement"]]
        how = "Fetched" if str(one["how"]).endswith("fetch:v1") else "Added from a folder"
        where = f"at {one['by']}" + (" (its word)" if one["claimed_with"] else "")
        yield Step(
            how, (where, str(one["finished"]), _short(one["statement"])), all(p.verified for p in proofs)
        )


def _crossing(story: VersionStory) -> Iterator[Step]:
    whence, bundle = story.whence, story.whence.bundle
    for one in story.shipped[-1:]:
        more = f" and {len(story.shipped) - 1} before" if len(story.shipped) > 1 else ""
        yield Step(
            "Shipped",
            (f"to {one.row.site}{more}", one.row.made_at, f"{one.row.bundle} by {one.row.actor}"),
            one.proof.verified,
        )
    if bundle is None:
        return
    proofs = [proof for proof in whence.proofs if proof.kind in ("import", "statement")]
    held = all(proof.verified for proof in proofs if proof.digest == bundle["export"])
    yield Step(
        f"Bundle {bundle['bundle']}",
        (f"signed at {bundle['origin']}", str(bundle["signed_at"]), _short(bundle["export"])),
        held,
    )
    if whence.media:
        last = whence.media[-1]
        yield Step(
            "Media read back",
            (f"{len(whence.media)} readings, last {last['outcome']}", last["at"], f"by {last['by']}"),
            all(proof.verified for proof in whence.proofs if proof.kind == "custody"),
        )
    taken = [proof for proof in whence.proofs if proof.kind == "version"]
    yield Step(
        "Taken in",
        (f"by {story.version.added_by}", story.version.added_at, _short(story.version.digest)),
        all(proof.verified for proof in taken),
    )


def _findings(title: str, found: Sequence[Finding]) -> Step:
    if not found:
        return Step(title, ("none on record",), None)
    last = found[-1]
    more = f" ({len(found)} in all)" if len(found) > 1 else ""
    lines = (f"{last.row.outcome}{more}, by {last.row.made_by}", last.row.made_at, _short(last.row.digest))
    return Step(title, lines, all(one.proof.verified for one in found))


def _approved(line: Line) -> Step:
    counted = [word for word in line.decided.words if word.counted]
    names = ", ".join(word.person for word in counted) or "nobody"
    title = "BREAK-GLASS" if line.served.pin.override else "Approved"
    lines = (
        f"by {names}",
        counted[-1].at if counted else "",
        f"{len(counted)} {'signature' if len(counted) == 1 else 'signatures'} counted",
    )
    return Step(title, lines, not line.decided.doubts, loud=line.served.pin.override is not None)


def _pinned(line: Line) -> Step:
    pin = line.served.pin
    until = f"until {line.served.until}" if line.served.until else "serves now"
    title = f"{'Back' if pin.kind == 'rollback' else 'Pinned'} in {pin.tier}"
    return Step(title, (f"by {pin.actor}", pin.since, until), line.served.problem is None)


def _short(digest: object) -> str:
    return str(digest)[:16]


def _place(number: int) -> tuple[float, float]:
    row, column = divmod(number, ACROSS)
    return column * (_BOX + _GAP), row * (_HIGH + _TURN) + 2


def _box(number: int, step: Step) -> Markup:
    x, y = _place(number)
    tone = {True: "good", False: "bad", None: "claimed"}[step.verified]
    mark = {True: "VERIFIED", False: "NOT VERIFIED", None: ""}[step.verified]
    texts = [_text(line, x + 14, y + 41 + 17 * place, "who") for place, line in enumerate(step.lines[:3])]
    return tag(
        "a" if step.href else "g",
        tag("title", ", ".join(filter(None, [step.title, *step.lines, mark]))),
        tag(
            "rect",
            x=x + 1,
            y=y,
            width=_BOX - 2,
            height=_HIGH,
            rx=8,
            class_=f"box {tone}{' loud' if step.loud else ''}",
        ),
        _text(step.title, x + 14, y + 21, "step", letters=24),
        tag("text", mark, x=x + 14, y=y + _HIGH - 11, class_=f"mark {tone}"),
        *texts,
        href=step.href,
    )


def _text(said: str, x: float, y: float, name: str, *, letters: int = _LETTERS) -> Markup:
    shown = said if len(said) <= letters else f"{said[: letters - 1]}…"
    return tag("text", shown, x=x, y=y, class_=name)


def _arrow(number: int) -> Markup:
    """From the box before to this one; at the end of a row round the corner."""
    x, y = _place(number)
    if number % ACROSS:
        middle = y + _HIGH / 2
        return joined(
            tag("line", x1=x - _GAP + 1, y1=middle, x2=x - 7, y2=middle, class_="go"),
            tag(
                "path",
                d=f"M{x - 8:.0f} {middle - 5:.0f} L{x:.0f} {middle:.0f} L{x - 8:.0f} {middle + 5:.0f} Z",
            ),
        )
    right, left, half = _place(ACROSS - 1)[0] + _BOX / 2, _BOX / 2, y - _TURN / 2
    way = f"M{right:.0f} {y - _TURN:.0f} V{half:.0f} H{left:.0f} V{y - 7:.0f}"
    return joined(
        tag("path", d=way, class_="go"),
        tag("path", d=f"M{left - 5:.0f} {y - 8:.0f} L{left:.0f} {y:.0f} L{left + 5:.0f} {y - 8:.0f} Z"),
    )
