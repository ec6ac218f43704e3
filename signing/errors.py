"""Everything that Tidegate refuses on purpose, and what a person does next.

`OperatorError` stands here because this is the lowest layer. Each concrete refusal has an exit code of
its own and a next step; `docs/operator/exit-codes.md` lists them all and a test walks the subclasses.
Families: signing 10-19, 50-59 and 90-99; bundles 20-29 and 60-69; judging 30-39 and 70-79; registry 40-49
and 80-89; the doors 100-109. 1 is a bug with its traceback, 2 a command line that cannot be read.
Bugs are not `OperatorError`s: they keep their traceback.
"""

from typing import ClassVar


class OperatorError(Exception):
    """Something we refused on purpose; the facts stay on the instance as attributes."""

    exit_code: ClassVar[int]
    next_step: ClassVar[str]  # an instruction, not an explanation
