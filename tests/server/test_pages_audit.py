"""An auditor at a site where things went wrong: found by any name, seen as a picture, proved while it is shown.

What was edited in the tables behind the registry's back is shown as what it is, and never as verified. Nothing on
these pages changes anything, nothing that people typed becomes markup, and each page reads without scripts.
"""

import csv
import hashlib
import io
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines import audit_tar
from pipelines.audit_folder import Narrowing
from registry import policy_words, store_search
from registry.home import load
from registry.policy import DEFAULTS
from tests import browser
from tests.server_world import Served, door, served, token
from tests.tidegate import town as making
from tests.tidegate.town import MODEL, Town
from tests.world import at_work
from tidegate.server.log_watch import Look
from tidegate.server.pages.look import POLICY

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from starlette.testclient import TestClient

    from pipelines.workplace import Workplace

HOUSE = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert(1)</script> \"quoted\" 'so' \u202egnp.exe {{ 7 * 7 }}"
HELD = "VERIFIED, while this page was made"
FAILED = "NOT VERIFIED: "
# Pages made of the same pieces as another one: looked at in a narrow window alone.
ALIKE = ("nothing found", "life", "no event", "why", "people", "touched", "transfers out", "ends soon")
COLOURS = (
    "overview",
    "life, proved",
    "model",
    "why, by broken glass",
    "overrides",
)  # that differ in the dark
NARROW = 390  # pixels


@pytest.fixture(scope="module")
def clinic(built_serving: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """team went back from 2 to 1; alice broke the glass for 2 in org, which was withdrawn after; victor was refused."""
    made = making.copy(built_serving, tmp_path_factory.mktemp("clinic") / "town")
    org = (f"{MODEL}@2", "--tier", "org")
    made.site.type("approvals", "request", *org, "--reason", HOSTILE)
    made.site.as_("bob").type("rollback", MODEL, "--tier", "team", "--reason", "the wards complain")
    made.site.as_("alice").type("promote", *org, "--break-glass", *made.signs("alice"))
    made.site.as_("bob").type("models", "withdraw", f"{MODEL}@2", "--reason", HOSTILE)
    with door(made.site.home, token=token(made.site.home, "victor", "viewer")) as looks:
        assert 403 == looks.get("/audit").status_code
    return made


@pytest.fixture(scope="module")
def audrey(clinic: Town) -> str:
    return token(clinic.site.home, "audrey", "auditor")


@pytest.fixture(scope="module")
def desk(clinic: Town, audrey: str) -> Iterator["TestClient"]:
    with door(clinic.site.home, token=audrey) as client:
        yield client


@pytest.fixture(scope="module")
def server(clinic: Town, audrey: str) -> Iterator[Served]:
    with served(clinic.site.home) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with browser.browser() as running:
        yield running


def working(town: Town) -> AbstractContextManager["Workplace"]:
    return at_work(load(town.site.home), actor="audrey", now=datetime.now(UTC))


def versions(desk: "TestClient") -> list[str]:
    """Digests, newest first."""
    found = re.findall(r"/audit/versions/([0-9a-f]{64})", desk.get(f"/audit/models/{MODEL}").text)
    return list(dict.fromkeys(found))


def every_page(desk: "TestClient") -> dict[str, str]:
    """Every page of an auditor: name to address."""
    newest, oldest = versions(desk)
    return {
        "overview": "/audit",
        "search": f"/audit/search?q={newest[:8]}",
        "nothing found": "/audit/search?q=there-is-none",
        "life": f"/audit/versions/{newest}",
        "life, proved": f"/audit/versions/{oldest}?prove=true",
        "model": f"/audit/models/{MODEL}",
        "timeline": "/audit/timeline",
        "no event": "/audit/timeline?kind=upgraded",
        "event": "/audit/events/9",
        "served": "/audit/pins",
        "why": f"/audit/pins/team/{MODEL}",
        "why, by broken glass": f"/audit/pins/org/{MODEL}",
        "people": "/audit/people",
        "person": "/audit/people/alice",
        "touched": "/audit/touched?who=alice",
        "transfers": "/audit/transfers",
        "transfers out": "/audit/transfers?way=out",
        "transfers, proved": "/audit/transfers/proved",
        "policies": "/audit/policies",
        "policy": "/audit/policies/org",
        "overrides": "/audit/overrides",
        "breaches": "/audit/breaches",
        "ends soon": "/audit/expiring?days=400",
        "exports": "/audit/exports",
    }


# -- finding ------------------------------------------------------------------------------------------------


def test_one_box_finds_everything_by_any_name(clinic: Town, desk: "TestClient") -> None:
    newest, _ = versions(desk)
    bundle = re.findall(r"<td>([a-z0-9-]+)<span class=\"sub\">number", desk.get("/audit/transfers").text)[0]
    key = re.findall(r"<code>(SHA256:\S{43})</code>", desk.get("/audit/people/alice").text)[0]
    with working(clinic) as work, work.store.view() as view:
        row = view.version_by_digest(newest)
        assert row is not None
        blob = min(work.blobs.sizes())
    wanted = {
        newest: f"/audit/versions/{newest}",
        newest[:6]: f"/audit/versions/{newest}",
        f"sha256:{newest[:12].upper()}": f"/audit/versions/{newest}",
        row.revision: f"/audit/versions/{newest}",
        f"{MODEL}@2": f"/audit/versions/{newest}",
        f"{MODEL}@org": f"/audit/versions/{newest}",
        "toolcaller": f"/audit/models/{MODEL}",
        "alice": "/audit/people/alice",
        "victor": "/audit/people/victor",
        "ines": "/audit/people/ines",
        key: "/audit/touched?who=SHA256%3A",
        key[:16]: "/audit/touched?who=SHA256%3A",
        bundle: f"/audit/transfers?way=in&amp;bundle={bundle}",
        blob: f"/audit/timeline?subject={blob}",
        "7": "/audit/events/7",
        "#7": "/audit/events/7",
        "2026-11-20": "/audit/timeline?since=2026-11-20&amp;until=2026-11-20",
        "2026-11-01..2026-11-20": "/audit/timeline?since=2026-11-01&amp;until=2026-11-20",
    }
    for text, href in wanted.items():
        found = desk.get("/audit/search", params={"q": text}).text
        assert f'<a href="{href}' in found, text
        target = re.findall(f'<a href="({re.escape(href)}[^"]*)"', found)[0].replace("&amp;", "&")
        assert 200 == desk.get(target).status_code, target


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "%", "_", "\0", "9" * 12, "0" * 64, "a" * 200, "2026-99-99", "[", "é"]
)
def test_no_text_in_the_box_is_too_strange(desk: "TestClient", text: str) -> None:
    assert 200 == desk.get("/audit/search", params={"q": text}).status_code


