"""What an MLflow server says of a model version and of the run that made it: kept with the version's provenance.

It is somebody else's word, in any amount: texts are cut and counted here, nothing of it is believed, and the account
says how much was left out. Decimals are texts, because what is signed has no floats. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.scan.reading import quoted
from signing.digests import sha256_hex

MAX_ENTRIES = 200  # parameters, metrics or tags, each
MAX_TEXT = 500  # characters of one value
MAX_SIGNATURE = 8_000  # characters of inputs, outputs or parameters of the model's signature
MAX_FLAVORS = 20
MAX_MLMODEL = 256 << 10  # bytes


def version_said(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the registry there says of the model version."""
    named = ("name", "version", "user_id", "description", "run_id", "run_link", "model_id", "current_stage")
    return {
        **_texts(found, named),
        **_moments(found, ("creation_timestamp", "last_updated_timestamp")),
        "tags": pairs(found.get("tags")),
        "aliases": [_text(item) for item in _items(found.get("aliases"))[:MAX_ENTRIES]],
    }


def run_said(found: Mapping[str, Any], experiment: str | None) -> dict[str, Any]:
    """What the server says of the run: who, when, with what parameters, and which figures came of it."""
    info, data = _object(found.get("info")), _object(found.get("data"))
    named = ("run_id", "run_name", "experiment_id", "user_id", "status", "lifecycle_stage")
    datasets = [
        _texts(_object(_object(item).get("dataset")), ("name", "digest", "source_type"))
        for item in _items(_object(found.get("inputs")).get("dataset_inputs"))[:MAX_ENTRIES]
    ]
    return {
        **_texts(info, named),
        **({} if experiment is None else {"experiment": _text(experiment)}),
        **_moments(info, ("start_time", "end_time")),
        "params": pairs(data.get("params")),
        "metrics": pairs(data.get("metrics")),
        "tags": pairs(data.get("tags")),
        "datasets": datasets,
    }


def pairs(raw: object) -> dict[str, Any]:
    """Names and values as MLflow sends them, the first so many by name; `leftOut` counts the others.

    A list, because names there are any text, and keys of what is signed are ASCII.
    """
    found = {
        _text(item["key"]): _text(item.get("value"))
        for item in _items(raw)
        if isinstance(item, dict) and isinstance(item.get("key"), str)
    }
    kept = [{"name": name, "value": found[name]} for name in sorted(found)[:MAX_ENTRIES]]
    return {"entries": kept, "leftOut": len(_items(raw)) - len(kept)}


def mlmodel_said(data: bytes) -> dict[str, Any]:
    """What the file `MLmodel` says: flavors, the signature of inputs and outputs, and who wrote it.

    It is YAML, and its aliases can make a kilobyte into a gigabyte: a file that uses them, or that is no mapping,
    is named by its digest alone.
    """
    said: dict[str, Any] = {"sha256": sha256_hex(data), "size": len(data)}
    found = _yaml(data)
    if found is None:
        return said | {"unread": "not plain YAML of a mapping"}
    signature = _object(found.get("signature"))
    return {
        **said,
        **_texts(found, ("mlflow_version", "model_uuid", "run_id", "utc_time_created")),
        "flavors": sorted(_text(name) for name in _object(found.get("flavors")))[:MAX_FLAVORS],
        "signature": {
            name: _text(signature[name], limit=MAX_SIGNATURE)
            for name in ("inputs", "outputs", "params")
            if signature.get(name) is not None
        },
    }


def _yaml(data: bytes) -> Mapping[str, Any] | None:
    import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with mlflow-skinny, as MLmodel does

    try:
        text = data.decode()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            return None
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):  # the last: a mapping as a key
        return None
    return found if isinstance(found, dict) else None


def _texts(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    return {name: _text(found[name]) for name in names if found.get(name) not in (None, "")}


def _moments(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Milliseconds since 1970, as MLflow counts."""
    moments = {name: str(found.get(name)) for name in names}
    return {
        name: int(text)
        for name, text in moments.items()
        if text.isascii() and text.isdecimal() and len(text) < 16
    }


def _text(value: object, *, limit: int = MAX_TEXT) -> str:
    return quoted(value if isinstance(value, str) else str(value)[:limit], limit=limit, quotes=False)


def _items(raw: object) -> list[Any]:
    return raw if isinstance(raw, list) else []


def _object(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, dict) else {}
