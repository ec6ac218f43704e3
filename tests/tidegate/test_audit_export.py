"""`audit export`, and the verifier that shares no code with us: it believes what is so, and names what was touched."""

import ast
import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from jsonschema import Draft202012Validator

from registry.errors import NotFound
from registry.redaction import NamesInTheClear
from signing import checkpoint, sshsig
from signing.canonical import canonical_bytes
from signing.merkle import leaf_hash, root_of
from signing.tiles import decode_entries, encode_entries
from tests import second_reader
from tests.signing.test_piv import ALICE
from tests.signing.test_sshsig import MESSAGE, NAMESPACE, TOKENS, Token
from tests.tidegate import town as making
from tests.tidegate.town import MODEL, Town
from tidegate.errors import FolderNotEmpty

FOLDER = "audit"


@pytest.fixture(scope="module")
def exported(built_serving: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """team was given version 1, then 2, went back, and org was given version 2 by breaking the glass."""
    town = making.copy(built_serving, tmp_path_factory.mktemp("exported") / "town")
    town.join("carla")
    town.site.type("rollback", MODEL, "--tier", "team", "--reason", "it calls the wrong tool")
    signed = ["--person", "carla", "--reason", "outage 4711", "--key", town.key("carla")]
    town.site.as_("bob").type("promote", f"{MODEL}@2", "--tier", "org", "--break-glass", *signed)
    # The origin hears of the site's log and cosigns it; the next bundle brings that back.
    town.site.type("receipts", "write", "--out", town.receipt.with_name("second.json"))
    town.origin.type("bundles", "acknowledge", town.receipt.with_name("second.json"))
    town.origin.type("bundles", "create", "--to", "clinic", "--out", town.folder / "next")
    town.site.type("bundles", "import", town.folder / "next")
    town.site.type("audit", "export", town.folder / FOLDER)
    return town


@pytest.fixture(scope="module")
def verify() -> Iterator[ModuleType]:
    with second_reader.loaded() as modules:
        yield modules["verify"]


@pytest.fixture
def folder(exported: Town, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder / FOLDER, tmp_path / FOLDER))


