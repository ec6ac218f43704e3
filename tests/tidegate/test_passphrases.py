"""Passphrases and PINs: where they come from, and where they never end up."""

import os
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from signing import keys, sshsig, tokens
from signing.errors import OperatorError
from signing.hidden import Hidden
from signing.keys import KeyUnreadable
from signing.tokens import TokenUnusable
from tests.softhsm import PIN, SoftHsm
from tidegate.cli.root import main
from tidegate.errors import AskpassFailed, FileUnreadable, PassphraseMissing, PassphraseUnreadable
from tidegate.passphrases import MAX_SECRET, Passphrases, Source, question_for

SECRET = b"seven green boats row past the lighthouse"
SAID = SECRET.decode()


def helper(folder: Path, script: str) -> Path:
    """A program as TIDEGATE_ASKPASS names it."""
    program = folder / "askpass"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    return program


def descriptor(data: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def init(folder: Path, *words: object, **environment: str) -> Result:
    """Found an origin, which makes an officer's key and so needs a passphrase twice: to seal it and to sign."""
    variables = {"TIDEGATE_HOME": str(folder / "home"), "TIDEGATE_PASSPHRASE_FILE": None, **environment}
    line = ["init", "lab", "--role", "origin", *map(str, words)]
    return CliRunner(env=variables).invoke(main, line, catch_exceptions=False)


def opens(folder: Path) -> bool:
    (officer,) = (folder / "home" / "keys").glob("officer*.pem")
    return keys.load_signer(f"file:{officer}", passphrase=lambda _: SECRET) is not None


def test_a_passphrase_comes_through_a_descriptor(tmp_path: Path) -> None:
    result = init(tmp_path, "--passphrase-fd", descriptor(SECRET + b"\r\nsecond line\n"))
    assert 0 == result.exit_code, result.output
    assert opens(tmp_path)


def test_a_passphrase_comes_from_the_agents_program(tmp_path: Path) -> None:
    program = helper(tmp_path, f'echo "$1" >> {shlex.quote(str(tmp_path / "asked"))}; echo "{SAID}"')
    result = init(tmp_path, TIDEGATE_ASKPASS=str(program))
    assert 0 == result.exit_code, result.output
    assert opens(tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0].startswith("Passphrase of ")
    assert asked[1] == asked[0] + " (again)", "a passphrase that is being chosen is asked for twice"


def test_what_is_named_on_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_bytes(b"not this one\n")
    result = init(
        tmp_path, "--passphrase-fd", descriptor(SECRET),
        TIDEGATE_PASSPHRASE_FILE=str(tmp_path / "other.txt"), TIDEGATE_ASKPASS="/nowhere",
    )  # fmt: skip
    assert 0 == result.exit_code, result.output
    assert opens(tmp_path)
    two = init(tmp_path, "--passphrase-fd", "3", "--passphrase-file", tmp_path / "other.txt")
    assert 2 == two.exit_code
    assert "two sources" in two.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "ended with 1"),
        ("echo; exit 0", "no usable answer"),
        (f'echo "{SAID}"; exit 3', "ended with 3"),
        (f"head -c {MAX_SECRET + 1} /dev/zero | tr '\\0' x", "no usable answer"),
        ("date +%s%N", "two different answers"),
    ],
)
def test_a_program_that_gives_no_answer_is_named(tmp_path: Path, script: str, said: str) -> None:
    result = init(tmp_path, TIDEGATE_ASKPASS=str(helper(tmp_path, script)))
    assert AskpassFailed.exit_code == result.exit_code
    assert said in result.stderr
    assert SAID not in result.output
    assert not list((tmp_path / "home").rglob("officer*"))


@pytest.mark.parametrize("program", ["/nowhere/askpass", "/"])
def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, program: str) -> None:
    result = init(tmp_path, TIDEGATE_ASKPASS=program)
    assert AskpassFailed.exit_code == result.exit_code
    assert program in result.stderr


@pytest.mark.parametrize("data", [b"", b"\n", b"x" * (MAX_SECRET + 1)])
def test_a_descriptor_without_a_passphrase_is_refused(tmp_path: Path, data: bytes) -> None:
    result = init(tmp_path, "--passphrase-fd", descriptor(data))
    assert PassphraseUnreadable.exit_code == result.exit_code
    assert not list((tmp_path / "home").rglob("officer*"))


def test_a_descriptor_that_is_not_open_is_refused(tmp_path: Path) -> None:
    result = init(tmp_path, "--passphrase-fd", 987)
    assert PassphraseUnreadable.exit_code == result.exit_code
    assert "987" in result.stderr


def test_a_file_is_read_to_the_end_of_its_first_line(tmp_path: Path) -> None:
    file = tmp_path / "secret.txt"
    file.write_bytes(SECRET + b"\nand more")
    assert SECRET == Passphrases(Source(file=file)).ask("a")
    file.write_bytes(b"x" * 5000)
    with pytest.raises(PassphraseUnreadable, match="longer"):
        Passphrases(Source(file=file)).ask("a")
    with pytest.raises(FileUnreadable):
        Passphrases(Source(file=tmp_path)).ask("a")


def test_a_descriptor_answers_for_every_key_of_the_command() -> None:
    held = Passphrases(Source(descriptor=descriptor(SECRET)))
    assert held.ask("one") == held.ask("two") == SECRET


