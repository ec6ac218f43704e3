"""Runs the commands of the demo as a reader would type them, and checks that each ended as told."""

import json
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.engine import die_with, stop

MODEL = "demo/tiny-toolcaller"
_PLAIN, _BOLD, _DIM = ("\033[0m", "\033[1m", "\033[2m") if sys.stdout.isatty() else ("", "", "")


class StoryBroken(Exception):
    """A command did not end as the story tells it."""


@dataclass
class Story:
    """A teller in a folder; commands run with that folder as the working directory."""

    folder: Path
    chapter_count: int = 0
    exports: dict[str, str] = field(default_factory=dict)

    def chapter(self, title: str, text: str) -> None:
        """A heading and what is about to happen."""
        self.chapter_count += 1
        print(f"\n{_BOLD}{self.chapter_count}. {title}{_PLAIN}")
        print(textwrap.fill(" ".join(text.split()), 100), flush=True)

    def say(self, text: str) -> None:
        """One remark."""
        print(textwrap.fill(text, 100), flush=True)

    def run(self, command: str, *, ends: int = 0, quiet: bool = False, last: int | None = None) -> str:
        """Type one command and show what it says.

        Args:
            ends: the exit code that the story tells of; another one breaks the story.
            quiet: show the command only.
            last: show this many lines of its end only: the others were seen before.

        Returns: what it said on both streams, in the order in which it was said.
        """
        print(f"{_DIM}${_PLAIN} {command}", flush=True)
        done = self._call(shlex.split(command), errors=subprocess.STDOUT)
        if done.returncode != ends:
            raise StoryBroken(f"{command}\nended with {done.returncode}, told as {ends}\n{done.stdout}")
        if not quiet:
            print(textwrap.indent(_end_of(done.stdout.rstrip(), last), "  "), flush=True)
            if ends:
                print(f"  (exit code {ends})", flush=True)
        return done.stdout

    def ask(self, command: str) -> Any:
        """Run a command with --json, without showing it, and return what it says."""
        done = self._call([*shlex.split(command), "--json"])
        if done.returncode:
            raise StoryBroken(f"{command}: {done.stderr}")
        return json.loads(done.stdout)

    def demand(self, true: bool, what: str) -> None:
        """Break the story unless a thing that it tells is so."""
        if not true:
            raise StoryBroken(f"not so: {what}")

    def export(self, **settings: str) -> None:
        """Set variables for what is typed from now on. A secret's middle is not shown."""
        for name, value in settings.items():
            shown = f"{value[:8]}…" if name.endswith("TOKEN") else value
            print(f"{_DIM}${_PLAIN} export {name}={shown}", flush=True)
        self.exports |= settings

    @contextmanager
    def background(self, command: str) -> Iterator[str]:
        """Type one command that goes on until the block ends; yields the first line that it says.

        It is ended by its own process id, and cannot outlive us: the kernel ends it when we are gone.
        """
        print(f"{_DIM}${_PLAIN} {command} &", flush=True)
        log = self.folder / "background.log"
        with log.open("ab") as errors:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C reaches us, and we stop it in order
                preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 (one prctl call, nothing that takes a lock)
            )
        assert process.stdout is not None, "it is a pipe"
        try:
            line = process.stdout.readline().rstrip()
            self.demand(bool(line), f"{command} comes up: {log.read_text()}")
            print(f"  {line}", flush=True)
            yield line
        finally:
            stop(process)
            process.stdout.close()

    def _call(self, words: list[str], *, errors: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def _environment(self) -> dict[str, str]:
        """Ours without settings that would change what the commands do, and with what the story exported."""
        others = ("TIDEGATE_", "HF_", "HUGGING")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        kept["TIDEGATE_PASSPHRASE_FILE"] = str(self.folder / "passphrase.txt")
        return kept | self.exports


def _end_of(said: str, last: int | None) -> str:
    lines = said.splitlines()
    return said if last is None or len(lines) <= last else "\n".join(["…", *lines[-last:]])