def mend(folder: Path) -> None:
    """Write SHA256SUMS anew, as anybody with coreutils can."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / "SHA256SUMS")
    names = sorted((path.relative_to(folder).as_posix(), path) for path in paths)
    lines = [f"{sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


class TestTheProgram:
    def test_it_is_short_and_shares_no_code_with_the_product(self) -> None:
        files = list(second_reader.VERIFIER.glob("*.py"))
        assert sum(len(path.read_text().splitlines()) for path in files) < 500
        allowed = {*sys.stdlib_module_names, "cryptography", *(path.stem for path in files)}
        for path in files:
            assert allowed >= imported(path)

    def test_the_strict_reader_stands_on_it_and_on_nothing_of_ours(self) -> None:
        files = list(second_reader.READER.glob("*.py"))
        allowed = {
            *sys.stdlib_module_names,
            "cryptography",
            "numpy",
            "zstandard",
            "verify",
            *(path.stem for path in files),
        }
        for path in files:
            assert allowed >= imported(path)

    def test_it_runs_where_nothing_of_ours_is_installed(self, exported: Town) -> None:
        program = [sys.executable, "-E", "-s", second_reader.VERIFIER / "verify.py"]
        done = subprocess.run(
            [*map(str, program), "audit", str(exported.folder / FOLDER)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (0, "", "everything fits") == (done.returncode, done.stderr, done.stdout.splitlines()[-1])


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        found |= {name.partition(".")[0] for name in names}
    return found


class TestWhatIsSo:
    def test_all_of_it_fits(
        self, exported: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        key = exported.site.ask("audit", "head")["verifier_key"]
        capsys.readouterr()
        assert 0 == verify.main(["audit", str(exported.folder / FOLDER), "--key", key])
        said = capsys.readouterr().out
        assert key in said
        assert "cosigned by tidegate/harbour" in said
        assert "approvals: 2, signed: 2 by key in a file" in said

    def test_what_people_signed_is_of_the_form_that_people_sign(
        self, exported: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reader = ["--reader", str(second_reader.READER)]
        assert 0 == verify.main(["audit", str(exported.folder / FOLDER), *reader])
        assert "approvals: 2, of the form that people sign" in capsys.readouterr().out

    def test_why_a_tier_was_given_a_version(
        self, exported: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert 0 == verify.main(["promotion", str(exported.folder / FOLDER), "team", MODEL, "2"])
        said = capsys.readouterr().out
        assert f"team serves {MODEL}@2" in said
        assert "approve by alice, key in a file\n" in said
        assert "allowed, by what the folder holds" in said

    def test_a_way_back(self, exported: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        assert 0 == verify.main(["promotion", str(exported.folder / FOLDER), "team", MODEL])
        assert f"team serves {MODEL}@1" in capsys.readouterr().out

    def test_a_broken_glass_is_shown_as_such(
        self, exported: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert 0 == verify.main(["promotion", str(exported.folder / FOLDER), "org", MODEL])
        said = capsys.readouterr().out
        assert "BREAK-GLASS by carla alone, key in a file, against ['0 of 2 approvals']: outage 4711" in said
        assert "reviewed by: NOBODY YET" in said
        assert "allowed BY ONE PERSON ALONE" in said

    def test_each_proof_is_one_that_others_tools_check(self, exported: Town) -> None:
        proofs = sorted((exported.folder / FOLDER / "log" / "proofs").iterdir())
        assert 4 == len(proofs)
        for proof in proofs:
            exported.site.type("audit", "check-proof", proof)

    def test_whoever_never_served_it_is_told(
        self, exported: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for words in (["edge", MODEL], ["team", "demo/other"], ["team", MODEL, "9"]):
            assert 1 == verify.main(["promotion", str(exported.folder / FOLDER), *words])
            assert "not that many pins" in capsys.readouterr().out


def test_a_bundle_that_carries_people_is_held_to_the_officers_word(
    town: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    making.new_ssh_key(town.key("olaf"))
    town.origin.type("people", "add", "olaf", "--public-key", town.key("olaf").with_suffix(".pub"))
    town.origin.type("people", "publish")
    town.origin.type("bundles", "create", f"{MODEL}@1", "--to", "clinic", "--out", town.folder / "people")
    root = sha256((town.origin.home / "trust" / "1.root.json").read_bytes()).hexdigest()
    words = ["bundle", str(town.folder / "people"), "--root-fingerprint", root, "--site", "clinic"]
    words += ["--reader", str(second_reader.READER), "--held", str(town.site.home / "store")]
    capsys.readouterr()
    assert 0 == verify.main(words), capsys.readouterr().out
    people = next((town.folder / "people").rglob("identities/people.json"))
    people.write_bytes(people.read_bytes().replace(b"olaf", b"mall"))
    mend(people.parents[1])
    assert 1 == verify.main(words)
    assert "identities/people.json: not what" in capsys.readouterr().out


class TestHowASignatureWasMade:
    """The verifier's own reading of people's signatures, against the product's."""

    @pytest.mark.parametrize("token", TOKENS, ids=("ed25519", "p256"))
    @pytest.mark.parametrize(
        ("flags", "how"),
        [
            (0, "NOT TOUCHED"),
            (1, "token, touched"),
            (4, "NOT TOUCHED"),
            (5, "token, touched and given its PIN"),
        ],
    )
    def test_a_token_says_what_happened(self, verify: ModuleType, token: Token, flags: int, how: str) -> None:
        signed = token.sign(MESSAGE, flags)
        assert verify.how_made(signed, MESSAGE, NAMESPACE, token.line).endswith(how)
        with pytest.raises(verify.Wrong):
            verify.how_made(signed, MESSAGE + b" ", NAMESPACE, token.line)
        with pytest.raises(verify.Wrong):
            verify.how_made(signed, MESSAGE, "decision@elsewhere", token.line)

    def test_a_card_by_its_certificate(self, verify: ModuleType) -> None:
        signed = ALICE.sign(MESSAGE, namespace=NAMESPACE)
        assert "PIV card" == verify.how_made(signed, MESSAGE, NAMESPACE, ALICE.line)
        with pytest.raises(verify.Wrong):
            verify.how_made(signed, MESSAGE + b" ", NAMESPACE, ALICE.line)

    @pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
    def test_a_key_in_a_file(self, verify: ModuleType, curve: ec.EllipticCurve) -> None:
        key = ec.generate_private_key(curve)
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        signed = sshsig.sign(MESSAGE, namespace=NAMESPACE, private_key=key)
        assert "key in a file" == verify.how_made(signed, MESSAGE, NAMESPACE, line)


