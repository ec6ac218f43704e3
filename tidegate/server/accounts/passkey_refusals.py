"""What passkeys and other people's sign-ins refuse. Apart, so that they are known without a server."""

from typing import ClassVar

from tidegate.errors import DoorRefusal


class PasskeyRefused(DoorRefusal):
    """A browser's answer that does not hold: late, twice, by another passkey, or for another page."""

    exit_code: ClassVar[int] = 168
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = (
        "Load the page anew and try once more, with the passkey that it asks for and its PIN or fingerprint. "
        "`tidegate approve REF --tier TIER --person NAME --key FILE` signs without a browser."
    )


class IdentityRefused(DoorRefusal):
    """Somebody whom an identity provider or the proxy named, and who cannot be let in."""

    exit_code: ClassVar[int] = 169
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = (
        "Begin again at /sign-in. If that does not help, have an administrator compare [oidc] or [fronted] in "
        "server.toml with what the provider or the proxy says."
    )


class PasskeysNeedAName(DoorRefusal):
    """A site that is opened by an address, or in the clear: browsers make no passkeys there."""

    exit_code: ClassVar[int] = 185
    status: ClassVar[int] = 409
    next_step: ClassVar[str] = (
        'Set public_url = "https://NAME" in server.toml and open the site by that name. On the machine itself '
        "http://localhost works."
    )

    def __init__(self, origin: str) -> None:
        super().__init__(f"browsers make no passkeys for {origin[:100]}")
        self.origin = origin


class ProviderFailed(DoorRefusal):
    """The identity provider cannot be reached, or says something that no provider should."""

    exit_code: ClassVar[int] = 186
    status: ClassVar[int] = 502
    next_step: ClassVar[str] = (
        "Try again in a minute; sign in by password or passkey meanwhile. An administrator looks whether the issuer "
        "in server.toml answers from this machine (curl ISSUER/.well-known/openid-configuration)."
    )
