"""Quantises tensors as llama.cpp does, so that figures about GGUF files are figures about real ones.

The quantiser is ggml's own `ggml-quants.c`, compiled alone into a small shared library that is kept in the cache
beside the demonstration's engine; it comes from the same pinned, hash-checked source package, fetched the same
way (`demo/engine_setup.py`). Apart from the codecs and from the tests: neither may need a compiler.

    python -m benchmarks.quantise          build the library if it is missing, print its path
"""

import ctypes
import functools
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.engine_setup import (
    PACKAGE_VERSION,
    Say,
    _download,
    _only_one,
    _run,
    _workshop,
    cache_folder,
    unpack,
)
from demo.engine_tools import EngineTrouble, find_compilers

if TYPE_CHECKING:
    import numpy as np

__all__ = ["KINDS", "EngineTrouble", "library_path", "quantise", "set_up_quantiser"]

# kind: (weights in a block, bytes of a block, ggml's function). Source: ggml-common.h, ggml-quants.h.
KINDS = {
    "q8_0": (32, 34, "quantize_row_q8_0_ref"),
    "q4_0": (32, 18, "quantize_row_q4_0_ref"),
    "q4_1": (32, 20, "quantize_row_q4_1_ref"),
    "q5_0": (32, 22, "quantize_row_q5_0_ref"),
    "q5_1": (32, 24, "quantize_row_q5_1_ref"),
    "q2_k": (256, 84, "quantize_row_q2_K_ref"),
    "q3_k": (256, 110, "quantize_row_q3_K_ref"),
    "q4_k": (256, 144, "quantize_row_q4_K_ref"),
    "q5_k": (256, 176, "quantize_row_q5_K_ref"),
    "q6_k": (256, 210, "quantize_row_q6_K_ref"),
}
# What ggml-quants.c wants of the rest of ggml and never calls on our way through it.
_STUBS = """
#include <stdlib.h>
#include "ggml.h"
void ggml_abort(const char * file, int line, const char * format, ...) { (void) file; (void) line; (void) format; abort(); }
size_t ggml_row_size(enum ggml_type type, int64_t count) { (void) type; (void) count; abort(); }
size_t ggml_type_size(enum ggml_type type) { (void) type; abort(); }
const char * ggml_type_name(enum ggml_type type) { (void) type; return ""; }
"""
# No instructions of this machine alone and no fused multiplication: the same bytes on every machine.
_FLAGS = ("-O3", "-ffp-contract=off", "-fPIC", "-shared", "-w")


def library_path(cache: Path | None = None) -> Path:
    """Return where the library stands, or will stand."""
    return (cache or cache_folder()) / f"ggml-quants-{PACKAGE_VERSION}" / "libquants.so"


def set_up_quantiser(say: Say, cache: Path | None = None) -> Path:
    """Return the library's path, building it first if it is missing (77 MB are downloaded once, through pip).

    Raises `EngineTrouble` without a C compiler, without the package, and for other bytes than the pinned ones.
    """
    target = library_path(cache)
    if target.exists():
        return target
    compilers = find_compilers(os.environ)
    if compilers is None:
        raise EngineTrouble(
            "no working C compiler on this machine: install one, then run the same command again"
        )
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(target.parent.parent, say):
        if target.exists():
            return target
        say(f"ggml's quantiser is not on this machine: downloading its sources (77 MB), building {target}.")
        with _workshop(target.parent.parent) as work:
            _build(work, compilers[0], target.name).rename(target.parent)
    return target


def _build(work: Path, compiler: str, name: str) -> Path:
    """Return the finished folder: the library and the licence of its sources."""
    log = work / "log.txt"
    _run([sys.executable, "-m", "venv", str(work / "venv")], log, "make a virtual environment (python3-venv)")
    source = _download(work, log)
    unpack(source, work / "llama.cpp")
    ggml, finished = work / "llama.cpp" / "ggml", work / "finished"
    finished.mkdir()
    stubs = work / "stubs.c"
    stubs.write_text(_STUBS, "utf-8")
    folders = [f"-I{ggml / 'include'}", f"-I{ggml / 'src'}"]
    files = [str(ggml / "src" / "ggml-quants.c"), str(stubs), "-o", str(finished / name), "-lm"]
    _run([compiler, *_FLAGS, *folders, *files], log, "compile ggml-quants.c")
    shutil.copy2(work / "llama.cpp" / "LICENSE", finished / "LICENSE")
    return finished


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(set_up_quantiser(lambda line: print(line, file=sys.stderr))))


def quantise(weights: "np.ndarray[Any, np.dtype[np.float32]]", kind: str) -> bytes:
    """Return the blocks of `weights`, as a GGUF file holds them.

    Args:
        weights: float32, any shape whose last dimension is a multiple of the block's weights.
        kind: one of `KINDS`. No importance matrix is used.

    Raises `KeyError` for another kind, `ValueError` for another shape, `EngineTrouble` if the library cannot be built.
    """
    import numpy as np

    count, size, function = KINDS[kind]
    flat = np.ascontiguousarray(weights, dtype=np.float32)
    if not flat.size or flat.shape[-1] % count:
        raise ValueError(f"{kind}: rows of {flat.shape[-1:]} weights are no whole blocks of {count}")
    out = ctypes.create_string_buffer(flat.size // count * size)
    _library()[function](ctypes.c_void_p(flat.ctypes.data), out, ctypes.c_int64(flat.size))
    return out.raw


if __name__ == "__main__":
    print(set_up_quantiser(lambda line: print(line, file=sys.stderr)))
