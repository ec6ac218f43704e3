"""Signing in with an identity provider: OpenID Connect, authorization code with PKCE. The server's one call outwards.

Made only where server.toml has [oidc], and only to that issuer. What is checked, in this order:

1. the browser that comes back is the one that was sent away (a cookie and the state, once, within minutes),
2. the issuer names itself in the answer, if it says that it does (RFC 9207: an answer of another one is refused),
3. the code is good for our verifier (PKCE; the provider checks that),
4. the ID token is signed by a key of the issuer now, by an algorithm with two keys; `none` and shared secrets are not,
5. it is from this issuer, for us, in force, and for the nonce of this very sign-in,
6. the name is one that an account may have, and a group gives it something (`accounts.vouching`).

Sources: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3; RFC 7636; RFC 9700 (best current practice)
"""

import hmac
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from signing.canonical import NotCanonical, parse
from signing.digests import sha256_hex
from tidegate.server.accounts.passkey_refusals import IdentityRefused, PasskeyRefused, ProviderFailed
from tidegate.server.accounts.passkeys import keep_question, take_question
from tidegate.server.premises import Premises
from tidegate.server.settings import OidcSettings, is_loopback

if TYPE_CHECKING:
    from authlib.integrations.requests_client import OAuth2Session

BACK = "/sign-in/oidc/done"
_WAITS = "identity provider"
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")  # all with a public key
_MAX_BYTES = 512 << 10  # of any answer
_TIMEOUT = (5.0, 10.0)  # seconds: to connect, and between two pieces
_SKEW = 60  # seconds that clocks may differ
_GROUPS = 500  # of one person
_lock = threading.Lock()
_known: dict[str, "Provider"] = {}


@dataclass(frozen=True)
class Provider:
    """What the issuer says of itself, and its keys when they were read last."""

    issuer: str
    authorization: str
    token: str
    keys_at: str
    userinfo: str | None
    names_itself: bool  # RFC 9207
    keys: dict[str, Any]


@dataclass(frozen=True)
class Person:
    """Whom the provider named."""

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Leaving:
    """Where a browser is sent, and what it has to bring back beside the answer."""

    address: str
    cookie: str


def leave(premises: Premises, origin: str, going: str) -> Leaving:
    """Return where to send a browser to sign in.

    Args:
        origin: of this site, as the provider knows it.
        going: the path of ours to open afterwards.

    Raises:
        ProviderFailed: it does not answer, or not as a provider does.
    """
    settings = _settings(premises)
    provider = _provider(settings)
    cookie, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
    about = {"browser": sha256_hex(cookie.encode()), "nonce": nonce, "verifier": verifier, "next": going}
    state = keep_question(premises, _WAITS, about)
    with _client(settings, redirect_uri=origin + BACK) as client:
        address, _ = client.create_authorization_url(
            provider.authorization, state=state, code_verifier=verifier, nonce=nonce
        )
    return Leaving(address, cookie)


def come_back(premises: Premises, origin: str, said: dict[str, str], cookie: str) -> tuple[Person, str]:
    """Return whom the provider named, and the path of ours to open.

    Args:
        said: the parameters of the address that the browser came back to.

    Raises:
        IdentityRefused: one of the checks above does not hold.
        ProviderFailed: the provider does not answer, or not as a provider does.
    """
    settings = _settings(premises)
    about = _asked(premises, said.get("state", ""), cookie)
    provider = _provider(settings)
    if said.get("iss", provider.issuer if not provider.names_itself else "") != provider.issuer:
        raise IdentityRefused("the answer is not of the issuer that was asked")
    if "error" in said or not said.get("code"):
        raise IdentityRefused(f"the provider signed nobody in ({said.get('error', 'no code')[:100]!r})")
    with _client(settings, redirect_uri=origin + BACK) as client:
        tokens = _exchange(client, provider, said["code"], about["verifier"])
        claims = _claims(settings, provider, str(tokens.get("id_token", "")), about["nonce"])
        claims = _completed(settings, provider, client, claims)
    return _person(settings, claims), about["next"]


def _settings(premises: Premises) -> OidcSettings:
    if premises.settings.oidc is None:
        raise IdentityRefused("no identity provider is named in server.toml")
    return premises.settings.oidc


