"""Drivers without their engines: commands, flags that are refused, processes, counting, and what proves readiness."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engines import called, counting, keeper, process, staged, tool_call
from pipelines.engines.any_endpoint import AnyEndpoint
from pipelines.engines.driver import DOCUMENTATION_ONLY, REAL, NoDriver, NotStartedHere, Slot, driver_for
from pipelines.engines.endpoint import Endpoint
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.flags import FlagRefused, value_of
from pipelines.engines.ollama import Ollama
from pipelines.engines.process import EngineProcessTrouble
from pipelines.engines.serving import NothingServable, ProcessDriver
from pipelines.engines.staged import SlotUnusable, Staged
from registry.manifests import FileEntry, Manifest
from signing.canonical import canonical_bytes
from tests.engines.launching import MODELS, Slots, launch, manifest_of, profile, slots
from tests.pipelines import faulty_engine as faulty
from tests.pipelines.faulty_engine import completion, faulty_engine

CALL = ("get_weather", '{"city": "oslo"}')
EVERY = ("llama-server", "vllm", "transformers", "llama-cpp-python", "ollama")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Slots]:
    with slots(tmp_path) as found:
        yield found


def listening(port: int) -> list[str]:
    return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]


def staged_as(argv: list[str], **changes: Any) -> Staged:
    """What the drivers write down, of any program."""
    plain = Staged(
        ref="demo/tiny@v1", version="0" * 64, engine="llama-server", argv=tuple(argv), env={"PATH": os.defpath},
        flags=(), model="demo/tiny", path="/models/x.gguf", calls=True, parser=None, template_sha256=None,
        dtype=None, context=1024,
    )  # fmt: skip
    return replace(plain, **changes)


def stage(slot: Slot, argv: list[str]) -> Staged:
    made = staged_as(argv)
    staged.write(slot, made)
    return made


# ----------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("engine", EVERY)
def test_a_command_is_said_whole_and_the_same_each_time(places: Slots, engine: str) -> None:
    slot = places.new("blue")
    what = launch("v1", profile(engine))
    driver = driver_for(what.profile, program=("/opt/engine",), environment={"CUDA_VISIBLE_DEVICES": "0"})
    command = driver.command(what, slot)
    assert command == driver.command(what, slot)
    said = " ".join(command.argv) + " ".join(f"{k}={v}" for k, v in command.env.items())
    assert "/opt/engine" == command.argv[0]
    assert str(slot.port) in said
    assert slot.host in said
    silent = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")
    assert {"1"} == {command.env[name] for name in silent}
    assert "0" == command.env["CUDA_VISIBLE_DEVICES"]
    assert not slot.folder.exists(), "to say what would be run writes nothing"
    assert engine == "ollama" or str(MODELS / "v1") in said


def test_the_environment_cannot_make_an_engine_talk(places: Slots) -> None:
    what = launch("v1", profile("vllm"))
    driver = driver_for(what.profile, environment={"HF_HUB_OFFLINE": "0", "VLLM_NO_USAGE_STATS": "0"})
    env = driver.command(what, places.new("blue")).env
    assert ("1", "1") == (env["HF_HUB_OFFLINE"], env["VLLM_NO_USAGE_STATS"])


def test_temporary_files_lie_in_the_slot_unless_a_socket_there_would_have_too_long_a_name() -> None:
    what = launch("v1", profile("vllm"))
    for folder, inside in ((Path("/srv/tidegate/blue"), True), (Path("/srv") / ("x" * 90), False)):
        slot = Slot("blue", folder, "127.0.0.1", 8001)
        env = driver_for(what.profile).command(what, slot).env
        assert inside == env["TMPDIR"].startswith(str(folder))
        assert env["HOME"].startswith(str(folder))


@pytest.mark.parametrize(
    ("engine", "flag"),
    [
        ("llama-server", "--model"), ("llama-server", "-m"), ("llama-server", "-hf"), ("llama-server", "--api-key=x"),
        ("llama-server", "--hf-token"), ("llama-server", "--lora"), ("llama-server", "--port=1"),
        ("llama-server", "--verbose"), ("llama-server", "--host\n--x"), ("llama-server", "--tools"),
        ("vllm", "--trust-remote-code"), ("vllm", "--trust_remote_code"), ("vllm", "--trust-remote"),
        ("vllm", "--tool-parser-plugin=evil.py"), ("vllm", "--api-key"), ("vllm", "--load-format"), ("vllm", "--config"),
        ("vllm", "--middleware"), ("vllm", "--enable-log-requests"), ("vllm", "--otlp-traces-endpoint"), ("vllm", "--"),
        ("transformers", "--trust-remote-code"), ("transformers", "--trust"), ("transformers", "--enable-cors"),
        ("llama-cpp-python", "--hf_model_repo_id"), ("llama-cpp-python", "--api_key"), ("llama-cpp-python", "--n_ctx"),
        ("ollama", "--anything"),
    ],
)  # fmt: skip
def test_a_profile_cannot_move_open_or_phone_anything(places: Slots, engine: str, flag: str) -> None:
    what = launch("v1", profile(engine, "value", flag))
    if engine == "ollama":
        what = launch("v1", profile(engine, flag))
    with pytest.raises(FlagRefused):
        driver_for(what.profile).stage(what, places.new("blue"))


def test_flags_that_only_begin_alike_and_negative_numbers_are_let_through(places: Slots) -> None:
    what = launch("v1", profile("vllm", "--model-impl", "vllm", "--seed", "-1", "--tool-call-parser=hermes"))
    assert "--model-impl" in driver_for(what.profile).command(what, places.new("blue")).argv
    assert "hermes" == value_of(what.profile.flags, "--tool-call-parser")
    assert value_of(("--parallel",), "--parallel") is None


def test_an_engine_that_nobody_knows_has_no_driver() -> None:
    with pytest.raises(NoDriver, match="vllm"):
        driver_for(profile("steam-engine"))


def test_what_was_only_read_about_says_so() -> None:
    tested = {name: driver_for(profile(name)).tested for name in (*EVERY, "lm-studio")}
    read_about = {name for name, how in tested.items() if how == DOCUMENTATION_ONLY}
    assert {"ollama", "lm-studio"} == read_about
    assert {REAL, DOCUMENTATION_ONLY} == set(tested.values())


@pytest.mark.parametrize(
    ("engine", "paths", "extra", "problem"),
    [
        ("llama-server", ["config.json"], {}, "no GGUF"),
        ("llama-server", ["a.gguf", "b.gguf"], {}, "2 GGUF files"),
        ("llama-server", ["a.gguf"], {"x-file": "c.gguf"}, "no file 'c.gguf'"),
        ("vllm", ["a.gguf", "config.json"], {}, "no safetensors"),
        ("transformers", ["a.safetensors"], {}, "no config.json"),
    ],
)
def test_a_version_without_the_right_files_is_not_served(
    places: Slots, engine: str, paths: list[str], extra: dict[str, str], problem: str
) -> None:
    files = tuple(FileEntry(path, 1, "0" * 64) for path in paths)
    of = replace(profile(engine), extra=extra)
    what = replace(launch("v1", of), manifest=Manifest("demo/tiny", files))
    with pytest.raises(NothingServable, match=problem):
        driver_for(of).stage(what, places.new("blue"))


def test_one_gguf_of_several_is_named_and_parts_are_named_by_their_first(places: Slots) -> None:
    slot = places.new("blue")
    for paths, extra, wanted in (
        (["a.gguf", "b.gguf"], {"x-file": "b.gguf"}, "b.gguf"),
        (["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"], {}, "m-00001-of-00002.gguf"),
    ):
        files = tuple(FileEntry(path, 1, "0" * 64) for path in paths)
        of = replace(profile("llama-server"), extra=extra)
        what = replace(launch("v1", of), manifest=Manifest("demo/tiny", files))
        assert str(what.files / wanted) in driver_for(of).command(what, slot).argv


@pytest.mark.parametrize("engine", ["transformers", "llama-cpp-python", "ollama"])
def test_an_engine_that_takes_no_template_is_not_given_one(places: Slots, engine: str) -> None:
    what = launch("v1", profile(engine), template=MODELS / "v1" / "chat_template.jinja")
    with pytest.raises(NothingServable, match="template"):
        driver_for(what.profile).command(what, places.new("blue"))


def test_every_process_driver_keeps_the_walk_to_itself() -> None:
    """A driver that overrides starting, stopping or draining would have its own mistakes."""
    kinds = [type(driver_for(profile(name))) for name in EVERY if name != "ollama"]
    assert all(issubclass(kind, ProcessDriver) for kind in kinds)
    assert [] == [k.__name__ for k in kinds if {"start", "stop", "drain", "ready"} & set(vars(k))]


# ---------------------------------------------------------------------------------------------------- processes


def test_a_process_outlives_the_command_that_started_it_and_is_found_by_the_next(places: Slots) -> None:
    slot = places.new("blue")
    stage(slot, listening(slot.port))
    starting = (
        "import sys; from pathlib import Path; from pipelines.engines import process\n"
        "from pipelines.engines.launch import Slot\n"
        f"print(process.start(Slot('blue', Path({str(slot.folder)!r}), '127.0.0.1', {slot.port})).pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", starting], capture_output=True, text=True, check=True)
    there = process.running(slot)
    assert there is not None
    assert int(done.stdout) == there.pid
    assert there == process.start(slot)
    process.stop(slot, seconds=5)
    assert process.running(slot) is None


def test_who_ignores_being_asked_is_ended_with_all_that_it_started(places: Slots) -> None:
    slot = places.new("blue")
    text = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    stage(slot, [sys.executable, "-c", text])
    there = process.start(slot)
    child = wait_for(lambda: process.log_tail(slot))
    process.stop(slot, seconds=0.2)
    assert keeper.start_of(there.pid) is None
    assert wait_for(lambda: keeper.start_of(int(child)) is None)
    ended = json.loads((slot.folder / "ended").read_text())
    assert {"pid": there.pid, "status": -signal.SIGKILL} == ended


def wait_for(what: Any, seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_the_log_is_of_the_process_that_runs_and_the_last_ones_is_kept_beside(places: Slots) -> None:
    slot = places.new("blue")
    for word in ("first", "second"):
        stage(slot, [sys.executable, "-c", f"print({word!r}, flush=True); import time; time.sleep(60)"])
        process.start(slot)
        assert word == wait_for(lambda: process.log_tail(slot))
        assert f"{word}\n" == process.log_head(slot)
        process.stop(slot, seconds=5)
    assert "first\n" == (slot.folder / "log.before").read_text()


def test_a_number_that_is_somebody_elses_now_is_not_touched(places: Slots) -> None:
    slot = places.new("blue")
    wanted = stage(slot, listening(slot.port))
    for changed in ({"started": 1}, {"boot": "another"}):
        own = {"pid": os.getpid(), "started": keeper.start_of(os.getpid()), "boot": keeper.boot()}
        (slot.folder / "pid").write_bytes(canonical_bytes(own | {"digest": wanted.digest} | changed))
        assert process.running(slot) is None
        process.stop(slot, seconds=1)  # we are still here
    (slot.folder / "pid").write_bytes(b'{"pid": "x"}')
    with pytest.raises(SlotUnusable, match="not ours"):
        process.running(slot)
    (slot.folder / "pid").unlink()


def test_a_program_that_is_missing_or_no_program_is_said_at_once(places: Slots, tmp_path: Path) -> None:
    slot = places.new("blue")
    stage(slot, ["/no/such/engine"])
    with pytest.raises(EngineProcessTrouble, match="no program /no/such/engine"):
        process.start(slot)
    text = tmp_path / "engine"
    text.write_bytes(b"\x00\x01 not a program")
    text.chmod(0o755)
    stage(slot, [str(text)])
    with pytest.raises(EngineProcessTrouble):
        process.start(slot)
    assert process.running(slot) is None


def test_an_engine_that_prints_without_end_fills_no_disk(tmp_path: Path) -> None:
    read, write = os.pipe()
    with subprocess.Popen(["head", "-c", "1000000", "/dev/zero"], stdout=write):
        os.close(write)
        with os.fdopen(read, "rb") as source:
            keeper.copy_bounded(source, tmp_path, limit=100_000)
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert 2 == len(sizes)
    assert sum(sizes) <= 2 * (100_000 + (1 << 16))


def test_a_slot_where_nothing_is_staged_or_the_document_was_edited_starts_nothing(places: Slots) -> None:
    slot = places.new("blue")
    with pytest.raises(SlotUnusable, match="nothing is staged"):
        process.start(slot)
    made = stage(slot, listening(slot.port))
    for broken in (
        b"{", b"[]", b"{}", made.encode()[:-9], made.encode().replace(b'"argv"', b'"args"'),
        made.encode().replace(b'"flags": []', b'"flags": [7]'), b'{"format":"tidegate-command/1"}',
    ):  # fmt: skip
        (slot.folder / "command.json").write_bytes(broken)
        with pytest.raises(SlotUnusable):
            process.start(slot)


words = st.text(st.characters(codec="utf-8"), max_size=8)


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(words, max_size=4), st.dictionaries(st.text("ABC_", min_size=1), words, max_size=3), words)
def test_what_was_staged_is_read_again_to_the_letter(argv: list[str], env: dict[str, str], path: str) -> None:
    made = staged_as(argv, env=env, path=path)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "command.json").write_bytes(made.encode())
        again = staged.read(Slot("blue", Path(folder), "127.0.0.1", 1))
    assert (made, made.digest) == (again, again.digest)


def test_what_is_staged_twice_is_written_once_and_as_systemd_reads_it(places: Slots) -> None:
    slot = places.new("blue")
    what = launch("v1", profile("vllm"))
    driver = driver_for(what.profile)
    driver.stage(what, slot)
    before = (slot.folder / "command.json").stat().st_mtime_ns
    driver.stage(what, slot)
    assert before == (slot.folder / "command.json").stat().st_mtime_ns
    assert 2 == len((slot.folder / "journal.jsonl").read_text().splitlines())
    assert "VLLM_NO_USAGE_STATS=1" in (slot.folder / "env").read_text().splitlines()
    assert driver.command(what, slot) == staged.read(slot).command


# ---------------------------------------------------------------------------------------- readiness and counting


def ask(url: str, *, calls: bool = True, seconds: float = 5) -> Any:
    return tool_call.ready(Endpoint.parse(url), model="tiny", seconds=seconds, calls=calls)


def test_ready_is_a_call_of_the_tool_that_was_offered_with_arguments_that_are_an_object() -> None:
    with faulty_engine(answer=lambda _body: completion("", CALL)) as engine:
        found = ask(engine.url)
        assert (True, True) == (found.ready, found.parses_calls)
        assert found.milliseconds is not None
        (body,) = engine.asked
        assert "tool_choice" not in body, "to demand a call would show nothing about the parser"


@pytest.mark.parametrize(
    "answer",
    [
        completion('<tool_call>\n{"name": "get_weather"}'),
        completion("", ("get_weather", '{"city": "os')),
        completion("", ("get_weather", "[]")),
        completion("", ("read_file", "{}")),
        {"choices": [{"message": {"content": None, "tool_calls": [{"function": None}]}}]},
        {"choices": [{"message": {"content": "ok", "tool_calls": []}}]},
    ],
    ids=["as-text", "half-arguments", "a-list", "another-tool", "no-function", "no-calls"],
)
def test_200_without_a_parsed_call_is_not_ready_and_says_so(answer: Any) -> None:
    with faulty_engine(answer=lambda _body: answer) as engine:
        found = ask(engine.url)
        assert (False, False) == (found.ready, found.parses_calls)
        assert "no parsed tool call" in found.why
        spared = ask(engine.url, calls=False)
        assert (True, False) == (spared.ready, spared.parses_calls), "ready, and said plainly"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (faulty.status(500), "HTTP status 500"),
        ({"choices": []}, "no completion"),
        (faulty.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"), "no completion"),
    ],
    ids=["500", "no-choices", "no-json"],
)
def test_an_engine_that_always_refuses_is_believed_before_the_deadline(answer: Any, why: str) -> None:
    with faulty_engine(answer=lambda _body: answer) as engine:
        began = time.monotonic()
        found = ask(engine.url, seconds=30)
        assert time.monotonic() - began < 10
    assert not found.ready
    assert found.parses_calls is None
    assert why in found.why


def test_an_engine_that_still_loads_is_waited_for() -> None:
    answers = iter([faulty.status(503), faulty.raw(), faulty.status(503)])
    with faulty_engine(answer=lambda _body: next(answers, completion("", CALL))) as engine:
        assert ask(engine.url).ready


def test_a_paused_engine_is_not_ready_at_the_deadline() -> None:
    with faulty_engine() as engine:
        engine.answer = lambda _body: faulty.silence(engine)
        began = time.monotonic()
        found = ask(engine.url, seconds=0.5)
        assert time.monotonic() - began < 5
    assert not found.ready
    assert "no whole answer" in found.why


def test_an_answer_from_another_process_on_the_slots_port_makes_nothing_ready(places: Slots) -> None:
    slot = places.new("blue")
    of = profile("llama-server")
    stage(slot, [sys.executable, "-c", "import time; time.sleep(60)"])
    process.start(slot)
    with faulty_engine(answer=lambda _body: completion("", CALL)) as engine:
        elsewhere = replace(slot, port=Endpoint.parse(engine.url).port)
        found = driver_for(of).ready(elsewhere, seconds=5)
    assert not found.ready
    assert "not the slot's" in found.why


METRICS = {
    "llama": "# HELP x y\nllamacpp:requests_processing {}\nllamacpp:requests_deferred 0\n",
    "vllm": 'vllm:num_requests_running{{engine="0"}} {}\nvllm:num_requests_waiting{{engine="0"}} 0.0\n',
}


class Pages:
    """An engine of which only the counting pages are looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **pages: bytes | None) -> None:
        self.pages = {f"/{name}": page for name, page in pages.items()}
        monkeypatch.setattr(counting, "_get", lambda _endpoint, path: self.pages.get(path))


