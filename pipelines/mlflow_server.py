"""One MLflow server as intake and validation runs speak to it: its REST routes, bounded, and no address beside it.

mlflow-skinny sends the requests, so its settings count (`MLFLOW_TRACKING_TOKEN`, `MLFLOW_TRACKING_USERNAME` and
`_PASSWORD`, certificates). Its stores and artifact repositories are not used: they read an answer of any size, follow
whatever URI a server names, `file:` on this machine among them, copy bytes without looking at them, and try for four
minutes when nobody answers. Who calls this has switched the package's telemetry off before (`tidegate.settings`).
"""

import importlib.util
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from pipelines.errors import JudgingRefused
from pipelines.scan.reading import quoted
from signing.canonical import NotCanonical, parse

if TYPE_CHECKING:
    from requests import Response

TIMEOUT = 30.0  # seconds without a byte
PATIENCE = 60.0  # seconds for one whole answer of the API
TRIES = 2  # further ones, after 1 and 2 seconds, of a question that changes nothing
MAX_ANSWER = 16 << 20  # bytes of JSON
MAX_VALUES = 200_000  # in one answer
BLOCK = 1 << 20  # bytes of an artifact at a time
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_SCHEME = "mlflow-artifacts"


class MlflowUnreachable(JudgingRefused):
    """The MLflow server does not answer, or not as one does."""

    exit_code: ClassVar[int] = 179
    next_step: ClassVar[str] = (
        "Check that `mlflow server` runs at this address and that MLFLOW_TRACKING_TOKEN, or user name and password, "
        "are right; then run the same command again."
    )

    def __init__(self, host: str, problem: str) -> None:
        super().__init__(f"MLflow at {host}: {problem}")
        self.host, self.problem = host, problem


