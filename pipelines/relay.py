"""A site that is origin to further sites: what it took in, it passes on under the first origin's own signatures.

The release documents must go on exactly as they were signed, so a home that is both keeps them as they came, below
`relayed/`. Its own officers sign only what is shipped to whom.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.bundle.opening import remembered
from pipelines.workplace import Workplace
from registry.views import View
from signing.digests import sha256_hex
from signing.durable import write_durably
from signing.refusals import NothingToRelay
from signing.trust import Verified
from signing.upstream import relayable, upstream_files


@dataclass(frozen=True)
class PassedOn:
    """What this home may pass on: release documents by path, and the trust metadata that vouches for them."""

    releases: Mapping[str, bytes]
    files: Mapping[str, bytes]  # path in the bundle to bytes


def keep(work: Workplace, verified: Verified) -> None:
    """Keep the release documents of a bundle that was believed. A home that is only a site needs none."""
    if not work.home.is_origin:
        return
    for path, data in verified.releases.items():
        place = work.home.path / "relayed" / path
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_durably(place, data)


def passed_on(work: Workplace, view: View) -> PassedOn:
    """Return what may be passed on now; nothing at a home that is no site.

    Raises:
        NothingToRelay: what vouches for it never came here as a whole.
    """
    if not work.home.is_site or view.enrolment() is None or not view.imports():
        return PassedOn({}, {})
    memory = remembered(view)
    releases = {}
    for path, digest in relayable(memory).items():
        place = work.home.path / "relayed" / path
        if place.is_file() and sha256_hex(data := place.read_bytes()) == digest:
            releases[path] = data
    return PassedOn(releases, upstream_files(memory) if releases else {})


def demand_passed_on(passed: PassedOn, path: str, brought_by: str) -> bytes | None:
    """Return the release document of a version that came in a bundle; None for one that this home made itself.

    Raises:
        NothingToRelay: it came in a bundle, and what vouches for it is not here any more.
    """
    if path in passed.releases:
        return passed.releases[path]
    if brought_by in ("add", "fetch"):
        return None
    raise NothingToRelay(f"{path} came in bundle {brought_by}, and its origin does not vouch for it here now")