HERE = Endpoint.parse("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("slots_page", "metrics", "count"),
    [
        ([{"is_processing": True}, {"is_processing": False}], METRICS["llama"].format(1), 1),
        ([{"is_processing": False}], METRICS["llama"].format(0), 0),
        ([{"is_processing": False}], METRICS["llama"].format(2), 2),
        ([{"is_processing": False}], METRICS["llama"].format("nan"), None),
        ([{"is_processing": False}], METRICS["llama"].format("none"), None),
        ([{"is_processing": False}], "", None),
        ([{"is_processing": 0}], METRICS["llama"].format(0), None),
        ([], METRICS["llama"].format(0), None),
        ({"error": "not allowed"}, METRICS["llama"].format(0), None),
    ],
)
def test_llama_server_is_idle_only_if_both_pages_say_so(
    monkeypatch: pytest.MonkeyPatch, slots_page: Any, metrics: str, count: int | None
) -> None:
    Pages(monkeypatch, slots=json.dumps(slots_page).encode(), metrics=metrics.encode())
    assert count == counting.llama_server(HERE)


def test_vllm_counts_over_all_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    both = METRICS["vllm"].format("1.0") + METRICS["vllm"].replace('"0"', '"1"').format("2.0")
    Pages(monkeypatch, metrics=both.encode())
    assert 3 == counting.vllm(HERE)
    Pages(monkeypatch, metrics=None)
    assert counting.vllm(HERE) is None