def test_the_timeline_is_narrowed_and_turned_page_by_page(desk: "TestClient") -> None:
    def positions(path: str) -> list[int]:
        return [
            int(one) for one in re.findall(r'<a href="/audit/events/(\d+)">\d+</a></th>', desk.get(path).text)
        ]

    assert {"approved"} == _kinds(desk.get("/audit/timeline?kind=approved").text)
    assert positions("/audit/timeline?actor=bob") == sorted(
        positions("/audit/timeline?actor=bob"), reverse=True
    )
    assert [] == positions("/audit/timeline?until=2001-01-01")
    assert positions("/audit/timeline?since=2001-01-01") == positions("/audit/timeline")
    first = desk.get("/audit/timeline").text
    following = re.findall(r'href="(/audit/timeline\?after=[^"]+)"', first)
    if following:
        assert max(positions(following[0])) < min(positions("/audit/timeline"))
    for wrong in ("since=soon", "after=nonsense", "until=2026-13-01"):
        assert 400 <= desk.get(f"/audit/timeline?{wrong}").status_code < 500


def _kinds(text: str) -> set[str]:
    return set(re.findall(r'<td><span class="badge [a-z]+">([^<]+)</span></td>', text))


# -- a version's life, and one line of the log ------------------------------------------------------------------


def test_the_life_of_a_version_is_a_picture_and_the_same_list(desk: "TestClient") -> None:
    newest, oldest = versions(desk)
    told = desk.get(f"/audit/versions/{newest}").text
    steps = re.findall(r'class="step">([^<]+)<', told)
    for step in ("Taken in as @2", "Scanned", "Pinned in team", "BREAK-GLASS in org", "Withdrawn"):
        assert step in steps
        assert re.search(f"<h3>{step} *</h3>", told)
    assert [steps.index(one) for one in steps] == list(range(len(steps)))
    assert (
        len(steps)
        == len(re.findall(r'<li id="step-\d+"', told))
        == len(re.findall(r'href="#step-\d+"', told))
    )
    assert "nothing in it was proved yet" in told
    assert HELD not in told
    assert "VERIFIED" not in told
    proved = desk.get(f"/audit/versions/{oldest}?prove=true").text
    assert HELD in proved
    assert "Back in team" in re.findall(r'class="step">([^<]+)<', proved)
    assert proved.count(">VERIFIED</text>") == len(re.findall(r'<li id="step-\d+"', proved))
    short = desk.get(f"/audit/versions/{oldest[:10]}", follow_redirects=False)
    assert f"/audit/versions/{oldest}" == short.headers["location"]


