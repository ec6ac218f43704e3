"""What a user of huggingface_hub does, run by whichever release's Python this is started with.

    PYTHON hub_talk.py < questions.json > answers.json

A line holds a list of questions, and is answered by a line: who asks may change things in between. A question is [name, function, arguments]; an answer is {"said": …} or {"refused": exception, "text": …}. Nothing of
the client is replaced: only its public functions are called, with the environment that the test gives.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download

api, fs = HfApi(), HfFileSystem()


def info(model: str, revision: str | None = None) -> Any:
    found = api.model_info(model, revision=revision, files_metadata=True)
    return [found.id, found.sha, [[file.rfilename, file.size] for file in found.siblings or ()]]


def tree(model: str, revision: str, folder: str | None = None, *, recursive: bool = True) -> Any:
    items = api.list_repo_tree(model, folder, revision=revision, recursive=recursive, expand=True)
    return [[item.path, getattr(item, "size", None)] for item in items]


def paths(model: str, revision: str, names: list[str]) -> Any:
    return [item.path for item in api.get_paths_info(model, names, revision=revision)]


def refs(model: str) -> Any:
    found = api.list_repo_refs(model)
    return [[(ref.name, ref.target_commit) for ref in group] for group in (found.branches, found.tags)]


def commits(model: str, revision: str) -> Any:
    return [[commit.commit_id, commit.title] for commit in api.list_repo_commits(model, revision=revision)]


def models(**narrowed: Any) -> Any:
    return [found.id for found in api.list_models(**narrowed)]


def tensors(model: str, revision: str) -> Any:
    found = api.get_safetensors_metadata(model, revision=revision)
    return {name: len(file.tensors) for name, file in found.files_metadata.items()}


def looked(path: str, start: int, end: int) -> Any:
    folder = path.rpartition("/")[0]
    return [
        fs.ls(folder, detail=False),
        fs.info(path)["size"],
        fs.cat_file(path, start=start, end=end).decode(),
        sorted(fs.glob(f"{folder}/*.json")),
    ]


def small_ceiling(size: int, **asked: Any) -> Any:
    """Download with the client's ceiling for plain HTTP (50 GB) set so low that a test's file is above it."""
    from huggingface_hub import constants

    kept, constants.MAX_HTTP_DOWNLOAD_SIZE = constants.MAX_HTTP_DOWNLOAD_SIZE, size
    try:
        return hf_hub_download(**asked)
    finally:
        constants.MAX_HTTP_DOWNLOAD_SIZE = kept


ASKED: dict[str, Callable[..., Any]] = {
    "snapshot": snapshot_download,
    "file": hf_hub_download,
    "whoami": lambda: api.whoami()["name"],
    "repo exists": api.repo_exists,
    "revision exists": api.revision_exists,
    "file exists": api.file_exists,
    "create": api.create_repo,
    "upload": lambda repo_id: api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo_id),
    **{said.__name__: said for said in (info, tree, paths, refs, commits, models, tensors, looked)},
    "small ceiling": small_ceiling,
}


def answered(questions: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """Ask everything in order; what one refuses does not end the others."""
    answers = {}
    for name, function, arguments in questions:
        try:
            answers[name] = {"said": ASKED[function](**arguments)}
        except Exception as refusal:  # noqa: BLE001 - what a client raises is what is asked for
            answers[name] = {"refused": type(refusal).__name__, "text": str(refusal)}
    return answers


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(answered(json.loads(line)))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
