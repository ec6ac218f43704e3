"""What the Hub's clients read, made of what the registry holds. Pure: values in, JSON values out.

Every file is listed as kept by LFS, the small ones too: so the client's own check (`hf cache verify`) compares SHA-256,
which is what we hold of each.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from registry.entities import Version
from registry.manifests import FileEntry, Manifest

# What git would keep in place of a file: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


def model(name: str) -> dict[str, Any]:
    """A model of which no version is shown."""
    return {
        "id": name,
        "modelId": name,
        "author": name.partition("/")[0],
        "private": True,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
    }


def model_info(version: Version, manifest: Manifest, *, tier: str | None, blobs: bool) -> dict[str, Any]:
    """A version as the model that it is of. `tier`: by which it was asked for."""
    licences = list(manifest.licence.ids)
    return model(version.model) | {
        "sha": version.revision,
        "createdAt": version.added_at,
        "lastModified": version.added_at,
        "tags": [*_formats(manifest), *(f"license:{name.lower()}" for name in licences)],
        "cardData": {"license": licences[0].lower() if len(licences) == 1 else licences} if licences else {},
        "usedStorage": version.size,
        "siblings": [_sibling(entry, blobs=blobs) for entry in manifest.files],
        # Clients keep fields that they do not know, and show them.
        "tidegate": {"version": version.ordinal, "digest": version.digest, "tier": tier},
    }


def _formats(manifest: Manifest) -> list[str]:
    endings = ("safetensors", "gguf")
    return [name for name in endings if any(entry.path.endswith(f".{name}") for entry in manifest.files)]


def _sibling(entry: FileEntry, *, blobs: bool) -> dict[str, Any]:
    named: dict[str, Any] = {"rfilename": entry.path}
    if blobs:
        pointer = len(_POINTER.format(entry.sha256, entry.size))
        lfs = {"sha256": entry.sha256, "size": entry.size, "pointerSize": pointer}
        named |= {"size": entry.size, "blobId": git_name(entry), "lfs": lfs}
    return named


def git_name(entry: FileEntry) -> str:
    """What git would call the pointer that stands for the file."""
    pointer = _POINTER.format(entry.sha256, entry.size).encode()
    return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()


def tree(files: Iterable[FileEntry], folder: str, *, recursive: bool) -> Iterator[FileEntry | str]:
    """Files and folders (as text) below a folder ("" is the top), in order of their paths.

    A folder comes before what is in it; without `recursive` what is in it does not come at all.
    """
    prefix = f"{folder}/" if folder else ""
    seen: set[str] = set()
    for entry in files:
        if not entry.path.startswith(prefix):
            continue
        parts = entry.path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            below = prefix + "/".join(parts[:depth])
            if below not in seen:
                seen.add(below)
                yield below
        if recursive or len(parts) == 1:
            yield entry


def tree_item(item: FileEntry | str, version: Version, *, expand: bool) -> dict[str, Any]:
    """One file or folder as the tree lists it."""
    if isinstance(item, FileEntry):
        pointer = len(_POINTER.format(item.sha256, item.size))
        lfs = {"oid": item.sha256, "size": item.size, "pointerSize": pointer}
        form: dict[str, Any] = {
            "type": "file",
            "oid": git_name(item),
            "size": item.size,
            "path": item.path,
            "lfs": lfs,
        }
    else:
        folder = hashlib.sha256(f"{version.revision}:{item}".encode()).hexdigest()[:40]
        form = {"type": "directory", "oid": folder, "size": 0, "path": item}
    if expand:
        form["lastCommit"] = {"id": version.revision, "title": title(version), "date": version.added_at}
    return form


def title(version: Version) -> str:
    """What a version is called where the Hub shows a commit's title."""
    return f"{version.model}@{version.ordinal}"


def refs(tiers: Mapping[str, str], versions: Sequence[Version]) -> dict[str, Any]:
    """Tiers (with the commit that each serves) as branches, versions as tags."""
    return {
        "branches": [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
            for name, commit in tiers.items()
        ],
        "tags": [
            {"name": f"v{row.ordinal}", "ref": f"refs/tags/v{row.ordinal}", "targetCommit": row.revision}
            for row in versions
        ],
        "converts": [],
        "pullRequests": [],
    }


def commit(version: Version) -> dict[str, Any]:
    """A version as a commit: each stands for a whole set of files."""
    return {
        "id": version.revision,
        "title": title(version),
        "message": f"sha256:{version.digest}, brought by {version.brought_by}",
        "authors": [{"user": version.added_by, "avatar": ""}],
        "date": version.added_at,
    }
