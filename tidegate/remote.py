"""The command line against a server: the same words are typed, shown and refused, and the command ends with the same code.

What was typed is read by the same click tree, travels as JSON to `/api/v1/operations`, and runs there. A private key never
travels: what is to be signed comes back, is held against what was typed, is shown, and is signed here.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import click

from signing.digests import sha256_hex
from signing.errors import OperatorError
from tidegate.afar import COMMANDS, Act, Stay
from tidegate.afar_refusals import CommandStaysHere, ServerAnswerStrange
from tidegate.cli.doors import READ_BY_THE_DOOR, TYPED, leave, path_of
from tidegate.output import plain, say, show, show_refused
from tidegate.passphrases import Passphrases
from tidegate.remote_files import Packing, unpack
from tidegate.remote_link import Answer, Line
from tidegate.settings import Settings

_PREFIX = "/api/v1/operations/"
_PAYLOAD = "payload"  # what we call the bytes to sign, between the server and us


def run(ctx: click.Context, settings: Settings) -> None:
    """Give the command that was typed to the server, print what it says, and end as it ends.

    Raises:
        CommandStaysHere: the command, or one of its options, cannot travel.
        ServerUnreachable, ServerAnswerStrange: of the line.
        FileUnreadable, SystemRefused: of the files here.
    """
    assert settings.afar is not None, "asked before"
    path = path_of(ctx)
    rule = COMMANDS.get(path)
    if not isinstance(rule, Act):
        raise CommandStaysHere(path, rule.reason if isinstance(rule, Stay) else "no server knows it")
    call = _Call(ctx, settings, path, rule, Line(settings.afar))
    typed = call.typed()
    key = typed.pop("key", None) if "key" in rule.withheld else None
    for name, reason in rule.withheld.items():
        if name in typed:
            raise CommandStaysHere(f"{path} --{name.replace('_', '-')}", reason)
    if key is None:
        call.finish(call.packed(typed))
    else:
        call.sign(typed, str(key))


class _Call:
    """One command on its way."""

    def __init__(self, ctx: click.Context, settings: Settings, path: str, rule: Act, line: Line) -> None:
        self.ctx, self.settings, self.path, self.rule, self.line = ctx, settings, path, rule, line

    def typed(self) -> dict[str, Any]:
        """What was typed for the command's own parameters, by name."""
        found = {}
        for parameter in self.ctx.command.params:
            value = self.ctx.meta[TYPED].get(parameter.name)
            if parameter.name not in READ_BY_THE_DOOR and isinstance(value, str | bool | int | list | tuple):
                whole = isinstance(parameter.type, click.types.IntParamType)
                found[str(parameter.name)] = int(value) if whole and isinstance(value, str) else value
        return found

    def packed(self, typed: Mapping[str, Any]) -> dict[str, Any]:
        """The same as it travels."""
        packing, ways = Packing(), self.rule.files
        return {
            name: packing.pack(ways[name], value) if name in ways else list(value) if isinstance(value, tuple) else value
            for name, value in typed.items()
        }  # fmt: skip

    def finish(self, sent: Mapping[str, Any]) -> None:
        """Run it there, and end as it ended."""
        form = "json" if self.settings.as_json else "text"
        answer = self._post(sent, form)
        unpack(self.line.url, self.rule, sent, answer.body.get("files", []))
        self._show(answer)
        if answer.body.get("exit_code") != 0:
            leave(_code(self.line.url, answer))

    def sign(self, typed: dict[str, Any], key: str) -> None:
        """Ask what is to be signed, sign it here, hand it in."""
        sent = self.packed(typed)
        payload, page = self._asked(sent)
        namespace = demand_meant(self.line.url, self.path, typed, payload, page)
        if not self.settings.as_json:
            say(plain(page), nl=False)
        from tidegate.person_keys import sign_as_person

        secrets = Passphrases(self.settings.secrets)
        signature = sign_as_person(key, payload, namespace=namespace, passphrase=secrets.ask)
        sent.pop("reason")
        handed = {_PAYLOAD: payload, "signature": signature.encode()}
        self.finish({**sent, **{name: _file(name, data) for name, data in handed.items()}})

    def _asked(self, sent: Mapping[str, Any]) -> tuple[bytes, str]:
        """The bytes to sign, and the page that they are about."""
        answer = self._post({**sent, "write_payload": _PAYLOAD}, "text")
        found = [
            base64.b64decode(str(item.get("content")))
            for item in answer.body.get("files", [])
            if isinstance(item, dict) and item.get("parameter") == "write_payload"
        ]
        page = answer.body.get("preface")
        if len(found) != 1 or not isinstance(page, str):
            raise ServerAnswerStrange(self.line.url, "was asked what to sign, and did not say")
        return found[0], page

    def _post(self, sent: Mapping[str, Any], form: str) -> Answer:
        answer = self.line.post(f"{_PREFIX}{self.path.replace(' ', '/')}?as={form}", sent)
        if answer.status >= 300:
            self._refuse(answer)
        return answer

    def _show(self, answer: Answer) -> None:
        body = answer.body
        for name, err in (("notes", True), ("preface", False)):
            if isinstance(body.get(name), str) and body[name]:
                say(
                    "\r\n".join(map(plain, body[name].split("\r\n"))), err=err, nl=False
                )  # lines of CSV end so
        if isinstance(body.get("text"), str):
            show(body.get("document"), body["text"], as_json=self.settings.as_json)

    def _refuse(self, answer: Answer) -> None:
        """Say what the server refused, as the command would have said it here."""
        body = answer.body
        self._show(answer)
        code = _code(self.line.url, answer)
        if code == click.UsageError.exit_code:
            raise click.UsageError(plain(str(body.get("detail"))), self.ctx)
        title, detail, step = (str(body.get(name, "")) for name in ("title", "detail", "next_step"))
        show_refused(title, detail, step, code, as_json=self.settings.as_json)
        leave(code)