def test_unknown_is_never_idle_and_one_quiet_moment_is_not_enough() -> None:
    silent = counting.wait_idle(lambda: None, seconds=0.3)
    assert not silent.idle
    assert "does not say" in silent.why
    assert silent.seconds >= 0.3
    moments = iter([0, 0, 1, 0, 0, 0])
    assert counting.wait_idle(lambda: next(moments), seconds=10).idle
    assert next(moments, None) is None
    busy = counting.wait_idle(lambda: 2, seconds=0)
    assert "2 requests in flight" in busy.why


# --------------------------------------------------------------------------------- engines that say little, or not ours


@pytest.mark.parametrize(
    ("words", "folder", "found"),
    [
        (["/e/bin/python", "/e/bin/transformers", "serve", "/m/v1", "--port", "1"], "/", ("transformers", "/m/v1")),
        (["python", "/e/bin/transformers", "serve", "v1"], "/m", ("transformers", "/m/v1")),
        (["python3", "-m", "llama_cpp.server", "--model", "a.gguf"], "/m", ("llama-cpp-python", "/m/a.gguf")),
        (["python", "/e/bin/transformers", "serve", "--port"], "/", None),
        (["python", "-m", "llama_cpp.server"], "/", None),
        (["llama-server", "-m", "x"], "/", None),
        ([], "/", None),
    ],
)  # fmt: skip
def test_a_silent_engine_is_known_by_how_it_was_called(
    words: list[str], folder: str, found: tuple[str, str] | None
) -> None:
    said = called.read(words, Path(folder))
    assert found == (None if said is None else (said[0], said[2]))


