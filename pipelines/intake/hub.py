"""`models fetch hf:NAMESPACE/NAME`: a commit of a Hugging Face repository becomes a version.

The rules:
1. The revision is resolved to a commit once; the list of files and every file are that commit's, whatever happens
   to the branch meanwhile.
2. The list is closed: exactly these files, each with the size and the digest that the hub lists, nothing more.
   `.gitattributes` belongs to it. A version that holds them all has the upstream commit as its revision; with
   something left out on request it is not exactly that commit, and has a revision of its own.
3. No byte counts before it has been hashed and compared. What the blob store holds is not fetched again; what a
   killed run fetched is hashed again and used.
4. The token is huggingface_hub's own affair (`HF_TOKEN`, or the file that `hf auth login` writes).
"""

import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipelines.intake.arrival import Arrived, Meter, full_disk_named, in_parallel
from pipelines.intake.download import Body, Listed, Lost, by_digest, fetch_file
from pipelines.intake.errors import HubUnreachable, SourceUnusable
from pipelines.intake.provenance import Source
from pipelines.intake.record import Added, left_out, record, refuse_names, scan_version
from pipelines.removed import whole
from pipelines.scan.reading import quoted
from pipelines.scan.values import Waiver
from pipelines.workplace import Workplace
from registry.blobs import BlobStore, Progress, no_progress
from registry.manifests import MAX_FILES, MalformedManifest, Upstream, check_path, decode
from registry.names import model_name
from signing.digests import is_sha256

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

TIMEOUT = 30.0  # seconds without a byte, or for one answer of the API
AT_ONCE = 4  # files: a hub's limit for one client is soon reached, a line is full before
MAX_SIZE = 1 << 45  # bytes of one file: 32 TiB, beyond which a list is not believed

# Source: huggingface_hub `validate_repo_id`, without the names that have no namespace
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_IN_TOTO = {"sha256": "sha256", "gitoid": "gitBlob"}  # in-toto attestation, spec/v1/digest_set.md
_GIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Commit:
    """What a hub lists for one commit."""

    repo: str  # namespace/name in the hub's spelling
    id: str  # 40 hex
    files: tuple[Listed, ...]

    @property
    def uri(self) -> str:
        """As the manifest names it."""
        return f"hf://{self.repo}"


