"""What an engine that says nothing of itself is, read off how its process was called.

`transformers serve` and the server of llama-cpp-python have no page that names their release or their files. On
this machine their command lines can be seen, and the installed release stands beside the program. Said by the
process table, so believed as much as what an engine says over HTTP: the files are hashed either way.
Source: proc(5); the layout of Python environments, PEP 376 (`NAME-VERSION.dist-info`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.engines.flags import value_of
from pipelines.engines.memory import command_line, listeners, working_folder

Called = tuple[str, str | None, str, str]  # engine, release, what it loads, the name to ask for

_RELEASE = re.compile(r"-(\d[\w.+]*)\.dist-info")


def who_listens(port: int) -> Called | None:
    """Return what listens on a local port, if it is an engine that is known by its command line."""
    for process in listeners(port):
        found = read(command_line(process), working_folder(process) or Path("/"))
        if found is not None:
            return found
    return None


def read(words: Sequence[str], folder: Path) -> Called | None:
    """Return what a command line serves.

    Args:
        words: of the process. folder: what its relative paths are relative to.
    """
    if "llama_cpp.server" in words:
        model = value_of(words, "--model")
        name = value_of(words, "--model-alias") or model
        if model and name:
            return "llama-cpp-python", _release(words[0], "llama_cpp_python"), str(folder / model), name
    for place, word in enumerate(words[:-2]):
        if Path(word).name == "transformers" and words[place + 1] == "serve":
            model = words[place + 2]
            if not model.startswith("-"):
                return "transformers", _release(words[0], "transformers"), str(folder / model), model
    return None


def _release(program: str, package: str) -> str | None:
    """The release of a package in the environment that a Python program belongs to."""
    environment = Path(program).parent.parent
    found = [
        match[1]
        for place in environment.glob(f"lib/python3*/site-packages/{package}-*.dist-info")
        if (match := _RELEASE.search(place.name))
    ]
    return found[0] if len(found) == 1 else None
