"""Asking an engine: addresses that are refused, engines that misbehave, and whether it serves what it should."""

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines.endpoint import (
    AnswerUnusable,
    Endpoint,
    EndpointUnusable,
    EngineTooSlow,
    EngineTrouble,
    EngineUnreachable,
)
from pipelines.engines.probe import EngineIdentity, identify, ready
from pipelines.suites.identity import hold_against, profile_mismatch, template_note
from registry.contracts import EngineProfile
from registry.manifests import FileEntry, Manifest
from signing.digests import file_sha256, sha256_hex
from tests.pipelines import faulty_engine as faulty
from tests.pipelines.faulty_engine import faulty_engine

LOCAL = Endpoint.parse("http://127.0.0.1:8080/v1")


@pytest.mark.parametrize(
    ("url", "means"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
        ("https://engine.ward/llm/v1", "https://engine.ward:443/llm"),
        ("http://[::1]:9", "http://[::1]:9"),
    ],
)
def test_an_address_is_read_in_the_forms_that_people_write(url: str, means: str) -> None:
    assert means == str(Endpoint.parse(url))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://host/", "127.0.0.1:8080", "", "http://", "http://:8080", "http://h:0",
        "http://h:99999", "http://h:x", "http://h/?a=1", "http://h/#a", "http://h/%2e%2e", "http://h\\@evil",
        "http://h/\r\nHost: evil", "http://h /", "http://hö/", "http://[::1", "gopher://h/", "http://" + "a" * 4000,
    ],
)  # fmt: skip
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(EndpointUnusable):
        Endpoint.parse(url)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(EndpointUnusable) as refused:
        Endpoint.parse("http://ines:hunter2@127.0.0.1:8080")
    assert "credentials" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("[::1]", True),
        ("[::ffff:127.0.0.1]", True), ("10.0.0.1", False), ("localhost.evil.example", False), ("engine", False),
    ],
)  # fmt: skip
def test_only_this_machine_is_local(host: str, local: bool) -> None:
    assert local is Endpoint.parse(f"http://{host}:80").is_local


def test_nobody_at_home_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Endpoint.parse(f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(EngineUnreachable):
            identify(nobody)
        assert not ready(nobody, seconds=1).ready


@pytest.mark.parametrize("kind", ["silence", "drip"])
def test_silence_and_a_slow_drip_both_end_at_the_last_moment(kind: str) -> None:
    with faulty_engine() as engine:
        engine.answer = lambda _body: getattr(faulty, kind)(engine)
        started = time.monotonic()
        with pytest.raises(EngineTooSlow):
            Endpoint.parse(engine.url).post("/v1/chat/completions", b'{"max_tokens":9}', seconds=0.5)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (faulty.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), AnswerUnusable),
        (faulty.raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"), AnswerUnusable),
        (faulty.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), EngineUnreachable),
        (faulty.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), EngineTrouble),
        (faulty.raw(), EngineUnreachable),
        (faulty.flood(100, announced=True), AnswerUnusable),
        (faulty.flood(100, announced=False), AnswerUnusable),
    ],
    ids=[
        "another-protocol",
        "endless-header",
        "cut-short",
        "bad-chunks",
        "hung-up",
        "announced-flood",
        "flood",
    ],
)
def test_answers_that_are_none_are_called_what_they_are(answer: Any, refusal: type[EngineTrouble]) -> None:
    with faulty_engine(answer=lambda _body: answer) as engine, pytest.raises(refusal):
        Endpoint.parse(engine.url).post("/v1/chat/completions", b'{"max_tokens":9}', seconds=20)


def test_a_redirect_is_an_answer_and_not_a_way_out() -> None:
    with faulty_engine() as elsewhere, faulty_engine() as engine:
        away = b"HTTP/1.1 307 Away\r\nLocation: %s/v1/chat/completions\r\nContent-Length: 0\r\n\r\n"
        engine.answer = lambda _body: faulty.raw(away % elsewhere.url.encode())
        assert not ready(Endpoint.parse(engine.url), seconds=5).ready
        assert [] == elsewhere.visited


def test_llama_server_says_path_build_and_template() -> None:
    props = {"build_info": "b7-abc", "model_path": "/models/a.gguf", "chat_template": "{{ x }}"}
    with faulty_engine(props=props) as engine:
        found = identify(Endpoint.parse(engine.url))
    assert (
        EngineIdentity("llama-server", "b7-abc", "/models/a.gguf", sha256_hex(b"{{ x }}"), ("tiny",)) == found
    )


def test_vllm_says_the_root_of_the_model_that_is_asked_for() -> None:
    models = {"data": [{"id": "old", "root": "/models/old"}, {"id": "new", "root": "/models/new"}]}
    with faulty_engine(models=models, version={"version": "0.32.0"}) as engine:
        where = Endpoint.parse(engine.url)
        assert "/models/new" == identify(where, model="new").model_path
        assert identify(where).model_path is None  # which of the two is not said


@pytest.mark.parametrize(
    "models", [[], {"data": 3}, {"data": [None, 3, {"id": 7}]}, b"\xff\xfe", b'{"a":1,"a":2}']
)
def test_a_strange_list_of_models_is_unusable_or_empty_and_nothing_worse(models: Any) -> None:
    with faulty_engine(models=models, props={"build_info": 7, "model_path": ["x"]}) as engine:
        with contextlib.suppress(AnswerUnusable):
            assert () == identify(Endpoint.parse(engine.url)).models


