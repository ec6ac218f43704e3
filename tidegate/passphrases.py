"""Where a passphrase or a PIN comes from: a file, a descriptor, an agent's program, or the person at the terminal.

Never from an argument or a variable, which every process list and `/proc` would show. One source per command, the
first that is named: `--passphrase-file`, `--passphrase-fd`, TIDEGATE_PASSPHRASE_FILE, TIDEGATE_ASKPASS, then the
terminal. The program is called as SSH_ASKPASS is: the question is its one argument, the answer its output.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click

from signing.hidden import Hidden
from tidegate.errors import AskpassFailed, FileUnreadable, PassphraseMissing, PassphraseUnreadable

MAX_SECRET = 4096  # bytes of the first line
_PATIENCE = 300  # seconds that a person has to answer the program's question


@dataclass(frozen=True)
class Source:
    """What the command line and the environment name; None of them means the terminal."""

    file: Path | None = None
    descriptor: int | None = None
    program: str | None = None


class Passphrases:
    """Answers what a key asks for, for the length of one command."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def ask(self, key: str, *, confirm: bool = False) -> Hidden:
        """Return a key's passphrase, or a token's PIN.

        Args:
            key: whose; a URI, or a name for the question.
            confirm: it is being chosen now, so a person is asked twice.

        Raises:
            FileUnreadable, PassphraseUnreadable, AskpassFailed: the source that was named cannot be used.
            PassphraseMissing: none was named, and there is no terminal.
        """
        if self._source.file is not None:
            return _of_file(self._source.file)
        if self._source.descriptor is not None:
            return self._of_descriptor
        question = question_for(key)
        if self._source.program is not None:
            return _of_program(self._source.program, question, confirm=confirm)
        if not sys.stdin.isatty():
            raise PassphraseMissing(key)
        return Hidden(click.prompt(question, hide_input=True, confirmation_prompt=confirm, err=True).encode())

    @cached_property
    def _of_descriptor(self) -> Hidden:
        """Read once: a pipe is empty afterwards, and a second key may ask."""
        descriptor = self._source.descriptor
        assert descriptor is not None, "asked before"
        try:
            with os.fdopen(descriptor, "rb", closefd=descriptor > 2) as stream:
                found = _first_line(stream.readline(MAX_SECRET + 1))
        except OSError as exc:
            raise PassphraseUnreadable(f"descriptor {descriptor}", exc.strerror or "cannot be read") from exc
        if not 0 < len(found) <= MAX_SECRET:
            raise PassphraseUnreadable(
                f"descriptor {descriptor}", f"holds no line of 1 to {MAX_SECRET} bytes"
            )
        return found


def question_for(key: str) -> str:
    """Return what a person is asked."""
    return f"PIN of {key}" if key.startswith("hsm:") else f"Passphrase of {key}"


def _of_file(file: Path) -> Hidden:
    try:
        with file.open("rb") as stream:
            found = _first_line(stream.readline(MAX_SECRET + 1))
    except OSError as exc:
        raise FileUnreadable(str(file), exc.strerror or "cannot be read") from exc
    if len(found) > MAX_SECRET:
        raise PassphraseUnreadable(str(file), f"its first line is longer than {MAX_SECRET} bytes")
    return found


def _of_program(program: str, question: str, *, confirm: bool) -> Hidden:
    found = _answer(program, question)
    if confirm and found != _answer(program, f"{question} (again)"):
        raise AskpassFailed(program, "gave two different answers")
    return found


def _answer(program: str, question: str) -> Hidden:
    try:
        answer, code = _run(program, question)
    except OSError as exc:
        raise AskpassFailed(program, exc.strerror or "cannot be started") from exc
    except subprocess.TimeoutExpired:
        raise AskpassFailed(
            program, f"gave no answer in {_PATIENCE} s"
        ) from None  # the cause holds its output
    if code != 0 or not 0 < len(answer) <= MAX_SECRET:
        raise AskpassFailed(program, f"ended with {code} and no usable answer")
    return answer


def _run(program: str, question: str) -> tuple[Hidden, int]:
    """Apart, so that the output stands in no frame when a refusal is raised."""
    done = subprocess.run(
        [program, question], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_PATIENCE, check=False
    )
    return _first_line(done.stdout), done.returncode


def _first_line(data: bytes) -> Hidden:
    return Hidden(data.split(b"\n", 1)[0].rstrip(b"\r"))
