"""Types commands for tests, in this process: what a person would see, and the exit code."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tests.world import PASSPHRASE
from tidegate.cli.root import main


class Prompt:
    """Somebody at a home's keyboard."""

    def __init__(self, home: Path, actor: str) -> None:
        self.home, self.actor = home, actor
        self._passphrase = home.parent / "passphrase.txt"
        self._passphrase.write_bytes(PASSPHRASE + b"\n")

    def as_(self, actor: str) -> "Prompt":
        """Somebody else at the same keyboard."""
        return Prompt(self.home, actor)

    def type(self, *words: object, ends: int = 0) -> Result:
        """Run one command; its exit code must be as told. A bug's traceback comes through."""
        environment = {
            "TIDEGATE_HOME": str(self.home),
            "TIDEGATE_ACTOR": self.actor,
            "TIDEGATE_PASSPHRASE_FILE": str(self._passphrase),
        }
        result = CliRunner(env=environment).invoke(
            main, [str(word) for word in words], catch_exceptions=False
        )
        assert ends == result.exit_code, f"{words} ended with {result.exit_code}:\n{result.output}"
        return result

    def ask(self, *words: object, ends: int = 0) -> Any:
        """Run one command with --json and read what it says."""
        return json.loads(self.type(*words, "--json", ends=ends).stdout)

    def ask_refused(self, *words: object, ends: int) -> Any:
        """Run one command with --json that is refused, and read its refusal."""
        return json.loads(self.type(*words, "--json", ends=ends).stderr)
