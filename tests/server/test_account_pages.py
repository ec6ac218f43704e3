"""Accounts in a real browser, at the real process: without scripts, in both schemes, for those who see little."""

import http.client
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from registry.access import parse_grants
from registry.accounts import Accounts
from registry.home import Home
from tests import browser, world
from tests.server_world import Served, premises, served, token
from tidegate.server.accounts import first

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NOW = datetime.now(UTC)
WORD = "four unrelated words here"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = world.new_home(tmp_path_factory.mktemp("accounts") / "site", name="clinic", now=NOW)
    token(made, "ci", "viewer:team")
    return made


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[Served]:
    with served(home.path) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    with browser.browser() as running:
        yield running


def code_for(home: Home, name: str, grants: str) -> str:
    with premises(home.path) as at:
        accounts = Accounts(at.store, actor="root", now=at.clock(), at_machine=True)
        accounts.become(name, parse_grants(grants))
        return bytes(first.new_code(at.doors, name, at.clock())).decode()


def fill(page: "Page", **fields: str) -> None:
    for name, value in fields.items():
        page.locator(f"form input[name={name}]:visible").first.fill(value)


def test_an_administrator_comes_in_without_scripts_and_lets_others_in(
    home: Home, server: Served, chromium: "Browser"
) -> None:
    """From the one-time code to a token, and out again."""
    code = code_for(home, "ada", "admin,viewer")
    with browser.visit(chromium, server.url, scripts=False) as (page, heard):
        page.goto("/account/all")
        assert "/sign-in?next=" in page.url
        page.get_by_role("link", name="Choose your password").click()
        fill(page, code=code, password=WORD, again=WORD)
        page.get_by_role("button", name="Keep it and sign in").click()
        [cookie] = page.context.cookies()
        assert ("__Host-tidegate", True, True) == (cookie["name"], cookie["httpOnly"], cookie["secure"])

        page.get_by_role("link", name="Accounts").click()
        fill(page, name="dora", grants="steward:org")
        page.get_by_role("button", name="Add").click()
        assert re.fullmatch(r"([A-Z2-7]{4}-){5}[A-Z2-7]{4}", page.locator(".secret").inner_text())
        page.goto("/account")
        page.get_by_text("Make a token").first.click()
        fill(page, label="laptop")
        page.get_by_role("button", name="Make the token").click()
        assert page.locator(".secret").inner_text().startswith("tdg_")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.goto("/account")
        assert "/sign-in" in page.url
    heard.demand_silence()


def test_who_sees_little_reads_every_page_in_both_schemes(
    home: Home, server: Served, chromium: "Browser"
) -> None:
    wrong: list[str] = []
    code = code_for(home, "hana", "admin,viewer")
    with browser.visit(chromium, server.url) as (page, heard):

        def look() -> None:
            for scheme in ("light", "dark"):
                # Without motion: a colour on its way from one scheme to the other is none that anybody reads.
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                found = browser.accessible(page, colours_alone=scheme == "dark")
                wrong.extend(f"{page.url}, {scheme}: {one}" for one in found)

        page.goto("/sign-in")
        look()
        page.goto("/sign-in/first")
        look()
        fill(page, code=code, password=WORD, again=WORD)
        page.get_by_role("button", name="Keep it and sign in").click()
        for path in ("/account", "/account/all", "/account/all/ci"):
            page.goto(path)
            look()
    assert [] == wrong
    heard.demand_silence()


def test_over_tcp_no_header_says_who_somebody_is(server: Served) -> None:
    """What nginx may say over its socket is ignored from everybody else; the process's real listener is asked."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=30)
    said = {
        "X-Remote-User": "ci", "X-Remote-Groups": "admins", "X-Client-Verify": "SUCCESS", "X-Client-DN": "CN=ci",
        "X-Forwarded-User": "ci", "Remote-User": "ci", "X-Real-IP": "127.0.0.1", "X-Forwarded-Proto": "https",
    }  # fmt: skip
    try:
        connection.request("GET", "/account", headers=said)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    assert (303, "/sign-in?next=%2Faccount") == (answer.status, answer.headers["location"])