def test_an_event_is_shown_with_all_that_proves_it_and_its_proof_holds_elsewhere(
    clinic: Town, desk: "TestClient", tmp_path: Path
) -> None:
    told = desk.get("/audit/events/9").text
    assert HELD in told
    key = re.findall(r"--key &#39;([^&]+)&#39;", told)[0]
    file = tmp_path / "9.tlog-proof"
    file.write_bytes(desk.get("/audit/events/9/proof").content)
    done = clinic.site.type("audit", "check-proof", file, "--key", key)
    assert "Event 9 of" in done.output
    assert "/actor</code></th><td>" in told  # opened: what stands in the leaf is a digest
    assert "&#34;salted&#34;" in told
    assert 404 == desk.get("/audit/events/999999").status_code
    assert 400 <= desk.get("/audit/events/nine").status_code < 500


def test_why_it_serves_who_said_so_and_the_page_they_saw(clinic: Town, desk: "TestClient") -> None:
    told = desk.get(f"/audit/pins/team/{MODEL}").text
    assert HELD in told
    page = clinic.site.type("audit", "decided", "team", MODEL, "--pages").stdout
    seen = re.findall(r"  \| (.*)", page)[0]
    assert seen in re.sub(r"&#39;", "'", told)
    assert "read the report" in told
    past = re.findall(r"\?at=([0-9TZ:-]+)\"", desk.get(f"/audit/models/{MODEL}").text)
    assert past
    for moment in past:
        assert 200 == desk.get(f"/audit/pins?at={moment}").status_code
    glass = desk.get(f"/audit/pins/org/{MODEL}").text
    assert "BREAK-GLASS" in glass
    assert 404 == desk.get(f"/audit/pins/org/{MODEL}?at=2001-01-01").status_code


# -- what was edited behind our back --------------------------------------------------------------------------------


EDITS = {
    "a pin's actor": "UPDATE pin SET actor = 'nobody' WHERE tier = 'team'",
    "an approval is gone": "DELETE FROM approval",
    "an approval's payload": "UPDATE approval SET payload = replace(payload, 'report', 'weather')",
    "the version's manifest": "UPDATE version SET manifest = replace(manifest, 'gguf', 'GGUF')",
    "a scan's outcome": "UPDATE report SET body = body || ' '",
    "a line put in": "INSERT INTO pin (tier, model, position, kind, version, ordinal, evidence, reason, since, actor) "
    "SELECT 'team', model, 9, 'promote', version, ordinal, '[]', '', '2026-11-30T00:00:00Z', 'bob' FROM pin LIMIT 1",
}


@pytest.mark.parametrize("what", EDITS)
def test_what_was_edited_is_never_shown_as_verified(
    clinic: Town, audrey: str, tmp_path: Path, what: str
) -> None:
    town = making.copy(clinic, tmp_path / "town")
    _edit(town, EDITS[what])
    with door(town.site.home, token=audrey) as desk:
        pages = [f"/audit/versions/{digest}?prove=true" for digest in versions(desk)]
        told = [desk.get(path) for path in (*pages, f"/audit/pins/team/{MODEL}")]
        assert [200] * len(told) == [one.status_code for one in told]
        doubted = [one.text for one in told if FAILED in one.text]
        assert doubted
        assert not any(HELD in one for one in doubted)


def test_an_edited_log_is_named_on_the_event_and_on_the_timeline(
    clinic: Town, audrey: str, tmp_path: Path
) -> None:
    town = making.copy(clinic, tmp_path / "town")
    _edit(town, "UPDATE event SET actor = 'somebody' WHERE position = 9")
    _edit(
        town, "UPDATE event SET leaf = replace(leaf, 'tidegate-event', 'tidegate_event') WHERE position = 8"
    )
    _edit(town, "UPDATE event SET openings = '[]' WHERE position = 7")
    with door(town.site.home, token=audrey) as desk:
        for position in (7, 8, 9):
            told = desk.get(f"/audit/events/{position}").text
            assert FAILED in told or "Stays closed" in told, position
            if position > 7:
                assert HELD not in told
        assert 2 <= desk.get("/audit/timeline?until=2099-01-01").text.count("NOT VERIFIED") <= 3


