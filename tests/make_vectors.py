"""Writes `airgap-bundles/vectors/v1`: examples of the format, good ones and bad ones, the same bytes every time.

    python -m tests.make_vectors            writes what is missing or differs
    python -m tests.make_vectors --check    only says what differs; exit 1 when something does

Everything comes from fixed keys and seeds. The stored bytes of frames are made once and then kept: another zstd may
encode otherwise, and has to decode what there is. `tests/pipelines/test_vectors.py` runs each of them.
"""

import argparse
import sys

from tests.vectors.basics import VECTORS
from tests.vectors.ceremonies import ceremony_vectors, paper_vectors
from tests.vectors.documents import (
    export_vectors,
    heads_vectors,
    history_vectors,
    receipt_vectors,
    release_vectors,
    sums_vectors,
)
from tests.vectors.frames import encoded_frames, hostile_frames, plain_frames
from tests.vectors.logs import checkpoint_vectors, event_vectors, proof_vectors
from tests.vectors.model_signatures import model_signature_vectors
from tests.vectors.people import approval_vectors, decision_vectors, people_vectors
from tests.vectors.tables import plan_vectors, table_vectors


def everything() -> dict[str, bytes]:
    """Path below `vectors/v1` to bytes."""
    makers = (
        export_vectors, heads_vectors, release_vectors, history_vectors, table_vectors, plan_vectors, receipt_vectors, sums_vectors,
        encoded_frames, plain_frames, hostile_frames, approval_vectors, decision_vectors, people_vectors,
        event_vectors, checkpoint_vectors, proof_vectors, ceremony_vectors, paper_vectors, model_signature_vectors,
    )  # fmt: skip
    return {path: data for maker in makers for path, data in maker()}


def differences() -> tuple[dict[str, bytes], list[str]]:
    """What is missing or lies there otherwise, and what nobody writes."""
    wanted = everything()
    there = {path.relative_to(VECTORS).as_posix(): path for path in VECTORS.rglob("*") if path.is_file()}
    wrong = {
        path: data for path, data in wanted.items() if path not in there or there[path].read_bytes() != data
    }
    return wrong, sorted(set(there) - set(wanted))


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--check", action="store_true", help="write nothing; exit 1 when something differs")
    wrong, surplus = differences()
    if options.parse_args(arguments).check:
        sys.stdout.write("".join(f"{path}\n" for path in (*wrong, *surplus)))
        return 1 if wrong or surplus else 0
    for path, data in wrong.items():
        place = VECTORS / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    for path in surplus:
        (VECTORS / path).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
