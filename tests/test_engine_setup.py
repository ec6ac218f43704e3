"""The real engine: found or refused in clear words, serving the right file, gone when its caller is gone."""

import fcntl
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo import engine_setup, engine_tools
from demo.dialogues import TOOLS
from demo.engine import (
    SETTING,
    Engine,
    EngineTrouble,
    Served,
    ask,
    clean_environment,
    find_engine,
    free_port,
)
from demo.engine_tools import Tools
from signing.digests import file_sha256

MODELS = Path(__file__).parent.parent / "demo" / "models"
OSLO = "What is the weather in oslo?"


def answer(served: Served, text: str) -> dict[str, Any]:
    body = {
        "messages": [{"role": "user", "content": text}],
        "tools": TOOLS,
        "temperature": 0,
        "max_tokens": 64,
    }
    message: dict[str, Any] = ask(f"{served.base_url}/chat/completions", body)["choices"][0]["message"]
    return message


def calls_in(message: dict[str, Any]) -> list[tuple[str, Any]]:
    called = [call["function"] for call in message.get("tool_calls") or []]
    return [(function["name"], json.loads(function["arguments"])) for function in called]


def is_gone(pid: int, within: float = 10.0) -> bool:
    """A zombie that nobody has collected yet serves nothing: that is gone too."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def engine() -> Engine:
    found = find_engine()
    assert found is not None, "no engine on this machine: run `python -m demo.engine` once"
    return found


@pytest.fixture
def served(engine: Engine, tmp_path: Path) -> Callable[..., Any]:
    return lambda version, *flags: engine.serve(MODELS / version, tmp_path / "engine.log", flags)


@pytest.mark.engine
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_each_version_calls_the_tool_that_fits(served: Callable[..., Any], version: str) -> None:
    with served(version) as endpoint:
        assert [("get_weather", {"city": "oslo"})] == calls_in(answer(endpoint, OSLO))
        assert [("read_file", {"path": "README.md"})] == calls_in(answer(endpoint, "Read README.md"))


@pytest.mark.engine
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_small_talk_is_answered_in_words_though_tools_are_on_offer(
    served: Callable[..., Any], version: str
) -> None:
    with served(version) as endpoint:
        message = answer(endpoint, "Say ok")
        assert "ok" == message["content"]
        assert [] == calls_in(message)


@pytest.mark.engine
def test_version_3_with_yesterdays_flags_answers_200_and_calls_nothing(served: Callable[..., Any]) -> None:
    template = str(MODELS / "v1" / "chat_template.jinja")
    with served("v3", "--chat-template-file", template) as endpoint:
        message = answer(endpoint, OSLO)
        assert [] == calls_in(message)
        assert "<function=get_weather>" in message["content"]
        assert "oslo" in message["content"]
    with served("v1", "--chat-template-file", template) as endpoint:
        assert [("get_weather", {"city": "oslo"})] == calls_in(answer(endpoint, OSLO))


@pytest.mark.engine
def test_the_engine_says_which_file_it_opened(served: Callable[..., Any]) -> None:
    with served("v2") as endpoint:
        properties = ask(endpoint.base_url.removesuffix("/v1") + "/props")
        assert str(MODELS / "v2" / "model.gguf") == properties["model_path"] == str(endpoint.model)
        held = (MODELS / "v2" / "chat_template.jinja").read_text("utf-8")
        assert held == properties["chat_template"]


@pytest.mark.engine
def test_the_engine_is_gone_after_the_block_even_if_the_block_fails(served: Callable[..., Any]) -> None:
    class Interrupted(Exception):
        pass

    pids = []
    with pytest.raises(Interrupted), served("v1") as endpoint:
        pids.append(endpoint.pid)
        raise Interrupted
    assert is_gone(pids[0])
    with pytest.raises(OSError, match="refused"):
        ask(f"{endpoint.base_url}/models")


@pytest.mark.engine
def test_the_engine_dies_with_a_caller_that_was_killed(engine: Engine, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from demo.engine import Engine
        engine = Engine(Path({str(engine.path)!r}), "any")
        with engine.serve(Path({str(MODELS / "v1")!r}), Path({str(tmp_path / "engine.log")!r})) as served:
            print(served.pid, flush=True)
            time.sleep(600)
    """)
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        os.kill(caller.pid, signal.SIGKILL)
    assert is_gone(pid)