def test_the_release_of_a_silent_engine_stands_beside_its_program(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "transformers-5.23.0.dist-info").mkdir(parents=True)
    words = [str(tmp_path / "bin" / "python"), str(tmp_path / "bin" / "transformers"), "serve", "/m"]
    assert ("transformers", "5.23.0", "/m", "/m") == called.read(words, Path("/"))
    (packages / "transformers-4.0.0.dist-info").mkdir()
    assert ("transformers", None, "/m", "/m") == called.read(words, Path("/"))


def test_an_engine_that_is_not_ours_is_asked_and_never_started_or_stopped(places: Slots) -> None:
    slot, what = places.new("blue"), launch("v1", profile("endpoint"))
    with faulty_engine(answer=lambda _body: completion("", CALL)) as engine:
        there = AnyEndpoint(Endpoint.parse(engine.url))
        assert there.ready(slot, seconds=5).ready
        assert there.in_flight(slot) is None
        assert not there.identity(slot, manifest_of(MODELS / "v1")).proven
        assert not there.drain(slot, seconds=0).idle
        assert "unknown" == there.fingerprint(slot).engine
        for refused in (
            lambda: there.command(what, slot), lambda: there.stage(what, slot),
            lambda: there.start(slot), lambda: there.stop(slot, seconds=1),
        ):  # fmt: skip
            with pytest.raises(NotStartedHere, match=str(Endpoint.parse(engine.url).port)):
                refused()
    assert Fingerprint("endpoint") == there.fingerprint(slot), "gone: nothing is known"
    assert not there.identity(slot, manifest_of(MODELS / "v1")).proven


