"""The Hub's routes. `api` is everything below /api; `files` takes /NAMESPACE/NAME/resolve/…, and has to come last."""

import re
from typing import Annotated, Any

from fastapi import Depends
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pipelines.resolving import Resolved, RevisionUnknown, serving
from registry import store_pulls
from registry.access import Right
from registry.entities import Version
from registry.manifests import FileEntry
from tidegate.server.delivery import send_blob
from tidegate.server.guard import Desk, at_desk, needs, router
from tidegate.server.hub import forms
from tidegate.server.hub.asked import begin_at, form_of, next_page, place, truth, whole_number
from tidegate.server.hub.words import ENTRY, GATED, REPO, answer, one_line, said
from tidegate.server.pulling import files_of, manifest_of, pull, puller_of, registry_name

# Above this a client refuses what it knows the size of (rule 5); it takes the size from the download instead.
# Releases before 1.0 demand a size in any case; they are told it, and fetch such files with hf_transfer alone.
NO_LENGTH_ABOVE = 50_000_000_000  # bytes: MAX_HTTP_DOWNLOAD_SIZE of huggingface_hub
_DEMANDS_LENGTH = re.compile(r"hf_hub/0\.")
TREE_PAGE = 1000  # entries, as the Hub has it
_COMMITS_PAGE, _MODELS_PAGE = 100, 100
_REFS = 1000  # versions listed as tags
_NAMES = 2000  # that one page of a search looks at

api = router(answer)
files = router(answer)
AtDesk = Annotated[Desk, Depends(at_desk)]


# -- models ---------------------------------------------------------------------------------------------


@api.get("/api/models")
@needs(Right.PULL)
def list_models(desk: AtDesk) -> Response:
    """Models of which the caller may take something, by name: `search`, `author`, `limit`; paged."""
    query = desk.request.query_params
    author, search = query.get("author", "").lower(), query.get("search", "").lower()
    wanted = whole_number(query.get("limit"), most=_MODELS_PAGE, otherwise=_MODELS_PAGE)
    at = begin_at(query.get("cursor"), author=author)
    with desk.view() as view:
        names = store_pulls.models_after(view, at, tiers=_tiers_to_look_in(desk, view), most=_NAMES)
    ours = [name for name in names if search in name and (not author or name.startswith(f"{author}/"))]
    shown = ours[:wanted]
    headers = {}
    if len(ours) > wanted and not query.get("limit"):
        headers = next_page(desk, cursor=shown[-1])
    elif len(names) == _NAMES and len(ours) <= wanted and names[-1].startswith(author):
        headers = next_page(desk, cursor=names[-1])
    return JSONResponse([forms.model(name) for name in shown], headers=headers)


def _tiers_to_look_in(desk: Desk, view: Any) -> list[str] | None:
    """The tiers whose pins say what the caller may take; None: everything."""
    puller = puller_of(desk)
    if puller.any_version:
        return None
    return [row.tier for row in view.tiers() if puller.admitted(row.tier)]


@api.get("/api/models/{namespace}/{name}")
@needs(Right.PULL)
def model_info(namespace: str, name: str, desk: AtDesk) -> Response:
    """What `main` means, for clients that name no revision."""
    try:
        return _info(desk, registry_name(f"{namespace}/{name}"), "main")
    except RevisionUnknown as unclear:
        # The model is here, and which of its versions is meant is not said: to be asked for is all that is missing.
        return said(403, GATED, f"{unclear}. Next: name one with --revision or revision=")


@api.get("/api/models/{namespace}/{name}/revision/{rest:path}")
@needs(Right.PULL)
def revision_info(namespace: str, name: str, desk: AtDesk) -> Response:
    """What a revision means: the commit, and the files."""
    return _info(desk, registry_name(f"{namespace}/{name}"), place(desk.request, before=5).revision)


def _info(desk: Desk, model: str, revision: str) -> Response:
    found = pull(desk, model, revision)
    blobs = truth(desk.request.query_params.get("blobs"))
    body = forms.model_info(found.version, manifest_of(found.version), tier=found.tier, blobs=blobs)
    return JSONResponse(body, headers=_told(found))


