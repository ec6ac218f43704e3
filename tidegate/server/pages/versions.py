"""One version: its files, where it came from, what was found here, what was said, where it served; and its reports."""

import contextlib
import json
from typing import Annotated, Any

from fastapi import Form
from starlette.responses import HTMLResponse, Response

from pipelines.beside import newest_runs, read_report
from pipelines.intake.record import read_scan_report
from pipelines.promote import withdraw
from pipelines.scan.values import ScanResult
from registry import manifests, store_attention, store_pages
from registry.access import Right
from registry.entities import Document, Report, Version
from registry.errors import NotFound
from registry.store_pages import Asked
from registry.views import View
from signing.canonical import NotCanonical, parse
from tidegate.server.guard import needs
from tidegate.server.pages.charts import scores
from tidegate.server.pages.finding import AtDesk, held_version, reason, ref_of, suite_names
from tidegate.server.pages.look import HEADERS, fresh, page, pages

doors = pages()
_FILES = 500  # that a page lists
_BODY = 64 << 20  # bytes of a report
_SHOWN = 32 << 10  # characters of a document on a page


@doors.get("/versions/{digest}")
@needs(Right.LOOK)
def version(desk: AtDesk, digest: str) -> Response:
    """A version."""
    with desk.view() as view:
        row = held_version(view, digest)
        runs = store_attention.runs_of(view, row.digest)
        facts: dict[str, Any] = {
            "version": row,
            "manifest": manifests.decode(row.manifest.encode()),
            "withdrawal": view.withdrawal(row.digest),
            "removed": [one for one in view.removals() if one.version == row.digest],
            "binding": view.binding(row.digest),
            "runs": list(reversed(runs)),
            "suites": suite_names(view, runs),
            "scan": _scan(view, next((run.digest for run in reversed(runs) if run.kind == "scan"), None)),
            "scores": [(run, scores(run.figures)) for run in newest_runs(view, row).values()],
            "pins": store_pages.listing(view, "pins", Asked(50), where={"version": row.digest}).rows,
            "now": {pin.tier for pin in store_pages.pins_now(view, model=row.model).rows if pin.version == row.digest},
            "approvals": view.approvals(row.digest),
            "requests": store_pages.listing(view, "requests", Asked(20), where={"version": row.digest}).rows,
            "signatures": view.model_signatures(row.digest),
            "claims": len(view.claims(row.digest)),
            "tiers": [one.tier for one in view.tiers()],
        }  # fmt: skip
    return page(desk, "steward/version.html", most=_FILES, **facts)


def _scan(view: View, digest: str | None) -> tuple[Report, ScanResult] | None:
    row = view.kept(digest) if digest else None
    return (row, read_scan_report(row)) if isinstance(row, Report) else None


# -- withdrawing ----------------------------------------------------------------------------------------


@doors.get("/versions/{digest}/withdraw")
@needs(Right.WITHDRAW)
def before_withdrawing(desk: AtDesk, digest: str) -> Response:
    """What withdrawing a version would mean."""
    desk.demand(Right.WITHDRAW)
    with desk.view() as view:
        row = held_version(view, digest)
        serving = [
            pin for pin in store_pages.pins_now(view, model=row.model).rows if pin.version == row.digest
        ]
        already = view.withdrawal(row.digest)
    return page(desk, "steward/withdraw.html", version=row, serving=serving, already=already)


@doors.post("/versions/{digest}/withdraw")
@needs(Right.WITHDRAW)
def withdrawn(desk: AtDesk, digest: str, why: Annotated[str, Form(alias="reason")]) -> Response:
    """Withdraw it."""
    desk.demand(Right.WITHDRAW)
    with desk.view() as view:
        row = held_version(view, digest)
    withdraw(desk.work, ref_of(row), reason=reason(why))
    return fresh(f"/versions/{row.digest}")


# -- what was found -------------------------------------------------------------------------------------


@doors.get("/reports/{digest}")
@needs(Right.LOOK)
def report(desk: AtDesk, digest: str) -> Response:
    """A suite's report as its own page: one file, which can be printed and filed; its style is named by its digest."""
    from pipelines.suites import html

    with desk.view() as view:
        row = view.kept(digest)
    if not isinstance(row, Report):
        raise NotFound("report", digest)
    body = read_report(row)
    if row.kind != "validation" or body is None:
        return fresh(f"/evidence/{digest}")
    return HTMLResponse(
        html.page(body, row.digest), headers={**HEADERS, "Content-Security-Policy": _policy()}
    )


def _policy() -> str:
    """A report has one style inside it and nothing else: that style alone is let in, by its SHA-256."""
    import base64
    import hashlib

    from pipelines.suites.html_style import STYLE

    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@doors.get("/evidence/{digest}")
@needs(Right.LOOK)
def evidence(desk: AtDesk, digest: str) -> Response:
    """Whatever is kept under a digest, as it was recorded."""
    with desk.view() as view:
        row = view.kept(digest)
    if row is None:
        raise NotFound("evidence", digest)
    if isinstance(row, Version):
        return fresh(f"/versions/{row.digest}")
    facts = {name: value for name, value in row.model_dump(warnings=False).items() if name != "id"}
    texts = {name: facts.pop(name) for name in ("body", "payload", "signature") if name in facts}
    kind = row.kind if isinstance(row, (Document, Report)) else row.label
    return page(
        desk, "steward/evidence.html", digest=digest, kind=kind, facts=facts, texts={n: readable(t) for n, t in texts.items()}
    )  # fmt: skip


def readable(text: str) -> str:
    """A document as people read it: JSON with its lines broken, cut where it is endless."""
    with contextlib.suppress(NotCanonical):  # a signature, or a plain text
        text = json.dumps(parse(text.encode(), max_bytes=_BODY, at="document"), indent=2, ensure_ascii=False)
    more = len(text) - _SHOWN
    return text if more <= 0 else f"{text[:_SHOWN]}\n… {more:,} more characters"
