"""What signing in and being signed in refuse: exit codes 162-166. Apart, so that commands know them without a server."""

from typing import ClassVar

from tidegate.errors import DoorRefusal


class PasswordUnusable(DoorRefusal):
    """A password that is too easy to guess, or that cannot be kept."""

    exit_code: ClassVar[int] = 162
    status: ClassVar[int] = 422
    next_step: ClassVar[str] = (
        "Type one of at least 12 characters, twice alike: four or five unrelated words are easy to keep in mind."
    )


class SignInRefused(DoorRefusal):
    """A name and password, a one-time code or a token that let nobody in. Of name and password it never says which."""

    exit_code: ClassVar[int] = 163
    status: ClassVar[int] = 401
    next_step: ClassVar[str] = (
        "Check what was typed or sent, and try again; `tidegate accounts password NAME --code` gives a new one-time code, "
        "`tidegate tokens create` or the page Account a new token."
    )


class SignInTooOld(DoorRefusal):
    """A session that began a while ago, and something that would outlive it: a token, a passkey, somebody's way in."""

    exit_code: ClassVar[int] = 173
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = "Sign out and in again, then repeat it within a quarter of an hour."

    def __init__(self, began: str) -> None:
        super().__init__(f"this browser signed in at {began}, too long ago for what would outlive that")
        self.began = began


class TooMany(DoorRefusal):
    """More tries, or more requests, than are let through."""

    exit_code: ClassVar[int] = 164
    status: ClassVar[int] = 429
    next_step: ClassVar[str] = (
        "Wait as long as the message says; an administrator opens a locked account with `tidegate accounts unlock NAME`."
    )

    def __init__(self, what: str, *, wait: int) -> None:
        """`wait`: seconds until it may work again."""
        super().__init__(f"{what}; try again in {_spoken(wait)}")
        self.what, self.wait = what, wait

    @property
    def headers(self) -> dict[str, str]:
        """What a client's own patience reads."""
        return {"Retry-After": str(self.wait)}


class RequestForeign(DoorRefusal):
    """A change asked for by a page that is not ours, in the name of whoever is signed in here."""

    exit_code: ClassVar[int] = 165
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = (
        "Open the page anew and send the form again. If it is refused again, the address in the browser is not the "
        "public_url of server.toml: correct the one or the other."
    )


class SignInInTheClear(DoorRefusal):
    """Signing in over plain HTTP, where everybody on the way could read the password and the session."""

    exit_code: ClassVar[int] = 166
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = (
        "Open the site by https: give `certificate` and `key` in server.toml, or put nginx in front. "
        "On the machine itself http://localhost works."
    )

    def __init__(self, host: str) -> None:
        super().__init__(f"nobody signs in over http to {host}")
        self.host = host


def _spoken(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} min"