def test_the_banner_says_when_the_whole_log_last_held(clinic: Town, audrey: str) -> None:
    with door(clinic.site.home, token=audrey) as desk:
        assert "not looked yet" in desk.get("/audit").text
        watch = desk.app.state.log_watch  # type: ignore[attr-defined]
        watch.last = Look(datetime.now(UTC), 5, ())
        told = desk.get("/audit").text
        assert "The whole log holds:</b> 5 events" in told
        assert "newer events have not been looked at yet" in told
        watch.last = Look(datetime.now(UTC), 0, (f"refused: {HOSTILE}",))
        for path in ("/audit", "/audit/timeline", f"/audit/pins/team/{MODEL}"):
            told = desk.get(path).text
            assert "<script>alert" not in told
            assert "The log or the tables do not hold." in told
            assert "The whole log holds:" not in told


def _edit(town: Town, statement: str) -> None:
    with sqlite3.connect(town.site.home / "registry.db") as database:
        for (trigger,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f'DROP TRIGGER "{trigger}"')
        assert database.execute(statement).rowcount >= 1
    database.close()


# -- what is taken away -------------------------------------------------------------------------------------------------


def test_the_evidence_folder_comes_as_one_tar_and_proves_itself(desk: "TestClient", tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("tidegate-audit-*"))
    sent = desk.get("/audit/exports/evidence.tar")
    assert 200 == sent.status_code
    assert before == set(Path(tempfile.gettempdir()).glob("tidegate-audit-*"))
    with tarfile.open(fileobj=io.BytesIO(sent.content)) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / "clinic-audit"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    key = re.findall(r'class="breaks">([^<]+)<', desk.get("/audit/exports").text)[0]
    verifier = HOUSE / "airgap-bundles/verifier/verify.py"
    words = [sys.executable, str(verifier), "audit", str(folder), "--key", key]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    narrowed = desk.get("/audit/exports/evidence.tar", params={"model": MODEL, "redact": "true"})
    assert len(narrowed.content) < len(sent.content)
    for wrong in ({"model": "acme/there-is-none"}, {"model": "../x"}, {"since": "soon"}):
        assert 400 <= desk.get("/audit/exports/evidence.tar", params=wrong).status_code < 500
    assert before == set(Path(tempfile.gettempdir()).glob("tidegate-audit-*"))


def test_one_export_at_a_time_and_none_left_behind(clinic: Town, tmp_path: Path) -> None:
    with working(clinic) as work:
        pieces = audit_tar.tarred(work, tmp_path / "one", Narrowing(), name="one")
        with pytest.raises(audit_tar.ExportUnderWay):
            audit_tar.tarred(work, tmp_path / "two", Narrowing(), name="two")
        assert not (tmp_path / "two").exists()
        next(pieces)
        del pieces  # whoever asked has gone away
        assert not (tmp_path / "one").exists()
        assert max(map(len, audit_tar.tarred(work, tmp_path / "three", Narrowing(), name="x"))) <= 1 << 20
        assert not (tmp_path / "three").exists()


def test_transfers_as_a_spreadsheet_and_the_report_on_paper(desk: "TestClient") -> None:
    sent = desk.get("/audit/transfers.csv")
    lines = list(csv.DictReader(io.StringIO(sent.text)))
    assert {"in"} == {line["direction"] for line in lines}
    assert {"VERIFIED"} == {line["evidence"] for line in lines}
    assert "attachment" in sent.headers["content-disposition"]
    assert len(lines) > 2
    assert [] == list(csv.DictReader(io.StringIO(desk.get("/audit/transfers.csv?until=2001-01-01").text)))
    paper = desk.get("/audit/exports/report", params={"model": MODEL})
    assert "attachment" in paper.headers["content-disposition"]
    assert "<svg" in paper.text
    assert "<script" not in paper.text


def test_a_policy_reads_as_sentences_and_names_what_each_keeps_out(desk: "TestClient") -> None:
    told = desk.get("/audit/policies/org").text
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>.*?</tr>', told, re.DOTALL)
    assert "2 people have signed a yes after the last evidence, and no signed no stands." in rows
    assert "A withdrawn version never serves again." in rows
    assert f"{MODEL}@1</a>" in told
    for rules in DEFAULTS:
        said = policy_words.demands(rules)
        assert all(
            one.said[0].isupper() or one.said[0].isdigit() or one.said.startswith("team") for one in said
        )
        for check in (
            "withdrawn",
            "scan",
            "licence",
            "formats",
            "engine",
            "contract",
            "suite x",
            "approvals",
        ):
            assert 1 == sum(one.enforced_by(check) for one in said), check


