"""Whose page sent a request, and under which name we were asked: what keeps other sites out of a browser's session.

A browser says where a form or a script came from (`Sec-Fetch-Site`, `Origin`), and no page can make it say otherwise.
A request that changes something and says that it came from elsewhere is refused, however it shows who sends it: a
browser adds a cookie, and a name and password that it was once asked for, by itself. With a session, saying nothing is
refused too, and the form's own token has to be there (OWASP Cross-Site Request Forgery Prevention Cheat Sheet).

The name in `Host` has to be ours: a foreign name that was made to point at this machine (DNS rebinding) would turn a
foreign page into one of ours. Names that no foreign page can have are believed: addresses, names without a dot.
"""

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from tidegate.server.accounts.refusals import RequestForeign, SignInInTheClear
from tidegate.server.arrival import came_over_socket
from tidegate.server.settings import ServerSettings, is_loopback

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # change nothing (RFC 9110, section 9.2.1)
TOKEN_HEADER, TOKEN_FIELD = "x-csrf-token", "csrf"


def demand_our_name(request: HTTPConnection, settings: ServerSettings) -> None:
    """Raise `RequestForeign` when we are called by a name that somebody else could have given us."""
    host = _host(request)
    ours = None if settings.public_url is None else urlsplit(settings.public_url).hostname
    if host not in (ours, None) and "." in host and not _is_address(host) and not came_over_socket(request):
        raise RequestForeign(
            f"{host[:100]!r} is not the name of this site; `public_url` in server.toml says which is"
        )


def demand_our_page(request: HTTPConnection, settings: ServerSettings, *, said: bool) -> None:
    """Raise `RequestForeign` for a request that came from another site's page.

    Args:
        said: also when the request does not say where it came from: no browser does so, but programs do.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise RequestForeign("the form was sent by a page of another site")
    # A browser says "null" of a page that is to leave no traces, as ours are; then the other header has to speak.
    hidden = origin == "null" and site is not None
    if origin is not None and not hidden and origin not in _ours(request, settings):
        raise RequestForeign(f"the form was sent by a page of {origin[:100]!r}")
    if said and site is None and origin is None:
        raise RequestForeign("the request does not say which page it came from")


def demand_token(sent: str | None, kept: str) -> None:
    """Raise `RequestForeign` unless the form holds the session's own token."""
    if sent is None or not secrets.compare_digest(sent.encode(), kept.encode()):
        raise RequestForeign(
            "the form is not one of this session: it was opened before signing in, or is a stranger's"
        )


def demand_private(request: HTTPConnection) -> None:
    """Raise `SignInInTheClear` where others could read what is sent: only https is private, and the machine itself."""
    if request.url.scheme != "https" and (came_over_socket(request) or not is_loopback(_host(request))):
        raise SignInInTheClear((_host(request) or "this address")[:100])


def address_of(request: HTTPConnection) -> str:
    """Whom a limit counts: an IPv4 address, or the /64 of an IPv6 one, of which everybody has as many as they like."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64] or "the proxy"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _ours(request: HTTPConnection, settings: ServerSettings) -> tuple[str, ...]:
    asked = f"{request.url.scheme}://{request.headers.get('host', '')}"
    return (asked,) if settings.public_url is None else (asked, settings.public_url.rstrip("/"))


def _host(request: HTTPConnection) -> str | None:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return "an unreadable.name"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def safe_path(text: str | None) -> str:
    """Where to go after signing in: a path of ours, never another site's address."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")):
        return "/"
    if any(ord(char) < 32 or char == "\\" for char in text) or len(text) > 2000:
        return "/"
    return text