@api.get("/api/models/{namespace}/{name}/tree/{rest:path}")
@needs(Right.PULL)
def tree(namespace: str, name: str, desk: AtDesk) -> Response:
    """Files and folders of a revision, all of them or those of one folder; paged."""
    asked, query = place(desk.request, before=5), desk.request.query_params
    found = pull(desk, registry_name(f"{namespace}/{name}"), asked.revision)
    files = manifest_of(found.version).files
    listed = list(forms.tree(files, asked.path, recursive=truth(query.get("recursive"))))
    if asked.path and not listed:
        return _no_entry(found, asked.path)
    start = whole_number(query.get("cursor"), most=len(listed), otherwise=0)
    count = whole_number(query.get("limit"), most=TREE_PAGE, otherwise=TREE_PAGE)
    page, expand = listed[start : start + count], truth(query.get("expand"))
    headers = _told(found)
    if start + count < len(listed):
        headers |= next_page(desk, cursor=str(start + count))
    body = [forms.tree_item(item, found.version, expand=expand) for item in page]
    return JSONResponse(body, headers=headers)


@api.post("/api/models/{namespace}/{name}/paths-info/{rest:path}")
@needs(Right.PULL)
async def paths_info(namespace: str, name: str, desk: AtDesk) -> Response:
    """What is known of the files and folders that are named in the form; those that are not there are left out."""
    form = await form_of(desk.request)
    paths, expand = form.get("paths", []), truth(form.get("expand", [""])[0])
    return await run_in_threadpool(_paths_info, desk, f"{namespace}/{name}", paths, expand=expand)


def _paths_info(desk: Desk, model: str, paths: list[str], *, expand: bool) -> Response:
    found = pull(desk, registry_name(model), place(desk.request, before=5).revision)
    held = files_of(found.version)
    folders = {path.rsplit("/", depth)[0] for path in held for depth in range(1, path.count("/") + 1)}
    items: list[FileEntry | str] = []
    for path in dict.fromkeys(path.strip("/") for path in paths):
        if path in held:
            items.append(held[path])
        elif path in folders:
            items.append(path)
    body = [forms.tree_item(item, found.version, expand=expand) for item in items]
    return JSONResponse(body, headers=_told(found))


@api.get("/api/models/{namespace}/{name}/refs")
@needs(Right.PULL)
def refs(namespace: str, name: str, desk: AtDesk) -> Response:
    """Tiers as branches, each at what it serves; the newest versions as tags. What is withdrawn is not among them."""
    model = registry_name(f"{namespace}/{name}")
    with desk.view() as view:
        pins = serving(view, model, puller_of(desk))
        standing = [pin for pin in pins if view.withdrawal(pin.version) is None]
        served = [(pin.tier, store_pulls.numbered(view, model, pin.ordinal)) for pin in standing]
        tags = store_pulls.newest_first(view, model, tiers=_tiers_to_look_in(desk, view), limit=_REFS)
        known = bool(tags) or store_pulls.holds_model(view, model)
    if not known:
        return _no_model(model)
    return JSONResponse(forms.refs({tier: row.revision for tier, row in served if row is not None}, tags))


@api.get("/api/models/{namespace}/{name}/commits/{rest:path}")
@needs(Right.PULL)
def commits(namespace: str, name: str, desk: AtDesk) -> Response:
    """The version that a revision means and those before it, of what the caller may take; paged."""
    model = registry_name(f"{namespace}/{name}")
    found = pull(desk, model, place(desk.request, before=5).revision)
    newest = found.version.ordinal
    up_to = whole_number(desk.request.query_params.get("cursor"), most=newest, otherwise=newest)
    with desk.view() as view:
        tiers = _tiers_to_look_in(desk, view)
        rows = store_pulls.newest_first(view, model, tiers=tiers, up_to=up_to, limit=_COMMITS_PAGE + 1)
    headers = _told(found)
    if len(rows) > _COMMITS_PAGE:
        headers |= next_page(desk, cursor=str(rows[-1].ordinal))
    return JSONResponse([forms.commit(row) for row in rows[:_COMMITS_PAGE]], headers=headers)


# -- files ----------------------------------------------------------------------------------------------


