"""A version's life as a picture, a model's history as charts, and both as lists that say the same."""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from pipelines.beside import newest_runs
from pipelines.questions.life import Life, Step, life
from pipelines.report_picture import Step as Box
from pipelines.report_picture import drawn
from pipelines.suites.html_parts import Markup
from registry import store_pages
from registry.access import Right
from registry.entities import Version
from registry.errors import NotFound
from registry.store_pages import Asked
from registry.views import View
from tidegate.server.guard import needs
from tidegate.server.pages import svg
from tidegate.server.pages.audit.frame import audit_page
from tidegate.server.pages.audit.score_charts import Track, tracks
from tidegate.server.pages.finding import AtDesk, held_version, model_of, ref_of
from tidegate.server.pages.look import fresh, pages
from tidegate.server.pages.models import lanes_of

doors = pages()
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\dZ", re.ASCII)
_VERSIONS = 24  # newest ones whose scores are drawn


@doors.get("/audit/versions/{digest}")
@needs(Right.AUDIT)
def version(desk: AtDesk, digest: str, prove: Annotated[bool, Query()] = False) -> Response:
    """The life of one version; with `prove`, every step of it looked at now."""
    with desk.view() as view:
        row = held_version(view, digest)
        if row.digest != digest:
            return fresh(f"/audit/versions/{row.digest}")
        found = life(desk.work, view, row, prove=prove)
    return audit_page(
        desk,
        "life.html",
        version=row,
        ref=str(ref_of(row)),
        life=found,
        picture=_picture(found),
        pieces=sum(len(step.proofs or ()) for step in found.steps),
    )


def _picture(found: Life) -> Markup:
    boxes = [_box(number, step) for number, step in enumerate(found.steps, 1)]
    return drawn(str(ref_of(found.version)), boxes)


def _box(number: int, step: Step) -> Box:
    """Each box leads to its line in the list below, where its evidence is."""
    lines = tuple(_MOMENT.sub(r"\1 \2 UTC", line) for line in step.lines)
    return Box(step.title, lines, step.verified, step.loud, f"#step-{number}")


@doors.get("/audit/models/{namespace}/{name}")
@needs(Right.AUDIT)
def model(desk: AtDesk, namespace: str, name: str) -> Response:
    """A model over time: what each tier served, and what its versions scored."""
    wanted = model_of(namespace, name)
    with desk.view() as view:
        found = store_pages.versions(view, wanted, Asked(_VERSIONS))
        if not found.rows:
            raise NotFound("model", wanted)
        lanes = lanes_of(view, wanted)
        picture = svg.lanes(
            lanes, desk.app.now, title=f"Which version of {wanted} each tier served, over time"
        )
        charts = _charts(view, found.rows)
    return audit_page(
        desk,
        "model.html",
        model=wanted,
        versions=found.rows,
        more=found.next is not None,
        lanes=lanes,
        picture=picture if lanes else None,
        charts=charts,
    )


def _charts(view: View, rows: Sequence[Version]) -> dict[str, Markup]:
    """A chart for each suite's gate: what each version came to, with its interval."""
    found: dict[str, Track] = {}
    for row in reversed(rows):
        for run in newest_runs(view, row).values():
            for gate in run.figures["gates"]:
                if gate["interval"]:
                    named = f"{run.suite}: {gate['metric']}"
                    track = found.setdefault(named, Track(named, []))
                    track.add(row.ordinal, gate)
    return {name: tracks(track) for name, track in sorted(found.items())}
