"""llama-server as a daemon of several models: started without a model, each version is loaded under a name of its own.

1. Every version has a section in the daemon's preset file, under a name that no other version has. A section is
   changed only while its model is not loaded: a router unloads what has another section than it was loaded by.
2. A router gives a new alias to no model that is loaded, so the name that clients ask for is not moved in there: the
   proxy is, from one model's own process to the other's. That process answers to any name, and has none of the
   router's pages by which whoever can send a request could unload a model.
3. A router loads what it is asked for and throws out the least used to make room, unless it is told not to: it is.
4. Unloading cuts off what is in flight, and says that it is done before it is: drained before, waited for after.
5. A daemon that was started anew holds no model, and would give each another port than before: the proxy's file is
   then wrong until the same rollout command is run again, which loads anew. The agent sees that nothing answers.

Sources: llama.cpp `tools/server/README.md` (router mode, presets); 2, 4 and the refusal of unknown flags were seen on
build 0.5.0.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from pipelines.engines import counting, flags, process, staged, tool_call
from pipelines.engines.endpoint import AnswerUnusable, EngineTrouble, json_body
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.flags import FlagRefused
from pipelines.engines.launch import Command, Drained, Launch, Slot
from pipelines.engines.llama_server import QUIET, LlamaServer, from_log, of_model
from pipelines.engines.probe import Readiness
from pipelines.engines.process import EngineProcessTrouble
from pipelines.engines.staged import SlotUnusable, Staged
from pipelines.suites.identity import Served
from registry.manifests import Manifest
from signing.canonical import NotCanonical, parse
from signing.durable import write_durably

DAEMON = "llama-router"  # what is staged in a slot whose model is loaded in a daemon
PRESETS, _SECTIONS = "models.ini", "sections"
_ANSWER = 60.0  # seconds until a daemon that was started answers; it loads nothing then
_KILLED = 20.0  # seconds after which a router has ended a model's process: its own ten, and some
_POLL = 0.1
_RUNS = ("loading", "loaded", "sleeping")
_ENDS_A_VALUE = ";#"  # begins a comment in a preset


@dataclass(frozen=True)
class LlamaRouter(LlamaServer):
    """One model of several. A slot is a place for a version; `daemon` is where the process of all of them lives."""

    engine: ClassVar[str] = DAEMON

    daemon: Slot = field(kw_only=True)

    # ----------------------------------------------------------------------------------------- the daemon itself

    def stage_daemon(self) -> None:
        """Write down what the daemon runs. It depends on nothing that a version brings along.

        Raises:
            SlotUnusable: it runs by other settings.
        """
        own = ["--models-preset", str((self.daemon.folder / PRESETS).resolve()), "--no-models-autoload"]
        own += ["--models-max", "0", "--host", self.daemon.host, "--port", str(self.daemon.port), *QUIET]
        plain = self.surroundings(self.daemon, own)
        wanted = Staged(
            ref="a daemon of several models", version="", engine=DAEMON, argv=plain.argv, env=plain.env, flags=(),
            model="", path="", calls=False, parser=None, template_sha256=None, dtype=None, context=0,
        )  # fmt: skip
        if process.running(self.daemon) is not None and staged.read(self.daemon) != wanted:
            problem = "the daemon runs by other settings, and with it all its models would end"
            raise SlotUnusable(self.daemon, problem)
        staged.write(self.daemon, wanted)

    def answers(self) -> None:
        """Wait until the daemon answers. Raises `EngineProcessTrouble` if it ends or does not."""
        deadline = time.monotonic() + _ANSWER
        while time.monotonic() < deadline and process.running(self.daemon) is not None:
            with contextlib.suppress(EngineTrouble):
                self._listed()
                return
            time.sleep(_POLL)
        raise EngineProcessTrouble(self.daemon, f"does not answer ({process.how_it_ended(self.daemon)})")

    # ------------------------------------------------------------------------------------------- one model of it

    def arguments(self, launch: Launch, slot: Slot, path: Path) -> list[str]:  # noqa: ARG002 - it has no address
        """Return the flags about the model; its process's address is the router's to choose."""
        return of_model(launch, path)

    def stage(self, launch: Launch, slot: Slot) -> None:
        """Write down what is to be loaded. Raises `FlagRefused` for a flag that no preset can hold."""
        section(launch.served_name, self._words(self.command(launch, slot)), profile=launch.profile.name)
        super().stage(launch, slot)

    def declare(self, slot: Slot) -> None:
        """Give the model its section, and see that a running daemon has taken it.

        Raises:
            EngineProcessTrouble: it did not; the sections are as they were.
        """
        wanted = staged.read(slot)
        mine = self.daemon.folder / _SECTIONS / f"{slot.folder.name}.ini"
        text = section(wanted.model, self._words(wanted.command), profile=wanted.ref)
        with self._alone():
            before = mine.read_bytes() if mine.is_file() else None
            if before != text.encode():
                self._write(mine, text.encode())
            try:
                self._demand_taken(wanted)
            except EngineProcessTrouble:
                self._write(mine, before)
                with contextlib.suppress(EngineTrouble):
                    self._listed(again=True)
                raise

    def start(self, slot: Slot) -> None:
        """Have the model loaded; nothing if it is. Loading goes on after this. Raises `EngineProcessTrouble`."""
        wanted = staged.read(slot)
        if self._state(wanted.model) not in _RUNS:
            self._order("load", slot, wanted.model)

    def where(self, slot: Slot) -> Slot:
        """Return the slot with the address of the model's own process. Raises `EngineProcessTrouble` without one."""
        wanted = staged.read(slot)
        try:
            entry = self._listed().get(wanted.model)
        except EngineTrouble as exc:
            raise EngineProcessTrouble(slot, f"the daemon does not answer ({exc})") from exc
        port = _after(_arguments(entry), "--port")
        if entry is None or _value(entry) not in _RUNS or not port.isdigit():
            raise EngineProcessTrouble(slot, f"{wanted.model} is not loaded")
        return replace(slot, host="127.0.0.1", port=int(port))  # a router starts its models' processes there

    def ready(self, slot: Slot, *, seconds: float) -> Readiness:
        """Wait until the model is loaded, and ask its own process for a tool call under its own name."""
        began = time.monotonic()
        wanted = staged.read(slot)
        while (state := self._state(wanted.model)) == "loading" and time.monotonic() - began < seconds:
            time.sleep(_POLL)
        if state != "loaded":
            return Readiness(ready=False, milliseconds=None, why=f"{wanted.model}: {self._why_not(state)}")
        there = self.where(slot)
        found = tool_call.ready(
            there.endpoint,
            model=wanted.model,
            seconds=max(seconds - (time.monotonic() - began), 0.01),
            calls=wanted.calls,
            gone=lambda: (
                None if self._state(wanted.model) in _RUNS else f"{wanted.model} is not loaded any more"
            ),
        )
        if found.ready and not process.serves(replace(self.daemon, port=there.port)):
            why = f"{there.endpoint} is answered by a process that is not the daemon's"
            return Readiness(ready=False, milliseconds=None, why=why)
        return found

    def identity(self, slot: Slot, manifest: Manifest) -> Served:
        """Hash the files that the model's own process has loaded."""
        try:
            return super().identity(self.where(slot), manifest)
        except EngineProcessTrouble as exc:
            return Served(proven=False, why=exc.problem)

    def in_flight(self, slot: Slot) -> int | None:
        """Return requests in slots and requests that wait for one; 0 if the model is not loaded."""
        state = self._state(staged.read(slot).model)
        if state is not None and state not in _RUNS:
            return 0
        try:
            return counting.llama_server(self.where(slot).endpoint)
        except EngineProcessTrouble:
            return None

    def drain(self, slot: Slot, *, seconds: float) -> Drained:
        """Wait until nothing is in flight. A daemon that is not there works on nothing."""
        if process.running(self.daemon) is None:
            return Drained(idle=True, seconds=0.0, why="no daemon runs here")
        return counting.wait_idle(lambda: self.in_flight(slot), seconds=seconds)

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """Have the model unloaded and wait until it is. The daemon goes on. Raises `EngineProcessTrouble`."""
        if process.running(self.daemon) is None or not (slot.folder / staged.FILE).is_file():
            return
        wanted = staged.read(slot)
        if self._state(wanted.model) in _RUNS:
            self._order("unload", slot, wanted.model)
        deadline = time.monotonic() + seconds + _KILLED
        while self._state(wanted.model) not in ("unloaded", "none"):
            if time.monotonic() >= deadline:
                raise EngineProcessTrouble(slot, f"the daemon does not unload {wanted.model}")
            time.sleep(_POLL)

    def fingerprint(self, slot: Slot) -> Fingerprint:
        """Return what the model's own process is: a llama-server like any other."""
        try:
            there = self.where(slot)
        except EngineProcessTrouble:
            there = slot
        return replace(super().fingerprint(there), engine=LlamaServer.engine)

    def told(self, slot: Slot, known: Fingerprint) -> Fingerprint:
        """Return the fingerprint with what the model's process wrote into the daemon's log."""
        mark = f"[{slot.port}]"
        lines = [line for line in process.log_head(self.daemon).splitlines() if line.startswith(mark)]
        return from_log(known, "\n".join(lines))

    # ------------------------------------------------------------------------------------------------- inside

    def _words(self, command: Command) -> Sequence[str]:
        return command.argv[len(self.program or self.usual) :]

    def _write(self, mine: Path, data: bytes | None) -> None:
        """Replace one model's section (None: take it out), and the file of all of them."""
        mine.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if data is None:
            mine.unlink(missing_ok=True)
        else:
            write_durably(mine, data)
        whole = b"\n".join(path.read_bytes() for path in sorted(mine.parent.glob("*.ini")))
        write_durably(self.daemon.folder / PRESETS, b"version = 1\n\n" + whole)

    def _demand_taken(self, wanted: Staged) -> None:
        """See that the daemon, if it runs, would load what the section says, and not what it had read before."""
        if process.running(self.daemon) is None:
            return
        try:
            entry = self._listed(again=True).get(wanted.model)
        except EngineTrouble as exc:
            raise EngineProcessTrouble(self.daemon, f"does not take {wanted.model} ({exc})") from exc
        if _after(_arguments(entry), "--model") != wanted.path:
            raise EngineProcessTrouble(self.daemon, f"does not list {wanted.model} with {wanted.path}")

    def _state(self, model: str) -> str | None:
        """How the daemon says the model is; `none` where it knows none; None where it does not answer."""
        if process.running(self.daemon) is None:
            return "none"
        try:
            entry = self._listed().get(model)
        except EngineTrouble:
            return None
        return "none" if entry is None else _value(entry)

    def _why_not(self, state: str | None) -> str:
        if process.running(self.daemon) is None:
            return f"the daemon has ended ({process.how_it_ended(self.daemon)})"
        return f"{state or 'the daemon does not answer'}; its log ends {process.log_tail(self.daemon)[-300:]}"

    def _listed(self, *, again: bool = False) -> Mapping[str, Mapping[str, Any]]:
        """Every model that the daemon knows. Raises `EngineTrouble`."""
        answer = self.daemon.endpoint.get("/models?reload=1" if again else "/models", seconds=_ANSWER)
        try:
            value = parse(answer.body, max_bytes=len(answer.body), at="/models")
        except NotCanonical as exc:
            raise AnswerUnusable(f"{self.daemon.endpoint}/models", str(exc)) from exc
        entries = value.get("data") if isinstance(value, dict) else None
        if answer.status != 200 or not isinstance(entries, list):
            raise AnswerUnusable(
                f"{self.daemon.endpoint}/models", answer.body[:300].decode("utf-8", "replace")
            )
        return {str(entry.get("id")): entry for entry in entries if isinstance(entry, dict)}

    def _order(self, what: str, slot: Slot, model: str) -> None:
        try:
            answer = self.daemon.endpoint.post(
                f"/models/{what}", json_body({"model": model}), seconds=_ANSWER
            )
        except EngineTrouble as exc:
            raise EngineProcessTrouble(slot, f"the daemon does not {what} {model} ({exc})") from exc
        if answer.status != 200:
            said = answer.body[:300].decode("utf-8", "replace")
            raise EngineProcessTrouble(slot, f"the daemon does not {what} {model} ({said})")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time changes the sections: several models share them."""
        self.daemon.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.daemon.folder / "sections.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def section(name: str, words: Sequence[str], *, profile: str) -> str:
    """Return a preset's section for these flags of a command line. Raises `FlagRefused`."""
    lines = []
    for place, word in enumerate(words):
        key = flags.name_of(word)
        if not key:
            continue
        following = words[place + 1] if place + 1 < len(words) else "-"
        value = word.split("=", 1)[1] if "=" in word else "true" if flags.name_of(following) else following
        if not value.isprintable() or value != value.strip() or not value or set(value) & set(_ENDS_A_VALUE):
            raise FlagRefused(profile, key, "has a value that a file of presets cannot hold")
        lines.append(f"{key.lstrip('-')} = {value}")
    return "\n".join([f"[{name}]", *lines, "load-on-startup = false", ""])


def _value(entry: Mapping[str, Any]) -> str:
    status = entry.get("status")
    return str(status.get("value")) if isinstance(status, dict) else ""


def _arguments(entry: Mapping[str, Any] | None) -> list[str]:
    status = entry.get("status") if entry else None
    words = status.get("args") if isinstance(status, dict) else None
    return [str(word) for word in words] if isinstance(words, list) else []


def _after(words: Sequence[str], flag: str) -> str:
    return next((after for word, after in pairwise(words) if word == flag), "")
