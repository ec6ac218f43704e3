"""A site that ships to a further site: the first origin's signatures on the releases, its own on the shipment."""

import hashlib
from pathlib import Path

import pytest

from pipelines import enrol, trust_changes
from pipelines.finishing import finish
from pipelines.intake.folder import add_folder
from pipelines.receive import import_bundle
from pipelines.ship import create_bundle, draft_bundle
from pipelines.shipment_words import words
from registry.home import Home
from registry.names import Ref
from signing import draft_folder, drafts
from signing.keys import public_key_json
from signing.refusals import UpstreamNotEnrolled
from signing.repository import TrustRepository
from tests import world
from tests.pipelines.gap import NOON, World, make_world, model_files
from tidegate import founding, keyring

FURTHER = "ward"


@pytest.fixture
def relay(tmp_path: Path) -> tuple[World, Home]:
    """An origin, a site that is an origin too, and a further site enrolled with the second one's root."""
    gap = make_world(tmp_path / "gap", site_roles=("site", "origin"))
    further = world.new_home(tmp_path / "ward", name=FURTHER, roles=("site",), now=NOON)
    officers = keyring.role_signers(gap.site, named=(), passphrase=lambda _uri: world.PASSPHRASE)
    with gap.at(gap.site) as work:
        enrol.add_site(
            work,
            FURTHER,
            public_key_json(keyring.station_signer(further)),
            publish=lambda: founding.add_site(gap.site, FURTHER, signers=officers, now=gap.now),
        )
    with gap.at(further) as work:
        root = TrustRepository(gap.site.trust).load().roots[0]
        enrol.enrol(work, root, hashlib.sha256(root).hexdigest())
    return gap, further


def pass_on(gap: World, *refs: str, out: str) -> Path:
    officers = keyring.role_signers(gap.site, named=(), passphrase=lambda _uri: world.PASSPHRASE)
    with gap.at(gap.site) as work:
        create_bundle(
            work,
            site=FURTHER,
            refs=[Ref.parse(ref) for ref in refs],
            out=gap.base / out,
            signers=officers,
        )
    return gap.base / out


def trust_the_first_origin(gap: World, further: Home) -> None:
    with gap.at(further) as work:
        root = TrustRepository(gap.origin.trust).load().roots[0]
        enrol.enrol_upstream(work, root, hashlib.sha256(root).hexdigest())


def test_a_release_is_passed_on_under_the_first_origins_signature(relay: tuple[World, Home]) -> None:
    """Acme's model goes from the origin to the hospital and from there to the ward; a fine-tune follows as a delta."""
    gap, further = relay
    gap.add("acme/tiny", model_files(1, 200_000))
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    trust_the_first_origin(gap, further)

    with gap.at(further) as work:
        done = import_bundle(work, [pass_on(gap, "acme/tiny@1", out="onwards")])

    assert ["imported"] == [item.outcome for item in done.versions]
    with gap.at(further) as work, work.store.view() as view:
        [version] = view.versions()
        assert "acme/tiny" == version.model
    assert [] == list(
        (gap.site.trust / "releases").rglob("*.json")
    )  # the relay's own officers signed for no model


def test_the_further_site_takes_nothing_that_it_was_not_enrolled_for(relay: tuple[World, Home]) -> None:
    gap, further = relay
    gap.add("acme/tiny", model_files(1))
    gap.receive(gap.ship("acme/tiny@1", out="first"))

    with gap.at(further) as work, pytest.raises(UpstreamNotEnrolled):
        import_bundle(work, [pass_on(gap, "acme/tiny@1", out="onwards")])


def test_the_relay_also_ships_models_of_its_own(relay: tuple[World, Home], tmp_path: Path) -> None:
    gap, further = relay
    folder = tmp_path / "own"
    folder.mkdir()
    for path, data in model_files(4).items():
        (folder / path).write_bytes(data)
    with gap.at(gap.site) as work:
        add_folder(work, "hospital/own", folder)
    gap.add("acme/tiny", model_files(1))
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    trust_the_first_origin(gap, further)

    with gap.at(further) as work:
        import_bundle(work, [pass_on(gap, "acme/tiny@1", "hospital/own@1", out="onwards")])

    with gap.at(further) as work, work.store.view() as view:
        assert {"acme/tiny", "hospital/own"} == {version.model for version in view.versions()}


def test_officers_elsewhere_sign_what_a_relay_passes_on(relay: tuple[World, Home]) -> None:
    gap, further = relay
    gap.add("acme/tiny", model_files(1))
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    trust_the_first_origin(gap, further)
    folder, medium = gap.base / "ceremony", gap.base / "onwards"
    with gap.at(gap.site) as work:
        draft_bundle(work, site=FURTHER, refs=[Ref.parse("acme/tiny@1")], out=medium, ceremony=folder)
    draft = draft_folder.read(folder)
    assert ["site-ward"] == list(draft.documents)  # the release has its signatures from the first origin
    assert any("acme/tiny@1" in line and "signed for before" in line for line in words(draft))
    officers = keyring.role_signers(gap.site, named=(), passphrase=lambda _uri: world.PASSPHRASE)
    [asked] = drafts.waiting(draft, [])
    [officer] = [one for one in officers if one.public_key.keyid in asked.keys]
    with gap.at(gap.site) as work:
        trust_changes.put_in_force(work, draft, drafts.sign(draft, officer, now=gap.now))
        finish(work, medium)
    with gap.at(further) as work:
        done = import_bundle(work, [medium])
    assert ["imported"] == [item.outcome for item in done.versions]