def fetch_hub(
    work: Workplace,
    repo: str,
    revision: str | None = None,
    *,
    model: str | None = None,
    endpoint: str | None = None,
    waivers: Sequence[Waiver] = (),
    leave_out: Sequence[str] = (),
    signature: bytes | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Added:
    """Take one commit of a hub's repository in as a version.

    Args:
        repo: `NAMESPACE/NAME` in the hub's spelling.
        revision: branch, tag or commit; None for the hub's default branch.
        model: its name here; None for the repository's in lower case.
        endpoint: the hub's address; None for huggingface_hub's own setting (`HF_ENDPOINT`).
        leave_out: patterns (`original/*`, as a shell matches them) of files that are not part of the version.
        signature: the publisher's, where it does not lie among the files.
        progress: called with the bytes just fetched or found here, from one thread at a time; a negative number
            when a file has to begin again.
        expect: called once, before any progress, with the bytes to come.

    Raises:
        NameUnusable: the model's name here cannot be one; give another with `model`.
        SourceUnusable: the hub knows no such model or revision, or does not give it to this user.
        HubUnreachable: it does not answer, or not as a hub does.
        SourceChanged: a file is not the one that the commit lists.
        PublisherRefused: a publisher has to have signed them, and has not.
        ScanBlocked: the files may not come in. The download stays in quarantine for a try with waivers.
        SpaceShort: they do not fit.
        HomeBusy: another `fetch` is at work here.
    """
    if not _REPO.fullmatch(repo):
        raise SourceUnusable(repo, "is no repository of a hub; write NAMESPACE/NAME")
    name = model_name(repo.lower() if model is None else model)
    hub = Hub(endpoint)
    source = Source("fetch", {"repository": repo, "revision": revision, "hub": hub.host, "model": name})
    with work.home.busy("fetch"):
        commit = hub.resolve(repo, revision)
        skipped = left_out((item.path for item in commit.files), leave_out)
        chosen = [item for item in commit.files if item.path not in skipped]
        if not chosen:
            raise SourceUnusable(commit.uri, "lists no file that could be part of a model")
        upstream = Upstream(commit.uri, commit.id, complete=not skipped)
        if held := _held(work, name, upstream, chosen):
            return Added(held.version, new=False, scan=held.scan, left_out=skipped)
        refuse_names(name, [item.path for item in chosen], waivers)
        room = work.home.quarantine / f"fetch-{commit.id}"
        room.mkdir(exist_ok=True)
        arrived = _fetch_all(hub, commit, chosen, room, work.blobs, progress=progress, expect=expect)
        source = replace(
            source,
            upstream=upstream,
            left_out=skipped,
            listed={item.path: {_IN_TOTO[item.kind]: item.digest} for item in chosen},
        )
        added = record(work, name, arrived, source, waivers=waivers, signature=signature)
        shutil.rmtree(room)
        return added


def _held(work: Workplace, name: str, upstream: Upstream, chosen: Sequence[Listed]) -> Added | None:
    """The version that this commit is already, bytes and all: then nothing is fetched. It is scanned by today's rules."""
    wanted = {(item.path, item.size) for item in chosen}
    with work.store.view() as view:
        versions = view.versions(name)
    for version in versions:
        manifest = decode(version.manifest.encode())
        same = wanted == {(entry.path, entry.size) for entry in manifest.files}
        if manifest.upstream == upstream and same and whole(version, work.blobs):
            return Added(version, new=False, scan=scan_version(work.blobs, manifest))
    return None


def _fetch_all(
    hub: "Hub",
    commit: Commit,
    chosen: Sequence[Listed],
    room: Path,
    blobs: BlobStore,
    *,
    progress: Progress,
    expect: Progress,
) -> list[Arrived]:
    """Bring every chosen file that the blob store lacks into `room`."""
    missing = by_digest(item for item in chosen if item.sha256 is None or not blobs.has(item.sha256))
    total = sum(item.size for item in missing)
    blobs.demand_space(total - sum(file.stat().st_size for file in room.iterdir()))
    expect(total)
    meter = Meter(progress)
    fetch = partial(fetch_file, room=room, ask=partial(hub.ask, commit), meter=meter)
    try:
        with full_disk_named(room, total):
            places = in_parallel(missing, fetch, workers=AT_ONCE, meter=meter)
    except Lost as exc:
        raise HubUnreachable(hub.host, str(exc)) from exc
    came = {item.digest: place for item, place in zip(missing, places, strict=True)}
    return [_arrived(item, came.get(item.digest)) for item in chosen]


def _arrived(item: Listed, place: tuple[Path, str] | None) -> Arrived:
    if place is None:
        assert item.sha256 is not None, "only a file with a SHA-256 can be known to be held"
        return Arrived(item.path, item.size, item.sha256, None)
    return Arrived(item.path, item.size, place[1], place[0])


class Hub:
    """One hub, through huggingface_hub's session: its proxy settings, its token, its offline switch."""

    def __init__(self, endpoint: str | None) -> None:
        self._api = _api(endpoint)
        self.host = urlsplit(self._api.endpoint).netloc.rpartition("@")[2]

    def resolve(self, repo: str, revision: str | None) -> Commit:
        """Return the commit that `revision` means now, with its files. Raises `SourceUnusable`, `HubUnreachable`."""
        import httpx2  # noqa: PLC0415 - only who fetches pays for the network's libraries

        asked = f"hf:{repo}{f'@{revision}' if revision else ''}"
        try:
            with self._translated(asked):
                info = self._api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        except httpx2.RequestError as exc:
            said = re.sub(r"^\[Errno -?\d+\] ", "", str(exc)) or type(exc).__name__
            raise HubUnreachable(self.host, f"cannot be reached ({said})") from exc
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
        ) as exc:  # the client trusts an answer's shape
            raise HubUnreachable(
                self.host, f"does not answer as a Hugging Face hub does about {repo}"
            ) from exc
        if not _is_git(info.sha):
            raise HubUnreachable(self.host, f"names no commit for {asked}")
        siblings = info.siblings or []
        if len(siblings) > MAX_FILES:
            raise SourceUnusable(asked, f"has more than {MAX_FILES} files")
        files = tuple(self._listed(item, f"{asked}: files[{at}]") for at, item in enumerate(siblings))
        return Commit(repo, str(info.sha), files)

    def _listed(self, item: Any, at: str) -> Listed:
        """Check one line of the hub's list: it names files here and binds what comes."""
        lfs = item.lfs
        listed = Listed(item.rfilename, item.size, item.blob_id, None if lfs is None else lfs.sha256)
        try:
            check_path(listed.path, at=at)
        except MalformedManifest as exc:
            raise SourceUnusable(at, exc.problem) from exc
        if type(listed.size) is not int or not 0 <= listed.size <= MAX_SIZE:
            raise HubUnreachable(self.host, f"{at}: lists no size for {quoted(listed.path)}")
        if not _is_git(listed.gitoid) or not (lfs is None or is_sha256(listed.sha256)):
            raise HubUnreachable(self.host, f"{at}: lists no digest for {quoted(listed.path)}")
        return listed

    @contextmanager
    def ask(self, commit: Commit, listed: Listed, offset: int) -> Iterator[Body]:
        """Ask for a file's bytes from `offset` on. Raises `Lost`, `SourceUnusable`, `HubUnreachable`."""
        import httpx2  # noqa: PLC0415
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status  # noqa: PLC0415
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415 - public, not marked so

        url = hf_hub_url(commit.repo, listed.path, revision=commit.id, endpoint=self._api.endpoint)
        headers = build_hf_headers(library_name="tidegate") | {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        place = f"{commit.uri}@{commit.id[:12]}, {listed.path}"
        try:
            with (
                self._translated(place),
                get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response,
            ):
                if response.status_code in (408, 429) or response.status_code >= 500:
                    raise Lost(f"{listed.path}: answers {response.status_code}")
                if (
                    response.status_code != 416
                ):  # it holds no byte behind `offset`: the file is shorter than listed
                    hf_raise_for_status(response)
                yield _Answer(response, offset)
        except httpx2.RequestError as exc:
            raise Lost(f"{listed.path}: {exc}") from exc

    @contextmanager
    def _translated(self, asked: str) -> Iterator[None]:
        """Say in our words what huggingface_hub's errors mean for the operator."""
        from huggingface_hub import errors  # noqa: PLC0415

        login = "log in with `hf auth login`, or set HF_TOKEN"
        try:
            yield
        except errors.OfflineModeIsEnabled as exc:
            raise HubUnreachable(self.host, "not asked: HF_HUB_OFFLINE is set on this machine") from exc
        except errors.GatedRepoError as exc:
            problem = f"is gated at {self.host}: accept its terms on its page there, and {login}"
            raise SourceUnusable(asked, problem) from exc
        except errors.RepositoryNotFoundError as exc:
            problem = f"{self.host} shows no such model: look at its name; for a private one, {login}"
            raise SourceUnusable(asked, problem) from exc
        except errors.RevisionNotFoundError as exc:
            problem = (
                f"{self.host} knows the model and no such revision: look at its branches, tags and commits"
            )
            raise SourceUnusable(asked, problem) from exc
        except errors.HfHubHTTPError as exc:
            self._refuse(asked, exc)

    def _refuse(self, asked: str, error: Any) -> None:
        status = error.response.status_code
        said = error.response.headers.get("X-Error-Message")
        problem = f"{self.host} answers {status}" + (f": {quoted(said)}" if said else "")
        if status == 429 or status >= 500:
            raise HubUnreachable(self.host, f"{asked}: answers {status}; it may be busy") from error
        raise SourceUnusable(asked, problem) from error


class _Answer:
    """A hub's answer to one request for bytes, as `download.Body`."""

    def __init__(self, response: "httpx2.Response", offset: int) -> None:
        self._response = response
        self.start = 0
        if response.status_code == 416:
            self.start = offset
        elif response.status_code == 206:
            found = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != offset:
                raise Lost("the hub answers with another part of the file than was asked for")
            self.start = offset

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes as they are on the wire: an answer that was encoded after all does not match its digest."""
        if self._response.status_code != 416:
            yield from self._response.iter_raw()  # as they come: a block that waits for more is lost with the line


def _api(endpoint: str | None) -> "HfApi":
    import huggingface_hub  # noqa: PLC0415
    from huggingface_hub import constants  # noqa: PLC0415

    # Otherwise the first call asks a third address which program is using the client, and reports it.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it would print is in our refusals
    return huggingface_hub.HfApi(
        endpoint=None if endpoint is None else endpoint.rstrip("/"), library_name="tidegate"
    )


def _is_git(text: object) -> bool:
    return isinstance(text, str) and _GIT.fullmatch(text) is not None
