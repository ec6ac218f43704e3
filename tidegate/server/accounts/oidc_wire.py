"""How the identity provider is spoken to: with an end to the waiting, and to what is read.

Apart because it needs `requests` to be there to be defined, and a site without a provider need not load it.
"""

import io
from typing import Any

from requests import PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter


class Bounded(HTTPAdapter):
    """An adapter whose every request ends, and whose answers are of a size that can be held."""

    def __init__(self, *, timeout: tuple[float, float], max_bytes: int) -> None:
        self._timeout, self._max_bytes = timeout, max_bytes
        super().__init__(max_retries=0)

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
        """Send it. Raises `RequestException` when there is more than is read."""
        found = super().send(request, **{**options, "timeout": self._timeout, "stream": True})
        body = found.raw.read(self._max_bytes + 1, decode_content=True)
        if len(body) > self._max_bytes:
            found.close()
            raise RequestException("more bytes than are read")
        found.raw = io.BytesIO(body)
        return found
