"""The independent verifier and the strict reader beside it, loaded from their own folders as they load themselves."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

HOUSE = Path(__file__).parents[1]
VERIFIER = HOUSE / "airgap-bundles" / "verifier"
READER = HOUSE / "airgap-bundles" / "reader"
NAMES = ("verify", "strict", "frames")


@contextmanager
def loaded() -> Iterator[dict[str, ModuleType]]:
    """The programs' modules by name; they are gone again afterwards."""
    sys.path[:0] = [str(VERIFIER), str(READER)]
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        for place in (VERIFIER, READER):
            while str(place) in sys.path:
                sys.path.remove(str(place))
        for name in NAMES:
            sys.modules.pop(name, None)


def vector_readers(strict: ModuleType, key: dict[str, Any]) -> dict[str, Callable[[Path], object]]:
    """How the second reader reads each kind of vector; it raises for what it refuses.

    Args:
        key: the station's public key, as the export documents of the vectors have it.
    """

    def table(case: Path) -> dict[str, int]:
        export = strict.read_export((case / "export.json").read_bytes(), "export")
        chunks, _ = strict.read_table((case / "chunks.jsonl").read_bytes(), export)
        return {chunk["chunk"]: chunk["size"] for chunk in chunks}

    def plan(case: Path) -> None:
        sizes, body = table(case), (case / "export.json").read_bytes()
        files = {name: (case / name).read_bytes() for name in ("plan.json", "plan.sig.json", "volume.json")}
        found = strict.read_plan(files, json.loads(body), strict.sha256(body), sizes)
        stored = case / "stored"
        if stored.exists():
            strict.check_parity(
                found, sizes, lambda name, at, size: (stored / name).read_bytes()[at : at + size]
            )

    def frame(case: Path) -> None:
        about, base = json.loads((case / "frame.json").read_bytes()), case / "base.bin"
        under = base.read_bytes() if base.exists() else None
        raw = strict.frames.decode(
            about["encoding"], about["unit"], (case / "stored.bin").read_bytes(), about["size"], under
        )
        assert raw == (case / "raw.bin").read_bytes()

    return {
        "export": lambda case: strict.read_export(case.read_bytes(), "export"),
        "release": lambda case: strict.read_release(case.read_bytes(), "release"),
        "manifest": lambda case: strict.read_manifest(case.read_bytes(), "manifest"),
        "history": lambda case: strict.read_history(case.read_bytes(), 3),
        "sums": lambda case: strict.read_sums(case.read_bytes()),
        "receipt": lambda case: strict.read_letter(case.read_bytes(), "receipt", key),
        "repair-request": lambda case: strict.read_letter(case.read_bytes(), "repair", key),
        "table": table,
        "plan": plan,
        "frame": frame,
    }
