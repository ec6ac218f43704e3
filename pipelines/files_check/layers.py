"""Which layers of a model should look alike, told from its config by general rules. Pure.

A layer is what stands behind the first number in a tensor's name. Two layers of one kind have the same tensors with
the same shapes; what kind a layer is of, a config says in one of a few ways that hold for any architecture:
a list with an entry for each layer, a list of layers' numbers, a first layer from which something holds, an interval.
So no table of models is needed, and a new one needs no new release.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.files_check.parts import has_norms
from pipelines.files_check.values import first_number, whole_number

_NAME = re.compile(r"(?:(.*?)\.)?(\d+)\.(.+)")
_INTERVAL = re.compile(r"(?:_|^)(?:interval|period|freq|frequency|step|pattern)$")
_FIRST = re.compile(
    r"^(?:first_k_dense_replace|leading_dense_block_count|num_(?:first_)?dense_layers|n_dense_layers)$"
)
_ABOUT_LAYERS = re.compile(r"layer|block|pattern|moe|attn|attention|mlp|rope|window")
_LAST = re.compile(r"^num_kv_shared_layers$")
DEPTH = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth", "block_count")
EXTRA = ("num_nextn_predict_layers", "nextn_predict_layers", "num_mtp_modules")


@dataclass(frozen=True)
class Tensor:
    """What a header says of a tensor, whatever the format."""

    path: str  # of the file
    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass
class Stack:
    """Layers under one prefix: for each number, the rest of each tensor's name and the tensor."""

    prefix: str
    layers: dict[int, dict[str, Tensor]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def depth(self) -> int:
        """One more than the highest layer's number."""
        return max(self.layers) + 1


def stacks(tensors: Sequence[Tensor]) -> tuple[dict[str, Stack], list[Tensor]]:
    """Sort tensors into stacks of layers, by prefix, and what belongs to no layer."""
    found: dict[str, Stack] = {}
    rest = []
    for tensor in tensors:
        match = _NAME.fullmatch(tensor.name)
        if match is None or len(match[2]) > 6:
            rest.append(tensor)
            continue
        stack = found.setdefault(match[1] or "", Stack(match[1] or ""))
        stack.layers[int(match[2])][match[3]] = tensor
    return found, rest


def depth_of(config: Mapping[str, Any]) -> int | None:
    """How many layers the config says the model has, or None."""
    return first_number(config, *DEPTH)


def extra_layers(config: Mapping[str, Any]) -> int:
    """How many layers may stand behind the last: those that predict further tokens."""
    return first_number(config, *EXTRA) or 0


def kinds(config: Mapping[str, Any], depth: int) -> list[tuple[Any, ...]]:
    """Return a label for each layer: those with one label are of one kind, as far as the config says."""
    labels: list[list[Any]] = [[] for _ in range(depth)]
    for key, value in sorted(config.items()):
        for number, label in enumerate(_labels(key, value, depth)):
            labels[number].append(label)
    return [tuple(label) for label in labels]


def _labels(key: str, value: Any, depth: int) -> list[Any]:
    if isinstance(value, list | str) and _ABOUT_LAYERS.search(key):
        if len(value) == depth > 1 and all(_scalar(item) for item in value):
            return list(value)
        if value and all(_below(item, depth) for item in value):
            return [number in value for number in range(depth)]
    count = whole_number(value)
    return _counted(key, count, depth) if count is not None and 0 < count <= depth else []


def _counted(key: str, count: int, depth: int) -> list[Any]:
    if _FIRST.fullmatch(key):
        return [number < count for number in range(depth)]
    if _LAST.fullmatch(key):
        return [number < depth - count for number in range(depth)]
    if _INTERVAL.search(key) and 1 < count <= depth // 2:
        return [number % count for number in range(depth)]
    return []


def _scalar(item: Any) -> bool:
    return isinstance(item, str | int | float | bool) or item is None


def _below(item: Any, depth: int) -> bool:
    number = whole_number(item)
    return number is not None and 0 <= number < depth


@dataclass(frozen=True)
class Odd:
    """A layer that is not like most layers of its kind. `own`: it has tensors that they do not have."""

    layer: int
    missing: tuple[str, ...]
    own: tuple[str, ...]
    reshaped: tuple[str, ...]  # there, with another shape
    alone: bool = False  # the only one of its kind: held against all the others instead


def odd_layers(stack: Stack, labels: Sequence[tuple[Any, ...]]) -> list[Odd]:
    """Hold each layer against the commonest one of its kind. A layer without a label is not looked at.

    A kind with a single layer is held against all layers, and marked: that it differs may be right. Where it has parts
    of its own, `missing` is only the norms around them that every other layer has.
    """
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number in sorted(stack.layers):
        if number < len(labels):
            groups[labels[number]].append(number)
    found = [odd for group in groups.values() if len(group) > 1 for odd in _odd_of(stack, group)]
    alone = {group[0] for group in groups.values() if len(group) == 1}
    if alone and len(groups) > 1:
        everybody = _odd_of(stack, sorted(stack.layers))
        found += [_lonely(stack, odd) for odd in everybody if odd.layer in alone]
    return found


def _lonely(stack: Stack, odd: Odd) -> Odd:
    others = [layer for number, layer in stack.layers.items() if number != odd.layer]
    around = [name for name in odd.missing if name.count(".") == 1 and has_norms([name])]
    everywhere = tuple(name for name in around if all(name in layer for layer in others))
    return replace(odd, alone=True, missing=everywhere if odd.own else odd.missing)


def _odd_of(stack: Stack, group: Sequence[int]) -> list[Odd]:
    """Hold layers against the commonest set of names among them; of two as common, against the larger."""
    votes = Counter(frozenset(stack.layers[number]) for number in group)
    usual = max(votes, key=lambda names: (votes[names], len(names), sorted(names)))
    shapes = {}
    for name in usual:
        counted = Counter(layer[name].shape for n in group if name in (layer := stack.layers[n]))
        shapes[name] = counted.most_common(1)[0][0]
    found = []
    for number in group:
        layer = stack.layers[number]
        missing, own = tuple(sorted(usual - layer.keys())), tuple(sorted(layer.keys() - usual))
        reshaped = tuple(sorted(n for n in usual & layer.keys() if layer[n].shape != shapes[n]))
        if missing or own or reshaped:
            found.append(Odd(number, missing, own, reshaped))
    return found
