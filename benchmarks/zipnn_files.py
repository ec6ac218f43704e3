"""Compresses a folder's files with zipnn and back: a program for the environment that has zipnn.

    python -m benchmarks.zipnn_files encode|decode FROM TO

zipnn is told a file's number format as its own scripts are; what holds no floats, it gets as bytes of its default.
"""

import json
import sys
from pathlib import Path
from typing import Any

_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def codec(dtype: str) -> Any:
    """A zipnn object for a safetensors type; one thread, as everything is measured here."""
    from zipnn import ZipNN

    return ZipNN(input_format="byte", bytearray_dtype=_NAMES.get(dtype, "bfloat16"), threads=1)


def _dtype(path: Path) -> str:
    if path.suffix != ".safetensors":
        return ""
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    sizes: dict[str, int] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            sizes[entry["dtype"]] = sizes.get(entry["dtype"], 0) + end - begin
    return max(sizes, key=lambda dtype: sizes[dtype])


def _main(word: str, source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in source.iterdir():
        if word == "encode":
            name = _dtype(path)
            packed = codec(name).compress(bytearray(path.read_bytes()))
            (target / path.name).write_bytes(name.encode().ljust(4) + packed)
        else:
            stored = path.read_bytes()
            (target / path.name).write_bytes(codec(stored[:4].decode().strip()).decompress(stored[4:]))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
