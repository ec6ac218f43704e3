"""Makes good and hostile model files in memory. Nothing hostile is ever committed: each is built where it is used."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipelines.scan import ScannedFile
from signing.digests import sha256_hex

TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if tools %}<tool_call>\n{{ tools | tojson }}\n</tool_call>{% endif %}"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
)
CARD = "---\nlicense: apache-2.0\n---\n# A model\n"
APACHE = "Apache License\nVersion 2.0, January 2004\n"
F32_PAIR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def files_of(contents: Mapping[str, bytes]) -> list[ScannedFile]:
    """A version's files, from path to bytes."""
    return [
        ScannedFile(path, len(data), partial(io.BytesIO, data), sha256_hex(data))
        for path, data in contents.items()
    ]


def good_model(**changes: bytes | None) -> dict[str, bytes]:
    """A small clean model. A change replaces or, with None, removes a file; `__` stands for a dot."""
    contents: dict[str, bytes] = {
        "config.json": as_json(
            {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 4096}
        ),
        "tokenizer.json": as_json({"model": {"vocab": {"a": 0}}}),
        "tokenizer_config.json": as_json({"chat_template": TEMPLATE}),
        "chat_template.jinja": (TEMPLATE + "\n").encode(),
        "model.safetensors": safetensors_bytes({"weight": F32_PAIR}, bytes(8)),
        "README.md": CARD.encode(),
        "LICENSE": APACHE.encode(),
    }
    for name, data in changes.items():
        contents.pop(name.replace("__", "."), None)
        if data is not None:
            contents[name.replace("__", ".")] = data
    return contents


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def safetensors_bytes(header: Mapping[str, Any] | bytes, data: bytes, *, length: int | None = None) -> bytes:
    """A file with this header, true or not; `length` is what the first eight bytes say."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(dtype: str, shape: Sequence[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


# GGUF ------------------------------------------------------------------------------------------------------


def gguf_text(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_pair(key: str | bytes, value: str | int | bytes) -> bytes:
    """A key with a text, an unsigned 32-bit number, or a type and value given as bytes."""
    if isinstance(value, str):
        return gguf_text(key) + struct.pack("<I", 8) + gguf_text(value)
    if isinstance(value, int):
        return gguf_text(key) + struct.pack("<II", 4, value)
    return gguf_text(key) + value


def gguf_tensor(name: str, shape: Sequence[int] = (2,), kind: int = 0, offset: int = 0) -> bytes:
    dimensions = b"".join(struct.pack("<Q", size) for size in shape)
    return gguf_text(name) + struct.pack("<I", len(shape)) + dimensions + struct.pack("<IQ", kind, offset)


def gguf_bytes(
    pairs: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A file of these parts, true or not; `counts` is what it says of tensors and pairs."""
    numbers = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join([*pairs, *tensors])
    return head + bytes(-len(head) % alignment if tensors else 0) + data


def good_gguf(template: str = TEMPLATE, licence: str = "apache-2.0") -> bytes:
    array_of_texts = struct.pack("<IIQ", 9, 8, 2) + gguf_text("a") + gguf_text(b"\xff\xfe")
    array_of_floats = struct.pack("<IIQ", 9, 6, 2) + bytes(8)
    return gguf_bytes(
        [
            gguf_pair("general.architecture", "qwen3"),
            gguf_pair("general.license", licence),
            gguf_pair("qwen3.context_length", 2048),
            gguf_pair("tokenizer.ggml.tokens", array_of_texts),
            gguf_pair("tokenizer.ggml.scores", array_of_floats),
            gguf_pair("tokenizer.chat_template", template),
        ],
        [gguf_tensor("a", (2,), 0, 0), gguf_tensor("b", (32, 2), 8, 32)],
        bytes(32 + 68),
    )


def gguf_bomb() -> bytes:
    """49 bytes that announce 2**60 array elements."""
    return gguf_bytes([gguf_text("a") + struct.pack("<IIQ", 9, 0, 1 << 60)])


# pickles and programs --------------------------------------------------------------------------------------


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("echo pwned",)


def pickle_that_runs(protocol: int = 4) -> bytes:
    return pickle.dumps(_Runs(), protocol=protocol)


def pickle_calling(module: str, name: str) -> bytes:
    """Protocol 0, written by hand, so that `module` need not exist here."""
    return f"c{module}\n{name}\n(Vid\ntR.".encode()


def torch_zip(*, flag: bool = False) -> bytes:
    """A torch checkpoint; with `flag`, the encryption bit in the local header that makes some scanners stop."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_that_runs())
        archive.writestr("archive/version", "3\n")
    raw = bytearray(buffer.getvalue())
    raw[6] |= flag
    return bytes(raw)
