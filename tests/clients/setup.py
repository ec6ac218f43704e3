"""Other releases of the clients that the doors are for, each in a Python environment of its own below the user's cache.

    python -m tests.clients.setup [hub036 hub1 mlflow]

Apart from the tests' own environment because each of these releases excludes the one that we depend on. Installed by
tests.engines.setup, where the rules stand. What is asserted of a client is asserted of it as its makers ship it:
nothing here is patched.
"""

import sys

from tests.engines.setup import Recipe, install

HUB036 = Recipe("hub", "0.36.2", ("huggingface_hub==0.36.2",), "python")  # the last that lists by `siblings`
HUB1 = Recipe("hub", "1.33.0", ("huggingface_hub==1.33.0",), "python")
# 3.18.0 names companions of its own number that are not published: 3.17.2 is the newest that installs.
MLFLOW = Recipe("mlflow", "3.17.2", ("mlflow==3.17.2",), "python")

CLIENTS = {"hub036": HUB036, "hub1": HUB1, "mlflow": MLFLOW}


def main(arguments: list[str]) -> int:
    """Install what is named, or all; print the Python of each."""
    wanted = arguments or sorted(CLIENTS)
    if not set(wanted) <= set(CLIENTS):
        sys.stderr.write(__doc__ or "")
        return 2
    for name in wanted:
        sys.stdout.write(f"{install(CLIENTS[name])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
