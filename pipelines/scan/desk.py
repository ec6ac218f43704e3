"""What a scan has seen so far, kept small: headers without their texts, templates as digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipelines.scan import documents, gguf, licence, safetensors
from pipelines.scan.reading import quoted
from pipelines.scan.values import ChatTemplate, FindingList, ScanFacts

MAX_TENSORS = 500_000  # of all files together; the largest published models have about 100 000
_KEPT_SUFFIXES = ("general.architecture", ".context_length")


@dataclass(frozen=True)
class TemplateCopy:
    """A chat template in one file. `same_as` is equal for texts that render alike."""

    template: ChatTemplate
    path: str
    same_as: str


@dataclass
class Desk:
    """Collects findings and facts; one per scan."""

    found: FindingList = field(default_factory=FindingList)
    formats: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)  # paths of weight files, readable or not
    weights: dict[str, safetensors.SafetensorsHeader] = field(default_factory=dict)  # by path
    ggufs: dict[str, gguf.GgufHeader] = field(default_factory=dict)  # by path
    indexes: dict[str, documents.ShardIndex] = field(default_factory=dict)  # by path
    config: documents.ConfigFacts = field(default_factory=documents.ConfigFacts)
    copies: list[TemplateCopy] = field(default_factory=list)
    licences: list[licence.Statement] = field(default_factory=list)
    tensors: int = 0

    def keep_safetensors(self, path: str, header: safetensors.SafetensorsHeader) -> None:
        """Remember a shard's tensors, within the limit for all shards together."""
        if self._room_for(path, len(header.tensors)):
            self.weights[path] = replace(header, metadata={})

    def keep_gguf(self, path: str, header: gguf.GgufHeader) -> None:
        """Remember a GGUF file's tensors and the few keys that facts are made of."""
        kept: Mapping[str, gguf.GgufValue] = {
            key: value for key, value in header.metadata.items() if key.endswith(_KEPT_SUFFIXES)
        }
        if self._room_for(path, len(header.tensors)):
            self.ggufs[path] = replace(header, metadata=kept)

    def _room_for(self, path: str, count: int) -> bool:
        self.tensors += count
        if self.tensors > MAX_TENSORS:
            self.found.add(
                "folder.too-many-tensors", path, f"more than {MAX_TENSORS} tensors up to this file"
            )
            return False
        return True

    def facts(self) -> ScanFacts:
        """Return the facts, but for the licence."""
        tensors = [tensor for header in self.weights.values() for tensor in header.tensors]
        packed = [tensor for header in self.ggufs.values() for tensor in header.tensors]
        sizes = [tensor.elements for tensor in tensors] or [tensor.elements for tensor in packed]
        return ScanFacts(
            formats=tuple(sorted(self.formats)),
            tensor_count=len(sizes),
            parameter_count=sum(sizes),
            dtypes=tuple(sorted({tensor.dtype for tensor in tensors} | {tensor.type for tensor in packed})),
            architectures=self.config.architectures,
            model_type=self.config.model_type or self._gguf_architecture(),
            context_length=self.config.context_length or self._gguf_context(),
            chat_templates=tuple(
                sorted((copy.template for copy in self.copies), key=lambda t: (t.name, t.source, t.sha256))
            ),
            wire_markers=tuple(sorted({name for copy in self.copies for name in copy.template.families})),
        )

    def _gguf_architecture(self) -> str | None:
        values = (header.metadata.get("general.architecture") for _, header in sorted(self.ggufs.items()))
        return next((quoted(value, quotes=False) for value in values if isinstance(value, str)), None)

    def _gguf_context(self) -> int | None:
        for _, header in sorted(self.ggufs.items()):
            value = header.metadata.get(f"{header.metadata.get('general.architecture')}.context_length")
            if isinstance(value, int) and documents.is_context(value):
                return value
        return None
