"""The journey's doors: a site is opened to people and programs that know nothing of Tidegate, while its pins move."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import pause

from demo.story import MODEL, Story

_REFUSED = 1  # the exit code of Hugging Face's client
_GRANTS = {"alice": "steward", "audrey": "auditor"}


@contextmanager
def opened(story: Story) -> Iterator[str]:
    """Serve the site's home on a free port of the loopback until the block ends; yields the address."""
    with story.background("tidegate serve --listen 127.0.0.1:0 --home site") as said:
        [address] = re.findall(r"http://\S+", said)
        yield address


def introduce(story: Story) -> None:
    """What the chapter is about; the doors open after it."""
    story.chapter(
        "The doors: everybody keeps the tools they have",
        """One process opens the site: to model clients as they are, to browsers, and to the command line elsewhere. A tier is a
        revision. Who shows nothing gets nothing; a program shows a token, of which only the SHA-256 is kept.""",
    )
    story.run("tidegate accounts add desk --grants viewer --program --home site --actor ada", quiet=True)
    said = story.run(
        "tidegate tokens create desk --label download --grants viewer --days 1 --home site --actor ada",
        quiet=True,
    )
    token = said.split()[0]
    story.export(HF_TOKEN=token, TIDEGATE_TOKEN=token)
    quiet = ("HF_HUB_DISABLE_UPDATE_CHECK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")
    story.exports |= {"HF_HOME": str(story.folder / "hf"), **dict.fromkeys((*quiet, "NO_COLOR"), "1")}


def visit(story: Story, address: str) -> str:
    """An unmodified client, one that is refused, a command from elsewhere, the pages. Returns the commit that team serves."""
    story.export(HF_ENDPOINT=address)
    commit = download(story)
    story.say("Version 3 never served here. The client is told what the gate says:")
    story.run(f"hf download {MODEL} --revision 3", ends=_REFUSED)
    story.say("From another machine the command line asks the same home, with the same answers:")
    story.run(f"tidegate pins --server {address}")
    story.say(
        f"(people open {address}/ in a browser; `make demo DEMO='--serve'` leaves it open for that at the end)"
    )
    return commit


def download(story: Story) -> str:
    """Take what team serves; return the commit that the client wrote down."""
    said = story.run(f"hf download {MODEL} --revision team")
    [commit] = re.findall(r"/snapshots/([0-9a-f]{40})", said)
    return str(commit)


def stay_open(story: Story) -> None:
    """After the journey: let people look at the pages until Ctrl-C."""
    story.exports.clear()
    story.chapter(
        "The site stays open",
        """Sam asks for version 3 in org, so that something waits for the stewards. Alice and an auditor open the address below,
        choose a password with their code, and look around. A passkey can be made there, too: Account, Passkeys.""",
    )
    story.run(
        f"tidegate approvals request {MODEL}@3 --tier org --reason 'the wards want it back' --home site --actor sam",
        quiet=True,
    )
    codes = {name: _account(story, name, grants) for name, grants in _GRANTS.items()}
    with opened(story) as address:
        port = address.rpartition(":")[2]
        print(f"\n  http://localhost:{port}/sign-in/first\n")
        for name, code in codes.items():
            print(f"  {name:8} {_GRANTS[name]:10} one-time code {code}")
        print("\n  Ctrl-C ends it.", flush=True)
        with suppress(KeyboardInterrupt):
            pause()


def _account(story: Story, name: str, grants: str) -> str:
    command = f"tidegate accounts add {name} --grants {grants} --home site --actor ada"
    [code] = re.findall(r"^One-time code: (\S+)$", story.run(command, quiet=True), flags=re.MULTILINE)
    return str(code)