def test_nobody_is_asked_where_nobody_is(tmp_path: Path) -> None:
    assert PassphraseMissing.exit_code == init(tmp_path).exit_code
    assert "PIN of hsm:token=a;object=b" == question_for("hsm:token=a;object=b")


def test_a_process_shows_its_passphrase_to_nobody(tmp_path: Path) -> None:
    """The program looks at whoever asks it, each time: arguments, variables, open files. Then every file is searched."""
    look = f'for f in cmdline environ; do tr "\\0" "\\n" < /proc/$PPID/$f; done >> {tmp_path}/seen; echo "$@" >> {tmp_path}/seen'
    program = helper(tmp_path, f'{look}; read -r line < {tmp_path}/told; echo "$line"')
    (tmp_path / "told").write_bytes(SECRET + b"\n")
    environment = {**os.environ, "TIDEGATE_HOME": str(tmp_path / "home"), "TIDEGATE_ASKPASS": str(program)}
    environment.pop("TIDEGATE_PASSPHRASE_FILE", None)
    command = [sys.executable, "-m", "tidegate", "init", "lab", "--role", "origin", "--json"]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, check=True
    )
    seen = (tmp_path / "seen").read_bytes()
    assert b"TIDEGATE_ASKPASS" in seen, "it did look"
    assert opens(tmp_path)
    (tmp_path / "told").unlink()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in (*written, seen, done.stdout, done.stderr) if SECRET in text]


def wrong_passphrase(folder: Path, ask: Callable[[str], bytes], hsm: SoftHsm) -> None:
    made = keys.create_key(folder / "k.pem", passphrase=b"another")
    keys.load_signer(made.uri, passphrase=ask)


def wrong_passphrase_of_an_ssh_key(folder: Path, ask: Callable[[str], bytes], hsm: SoftHsm) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "another", "-f", str(folder / "id")]
    subprocess.run(words, check=True)
    sshsig.load_private(folder / "id", passphrase=ask)


def wrong_pin(folder: Path, ask: Callable[[str], bytes], hsm: SoftHsm) -> None:
    tokens.open_key(hsm.uri("whatever"), passphrase=ask)


def wrong_pin_for_one_signature(folder: Path, ask: Callable[[str], bytes], hsm: SoftHsm) -> None:
    hsm.make("wary", "EC:prime256v1", "--always-auth")
    answers = iter([b"271828", SECRET])
    key = tokens.open_key(hsm.uri("wary"), passphrase=lambda _: Hidden(next(answers)))
    key.sign(b"words")


@pytest.mark.parametrize(
    ("attack", "refusal"),
    [
        (wrong_passphrase, KeyUnreadable),
        (wrong_passphrase_of_an_ssh_key, KeyUnreadable),
        (wrong_pin, TokenUnusable),
        (wrong_pin_for_one_signature, TokenUnusable),
    ],
)
def test_a_traceback_with_every_variable_shows_no_secret(
    attack: Callable[[Path, Callable[[str], bytes], SoftHsm], None],
    refusal: type[OperatorError],
    tmp_path: Path,
    hsm: SoftHsm,
) -> None:
    (tmp_path / "told").write_bytes(SECRET)
    ask = Passphrases(Source(file=tmp_path / "told")).ask
    try:
        with pytest.raises(refusal) as refused:
            attack(tmp_path, ask, hsm)
    finally:
        tokens.close_all()
    said = everything_about(refused.value)
    assert "ask" in said, "the variables are there"
    assert SAID not in said


def everything_about(error: BaseException | None) -> str:
    """What a debugger or a crash report would show, of the refusal and of all that lies behind it."""
    said = ""
    while error is not None:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        said += "".join(report.format(chain=False))
        error = error.__cause__ or error.__context__
    return said


def test_hidden_bytes_are_bytes_that_show_nothing() -> None:
    held = Hidden(SECRET)
    assert held == SECRET
    assert {"<hidden>"} == {repr(held), str(held), f"{held}"}
    assert SAID not in repr(Passphrases(Source(descriptor=3)).__dict__ | {"read": held})


def test_a_key_is_made_in_a_module_and_its_public_half_handed_out(
    tmp_path: Path, hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_PKCS11_MODULE", hsm.module)
    out, uri = tmp_path / "export.pub.json", "hsm:token=export;object=by hand"
    given = {
        "TIDEGATE_PASSPHRASE_FILE": None,
        "TIDEGATE_ASKPASS": str(helper(tmp_path, f"echo {PIN.decode()}")),
    }
    runner = CliRunner(env=given)
    line = ["keys", "create", uri, "--algorithm", "ecdsa-p384"]
    assert 2 == runner.invoke(main, line).exit_code, "where to?"
    made = runner.invoke(main, [*line, "--out", str(out)], catch_exceptions=False)
    assert 0 == made.exit_code, made.output
    assert "ecdsa-sha2-nistp384" == keys.public_key_from_json(out.read_bytes()).scheme
    shown = runner.invoke(main, ["keys", "show", uri, "--json"], catch_exceptions=False)
    assert keys.public_key_from_json(out.read_bytes()).keyid in shown.output
    again = runner.invoke(main, [*line, "--out", str(out)])
    assert TokenUnusable.exit_code == again.exit_code
    for_another = runner.invoke(
        main, ["keys", "create", uri + "2", "--algorithm", "ml-dsa-87", "--out", str(out)]
    )
    assert TokenUnusable.exit_code == for_another.exit_code