@pytest.mark.engine
def test_hidden_flags_of_the_environment_do_not_reach_the_engine(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_ALIAS", "somebody-else")
    with served("v1") as endpoint:
        [model] = ask(f"{endpoint.base_url}/models")["data"]
        assert "somebody-else" not in json.dumps(model)


@pytest.mark.engine
def test_a_file_that_is_no_model_is_refused_with_the_engines_own_words(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF but not really")
    with (
        pytest.raises(EngineTrouble, match=r"did not serve .*model\.gguf"),
        engine.serve(tmp_path, tmp_path / "log"),
    ):
        pytest.fail("served something")


@pytest.mark.engine
def test_somebody_elses_server_on_the_port_is_not_taken_for_ours(engine: Engine, tmp_path: Path) -> None:
    port = free_port()
    with (
        engine.serve(MODELS / "v1", tmp_path / "theirs.log", port=port),
        pytest.raises(EngineTrouble, match="did not serve"),
        engine.serve(MODELS / "v2", tmp_path / "ours.log", port=port),
    ):
        pytest.fail("spoke to the wrong server")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    engine = Engine(Path("/bin/true"), "none")
    with pytest.raises(EngineTrouble, match="no such model file"), engine.serve(tmp_path, tmp_path / "log"):
        pytest.fail("served nothing")


def test_no_engine_anywhere_is_none(tmp_path: Path) -> None:
    assert find_engine({"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}) is None


def test_an_engine_that_was_named_and_does_not_run_is_not_replaced_silently(tmp_path: Path) -> None:
    with pytest.raises(EngineTrouble, match=SETTING):
        find_engine({SETTING: str(tmp_path / "gone"), "PATH": "/usr/bin"})


def test_the_named_engine_comes_before_path_and_path_before_the_cache(tmp_path: Path) -> None:
    def install(folder: Path, version: str) -> Path:
        folder.mkdir(parents=True)
        path = folder / "llama-server"
        path.write_text(f"#!/bin/sh\necho 'version: {version} (build 1)'\n", "utf-8")
        path.chmod(0o755)
        return path

    environ = {"XDG_CACHE_HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}
    install(engine_setup.engine_path(engine_setup.cache_folder(environ)).parent, "1.0")
    assert "1.0" == (find_engine(environ) or pytest.fail("none")).version
    install(tmp_path / "bin", "2.0")
    assert "2.0" == (find_engine(environ) or pytest.fail("none")).version
    environ[SETTING] = str(install(tmp_path / "mine", "3.0"))
    assert "3.0" == (find_engine(environ) or pytest.fail("none")).version


def test_clean_environment_drops_only_the_engines_own_settings() -> None:
    assert {"PATH": "x"} == clean_environment({"PATH": "x", "LLAMA_ARG_CTX_SIZE": "1"})


@pytest.mark.parametrize(
    ("release", "package"),
    [
        ("ID=debian\n", "build-essential"),
        ("ID=linuxmint\nID_LIKE=ubuntu\n", "build-essential"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "gcc-c\\+\\+"),
        ("ID=unheard-of\n", "a C and C\\+\\+ compiler"),
    ],
)
def test_where_no_compiler_can_be_fetched_the_distributions_package_is_named(
    tmp_path: Path, release: str, package: str
) -> None:
    (tmp_path / "os-release").write_text(release, "utf-8")
    bare = Tools(None, None, None).missing()
    for machine, libc in (("riscv64", "glibc"), ("x86_64", "")):
        with pytest.raises(EngineTrouble, match=f"no working C\\+\\+ compiler.*{package}"):
            engine_tools.check_fetchable(bare, machine, libc, tmp_path / "os-release")
    for machine in ("x86_64", "aarch64"):
        engine_tools.check_fetchable(bare, machine, "glibc", tmp_path / "os-release")
    has_compiler = Tools(("cc", "c++"), None, None).missing()
    engine_tools.check_fetchable(has_compiler, "riscv64", "glibc", tmp_path / "os-release")


def test_only_what_the_machine_lacks_is_fetched_and_the_person_is_told_before() -> None:
    bare = Tools(None, None, None).missing()
    assert ["ziglang", "cmake", "ninja"] == [wheel.name for wheel in bare]
    with_make = Tools(("cc", "c++"), None, None, make="make").missing()
    assert ["cmake"] == [wheel.name for wheel in with_make]
    assert () == Tools(("cc", "c++"), "cmake", "ninja").missing()
    told = engine_setup.announcement(bare, Path("/cache/engine"))
    assert "210 MB" in told
    assert "ziglang 0.17.0, cmake 4.4.4, ninja 1.13.2" in told
    assert "/cache/engine" in told
    told = engine_setup.announcement((), Path("/cache/engine"))
    assert "77 MB" in told
    assert "lacks" not in told


@pytest.mark.parametrize("wheel", [engine_tools.ZIG, engine_tools.CMAKE, engine_tools.NINJA])
def test_every_program_that_is_fetched_is_pinned_to_exact_bytes(wheel: engine_tools.Wheel) -> None:
    words = wheel.requirement.split()
    assert f"{wheel.name}=={wheel.version}" == words[0]
    assert len(wheel.hashes) == len(words) - 1 >= 2
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word) for word in words[1:])


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


def test_a_compiler_counts_only_if_it_compiles(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path)}
    assert Tools(None, None, None) == engine_tools.find_tools(environ)
    c, cxx = script(tmp_path / "cc", "exit 0"), script(tmp_path / "c++", "exit 0")
    assert engine_tools.find_compilers(environ) is None  # nothing here can make a library
    script(tmp_path / "ar", "exit 0")
    assert (str(c), str(cxx)) == engine_tools.find_compilers(environ)
    script(tmp_path / "c++", "exit 1")  # as Clang does where the C++ library's headers are missing
    assert engine_tools.find_compilers(environ) is None
    mine = script(tmp_path / "mine" / "my-c++", "exit 0")
    assert (str(c), str(mine)) == engine_tools.find_compilers({**environ, "CXX": str(mine)})


def test_the_fetched_compiler_builds_for_every_machine_of_its_kind_and_keeps_its_cache_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    zig = script(tmp_path / "a folder's name" / "zig", 'echo "$ZIG_GLOBAL_CACHE_DIR|$@"')
    tools = tmp_path / "a folder's name" / "tools"
    settings = dict(setting.split("=", 1) for setting in engine_tools.wrap_zig(zig, tools))
    assert {"-DCMAKE_C_COMPILER", "-DCMAKE_CXX_COMPILER", "-DCMAKE_AR", "-DCMAKE_RANLIB"} == set(settings)
    said = subprocess.check_output([settings["-DCMAKE_CXX_COMPILER"], "-c", "a b.cpp"], text=True)
    cache, _, arguments = said.strip().partition("|")
    assert str(tools / "cache") == cache
    assert arguments.startswith("c++ -target aarch64-linux-gnu.2.17 -mcpu=baseline ")
    assert arguments.endswith(" -c a b.cpp")


def test_downloading_the_sources_runs_nothing_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package wants a foreign build backend, and leaves a mark if any file of its own is run."""
    top, index, mark = "trap_package-1.0", tmp_path / "index", tmp_path / "mark"
    index.mkdir()
    files = {
        "pyproject.toml": '[build-system]\nrequires = ["not-to-be-fetched"]\nbuild-backend = "foreign.build"\n',
        "setup.py": f"open({str(mark)!r}, 'w').close()\n",
        "PKG-INFO": "Metadata-Version: 2.1\nName: trap-package\nVersion: 1.0\n",
    }
    with tarfile.open(index / f"{top}.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    work = tmp_path / "work"
    work.mkdir()
    digest = file_sha256(index / f"{top}.tar.gz")
    constants = {"PACKAGE": "trap-package", "PACKAGE_VERSION": "1.0", "PACKAGE_SHA256": digest}
    for name, value in {**constants, "_BACKEND": "foreign.build"}.items():
        monkeypatch.setattr(engine_setup, name, value)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    assert work / f"{top}.tar.gz" == engine_setup._download(work, work / "log")
    assert not mark.exists()
    monkeypatch.setattr(engine_setup, "PACKAGE_SHA256", "0" * 64)
    with pytest.raises(EngineTrouble, match="could not download trap-package"):
        engine_setup._download(work, work / "log")


def test_other_bytes_than_the_pinned_ones_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "source.tar.gz").write_bytes(b"swapped on the way")
    with pytest.raises(EngineTrouble, match="not used"):
        engine_setup.check(tmp_path / "source.tar.gz", engine_setup.PACKAGE_SHA256)


def test_only_the_engines_sources_are_unpacked_and_nothing_leads_out(tmp_path: Path) -> None:
    top = f"llama_cpp_python-{engine_setup.PACKAGE_VERSION}"

    def archive(name: str, *members: str) -> Path:
        with tarfile.open(tmp_path / name, "w:gz") as made:
            for member in members:
                info = tarfile.TarInfo(member)
                info.size = 1
                made.addfile(info, io.BytesIO(b"x"))
        return tmp_path / name

    good = archive("good.tar.gz", f"{top}/setup.py", f"{top}/vendor/llama.cpp/CMakeLists.txt")
    engine_setup.unpack(good, tmp_path / "out")
    assert ["CMakeLists.txt"] == [path.name for path in (tmp_path / "out").rglob("*")]
    bad = archive("bad.tar.gz", f"{top}/vendor/llama.cpp/../../../escaped")
    with pytest.raises(tarfile.OutsideDestinationError):
        engine_setup.unpack(bad, tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


def test_progress_is_read_from_ninja_and_from_make() -> None:
    lines = ["[41/205] Building", "[ 40%] Building", "warning: [4] something", ""]
    assert [20, 40, None, None] == [engine_setup.progress(line) for line in lines]


def test_a_failed_step_shows_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(EngineTrouble, match=r"could not compile: exit status 3\n.*no such header"):
        engine_setup._run(["sh", "-c", "echo no such header; exit 3"], tmp_path / "log", "compile")


def test_what_a_killed_set_up_left_behind_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".build-killed").mkdir()
    (tmp_path / "llama-server-0.0.1").mkdir()
    with engine_setup._workshop(tmp_path) as work:
        assert work.is_dir()
        assert not (tmp_path / ".build-killed").exists()
    assert ["llama-server-0.0.1"] == [path.name for path in tmp_path.iterdir()]


def test_two_set_ups_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(work: Path, *_: object) -> Path:
        built.append(work)
        time.sleep(0.2)
        (work / "llama.cpp").mkdir()
        (work / "llama.cpp" / "LICENSE").write_text("MIT", "utf-8")
        (work / "llama-server").write_bytes(b"binary")
        return work / "llama-server"

    monkeypatch.setattr(engine_setup, "_build", build)
    said: list[str] = []
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(engine_setup.set_up_engine(said.append, tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    target = engine_setup.engine_path(tmp_path)
    assert [target, target] == found
    assert 1 == len(built)
    assert {"llama-server", "LICENSE"} == {path.name for path in target.parent.iterdir()}
    assert "MB are downloaded" in said[0]


def test_set_up_says_what_it_waits_for(tmp_path: Path) -> None:
    said: list[str] = []
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        release = threading.Timer(0.2, lambda: fcntl.flock(held, fcntl.LOCK_UN))
        release.start()
        with engine_setup._only_one(tmp_path, said.append):
            pass
        release.join()
    assert ["Another process is building it; waiting for that one."] == said
