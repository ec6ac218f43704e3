"""Publishers' signatures at intake and across the gap, ours for every version, and what a folder holds beside them."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner

from pipelines import model_signatures as signatures
from pipelines import signed_files
from pipelines.checking import check_version, demand_valid
from pipelines.closed_world import differences
from pipelines.intake.folder import add_folder
from pipelines.intake.record import Added
from pipelines.model_judging import UNCHECKABLE, UNKNOWN_SIGNER, VALID, WRONG
from pipelines.model_signatures import HOME, ORIGIN, PUBLISHER
from pipelines.publishers import (
    PublisherRefused,
    UnknownPublisher,
    add_crl,
    retire_publisher,
    set_publisher,
)
from pipelines.signing_models import signed
from pipelines.workplace import Workplace
from registry.audit import compare
from registry.errors import NameUnusable
from registry.manifests import decode
from registry.names import Ref
from signing import model_signature as oms
from signing.digests import sha256_hex
from signing.model_signature import ModelSignatureUnreadable, ModelSignatureWrong
from signing.statements import read_statement
from signing.summaries import SVR
from tests.pipelines.gap import World, make_world, model_files
from tests.signing.model_authority import START, Holder, issue, revoke

MODEL = "acme/tiny"
KEY = ec.derive_private_key(0xACDC, ec.SECP384R1())
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OTHER = ec.derive_private_key(0xBAD, ec.SECP256R1())
ROOT = issue("Acme root", authority=True, days=4000)


def signature(files: dict[str, bytes], key: ec.EllipticCurvePrivateKey = KEY, *chain: Holder) -> bytes:
    listed = [(path, sha256_hex(data)) for path, data in files.items()]
    return oms.sign("tiny", listed, CryptoSigner(key), certificates=[one.der for one in chain])


def laid_out(at: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_bytes(data)
    return at


Add = Callable[..., Added]


@pytest.fixture
def add(workplace: Workplace, tmp_path: Path) -> Add:
    def do(files: dict[str, bytes], **told: object) -> Added:
        folder = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
        return add_folder(workplace, MODEL, laid_out(folder, files), **told)  # type: ignore[arg-type]

    return do


@pytest.fixture
def gap(tmp_path: Path) -> World:
    return make_world(tmp_path)


def believe(work: Workplace, models: str = "acme/*") -> None:
    set_publisher(work, "acme", method="key", material=PEM, models=models)


def outcomes(added: Added) -> list[str]:
    return [one.outcome for one in added.signatures]


class TestAtIntake:
    def test_a_publishers_signature_among_the_files_lets_them_in(
        self, workplace: Workplace, add: Add
    ) -> None:
        believe(workplace)
        files = model_files()
        data = signature(files)
        added = add({**files, "model.sig": data})
        assert [VALID] == outcomes(added)
        with workplace.store.view() as view:
            theirs, ours = view.model_signatures(added.version.digest)
            (said,) = [row for row in view.statements(added.version.digest) if row.predicate == SVR]
            assert [] == compare(view.events(), dict(view.recorded()))
        assert (PUBLISHER, VALID, sha256_hex(data)) == (theirs.source, theirs.outcome, theirs.digest)
        assert (HOME, VALID, said.digest) == (ours.source, ours.outcome, theirs.statement)
        properties = read_statement(said.payload.encode()).predicate["properties"]
        assert ["TIDEGATE_OMS_SIGNATURE_VALID", f"TIDEGATE_OMS_SIGNER {theirs.signer}"] == properties[:2]

    def test_one_that_lies_elsewhere_does_too(self, workplace: Workplace, add: Add) -> None:
        believe(workplace)
        files = model_files()
        assert [VALID] == outcomes(add(files, signature=signature(files)))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                lambda files: files.update({"config.json": b"{}"}),
                "config.json is not the file that was signed",
            ),
            (lambda files: files.update({"NOTICE": b"x"}), "NOTICE is here and not signed"),
            (lambda files: files.pop("LICENSE"), "LICENSE is signed and not here"),
        ],
        ids=["changed", "added", "missing"],
    )
    def test_other_files_than_the_signed_ones_stay_out(
        self, workplace: Workplace, add: Add, change: Callable[[dict[str, bytes]], None], said: str
    ) -> None:
        believe(workplace)
        files = model_files()
        data = signature(files)
        change(files)
        with pytest.raises(PublisherRefused, match=said):
            add(files, signature=data)
        with workplace.store.view() as view:
            assert [] == view.versions()
        assert [] == list(workplace.blobs.held())

    def test_files_that_nobody_signed_stay_out(self, workplace: Workplace, add: Add) -> None:
        believe(workplace)
        with pytest.raises(PublisherRefused, match="no signature came"):
            add(model_files())

    def test_another_key_is_nobody(self, workplace: Workplace, add: Add) -> None:
        believe(workplace)
        files = model_files()
        with pytest.raises(PublisherRefused, match=UNKNOWN_SIGNER):
            add(files, signature=signature(files, OTHER))

    def test_a_publisher_signs_their_own_models_only(self, workplace: Workplace, add: Add) -> None:
        believe(workplace, models="other/*")
        files = model_files()
        assert [UNKNOWN_SIGNER] == outcomes(add(files, signature=signature(files)))

    def test_a_publisher_who_is_removed_is_asked_no_more(self, workplace: Workplace, add: Add) -> None:
        believe(workplace)
        retire_publisher(workplace, "acme")
        assert [] == outcomes(add(model_files()))

    def test_where_nobody_is_named_whatever_came_is_kept(self, workplace: Workplace, add: Add) -> None:
        added = add({**model_files(), "model.sig": b"hello"})
        assert [UNCHECKABLE] == outcomes(added)
        with workplace.store.view() as view:
            theirs, _ours = view.model_signatures(added.version.digest)
        assert ("hello", None) == (theirs.body, theirs.statement)

    def test_a_file_that_was_left_out_here_may_be_signed(self, workplace: Workplace, add: Add) -> None:
        believe(workplace)
        files = {**model_files(), "original/w.pth": b"pickle"}
        added = add(files, signature=signature(files), leave_out=["original/*"])
        assert [("original/w.pth",)] == [one.left_out for one in added.signatures]
        assert [VALID, VALID] == [one.judged.outcome for one in check_version(workplace, Ref.parse(MODEL))]

    def test_a_signature_that_comes_later_is_kept_too(self, workplace: Workplace, add: Add) -> None:
        files = model_files()
        first = add(files)
        believe(workplace)
        again = add(files, signature=signature(files))
        assert (False, first.version.digest) == (again.new, again.version.digest)
        add(files, signature=signature(files, KEY))  # another one: ECDSA signs with chance
        with workplace.store.view() as view:
            rows = view.model_signatures(first.version.digest)
            assert [] == compare(view.events(), dict(view.recorded()))
        assert [HOME, PUBLISHER, PUBLISHER] == [row.source for row in rows]


class TestCertificates:
    def believe(self, work: Workplace) -> None:
        set_publisher(work, "acme", method="certificate", material=ROOT.pem, models="acme/*")

    def signed(self, work: Workplace, **told: object) -> tuple[dict[str, bytes], bytes, Holder]:
        start = work.now - timedelta(days=5)
        signer = issue("Acme signer", ROOT, **({"start": start} | told))  # type: ignore[arg-type]
        files = model_files()
        return files, signature(files, signer.key, signer), signer

    def test_a_chain_to_the_named_authority_lets_files_in(self, workplace: Workplace, add: Add) -> None:
        self.believe(workplace)
        files, data, _ = self.signed(workplace)
        added = add(files, signature=data)
        assert [(VALID, "CN=Acme signer")] == [(one.outcome, one.signer) for one in added.signatures]

    def test_what_was_valid_when_it_came_stays_valid(self, workplace: Workplace, add: Add) -> None:
        self.believe(workplace)
        files, data, _ = self.signed(workplace, days=10)
        add(files, signature=data)
        late = workplace.now + timedelta(days=100)
        theirs, _ours = check_version(workplace, Ref.parse(MODEL))
        assert VALID == theirs.judged.outcome
        theirs, _ours = check_version(workplace, Ref.parse(MODEL), moment=late)
        assert VALID != theirs.judged.outcome

    def test_one_that_was_over_when_it_came_lets_nothing_in(self, workplace: Workplace, add: Add) -> None:
        self.believe(workplace)
        files, data, _ = self.signed(workplace, days=2)
        with pytest.raises(PublisherRefused, match="is valid from"):
            add(files, signature=data)

    def test_a_carried_list_revokes(self, workplace: Workplace, add: Add) -> None:
        self.believe(workplace)
        files, data, signer = self.signed(workplace)
        row = add_crl(workplace, "acme", revoke(ROOT, signer, at=START))
        assert row.digest == add_crl(workplace, "acme", revoke_again := row.body.encode()).digest
        assert revoke_again
        with pytest.raises(PublisherRefused, match="was revoked"):
            add(files, signature=data)

    def test_lists_belong_to_somebody(self, workplace: Workplace) -> None:
        with pytest.raises(UnknownPublisher):
            add_crl(workplace, "nobody", revoke(ROOT))
        with pytest.raises(UnknownPublisher):
            retire_publisher(workplace, "nobody")


def test_what_a_publisher_is_named_with_is_checked(workplace: Workplace) -> None:
    with pytest.raises(NameUnusable):
        set_publisher(workplace, "acme", method="key", material=PEM, models="everything")
    with pytest.raises(ModelSignatureUnreadable):
        set_publisher(workplace, "acme", method="key", material=b"\xff", models="acme/*")
    with pytest.raises(ModelSignatureUnreadable):
        set_publisher(workplace, "acme", method="certificate", material=PEM, models="acme/*")


class TestOurs:
    def test_holds_by_the_homes_key_for_every_version(self, workplace: Workplace, add: Add) -> None:
        added = add(model_files())
        row, pem = signed(workplace, Ref.parse(MODEL))
        found = oms.verify(oms.read(row.body.encode()), oms.public_key(pem))
        manifest = decode(added.version.manifest.encode())
        assert [] == signed_files.differences(found, signatures.files_of(manifest, workplace.blobs))
        assert row.digest == signed(workplace, Ref.parse(MODEL))[0].digest  # made once
        assert 0o600 == signatures.model_signing_key(workplace.home).stat().st_mode & 0o777

    def test_is_made_with_another_key_on_request(self, workplace: Workplace, add: Add) -> None:
        add(model_files())
        row, _ = signed(workplace, Ref.parse(MODEL), signer=CryptoSigner(KEY))
        assert oms.hint_of(KEY.public_key()) == row.signer
        assert [VALID, VALID] == [one.judged.outcome for one in check_version(workplace, Ref.parse(MODEL))]

    def test_a_row_that_was_edited_is_found(self, workplace: Workplace, add: Add) -> None:
        added = add(model_files())
        with workplace.store.change(actor="mallory", now=workplace.now) as change:
            (row,) = change.model_signatures(added.version.digest)
            body = json.loads(row.body)
            body["dsseEnvelope"]["signatures"][0]["keyid"] = "x"
            row.body = json.dumps(body)
            change.session.add(row)
        checked = check_version(workplace, Ref.parse(MODEL))
        with pytest.raises(ModelSignatureWrong, match="not the bytes that came"):
            demand_valid(MODEL, checked)


class TestAcrossTheGap:
    def signed_version(self, gap: World) -> bytes:
        files = model_files()
        data = signature(files)
        with gap.at(gap.origin) as work:
            believe(work)
            add_folder(work, MODEL, laid_out(gap.base / "signed", files), signature=data)
        return data

    def rows(self, gap: World) -> list[tuple[str, str]]:
        with gap.at(gap.site) as work, work.store.view() as view:
            version = view.version(Ref.parse(MODEL))
            assert [] == compare(view.events(), dict(view.recorded()))
            return [(row.source, row.outcome) for row in view.model_signatures(version.digest)]

    def test_a_site_judges_publishers_by_its_own_list_and_the_origin_by_its_key(self, gap: World) -> None:
        self.signed_version(gap)
        gap.receive(gap.ship(MODEL))
        assert {(PUBLISHER, UNKNOWN_SIGNER), (ORIGIN, VALID)} == set(self.rows(gap))
        with gap.at(gap.site) as work:
            believe(work)
            now = check_version(work, Ref.parse(MODEL))
        assert {(PUBLISHER, VALID), (ORIGIN, VALID)} == {(one.source, one.judged.outcome) for one in now}

    def test_a_site_that_names_the_publisher_first_finds_it_valid(self, gap: World) -> None:
        self.signed_version(gap)
        with gap.at(gap.site) as work:
            believe(work)
        gap.receive(gap.ship(MODEL))
        assert {(PUBLISHER, VALID), (ORIGIN, VALID)} == set(self.rows(gap))

    def test_where_the_origin_sent_none_the_site_signs(
        self, gap: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pipelines import carried_signatures

        gap.add(MODEL, model_files())
        with monkeypatch.context() as patch:
            patch.setattr(carried_signatures, "leaving", lambda *_: iter(()))
            medium = gap.ship(MODEL)
        gap.receive(medium)
        assert [(HOME, VALID)] == self.rows(gap)
        gap.receive(medium)
        assert [(HOME, VALID)] == self.rows(gap), "importing again changes nothing"


class TestClosedWorld:
    """What no signature over contents covers. The version's manifest does."""

    @pytest.fixture
    def folder(self, workplace: Workplace, add: Add, tmp_path: Path) -> Path:
        add(model_files())
        return laid_out(tmp_path / "served", model_files())

    def found(self, workplace: Workplace, folder: Path) -> list[str]:
        with workplace.store.view() as view:
            version = view.version(Ref.parse(MODEL))
        return differences(folder, decode(version.manifest.encode()))

    def test_exactly_the_version_has_none(self, workplace: Workplace, folder: Path) -> None:
        assert [] == self.found(workplace, folder)

    def test_each_of_them_is_named(self, workplace: Workplace, folder: Path) -> None:
        changes: dict[str, Callable[[], object]] = {
            "hollow is an empty folder": (folder / "hollow").mkdir,
            ".github/x.py is not part of the version": lambda: laid_out(folder, {".github/x.py": b"x"}),
            "LICENSE is missing": (folder / "LICENSE").unlink,
            "config.json has another size": lambda: (folder / "config.json").write_bytes(b"{}"),
            "config.json may be written to by anybody": lambda: (folder / "config.json").chmod(0o666),
            "tokenizer.json is executable": lambda: (folder / "tokenizer.json").chmod(0o755),
            "link is a link": lambda: (folder / "link").symlink_to("config.json"),
            "pipe is no regular file": lambda: subprocess.run(["mkfifo", folder / "pipe"], check=True),
        }
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        for change in changes.values():
            change()
        assert sorted([*changes, "model.safetensors has other bytes"]) == sorted(
            self.found(workplace, folder)
        )


def test_a_hash_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    with pytest.raises(ModelSignatureUnreadable, match="BLAKE3"):
        signed_files._hasher("blake3")


def test_wrong_and_uncheckable_are_told_apart(workplace: Workplace, add: Add) -> None:
    files = model_files()
    added = add(files, signature=signature({**files, "config.json": b"other"}, OTHER))
    assert [UNKNOWN_SIGNER] == outcomes(added)  # a key that nobody named: its list proves nothing
    signer = issue("signer", ROOT)
    again = add(files, signature=signature({**files, "config.json": b"other"}, signer.key, signer))
    assert [WRONG] == outcomes(again)  # its own certificate says that these are other files
    with pytest.raises(ModelSignatureWrong):
        demand_valid(MODEL, check_version(workplace, Ref.parse(MODEL)))
