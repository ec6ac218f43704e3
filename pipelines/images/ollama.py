"""A GGUF version as Ollama's own image: a manifest of Docker's media type whose layers are files of the version.

Ollama takes one file of weights, a vision projector beside it if there is one, sampling defaults and licences. It
knows no Jinja: the chat template of the version is not carried over, Ollama falls back on what it recognises in the
GGUF. So what a suite found about tool calls with the version's own template is not shown for Ollama.
Sources: ollama/ollama `manifest/manifest.go`, `server/images.go`, `server/create.go`, `types/model/config.go`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from pipelines.images.forms import describe, descriptor
from pipelines.scan.errors import MalformedGguf
from pipelines.scan.gguf import GgufHeader, read_header
from registry.blobs import BlobStore
from registry.manifests import FileEntry, Manifest
from signing.canonical import NotCanonical, parse
from signing.digests import sha256_hex

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.ollama.image."
_MAX_SETTINGS = 1 << 20  # bytes of generation_config.json

# What `generation_config.json` says, in Ollama's words. Source: Ollama `docs/modelfile.md`, PARAMETER.
_PARAMETERS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
# `general.file_type`. Source: llama.cpp `llama.h`, enum llama_ftype.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip


class NotForOllama(JudgingRefused):
    """A version that Ollama could not load."""

    exit_code: ClassVar[int] = 182
    status: ClassVar[int] = 404
    next_step: ClassVar[str] = (
        "Add a version of the model with one GGUF file (`--leave-out` for the others), or serve this one with "
        "llama-server, vLLM or transformers, which take what Ollama does not."
    )

    def __init__(self, ref: str, problem: str) -> None:
        super().__init__(f"{ref}: {problem}; Ollama takes one GGUF file")
        self.ref, self.problem = ref, problem


@dataclass(frozen=True)
class OllamaImage:
    """What Ollama pulls, or finds in its folder."""

    manifest: bytes
    files: tuple[FileEntry, ...]  # of the version, that are layers
    small: Mapping[str, bytes]  # SHA-256 in hex to bytes: configuration and parameters

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest in hex."""
        return sha256_hex(self.manifest)


def ollama_image(blobs: BlobStore, manifest: Manifest, ref: str) -> OllamaImage:
    """Return the image of a version whose files are in the store.

    Raises:
        NotForOllama: it has no GGUF file, several, or one in parts.
    """
    weights, projector = _weights(manifest, ref)
    layers = [("model", weights)] + ([("projector", projector)] if projector else [])
    layers += [("license", entry) for entry in manifest.files if _is_licence(entry.path)]
    described = [descriptor(f"{_LAYER}{kind}", entry.sha256, entry.size) for kind, entry in layers]
    small = []
    parameters = _parameters(blobs, manifest)
    if parameters:
        small.append(_json(parameters))
        described.insert(1, describe(f"{_LAYER}params", small[0]))
    config = _json(_config(_header(blobs, weights, ref), [layer["digest"] for layer in described]))
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(_CONFIG, config),
        "layers": described,
    }
    held = {sha256_hex(data): data for data in (config, *small)}
    return OllamaImage(_json(body), tuple(entry for _, entry in layers), held)


def _weights(manifest: Manifest, ref: str) -> tuple[FileEntry, FileEntry | None]:
    found = [entry for entry in manifest.files if entry.path.endswith(".gguf")]
    beside = [entry for entry in found if "mmproj" in entry.path.rpartition("/")[2].lower()]
    main = [entry for entry in found if entry not in beside]
    if not main:
        raise NotForOllama(ref, "has no GGUF file with weights")
    if len(main) > 1 or len(beside) > 1:
        names = ", ".join(entry.path for entry in (main if len(main) > 1 else beside)[:4])
        raise NotForOllama(
            ref, f"has {len(main)} GGUF files with weights and {len(beside)} projectors ({names})"
        )
    return main[0], beside[0] if beside else None


def _is_licence(path: str) -> bool:
    return path.upper().startswith(("LICENSE", "LICENCE"))


def _header(blobs: BlobStore, weights: FileEntry, ref: str) -> GgufHeader:
    try:
        with blobs.open(weights.sha256) as stream:
            return read_header(stream, weights.size)
    except MalformedGguf as exc:
        raise NotForOllama(ref, str(exc)) from exc


def _config(header: GgufHeader, layers: list[str]) -> dict[str, Any]:
    family = header.metadata.get("general.architecture")
    family = family if isinstance(family, str) else "unknown"
    kind = header.metadata.get("general.file_type")
    return {
        "model_format": "gguf",
        "model_family": family,
        "model_families": [family],
        "model_type": _in_words(sum(tensor.elements for tensor in header.tensors)),
        "file_type": _FILE_TYPES.get(kind, "unknown") if isinstance(kind, int) else "unknown",
        "architecture": "amd64",  # Ollama writes this on every machine
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": layers},
    }


def _in_words(parameters: int) -> str:
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= size:
            return f"{parameters / size:.1f}{letter}"
    return str(parameters)


def _parameters(blobs: BlobStore, manifest: Manifest) -> dict[str, int | float]:
    """The sampling defaults of `generation_config.json`; what Ollama has no word for is not carried over."""
    entry = next((file for file in manifest.files if file.path == "generation_config.json"), None)
    if entry is None or entry.size > _MAX_SETTINGS:
        return {}
    try:
        said = parse(blobs.read(entry.sha256, max_bytes=_MAX_SETTINGS), max_bytes=_MAX_SETTINGS)
    except NotCanonical:  # the scan has said so to whoever took it in
        return {}
    if not isinstance(said, dict):
        return {}
    found = {ours: said[theirs] for theirs, ours in _PARAMETERS.items() if _is_number(said.get(theirs))}
    return {**found, "temperature": 0} if said.get("do_sample") is False else found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(value: object) -> bytes:
    # Not canonical_bytes: sampling defaults are fractions. Python writes a float in one way on every machine.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
