"""A version's manifest: one list, one digest; and lists that must not be believed."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from registry.errors import RegistryRefusal
from registry.manifests import (
    FileEntry,
    Licence,
    MalformedManifest,
    Manifest,
    Upstream,
    decode,
    encode,
    modelpack,
    oci_index,
)
from signing.canonical import canonical_bytes

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = (FileEntry("LICENSE", 11, "1" * 64), FileEntry("weights/model.safetensors", 2**33, "2" * 64))
MANIFEST = Manifest("qwen/qwen3-8b", FILES, Licence("stated", ("apache-2.0",)))

Edit = Callable[[dict[str, Any]], object]


def edited(edit: Edit) -> bytes:
    value = json.loads(encode(MANIFEST))
    edit(value)
    return canonical_bytes(value)


def put(path: str, value: object) -> Edit:
    def edit(top: dict[str, Any]) -> None:
        node: Any = top
        *way, last = path.split(".")
        for step in way:
            node = node[int(step)] if step.isdigit() else node[step]
        node[last] = value

    return edit


def test_the_digest_is_of_the_canonical_bytes() -> None:
    assert hashlib.sha256(encode(MANIFEST)).hexdigest() == MANIFEST.digest
    assert MANIFEST == decode(encode(MANIFEST))
    assert 2**33 + 11 == MANIFEST.size


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(MANIFEST, model="qwen/qwen3-4b"),
        dataclasses.replace(MANIFEST, files=FILES[:1]),
        dataclasses.replace(MANIFEST, files=(dataclasses.replace(FILES[0], path="LICENCE"), FILES[1])),
        dataclasses.replace(MANIFEST, licence=Licence()),
        dataclasses.replace(MANIFEST, upstream=Upstream("hf://qwen/qwen3-8b", COMMIT)),
    ],
)
def test_every_fact_is_part_of_the_identity(other: Manifest) -> None:
    assert MANIFEST.digest != other.digest


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (None, MANIFEST.digest[:40]),
        (Upstream("hf://a/b", COMMIT, complete=True), COMMIT),
        (Upstream("hf://a/b", COMMIT, complete=False), None),
        (Upstream("folder", None, complete=True), None),
    ],
)
def test_clients_see_the_commit_only_if_the_file_set_is_exactly_its(
    upstream: Upstream | None, expected: str | None
) -> None:
    manifest = dataclasses.replace(MANIFEST, upstream=upstream)
    assert (expected or manifest.digest[:40]) == manifest.revision


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (put("format", "tidegate-manifest/2"), "$.format"),
        (put("extra", 1), "$"),
        (lambda top: top.pop("licence"), "$"),
        (put("model", "Qwen"), "$.model"),
        (put("model", 7), "$.model"),
        (put("files", []), "$.files"),
        (put("files", {}), "$.files"),
        (put("files.0.size", -1), "$.files[0].size"),
        (put("files.0.size", True), "$.files[0].size"),
        (put("files.1.sha256", "A" * 64), "$.files[1].sha256"),
        (put("files.1.mode", 0o755), "$.files[1]"),
        (put("files.0.path", "zz"), "$.files[1].path"),  # no longer in order
        (put("files.0.path", "weights/model.safetensors"), "$.files[1].path"),  # twice
        (put("files.0.path", "WEIGHTS/model.safetensors"), "$.files[1].path"),  # one file on a Mac
        (put("licence.state", "fine"), "$.licence.state"),
        (put("licence.ids", [1]), "$.licence.ids"),
        (put("upstream", {"uri": "hf://a/b", "commit": "main", "complete": True}), "$.upstream.commit"),
        (put("upstream", {"uri": "x" * 600, "commit": None, "complete": True}), "$.upstream.uri"),
        (put("upstream", {"uri": "x", "commit": None, "complete": "false"}), "$.upstream.complete"),
    ],
)
def test_a_malformed_list_is_refused_by_place(edit: Edit, place: str) -> None:
    with pytest.raises(MalformedManifest) as refusal:
        decode(edited(edit))
    assert place == refusal.value.at


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\\b", "C:a", "a\x00b", "a\nb", "a*", "nul?", "a ", "a./b",
     "x" * 513, 7, None],
)  # fmt: skip
def test_a_path_that_leaves_the_folder_or_means_two_files_is_refused(path: object) -> None:
    with pytest.raises(MalformedManifest) as refusal:
        decode(edited(put("files.0.path", path)))
    assert "$.files[0].path" == refusal.value.at


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a/b"),  # the second would fail half-way through handing over
        ("A", "a/b/c"),
        ("README", "readme"),
        ("cafe\u0301", "caf\u00e9"),  # one name in two spellings, one file on a Mac
        ("CAF\u00c9", "cafe\u0301"),
    ],
)
def test_two_paths_that_cannot_both_stand_on_one_disk_are_refused(first: str, second: str) -> None:
    value = json.loads(encode(MANIFEST))
    value["files"] = [{"path": path, "size": 1, "sha256": "1" * 64} for path in (first, second)]
    with pytest.raises(MalformedManifest) as refusal:
        decode(canonical_bytes(value))
    assert "$.files[1].path" == refusal.value.at


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", encode(MANIFEST) + b"\n", b" " + encode(MANIFEST), b"\xff"]
)
def test_other_bytes_are_no_manifest(data: bytes) -> None:
    with pytest.raises(MalformedManifest):
        decode(data)


def test_oci_tools_find_each_file_as_a_raw_layer_of_its_own_digest() -> None:
    body, config = modelpack(MANIFEST, ordinal=3)
    pack = json.loads(body)

    assert [f"sha256:{entry.sha256}" for entry in FILES] == [layer["digest"] for layer in pack["layers"]]
    assert [entry.size for entry in FILES] == [layer["size"] for layer in pack["layers"]]
    assert ["LICENSE", "weights/model.safetensors"] == [
        layer["annotations"]["org.cncf.model.filepath"] for layer in pack["layers"]
    ]
    assert f"sha256:{hashlib.sha256(config).hexdigest()}" == pack["config"]["digest"]
    assert len(config) == pack["config"]["size"]
    assert json.loads(config)["modelfs"]["diffIds"] == [layer["digest"] for layer in pack["layers"]]


def test_the_index_names_each_version() -> None:
    index = json.loads(oci_index([{"name": "a/b", "tag": "3", "digest": "1" * 64, "size": 10}]))
    assert "a/b:3" == index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]


def test_a_manifest_refusal_is_a_registry_refusal() -> None:
    assert issubclass(MalformedManifest, RegistryRefusal)
