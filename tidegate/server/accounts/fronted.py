"""Who asks by the word of the proxy on this machine: a sign-on in front of us, or a client certificate.

Believed over the unix socket alone, which nobody but the proxy can open, and only where [fronted] in server.toml names
the headers. Over TCP the same headers are letters that anybody can write: they are not looked at. The proxy empties
them in what clients send (`tidegate.server.nginx` writes such a configuration).

A certificate lets in the account that [fronted.names] gives it, by its subject or by the SHA-256 of its DER; that its
issuer is one of ours, and that it is in force, the proxy has checked.
"""

import functools
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from starlette.requests import Request

from registry.access import Principal, parse_grants
from tidegate.server.accounts.passkey_refusals import IdentityRefused
from tidegate.server.accounts.vouching import vouched
from tidegate.server.arrival import came_over_socket
from tidegate.server.premises import Premises
from tidegate.server.settings import FrontedSettings

# What the proxy says of its client's certificate.
VERIFIED, SUBJECT, CERTIFICATE = "X-Client-Verify", "X-Client-DN", "X-Client-Cert"
_LONGEST = 24 << 10  # characters of a header that is looked at; an escaped certificate has about 2,000
_GROUPS = 500  # of one person


def fronted(request: Request, premises: Premises) -> Principal | None:
    """Return whom the proxy named; None: nobody, or nobody who is believed.

    Raises:
        IdentityRefused: somebody who cannot be let in.
    """
    settings = premises.settings.fronted
    if settings is None or not came_over_socket(request):
        return None
    name = _said(request, settings.user_header)
    if name:
        return _signed_on(request, premises, settings, name)
    if settings.certificates and _said(request, VERIFIED) == "SUCCESS":
        return _certified(premises, settings, _said(request, CERTIFICATE))
    return None


def _signed_on(request: Request, premises: Premises, settings: FrontedSettings, name: str) -> Principal:
    said = _said(request, settings.groups_header)
    groups = [group.strip() for group in said.split(",") if group.strip()]
    if len(groups) > _GROUPS:
        raise IdentityRefused(f"{name[:64]!r} is in {len(groups)} groups")
    return Principal(name, vouched(premises, name, groups, settings.roles), "fronted")


def _certified(premises: Premises, settings: FrontedSettings, escaped: str) -> Principal:
    subject, fingerprint = _read(escaped)
    name = settings.names.get(f"sha256:{fingerprint}") or settings.names.get(subject)
    if name is None:
        raise IdentityRefused(f"the certificate of {subject[:200]} (sha256:{fingerprint}) is nobody's here")
    with premises.store.view() as view:
        account = view.account(name)
    if account is None or not account.active:
        raise IdentityRefused(f"the certificate of {subject[:200]} is {name}'s, who has no account")
    return Principal(account.name, parse_grants(account.grants), "certificate")


@functools.lru_cache(maxsize=256)
def _read(escaped: str) -> tuple[str, str]:
    """Subject (RFC 4514) and SHA-256 of a certificate as nginx escapes it."""
    try:
        found = x509.load_pem_x509_certificate(unquote(escaped).encode())
        return found.subject.rfc4514_string(), found.fingerprint(hashes.SHA256()).hex()
    except ValueError as wrong:
        raise IdentityRefused("the proxy hands over a certificate that is none") from wrong


def _said(request: Request, header: str | None) -> str:
    """What the proxy says in a header; nothing where there is none. Two of a name are nobody's word."""
    values = request.headers.getlist(header) if header else []
    if len(values) > 1 or any(len(value) > _LONGEST for value in values):
        raise IdentityRefused(f"the proxy says {header} more than once, or too much")
    return values[0].strip() if values else ""
