"""What the environment and the command line say: read here and nowhere below."""

import getpass
import os
from dataclasses import dataclass
from pathlib import Path

from signing.hidden import Hidden
from tidegate.passphrases import Source


@dataclass(frozen=True)
class Afar:
    """The server at which commands are run, and what is shown there."""

    url: str
    token_file: Path | None
    token: Hidden | None  # of the environment; the file wins
    ca_file: Path | None


@dataclass(frozen=True)
class Settings:
    """One command's settings. A flag wins over the environment."""

    home: Path
    actor: str  # who acts, for the audit log
    as_json: bool
    secrets: Source  # of passphrases and PINs
    afar: Afar | None = None  # None: in a home here


def from_environment(
    *,
    home: Path | None = None,
    actor: str | None = None,
    as_json: bool = False,
    passphrase_file: Path | None = None,
    passphrase_fd: int | None = None,
    server: str | None = None,
    token_file: Path | None = None,
    ca_file: Path | None = None,
) -> Settings:
    """Complete what the flags left open: TIDEGATE_HOME, TIDEGATE_ACTOR, TIDEGATE_PASSPHRASE_FILE, then defaults.

    A server is worked at when one is named by a flag, or by TIDEGATE_SERVER and no flag names a home here.
    """
    environment = os.environ
    named = passphrase_file or (
        None if passphrase_fd is not None else environment.get("TIDEGATE_PASSPHRASE_FILE")
    )
    return Settings(
        home=Path(home or environment.get("TIDEGATE_HOME") or Path.home() / ".tidegate").absolute(),
        actor=actor or environment.get("TIDEGATE_ACTOR") or getpass.getuser(),
        as_json=as_json,
        secrets=Source(
            file=Path(named) if named else None,
            descriptor=passphrase_fd,
            program=environment.get("TIDEGATE_ASKPASS") or None,
        ),
        afar=_afar(server or (None if home else environment.get("TIDEGATE_SERVER")), token_file, ca_file),
    )


def _afar(url: str | None, token_file: Path | None, ca_file: Path | None) -> Afar | None:
    if not url:
        return None
    file = token_file or os.environ.get("TIDEGATE_TOKEN_FILE")
    token = os.environ.get("TIDEGATE_TOKEN")
    authority = ca_file or os.environ.get("TIDEGATE_CA_FILE")
    return Afar(
        url=url,
        token_file=Path(file) if file else None,
        token=Hidden(token.encode(errors="replace")) if token else None,
        ca_file=Path(authority) if authority else None,
    )


def pkcs11_module() -> str | None:
    """The library of the tokens here, for keys whose name has no `module=`."""
    return os.environ.get("TIDEGATE_PKCS11_MODULE") or None


def mlflow_server(given: str | None) -> str | None:
    """The address of the MLflow server to speak to: what was given, else MLFLOW_TRACKING_URI.

    Whoever asks is about to import MLflow's package, which would report its use to its makers. It is told not to.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    return given or os.environ.get("MLFLOW_TRACKING_URI") or None
