"""What a command refuses that is run at a server, on either side: exit codes 6-8 and 170-172."""

from typing import ClassVar

from tidegate.errors import DoorRefusal


class ServerUnreachable(DoorRefusal):
    """The server that was named does not answer, or nobody known vouches for its name."""

    exit_code: ClassVar[int] = 6
    next_step: ClassVar[str] = (
        "Check the address of --server or TIDEGATE_SERVER, and --ca-file if your own authority vouches for it; "
        "`tidegate serve` opens the doors there."
    )

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url}: {problem}")
        self.url, self.problem = url, problem


class CommandStaysHere(DoorRefusal):
    """A command, or an option of it, that cannot be run at a server."""

    exit_code: ClassVar[int] = 7
    status: ClassVar[int] = 409
    next_step: ClassVar[str] = (
        "Run it on the machine itself, with --home; leave --server out and unset TIDEGATE_SERVER."
    )

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"`tidegate {command}` cannot be run at a server: {reason}")
        self.command, self.reason = command, reason


class ServerAnswerStrange(DoorRefusal):
    """Something answered that is no Tidegate, or not what was asked of it."""

    exit_code: ClassVar[int] = 8
    next_step: ClassVar[str] = (
        "Check that the address is Tidegate's own and not a proxy's page, and that both sides have one release; "
        "sign nothing that came from there."
    )

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url}: {problem}")
        self.url, self.problem = url, problem


class IdempotencyKeyUsed(DoorRefusal):
    """A key that was used for another request."""

    exit_code: ClassVar[int] = 170
    status: ClassVar[int] = 422
    next_step: ClassVar[str] = "Send another key with each request; repeat one only to repeat the request."

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another request")


class RequestAtWork(DoorRefusal):
    """A repeated request whose first answer cannot be given again, or not yet."""

    exit_code: ClassVar[int] = 171
    status: ClassVar[int] = 409
    next_step: ClassVar[str] = (
        "Wait and repeat the request; if it was cut off, see with `tidegate audit log` what was done, then use another key."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(f"the request with this Idempotency-Key {problem}")
        self.problem = problem


class RequestTooLarge(DoorRefusal):
    """A body that is larger than the doors read."""

    exit_code: ClassVar[int] = 172
    status: ClassVar[int] = 413
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}
    next_step: ClassVar[str] = (
        "Run the command on the machine itself, or raise `body_bytes` under [limits] in server.toml there."
    )

    def __init__(self, most: int) -> None:
        super().__init__(f"the request has more than {most:,} bytes")
        self.most = most
