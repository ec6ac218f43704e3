"""Is every tensor there that the config implies: layers, their parts, vocabulary, output, shards. Pure.

The rules, in the order of their findings:
1. what the index lists and what the files hold is the same, both ways;
2. each layer from the first to the one that the config counts is there, and none beyond;
3. layers of one kind have the same tensors with the same shapes (`layers`);
4. each layer has what a layer needs, and so has the model around it (`parts`);
5. embedding and output have a row for each entry of the vocabulary; the output may be missing where it is shared.
Where the names or the config are not understood that is `unknown`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipelines.files_check import layers, parts
from pipelines.files_check.layers import Stack, Tensor
from pipelines.files_check.shelf import INDEX, Shelf
from pipelines.files_check.values import Findings, first_number
from pipelines.scan.gguf import GgufArray
from pipelines.scan.reading import quoted

SHOWN = 5  # names in one message
_SIDE = re.compile(
    r"vis(?:ion|ual)|audio|speech|encoder|vit|image|projector|resampler|mtp|nextn", re.IGNORECASE
)
_SHARD = re.compile(r".+-(\d{5})-of-(\d{5})\.gguf", re.ASCII)
_PACKED = {"U8", "I8", "I32", "U32", "I16", "F4"}  # quantised: the shape is not the matrix's
_COLUMNS = re.compile(r"(?:self_attn\.[qkv]_proj|mlp\.(?:gate|up)_proj|mlp\.fc1)\.weight")
_ROWS = re.compile(
    r"(?:self_attn\.o_proj|mlp\.down_proj|mlp\.fc2|input_layernorm|post_attention_layernorm)\.weight"
)


def check_complete(shelf: Shelf, found: Findings) -> None:
    """Look at the safetensors and the GGUF files of a version, each set by itself."""
    own = [path for path in shelf.weights if "/" not in path]
    if shelf.weights:
        _index(shelf, own, found)
        _safetensors(shelf, [path for path in own if _is_listed(shelf, path)], found)
    for path in sorted(shelf.weights.keys() - set(own)):
        found.unknown(
            "complete", path, "nothing here says which tensors this file in a folder of its own must hold"
        )
    for group in _gguf_sets(shelf):
        _gguf(shelf, group, found)


def _is_listed(shelf: Shelf, path: str) -> bool:
    return shelf.index is None or path in shelf.index.weight_map.values()


def _index(shelf: Shelf, own: Sequence[str], found: Findings) -> None:
    """Rule 1."""
    if shelf.index is None:
        if len(own) > 1:
            found.wrong("complete", INDEX, f"is missing, and there are {len(own)} files of weights")
        return
    listed = shelf.index.weight_map
    for path in sorted(set(listed.values()) - set(own)):
        found.wrong("complete", path, f"{INDEX} lists this file, and it is not there or cannot be read")
    for path in own:
        if path not in listed.values():
            found.unknown("complete", path, f"{INDEX} does not list this file, so nobody says what it is for")
            continue
        held = {tensor.name for tensor in shelf.weights[path].tensors}
        wanted = {name for name, file in listed.items() if file == path}
        if missing := sorted(wanted - held):
            found.wrong("complete", path, f"lacks {_some(missing)}, listed in {INDEX}")
        if extra := sorted(held - wanted):
            found.wrong("complete", path, f"holds {_some(extra)}, which {INDEX} does not list there")


def _safetensors(shelf: Shelf, paths: Sequence[str], found: Findings) -> None:
    config = shelf.text_config
    if shelf.config is None:
        found.unknown(
            "complete", "config.json", "is missing or cannot be read, so nobody says what must be there"
        )
        return
    tensors = [
        Tensor(path, tensor.name, tensor.dtype, tensor.shape)
        for path in paths
        for tensor in shelf.weights[path].tensors
    ]
    stacks, rest = layers.stacks(tensors)
    main = _main_stack(stacks, found)
    if main is None:
        return
    understood = _layers(main, config, layers.depth_of(config), layers.extra_layers(config), found)
    for prefix, stack in sorted(stacks.items()):
        if stack is not main:
            _side(prefix, stack, shelf.config, found)
    hidden = first_number(config, "hidden_size", "n_embd", "d_model")
    if hidden is not None:
        _widths(main, hidden, found)
    _around(rest, config, hidden, found, certain=understood)


def _main_stack(stacks: Mapping[str, Stack], found: Findings) -> Stack | None:
    """The layers that the text goes through: the only stack whose prefix names nothing else."""
    candidates = [stack for prefix, stack in stacks.items() if not _SIDE.search(prefix)]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        found.unknown("complete", "", "no tensor's name has a layer's number in it")
    else:
        names = _some(sorted(stack.prefix for stack in candidates))
        found.unknown(
            "complete", "", f"several stacks of layers ({names}), and nothing says which is counted"
        )
    return None


def _layers(
    stack: Stack,
    config: Mapping[str, Any],
    depth: int | None,
    extra: int,
    found: Findings,
    *,
    certain: bool = True,
) -> bool:
    """Rules 2 to 4 for the main stack. Returns whether every layer was understood.

    Args:
        certain: all that the config says of its layers could be read.
    """
    if depth is None or not 0 < depth <= 100_000:
        found.unknown("complete", "config.json", "does not say how many layers there are")
        depth = stack.depth
    for number in range(depth):
        if number not in stack.layers:
            found.wrong(
                "complete", "", f"layer {number} of {depth} is missing: no tensor {stack.prefix}.{number}.*"
            )
    if beyond := sorted(number for number in stack.layers if number >= depth + extra):
        found.wrong("complete", "", f"layer {beyond[0]} is there, and the config counts {depth} from 0")
    _alike(stack, config, depth, found, certain=certain)
    return _whole(stack, found)


def _alike(
    stack: Stack, config: Mapping[str, Any], depth: int, found: Findings, *, certain: bool = True
) -> None:
    """Rule 3. Layers that differ are right when some way of reading the config explains it."""
    same = layers.odd_layers(stack, [()] * depth)
    odd = layers.odd_layers(stack, layers.kinds(config, depth)) if same else []
    for layer in odd:
        path = next(iter(stack.layers[layer.layer].values())).path
        where = f"{stack.prefix}.{layer.layer}"
        if layer.alone and layer.own and not layer.missing:
            continue  # the config says that it is of another kind, and it has parts of its own
        if certain and layer.missing and not layer.own and not layer.alone:
            names = _some([f"{where}.{name}" for name in layer.missing])
            found.wrong("complete", path, f"lacks {names}, which other layers of its kind have")
        elif layer.missing or layer.own:
            names = _some([*layer.missing, *(() if layer.alone else layer.own)])
            found.unknown("complete", path, f"layer {where} differs in {names}, and nothing here says why")
        for name in layer.reshaped if not layer.alone else ():
            shape = list(stack.layers[layer.layer][name].shape)
            say = found.wrong if certain else found.unknown
            say("complete", path, f"{where}.{name} has shape {shape}, unlike in other layers of its kind")


def _whole(stack: Stack, found: Findings) -> bool:
    """Rule 4 for layers. Layers with the same tensors are looked at once."""
    seen: dict[frozenset[str], int] = {}
    understood = True
    for number in sorted(stack.layers):
        seen.setdefault(frozenset(stack.layers[number]), number)
    for names, number in seen.items():
        where = f"layer {stack.prefix}.{number}"
        for lack in parts.lacks(names):
            if lack.unknown:
                understood = False
                found.unknown(
                    "complete", "", f"{where} has no {lack.what} tensors of names that are known here"
                )
            else:
                found.wrong("complete", "", f"{where} has no {_some(lack.missing)} for its {lack.what}")
        if not parts.has_norms(names):
            found.unknown("complete", "", f"{where} has no tensor that normalises")
    return understood


def _side(prefix: str, stack: Stack, config: Mapping[str, Any], found: Findings) -> None:
    """Layers beside the main ones: of an eye, an ear, a second head. Their number must stand in the config."""
    inner = [value for value in config.values() if isinstance(value, dict)]
    stated = {depth for part in [config, *inner] if (depth := layers.depth_of(part)) is not None}
    stated |= {count for part in [config, *inner] if (count := layers.extra_layers(part))}
    missing = [number for number in range(stack.depth) if number not in stack.layers]
    if missing:
        found.wrong("complete", "", f"layer {prefix}.{missing[0]} is missing, and there are later ones")
    if stack.depth not in stated:
        found.unknown(
            "complete", "", f"{prefix} has {stack.depth} layers, and config.json says that of nothing"
        )
    _alike(stack, config, stack.depth, found)


def _widths(stack: Stack, hidden: int, found: Findings) -> None:
    """Shapes that follow from the width of the model alone, of weights that are stored plainly."""
    for number, layer in sorted(stack.layers.items()):
        for name, tensor in layer.items():
            if tensor.dtype in _PACKED or not tensor.shape:
                continue
            width = (
                tensor.shape[-1]
                if _COLUMNS.fullmatch(name)
                else tensor.shape[0]
                if _ROWS.fullmatch(name)
                else hidden
            )
            if width != hidden:
                message = (
                    f"{stack.prefix}.{number}.{name} has shape {list(tensor.shape)}, hidden_size is {hidden}"
                )
                found.wrong("complete", tensor.path, message)


def _around(
    rest: Sequence[Tensor], config: Mapping[str, Any], hidden: int | None, found: Findings, *, certain: bool
) -> None:
    """Rules 4 and 5 for the model around its layers. Not `certain`: the layers' names were not understood."""
    say = found.wrong if certain else found.unknown
    vocabulary = first_number(config, "vocab_size")
    if vocabulary is None:
        found.unknown("complete", "config.json", "does not say how large the vocabulary is")
    embedding, head = _one_of(rest, parts.EMBEDDINGS), _one_of(rest, parts.HEADS)
    if embedding is None:
        say("complete", "", "there is no embedding (model.embed_tokens.weight or of another known name)")
    if _one_of(rest, parts.NORMS) is None:
        say(
            "complete",
            "",
            "there is no norm behind the last layer (model.norm.weight or of another known name)",
        )
    if head is None:
        _shared_head(config, found, say)
    for tensor in (embedding, head):
        if tensor is not None:
            _rows(tensor, vocabulary, hidden, found)


