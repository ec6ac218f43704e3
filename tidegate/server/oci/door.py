"""`/v2/`: the OCI distribution API, to read, and what Ollama makes of it.

A repository is a model. A tag is a tier or a version's number; a digest is an image's, a file's, or that of what was
attested. `/v2/` itself asks for credentials even where anybody may pull: container clients show theirs only to who
asked for them there (others come back without, and are served what is open).
Sources: OCI distribution specification 1.1; for Ollama, ollama/ollama `server/download.go`, `server/images.go`.
"""

import base64
import re
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipelines.images import forms
from pipelines.images.ollama import MANIFEST as DOCKER_MANIFEST
from registry.access import Right
from registry.errors import NotFound
from signing.digests import is_sha256, sha256_hex
from tidegate.server import delivery
from tidegate.server.guard import Desk, at_desk, needs, router
from tidegate.server.oci.answers import BLOB, IMAGE, answer, document, error
from tidegate.server.oci.finding import Shelf
from tidegate.server.pulling import registry_name

doors = router(answer, prefix="/v2")
AtDesk = Annotated[Desk, Depends(at_desk)]

_FALLBACK = re.compile(
    r"sha256-([0-9a-f]{64})"
)  # "Referrers Tag Schema", for clients older than the referrers API
_PAGE = 1000  # tags in one answer
_LONGEST = 512  # characters of an Authorization header; ours have about 100
_OCTETS = "application/octet-stream"
_READ_ONLY = (
    "Versions come in by `tidegate models add oci:FOLDER` or `tidegate models fetch`, through scan and gate; nothing is "
    "pushed, moved or deleted here."
)


@doors.get("/", response_model=None)
@needs(Right.OPEN)
def there(desk: AtDesk) -> Response:
    """Say that this is a registry, and to whom it speaks."""
    if desk.principal.known:
        return JSONResponse({}, headers={"Docker-Distribution-API-Version": "registry/2.0"})
    return _who()


@doors.get("/token", response_model=None)
@needs(Right.OPEN)
def token(request: Request) -> Response:
    """For clients that want a token for their password: it is one already, good or not, and is handed back.

    Whoever shows none gets a word that is none, and with it what is open to everybody.
    """
    told = _password(request.headers.get("authorization", "")) or "anonymous"
    return JSONResponse({"token": told}, headers={"Cache-Control": "no-store"})


def _who() -> Response:
    asked = {"WWW-Authenticate": 'Basic realm="tidegate"'}
    return error(401, "UNAUTHORIZED", "show a token as the password, with any user name", asked)


def _password(header: str) -> str | None:
    """The password of an `Authorization: Basic`."""
    kind, _, value = header[:_LONGEST].partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:  # no base64, no ASCII, no UTF-8
        return None


@doors.api_route("/{namespace}/{name}/manifests/{reference}", methods=["GET", "HEAD"], response_model=None)
@needs(Right.PULL)
def manifest(request: Request, desk: AtDesk, namespace: str, name: str, reference: str) -> Response:
    """The image that a tag or digest names; for Ollama, which takes nothing else, its own."""
    shelf = _shelf(desk, namespace, name)
    if reference.startswith("sha256:"):
        found = shelf.manifest(_digest(reference, IMAGE))
    elif fallback := _FALLBACK.fullmatch(reference):
        data = forms.index(paper.descriptor() for paper in shelf.referrers(fallback[1]))
        return document(data, forms.INDEX, sha256_hex(data))
    else:
        found = shelf.tagged(reference, for_ollama=_is_ollama(request))
    return document(found.data, found.media_type, found.digest, warning=found.warning)


@doors.api_route("/{namespace}/{name}/blobs/{digest}", methods=["GET", "HEAD"], response_model=None)
@needs(Right.PULL)
def blob(desk: AtDesk, namespace: str, name: str, digest: str) -> Response:
    """Bytes by their digest."""
    shelf, sha256 = _shelf(desk, namespace, name), _digest(digest, BLOB)
    # Ollama takes the address for its parallel requests from this header, also of an answer that is no redirect.
    here = {"Location": f"/v2/{shelf.model}/blobs/sha256:{sha256}"}
    if not shelf.has_file(sha256):
        return document(shelf.small(sha256), _OCTETS, sha256, more=here)
    headers = {"Docker-Content-Digest": f"sha256:{sha256}", **here}
    return delivery.send_blob(desk, sha256, media_type=_OCTETS, headers=headers)


@doors.get("/{namespace}/{name}/tags/list", response_model=None)
@needs(Right.PULL)
def tags(
    desk: AtDesk,
    namespace: str,
    name: str,
    n: Annotated[int, Query(ge=0)] = _PAGE,
    last: str = "",
) -> Response:
    """The tags behind `last`, at most `n`; a `Link` says where it goes on."""
    shelf = _shelf(desk, namespace, name)
    behind = [tag for tag in shelf.tags() if tag > last]
    page = behind[: min(n, _PAGE)]
    headers = {}
    if page and len(page) < len(behind):
        headers["Link"] = f'</v2/{shelf.model}/tags/list?n={len(page)}&last={quote(page[-1])}>; rel="next"'
    return JSONResponse({"name": shelf.model, "tags": page}, headers=headers)


@doors.get("/{namespace}/{name}/referrers/{digest}", response_model=None)
@needs(Right.PULL)
def referrers(
    desk: AtDesk,
    namespace: str,
    name: str,
    digest: str,
    artifact_type: Annotated[str | None, Query(alias="artifactType")] = None,
) -> Response:
    """What was attested of an image; with `artifactType`, of that type alone."""
    found = _shelf(desk, namespace, name).referrers(_digest(digest, IMAGE))
    chosen = [paper.descriptor() for paper in found if artifact_type in (None, "", paper.type)]
    headers = {"OCI-Filters-Applied": "artifactType"} if artifact_type else {}
    return Response(forms.index(chosen), 200, headers, forms.INDEX)


@doors.api_route("/{rest:path}", methods=["POST", "PUT", "PATCH", "DELETE"], response_model=None)
@needs(Right.PULL)
def refuse(rest: str) -> Response:  # noqa: ARG001 - the route's
    """Nothing is written by this door."""
    return error(405, "UNSUPPORTED", f"This registry is read-only. {_READ_ONLY}", {"Allow": "GET, HEAD"})


@doors.get("/{rest:path}", response_model=None)
@needs(Right.PULL)
def nothing(rest: str) -> Response:
    """An address that is none."""
    return error(
        404, "NAME_UNKNOWN", f"no repository {rest.partition('/manifests')[0]!r}: a model is namespace/name"
    )


def _shelf(desk: Desk, namespace: str, name: str) -> Shelf:
    return Shelf(desk, registry_name(f"{namespace}/{name}"))


def _digest(text: str, what: str) -> str:
    digest = text.removeprefix("sha256:")
    if not is_sha256(digest) or digest == text:
        raise NotFound(what, text[:200])
    return digest


def _is_ollama(request: Request) -> bool:
    """Ollama, and who speaks like it, takes Docker's manifest; clients of images take OCI's too, or anything."""
    accepted = request.headers.get("accept", "")
    return DOCKER_MANIFEST in accepted and forms.MANIFEST not in accepted and "*/*" not in accepted
