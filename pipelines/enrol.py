"""A site begins to trust an origin; an origin begins to ship to a site."""

from collections.abc import Callable

from securesystemslib.signer import Key

from pipelines.bundle.opening import remembered
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Enrolment, Site, Upstream
from registry.errors import DocumentRefused
from registry.names import word
from registry.views import View
from signing import trust
from signing.canonical import canonical_bytes, parse, pretty_bytes
from signing.digests import sha256_hex
from signing.keys import public_key_from_json
from signing.refusals import EnrolledOtherwise
from signing.times import rfc3339

_IDENTITY_BYTES = 16 << 10
_EXPORT_BYTES = 64 << 20


def enrol(work: Workplace, root: bytes, fingerprint: str, *, replace: bool = False) -> Enrolment:
    """Trust this root from now on; the same root again is no change.

    Args:
        replace: leave the origin that this site trusts; without it, another root is refused.

    Raises:
        EnrolledOtherwise: this site trusts another root.
        RootFingerprintWrong, BadRoot: see `signing.trust.enrol`.
    """
    trust.enrol(root, fingerprint)
    with work.store.change(actor=work.actor, now=work.now) as change:
        held = change.enrolment()
        if held is not None and held.fingerprint == sha256_hex(root):
            return held
        if held is not None and not replace:
            raise EnrolledOtherwise(trusted=held.fingerprint, since=held.since, offered=sha256_hex(root))
        row = Enrolment(
            fingerprint=sha256_hex(root), root=root.decode(), since=rfc3339(work.now), actor=work.actor
        )
        change.record(EventKind.ENROLLED, row.fingerprint, row)
    return row


def enrol_upstream(work: Workplace, root: bytes, fingerprint: str) -> Upstream:
    """Take releases from the origin with this root as well, when a relaying site passes them on.

    Raises:
        NotEnrolled: this site trusts no origin of its own yet.
        RootFingerprintWrong, BadRoot: see `signing.trust.enrol_upstream`.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        trust.enrol_upstream(remembered(change), root, fingerprint)
        held = change.upstream()
        if held is not None and held.fingerprint == sha256_hex(root):
            return held
        row = Upstream(
            fingerprint=sha256_hex(root), root=root.decode(), since=rfc3339(work.now), actor=work.actor
        )
        change.record(EventKind.UPSTREAM_ENROLLED, row.fingerprint, row)
    return row


def origin_keys(view: View) -> dict[str, Key]:
    """Return the station keys of the origins whose bundles were accepted here, by key id.

    Each was named by an export document that this site's root vouches for, so a suite that such a key signed
    came from where this site's models come from.
    """
    found: dict[str, Key] = {}
    for row in view.imports():
        export = parse(row.body.encode(), max_bytes=_EXPORT_BYTES, at="export")
        key = public_key_from_json(pretty_bytes(export["packer"]), at="packer")
        found[key.keyid] = key
    return found


def add_site(work: Workplace, name: str, identity: bytes, *, publish: Callable[[], None]) -> Site:
    """Keep a site's public key, and let its role sign.

    Args:
        identity: what the site wrote with `tidegate trust identity`.
        publish: signs and saves the delegation; called before the row is recorded, so that a site that the
            database knows can always be shipped to. If the process dies in between, the next try records it.

    Raises:
        NameUnusable, NotCanonical: as named. DocumentRefused: another site has this key.
    """
    word("site", name)
    public_key_from_json(identity, at="identity")  # refuses what is no key; the row keeps the text
    body = canonical_bytes(parse(identity, max_bytes=_IDENTITY_BYTES, at="identity")).decode()
    with work.store.change(actor=work.actor, now=work.now) as change:
        history = [site for site in change.sites() if site.name == name]
        if history and history[-1].identity == body:
            return history[-1]
        other = next((site.name for site in change.sites() if site.identity == body), None)
        if other is not None:
            raise DocumentRefused(
                f"this is the key of the site {other}; look at the name's spelling", at="identity"
            )
        if not history:
            publish()
        row = Site(
            name=name,
            position=history[-1].position + 1 if history else 1,
            identity=body,
            since=rfc3339(work.now),
            actor=work.actor,
        )
        change.record(EventKind.SITE_ADDED, name, row)
    return row
