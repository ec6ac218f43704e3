"""A version whose files are damaged is found out by name, without an engine; a whole one passes.

Each test takes the demonstration's model, breaks one thing, and names the check that has to see it.
"""

import json
import shutil
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.files_check import check_files, run
from pipelines.files_check.values import CHECKS, FilesResult
from pipelines.scan import gguf
from pipelines.scan.values import ScannedFile
from pipelines.suites import BUILTIN
from pipelines.suites.format import load
from pipelines.workplace import Workplace
from registry.errors import NotFound
from tests.pipelines.test_suite_run import version_of

MODELS = Path(__file__).parents[2] / "demo" / "models"
UP = "model.layers.1.mlp.up_proj.weight"
Tensors = dict[str, tuple[str, list[int], bytes]]  # dtype, shape, data


def judged(folder: Path) -> FilesResult:
    files = [
        ScannedFile(path.name, path.stat().st_size, lambda path=path: path.open("rb", buffering=0))  # type: ignore[misc]
        for path in folder.iterdir()
    ]
    return check_files(files)


def said(result: FilesResult, check: str) -> str:
    """What one check found; every other check passes."""
    assert [check] == [name for name in CHECKS if result.outcome(name) != "passed"], result.findings
    return "\n".join(map(str, result.of(check)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "v1", tmp_path / "model"))


@pytest.fixture
def weights(model: Path) -> Path:
    """The model without its GGUF file, so that each finding is about the safetensors."""
    (model / "model.gguf").unlink()
    return model


def read(path: Path) -> Tensors:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (
            item["dtype"],
            item["shape"],
            data[start + item["data_offsets"][0] : start + item["data_offsets"][1]],
        )
        for name, item in header.items()
    }


def write(path: Path, tensors: Tensors) -> None:
    header: dict[str, Any] = {}
    place = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(data)]}
        place += len(data)
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + b"".join(data for _, _, data in tensors.values()))


def change(folder: Path, how: Callable[[Tensors], object]) -> None:
    tensors = read(folder / "model.safetensors")
    how(tensors)
    write(folder / "model.safetensors", tensors)


def change_json(path: Path, fields: Mapping[str, Any]) -> None:
    value = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not ...}))


@pytest.mark.parametrize("name", ["v1", "v2", "v3"])
def test_whole_files_pass_every_check(name: str) -> None:
    result = judged(MODELS / name)
    assert ((), 48, 777_856) == (result.findings, result.facts.tensors, result.facts.bytes)
    assert result.facts.tokenizer.startswith("our own reading")


class TestFinite:
    def test_one_nan_in_the_middle_of_a_shard_is_found_by_its_tensor(self, weights: Path) -> None:
        tensors = read(weights / "model.safetensors")
        dtype, shape, data = tensors[UP]
        tensors[UP] = dtype, shape, data[:16_384] + struct.pack("<H", 0x7FC0) + data[16_386:]
        shards = {f"model-0000{n}-of-00002.safetensors": sorted(tensors)[n - 1 :: 2] for n in (1, 2)}
        for file, names in shards.items():
            write(weights / file, {name: tensors[name] for name in names})
        index = {"weight_map": {name: file for file, names in shards.items() for name in names}}
        (weights / "model.safetensors.index.json").write_text(json.dumps(index))
        (weights / "model.safetensors").unlink()
        words = said(judged(weights), "finite")
        assert f"'{UP}' (BF16) holds 1 NaN values; the first is number 8192 of 16384" in words
        assert "-of-00002.safetensors" in words

    def test_an_infinity_is_told_from_a_nan(self, weights: Path) -> None:
        def spoil(tensors: Tensors) -> None:
            dtype, shape, data = tensors[UP]
            tensors[UP] = dtype, shape, struct.pack("<HH", 0xFF80, 0x7F80) + data[4:]

        change(weights, spoil)
        assert "holds 2 infinite values; the first is number 0" in said(judged(weights), "finite")

    def test_a_matrix_of_zeros_is_no_weight(self, weights: Path) -> None:
        change(weights, lambda tensors: tensors.update({UP: ("BF16", [256, 64], bytes(32_768))}))
        assert f"'{UP}' is all zeros" in said(judged(weights), "finite")

    def test_a_norm_of_one_value_is_only_noted(self, weights: Path) -> None:
        change(
            weights, lambda tensors: tensors.update({"model.norm.weight": ("BF16", [64], b"\x80\x3f" * 64)})
        )
        result = judged(weights)
        assert () == result.findings
        assert ("model.safetensors: 'model.norm.weight' is one value throughout",) == result.facts.notes

    def test_a_nan_in_a_gguf_file_is_found(self, model: Path) -> None:
        path = model / "model.gguf"
        with path.open("r+b") as stream:
            header = gguf.read_header(stream, path.stat().st_size)
            tensor = next(item for item in header.tensors if item.name == "blk.1.ffn_up.weight")
            stream.seek(header.data_start + tensor.begin + 4)
            stream.write(b"\x00\x7e")
        assert "'blk.1.ffn_up.weight' (F16) holds 1 NaN values; the first is number 2" in said(
            judged(model), "finite"
        )

    def test_memory_does_not_grow_with_the_file(self, weights: Path) -> None:
        change(weights, lambda tensors: tensors.update({"extra.weight": ("BF16", [1 << 24], bytes(1 << 25))}))
        files = [
            ScannedFile(path.name, path.stat().st_size, lambda path=path: path.open("rb", buffering=0))  # type: ignore[misc]
            for path in weights.iterdir()
        ]
        tracemalloc.start()
        check_files(files)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20


