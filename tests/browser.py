"""A real browser for tests: Debian's Chromium through Playwright, which downloads nothing.

It listens to what pages do: a violation of their policy, an error, a request to another host each fail the test.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

PATIENCE = 20_000  # milliseconds, on a machine where everything runs at once
WINDOW = (1440, 900)


def chromium() -> str:
    """The browser's program. Without one the test is skipped; in CI it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium: apt-get install chromium")
        pytest.skip("no chromium here: apt-get install chromium")
    return found


@dataclass
class Heard:
    """What was heard while pages were open, that should not have been."""

    problems: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()  # what a test provokes on purpose: parts of a message

    def note(self, said: str) -> None:
        if not any(part in said for part in self.expected):
            self.problems.append(said)

    def demand_silence(self) -> None:
        assert self.problems == []


@contextmanager
def browser() -> Iterator["Browser"]:
    """One browser; every test gets a context of its own in it."""
    from playwright.sync_api import sync_playwright

    program = chromium()
    with sync_playwright() as play:
        # Without a sandbox of its own: tests run as root in containers.
        running = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


@contextmanager
def visit(
    running: "Browser",
    url: str,
    *,
    token: str | None = None,
    scheme: str = "light",
    scripts: bool = True,
    window: tuple[int, int] = WINDOW,
    zone: str = "Europe/Berlin",
) -> Iterator[tuple["Page", Heard]]:
    """A page in a fresh context. With a token, every request to the host carries it, as a proxy's would."""
    context = running.new_context(
        base_url=url,
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=scripts,
        viewport={"width": window[0], "height": window[1]},
        timezone_id=zone,
        locale="en-GB",
        extra_http_headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    context.set_default_timeout(PATIENCE)
    heard = _listening(context, urlsplit(url).netloc)
    try:
        yield context.new_page(), heard
    finally:
        context.close()


def _listening(context: "BrowserContext", host: str) -> Heard:
    heard = Heard()

    def asked(request: "Request") -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != host:
            heard.note(f"a request left the host: {request.url}")

    def said(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            heard.note(f"{message.type} on {message.location.get('url', '')}: {message.text}")

    def opened(page: "Page") -> None:
        page.on("pageerror", lambda error: heard.note(f"a script failed: {error}"))

    context.on("request", asked)
    context.on("console", said)
    context.on("page", opened)
    return heard


def accessible(page: "Page", *, colours_alone: bool = False) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA: each rule with the first places that break it.

    Args:
        colours_alone: what else there is was looked at in the other colour scheme.
    """
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    rules: dict[str, object] = {
        "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    }
    if colours_alone:
        rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    found = Axe().run(page, options=rules).response["violations"]
    return [f"{rule['id']}: {'; '.join(node['html'][:160] for node in rule['nodes'][:3])}" for rule in found]