def test_lm_studio_serves_what_people_loaded_and_says_how_if_it_is_not_there(
    places: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = places.new("blue")
    listed = {"models": [{"key": "k", "loaded_instances": [{"id": "demo/tiny"}]}, {"loaded_instances": 7}]}
    asked: list[tuple[str, bytes]] = []

    def page(_self: Endpoint, path: str, body: bytes = b"", **_limits: Any) -> Any:
        asked.append((path, body))
        return type("Answer", (), {"status": 200, "body": json.dumps(listed).encode()})()

    monkeypatch.setattr(Endpoint, "get", page)
    monkeypatch.setattr(Endpoint, "post", page)
    driver, what = driver_for(profile("lm-studio")), launch("v1", profile("lm-studio"))
    with pytest.raises(SlotUnusable, match="nothing is staged"):
        driver.start(slot)
    driver.stage(what, slot)
    driver.start(slot)
    driver.stop(slot, seconds=1)
    assert ("/api/v1/models/unload", b'{"instance_id":"demo/tiny"}') == asked[-1]
    driver.stage(replace(what, served_name="demo/other"), slot)
    with pytest.raises(
        NotStartedHere, match=r"lms import .*model.gguf .*, then `lms load demo/other --identifier"
    ):
        driver.start(slot)
    driver.stop(slot, seconds=1)
    assert 1 == sum(path.endswith("unload") for path, _ in asked)
    assert driver.in_flight(slot) is None
    assert not driver.identity(slot, what.manifest).proven


def test_ollama_is_given_the_file_and_proven_by_the_blob_that_the_model_is_made_from(
    places: Slots, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From its documentation alone: the daemon is a stand-in that notes how it was called."""
    noted = tmp_path / "noted"
    daemon = tmp_path / "ollama"
    daemon.write_text(
        f'#!/bin/sh\necho "$@" $OLLAMA_HOST >> {noted}\n[ "$1" = serve ] && exec sleep 60\nexit 0\n'
    )
    daemon.chmod(0o755)
    slot, of = places.new("blue"), profile("ollama")
    driver = driver_for(of, program=(str(daemon),))
    assert isinstance(driver, Ollama)
    made: dict[str, Any] = {"/api/version": {"version": "0.40.0"}, "/v1/models": {"data": []}}
    blob = f"FROM {MODELS / 'v1' / 'model.gguf'}\nTEMPLATE x\n"

    def page(_self: Endpoint, path: str, body: bytes = b"", **_limits: Any) -> Any:
        found = made.get(path)
        data = json.dumps(found or {}).encode()
        return type("Answer", (), {"status": 404 if found is None else 200, "body": data})()

    monkeypatch.setattr(Endpoint, "get", page)
    monkeypatch.setattr(Endpoint, "post", page)
    driver.stage(launch("v1", of), slot)
    driver.start(slot)
    wait_for(lambda: "create" in noted.read_text())
    assert f"create demo/tiny -f {slot.folder / 'Modelfile'} 127.0.0.1:{slot.port}" in noted.read_text()
    assert f"FROM {MODELS / 'v1' / 'model.gguf'}\n" == (slot.folder / "Modelfile").read_text()
    assert not driver.identity(slot, manifest_of(MODELS / "v1")).proven
    made["/api/show"] = {"modelfile": blob}
    assert driver.identity(slot, manifest_of(MODELS / "v1")).proven
    assert driver.in_flight(slot) is None
    with pytest.raises(EngineProcessTrouble, match="404"):
        driver.alias(slot, "demo/tiny:prod", "demo/tiny")
    made["/api/copy"] = {"status": "success"}
    driver.alias(slot, "demo/tiny:prod", "demo/tiny")


def test_a_fingerprint_is_equal_if_and_only_if_all_that_is_known_is_equal() -> None:
    one = Fingerprint("vllm", build="0.32.0", flags=("--dtype", "float32"), parser="hermes")
    same = Fingerprint("vllm", build="0.32.0", flags=("--dtype", "float32"), parser="hermes")
    assert one.digest == same.digest
    others = [replace(one, parser="qwen3_xml"), replace(one, build="0.33.0"), replace(one, flags=())]
    assert 4 == len({one.digest, *(other.digest for other in others)})
    assert "tidegate-fingerprint/1" == one.document()["format"]
