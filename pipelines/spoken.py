"""The smallest receipt: sixteen characters that a site reads out over a telephone, and what an origin makes of them.

A code is a MAC over the bundle and what became of it, under a secret that both sides agreed on when the site was
enrolled and that never lies on a disc which travels. It is advice for a person: it is recorded and shown, and it may
stand behind `--assume-received`; it acknowledges nothing, for whoever holds either copy of the secret can make one.
Letters are Crockford's: without I, L, O and U, and read forgivingly, so that a bad line costs nothing.

Source: Crockford, Base 32, https://www.crockford.com/base32.html; RFC 2104 section 5 (truncated HMAC).
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import ClassVar

from pipelines.errors import BundleRefused
from pipelines.inventory import named
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Import, SpokenReceipt
from registry.errors import NotFound
from registry.home import Home
from registry.names import word
from signing.canonical import canonical_bytes
from signing.durable import write_durably
from signing.times import rfc3339

WHOLE, PARTIAL = OUTCOMES = ("WHOLE", "PARTIAL")  # all that the bundle named is held there, or not all
CODE = 16  # letters: 80 bits
SECRET = 26  # letters: 130 bits
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
FORGIVEN = str.maketrans("OIL", "011", " -\t\r\n")
_LONGEST = 200  # characters of what a person typed


class SpokenCodeWrong(BundleRefused):
    """A code, or the secret under it, that is not the one for this bundle and site."""

    exit_code: ClassVar[int] = 113
    next_step: ClassVar[str] = (
        "Take nothing from it. Have `tidegate receipts speak` run again at the site and every group of four read twice; "
        "if it fails again, or there is no secret yet, agree on a new one: `tidegate receipts secret SITE` here, `tidegate receipts secret --enter` there."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def letters(text: str, *, count: int, what: str) -> str:
    """Return `count` letters of what somebody typed: any case, O for 0, I or L for 1, spaces and hyphens between.

    Raises:
        SpokenCodeWrong: other letters, or another number of them.
    """
    found = text[:_LONGEST].upper().translate(FORGIVEN)
    if strange := next((letter for letter in found if letter not in LETTERS), None):
        raise SpokenCodeWrong(f"{strange!r} is in no {what}")
    if len(found) != count or len(text) > _LONGEST:
        raise SpokenCodeWrong(f"a {what} has {count} letters and digits; {len(found)} were given")
    return found


def grouped(text: str) -> str:
    """Return the letters in groups of four, as they are read out."""
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def code(secret: str, export: str, outcome: str) -> str:
    """Return the sixteen letters for a bundle, by its export document's SHA-256, and what became of it."""
    said = canonical_bytes({"export": export, "format": "tidegate-spoken/1", "outcome": outcome})
    mac = int.from_bytes(hmac.digest(secret.encode(), said, hashlib.sha256)[:10], "big")
    return "".join(LETTERS[mac >> shift & 31] for shift in range(75, -1, -5))


def new_secret() -> str:
    """Return the letters of a secret, from the system's own randomness."""
    return "".join(secrets.choice(LETTERS) for _ in range(SECRET))


def make_secret(work: Workplace, site: str) -> str:
    """Agree on a new secret with a site: keep it here and return it, to be shown once. Raises `NotFound`."""
    with work.store.view() as view:
        view.site(site)
    secret = new_secret()
    _keep(_at_origin(work.home, site), secret)
    return secret


def enter_secret(work: Workplace, text: str) -> None:
    """Keep the secret that the origin read out. Raises `SpokenCodeWrong`."""
    _keep(_at_site(work.home), letters(text, count=SECRET, what="secret"))


def speak(work: Workplace, row: Import) -> tuple[str, str]:
    """Return the code for a bundle that was taken in here, and the outcome that it stands for.

    Raises:
        SpokenCodeWrong: no secret was entered here.
    """
    secret = _kept(_at_site(work.home), "no secret was entered here; the origin makes one")
    whole = all(work.blobs.has(blob) for blob in named(row.body).all)
    outcome = WHOLE if whole else PARTIAL
    return code(secret, row.digest, outcome), outcome


def hear(work: Workplace, site: str, sequence: int, said: str) -> SpokenReceipt:
    """Record the code that `site` read out for its bundle `sequence`; the same one again changes nothing.

    Raises:
        NotFound: no such site, or no such bundle was made for it.
        SpokenCodeWrong: it is not a code of this bundle, or no secret was agreed on.
    """
    given = letters(said, count=CODE, what="code")
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.site(site)
        export = next((row for row in change.exports(site) if row.sequence == sequence), None)
        if export is None:
            raise NotFound(f"bundle for {site} with the number", str(sequence))
        secret = _kept(_at_origin(work.home, site), f"no secret was agreed on with {site}")
        meant = [one for one in OUTCOMES if hmac.compare_digest(given, code(secret, export.digest, one))]
        if not meant:
            raise SpokenCodeWrong(f"this is not what {site} reads out for bundle {sequence}")
        before = [row for row in change.spoken_receipts(site) if row.export == export.digest]
        if before and before[-1].outcome == meant[0]:
            return before[-1]
        row = SpokenReceipt(
            site=site,
            sequence=sequence,
            export=export.digest,
            outcome=meant[0],
            since=rfc3339(work.now),
            actor=work.actor,
        )
        note = {"site": site, "bundle": export.bundle, "outcome": meant[0]}
        change.record(EventKind.SPOKEN_RECEIPT_TAKEN, export.digest, row, note=note)
    return row


def _at_origin(home: Home, site: str) -> Path:
    return home.keys / f"spoken-{word('site', site)}"


def _at_site(home: Home) -> Path:
    return home.keys / "spoken.origin"  # no site can be called that: a relay keeps both kinds


def _keep(path: Path, secret: str) -> None:
    write_durably(path, f"{grouped(secret)}\n".encode(), mode=0o600)


def _kept(path: Path, problem: str) -> str:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), errors="replace") as stream:
            text = stream.read(_LONGEST)
    except FileNotFoundError as exc:
        raise SpokenCodeWrong(problem) from exc
    return letters(text, count=SECRET, what="secret")
