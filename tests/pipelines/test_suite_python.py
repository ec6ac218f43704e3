"""Python checks: somebody else's code, permitted by a person, in a cage. Whatever it does is a finding and nothing more."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.suites import cage, parent
from pipelines.suites.cases import read_case
from pipelines.suites.checks import Exchange
from pipelines.suites.format import Suite, read
from pipelines.suites.python_checks import PythonChecks
from pipelines.suites.refusals import PythonNotAllowed, PythonNotContained
from pipelines.suites.talk import Call, Reply
from tests.pipelines.faulty_engine import FaultyEngine, able, faulty_engine
from tests.pipelines.test_suite_asking import Bench
from tests.pipelines.test_suite_format import (
    HELLO,
    PARSED,
    POLITE,
    PYTHON,
    WEATHER,
    files,
    folder_of,
    with_python,
)

ANSWER = Exchange(Reply("Hi.", (Call("c0", "add", '{"a": 1}'),), "stop"), milliseconds=12)


@pytest.fixture(scope="module")
def host() -> Iterator[PythonChecks]:
    python = PythonChecks()
    yield python
    python.close()


def said(host: PythonChecks, body: str) -> str | None:
    """What a check with this body says against a polite answer."""
    suite = read(with_python(f"def check_polite(exchange):\n    {body}\n"))
    return host.problem(suite, read_case(POLITE, at="here"), "check_polite", ANSWER)


def test_a_check_sees_the_exchange_and_says_what_is_wrong(host: PythonChecks) -> None:
    assert said(host, "return None") is None
    assert "check_polite: Hi. add 12" == said(
        host,
        "return f\"{exchange['answer']['content']} {exchange['answer']['calls'][0]['name']} {exchange['milliseconds']}\"",
    )
    assert (
        said(host, "import json, re; assert json.loads(exchange['answer']['calls'][0]['arguments'])") is None
    )


HARM = {
    "a socket": ("import socket; socket.socket()", "No module named"),
    "a socket by hand": ("import _socket; _socket.socket()", "broke"),
    "a program": ("import os; os.execv('/bin/true', ['true'])", "not permitted"),
    "a shell": ("import os; return None if os.system('true') == 0 else 'no'", ": no"),
    "a fork": ("import os; os.fork()", "not permitted"),
    "a file to read": ("open('/etc/passwd')", "not permitted"),
    "a file to write": ("open({outside!r}, 'w')", "not permitted"),
    "a file to remove": ("import os; os.unlink({inside!r})", "not permitted"),
    "a file by the kernel's own name": ("import os; os.open({outside!r}, os.O_CREAT | os.O_WRONLY)", "not permitted"),
    "another process": ("import os; os.kill(os.getppid(), 9)", "not permitted"),
    "its own group": ("import os; os.killpg(0, 9)", "not permitted"),
    "a wait for ever": ("while True: pass", "longer than 2 s"),
    "memory": ("x = bytearray(2 << 30)", "MemoryError"),
    "depth": ("return (lambda f: f(f))(lambda f: f(f))", "RecursionError"),
    "an end": ("raise SystemExit(0)", "SystemExit"),
    "an end without goodbye": ("import os; os._exit(0)", "without an answer"),
    "a crash": ("import ctypes; ctypes.string_at(0)", "broke"),
    "a signal to itself": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "not permitted"),
    "a gigabyte printed": ("for _ in range(1 << 10): print('x' * (1 << 20))", "OK"),
    "a gigabyte said": ("return 'x' * (1 << 30)", "MemoryError"),
    "a megabyte said": ("return 'x' * (1 << 20)", "more than 4096 bytes"),
    "a number": ("return 7", "TypeError"),
    "a lie told on every pipe": (
        "import os\n    for n in range(64):\n        try: os.write(n, b'{{\"said\": null}}' * 9)\n        except OSError: pass",
        "broke",
    ),
    "an error": ("return exchange['nothing']", "KeyError"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARM)
def test_nothing_that_a_check_tries_gets_out_or_passes(host: PythonChecks, tmp_path: Path, name: str) -> None:
    code, told = HARM[name]
    (tmp_path / "inside").write_text("here")
    body = code.format(outside=str(tmp_path / "outside"), inside=str(tmp_path / "inside"))
    began = time.monotonic()
    found = said(host, body)
    assert time.monotonic() - began < 6
    if told == "OK":  # what is printed goes nowhere; whether it was quick enough is the machine's business
        assert found is None or "longer than 2 s" in found
    else:
        assert found is not None
        assert told in found
    assert ["inside"] == [item.name for item in tmp_path.iterdir()]
    assert said(host, "return None") is None  # the next check is none the worse


def test_one_check_leaves_nothing_for_the_next(host: PythonChecks) -> None:
    assert said(host, "import builtins, re; builtins.None_ = 1; re.search = None") is None
    assert (
        said(host, "import builtins, re; assert not hasattr(builtins, 'None_'); re.search('a', 'a')") is None
    )


def test_a_host_that_is_gone_is_no_pass() -> None:
    python = PythonChecks()
    python.close()
    assert "check_polite broke: its host process is gone" == said(python, "return None")


def test_the_cage_holds_native_code_too(tmp_path: Path) -> None:
    """Python's own guards could be taken away; this asks the C library directly, as a hole in a parser would."""
    program = f"""
import ctypes, os
from pipelines.suites import cage
libc = ctypes.CDLL(None, use_errno=True)
cage.enter(5)
asked = [libc.socket(2, 1, 0), libc.open(b"/etc/passwd", 0), libc.fork(), libc.kill(1, 0), libc.mkdir({str(tmp_path / "x").encode()!r}, 511)]
os.write(1, repr((asked, ctypes.get_errno())).encode())
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=True)
    assert b"([-1, -1, -1, -1, -1], 1)" == done.stdout
    assert [] == list(tmp_path.iterdir())


# -- in a run ----------------------------------------------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[FaultyEngine]:
    with faulty_engine(answer=able) as one:
        yield one


def suite(body: str) -> Suite:
    source = f"def check_polite(exchange):\n    {body}\n"
    return read(with_python(source, toml=PYTHON.replace(PARSED, "")))


def test_python_is_not_run_unless_a_person_permitted_it(tmp_path: Path, engine: FaultyEngine) -> None:
    with pytest.raises(PythonNotAllowed) as refused:
        Bench(tmp_path).run(suite("return None"), engine)
    assert 205 == refused.value.exit_code
    assert [] == engine.visited


def test_python_is_not_run_where_nothing_holds_it(
    tmp_path: Path, engine: FaultyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "cannot_hold", lambda: "this kernel was built without seccomp")
    with pytest.raises(PythonNotContained, match="without seccomp") as refused:
        Bench(tmp_path).run(suite("return None"), engine, python_allowed=True)
    assert 207 == refused.value.exit_code
    assert [] == engine.visited
    assert cage.cannot_hold() is None


def test_a_machine_of_an_unknown_kind_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "riscv64" in str(cage.cannot_hold())


IN_A_RUN = {
    "check_fine": ("return None if exchange['answer']['content'] == 'ok' else 'not ok'", None),
    "check_rude": ("return 'rude'", "python_check: check_rude: rude"),
    "check_exit": ("import os; os._exit(0)", "python_check: check_exit broke: ended without an answer"),
    "check_lie": ("open('results.jsonl', 'a').write('x')", "not permitted"),
    "check_hang": ("while True: pass", "longer than 2 s"),
}


def test_permitted_checks_decide_and_broken_ones_fail_their_cases(
    tmp_path: Path, engine: FaultyEngine
) -> None:
    cases = [
        HELLO | {"id": name.replace("_", "-"), "checks": [{"check": "python_check", "function": name}]}
        for name in IN_A_RUN
    ]
    source = "".join(f"def {name}(exchange):\n    {body}\n" for name, (body, _) in IN_A_RUN.items())
    toml = PYTHON.replace(PARSED, "").replace("cases = 2", f"cases = {len(cases)}")
    done = Bench(tmp_path).run(
        read(files(*cases, toml=toml) | {"checks/all.py": source}), engine, python_allowed=True
    )
    assert ((), None) == (done.results.problems, done.ended.problem)
    assert 5 == len(done.results.attempts)
    for one, (_, told) in zip(done.results.attempts, IN_A_RUN.values(), strict=True):
        assert ("passed" if told is None else "failed") == one.outcome
        assert told is None or told in one.reasons[0]


def test_an_author_is_asked_to_allow_python_by_hand_too(tmp_path: Path, engine: FaultyEngine) -> None:

    folder_of(
        tmp_path, files(POLITE, WEATHER, toml=PYTHON) | {"checks/manners.py": "def check_polite(e): ...\n"}
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "pipelines.suites.plugin",
        "-p",
        "no:cacheprovider",
        "-q",
    ]
    command += [
        "-c",
        os.devnull,
        str(tmp_path / "suite.toml"),
        "--tidegate-endpoint",
        engine.url,
        "-k",
        "hello",
    ]

    def by_hand(*options: str) -> Any:
        alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=60, check=False, env=alone
        )

    assert "nobody allowed them" in by_hand().stdout
    assert [] == engine.visited
    assert "1 passed" in by_hand("--tidegate-python").stdout