def _code(url: str, answer: Answer) -> int:
    code = answer.body.get("exit_code")
    if not isinstance(code, int) or not 1 < code < 256:
        raise ServerAnswerStrange(
            url, f"answered {answer.status}: {plain(str(answer.body.get('detail', '')))[:300]}"
        )
    return code


def _file(name: str, data: bytes) -> dict[str, str]:
    return {"path": name, "content": base64.b64encode(data).decode()}


# What a decision has to be of, and which parameter its subject begins with.
_MEANT: dict[str, tuple[str, str | None]] = {
    "decisions waive": ("waive-finding", None),
    "decisions accept-licence": ("accept-licence", "licence"),
    "decisions quarantine": ("quarantine-case", None),
    "decisions allow-python": ("allow-python", None),
    "decisions revoke": ("revoke", "digest"),
    "approvals review": ("review", "digest"),
    "policy apply": ("apply-policy", None),
    "people add": ("set-person", "name"),
    "people confirm": ("set-person", "name"),
    "people remove": ("set-person", "name"),
    "people card-issuer": ("card-issuer", None),
    "people follow-origin": ("follow-origin", None),
    "promote": ("break-glass", None),
}


def demand_meant(url: str, path: str, typed: Mapping[str, Any], payload: bytes, page: str) -> str:
    """Hold what a server wants signed against what was typed and shown; return the namespace to sign in.

    Raises:
        ServerAnswerStrange: it is about something else.
    """
    try:
        said, shown = (_approval if path in ("approve", "reject") else _decision)(path, typed, payload)
    except OperatorError as exc:
        raise ServerAnswerStrange(url, f"wants something signed that cannot be read: {exc}") from exc
    reason = str(typed.get("reason", "")).strip()
    expected = {"person": typed.get("person"), "reason": reason}
    wrong = [name for name, value in expected.items() if said.pop(name) != value]
    wrong += [name for name, good in said.items() if good is not True]
    if (
        shown is not None
        and shown != sha256_hex(page.removesuffix("\n").encode())
        and shown != sha256_hex(page.encode())
    ):
        wrong.append("page")
    if wrong:
        raise ServerAnswerStrange(
            url, f"wants something else signed than was typed: another {', '.join(wrong)}"
        )
    if path in ("approve", "reject"):
        from registry.approvals_payload import NAMESPACE
    else:
        from registry.decisions import NAMESPACE
    return NAMESPACE


def _approval(path: str, typed: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], str | None]:
    from registry.approvals_payload import decode
    from registry.names import Ref

    answer, person = decode(payload)
    ref = Ref.parse(str(typed.get("ref")))
    return {
        "person": person,
        "reason": answer.reason,
        "decision": answer.decision == path,
        "tier": answer.tier == typed.get("tier"),
        "model": answer.model == ref.model,
        "version": ref.ordinal in (None, answer.ordinal)
        and answer.digest.startswith(ref.digest_prefix or ""),
        "page": str(answer.shown_sha256).startswith(str(typed.get("shown", "")).removeprefix("sha256:")),
    }, answer.shown_sha256


def _decision(path: str, typed: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], str | None]:
    from registry.decisions import decode

    request = decode(payload)
    kind, begins = _MEANT[path]
    wanted = str(typed.get(begins, "")).lower() if begins else ""
    say(plain(f"You sign: {request.kind} {request.subject}: {json.dumps(dict(request.details))}"), err=True)
    shown = request.details.get("page_sha256")
    return {
        "person": request.person,
        "reason": request.reason,
        "kind": request.kind == kind,
        "subject": request.subject.lower().startswith(wanted),
    }, shown if isinstance(shown, str) else None
