"""llama-server of llama.cpp: loads one GGUF file, derives the parser of tool calls from the chat template.

Its `--ctx-size` is shared by all slots, so it is the context of one request times how many may run at once.
Source: llama.cpp `tools/server/README.md`; flags and pages seen on builds 0.5.0 and b11434.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pipelines.engines import counting, flags
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.flags import CODE, FETCHES, LOGS, OPENS, OWNED, SECRET, WEIGHTS
from pipelines.engines.launch import Launch, Slot
from pipelines.engines.process import log_head
from pipelines.engines.serving import NothingServable, ProcessDriver
from registry.contracts import EngineProfile

DEFAULT_PARALLEL = 4  # requests at once; what llama-server itself chooses
_TELLS = "4"  # says what was loaded and where to; from 5 on it would write down what people ask
QUIET = ("--offline", "--no-webui", "--verbosity", _TELLS)
_PART = re.compile(r".*-(\d{5})-of-\d{5}\.gguf")
_DEVICE = re.compile(r"load_tensors:\s+(\S+) model buffer size")
_TYPE = re.compile(r"print_info: file type\s*=\s*(\S+)")


def parallel(profile: EngineProfile) -> int:
    """Return how many requests the profile lets run at once."""
    told = flags.value_of(profile.flags, "--parallel", "-np")
    return int(told) if told is not None and told.isdigit() and int(told) > 0 else DEFAULT_PARALLEL


def of_model(launch: Launch, path: Path) -> list[str]:
    """Return the flags about the model alone: what is loaded, how much at once, and both pages that count requests."""
    at_once = parallel(launch.profile)
    own = ["--model", str(path), "--ctx-size", str(launch.context * at_once), "--metrics", "--slots"]
    if not flags.has(launch.profile.flags, "--parallel", "-np"):
        own += ["--parallel", str(at_once)]
    return own + (["--chat-template-file", str(launch.template)] if launch.template else [])


@dataclass(frozen=True)
class LlamaServer(ProcessDriver):
    """One llama-server process per slot; several models in one process are `pipelines.engines.llama_router`."""

    engine: ClassVar[str] = "llama-server"
    usual: ClassVar[tuple[str, ...]] = ("llama-server",)
    abbreviated: ClassVar[bool] = False
    refused: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("--model", "-m", "--host", "--port", "--alias", "-a", "--ctx-size", "-c"), OWNED),
        **dict.fromkeys(("--chat-template-file", "--chat-template", "--no-slots", "--api-prefix"), OWNED),
        **dict.fromkeys(("--log-disable", "--log-file", "--verbosity", "--log-verbosity", "-lv"), OWNED),
        **dict.fromkeys(("--verbose", "--log-verbose", "-v"), LOGS),
        **dict.fromkeys(
            ("--model-url", "-mu", "--docker-repo", "-dr", "--rpc", "--mmproj-url", "-mmu"), FETCHES
        ),
        **dict.fromkeys(("--hf-repo", "-hf", "-hfr", "--hf-file", "-hff"), FETCHES),
        **dict.fromkeys(("--hf-repo-draft", "-hfd", "-hfrd", "--hf-repo-v", "-hfv", "-hffv"), FETCHES),
        **dict.fromkeys(("--hf-token", "-hft", "--api-key", "--api-key-file"), SECRET),
        **dict.fromkeys(("--tools", "--mcp-servers-config", "--mcp-servers-json", "--agent", "-ag"), CODE),
        **dict.fromkeys(("--lora", "--lora-scaled", "--control-vector", "--control-vector-scaled"), WEIGHTS),
        **dict.fromkeys(("--model-draft", "-md", "--mmproj", "-mm", "--override-kv"), WEIGHTS),
        **dict.fromkeys(("--models-dir", "--models-preset", "--models-autoload"), WEIGHTS),
        **dict.fromkeys(("--path", "--media-path", "--slot-save-path", "--props"), OPENS),
    }

    def path(self, launch: Launch) -> Path:
        """Return the version's GGUF file: the only one, the first of its parts, or the one that is named."""
        return gguf_file(launch, self.engine)

    def arguments(self, launch: Launch, slot: Slot, path: Path) -> list[str]:
        """Return the command line: nothing is fetched, and there is no page for people."""
        place = ["--host", slot.host, "--port", str(slot.port), "--alias", launch.served_name]
        return [*of_model(launch, path), *place, *QUIET]

    def parser(self, launch: Launch) -> str | None:
        """Return `template`: the engine reads the format of calls out of the chat template."""
        return None if flags.has(launch.profile.flags, "--no-jinja") else "template"

    def in_flight(self, slot: Slot) -> int | None:
        """Return requests in slots and requests that wait for one."""
        return counting.llama_server(slot.endpoint)

    def told(self, slot: Slot, known: Fingerprint) -> Fingerprint:
        """Return the fingerprint with the type of the weights and the device, which only the log says."""
        return from_log(known, log_head(slot))


def from_log(known: Fingerprint, head: str) -> Fingerprint:
    """Return the fingerprint with what the log says while a model is loaded."""
    type_, devices = _TYPE.search(head), sorted(set(_DEVICE.findall(head)))
    return replace(known, dtype=type_[1] if type_ else None, device="+".join(devices) or None)


def gguf_file(launch: Launch, engine: str) -> Path:
    """Return the GGUF file that is to be loaded. Raises `NothingServable` if there is none, or more than one."""
    names = [entry.path for entry in launch.manifest.files if entry.path.endswith(".gguf")]
    named = launch.profile.extra.get("x-file")
    if named is not None:
        if named not in names:
            raise NothingServable(launch.ref, engine, f"it has no file {named!r}")
        return launch.files / str(named)
    first = [name for name in names if not (match := _PART.fullmatch(name)) or int(match[1]) == 1]
    if not first:
        raise NothingServable(launch.ref, engine, "it has no GGUF file")
    if len(first) > 1:
        raise NothingServable(launch.ref, engine, f"it has {len(first)} GGUF files: {', '.join(first[:4])}")
    return launch.files / first[0]
