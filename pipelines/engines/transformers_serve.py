"""`transformers serve`: loads a folder with the reference implementation. For suites and comparisons, not for wards.

It counts no requests, so that draining it never says idle; an answer of the model that it cannot read as a call is
a status 500. Source: `transformers serve --help` of 5.23.0, and what that release was seen to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pipelines.engines import flags
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.flags import CODE, OPENS, OWNED
from pipelines.engines.launch import Launch, Slot
from pipelines.engines.serving import NothingServable, ProcessDriver
from pipelines.engines.vllm import safetensors_folder


@dataclass(frozen=True)
class TransformersServe(ProcessDriver):
    """One `transformers serve` per slot. The model's name in requests is its folder: no other is known to it."""

    engine: ClassVar[str] = "transformers"
    usual: ClassVar[tuple[str, ...]] = ("transformers",)
    refused: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("--host", "--port"), OWNED),
        **dict.fromkeys(("--trust-remote-code",), CODE),
        **dict.fromkeys(("--enable-cors",), OPENS),
        **dict.fromkeys(("--decision-config",), OWNED),
    }

    def path(self, launch: Launch) -> Path:
        """Return the version's folder."""
        return safetensors_folder(launch, self.engine)

    def model_name(self, launch: Launch) -> str:
        """Return the folder."""
        return str(self.path(launch))

    def arguments(self, launch: Launch, slot: Slot, path: Path) -> list[str]:
        """Return the command line. Another chat template cannot be given to it."""
        if launch.template is not None:
            raise NothingServable(launch.ref, self.engine, "it takes no chat template but the folder's own")
        return ["serve", str(path), "--host", slot.host, "--port", str(slot.port)]

    def parser(self, launch: Launch) -> str | None:  # noqa: ARG002 - there is no flag for it
        """Return `tokenizer`: the format of calls is the tokenizer's response template."""
        return "tokenizer"

    def told(self, slot: Slot, known: Fingerprint) -> Fingerprint:  # noqa: ARG002 - it says nothing of itself
        """Return the fingerprint with the device that the profile chose."""
        return replace(known, device=flags.value_of(known.flags or (), "--device"))