# -- tampering: each attack mends SHA256SUMS, as anybody can -----------------------------------------------------------


def rewrite(folder: Path, change: Callable[[list[bytes]], list[bytes]], *, key: Path | None = None) -> None:
    """Change the log's events, and make a tree of them again; with the station key sign its head, too."""
    [bundle] = (folder / "log" / "tile" / "entries").rglob("*.p/*")
    leaves = change([*decode_entries(bundle.read_bytes(), width=int(bundle.name))])
    bundle.unlink()
    bundle.with_name(str(len(leaves))).write_bytes(encode_entries(leaves))
    if key is not None:
        private = load_pem_private_key(key.read_bytes(), None)
        assert isinstance(private, Ed25519PrivateKey)
        origin = checkpoint.parse((folder / "log" / "checkpoint").read_text()).origin
        root = root_of(map(leaf_hash, leaves))
        note = checkpoint.sign_checkpoint(origin, len(leaves), root, private)
        (folder / "log" / "checkpoint").write_text(note)


def an_event_is_another(leaves: list[bytes]) -> list[bytes]:
    return [leaf.replace(b'"tier":"team"', b'"tier":"town"') for leaf in leaves]


def without_the_last(leaves: list[bytes]) -> list[bytes]:
    return leaves[:-3]


def only_the_beginning(leaves: list[bytes]) -> list[bytes]:
    return leaves[:5]


def edited(folder: Path, pattern: str, old: bytes, new: bytes) -> None:
    """Change some bytes of the first file that holds them."""
    path = next(path for path in sorted(folder.glob(pattern)) if old in path.read_bytes())
    path.write_bytes(path.read_bytes().replace(old, new))


def an_approval_says_another_tier(folder: Path) -> None:
    edited(folder, "approvals/*.json", b'"tier":"team"', b'"tier":"org"')


def a_signature_is_another(folder: Path) -> None:
    first, second = sorted(folder.glob("approvals/*.sig"))
    first.write_bytes(second.read_bytes())


def a_statement_says_another_reason(folder: Path) -> None:
    edited(folder, "statements/*.json", b"outage 4711", b"outage 4712")


def an_opening_opens_to_another_name(folder: Path) -> None:
    edited(folder, "log/openings/0.jsonl", b'"alice"', b'"mallo"')


def a_text_is_another(folder: Path) -> None:
    path = next(iter(sorted(folder.glob("texts/*"))))
    path.write_bytes(path.read_bytes() + b" ")


def a_report_is_gone(folder: Path) -> None:
    next(folder.glob("reports/*.json")).unlink()


def a_report_too_many(folder: Path) -> None:
    body = canonical_bytes({"outcome": "PASSED"})
    (folder / "reports" / f"{sha256(body).hexdigest()}.json").write_bytes(body)


def a_head_that_was_never(folder: Path) -> None:
    path = next(iter((folder / "log" / "cosigned").iterdir()))
    lines = path.read_text().split("\n")
    lines[2] = base64.b64encode(bytes(32)).decode()
    path.write_text("\n".join(lines))


def the_witness_is_dropped_from_the_list(folder: Path) -> None:
    about = json.loads((folder / "audit.json").read_bytes())
    (folder / "audit.json").write_bytes(canonical_bytes(about | {"witnesses": []}))


def an_event_is_missing(folder: Path) -> None:
    rewrite(folder, lambda leaves: [*leaves[:5], *leaves[6:]])


def an_event_is_rewritten(folder: Path) -> None:
    rewrite(folder, an_event_is_another)


def the_end_is_cut_off(folder: Path) -> None:
    rewrite(folder, without_the_last)


TOUCHED = (
    an_approval_says_another_tier,
    a_signature_is_another,
    a_statement_says_another_reason,
    an_opening_opens_to_another_name,
    a_text_is_another,
    a_report_is_gone,
    a_report_too_many,
    a_head_that_was_never,
    the_witness_is_dropped_from_the_list,
    an_event_is_missing,
    an_event_is_rewritten,
    the_end_is_cut_off,
)


