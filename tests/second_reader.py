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
NAMES = ("verify", "strict", "frames", "signed")


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


def vector_readers(
    modules: dict[str, ModuleType], key: dict[str, Any]
) -> dict[str, Callable[[Path], object]]:
    """How the second reader reads each kind of vector; it raises for what it refuses.

    Args:
        key: the station's public key, as the export documents of the vectors have it.
    """
    strict = modules["strict"]

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
        **signed_readers(modules["signed"]),
    }


def signed_readers(signed: ModuleType) -> dict[str, Callable[[Path], object]]:
    """The same of what people sign, of the log, and of what is signed apart."""

    def person(read: Callable[[bytes], object], namespace: str) -> Callable[[Path], object]:
        def authentic(case: Path) -> object:
            asked, payload = (
                json.loads((case / "check.json").read_bytes()),
                (case / "payload.json").read_bytes(),
            )
            signed.check_signature((case / "payload.sig").read_text(), payload, namespace, asked)
            return read(payload)

        return authentic

    def event(case: Path) -> object:
        beside = case / "openings.json"
        openings = json.loads(beside.read_bytes()) if beside.exists() else None
        return signed.read_event((case / "event.json").read_bytes(), openings)

    def about(case: Path) -> tuple[str, list[str]]:
        asked = json.loads((case / "check.json").read_bytes())
        return asked["log_key"], asked["witnesses"]

    def head(case: Path) -> None:
        assert 7 == signed.read_head((case / "checkpoint").read_bytes().decode(), *about(case))[0]

    def proof(case: Path) -> object:
        beside = case / "event.openings.json"
        openings = json.loads(beside.read_bytes()) if beside.exists() else []
        return signed.read_proof((case / "event.tlog-proof").read_bytes(), *about(case), openings)

    def ceremony(case: Path) -> None:
        counts = signed.read_ceremony(case)
        assert set(counts.values()) == {0 if "nobody" in case.name else 2}

    def paper(case: Path) -> None:
        fresh = signed.read_paper((case / "paper.txt").read_text(), (case / "own.json").read_bytes())
        assert fresh == (case / "timestamp.json").read_bytes()

    def model(case: Path) -> object:
        return signed.read_model_signature(
            (case / "model.sig").read_bytes(), (case / "model.pem").read_bytes()
        )

    return {
        "approval": person(signed.read_approval, "approval@tidegate"),
        "decision": person(signed.read_decision, "decision@tidegate"),
        "people": lambda case: signed.read_people(case.read_bytes()),
        "event": event,
        "checkpoint": head,
        "proof": proof,
        "ceremony": ceremony,
        "paper": paper,
        "model-signature": model,
    }
