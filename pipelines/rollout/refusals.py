"""What a rollout refuses, and how it ends when it does not end well: exit codes 226-231."""

from typing import ClassVar

from pipelines.errors import JudgingRefused


class StepFailed(Exception):
    """A step did not do what it is for. Caught by the walk, which turns back; no command ends with it."""


class ServingMalformed(JudgingRefused):
    """`serving.toml` is missing, or does not say clearly what is to run where."""

    exit_code: ClassVar[int] = 226
    next_step: ClassVar[str] = (
        "Correct the field that the message names in the home's serving.toml; `tidegate serving show` reads it again."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class RolloutUnderway(JudgingRefused):
    """Another command rolls this model out in this tier now."""

    exit_code: ClassVar[int] = 227
    next_step: ClassVar[str] = (
        "Wait until the other command has ended; its journal in the home's rollouts folder shows where it is."
    )

    def __init__(self, tier: str, model: str) -> None:
        super().__init__(f"{model} in {tier}: another rollout is at work")
        self.tier, self.model = tier, model


class RolloutTurnedBack(JudgingRefused):
    """A step failed, and everything was taken back: what served before serves still, or again."""

    exit_code: ClassVar[int] = 228
    next_step: ClassVar[str] = (
        "Read the reason and the engine's log in its slot's folder, mend it, and run the same command again."
    )

    def __init__(self, tier: str, model: str, *, why: str, serves: str) -> None:
        super().__init__(f"{model} in {tier}: {why}; {serves}")
        self.tier, self.model, self.why, self.serves = tier, model, why, serves


class WayBackBlocked(JudgingRefused):
    """A step failed, and so did one of those that take it back. The journal says which stand."""

    exit_code: ClassVar[int] = 229
    next_step: ClassVar[str] = (
        "Mend what the message names, look at the proxy and both engines yourself, then run the same command again: "
        "it goes on walking back from there."
    )

    def __init__(self, tier: str, model: str, *, step: str, why: str) -> None:
        super().__init__(f"{model} in {tier}: cannot take back: {step}: {why}")
        self.tier, self.model, self.step, self.why = tier, model, step, why


class FrontUnclear(JudgingRefused):
    """The file that tells the proxy where to send requests is not as a rollout wrote it."""

    exit_code: ClassVar[int] = 230
    next_step: ClassVar[str] = (
        "Put back the file that `tidegate serving units` or the last rollout wrote; do not edit it by hand."
    )

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class JournalDamaged(JudgingRefused):
    """A rollout's journal cannot be read: nobody knows which of its steps were done."""

    exit_code: ClassVar[int] = 231
    next_step: ClassVar[str] = (
        "Look at the proxy and both engines yourself; when they are as they should be, move the journal away."
    )

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem
