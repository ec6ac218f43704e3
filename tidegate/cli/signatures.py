"""The ways in which a person signs: with a key now, or the bytes written out, signed elsewhere and brought back."""

import functools
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from tidegate.cli.doors import Reason, passphrase_option
from tidegate.output import show
from tidegate.wiring import App, read_file

Function = TypeVar("Function", bound=Callable[..., Any])
_PAYLOAD_BYTES = 64 << 10
_SIGNATURE_BYTES = 16 << 10
_file = click.Path(path_type=Path, dir_okay=False)
_NAMES = ("person", "reason", "key", "write_payload", "payload", "signature")
_OPTIONS = (
    click.option("--reason", type=Reason(), help="Why; it is signed with the decision and kept."),
    click.option(
        "--key",
        metavar="FILE|URI",
        help="Sign now: with an OpenSSH private key file, the handle of a FIDO2 key, the .pub of a key in your agent, "
        "or a PIV card (hsm:token=LABEL;object=LABEL).",
    ),
    click.option(
        "--write-payload",
        type=_file,
        help="Sign on another machine: write what you have to sign to this file, and stop.",
    ),
    click.option(
        "--payload", type=_file, help="Signed on another machine: the file that --write-payload wrote."
    ),
    click.option(
        "--signature", type=_file, help="Signed on another machine: the .sig file that ssh-keygen made of it."
    ),
    passphrase_option,
)


@dataclass(frozen=True)
class Hand:
    """How a person signs this time; built from the options of `signing_options`."""

    person: str | None
    reason: str | None
    key: str | None  # a path, or an `hsm:` URI
    write_payload: Path | None
    payload: Path | None
    signature: Path | None

    @property
    def given(self) -> bool:
        """Whether the command line says anything of a signature."""
        return any(getattr(self, name) is not None for name in _NAMES)

    @property
    def name(self) -> str:
        """Who signs."""
        if self.person is None:
            raise click.UsageError("say who signs with --person")
        return self.person

    def demand_no_signature(self, flag: str) -> None:
        """Refuse a signature that nothing asks for: it would be dropped without a word."""
        if any(getattr(self, name) is not None for name in _NAMES if name != "reason"):
            raise click.UsageError(f"a signature belongs to {flag}")

    def demand_one_way(self) -> None:
        """Refuse a command line that says none of the three ways, or two."""
        if (self.payload is None) != (self.signature is None):
            raise click.UsageError("--payload and --signature belong together")
        if sum(way is not None for way in (self.key, self.write_payload, self.payload)) != 1:
            raise click.UsageError(
                "say how you sign: --key FILE, or --write-payload FILE, or --payload FILE --signature FILE.sig"
            )
        if self.payload is None and self.reason is None:
            raise click.UsageError("say why with --reason; it is signed with the decision")
        if self.payload is not None and self.reason is not None:
            raise click.UsageError("the reason is in the payload already; leave --reason out")

    def signed(
        self, app: App, make: Callable[[str], bytes], *, namespace: str, said: Callable[[Any], str]
    ) -> tuple[bytes, str] | None:
        """Return the signed bytes and the signature, or None when they were only written out.

        Args:
            make: gives the bytes to sign, from the reason.
            said: describes the written payload (decoded) in a sentence.
        """
        if self.payload is not None and self.signature is not None:
            armored = read_file(self.signature, max_bytes=_SIGNATURE_BYTES).decode(errors="replace")
            return read_file(self.payload, max_bytes=_PAYLOAD_BYTES), armored
        message = make(str(self.reason))
        if self.write_payload is not None:
            self._write(app, message, namespace, said)
            return None
        from tidegate.person_keys import sign_as_person

        assert self.key is not None, "one of the three ways"
        return message, sign_as_person(self.key, message, namespace=namespace, passphrase=app.passphrase)

    def _write(self, app: App, message: bytes, namespace: str, said: Callable[[Any], str]) -> None:
        from signing.durable import write_durably

        assert self.write_payload is not None, "asked for"
        write_durably(self.write_payload, message)
        content, name = json.loads(message), shlex.quote(str(self.write_payload))
        command = f"ssh-keygen -Y sign -n {namespace} -f KEY {name}"
        text = (
            f"Wrote what {content['person']} is asked to sign: {said(content)}. Nothing is decided yet.\n"
            f"Next:    {command}\n"
            f"then:    the same command with --payload {name} --signature {name}.sig"
        )
        document = {"payload": str(self.write_payload), "sign_with": command, "asks": content}
        show(document, text, as_json=app.settings.as_json)


def signing_options(
    *, optional: bool = False, only_with: str | None = None
) -> Callable[[Function], Function]:
    """Add the options of a signature; the command gets them as one `hand`.

    Args:
        optional: the command line may do without a signature; `hand.given` tells.
        only_with: a flag of the command, as its parameter is called. With it a signature is demanded, without it none
            is taken: `--reason` is then a plain reason.
    """
    optional = optional or only_with is not None

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def with_hand(*args: Any, **kwargs: Any) -> Any:
            hand = Hand(**{name: kwargs.pop(name) for name in _NAMES})
            if only_with is not None and not kwargs[only_with]:
                hand.demand_no_signature(f"--{only_with.replace('_', '-')}")
            elif only_with is not None or hand.given or not optional:
                hand.demand_one_way()
            return function(*args, hand=hand, **kwargs)

        wrapped: Any = with_hand
        person = click.option(
            "--person", required=not optional, help="Your name as `tidegate people list` shows it."
        )
        for option in reversed((person, *_OPTIONS)):
            wrapped = option(wrapped)
        return cast("Function", wrapped)

    return decorate
