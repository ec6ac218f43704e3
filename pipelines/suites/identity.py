"""Is what the engine serves the version that we mean? Answered by hashing the files that it says it has loaded.

An engine answers for any model name, so names are not looked at. It says a path; the files there are hashed
and held against the version's manifest; a file that was exchanged under a running engine is noticed where the
engine maps it (`pipelines.engines.memory`). That needs the engine on this machine, or a shared file system
under the same path; anything else is honestly "not proven".
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pipelines.engines.endpoint import Endpoint
from pipelines.engines.memory import command_line, holds_an_earlier_file, listeners
from pipelines.engines.probe import EngineIdentity
from registry.contracts import EngineProfile
from registry.manifests import FileEntry, Manifest
from signing.digests import file_sha256, sha256_hex

WEIGHTS = (".safetensors", ".gguf")
# What engines load as weights besides; one of these beside the version's own files is a stranger.
_STRANGERS = (*WEIGHTS, ".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Command line words by which engines load other weights on top of the version's, or read its facts otherwise.
_ON_TOP = frozenset(
    (
        *("--lora", "--lora-scaled", "--control-vector", "--control-vector-scaled", "--override-kv"),
        *("--lora-modules", "--enable-lora", "--default-mm-loras", "--hf-overrides", "--hf-config-path"),
    )
)
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_SAME_ENGINE = {"llama.cpp": "llama-server", "llama-cpp": "llama-server", "llamacpp": "llama-server"}


@dataclass(frozen=True)
class Served:
    """What is known of the files behind an endpoint.

    `contradicted`: files were hashed, and they are not the version's. Not proven without that: nobody knows.
    """

    proven: bool
    why: str
    contradicted: bool = False
    files: tuple[FileEntry, ...] = ()  # the manifest's entries that were found loaded

    @property
    def state(self) -> str:
        """`proven` or `not-proven`."""
        return "proven" if self.proven else "not-proven"


def hold_against(engine: EngineIdentity, endpoint: Endpoint, manifest: Manifest) -> Served:
    """Hash what the engine says it has loaded and compare it with the manifest. Never raises for what it finds."""
    problem = _out_of_sight(engine, endpoint)
    if problem is not None or engine.model_path is None:
        return _unknown(problem or "")
    if on_top := _on_top(endpoint.port):
        return _wrong(f"the engine was started with {on_top}: what answers is not these files alone")
    path = Path(engine.model_path)
    try:
        if path.is_dir():
            return _folder(path, manifest, endpoint.port)
        return (
            _file(path, manifest, endpoint.port)
            if path.is_file()
            else _unknown(f"{path}: there is no such file here")
        )
    except OSError as exc:
        return _unknown(f"{path}: cannot be read here ({exc.strerror})")


def _on_top(port: int) -> str | None:
    """The word of the engine's command line by which it loads something on top, as far as its process can be seen."""
    words = (word for process in listeners(port) for word in command_line(process))
    return next((flag for word in words if (flag := word.partition("=")[0]) in _ON_TOP), None)


def _out_of_sight(engine: EngineIdentity, endpoint: Endpoint) -> str | None:
    if not endpoint.is_local:
        return f"the engine is on another host ({endpoint.host}): its path cannot be looked at here"
    if engine.model_path is None:
        return f"the engine ({engine.engine}) does not say which files it has loaded"
    if not Path(engine.model_path).is_absolute():
        return f"the engine says {engine.model_path!r}, which means something only in its own folder"
    return None


def _file(path: Path, manifest: Manifest, port: int) -> Served:
    weights = {entry.sha256: entry for entry in manifest.files if entry.path.endswith(WEIGHTS)}
    found = []
    for part in _parts(path):
        if not part.is_file():
            return _wrong(f"{part}: missing, though its siblings are there")
        digest = file_sha256(part)
        if digest not in weights:
            return _wrong(
                f"{part} holds {digest[:12]}, which is no weight file of this version of {manifest.model}"
            )
        found.append(weights[digest])
        if holds_an_earlier_file(port, part):
            return _wrong(
                f"{part} was replaced after the engine had loaded it; the engine still holds the old one"
            )
    return Served(
        proven=True, why=f"{path} was hashed and is the version's {found[0].path}", files=tuple(found)
    )


def _parts(path: Path) -> list[Path]:
    """A GGUF in several files is named by its first; all of them are loaded."""
    match = _SHARD.fullmatch(path.name)
    if not match or not 1 <= int(match[3]) <= 1000:
        return [path]
    return [
        path.with_name(f"{match[1]}-{number:05d}-of-{match[3]}.gguf")
        for number in range(1, int(match[3]) + 1)
    ]


def _folder(path: Path, manifest: Manifest, port: int) -> Served:
    entries = {entry.path: entry for entry in manifest.files}
    for item in sorted(path.iterdir()):
        if item.name.endswith(_STRANGERS) and item.name not in entries:
            return _wrong(f"{item} lies there, and is no file of {manifest.model}")
    found = []
    for name, entry in entries.items():
        held = path / name
        if not held.is_file():
            if name.endswith(".safetensors"):
                return _wrong(f"{held}: missing")
            continue
        digest = file_sha256(held)
        if digest != entry.sha256:
            return _wrong(f"{held} holds {digest[:12]}, the version's is {entry.sha256[:12]}")
        found.append(entry)
        if holds_an_earlier_file(port, held):
            return _wrong(
                f"{held} was replaced after the engine had loaded it; the engine still holds the old one"
            )
    if not any(entry.path.endswith(WEIGHTS) for entry in found):
        return _wrong(f"{path}: none of the version's weight files is there")
    return Served(
        proven=True, why=f"{len(found)} files of {path} were hashed and are the version's", files=tuple(found)
    )


def _unknown(why: str) -> Served:
    return Served(proven=False, why=why)


def _wrong(why: str) -> Served:
    return Served(proven=False, why=why, contradicted=True)


def profile_mismatch(engine: EngineIdentity, profile: EngineProfile) -> str | None:
    """Return how the engine that answers differs from the one that the profile names, or None.

    A profile may name a release and leave the build open: `0.5.0` is met by `0.5.0-dev` and `0.5.0+cpu`.
    """
    wanted = _SAME_ENGINE.get(profile.engine, profile.engine)
    if engine.engine == "unknown":
        return f"the engine does not say what it is; profile {profile.name} names {profile.engine}"
    if engine.engine != wanted:
        return f"{engine.engine} answers; profile {profile.name} names {profile.engine}"
    said = engine.version or "(none)"
    if said == profile.version or (said.startswith(profile.version) and said[len(profile.version)] in "-+."):
        return None
    return f"{engine.engine} says version {said}; profile {profile.name} names {profile.version}"


def other_file(served: Served, profile: EngineProfile) -> str | None:
    """Return how the file that was found loaded differs from the one that the profile has loaded, or None.

    A version may hold several files that each could be served; measured is the one that will be.
    """
    wanted = profile.extra.get("x-file")
    if wanted is None or not served.proven or wanted in [entry.path for entry in served.files]:
        return None
    return f"{served.files[0].path} of the version; profile {profile.name} has {wanted} loaded"


def template_note(engine: EngineIdentity, own: bytes | None) -> str:
    """Say whose chat template the engine renders: `own`, `other`, or `unknown` when it cannot be told.

    Args:
        own: the version's chat_template.jinja. Engines show it without its last line's end.
    """
    if engine.template_sha256 is None or own is None:
        return "unknown"
    forms = {sha256_hex(own), sha256_hex(own.rstrip(b"\r\n")), sha256_hex(own.strip())}
    return "own" if engine.template_sha256 in forms else "other"
