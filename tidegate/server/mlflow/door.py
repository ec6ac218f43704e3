"""MLflow's routes, under `/api` for its clients and under `/ajax-api` for its pages."""

from typing import Any

from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from pipelines.resolving import RevisionUnknown, serving
from registry import store_pages, store_pulls
from registry.access import Right
from registry.entities import Version
from registry.errors import NotFound
from registry.store_pages import Asked
from tidegate.errors import RequestUnreadable
from tidegate.server.guard import Desk, needs, router
from tidegate.server.mlflow import artifacts
from tidegate.server.mlflow.asked import (
    MOST,
    AtDesk,
    alias_asked,
    model_asked,
    oldest_first,
    one_model,
    posted,
    search,
    version_asked,
)
from tidegate.server.mlflow.filters import Comparison, parse_filter
from tidegate.server.mlflow.refused import why_not
from tidegate.server.mlflow.standing import (
    Looks,
    gate_word,
    milliseconds,
    mlflow_name,
    tag_list,
    version_document,
)
from tidegate.server.mlflow.words import DENIED, NO_ENDPOINT, WRONG, answer, said
from tidegate.server.pulling import pull, puller_of

SPOKEN = "3.17.2"  # the MLflow whose protocol this is


# -- what is answered -------------------------------------------------------------------------------------


def _shown(desk: Desk, looks: Looks, version: Version) -> dict[str, Any]:
    return version_document(looks.stands(version), source=artifacts.place(desk, version))


def _model_document(desk: Desk, looks: Looks, model: str) -> dict[str, Any]:
    """MLflow's RegisteredModel: what the tiers serve are its latest versions, and their names its aliases."""
    pins = looks.pins(model)
    newest = store_pulls.newest_first(looks.view, model, tiers=None, limit=1)
    numbers = sorted({pin.ordinal for pin in pins})
    served = [found for number in numbers if (found := store_pulls.numbered(looks.view, model, number))]
    moments = [*(row.added_at for row in (*served, *newest)), *(pin.since for pin in pins)]
    return {
        "name": mlflow_name(model),
        "creation_timestamp": milliseconds(min(moments)) if moments else 0,
        "last_updated_timestamp": milliseconds(max(moments)) if moments else 0,
        "description": f"{model} in Tidegate. Its aliases are the tiers that serve it.",
        "latest_versions": [_shown(desk, looks, row) for row in served],
        "tags": tag_list({"tidegate.model": model}),
        "aliases": [{"alias": pin.tier, "version": str(pin.ordinal)} for pin in pins],
    }


# -- models -----------------------------------------------------------------------------------------------


@needs(Right.LOOK)
def get_model(desk: AtDesk) -> Response:
    """One model by its name."""
    model = model_asked(desk.request.query_params)
    with desk.view() as view:
        if not store_pulls.holds_model(view, model):
            raise NotFound("model", model)
        return JSONResponse({"registered_model": _model_document(desk, Looks(view), model)})


@needs(Right.LOOK)
def search_models(desk: AtDesk) -> Response:
    """Models by name, a page at a time."""
    query = desk.request.query_params
    conditions = parse_filter(query.get("filter", ""))
    if any(order.split()[-1].upper() == "DESC" for order in query.getlist("order_by") if order.strip()):
        raise RequestUnreadable("order_by: models are listed by name, ascending")
    with desk.view() as view:
        looks = Looks(view)

        def shown(line: store_pages.ModelLine) -> dict[str, Any] | None:
            attributes = {"name": mlflow_name(line.model)}
            if not all(one.holds(attributes, {"tidegate.model": line.model}) for one in conditions):
                return None
            return _model_document(desk, looks, line.model)

        found, token = search(query, lambda asked: store_pages.models(view, asked), shown)
    return JSONResponse({"registered_models": found, "next_page_token": token})


@needs(Right.LOOK)
def by_alias(desk: AtDesk) -> Response:
    """What a tier serves of a model."""
    query = desk.request.query_params
    model, alias = model_asked(query), alias_asked(query)
    with desk.view() as view:
        pin = view.pin(alias, model)
        version = None if pin is None else store_pulls.numbered(view, model, pin.ordinal)
        looks = Looks(view)
        if version is None:
            if not store_pulls.holds_model(view, model):
                raise NotFound("model", model)
            tiers = ", ".join(f"{pin.tier} (serves {pin.ordinal})" for pin in looks.pins(model))
            return said(
                400, WRONG, f"Registered model alias {alias} not found: {tiers or 'no tier serves it yet'}."
            )
        return JSONResponse({"model_version": _shown(desk, looks, version)})


@needs(Right.LOOK)
async def latest_versions(desk: AtDesk) -> Response:
    """`models:/NAME/latest`: what the tier serves that `latest` means; `models:/NAME/TIER`: what that tier serves."""
    query = dict(desk.request.query_params)
    stages: object = desk.request.query_params.getlist("stages")
    if desk.request.method == "POST":
        query = await posted(desk)
        stages = query.get("stages") or []
    if not isinstance(stages, list) or len(stages) > MOST or not all(isinstance(one, str) for one in stages):
        raise RequestUnreadable("stages is a list of tiers' names")
    return await run_in_threadpool(_latest, desk, model_asked(query), stages)


def _newest(desk: Desk, model: str) -> str:
    """What `latest` means: where all the tiers that there are for the caller serve one version, that one."""
    with desk.view() as view:
        pins = serving(view, model, puller_of(desk))
    return pins[0].tier if len({pin.version for pin in pins}) == 1 else "latest"


