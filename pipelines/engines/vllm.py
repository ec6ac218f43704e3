"""vLLM: loads a folder of safetensors; whether tool calls are parsed hangs on one flag of the profile.

Its health page answers 200 while it is paused or asleep; a tool call does not. It finishes what it streams when it
is asked to end only if `--shutdown-timeout` says so, so draining is done here, by its own counters.
Source: `vllm serve --help=all` and docs/serving of 0.32.0; pages and log lines seen on 0.32.0.
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

_CODE = (
    "--trust-remote-code --tool-parser-plugin --reasoning-parser-plugin --middleware --logits-processors "
    "--io-processor-plugin --worker-cls --worker-extension-cls --scheduler-cls --model-class-overrides"
)
_WEIGHTS = "--tokenizer --hf-config-path --enable-lora --lora-modules --default-mm-loras --speculative-config --spec-model"
_OPENS = (
    "--allowed-local-media-path --allowed-media-domains --trust-request-chat-template --trust-request-mm-kwargs "
    "--tool-server --enable-prompt-embeds"
)
_SAID = {name: re.compile(rf"\b{name}=([\w.:]+)") for name in ("dtype", "device_config", "max_seq_len")}


@dataclass(frozen=True)
class Vllm(ProcessDriver):
    """One `vllm serve` per slot."""

    engine: ClassVar[str] = "vllm"
    usual: ClassVar[tuple[str, ...]] = ("vllm",)
    refused: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("--model", "--host", "--port", "--uds", "--root-path", "--served-model-name"), OWNED
        ),
        **dict.fromkeys(
            ("--max-model-len", "--chat-template", "--load-format", "--config", "--headless"), OWNED
        ),
        **dict.fromkeys(("--download-dir", "--revision", "--code-revision", "--tokenizer-revision"), FETCHES),
        **dict.fromkeys(("--otlp-traces-endpoint",), "tells another machine what is asked"),
        **dict.fromkeys(("--api-key", "--hf-token"), SECRET),
        **dict.fromkeys(("--enable-log-requests", "--enable-log-outputs", "--enable-log-deltas"), LOGS),
        **dict.fromkeys(_CODE.split(), CODE),
        **dict.fromkeys(_WEIGHTS.split(), WEIGHTS),
        **dict.fromkeys(_OPENS.split(), OPENS),
    }

    def path(self, launch: Launch) -> Path:
        """Return the version's folder."""
        return safetensors_folder(launch, self.engine)

    def arguments(self, launch: Launch, slot: Slot, path: Path) -> list[str]:
        """Return the command line. Only safetensors are read, whatever else lies in the folder."""
        own = ["serve", str(path), "--served-model-name", launch.served_name, "--host", slot.host]
        own += [
            "--port",
            str(slot.port),
            "--max-model-len",
            str(launch.context),
            "--load-format",
            "safetensors",
        ]
        return own + (["--chat-template", str(launch.template)] if launch.template else [])

    def silent(self) -> Mapping[str, str]:
        """Return what keeps vLLM from reporting how it is used."""
        return {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}

    def parser(self, launch: Launch) -> str | None:
        """Return the parser that the profile chooses; without `--enable-auto-tool-choice` there is none."""
        if not flags.has(launch.profile.flags, "--enable-auto-tool-choice"):
            return None
        return flags.value_of(launch.profile.flags, "--tool-call-parser")

    def in_flight(self, slot: Slot) -> int | None:
        """Return requests that run and that wait."""
        return counting.vllm(slot.endpoint)

    def told(self, slot: Slot, known: Fingerprint) -> Fingerprint:
        """Return the fingerprint with what vLLM wrote into its log when it began."""
        head = log_head(slot)
        said = {name: found[1] for name, line in _SAID.items() if (found := line.search(head))}
        return replace(
            known,
            dtype=said["dtype"].removeprefix("torch.") if "dtype" in said else known.dtype,
            device=said.get("device_config", known.device),
            context=int(said["max_seq_len"]) if said.get("max_seq_len", "").isdigit() else known.context,
        )


def safetensors_folder(launch: Launch, engine: str) -> Path:
    """Return the version's folder. Raises `NothingServable` if no safetensors or no config are in it."""
    names = {entry.path for entry in launch.manifest.files}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise NothingServable(launch.ref, engine, "it has no config.json or no safetensors")
    return launch.files