@pytest.mark.parametrize(
    "answer",
    [
        lambda _body: faulty.status(503),
        lambda _body: {"choices": []},
        lambda _body: {"object": "health", "status": "ok"},
        lambda _body: faulty.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xff"),
    ],
    ids=["loading", "no-choices", "healthy-but-mute", "garbage"],
)
def test_an_engine_is_ready_only_when_it_completes_something(answer: Callable[[Any], Any]) -> None:
    with faulty_engine(answer=answer) as engine:
        found = ready(Endpoint.parse(engine.url), seconds=5)
    assert (False, None) == (found.ready, found.milliseconds)


# -- whose files are served -------------------------------------------------------------------------------


def folder_with(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("__", ".").replace("_of_", "-of-").replace("_p_", "-")).write_bytes(data)
    return path


def manifest_of(folder: Path) -> Manifest:
    files = sorted(FileEntry(p.name, p.stat().st_size, file_sha256(p)) for p in folder.iterdir())
    return Manifest("demo/tiny", tuple(files))


def says(path: object) -> EngineIdentity:
    return EngineIdentity("llama-server", "b7", None if path is None else str(path), None, ("tiny",))


def test_a_served_weight_file_of_the_version_proves_it(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "v1", model__gguf=b"GGUF one", config__json=b"{}")
    found = hold_against(says(folder / "model.gguf"), LOCAL, manifest_of(folder))
    assert ("proven", ["model.gguf"]) == (found.state, [entry.path for entry in found.files])


def test_the_right_name_with_the_wrong_bytes_is_not_the_version(tmp_path: Path) -> None:
    right = folder_with(tmp_path / "v1", model__gguf=b"GGUF one")
    wrong = folder_with(tmp_path / "v2", model__gguf=b"GGUF two")
    found = hold_against(says(wrong / "model.gguf"), LOCAL, manifest_of(right))
    assert ("not-proven", True) == (found.state, found.contradicted)
    assert "model.gguf" in found.why


def test_another_file_of_the_version_is_not_its_weights(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "v1", model__gguf=b"GGUF one", config__json=b"{}")
    assert hold_against(says(folder / "config.json"), LOCAL, manifest_of(folder)).contradicted


def test_every_part_of_a_model_in_parts_is_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "v1"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"m-{number:05d}-of-00002.gguf").write_bytes(b"part %d" % number)
    manifest = manifest_of(folder)
    assert 2 == len(hold_against(says(folder / "m-00001-of-00002.gguf"), LOCAL, manifest).files)
    (folder / "m-00002-of-00002.gguf").write_bytes(b"another part")
    assert hold_against(says(folder / "m-00001-of-00002.gguf"), LOCAL, manifest).contradicted
    (folder / "m-00002-of-00002.gguf").unlink()
    assert hold_against(says(folder / "m-00001-of-00002.gguf"), LOCAL, manifest).contradicted


def test_a_served_folder_holds_the_versions_files_and_no_other_weights(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "v1", model__safetensors=b"weights", config__json=b"{}", README__md=b"x")
    manifest = manifest_of(folder)
    (folder / "README.md").unlink()  # no engine reads it
    assert "proven" == hold_against(says(folder), LOCAL, manifest).state
    (folder / "pytorch_model.bin").write_bytes(b"stranger")
    assert hold_against(says(folder), LOCAL, manifest).contradicted
    (folder / "pytorch_model.bin").unlink()
    (folder / "config.json").write_bytes(b"{ }")
    assert hold_against(says(folder), LOCAL, manifest).contradicted
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.safetensors").unlink()
    assert hold_against(says(folder), LOCAL, manifest).contradicted


@pytest.mark.parametrize("path", [None, "model.gguf", "/nowhere/model.gguf", "org/name"])
def test_what_cannot_be_looked_at_is_not_proven_and_not_contradicted(
    tmp_path: Path, path: str | None
) -> None:
    found = hold_against(says(path), LOCAL, manifest_of(folder_with(tmp_path / "v", model__gguf=b"x")))
    assert ("not-proven", False) == (found.state, found.contradicted)


def test_a_path_on_another_host_proves_nothing_though_the_same_file_lies_here(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "v1", model__gguf=b"GGUF one")
    found = hold_against(
        says(folder / "model.gguf"), Endpoint.parse("http://10.0.0.7:80"), manifest_of(folder)
    )
    assert ("not-proven", False) == (found.state, found.contradicted)
    assert "another host" in found.why


@pytest.mark.parametrize(
    ("engine", "version", "fits"),
    [
        ("llama-server", "b7-abc", True), ("llama.cpp", "b7", True), ("llama-server", "b", False),
        ("llama-server", "b70", False), ("vllm", "b7", False), ("llama-server", "b7-abcd", False),
    ],
)  # fmt: skip
def test_the_engine_is_the_one_that_the_profile_names(engine: str, version: str, fits: bool) -> None:
    profile = EngineProfile("p", engine, version, ("hermes",), (), ("chat",))
    said = EngineIdentity("llama-server", "b7-abc", None, None, ())
    assert fits is (profile_mismatch(said, profile) is None)


def test_whose_template_is_served_is_told_without_the_last_newline() -> None:
    said = EngineIdentity("llama-server", "b7", None, sha256_hex(b"{{ x }}"), ())
    assert ["own", "other", "unknown"] == [
        template_note(said, own) for own in (b"{{ x }}\n", b"{{ y }}\n", None)
    ]
