"""A set's companions, laid out for the machine that serves it: below a folder named by the set, read-only.

Apart because a validation does the same, so that what is validated is what is served. Of all companions only the chat
template is anything to the engine; it takes the place of the version's own. `engine.toml` is for people: what an
engine is started with is the engine profile's, which the gate has judged, and two sources of flags would disagree.
"""

from pathlib import Path

from pipelines.companions import write_companions
from registry.companions import Companions

TEMPLATE = "chat_template.jinja"


def lay_out(companions: Companions | None, folder: Path) -> Path | None:
    """Have exactly the companions' texts below `folder`, and return the chat template if one is among them.

    What lies there already is read and compared; a file that differs is written anew. Raises `OSError`.
    """
    if companions is None:
        return None
    if not all(_holds(folder / path, text) for path, text in companions.files.items()):
        _folders(folder, 0o755)
        for path in write_companions(companions, folder):
            path.chmod(0o444)
        _folders(folder, 0o555)
    return folder / TEMPLATE if TEMPLATE in companions.files else None


def _holds(path: Path, text: str) -> bool:
    return not path.is_symlink() and path.is_file() and path.read_bytes() == text.encode()


def _folders(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(mode)
