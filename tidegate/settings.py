"""What the environment and the command line say: read here and nowhere below."""

import getpass
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """One command's settings. A flag wins over the environment."""

    home: Path
    actor: str  # who acts, for the audit log
    as_json: bool
    passphrase_file: Path | None


def from_environment(
    *,
    home: Path | None = None,
    actor: str | None = None,
    as_json: bool = False,
    passphrase_file: Path | None = None,
) -> Settings:
    """Complete what the flags left open: TIDEGATE_HOME, TIDEGATE_ACTOR, TIDEGATE_PASSPHRASE_FILE, then defaults."""
    environment = os.environ
    file = passphrase_file or environment.get("TIDEGATE_PASSPHRASE_FILE")
    return Settings(
        home=Path(home or environment.get("TIDEGATE_HOME") or Path.home() / ".tidegate").absolute(),
        actor=actor or environment.get("TIDEGATE_ACTOR") or getpass.getuser(),
        as_json=as_json,
        passphrase_file=Path(file) if file else None,
    )