# -- what every page keeps to ---------------------------------------------------------------------------------------------


def test_an_auditor_changes_nothing(clinic: Town, desk: "TestClient") -> None:
    """Only GET, and after every page has been shown the home is word for word what it was."""
    from tests.server.test_rights import guarded

    ours = [route for route in guarded(desk.app) if route.path.startswith("/audit")]  # type: ignore[arg-type]
    assert len(ours) > 20
    assert {"GET"} == {method for route in ours for method in route.methods or ()}
    before = _recorded(clinic)
    for path in every_page(desk).values():
        assert 200 == desk.get(path).status_code, path
        assert 405 == desk.post(path.partition("?")[0]).status_code
    assert before == _recorded(clinic)


def _recorded(town: Town) -> tuple[int, str]:
    with working(town) as work, work.store.view() as view:
        head = view.head()
        assert head is not None
        return head.size, head.root


def test_who_is_no_auditor_is_refused_everywhere(clinic: Town, desk: "TestClient", tmp_path: Path) -> None:
    town = making.copy(clinic, tmp_path / "town")
    with door(town.site.home, token=token(town.site.home, "vera", "viewer")) as looks:
        for path in every_page(desk).values():
            assert 403 == looks.get(path).status_code, path
        assert "/audit" not in looks.get("/").text
    with door(town.site.home) as nobody:
        assert 303 == nobody.get("/audit", follow_redirects=False).status_code
        assert 303 == nobody.get("/audit/exports/evidence.tar", follow_redirects=False).status_code


def test_every_page_is_strict_and_what_people_typed_stays_text(desk: "TestClient") -> None:
    shown = 0
    for path in every_page(desk).values():
        answer = desk.get(path)
        assert POLICY == answer.headers["content-security-policy"]
        assert not re.search(r"<script>|<script (?!src=)|<style|\sstyle=|\son[a-z]+=", answer.text), path
        assert not re.search(r"(src|href|action)=\"(https?:)?//", answer.text), path
        assert "\u202e" not in answer.text, path
        assert "<script>alert" not in answer.text, path
        shown += "&lt;script&gt;alert" in answer.text
    assert shown >= 4


def test_every_page_is_accessible_in_both_schemes_fits_a_narrow_window_and_stays_on_its_host(
    server: Served, desk: "TestClient", chromium: "Browser", audrey: str
) -> None:
    wrong, pages = [], every_page(desk)
    for scheme, names in (("light", pages.keys() - set(ALIKE)), ("dark", set(COLOURS))):
        with browser.visit(chromium, server.url, token=audrey, scheme=scheme) as (page, heard):
            for name in sorted(names):
                page.goto(pages[name])
                found = browser.accessible(page, colours_alone=scheme == "dark")
                wrong += [f"{name}, {scheme}: {one}" for one in found]
            heard.demand_silence()
    with browser.visit(chromium, server.url, token=audrey, window=(NARROW, 800)) as (page, heard):
        for name, path in pages.items():
            page.goto(path)
            if page.evaluate("document.documentElement.scrollWidth") != NARROW:
                wrong.append(f"{name}: scrolls sideways")
        heard.demand_silence()
    assert [] == wrong


def test_without_scripts_everything_is_asked_and_read(
    server: Served, chromium: "Browser", audrey: str
) -> None:
    with browser.visit(chromium, server.url, token=audrey, scripts=False, window=(NARROW, 800)) as (
        page,
        heard,
    ):
        page.goto("/audit")
        page.get_by_label("Search anything").fill(f"{MODEL}@1")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name=f"{MODEL}@1", exact=True).click()
        page.get_by_role("link", name="Prove every step now").click()
        assert HELD in page.locator("main").inner_text()
        page.get_by_role("link", name="why, and who decided").first.click()
        assert HELD in page.locator("main").inner_text()
        page.goto("/audit/timeline")
        page.get_by_label("Kind").select_option("approved")
        page.get_by_role("button", name="Show").click()
        assert {"approved"} == set(page.locator(".events .badge").all_inner_texts())
        heard.demand_silence()


def test_names_are_found_by_an_index_and_the_beginning_alone(clinic: Town) -> None:
    with working(clinic) as work, work.store.view() as view:
        assert ["alice"] == store_search.people(view, "ali")
        assert [] == store_search.people(view, "%")
        assert [] == store_search.by_prefix(view, "f" * 64)
        assert store_search.acted(view, "bob")
        assert not store_search.acted(view, "bo")
