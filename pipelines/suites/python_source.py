"""Which Python checks a suite defines, found without running any of it."""

import ast
import warnings
from collections.abc import Mapping

from pipelines.suites.refusals import SuiteMalformed
from pipelines.suites.vocabulary import FUNCTION

MAX_SOURCE = 64 << 10  # characters of one file


def check_functions(files: Mapping[str, str]) -> dict[str, str]:
    """Return each top-level `check_…` function of checks/*.py with the path of its file.

    Raises:
        SuiteMalformed: a file that is no Python, defines no check, or a check that stands twice.
    """
    found: dict[str, str] = {}
    for path in sorted(name for name in files if name.startswith("checks/")):
        names = _functions(files[path], at=path)
        if not names:
            raise SuiteMalformed("defines no function whose name begins with check_", at=path)
        for name in names:
            if name in found:
                raise SuiteMalformed(f"{name} stands twice", at=path)
            found[name] = path
    return found


def _functions(source: str, *, at: str) -> list[str]:
    if len(source) > MAX_SOURCE:
        raise SuiteMalformed(f"more than {MAX_SOURCE} characters", at=at)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what an author spells oddly is not ours to print
            tree = ast.parse(source, filename=at)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise SuiteMalformed(f"not Python of this release ({exc})", at=at) from exc
    return [
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and FUNCTION.fullmatch(node.name)
    ]
