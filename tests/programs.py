"""Programs of other people that tests hold our work against: `ssh-keygen`, `openssl`, PostgreSQL.

Where one is missing the test is skipped, with the reason shown; under CI it fails, so that nobody's green run
left a comparison out without a word.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """Return where a program is."""
    found = shutil.which(name)
    return found if found is not None else _missing(name)


def postgres_binaries() -> Path:
    """Return the folder with `initdb` and `pg_ctl`, wherever the distribution keeps them."""
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).resolve().parent
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return candidates[-1] if candidates else _missing("PostgreSQL (initdb, pg_ctl)")


def _missing(name: str) -> NoReturn:
    reason = f"{name} is not on this machine; .ci/run installs it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
