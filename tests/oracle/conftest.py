"""The reference tool: found where `python -m tests.oracle.setup` puts it; without it a visible skip, under CI a failure."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.oracle.setup import MODEL_SIGNING

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def model_signing() -> Run:
    """Run the tool with these words. Its exit code must be as told; it gets no network and none of our environment."""
    if not MODEL_SIGNING.installed:
        reason = "the reference tool is not here: `python -m tests.oracle.setup`; .ci/run installs it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    def run(*words: object, ends: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(MODEL_SIGNING.executable), *(str(word) for word in words)],
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=120,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(Path.home())},
        )
        assert bool(ends) == bool(done.returncode), f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    return run