def _shared_head(config: Mapping[str, Any], found: Findings, say: Any) -> None:
    tied = config.get("tie_word_embeddings")
    if tied is False:
        say("complete", "", "there is no output (lm_head.weight), and tie_word_embeddings is false")
    elif tied is not True:
        message = (
            "there is no output (lm_head.weight), and tie_word_embeddings does not say that it is shared"
        )
        found.unknown("complete", "config.json", message)


def _rows(tensor: Tensor, vocabulary: int | None, hidden: int | None, found: Findings) -> None:
    if len(tensor.shape) != 2 or tensor.dtype in _PACKED:
        return
    wanted = [None if vocabulary is None else vocabulary, hidden]
    for have, want, what in zip(tensor.shape, wanted, ("vocab_size", "hidden_size"), strict=True):
        if want is not None and have != want:
            message = f"{tensor.name} has shape {list(tensor.shape)}, {what} is {want}"
            found.wrong("complete", tensor.path, message)


def _one_of(rest: Sequence[Tensor], names: Collection[str]) -> Tensor | None:
    """The tensor whose last component but `weight` is one of these names."""
    found = [
        tensor
        for tensor in rest
        if not _SIDE.search(tensor.name)
        and (pieces := tensor.name.split("."))
        and pieces[-1] in ("weight", "weight_packed", "qweight")
        and len(pieces) > 1
        and pieces[-2] in names
    ]
    return found[0] if found else None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(quoted(name, quotes=False) for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _gguf_sets(shelf: Shelf) -> list[list[str]]:
    """Files that are one model together: the parts of a split one, else each by itself."""
    sets: dict[str, list[str]] = {}
    for path in sorted(shelf.ggufs):
        match = _SHARD.fullmatch(path)
        sets.setdefault(path[: match.start(1)] + match[2] if match else path, []).append(path)
    return list(sets.values())


def _gguf(shelf: Shelf, paths: Sequence[str], found: Findings) -> None:
    """A GGUF model says by itself how many layers, rows and files it has."""
    first = shelf.ggufs[paths[0]]
    name = first.metadata.get("general.architecture")
    keys = {
        key.removeprefix(f"{name}."): value
        for key, value in first.metadata.items()
        if isinstance(name, str) and key.startswith(f"{name}.")
    }
    if not keys:
        found.unknown("complete", paths[0], "does not say which architecture it is of (general.architecture)")
        return
    tensors = [
        Tensor(path, item.name, item.type, tuple(reversed(item.shape)))
        for path in paths
        for item in shelf.ggufs[path].tensors
    ]
    _gguf_parts(first.metadata, paths, len(tensors), found)
    stacks, rest = layers.stacks(tensors)
    stack = stacks.get("blk")
    if stack is None:
        found.unknown("complete", paths[0], "no tensor's name begins with blk.0")
        return
    extra = layers.extra_layers(keys)
    depth = layers.depth_of(keys)
    # What an array says of each layer is passed over by the reader: then no difference is certainly wrong.
    certain = not any(isinstance(value, GgufArray) and value.count == depth for value in keys.values())
    own = depth - extra if depth is not None else None
    understood = _layers(stack, keys, own, extra, found, certain=certain)
    vocabulary = first.metadata.get("tokenizer.ggml.tokens")
    _around(
        rest,
        # A GGUF file without an output shares it: engines then take the embedding. What config.json says comes first.
        {"tie_word_embeddings": shelf.text_config.get("tie_word_embeddings", True)}
        | ({"vocab_size": vocabulary.count} if isinstance(vocabulary, GgufArray) else {}),
        first_number(keys, "embedding_length"),
        found,
        certain=understood,
    )


def _gguf_parts(metadata: Mapping[str, Any], paths: Sequence[str], held: int, found: Findings) -> None:
    count, total = first_number(metadata, "split.count"), first_number(metadata, "split.tensors.count")
    if count is not None and count > 1 and count != len(paths):
        found.wrong("complete", paths[0], f"is one of {count} files; {len(paths)} are there")
    if total is not None and total != held:
        found.wrong("complete", paths[0], f"its files hold {held} tensors; split.tensors.count is {total}")
