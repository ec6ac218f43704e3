"""The day on which one kind of signature can be forged: a site of the hybrid profile takes none of that kind alone.

The thief has every private key of one kind that the origin has, the station's too, and signs with all of them. Each
role is tried on its own: everything around it is as the honest people signed it.
"""

from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot

from signing.ceremony import Profile, TrustState
from signing.profiles import is_classical
from signing.refusals import TooFewSignatures
from signing.trust import verify
from tests.signing.trust_world import NOW, Origin, restack, take, tampered

DELEGATED = ("targets", "catalog", "site-alpha")
LISTS = ("snapshot", "timestamp")


@pytest.fixture(scope="module")
def origin() -> Origin:
    made = Origin.founded(Profile.HYBRID)
    made.export("alpha", [made.release()])
    return made


@pytest.fixture(scope="module")
def bundle(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return origin.pack(tmp_path_factory.mktemp("hybrid") / "1", "exports/alpha/1.json")


def of_role(origin: Origin, role: str) -> list[CryptoSigner]:
    return origin.people["station" if role in LISTS else role]


def of_kind(signers: list[CryptoSigner], *, classical: bool) -> list[CryptoSigner]:
    return [signer for signer in signers if is_classical(signer.public_key) == classical]


def one_more(signed: dict[str, Any]) -> None:
    signed["version"] += 1


def forged(origin: Origin, role: str, signers: list[CryptoSigner]) -> TrustState:
    """The role's next document, signed by these; snapshot and timestamp honest over it unless they are the role."""
    if role == "root":
        new = tampered(origin.state.roots[-1], one_more, signers)
        return TrustState((*origin.state.roots, new), origin.state.metadata)
    new = tampered(origin.state.metadata[role], one_more, signers)
    if role in DELEGATED:
        return restack(origin, {role: new})
    if role == "timestamp":
        return TrustState(origin.state.roots, {**origin.state.metadata, role: new})
    unsigned = restack(origin, {})  # a snapshot of the next number, whose signatures are then taken away
    snapshot = tampered(unsigned.metadata["snapshot"], lambda _signed: None, signers)
    return _under_a_timestamp(origin, TrustState(unsigned.roots, {**unsigned.metadata, role: snapshot}))


def _under_a_timestamp(origin: Origin, state: TrustState) -> TrustState:
    """Have the honest station list the snapshot as it is: only its own signatures may be what is wrong."""
    data = state.metadata["snapshot"]

    def listed(signed: dict[str, Any]) -> None:
        signed["meta"]["snapshot.json"] = MetaFile.from_data(_number(data), data, ["sha256"]).to_dict()

    stamp = tampered(state.metadata["timestamp"], listed, of_role(origin, "timestamp"))
    return TrustState(state.roots, {**state.metadata, "timestamp": stamp})


def _number(data: bytes) -> int:
    return Metadata[Snapshot].from_bytes(data).signed.version


def packed(origin: Origin, state: TrustState, folder: Path) -> Path:
    honest, origin.state = origin.state, state
    try:
        return origin.pack(folder, "exports/alpha/1.json")
    finally:
        origin.state = honest


ROLES = ("root", *DELEGATED, *LISTS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("classical", [True, False], ids=["classical alone", "ML-DSA alone"])
def test_one_kind_of_signature_moves_nothing_at_a_site(
    origin: Origin, bundle: Path, tmp_path: Path, role: str, classical: bool
) -> None:
    thief = of_kind(of_role(origin, role), classical=classical)
    medium = packed(origin, forged(origin, role, thief), tmp_path / "forged")
    with pytest.raises(TooFewSignatures) as refusal:
        verify(medium, origin.enrolled(), audience="alpha", now=NOW)
    assert (role, len(thief)) == (refusal.value.role, refusal.value.have)
    before, _ = take(bundle, origin.enrolled())
    assert before == take(medium, before)[0], "the export is known: nothing around it is taken in"


@pytest.mark.parametrize("role", ROLES)
def test_both_kinds_do(origin: Origin, tmp_path: Path, role: str) -> None:
    """The same documents by the same hands with all keys: it is the signatures that were missing above."""
    medium = packed(origin, forged(origin, role, of_role(origin, role)), tmp_path / "honest")
    assert 1 == take(medium, origin.enrolled())[1].sequence


def test_three_of_six_are_not_four_whichever_they_are(origin: Origin, tmp_path: Path) -> None:
    """A whole person and half of another: both kinds, two people, and one signature too few."""
    medium = packed(origin, forged(origin, "catalog", origin.people["catalog"][:3]), tmp_path / "few")
    with pytest.raises(TooFewSignatures, match="catalog"):
        verify(medium, origin.enrolled(), audience="alpha", now=NOW)
