"""A home whose stewards are known at the doors, and a browser with a token plugged in that somebody always touches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.access import parse_grants
from registry.accounts import Accounts
from signing.hidden import Hidden
from tests.people import set_person
from tidegate.server.accounts.keeping import set_password
from tidegate.settings import from_environment
from tidegate.wiring import App

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

PASSWORD = "four unrelated words of alice"
ALICE_FILE = Ed25519PrivateKey.from_private_bytes(b"\x0a" * 32)


def known(home: Path, account: str, grants: str, *, password: bool = True) -> None:
    """An account, with a password or with no way to sign in yet."""
    app = App(from_environment(home=home, actor="root"))
    try:
        from registry.store_doors import DoorStore

        accounts = Accounts(app.store, actor="root", now=app.now, at_machine=True)
        accounts.become(account, parse_grants(grants))
        if password:
            set_password(accounts, DoorStore(app.store), account, Hidden(PASSWORD.encode()), now=app.now)
    finally:
        app.close()


def becomes(home: Path, person: str, public_key: str, by: dict[str, Ed25519PrivateKey]) -> None:
    """Put a key in force for a person, by the stewards that it takes."""
    app = App(from_environment(home=home, actor="root"))
    try:
        set_person(app.work, person, public_key=public_key, by=by)
    finally:
        app.close()


@contextmanager
def plugged_in(page: "Page", **other: Any) -> Iterator[tuple["CDPSession", str]]:
    """A virtual authenticator: its protocol session and id."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "usb", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True, **other,
    }  # fmt: skip
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    try:
        yield session, made["authenticatorId"]
    finally:
        session.detach()


def signs_in(page: "Page", name: str) -> None:
    """By password, as a person does."""
    page.goto("/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/")


def makes_passkey(page: "Page", title: str) -> str:
    """On the account's page; returns its OpenSSH line."""
    page.goto("/account/passkeys")
    page.locator("form[data-passkey=register]").get_by_label("Name").fill(title)
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_role("heading", name=title).wait_for()
    shown = page.locator("section", has=page.get_by_role("heading", name=title)).locator("code").first
    return str(shown.text_content())