def _asked(premises: Premises, state: str, cookie: str) -> dict[str, Any]:
    """1. Nobody is signed in by an answer that somebody else asked for."""
    try:
        about = take_question(premises, _WAITS, state)
    except PasskeyRefused as wrong:
        raise IdentityRefused(f"the sign-in does not go on: {wrong}") from wrong
    if not hmac.compare_digest(about["browser"], sha256_hex(cookie.encode())):
        raise IdentityRefused("the sign-in was begun in another browser")
    return about


# -- the provider -----------------------------------------------------------------------------------------


def _provider(settings: OidcSettings, *, anew: bool = False) -> Provider:
    """What the issuer says of itself, read once in the life of the process, and anew when its keys have changed."""
    with _lock:
        found = _known.get(settings.issuer)
        if found is None or anew:
            found = _known[settings.issuer] = _discover(settings)
        return found


def _discover(settings: OidcSettings) -> Provider:
    with _client(settings) as client:
        said = _get(client, settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if said.get("issuer") != settings.issuer:
            raise ProviderFailed(
                f"{settings.issuer} calls itself {str(said.get('issuer'))[:100]!r}; write that as issuer"
            )
        userinfo = said.get("userinfo_endpoint")
        return Provider(
            issuer=settings.issuer,
            authorization=_endpoint(settings, said, "authorization_endpoint"),
            token=_endpoint(settings, said, "token_endpoint"),
            keys_at=_endpoint(settings, said, "jwks_uri"),
            userinfo=None if userinfo is None else _endpoint(settings, said, "userinfo_endpoint"),
            names_itself=said.get("authorization_response_iss_parameter_supported") is True,
            keys=_get(client, _endpoint(settings, said, "jwks_uri")),
        )


def _endpoint(settings: OidcSettings, said: dict[str, Any], name: str) -> str:
    found = str(said.get(name, ""))
    _demand_private(found, f"{settings.issuer} names {name} {found[:100]!r}")
    return found


def _demand_private(address: str, what: str) -> None:
    try:
        parts = urlsplit(address)
        private = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    except ValueError:
        private = False
    if not private:
        raise ProviderFailed(f"{what}, and only https is private")


def _client(settings: OidcSettings, **more: Any) -> "OAuth2Session":
    """The client of authlib: bounded in time and bytes, following no redirects, asking no proxy."""
    from authlib.integrations.requests_client import OAuth2Session

    from tidegate.server.accounts.oidc_wire import Bounded

    _demand_private(settings.issuer, f"the issuer is {settings.issuer[:100]!r}")
    secret, path = None, settings.client_secret_file
    if path is not None:
        try:
            secret = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as wrong:
            raise ProviderFailed(f"{path} cannot be read") from wrong
    client = OAuth2Session(
        settings.client_id, secret, scope=" ".join(settings.scopes), code_challenge_method="S256",
        token_endpoint_auth_method="client_secret_basic" if secret else "none", **more,
    )  # fmt: skip
    client.trust_env = False
    client.verify = True if settings.certificates is None else str(settings.certificates)
    for scheme in ("https://", "http://"):
        client.mount(scheme, Bounded(timeout=_TIMEOUT, max_bytes=_MAX_BYTES))
    return client


def _get(client: "OAuth2Session", address: str, **more: Any) -> dict[str, Any]:
    import requests

    try:
        answer = client.get(address, allow_redirects=False, **{"withhold_token": True, **more})
    except (requests.RequestException, OSError) as wrong:
        raise ProviderFailed(f"{address} does not answer ({type(wrong).__name__})") from wrong
    if answer.status_code != 200:
        raise ProviderFailed(f"{address} answers {answer.status_code}")
    return _object(answer.content, address)


def _object(data: bytes, at: str) -> dict[str, Any]:
    try:
        value = parse(data, max_bytes=_MAX_BYTES, at=at)
    except NotCanonical as wrong:
        raise ProviderFailed(str(wrong)) from wrong
    if not isinstance(value, dict):
        raise ProviderFailed(f"{at}: no object")
    return value


# -- the answer -------------------------------------------------------------------------------------------


def _exchange(client: "OAuth2Session", provider: Provider, code: str, verifier: str) -> dict[str, Any]:
    """3. The code, for tokens."""
    import requests
    from authlib.integrations.base_client.errors import OAuthError

    try:
        found = client.fetch_token(
            provider.token, code=code[:4096], code_verifier=verifier, allow_redirects=False
        )
    except OAuthError as wrong:
        raise IdentityRefused(f"the provider takes the code no more ({str(wrong.error)[:60]})") from wrong
    except (requests.RequestException, OSError, ValueError) as wrong:
        raise ProviderFailed(f"{provider.token} does not answer ({type(wrong).__name__})") from wrong
    if not isinstance(found, dict):
        raise ProviderFailed(f"{provider.token} answers no object")
    return dict(found)


def _claims(settings: OidcSettings, provider: Provider, token: str, nonce: str) -> dict[str, Any]:
    """4 and 5: what the ID token says."""
    from joserfc.errors import InvalidKeyIdError, JoseError

    try:
        try:
            found = _decoded(token, provider)
        except (InvalidKeyIdError, KeyError):  # signed by a key that came since
            found = _decoded(token, _provider(settings, anew=True))
    except (JoseError, ValueError, TypeError, KeyError) as wrong:
        raise IdentityRefused(f"the ID token does not hold ({wrong})"[:200]) from wrong
    _demand_for_us(settings, provider, found, nonce)
    return found


def _decoded(token: str, provider: Provider) -> dict[str, Any]:
    from joserfc import jwt
    from joserfc.jwk import KeySet

    if len(token) > _MAX_BYTES:
        raise IdentityRefused("the ID token is too long")
    found = jwt.decode(token, KeySet.import_key_set(provider.keys), algorithms=list(ALGORITHMS))  # type: ignore[arg-type]
    jwt.JWTClaimsRegistry(leeway=_SKEW, exp={"essential": True}, iat={"essential": True}).validate(
        found.claims
    )
    return dict(found.claims)


def _demand_for_us(settings: OidcSettings, provider: Provider, claims: dict[str, Any], nonce: str) -> None:
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    said = str(claims.get("nonce", "")).encode(errors="replace")
    problems = {
        "the ID token is of another issuer": claims.get("iss") == provider.issuer,
        "the ID token is for somebody else": settings.client_id in meant,
        "the ID token is for several, and not asked for by us": (
            len(meant) == 1 or claims.get("azp") == settings.client_id
        ),
        "the ID token was made for another party": claims.get("azp", settings.client_id)
        == settings.client_id,
        "the ID token is not of this sign-in": hmac.compare_digest(said, nonce.encode()),
        "the ID token names nobody": isinstance(claims.get("sub"), str) and bool(claims["sub"]),
    }
    wrong = next((problem for problem, right in problems.items() if not right), None)
    if wrong is not None:
        raise IdentityRefused(wrong)


def _completed(
    settings: OidcSettings, provider: Provider, client: "OAuth2Session", claims: dict[str, Any]
) -> dict[str, Any]:
    """What the ID token leaves out, many providers say of the same person at the userinfo endpoint."""
    missing = {settings.name_claim, settings.groups_claim} - set(claims)
    if not missing or provider.userinfo is None:
        return claims
    said = _get(client, provider.userinfo, withhold_token=False)
    if said.get("sub") != claims["sub"]:
        raise IdentityRefused("the provider speaks of somebody else than the ID token")
    return {**{name: said[name] for name in missing if name in said}, **claims}


def _person(settings: OidcSettings, claims: dict[str, Any]) -> Person:
    """6. A name and groups, of the kinds that they have to be."""
    name, groups = claims.get(settings.name_claim), claims.get(settings.groups_claim, [])
    if not isinstance(name, str) or not name:
        raise IdentityRefused(f"the provider says no {settings.name_claim}")
    if isinstance(groups, str):
        groups = [groups]
    if (
        not isinstance(groups, list)
        or len(groups) > _GROUPS
        or not all(isinstance(one, str) for one in groups)
    ):
        raise IdentityRefused(f"the provider's {settings.groups_claim} is no list of groups")
    return Person(name, tuple(groups))
