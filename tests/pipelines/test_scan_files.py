import io
import random

import pytest

from pipelines.scan.files import collisions, ends_as_zip, is_code, kind_of, path_problem, sniff, text_problem
from tests.pipelines import hostile


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model-00001-of-00002.safetensors", "safetensors"),
        ("Q4/model.gguf", "gguf"),
        ("model.safetensors.index.json", "json"),
        ("config.json", "json"),
        ("chat_template.jinja", "template"),
        ("additional_chat_templates/tool_use.jinja", "template"),
        ("LICENSE-apache.txt", "text"),
        ("NOTICE", "text"),
        ("README.md", "text"),
        ("other.jinja", None),
        ("LICENSE.py", None),
        ("LICENSED", None),
        ("package.json", None),
        ("pytorch_model.bin", None),
        ("model.safetensors.bak", None),
        ("Config.json", None),
        ("model.SAFETENSORS", None),
    ],
)
def test_names_are_an_allow_list(path: str, kind: str | None) -> None:
    assert kind == kind_of(path)


def test_code_is_told_by_its_ending() -> None:
    assert is_code("modeling_x.PY")
    assert not is_code("modeling.pyramid")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/etc/passwd",
            "../config.json",
            "a/../config.json",
            "a//b",
            "./a",
            "",
            "a/",
            "C:config.json",
            "a\\b",
        ),
        *(
            "a\nb",
            "a\x00",
            "a\x7f",
            "a\u202egnp.json",
            "a\u200b",
            "a\ud800",
            "a\u2028",
            "a\u00a0b",
            "x" * 600,
        ),
        *("ä" * 128, "-rf.json", "~root", " a", "a ", "a.", "a./b", "a*", "a?", "a|b", 'a"b', "<a>"),
    ],
)
def test_unsafe_paths_have_a_reason(path: str) -> None:
    assert path_problem(path)


@pytest.mark.parametrize(
    "path", ["config.json", "a/b/c.json", ".gitattributes", "modèle.gguf", "モデル.gguf", "a b"]
)
def test_ordinary_paths_are_safe(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("config.json", "Config.json"),
        ("é.json", "e\u0301.json"),
        ("straße", "STRASSE"),
        ("A/x", "a/y"),
        ("a", "a/b"),
        ("a/b", "A"),
        ("same", "same"),
        ("\u212a", "k"),
    ],
)
def test_paths_that_a_file_system_takes_for_one_collide(first: str, second: str) -> None:
    assert [(first, second)] == collisions([first, second])


def test_neighbours_do_not_collide() -> None:
    assert [] == collisions(["a/x", "a/y", "b/x", "ab", "a.b"])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        *((hostile.pickle_that_runs(protocol), "pickle") for protocol in (0, 2, 3, 4, 5)),
        (hostile.pickle_that_runs(2)[:-1] + b"\xff\xff", "pickle"),
        (hostile.pickle_calling("torch.utils.collect_env", "run"), "pickle"),
        (hostile.pickle_calling("multiprocessing.util", "spawnv_passfds"), "pickle"),
        (hostile.torch_zip(), "zip"),
        (hostile.torch_zip(flag=True), "zip"),
        (bytes(257) + b"ustar\x0000", "tar"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x7fELF\x02", "ELF program"),
        (b"MZ\x90\x00", "Windows program"),
        (b"\xcf\xfa\xed\xfe", "Mach-O program"),
        (b"#!/bin/sh\n", "script"),
        (b"\n <!DOCTYPE html><html>", "HTML"),
        (b"<!-- x --><HTML>", "HTML"),
        (hostile.good_gguf(), "gguf"),
        (hostile.good_model()["model.safetensors"], "safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs pointer"),
        (b"# A model\n<p>", None),
        (b"MZ is a name", None),
        (b"cats\nand dogs\n", None),
        (b'{"a": 1}', None),
        (b"", None),
    ],
)
def test_contents_are_told_by_their_bytes(head: bytes, expected: str | None) -> None:
    assert expected == sniff(head)


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x5A4D, 0x8B1F, 0x2123])
def test_a_header_length_that_looks_like_magic_is_still_safetensors(length: int) -> None:
    """640 as eight bytes starts like a pickle, 0x5a4d like a Windows program."""
    data = hostile.safetensors_bytes(b"{}" + b" " * (length - 2), b"")
    assert "safetensors" == sniff(data[:4096])


def test_a_zip_at_the_end_is_found_and_chance_is_not() -> None:
    def ends(data: bytes) -> bool:
        return ends_as_zip(io.BytesIO(data), len(data))

    assert ends(b"{}" + hostile.torch_zip())
    assert not ends(b"PK\x05\x06" * 20_000)
    assert not ends(random.Random(1).randbytes(100_000) + b"PK\x05\x06" + bytes(40))
    assert not ends(b"")


def test_text_is_utf8_without_control_characters() -> None:
    assert text_problem(io.BytesIO("ä\t\r\n".encode() * 500_000)) is None
    assert "not UTF-8" in (text_problem(io.BytesIO(b"a" * (1 << 20) + b"\xff")) or "")
    assert "not UTF-8" in (text_problem(io.BytesIO("ä".encode()[:1])) or "")
    assert r"'\x1b'" in (text_problem(io.BytesIO(b"\x1b[2J")) or "")
