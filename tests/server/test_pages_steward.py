"""A steward's day in a real browser: what waits, a version beside the one that serves, approve, promote, go back.

And what every page keeps to: nothing inline, no request off the host, WCAG AA in both colour schemes, readable
without scripts, reachable by keyboard, and no text that was typed somewhere turns into markup.
"""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import browser
from tests.server import passkey_world as people
from tests.server_world import Served, door, served, token
from tests.tidegate import town as making
from tests.tidegate.town import MODEL, Town
from tidegate.server.pages import static
from tidegate.server.pages.look import POLICY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from starlette.testclient import TestClient

NARROW = "pubKeyCredParams"  # Chromium would have RSA, too
HOSTILE = "<script>alert(1)</script> \"quoted\" 'so' \u202egnp.exe {{ 7 * 7 }}"


@pytest.fixture(scope="module")
def clinic(built_serving: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """team serves 2 after 1; ines asks for 2 in org; alice and bob are stewards with accounts."""
    made = making.copy(built_serving, tmp_path_factory.mktemp("clinic") / "town")
    made.site.type("approvals", "request", f"{MODEL}@2", "--tier", "org", "--reason", "the wards ask for it")
    people.known(made.site.home, "alice", "steward")
    people.known(made.site.home, "victor", "viewer")
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with browser.browser() as running:
        yield running


@pytest.fixture(scope="module")
def server(clinic: Town) -> Iterator[Served]:
    with served(clinic.site.home) as running:
        yield running


@pytest.fixture(scope="module")
def bob(clinic: Town) -> str:
    return token(clinic.site.home, "bob", "steward")


@pytest.fixture(scope="module")
def desk(clinic: Town, bob: str) -> Iterator["TestClient"]:
    with door(clinic.site.home, token=bob) as client:
        yield client


def every_page(desk: "TestClient") -> dict[str, str]:
    """Every steward's page of this home: name to address."""
    model = desk.get(f"/models/{MODEL}").text
    newest, oldest = dict.fromkeys(re.findall(r"/versions/([0-9a-f]{64})\"", model))
    asked = re.findall(r"/requests/([0-9a-f]{64})", desk.get("/requests").text)[0]
    evidence = re.findall(r"/evidence/([0-9a-f]{64})", desk.get(f"/versions/{newest}").text)[0]
    return {
        "waiting": "/",
        "models": "/models",
        "nothing found": "/models?q=there-is-none",
        "model": f"/models/{MODEL}",
        "version": f"/versions/{newest}",
        "beside": f"/versions/{newest}/beside?with={oldest}",
        "withdraw": f"/versions/{newest}/withdraw",
        "gate": f"/gate/org/{newest}",
        "requests": "/requests",
        "request": f"/requests/{asked}",
        "evidence": f"/evidence/{evidence}",
        "tiers": "/tiers",
        "tier": f"/tiers/team/{MODEL}",
        "back": f"/tiers/team/{MODEL}/back",
    }


# -- the story ------------------------------------------------------------------------------------------


def test_a_stewards_day(built_serving: Town, tmp_path: Path, chromium: "Browser") -> None:
    """Alice approves with her passkey, bob with a key of his own; bob promotes to org, and takes team back."""
    town = making.copy(built_serving, tmp_path / "town")
    town.site.type("approvals", "request", f"{MODEL}@2", "--tier", "org", "--reason", "the wards ask for it")
    people.known(town.site.home, "alice", "steward")
    key = token(town.site.home, "bob", "steward")
    with served(town.site.home) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with browser.visit(chromium, url) as (page, heard), people.plugged_in(page):
            heard.expected = (NARROW,)
            people.signs_in(page, "alice")
            _registered(town, people.makes_passkey(page, "blue token"))
            page.goto("/")
            assert "1 thing waits for you" == page.locator("h1").inner_text()
            page.get_by_role("link", name=f"{MODEL}@2 for org").click()
            assert f"May org of clinic serve {MODEL}@2?" in page.locator("pre.said").inner_text()
            page.get_by_label("Comment").first.fill("read the report")
            page.get_by_role("button", name="Approve with passkey").click()
            page.get_by_role("heading", name="1 of 2 approvals").wait_for()
            page.get_by_text("You answered approve already").wait_for()
            page.goto("/")
            assert "Nothing waits for you" == page.locator("h1").inner_text()
            heard.demand_silence()
        with browser.visit(chromium, url, token=key) as (page, heard):
            _signs_elsewhere(town, page, "bob")
            page.get_by_role("heading", name="2 of 2 approvals").wait_for()
            page.get_by_role("link", name="Promote…").click()
            page.get_by_label("Why", exact=True).fill("for everybody")
            page.get_by_role("button", name="Promote to org").click()
            page.get_by_text("org serves @2 now.").wait_for()

            page.goto(f"/tiers/team/{MODEL}")
            page.get_by_role("link", name="Go back…").click()
            moves = page.locator("table.change tr.moves").all_inner_texts()
            assert ["Version"] == [line.split()[0] for line in moves]  # everything else stays
            page.get_by_label("Why").fill("the wards complain")
            page.get_by_role("button", name="Go back to @1").click()
            page.get_by_text("team serves @1 again.").wait_for()
            heard.demand_silence()
    assert {"team": 1, "org": 2} == town.serves()
    town.site.type("audit", "verify")


def _registered(town: Town, line: str) -> None:
    """Alice's passkey takes the place of her key, by the word of both stewards."""
    file = town.folder / "passkey.pub"
    file.write_text(line + "\n")
    town.site.type("people", "add", "alice", "--public-key", file, "--role", "steward", *town.signs("alice"))
    town.site.type("people", "confirm", "alice", *town.signs("bob"))


def _signs_elsewhere(town: Town, page: "Page", person: str) -> None:
    """Takes the file, signs it with OpenSSH's own tool, pastes what that wrote."""
    page.goto("/")
    page.get_by_role("link", name=f"{MODEL}@2 for org").click()
    page.get_by_label("approve").check()
    page.get_by_label("Comment").fill("looked at the scan")
    page.get_by_role("button", name="Go on to sign").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download").click()
    file = town.folder / taken.value.suggested_filename
    taken.value.save_as(file)
    command = page.locator(".walk .cli code").inner_text().replace("KEY", str(town.key(person)), 1).split()
    subprocess.run([*command[:-1], str(file)], check=True, capture_output=True)
    page.get_by_label("Signature").fill(file.with_name(f"{file.name}.sig").read_text())
    page.get_by_role("button", name="Approve", exact=True).click()


# -- what every page keeps to -----------------------------------------------------------------------------


def test_every_page_is_accessible_and_stays_on_its_host(
    server: Served, desk: "TestClient", chromium: "Browser", bob: str
) -> None:
    wrong = []
    for scheme in ("light", "dark"):
        with browser.visit(chromium, server.url, token=bob, scheme=scheme) as (page, heard):
            for name, path in every_page(desk).items():
                page.goto(path)
                found = browser.accessible(page, colours_alone=scheme == "dark")
                wrong += [f"{name}, {scheme}: {one}" for one in found]
            heard.demand_silence()
    assert [] == wrong


def test_a_narrow_window_scrolls_down_and_not_sideways(
    server: Served, desk: "TestClient", chromium: "Browser", bob: str
) -> None:
    with browser.visit(chromium, server.url, token=bob, window=(390, 800)) as (page, _):
        for name, path in every_page(desk).items():
            page.goto(path)
            assert 390 == page.evaluate("document.documentElement.scrollWidth"), name


def test_without_scripts_everything_is_read_and_asked(
    server: Served, desk: "TestClient", chromium: "Browser", bob: str
) -> None:
    with browser.visit(chromium, server.url, token=bob, scripts=False) as (page, heard):
        for path in every_page(desk).values():
            page.goto(path)
            assert page.locator("main").inner_text().strip()
            assert 0 == page.locator(".needs-script:visible, button.copy:visible").count()
        page.goto("/models")
        page.get_by_role("searchbox", name="Name, or the beginning").fill("toolcaller")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("link", name=MODEL).click()
        assert MODEL == page.locator("h1").inner_text()
        page.get_by_role("link", name="@1", exact=True).click()
        page.get_by_role("link", name="org gate").click()
        page.get_by_label("Why should it serve").fill("a way back")
        page.get_by_role("button", name="Ask", exact=True).click()
        assert "Asked by bob: a way back" in page.locator("pre.said").inner_text()
        heard.demand_silence()


def test_by_keyboard_alone(server: Served, chromium: "Browser", bob: str) -> None:
    """Skip link, `/` to find, Ctrl-K to go, colours turned and kept."""
    with browser.visit(chromium, server.url, token=bob) as (page, heard):
        page.goto("/")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert "main" == page.evaluate("document.activeElement.id")
        page.keyboard.press("/")
        page.keyboard.type("tiny")
        page.keyboard.press("Enter")
        page.wait_for_url("**/models?q=tiny")
        page.keyboard.press("Control+k")
        page.keyboard.type("tiers")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tiers")
        page.keyboard.press("Control+k")
        page.keyboard.type("nowhere")
        page.keyboard.press("Enter")
        page.wait_for_url("**/models?q=nowhere")
        page.get_by_role("button", name="Light or dark").press("Enter")
        page.goto("/tiers")
        assert "dark" == page.evaluate("document.documentElement.dataset.theme")
        heard.demand_silence()


def test_times_are_said_in_two_zones_and_digests_are_copied_whole(
    server: Served, desk: "TestClient", chromium: "Browser", bob: str
) -> None:
    path = every_page(desk)["version"]
    with browser.visit(chromium, server.url, token=bob, zone="Asia/Kolkata") as (page, heard):
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(path)
        assert page.locator("time").first.inner_text().endswith(" UTC")
        assert page.locator(".local").first.inner_text().endswith(" here")
        page.get_by_role("button", name="Copy digest").first.click()
        page.get_by_text("Copied.").wait_for()
        assert path.rpartition("/")[2] == page.evaluate("navigator.clipboard.readText()")
        heard.demand_silence()


# -- without a browser --------------------------------------------------------------------------------------


def test_every_page_has_the_strict_policy_and_nothing_inline(desk: "TestClient") -> None:
    for path in every_page(desk).values():
        answer = desk.get(path)
        assert 200 == answer.status_code, path
        assert POLICY == answer.headers["content-security-policy"]
        assert not re.search(r"<script>|<script (?!src=)|<style|\sstyle=|\son[a-z]+=", answer.text), path
        assert not re.search(r"(src|href|action)=\"(https?:)?//", answer.text), path


def test_what_people_type_stays_text(built_serving: Town, tmp_path: Path) -> None:
    """Their reasons stand on many pages; hidden characters are shown by number."""
    town = making.copy(built_serving, tmp_path / "town")
    key = token(town.site.home, "bob", "steward")
    with door(town.site.home, token=key) as desk:
        newest = re.findall(r"/versions/([0-9a-f]{64})\"", desk.get(f"/models/{MODEL}").text)[0]
        done = desk.post(f"/gate/org/{newest}/ask", data={"reason": HOSTILE})
        assert f"/requests/{'x' * 64}"[:10] == done.url.path[:10]
        for path in ("/", "/requests", done.url.path, f"/gate/org/{newest}"):
            text = desk.get(path).text
            assert "<script>alert" not in text
            assert "\u202e" not in text
            assert "49" not in re.findall(r"quoted.{0,60}", text)
        assert "⟨U+202E⟩" in desk.get("/").text
        gone = desk.post(f"/versions/{newest}/withdraw", data={"reason": HOSTILE})
        assert "Withdrawn: &lt;script&gt;" in gone.text


def test_a_refusal_says_what_where_what_next_and_its_code(desk: "TestClient") -> None:
    answer = desk.get("/models/acme/there-is-none", follow_redirects=False)
    assert 404 == answer.status_code
    assert "No model &#39;acme/there-is-none&#39; in this home" in answer.text
    assert "<code>tidegate models list</code>" in answer.text
    for part in ("What to do next", "/models/acme/there-is-none", ">41<", "NotFound"):
        assert part in answer.text
    newest = every_page(desk)["version"].rpartition("/")[2]
    closed = desk.post(f"/gate/org/{newest}/promote", data={"reason": "now"})
    assert 409 == closed.status_code
    assert "checks are against" in closed.text
    assert 400 <= desk.post(f"/gate/org/{newest}/ask", data={"reason": "  "}).status_code < 500
    assert 400 <= desk.get("/models?after=nonsense").status_code < 500


@pytest.mark.parametrize(
    "path", ["/there-is-none", "/sign-out", "/tiers/⟨⟩/" + "x" * 900, "/models/a/b/c/%3Cb%3E"]
)
def test_an_address_without_a_page_is_said_in_the_houses_look(desk: "TestClient", path: str) -> None:
    shown = desk.get(path, headers={"accept": "text/html,*/*;q=0.8"})
    assert (404, "text/html; charset=utf-8") == (shown.status_code, shown.headers["content-type"])
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    for part in ("No page", "What to do next", 'class="brand"', 'href="/"'):
        assert part in shown.text
    assert "<b>" not in shown.text


def test_who_is_signed_out_meanwhile_is_led_to_the_sign_in(clinic: Town) -> None:
    with door(clinic.site.home) as nobody:
        refused = nobody.post(f"/tiers/org/{MODEL}/back", data={"reason": "because"})
    assert 401 == refused.status_code
    assert 'href="/sign-in">Sign in<' in refused.text


def test_a_program_that_asks_at_no_address_reads_what_to_do(desk: "TestClient") -> None:
    lost = desk.get("/api/v1/there-is-none")
    assert (404, 41, "NotFound") == (lost.status_code, lost.json()["exit_code"], lost.json()["title"])
    held_wrongly = desk.post("/models", headers={"accept": "text/html"})
    assert (405, 405, "GET") == (
        held_wrongly.status_code,
        held_wrongly.json()["status"],
        held_wrongly.headers["allow"],
    )
    assert "/models does not take POST" in held_wrongly.json()["detail"]


def test_who_may_only_look_gets_no_form_and_who_holds_one_tier_no_other(
    clinic: Town, desk: "TestClient"
) -> None:
    pages = every_page(desk)
    newest = pages["version"].rpartition("/")[2]
    with door(clinic.site.home, token=token(clinic.site.home, "victor", "viewer")) as looks:
        for path in (pages["waiting"], pages["gate"], pages["request"], pages["tier"], pages["version"]):
            found = looks.get(path)
            assert 200 == found.status_code
            assert "<textarea" not in found.text
        for path in (
            f"/gate/org/{newest}/promote",
            f"/gate/org/{newest}/ask",
            f"/versions/{newest}/withdraw",
        ):
            assert 403 == looks.post(path, data={"reason": "because"}).status_code
    with door(clinic.site.home, token=token(clinic.site.home, "tina", "steward:team")) as one_tier:
        assert 403 == one_tier.post(f"/gate/org/{newest}/promote", data={"reason": "because"}).status_code
        assert 403 == one_tier.get(pages["withdraw"]).status_code
        assert 403 == one_tier.post(f"/tiers/org/{MODEL}/back", data={"reason": "because"}).status_code


def test_an_answer_of_somebody_else_or_about_something_else_is_refused(desk: "TestClient") -> None:
    """The bytes travel through the browser; nothing is believed of them but the signature."""
    path = every_page(desk)["request"]
    made = desk.post(f"{path}/prepare", data={"decision": "approve", "reason": "fine"}).text
    payload = re.findall(r'name="payload" value="([^"]+)"', made)[0]
    for fields in (
        {"payload": payload, "signature": "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"},
        {"payload": payload[:-8], "signature": "x"},
        {"payload": "e30=", "signature": "x"},
        {"payload": "%%%", "signature": "x"},
    ):
        assert 400 <= desk.post(f"{path}/answer", data=fields).status_code < 500
        assert 400 <= desk.post(f"{path}/payload", data={"payload": "e30="}).status_code < 500
    assert 400 <= desk.post(f"{path}/prepare", data={"decision": "maybe", "reason": "x"}).status_code < 500
    assert "Nobody has answered yet" in desk.get(path).text


def test_what_was_vendored_is_what_the_list_says() -> None:
    lines = (static.FOLDER / static.SUMS).read_text().splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in static.FOLDER.iterdir()
        if path.name != static.SUMS
    }
    assert found == listed
    style = (static.FOLDER / "site.css").read_text()
    assert set(re.findall(r'url\("([^"]+)"\)', style)) <= set(found)
    assert "http" not in style


def test_assets_are_kept_by_browsers_and_nothing_else_is_sent(desk: "TestClient") -> None:
    first = desk.get(static.address("site.css"))
    assert "max-age=31536000" in first.headers["cache-control"]
    again = desk.get("/static/site.css", headers={"if-none-match": first.headers["etag"]})
    assert (304, b"") == (again.status_code, again.content)
    for name in ("SHA256SUMS", "..%2Fapp.py", "%2e%2e%2fapp.py", "app.py"):
        assert 404 == desk.get(f"/static/{name}").status_code
