"""The journey's last part: an auditor asks, and then believes neither the site nor Tidegate."""

import hashlib
import shutil
import sqlite3
from pathlib import Path

from demo.story import MODEL, Story
from tidegate.errors import AuditBroken

VERIFIER = Path(__file__).parents[1] / "airgap-bundles" / "verifier" / "verify.py"
WRONG = 1  # the verifier's exit code


def tell(story: Story) -> None:
    """Tell it, from a site whose tiers serve something on."""
    _questions(story)
    _edited_row(story)
    _taken_home(story)


def _questions(story: Story) -> None:
    story.chapter(
        "What the auditor asks",
        """Every change is a leaf of a signed tree, and the origin cosigned a head of it when the receipt came. Is the record
        whole? Why may the organisation be served what it is served, and who decided? Each piece of evidence is verified now.""",
    )
    story.run("tidegate audit verify --home site")
    story.run(f"tidegate audit why org {MODEL} --home site")
    story.run(f"tidegate audit decided org {MODEL} --home site")
    story.run(f"tidegate audit explain {MODEL}@3 --home site")


def _edited_row(story: Story) -> None:
    story.say(
        "Now somebody who can write to the database edits one row of it, so that team's pin says version 3 (in a copy of the home):"
    )
    shutil.copytree(story.folder / "site", story.folder / "tampered-site")
    with sqlite3.connect(story.folder / "tampered-site" / "registry.db") as database:
        database.execute("UPDATE pin SET ordinal = 3 WHERE tier = 'team' AND position = 4")
    database.close()
    story.run("tidegate audit verify --home tampered-site", ends=AuditBroken.exit_code)


def _taken_home(story: Story) -> None:
    story.chapter(
        "What the auditor takes home",
        """A folder that proves itself, judged on another machine by one Python file of under 500 lines that shares nothing with
        Tidegate. The auditor was told the log's key by somebody at the site, not by the folder.""",
    )
    story.run("tidegate audit export evidence --home site")
    key = story.ask("tidegate audit head --home site")["verifier_key"]
    shutil.copy(VERIFIER, story.folder)
    story.run(f"python3 verify.py audit evidence --key {key}")
    story.run(f"python3 verify.py promotion evidence org {MODEL} --key {key}")
    story.say(
        "And a folder in which somebody put another person's name on bob's approvals, sums written anew:"
    )
    _forge(story.folder / "evidence", story.folder / "forged")
    story.run(f"python3 verify.py audit forged --key {key}", ends=WRONG)


def _forge(honest: Path, forged: Path) -> None:
    """Change a name in what people signed, and make every file's name and sum fit again."""
    shutil.copytree(honest, forged)
    sums = (forged / "SHA256SUMS").read_text()
    for payload in forged.glob("approvals/*.json"):
        changed = payload.read_bytes().replace(b'"person":"bob"', b'"person":"eve"')
        digest = hashlib.sha256(changed).hexdigest()
        sums = sums.replace(payload.stem, digest)
        payload.with_suffix(".sig").rename(payload.with_name(f"{digest}.sig"))
        payload.unlink()
        payload.with_name(f"{digest}.json").write_bytes(changed)
    lines = sorted(sums.splitlines(), key=lambda line: line.partition("  ")[2])
    (forged / "SHA256SUMS").write_text("".join(f"{line}\n" for line in lines))
