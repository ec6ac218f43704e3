"""What checking a model's signature costs, against the reference tool and against hashing alone, in one run.

    python -m tests.oracle.setup
    python -m benchmarks.model_signature --size 8589934592

Random files are made, signed once, and checked in turn by each of: SHA-256 of every byte by `hashlib` on all cores (the
limit), our check of a folder, and `model_signing verify key`. The files are in the page cache for all of them. Each
runs as its own process; the medians of the rounds are printed as JSON, and the ratios to the limit.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner

from pipelines.closed_world import hash_files, look
from signing import model_signature as oms
from tests.oracle.setup import MODEL_SIGNING

FILES = 8
BLOCK = 16 << 20  # bytes
LIMIT = """
import hashlib, os, sys
from concurrent.futures import ThreadPoolExecutor
def one(path):
    with open(path, "rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    list(pool.map(one, sys.argv[1:]))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_signature", description=__doc__)
    parser.add_argument("--size", type=int, default=8 << 30, help="bytes of all files together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-oms-", dir=told.folder))
    try:
        print(json.dumps(measured(folder, told.size, told.rounds), indent=2))
    finally:
        shutil.rmtree(folder)


def measured(folder: Path, size: int, rounds: int) -> dict[str, object]:
    """The figures: seconds of each, and how many times the limit that is."""
    model = _model(folder / "model", size // FILES)
    key, place, pem = ec.generate_private_key(ec.SECP256R1()), folder / "model.sig", folder / "key.pem"
    pem.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    place.write_bytes(oms.sign("model", hash_files(model, look(model).files).items(), CryptoSigner(key)))
    ways = _ways(model, place, pem)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, words in ways.items():
            taken[name].append(_seconds(words))
    medians = {name: statistics.median(found) for name, found in taken.items()}
    return {
        "bytes": size // FILES * FILES,
        "rounds": rounds,
        "seconds": {name: round(value, 2) for name, value in medians.items()},
        "times_the_limit": {
            name: round(value / medians["sha256"], 2) for name, value in medians.items() if name != "sha256"
        },
    }


def _ways(model: Path, signature: Path, pem: Path) -> dict[str, Sequence[str]]:
    ours = [sys.executable, "-m", "tidegate", "models", "verify-signature", f"{model}/"]
    ways: dict[str, Sequence[str]] = {
        "sha256": [sys.executable, "-c", LIMIT, *map(str, sorted(model.iterdir()))],
        "tidegate": [*ours, "--signature", str(signature), "--public-key", str(pem)],
    }
    if MODEL_SIGNING.installed:
        tool = [str(MODEL_SIGNING.executable), "verify", "key", str(model)]
        ways["model_signing"] = [*tool, "--signature", str(signature), "--public_key", str(pem)]
    return ways


def _model(folder: Path, size: int) -> Path:
    folder.mkdir()
    for number in range(FILES):
        with Path("/dev/urandom").open("rb") as source, (folder / f"{number}.safetensors").open("wb") as sink:
            left = size
            while left:
                left -= sink.write(source.read(min(BLOCK, left)))
    return folder


def _seconds(words: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run(words, check=True, capture_output=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
