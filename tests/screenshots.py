"""Every page as a picture, in light and dark, to be looked at: `python -m tests.screenshots FOLDER [HOME'S FOLDER]`.

Without a home's folder the scene of `tests.scene` is built first, with a real engine; that takes some minutes.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser import browser, visit
from tests.scene import scene
from tests.server_world import served, token
from tests.story.judging_site import MODEL

if TYPE_CHECKING:
    from playwright.sync_api import Page


def addresses(page: "Page") -> Iterator[tuple[str, str]]:
    """(name, path) of each page worth a picture, found by walking from the lists."""
    yield "waiting", "/"
    yield "models", "/models"
    yield "model", f"/models/{MODEL}"
    page.goto(f"/models/{MODEL}")
    versions = list(dict.fromkeys(re.findall(r"/versions/([0-9a-f]{64})\"", page.content())))
    for digest in versions:
        ordinal = _text(page, f"/versions/{digest}", "h1").rpartition("@")[2]
        yield f"version-{ordinal}", f"/versions/{digest}"
        yield f"beside-{ordinal}", f"/versions/{digest}/beside"
        yield f"gate-{ordinal}", f"/gate/org/{digest}"
    yield "withdraw", f"/versions/{versions[-1]}/withdraw"
    page.goto("/requests")
    yield "requests", "/requests"
    for digest in dict.fromkeys(re.findall(r"/requests/([0-9a-f]{64})", page.content())):
        yield f"request-{digest[:6]}", f"/requests/{digest}"
    yield "tiers", "/tiers"
    yield "tier", f"/tiers/team/{MODEL}"
    yield "back", f"/tiers/team/{MODEL}/back"
    yield "nothing-found", "/models?q=nothing-like-it"
    yield "refusal", "/models/demo/there-is-none"
    yield "account", "/account"
    yield from _audit(versions)


def _audit(versions: list[str]) -> Iterator[tuple[str, str]]:
    """An auditor's pages, each with its name."""
    for name in (
        "timeline", "events/40", "pins", f"pins/org/{MODEL}", "people", "people/alice", "touched?who=alice", "transfers",
        "transfers/proved", "policies", "policies/org", "overrides", "breaches", "expiring?days=400", "exports",
        f"models/{MODEL}", f"search?q={versions[-1][:8]}", f"versions/{versions[0]}", f"versions/{versions[-1]}?prove=true",
    ):  # fmt: skip
        yield f"audit-{re.sub('[^a-z0-9]+', '-', name[:32])}", f"/audit/{name}"
    yield "audit", "/audit"


def _text(page: "Page", path: str, selector: str) -> str:
    page.goto(path)
    return page.locator(selector).inner_text()


def take(home: Path, out: Path) -> None:
    """Write a picture of every page, and name what was heard that should not have been."""
    out.mkdir(parents=True, exist_ok=True)
    key = token(home, "bob", "steward")
    with served(home) as server, browser() as running:
        with visit(running, server.url, token=key) as (page, _):
            pages = list(addresses(page))
        for scheme in ("light", "dark"):
            with visit(running, server.url, token=key, scheme=scheme) as (page, heard):
                for name, path in pages:
                    page.goto(path)
                    page.wait_for_load_state("networkidle")
                    page.screenshot(path=out / f"{name}-{scheme}.png", full_page=True)
            for problem in heard.problems:
                sys.stdout.write(f"{scheme}: {problem}\n")
        with visit(running, server.url, token=key, window=(420, 860)) as (page, _):
            for name, path in pages:
                page.goto(path)
                page.screenshot(path=out / f"{name}-narrow.png", full_page=True)
    sys.stdout.write(f"{len(pages)} pages in {out}\n")


def main() -> None:
    """Take them."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots")
    if len(sys.argv) > 2:
        take(Path(sys.argv[2]), out)
        return
    with tempfile.TemporaryDirectory() as folder:
        take(scene(Path(folder)).folder / "site", out)


if __name__ == "__main__":
    main()