@files.api_route("/{namespace}/{name}/resolve/{rest:path}", methods=["GET", "HEAD"])
@needs(Right.PULL)
def resolve_file(namespace: str, name: str, desk: AtDesk) -> Response:
    """One file of a revision."""
    asked = place(desk.request, before=3)
    found = pull(desk, registry_name(f"{namespace}/{name}"), asked.revision)
    entry = files_of(found.version).get(asked.path)
    if entry is None:
        return _no_entry(found, asked.path)
    sent = send_blob(desk, entry.sha256, headers=_told(found), filename=entry.path.rsplit("/", 1)[-1])
    if desk.request.method == "HEAD" and entry.size > NO_LENGTH_ABOVE and not _demands_length(desk.request):
        del sent.headers["content-length"]
    return sent


def _demands_length(request: Request) -> bool:
    return _DEMANDS_LENGTH.search(request.headers.get("user-agent", "")) is not None


def _told(found: Resolved) -> dict[str, str]:
    """Headers that go with every answer about a version."""
    headers = {"X-Repo-Commit": found.version.revision}
    if found.warning:
        # Clients show the first warning of each topic: the version is the topic, so that each is shown once.
        topic = f"{found.version.model}@{found.version.ordinal}"
        headers["X-HF-Warning"] = one_line(f"{topic}; {topic} is {found.warning}")
    return headers


def _no_entry(found: Resolved, path: str) -> Response:
    """No such file. With the commit, by which clients remember that; they ask for many that may not be there."""
    return said(404, ENTRY, f"{_name(found.version)} holds no {path!r}", headers=_told(found))


def _name(version: Version) -> str:
    return f"{version.model}@{version.ordinal}"


# -- around it ------------------------------------------------------------------------------------------


@api.get("/api/agent-harnesses")
@needs(Right.OPEN)
def agent_harnesses() -> Response:
    """The first call of every process: which programs it may be run by. We tell none, and it asks no more that day."""
    return JSONResponse({"standardEnvVars": [], "harnesses": {}})


@api.get("/api/whoami-v2")
@needs(Right.OWN)
def whoami(desk: AtDesk) -> Response:
    """Who the token is of."""
    grants = sorted(map(str, desk.principal.grants))
    return JSONResponse(
        {
            "type": "user",
            "id": desk.principal.name,
            "name": desk.principal.name,
            "fullname": desk.principal.name,
            "orgs": [],
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": ", ".join(grants), "role": "read"},
            },
        }
    )


# What is no model with a namespace is not here, and has to be said in the clients' words.
@api.get("/api/models/{rest:path}")
@api.get("/api/datasets/{rest:path}")
@api.get("/api/spaces/{rest:path}")
@needs(Right.OPEN)
def not_held(rest: str) -> Response:
    """Names without a namespace, data sets and spaces."""
    return _no_model(rest)


@files.api_route("/{name}/resolve/{rest:path}", methods=["GET", "HEAD"])
@files.api_route("/datasets/{namespace}/{name}/resolve/{rest:path}", methods=["GET", "HEAD"])
@files.api_route("/spaces/{namespace}/{name}/resolve/{rest:path}", methods=["GET", "HEAD"])
@needs(Right.OPEN)
def no_such_file(name: str) -> Response:
    """Files of names without a namespace, and of data sets and spaces."""
    return _no_model(name)


def _no_model(name: str) -> Response:
    return said(404, REPO, f"no model {name!r} in this registry, whose names are NAMESPACE/NAME")


# -- uploads --------------------------------------------------------------------------------------------

_BY_COMMAND = (
    "this registry takes no uploads: what comes in is scanned and judged first. Next: on the registry's machine run "
    "`tidegate models add FOLDER --as NAMESPACE/NAME` or `tidegate models fetch`"
)


@api.post("/api/repos/create")
@api.post("/api/repos/move")
@api.delete("/api/repos/delete")
@api.post("/api/validate-yaml")
@api.api_route("/api/models/{rest:path}", methods=["POST", "PUT", "DELETE"])
@needs(Right.OPEN)
def upload() -> Response:
    """What a client calls before and while it uploads."""
    return said(403, "UploadsRefused", _BY_COMMAND)


@files.post("/{namespace}/{name}/info/lfs/objects/batch")
@needs(Right.OPEN)
def upload_large() -> Response:
    """What git-lfs asks first."""
    return said(403, "UploadsRefused", _BY_COMMAND)