class TestWhatWasTouched:
    @pytest.mark.parametrize("touch", TOUCHED, ids=lambda touch: touch.__name__)
    def test_is_named(self, folder: Path, verify: ModuleType, touch: Callable[[Path], None]) -> None:
        touch(folder)
        assert 1 == verify.main(["audit", str(folder)]), "as it lies"
        mend(folder)
        answers = [verify.main(["audit", str(folder)])]
        answers += [verify.main(["promotion", str(folder), "team", MODEL, n]) for n in ("1", "2", "3")]
        answers += [verify.main(["promotion", str(folder), "org", MODEL])]
        assert 1 in answers

    def test_every_file_is_covered(self, folder: Path, verify: ModuleType) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            assert 1 == verify.main(["audit", str(folder)]), path
            path.write_bytes(data)

    def test_links_and_strange_files_are_refused(self, folder: Path, verify: ModuleType) -> None:
        (folder / "log" / "more").symlink_to("/etc")
        assert 1 == verify.main(["audit", str(folder)])

    @pytest.mark.parametrize(
        ("change", "said"),
        [(an_event_is_another, "signed over others"), (only_the_beginning, "the log's tail is gone")],
        ids=["rewritten", "cut off"],
    )
    def test_whoever_holds_the_station_key_is_found_by_what_the_witness_saw(  # noqa: PLR0917 - fixtures
        self,
        exported: Town,
        folder: Path,
        verify: ModuleType,
        change: Callable[[list[bytes]], list[bytes]],
        said: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """An administrator with root writes another history and signs it; the origin has seen the first one."""
        rewrite(folder, change, key=exported.site.home / "keys" / "station.pem")
        mend(folder)
        assert 1 == verify.main(["audit", str(folder)])
        assert said in capsys.readouterr().out

    def test_another_key_than_the_auditor_has_is_refused(
        self, exported: Town, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = checkpoint.verifier_key("tidegate/clinic", Ed25519PrivateKey.generate().public_key())
        assert 1 == verify.main(["audit", str(exported.folder / FOLDER), "--key", other])
        assert "not signed by the log's key" in capsys.readouterr().out


def test_audit_json_is_as_its_schema_says(exported: Town) -> None:
    schema = json.loads((second_reader.HOUSE / "airgap-bundles/schemas/audit/audit.schema.json").read_text())
    about = json.loads((exported.folder / FOLDER / "audit.json").read_bytes())
    Draft202012Validator(schema).validate(about)
    assert set(schema["required"]) == set(about)
    assert not Draft202012Validator(schema).is_valid(about | {"size": 0})


class TestNarrowing:
    def test_one_model_and_a_moment(
        self, exported: Town, verify: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = exported.site.ask(
            "audit", "export", tmp_path / "narrow", "--model", MODEL, "--since", "2099-01-01"
        )
        assert "nothing served since 2099-01-01T00:00:00Z" in made["left_out"]
        assert 2 == verify.main(["audit", str(tmp_path / "narrow")])
        assert "NOT CHECKED: left out of the folder" in capsys.readouterr().out
        assert 2 == verify.main(["promotion", str(tmp_path / "narrow"), "team", MODEL])
        exported.site.type(
            "audit", "export", tmp_path / "none", "--model", "demo/other", ends=NotFound.exit_code
        )

    def test_a_redacted_folder_names_nobody_and_still_proves_the_log(
        self, exported: Town, verify: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        exported.site.type("audit", "export", tmp_path / "redacted", "--redact")
        written = b"".join(path.read_bytes() for path in (tmp_path / "redacted").rglob("*") if path.is_file())
        for name in (b"alice", b'"bob"', b"carla", b'"ines"', b"outage 4711", b"wrong tool"):
            assert name not in written, name
        assert 2 == verify.main(["audit", str(tmp_path / "redacted")])
        assert 2 == verify.main(["promotion", str(tmp_path / "redacted"), "team", MODEL])
        assert "NOT CHECKED" in capsys.readouterr().out

    def test_a_folder_with_something_in_it_is_left_alone(self, exported: Town, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        exported.site.type("audit", "export", tmp_path, ends=FolderNotEmpty.exit_code)
        assert [tmp_path / "notes.txt"] == list(tmp_path.iterdir())

    def test_a_log_of_an_older_release_cannot_be_redacted(
        self, town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("registry.redaction._PLAIN", b'"format":"tidegate-event/2"')
        town.site.type("audit", "export", tmp_path / "out", "--redact", ends=NamesInTheClear.exit_code)
        assert not (tmp_path / "out").exists()