class MlflowRefused(Exception):
    """The server's own refusal. An internal signal: each caller says it in its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class ArtifactsElsewhere(Exception):
    """Artifacts that do not lie behind the server, but where it points to. An internal signal, as above."""


@dataclass(frozen=True)
class Listed:
    """One entry of an artifact folder. `size` (bytes) is None for a folder."""

    name: str
    size: int | None


class MlflowServer:
    """One server, by its address `http[s]://HOST[:PORT][/PREFIX]`."""

    def __init__(self, address: str) -> None:
        """Nothing is asked yet. Raises `MlflowUnreachable` for what is no address, and where nobody could ask."""
        self._address = address.rstrip("/")
        self.host, problem = _host_of(self._address)
        if problem is None and importlib.util.find_spec("mlflow") is None:
            problem = "this installation lacks the extra: pip install 'tidegate[origin]'"
        if problem:
            raise MlflowUnreachable(self.host or quoted(address), problem)

    def ask(self, route: str, **parameters: str | int) -> dict[str, Any]:
        """Read one answer. Raises `MlflowRefused`, `MlflowUnreachable`."""
        return self._answer("GET", f"{_API}/{route}", params=parameters)

    def tell(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one message, once. Raises `MlflowRefused`, `MlflowUnreachable`."""
        return self._answer("POST", f"{_API}/{route}", json=dict(body))

    def place_of(self, uri: object) -> str:
        """Where in the server's own store an artifact URI leads. Raises `ArtifactsElsewhere`.

        `mlflow-artifacts:/1/ab/artifacts` and the same by the server's own address are that; `s3://`, `file:` and
        another host are not, and nobody goes there because a server says so.
        """
        text = uri if isinstance(uri, str) else ""
        own = self._address + _ARTIFACTS + "/"
        place = text.removeprefix(own) if text.startswith(own) else self._below_scheme(text)
        if not place or any(part in ("", ".", "..") for part in place.split("/")):
            raise ArtifactsElsewhere(_scheme_of(text))
        return place

    def _below_scheme(self, text: str) -> str:
        scheme, colon, rest = text.partition(":")
        if scheme != _SCHEME or not colon:
            return ""
        if rest.startswith("//"):
            named, _, rest = rest[2:].partition("/")
            if named not in ("", self.host):
                raise ArtifactsElsewhere(quoted(f"{_SCHEME}://{named}", quotes=False))
        return rest.strip("/")

    def folder(self, place: str) -> list[Listed]:
        """Return what lies in an artifact folder. Raises `MlflowRefused`, `MlflowUnreachable`."""
        found = self._answer("GET", _ARTIFACTS, params={"path": place}).get("files", [])
        if not isinstance(found, list):
            raise self._strange("lists no files")
        return [self._listed(item) for item in found]

    def _listed(self, item: Any) -> Listed:
        name = item.get("path") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
            raise self._strange("lists an artifact without a name of its own")
        if item.get("is_dir"):
            return Listed(name, None)
        try:
            size = int(item["file_size"])  # a text, as protobuf writes large numbers
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise self._strange(f"lists no size for {quoted(name)}") from exc
        if not 0 <= size < 1 << 45:
            raise self._strange(f"lists an impossible size for {quoted(name)}")
        return Listed(name, size)

    @contextmanager
    def bytes_of(self, place: str) -> Iterator[Iterator[bytes]]:
        """Give an artifact's bytes, block by block. Raises `MlflowUnreachable`, also while they are read."""
        headers = {"Accept-Encoding": "identity"}
        with self._asked("GET", f"{_ARTIFACTS}/{quote(place)}", extra_headers=headers) as response:
            if response.status_code != 200:
                raise self._strange(f"answers {response.status_code} for {quoted(place)}")
            yield self._blocks(response, place)

    def _blocks(self, response: "Response", place: str) -> Iterator[bytes]:
        from requests import RequestException  # noqa: PLC0415 - with mlflow-skinny, at an origin alone

        try:
            yield from response.iter_content(BLOCK)
        except RequestException as exc:
            raise MlflowUnreachable(self.host, f"broke off in {quoted(place)}") from exc

    def put(self, place: str, data: bytes) -> None:
        """Store an artifact. Raises `MlflowUnreachable`."""
        with self._asked("PUT", f"{_ARTIFACTS}/{quote(place)}", data=data) as response:
            if response.status_code != 200:
                raise self._strange(f"answers {response.status_code} to an artifact")

    def _answer(self, method: str, route: str, **options: Any) -> dict[str, Any]:
        with self._asked(method, route, **options) as response:
            status, data = response.status_code, self._bounded(response)
        try:
            found = parse(data or b"{}", max_bytes=MAX_ANSWER, max_values=MAX_VALUES, at="answer")
        except NotCanonical as exc:
            raise self._strange(f"answers {status} with no JSON ({exc.problem})") from exc
        if not isinstance(found, dict):
            raise self._strange(f"answers {status} with no JSON object")
        if status in (401, 403):
            raise MlflowUnreachable(self.host, f"answers {status}: it does not let this user in")
        if status != 200:
            code, said = str(found.get("error_code")), quoted(str(found.get("message")), quotes=False)
            if status >= 500 or "error_code" not in found:
                raise self._strange(f"answers {status}: {said}")
            raise MlflowRefused(code, said)
        return found

    def _bounded(self, response: "Response") -> bytes:
        data, began = bytearray(), time.monotonic()
        for block in self._blocks(response, "an answer"):
            data += block
            if len(data) > MAX_ANSWER:
                raise self._strange(f"answers with more than {MAX_ANSWER:,} bytes")
            if time.monotonic() - began > PATIENCE:
                raise MlflowUnreachable(self.host, "answers too slowly")
        return bytes(data)

    @contextmanager
    def _asked(self, method: str, route: str, **options: Any) -> Iterator["Response"]:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - a second of work, and only at an origin
        from mlflow.utils.credentials import get_default_host_creds  # noqa: PLC0415
        from mlflow.utils.rest_utils import http_request  # noqa: PLC0415

        try:
            response: Response = http_request(  # type: ignore[no-untyped-call]
                get_default_host_creds(self._address),  # type: ignore[no-untyped-call]
                route,
                method,
                max_retries=TRIES if method == "GET" else 0,
                backoff_factor=1,
                raise_on_status=False,
                respect_retry_after_header=False,
                timeout=TIMEOUT,
                stream=True,
                allow_redirects=False,
                **options,
            )
        except MlflowException as exc:
            raise MlflowUnreachable(self.host, "does not answer") from exc
        with response:
            if 300 <= response.status_code < 400:
                raise self._strange("sends its callers to another address")
            yield response

    def _strange(self, problem: str) -> MlflowUnreachable:
        return MlflowUnreachable(self.host, problem)


def _host_of(address: str) -> tuple[str, str | None]:
    """The host and port of an address, and what is wrong with it. A password is not repeated."""
    try:
        parts = urlsplit(address)
        host, _ = parts.netloc.rpartition("@")[2], parts.port
    except ValueError:
        return "", "is no address; write http://HOST:PORT"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        return host, "is no address of a server; write http://HOST:PORT"
    if "@" in parts.netloc:
        return (
            host,
            "has a password in its address, which every process list shows; set MLFLOW_TRACKING_PASSWORD",
        )
    return host, None


def _scheme_of(uri: str) -> str:
    """Enough of a URI to know where it leads; no path, and no key in one."""
    return quoted(uri.partition(":")[0] + ":" if ":" in uri else uri, limit=40, quotes=False)
