"""What an auditor takes away: the evidence folder as one tar, and the printed page about a model."""

import secrets
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from pipelines.audit_folder import Narrowing
from pipelines.audit_tar import tarred
from pipelines.questions.reporting import report
from pipelines.report_page import page as written
from registry import store_pages
from registry.access import Right
from registry.names import model_name
from registry.store_pages import Asked
from tidegate.keyring import log_verifier_key
from tidegate.server.guard import needs
from tidegate.server.pages.audit.frame import Text, audit_page, download, moment
from tidegate.server.pages.finding import AtDesk
from tidegate.server.pages.look import HEADERS, pages

doors = pages()


@doors.get("/audit/exports")
@needs(Right.AUDIT)
def exports(desk: AtDesk, model: Text = "") -> Response:
    """What can be taken away."""
    with desk.view() as view:
        names = [line.model for line in store_pages.models(view, Asked(200)).rows]
    return audit_page(
        desk, "exports.html", models=names, model=model.strip(), key=log_verifier_key(desk.premises.home)
    )


@doors.get("/audit/exports/evidence.tar")
@needs(Right.AUDIT)
def evidence(
    desk: AtDesk, model: Text = "", since: Text = "", redact: Annotated[bool, Query()] = False
) -> Response:
    """The folder of `tidegate audit export`, as one tar."""
    named = model_name(model.strip()) if model.strip() else None
    home = desk.premises.home.name
    folder = Path(tempfile.gettempdir()) / f"tidegate-audit-{secrets.token_hex(8)}"
    pieces = tarred(
        desk.work, folder, Narrowing(named, moment(since, last=False), redact), name=f"{home}-audit"
    )
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{home}-audit.tar"'}
    return StreamingResponse(pieces, headers=headers, media_type="application/x-tar")


@doors.get("/audit/exports/report")
@needs(Right.AUDIT)
def paper(desk: AtDesk, model: Annotated[str, Query(min_length=1, max_length=200)]) -> Response:
    """The page of `tidegate audit report`: everything about one model, every piece of evidence verified now."""
    named = model_name(model.strip())
    with desk.view() as view:
        found = report(desk.work, view, named)
    return download(written(found).encode(), f"{named.replace('/', '--')}.html", "text/html; charset=utf-8")
