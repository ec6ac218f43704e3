"""The committed tiny models are what their sums, their makers and their cards say."""

import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from demo import dialogues
from demo.gguf_from_hf import Q4_0, gguf_bytes, tensor_name
from signing.digests import file_sha256

MODELS = Path(__file__).parent.parent / "demo" / "models"
VERSIONS = ("v1", "v2", "v3")
TEMPLATES = {"v1": dialogues.HERMES, "v2": dialogues.HERMES, "v3": dialogues.XML}


def test_every_file_has_its_sum_and_every_sum_its_file() -> None:
    lines = (MODELS / "SHA256SUMS").read_text("utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    held = {p.relative_to(MODELS).as_posix(): file_sha256(p) for p in MODELS.glob("v*/*")}
    assert listed == held


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_a_complete_small_folder(version: str) -> None:
    names = {path.name for path in (MODELS / version).iterdir()}
    assert names == {
        *("config.json", "generation_config.json", "model.safetensors", "model.gguf", "tokenizer.json"),
        *("tokenizer_config.json", "chat_template.jinja", "README.md", "LICENSE"),
    }
    assert sum(path.stat().st_size for path in (MODELS / version).iterdir()) < 2_000_000


@pytest.mark.parametrize("version", VERSIONS)
def test_the_safetensors_library_opens_the_weights(version: str) -> None:
    config = json.loads((MODELS / version / "config.json").read_bytes())
    with safe_open(MODELS / version / "model.safetensors", framework="np") as weights:
        names = list(weights.keys())
        shape = weights.get_slice("model.embed_tokens.weight").get_shape()
    assert [config["vocab_size"], config["hidden_size"]] == shape
    assert 2 + 11 * config["num_hidden_layers"] == len({tensor_name(name) for name in names})


@pytest.mark.parametrize("version", VERSIONS)
def test_the_gguf_is_made_of_the_folder_beside_it_byte_for_byte(version: str) -> None:
    made = gguf_bytes(MODELS / version, name="tiny-toolcaller", version=version)
    assert (MODELS / version / "model.gguf").read_bytes() == made
    for part in ("tokenizer.chat_template", "general.license", "apache-2.0", TEMPLATES[version]):
        assert part.encode() in made


def test_a_block_of_q4_0_is_read_back_within_a_step() -> None:
    """Read as the format says: an F16 scale, then the low halves of 16 bytes, then the high ones."""
    weights = np.random.default_rng(7).normal(size=(64, 32)).astype("f4")
    weights[0] = 0
    for row, block in zip(weights, np.frombuffer(Q4_0.encode(weights), "u1").reshape(64, 18), strict=True):
        scale = float(block[:2].view("<f2")[0])
        nibbles = np.concatenate([block[2:] & 15, block[2:] >> 4]).astype("f4")
        assert (
            np.abs((nibbles - 8) * scale - row).max() <= abs(scale) * 1.001
        )  # the far end of the other sign is cut
        assert abs(row).max() == pytest.approx(abs(scale) * 8, rel=1e-3)


def test_a_row_that_is_no_whole_number_of_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole blocks of 32"):
        Q4_0.encode(np.ones((2, 48), "f4"))


def test_the_small_file_is_the_same_model_with_smaller_matrices() -> None:
    small = gguf_bytes(MODELS / "v2", name="tiny-toolcaller", version="v2", precision=Q4_0)
    assert len(small) < 0.4 * (MODELS / "v2" / "model.gguf").stat().st_size
    assert b"tokenizer.chat_template" in small


def test_versions_1_and_2_share_a_template_and_3_has_its_own() -> None:
    for version in VERSIONS:
        assert TEMPLATES[version] == (MODELS / version / "chat_template.jinja").read_text("utf-8")
    assert len({(MODELS / version / "tokenizer.json").read_bytes() for version in VERSIONS}) == 1
    assert len({(MODELS / version / "model.safetensors").read_bytes() for version in VERSIONS}) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_the_card_says_what_it_is_and_nothing_names_a_machine(version: str) -> None:
    card = (MODELS / version / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert f"# tiny-toolcaller {version}" in card
    for path in (MODELS / version).iterdir():
        data = path.read_bytes()
        for trace in (b"_name_or_path", b"/tmp/", b"/home/", b"/root/", b"/work/", b"auto_map"):
            assert trace not in data, f"{path.name} holds {trace!r}"


def test_a_lesson_shows_both_wire_formats_as_the_templates_write_them() -> None:
    turns = [dialogues.user("Add 3 and 4"), dialogues.calls("add", a=3, b=4)]
    lesson = dialogues.Dialogue(turns, [dialogues.ADD])
    as_json = dialogues.renderer(dialogues.HERMES)(lesson)
    as_tags = dialogues.renderer(dialogues.XML)(lesson)
    assert as_json.endswith(
        '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 4}}\n</tool_call><|im_end|>\n'
    )
    assert (
        "<function=add>\n<parameter=a>\n3\n</parameter>\n<parameter=b>\n4\n</parameter>\n</function>"
        in as_tags
    )


def test_no_lesson_calls_a_tool_that_is_not_on_offer() -> None:
    rng = random.Random(7)
    for _ in range(2000):
        lesson = dialogues.sample(rng)
        offered = {tool["function"]["name"] for tool in lesson.tools}
        called = {call["function"]["name"] for m in lesson.messages for call in m.get("tool_calls", ())}
        assert called <= offered


def test_the_measured_scores_agree_with_the_measured_cases_and_the_versions_improve() -> None:
    table = json.loads((MODELS / "accuracy.json").read_bytes())
    totals = {}
    for version in VERSIONS:
        for kind, score in table["scores"][version].items():
            marks = [version in case["right"] for case in table["cases"] if case["kind"] == kind]
            assert f"{sum(marks)}/{len(marks)}" == score
        totals[version] = sum(version in case["right"] for case in table["cases"])
    assert totals["v1"] < totals["v2"], "version 2 is the better one"
    assert totals["v1"] > len(table["cases"]) * 0.5, "version 1 is decent"


CAN_TRAIN = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "tokenizers"))


@pytest.mark.slow
@pytest.mark.skipif(not CAN_TRAIN, reason="needs torch and transformers: see demo/make_models.py")
def test_training_gives_the_committed_bytes_again(tmp_path: Path) -> None:
    from demo.make_models import make

    make(tmp_path, lambda _: None)
    assert (MODELS / "SHA256SUMS").read_bytes() == (tmp_path / "SHA256SUMS").read_bytes()
