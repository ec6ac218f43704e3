"""What a user of MLflow does, run by whichever package's Python this is started with.

    PYTHON mlflow_talk.py < questions.json > answers.json

A question is [name, function, arguments]; an answer is {"said": …} or {"refused": error code, "text": …}. Nothing of
the client is replaced: only its public functions are called, with the environment that the test gives.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

client = MlflowClient()


def version(found: Any) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": int(found.version),
        "status": found.status,
        "message": found.status_message,
        "aliases": list(found.aliases),
        "tags": dict(found.tags),
        "description": found.description,
        "source": found.source,
    }


def by_alias(name: str, alias: str) -> Any:
    return version(client.get_model_version_by_alias(name, alias))


def by_number(name: str, number: str) -> Any:
    return version(client.get_model_version(name, number))


def model(name: str) -> Any:
    found = client.get_registered_model(name)
    latest = sorted(int(one.version) for one in found.latest_versions)
    return {"name": found.name, "aliases": dict(found.aliases), "latest": latest}


def models(**narrowed: Any) -> Any:
    found = client.search_registered_models(**narrowed)
    return {"names": [one.name for one in found], "token": found.token}


def versions(**narrowed: Any) -> Any:
    found = client.search_model_versions(**narrowed)
    return {"found": [[one.name, int(one.version)] for one in found], "token": found.token}


def all_versions(filter_string: str, max_results: int) -> Any:
    """Page by page, as the documentation says that one does."""
    found, token = [], None
    while True:
        page = client.search_model_versions(filter_string, max_results=max_results, page_token=token)
        found.append([int(one.version) for one in page])
        token = page.token
        if not token:
            return found


def listed(uri: str) -> Any:
    return [
        [one.path, one.is_dir, one.file_size] for one in mlflow.artifacts.list_artifacts(artifact_uri=uri)
    ]


def downloaded(uri: str) -> Any:
    """SHA-256 of every file that came."""
    with tempfile.TemporaryDirectory() as folder:
        came = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
        files = [path for path in came.rglob("*") if path.is_file()] if came.is_dir() else [came]
        return {
            path.relative_to(came if came.is_dir() else came.parent).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in files
        }


def text(uri: str) -> Any:
    return mlflow.artifacts.load_text(uri)


def write(method: str, arguments: list[Any]) -> Any:
    return repr(getattr(client, method)(*arguments))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (by_alias, by_number, model, models, versions, all_versions, listed, downloaded, text, write)
}


def answer(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"said": FUNCTIONS[function](**arguments)}
    except MlflowException as refused:
        return {"refused": refused.error_code, "text": str(refused)}


if __name__ == "__main__":
    questions = json.load(sys.stdin)
    answers = {name: answer(function, arguments) for name, function, arguments in questions}
    json.dump({"version": mlflow.__version__, "answers": answers}, sys.stdout)
