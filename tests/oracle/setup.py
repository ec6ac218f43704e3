"""The reference tool of OpenSSF Model Signing, in a Python environment of its own below the user's cache.

    python -m tests.oracle.setup

Apart from the tests' own environment because it is no dependency of ours: its thirty packages would meet our pins,
and its release does not name all that it needs (pyOpenSSL). Installed by tests.engines.setup, where the rules stand.
"""

import sys

from tests.engines.setup import Recipe, install

MODEL_SIGNING = Recipe(
    "model-signing",
    "1.1.1",
    ("model-signing==1.1.1", "pyOpenSSL==26.4.0", "sigstore==4.5.1"),
    "model_signing",
)

if __name__ == "__main__":
    sys.stdout.write(f"{install(MODEL_SIGNING)}\n")
