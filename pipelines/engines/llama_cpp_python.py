"""The server of llama-cpp-python: loads one GGUF file and hands tool calls back as plain text.

It answers every request and parses no call, so it is ready and says so: `parses_calls` is False, and a contract
that needs calls can never hold on it. Its flags are spelled with underscores.
Source: `python -m llama_cpp.server --help` of 0.3.36, and what that release was seen to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipelines.engines.flags import FETCHES, OWNED, SECRET, WEIGHTS
from pipelines.engines.launch import Launch, Slot
from pipelines.engines.llama_server import gguf_file
from pipelines.engines.serving import NothingServable, ProcessDriver


@dataclass(frozen=True)
class LlamaCppPython(ProcessDriver):
    """One `python -m llama_cpp.server` per slot."""

    engine: ClassVar[str] = "llama-cpp-python"
    parses_calls: ClassVar[bool] = False
    usual: ClassVar[tuple[str, ...]] = ("python3", "-m", "llama_cpp.server")
    refused: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("--model", "--model-alias", "--host", "--port", "--n-ctx", "--config-file"), OWNED),
        **dict.fromkeys(
            ("--hf-model-repo-id", "--hf-pretrained-model-name-or-path", "--rpc-servers"), FETCHES
        ),
        **dict.fromkeys(("--hf-tokenizer-config-path", "--lora-path", "--lora-base"), WEIGHTS),
        **dict.fromkeys(("--clip-model-path", "--draft-model", "--kv-overrides"), WEIGHTS),
        **dict.fromkeys(("--api-key", "--ssl-keyfile"), SECRET),
    }

    def path(self, launch: Launch) -> Path:
        """Return the version's GGUF file."""
        return gguf_file(launch, self.engine)

    def arguments(self, launch: Launch, slot: Slot, path: Path) -> list[str]:
        """Return the command line. Another chat template cannot be given to it."""
        if launch.template is not None:
            raise NothingServable(launch.ref, self.engine, "it takes no chat template but the file's own")
        own = ["--model", str(path), "--model_alias", launch.served_name, "--host", slot.host]
        return [*own, "--port", str(slot.port), "--n_ctx", str(launch.context)]
