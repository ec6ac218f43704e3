"""The two refusals of a person's signature, whatever it was made with: an SSH key or a PIV card."""

from typing import ClassVar

from signing.errors import OperatorError


class PersonSignatureWrong(OperatorError):
    """A signature that was checked, and is not what was asked for."""

    exit_code: ClassVar[int] = 58
    next_step: ClassVar[str] = (
        "Do not count this signature. Have the person look at the document and sign it again with their registered "
        "key (`tidegate people list` shows it), touching it when it blinks."
    )

    def __init__(self, problem: str, *, fingerprint: str = "") -> None:
        super().__init__(f"signature by {fingerprint}: {problem}" if fingerprint else f"signature: {problem}")
        self.problem, self.fingerprint = problem, fingerprint


class PersonSignatureUncheckable(OperatorError):
    """Bytes that are no person's signature or public key, or of a kind that is not supported."""

    exit_code: ClassVar[int] = 59
    next_step: ClassVar[str] = (
        "Use an Ed25519 or ECDSA P-256 or P-384 key (file or FIDO2 token) or a PIV certificate, and hand over the "
        "whole .sig file, the whole line of the .pub file, or the whole certificate."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at