class TestComplete:
    def test_a_tensor_that_one_layer_lacks_is_named(self, weights: Path) -> None:
        change(weights, lambda tensors: tensors.pop("model.layers.1.self_attn.k_norm.weight"))
        words = said(judged(weights), "complete")
        assert "lacks model.layers.1.self_attn.k_norm.weight, which other layers of its kind have" in words

    def test_a_tensor_that_every_layer_lacks_is_named(self, weights: Path) -> None:
        def drop(tensors: Tensors) -> None:
            for layer in (0, 1):
                del tensors[f"model.layers.{layer}.self_attn.v_proj.weight"]

        change(weights, drop)
        assert "layer model.layers.0 has no v_proj for its attention" in said(judged(weights), "complete")

    def test_a_layer_that_the_config_counts_is_missing(self, weights: Path) -> None:
        change_json(weights / "config.json", {"num_hidden_layers": 3})
        assert "layer 2 of 3 is missing" in said(judged(weights), "complete")

    def test_a_layer_beyond_the_last_is_too_much(self, weights: Path) -> None:
        change_json(weights / "config.json", {"num_hidden_layers": 1})
        assert "layer 1 is there, and the config counts 1" in said(judged(weights), "complete")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("model.embed_tokens.weight", "there is no embedding"),
            ("model.norm.weight", "there is no norm behind the last layer"),
        ],
    )
    def test_what_stands_around_the_layers_is_missed(self, weights: Path, name: str, words: str) -> None:
        change(weights, lambda tensors: tensors.pop(name))
        assert words in said(judged(weights), "complete")

    def test_an_output_that_is_not_shared_has_to_be_there(self, weights: Path) -> None:
        change_json(weights / "config.json", {"tie_word_embeddings": False})
        assert "tie_word_embeddings is false" in said(judged(weights), "complete")

    def test_whether_the_output_is_shared_is_not_guessed(self, weights: Path) -> None:
        change_json(weights / "config.json", {"tie_word_embeddings": ...})
        result = judged(weights)
        assert "unknown" == result.outcome("complete")
        assert "does not say that it is shared" in said(result, "complete")

    def test_a_vocabulary_of_another_size(self, weights: Path) -> None:
        change_json(weights / "config.json", {"vocab_size": 800})
        assert "model.embed_tokens.weight has shape [724, 64], vocab_size is 800" in said(
            judged(weights), "complete"
        )

    def test_shards_and_index_are_held_against_each_other_both_ways(self, weights: Path) -> None:
        names = sorted(read(weights / "model.safetensors"))
        listed = dict.fromkeys(names[1:], "model.safetensors") | {"model.lost": "model.safetensors"}
        (weights / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
        words = said(judged(weights), "complete")
        assert "lacks model.lost, listed in" in words
        assert f"holds {names[0]}, which" in words

    def test_names_that_are_not_known_are_no_pass(self, weights: Path) -> None:
        def rename(tensors: Tensors) -> None:
            for name in [name for name in tensors if "self_attn" in name]:
                tensors[name.replace("_proj", "_thing")] = tensors.pop(name)

        change(weights, rename)
        result = judged(weights)
        assert "unknown" == result.outcome("complete")
        assert "has no attention tensors of names that are known here" in said(result, "complete")

    def test_without_a_config_nobody_knows(self, weights: Path) -> None:
        (weights / "config.json").unlink()
        result = judged(weights)
        assert "unknown" == result.outcome("complete") == result.outcome("dtypes")

    def test_a_gguf_file_counts_its_layers_itself(self, model: Path) -> None:
        path = model / "model.gguf"
        data = path.read_bytes()
        place = data.index(b"qwen3.block_count") + len(b"qwen3.block_count") + 4
        path.write_bytes(data[:place] + struct.pack("<I", 3) + data[place + 4 :])
        assert "model" not in (words := said(judged(model), "complete"))
        assert "layer 2 of 3 is missing: no tensor blk.2.*" in words

    def test_a_file_cut_short_is_not_read_on(self, weights: Path) -> None:
        path = weights / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        assert "there is no weight file that can be read" in said(judged(weights), "complete")


class TestKindsOfLayers:
    """Layers may differ where the config says so, in whatever words."""

    def sparse(self, folder: Path, config: Mapping[str, Any]) -> FilesResult:
        def rename(tensors: Tensors) -> None:
            for part in ("gate", "up", "down"):
                dtype, shape, data = tensors.pop(f"model.layers.1.mlp.{part}_proj.weight")
                for expert in (0, 1):
                    tensors[f"model.layers.1.mlp.experts.{expert}.{part}_proj.weight"] = dtype, shape, data

        change(folder, rename)
        change_json(folder / "config.json", config)
        return judged(folder)

    @pytest.mark.parametrize(
        "config",
        [{"first_k_dense_replace": 1}, {"mlp_only_layers": [0]}, {"mlp_layer_types": ["dense", "sparse"]}],
    )
    def test_a_difference_that_the_config_explains_is_right(
        self, weights: Path, config: Mapping[str, Any]
    ) -> None:
        assert () == self.sparse(weights, config).findings

    def test_a_difference_that_nothing_explains_is_unknown(self, weights: Path) -> None:
        result = self.sparse(weights, {})
        assert "unknown" == result.outcome("complete")
        assert "and nothing here says why" in said(result, "complete")


class TestDtypes:
    def test_a_matrix_of_another_float_type(self, weights: Path) -> None:
        change(weights, lambda tensors: tensors.update({UP: ("F16", *tensors[UP][1:])}))
        words = said(judged(weights), "dtypes")
        assert f"'{UP}' is F16, and config.json says 'bfloat16'" in words

    def test_most_weights_of_another_type_than_the_config_says(self, weights: Path) -> None:
        change_json(weights / "config.json", {"dtype": "float32"})
        assert "100 % of the weights are BF16; config.json says 'float32'" in said(judged(weights), "dtypes")

    def test_a_quantisation_that_nobody_speaks_of(self, weights: Path) -> None:
        change(weights, lambda tensors: tensors.update({UP: ("I8", [256, 64], tensors[UP][2][:16_384])}))
        assert "says nothing of a quantisation" in said(judged(weights), "dtypes")

    def test_a_quantisation_that_is_not_there(self, weights: Path) -> None:
        change_json(weights / "config.json", {"quantization_config": {"quant_method": "fp8"}})
        assert "says that the weights are quantised, and none of them is" in said(judged(weights), "dtypes")

    def test_eight_bit_floats_have_scales(self, weights: Path) -> None:
        data = bytes(range(0x30, 0x70)) * 256
        change(weights, lambda tensors: tensors.update({UP: ("F8_E4M3", [256, 64], data)}))
        change_json(weights / "config.json", {"quantization_config": {"quant_method": "fp8"}})
        assert "is F8_E4M3 and has no scale beside it" in said(judged(weights), "dtypes")


class TestTokenizer:
    def test_a_tokenizer_cut_off_in_the_middle(self, weights: Path) -> None:
        path = weights / "tokenizer.json"
        path.write_bytes(path.read_bytes()[:9_000])
        assert "tokenizer.json: cannot be read: not readable as JSON" in said(judged(weights), "tokenizer")

    def test_a_vocabulary_that_lost_its_end(self, weights: Path) -> None:
        self.edit(weights, lambda model: [model["vocab"].popitem() for _ in range(100)])
        assert "and not all of them are tokens" in said(judged(weights), "tokenizer")

    def test_a_byte_without_a_token(self, weights: Path) -> None:
        self.edit(weights, lambda model: model["vocab"].pop("A"))
        assert "has no token for 1 of 256 bytes, the first 0x41" in said(judged(weights), "tokenizer")

    def test_a_number_beyond_the_vocabulary(self, weights: Path) -> None:
        self.edit(weights, lambda model: model["vocab"].update({"new": 5_000}))
        assert "has a token with number 5000; the model's vocabulary has 724" in said(
            judged(weights), "tokenizer"
        )

    def test_a_special_token_that_is_none(self, weights: Path) -> None:
        change_json(weights / "tokenizer_config.json", {"eos_token": "<|endoftime|>"})
        assert "eos_token is '<|endoftime|>', which is no token" in said(judged(weights), "tokenizer")

    def test_a_file_that_only_the_library_refuses_is_refused(self, weights: Path) -> None:
        pytest.importorskip("tokenizers")
        change_json(weights / "tokenizer.json", {"post_processor": {"type": "NoSuchThing"}})
        assert "the library tokenizers refuses it" in said(judged(weights), "tokenizer")

    def test_no_tokenizer_at_all(self, weights: Path) -> None:
        (weights / "tokenizer.json").unlink()
        assert "tokenizer.json: is missing" in said(judged(weights), "tokenizer")

    def test_the_tokenizer_in_a_gguf_file_is_looked_at(self, model: Path) -> None:
        path = model / "model.gguf"
        path.write_bytes(path.read_bytes().replace(b"\x01\0\0\0\0\0\0\0A", b"\x01\0\0\0\0\0\0\0\x01", 1))
        words = said(judged(model), "tokenizer")
        assert "model.gguf: has no token for 1 of 256 bytes, the first 0x41" in words

    def edit(self, folder: Path, how: Callable[[dict[str, Any]], Any]) -> None:
        path = folder / "tokenizer.json"
        value = json.loads(path.read_text())
        how(value["model"])
        path.write_text(json.dumps(value))


class TestTemplate:
    def test_a_template_that_raises_does_not_render(self, weights: Path) -> None:
        (weights / "chat_template.jinja").write_text("{{ raise_exception('system first') }}")
        assert "chat_template.jinja: does not render" in said(judged(weights), "template")

    def test_no_template_at_all(self, weights: Path) -> None:
        (weights / "chat_template.jinja").unlink()
        assert "there is no chat template" in said(judged(weights), "template")


class TestGeneration:
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"eos_token_id": 724}, "eos_token_id is 724; the vocabulary has 724"),
            ({"eos_token_id": [2, "x"]}, "eos_token_id is 'x', which is no token's number"),
            ({"temperature": -1}, "temperature is '-1'"),
            ({"top_k": 0.5}, "top_k is '0.5', which is no count"),
        ],
    )
    def test_what_cannot_be(self, weights: Path, fields: Mapping[str, Any], words: str) -> None:
        change_json(weights / "generation_config.json", fields)
        assert words in said(judged(weights), "generation")

    def test_an_answer_that_nothing_ends(self, weights: Path) -> None:
        for name in ("config.json", "generation_config.json"):
            change_json(weights / name, {"eos_token_id": ...})
        assert "ends an answer" in said(judged(weights), "generation")


class TestAsASuite:
    def test_each_case_is_one_check_and_damage_fails_its_own(
        self, workplace: Workplace, weights: Path
    ) -> None:
        change(weights, lambda tensors: tensors.update({UP: ("BF16", [256, 64], b"\xff" * 32_768)}))
        change_json(weights / "config.json", {"tie_word_embeddings": ...})
        for path in weights.iterdir():
            workplace.blobs.put(path.read_bytes())
        told: list[tuple[int, int]] = []
        results = run(
            workplace, load(BUILTIN / "files"), version_of(weights), lambda *counts: told.append(counts)
        )
        assert list(CHECKS) == [attempt.case for attempt in results.attempts]
        outcomes = {attempt.case: (attempt.outcome, attempt.trouble) for attempt in results.attempts}
        assert ("failed", None) == outcomes["finite"]
        assert ("trouble", "unknown") == outcomes["complete"]
        assert {("passed", None)} == {outcomes[name] for name in CHECKS if name not in ("finite", "complete")}
        assert told[-1][0] == told[-1][1] == (weights / "model.safetensors").stat().st_size

    def test_a_file_that_is_not_held_is_refused(self, workplace: Workplace, weights: Path) -> None:
        with pytest.raises(NotFound):
            run(workplace, load(BUILTIN / "files"), version_of(weights))