def _latest(desk: Desk, model: str, stages: list[str]) -> Response:
    if not stages:
        version = pull(desk, model, _newest(desk, model)).version
        with desk.view() as view:
            return JSONResponse({"model_versions": [_shown(desk, Looks(view), version)]})
    wanted = {stage.lower() for stage in stages}
    with desk.view() as view:
        looks = Looks(view)
        pins = [pin for pin in looks.pins(model) if pin.tier in wanted]
        rows = [store_pulls.numbered(view, model, pin.ordinal) for pin in pins]
        if not pins:
            problem = f"no tier of that name serves it: {', '.join(pin.tier for pin in looks.pins(model)) or 'none does'}"
            raise RevisionUnknown(model, ", ".join(sorted(wanted))[:80], problem)
        return JSONResponse({"model_versions": [_shown(desk, looks, row) for row in rows if row is not None]})


# -- versions ---------------------------------------------------------------------------------------------


@needs(Right.LOOK)
def get_version(desk: AtDesk) -> Response:
    """One version by its number, and what the gate says of it."""
    with desk.view() as view:
        version = version_asked(view, desk.request.query_params)
        stands = Looks(view).stands(version)
        gate = gate_word(desk, view, stands)
    return JSONResponse(
        {"model_version": version_document(stands, source=artifacts.place(desk, version), gate=gate)}
    )


@needs(Right.PULL)
def download_uri(desk: AtDesk) -> Response:
    """Where the files of a version are, for who may take them."""
    query = desk.request.query_params
    with desk.view() as view:
        version = version_asked(view, query)
    return JSONResponse(
        {"artifact_uri": artifacts.place(desk, pull(desk, version.model, str(version.ordinal)).version)}
    )


@needs(Right.LOOK)
def search_versions(desk: AtDesk) -> Response:
    """Versions, the newest first, a page at a time: of one model with `name = '...'`, else of all."""
    query = desk.request.query_params
    conditions = parse_filter(query.get("filter", ""))
    where, rising = {"model": one_model(conditions)}, oldest_first(query.getlist("order_by"))
    with desk.view() as view:
        looks = Looks(view)

        def shown(version: Version) -> dict[str, Any] | None:
            found = _shown(desk, looks, version)
            return found if _holds(found, conditions) else None

        def page(asked: Asked) -> store_pages.Page[Version]:
            return store_pages.listing(view, "versions", asked, where=where, oldest_first=rising)

        found, token = search(query, page, shown)
    return JSONResponse({"model_versions": found, "next_page_token": token})


def _holds(version: dict[str, Any], conditions: tuple[Comparison, ...]) -> bool:
    attributes = {
        "name": version["name"],
        "version_number": version["version"],
        "run_id": "",  # no run of this server made it
        "source_path": version["source"],
        "creation_timestamp": str(version["creation_timestamp"]),
        "last_updated_timestamp": str(version["last_updated_timestamp"]),
    }
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    return all(one.holds(attributes, tags) for one in conditions)


# -- everything else --------------------------------------------------------------------------------------


@needs(Right.LOOK)
def not_here(rest: str, desk: AtDesk) -> Response:
    """What would change something, and what is no part of a registry (rule 6)."""
    no = why_not(desk.request.method, rest)
    return said(403, DENIED, no.sentence) if no.writes else said(404, NO_ENDPOINT, no.sentence)


@needs(Right.LOOK)
def no_other_release(rest: str) -> Response:
    """Routes of later releases, which clients ask for and do without."""
    return said(
        404, NO_ENDPOINT, f"{rest} is not part of the protocol that is spoken here (MLflow {SPOKEN})."
    )


@needs(Right.OPEN)
def health() -> Response:
    """Whether there is a server, as MLflow's answers."""
    return PlainTextResponse("OK")


@needs(Right.OPEN)
def version() -> Response:
    """The MLflow whose protocol is spoken."""
    return PlainTextResponse(SPOKEN)


doors = router(answer)
doors.add_api_route("/health", health)
doors.add_api_route("/version", version)
for _root in ("/api", "/ajax-api"):
    _registry, _store = f"{_root}/2.0/mlflow", f"{_root}/2.0/mlflow-artifacts"
    doors.add_api_route(f"{_registry}/registered-models/get", get_model)
    doors.add_api_route(f"{_registry}/registered-models/search", search_models)
    doors.add_api_route(f"{_registry}/registered-models/alias", by_alias)
    doors.add_api_route(
        f"{_registry}/registered-models/get-latest-versions", latest_versions, methods=["GET", "POST"]
    )
    doors.add_api_route(f"{_registry}/model-versions/get", get_version)
    doors.add_api_route(f"{_registry}/model-versions/get-download-uri", download_uri)
    doors.add_api_route(f"{_registry}/model-versions/search", search_versions)
    doors.add_api_route(f"{_store}/artifacts", artifacts.listing)
    doors.add_api_route(f"{_store}/artifacts/{{at:path}}", artifacts.one, methods=["GET", "HEAD"])
    _any = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    doors.add_api_route(f"{_registry}/{{rest:path}}", not_here, methods=_any)
    doors.add_api_route(f"{_store}/{{rest:path}}", artifacts.no_upload, methods=_any)
    doors.add_api_route(f"{_root}/3.0/mlflow/{{rest:path}}", no_other_release, methods=_any)
