"""A suite as a folder that a steward reviews, and as the one document that is signed, stored and shipped.

    suite.toml       name, description, number of cases, limits, gates
    cases/*.jsonl    one case per line (`pipelines.suites.cases`)
    tools/*.json     the tools that are offered, unless the suite takes the contract's
    README.md        optional

Nothing else may lie in the folder: a suite is data, and code in it would be code that crossed the gap.
The packed document holds every file's text, so that what was reviewed is byte for byte what is run.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, SchemaError

from pipelines.suites.cases import ArgsEqual, Case, exactly, read_case, text, whole
from pipelines.suites.refusals import SuiteMalformed, SuiteUnfit
from registry.contracts import ToolContract
from registry.schemas import misshapen
from signing.canonical import NotCanonical, canonical_bytes, parse, parse_canonical
from signing.digests import sha256_hex

FORMAT = "tidegate-suite/1"
KIND = "suite"  # of `Document`
MAX_BYTES = 8 << 20  # of all files together; a case is some hundred bytes
MAX_FILES = 256
MAX_CASES = 10_000
MAX_LINE = 64 << 10  # bytes
MAX_REPEATS = 32

CASES_PASSED = "cases.pass_rate"
CALLS_PARSED = "contract.parse_rate"
ARGS_VALID = "contract.args_valid_rate"
METRICS = (CASES_PASSED, CALLS_PARSED, ARGS_VALID)
_CLUSTER = "cluster."

_FILES = re.compile(
    r"suite\.toml|README\.md|cases/[a-z0-9][a-z0-9._-]{0,79}\.jsonl|tools/[A-Za-z0-9_-]{1,64}\.json"
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_SHARE = re.compile(r"1(\.0{1,4})?|0\.\d{1,4}")


@dataclass(frozen=True)
class Tool:
    """A tool as it is offered to the model; `input` is the JSON Schema of its arguments."""

    name: str
    description: str
    input: Mapping[str, Any]

    @property
    def offer(self) -> dict[str, Any]:
        """The form that OpenAI-compatible endpoints take."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.input)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Gate:
    """The share of what `metric` counts that has to be right, at least."""

    metric: str
    least: Fraction
    written: str  # as the author wrote the share


@dataclass(frozen=True)
class Suite:
    """What is asked of a version. `tools` is None when they are the bound contract's."""

    name: str
    description: str
    declared: int  # number of cases that suite.toml promises
    repeats: int
    timeout_seconds: int  # one request
    limit_seconds: int  # the whole run
    seed: int
    gates: tuple[Gate, ...]
    cases: tuple[Case, ...]
    tools: Mapping[str, Tool] | None
    files: Mapping[str, str]  # path to text: exactly what was read

    @property
    def digest(self) -> str:
        """SHA-256 of the packed document: the suite's identity."""
        return sha256_hex(pack(self))

    def counted(self, metric: str) -> list[Case]:
        """The cases that a metric is about."""
        if metric.startswith(_CLUSTER):
            return [case for case in self.cases if case.cluster == metric.removeprefix(_CLUSTER)]
        if metric == CASES_PASSED:
            return list(self.cases)
        return [case for case in self.cases if case.expects_call]


def load(folder: Path) -> Suite:
    """Read a suite's folder. Raises `SuiteMalformed`, naming file, line and field."""
    return read(_texts(folder))


def pack(suite: Suite) -> bytes:
    """Return the suite as one canonical document."""
    return canonical_bytes({"format": FORMAT, "files": dict(suite.files)})


def unpack(data: bytes) -> Suite:
    """Read a packed suite. Raises `SuiteMalformed` and nothing else."""
    try:
        raw = parse_canonical(data, max_bytes=2 * MAX_BYTES, at="suite")
    except NotCanonical as exc:
        raise SuiteMalformed(exc.problem, at=exc.at) from exc
    top = exactly(raw, {"format", "files"}, set(), at="suite")
    if top["format"] != FORMAT:
        raise SuiteMalformed(f"this release reads {FORMAT!r}", at="suite.format")
    if not isinstance(top["files"], dict) or not all(isinstance(item, str) for item in top["files"].values()):
        raise SuiteMalformed("an object of path and text", at="suite.files")
    return read(top["files"])


def read(files: Mapping[str, str]) -> Suite:
    """Decode a suite from the texts of its files. Raises `SuiteMalformed`."""
    if len(files) > MAX_FILES or sum(len(item) for item in files.values()) > MAX_BYTES:
        raise SuiteMalformed(f"more than {MAX_FILES} files or {MAX_BYTES} characters", at="suite")
    for path in files:
        if not _FILES.fullmatch(path):
            raise SuiteMalformed(
                "a suite is suite.toml, README.md, cases/*.jsonl and tools/*.json, and nothing else",
                at=path[:200],
            )
    if "suite.toml" not in files:
        raise SuiteMalformed("is missing", at="suite.toml")
    settings = _settings(files["suite.toml"])
    own = {
        tool.name: tool
        for path in sorted(files)
        if path.startswith("tools/")
        for tool in [_tool(path, files)]
    }
    if (settings["tools"] == "own") != bool(own):
        raise SuiteMalformed("'own' with files in tools/, or 'contract' with none", at="suite.toml: tools")
    suite = Suite(
        **{key: settings[key] for key in ("name", "description", "repeats", "seed")},
        **{key: settings[key] for key in ("timeout_seconds", "limit_seconds", "gates")},
        declared=settings["cases"],
        cases=tuple(_cases(files)),
        tools=own or None,
        files=dict(files),
    )
    _whole(suite)
    return suite


def _whole(suite: Suite) -> None:
    """Hold the parts against each other: number of cases, tools, what each gate counts."""
    if len(suite.cases) != suite.declared:
        raise SuiteMalformed(f"says {suite.declared}, there are {len(suite.cases)}", at="suite.toml: cases")
    seen: set[str] = set()
    for case in suite.cases:
        if case.id in seen:
            raise SuiteMalformed("stands twice", at=f"case {case.id}")
        seen.add(case.id)
    if suite.tools is not None:
        check_tools(suite, suite.tools)
    guarded: set[str] = set()
    for gate in suite.gates:
        counted = suite.counted(gate.metric)
        if not counted:
            raise SuiteMalformed("counts no case of this suite", at=f"suite.toml: gates.{gate.metric}")
        if gate.metric not in (CALLS_PARSED, ARGS_VALID):
            guarded.update(case.id for case in counted)
    if loose := sorted(seen - guarded):
        raise SuiteMalformed(f"no gate counts it; add {CASES_PASSED} or its cluster", at=f"case {loose[0]}")


def check_tools(suite: Suite, tools: Mapping[str, Tool]) -> None:
    """Raise `SuiteMalformed` when a case names a tool that is not there, or expects what no schema allows."""
    for case in suite.cases:
        for name in case.tools:
            if name not in tools:
                raise SuiteMalformed(f"there is no tool {name!r}", at=f"case {case.id}: tools")
        for number, check in enumerate(case.checks):
            if isinstance(check, ArgsEqual) and case.expects_call:
                problem = argument_problem(tools[case.expects_call], check.arguments)
                if problem:
                    raise SuiteMalformed(
                        f"the tool's own schema refuses them: {problem}",
                        at=f"case {case.id}: checks[{number}].arguments",
                    )


def tools_for(suite: Suite, contract: ToolContract | None) -> Mapping[str, Tool]:
    """Return the tools that the suite offers: its own, or the contract's when it brings none.

    Raises:
        SuiteUnfit: the contract lacks a tool that a case names, or its schema refuses what a case expects.
    """
    if suite.tools is not None:
        return suite.tools
    if contract is None:
        raise SuiteUnfit(suite.name, "(none given)", "the suite brings no tools of its own")
    tools = {tool.name: Tool(tool.name, tool.description or "", tool.input) for tool in contract.tools}
    try:
        check_tools(suite, tools)
    except SuiteMalformed as exc:
        raise SuiteUnfit(suite.name, contract.name, str(exc)) from exc
    return tools


def argument_problem(tool: Tool, arguments: Any) -> str | None:
    """Return why arguments do not satisfy a tool's schema, shortly, or None. Fetches nothing."""
    from pipelines.suites.schema import first_problem  # noqa: PLC0415 - jsonschema costs time to import

    return first_problem(tool.input, arguments)


def _settings(source: str) -> dict[str, Any]:
    at = "suite.toml"
    try:
        raw = tomllib.loads(source)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SuiteMalformed(f"not readable as TOML ({exc})", at=at) from exc
    needed = {
        "format",
        "name",
        "description",
        "cases",
        "repeats",
        "timeout_seconds",
        "limit_seconds",
        "gates",
    }
    item = exactly(raw, needed, {"seed", "tools"}, at=at)
    if item["format"] != FORMAT:
        raise SuiteMalformed(f"this release reads {FORMAT!r}", at=f"{at}: format")
    if not isinstance(item["name"], str) or not _NAME.fullmatch(item["name"]):
        raise SuiteMalformed("a-z, 0-9 and '-', beginning with a letter, at most 63", at=f"{at}: name")
    if item.get("tools", "own") not in ("own", "contract"):
        raise SuiteMalformed("'own' or 'contract'", at=f"{at}: tools")
    return {
        "name": item["name"],
        "description": text(item["description"], 2000, at=f"{at}: description"),
        "cases": whole(item["cases"], 1, MAX_CASES, at=f"{at}: cases"),
        "repeats": whole(item["repeats"], 1, MAX_REPEATS, at=f"{at}: repeats"),
        "timeout_seconds": whole(item["timeout_seconds"], 1, 3600, at=f"{at}: timeout_seconds"),
        "limit_seconds": whole(item["limit_seconds"], 1, 86_400, at=f"{at}: limit_seconds"),
        "seed": whole(item.get("seed", 7), 0, 2**31 - 1, at=f"{at}: seed"),
        "tools": item.get("tools", "own"),
        "gates": tuple(_gates(item["gates"], at=f"{at}: gates")),
    }


def _gates(raw: Any, *, at: str) -> Iterator[Gate]:
    if not isinstance(raw, dict) or not raw:
        raise SuiteMalformed("without a gate no run could fail", at=at)
    for family, metrics in raw.items():
        if not isinstance(metrics, dict) or not metrics:
            raise SuiteMalformed('a gate is written family.metric = { min = "1.0" }', at=f"{at}.{family}")
        for name, rule in metrics.items():
            metric, place = f"{family}.{name}", f"{at}.{family}.{name}"
            if metric not in METRICS and family != "cluster":
                raise SuiteMalformed(f"known are {', '.join(METRICS)} and cluster.NAME", at=place)
            share = exactly(rule, {"min"}, set(), at=place)["min"]
            if not isinstance(share, str) or not _SHARE.fullmatch(share):
                raise SuiteMalformed('a share between quotes, from "0.0001" to "1.0"', at=f"{place}.min")
            least = Fraction(share)
            if least == 0:
                raise SuiteMalformed("demands nothing", at=f"{place}.min")
            if family == "contract" and least != 1:
                raise SuiteMalformed(
                    'a contract is kept or not: only "1.0" may stand here', at=f"{place}.min"
                )
            yield Gate(metric, least, share)


def _cases(files: Mapping[str, str]) -> Iterator[Case]:
    for path in sorted(name for name in files if name.startswith("cases/")):
        lines = files[path].removesuffix("\n").split("\n")  # not splitlines: JSON may hold U+2028
        for number, line in enumerate(lines, start=1):
            at = f"{path} line {number}"
            try:
                raw = parse(line.encode(), max_bytes=MAX_LINE, at=at)
            except (NotCanonical, UnicodeEncodeError) as exc:
                problem = exc.problem if isinstance(exc, NotCanonical) else str(exc)
                raise SuiteMalformed(problem, at=at) from exc
            yield read_case(raw, at=at)


def _tool(path: str, files: Mapping[str, str]) -> Tool:
    try:
        raw = parse(files[path].encode(), max_bytes=MAX_LINE, at=path)
    except (NotCanonical, UnicodeEncodeError) as exc:
        raise SuiteMalformed(exc.problem if isinstance(exc, NotCanonical) else str(exc), at=path) from exc
    item = exactly(raw, {"name", "description", "input"}, {"output"}, at=path)
    if f"tools/{item['name']}.json" != path:
        raise SuiteMalformed("the tool's name and the file's differ", at=f"{path}: name")
    return make_tool(item["name"], item["description"], item["input"], at=path)


def make_tool(name: str, description: Any, schema: Any, *, at: str) -> Tool:
    """Return a tool whose schema is well formed and asks for nothing from outside. Raises `SuiteMalformed`."""
    if not isinstance(description, str) or len(description) > 4096:
        raise SuiteMalformed("a text of at most 4096 characters", at=f"{at}: description")
    if not isinstance(schema, dict):
        raise SuiteMalformed("an object: the JSON Schema of the arguments", at=f"{at}: input")
    problem = misshapen(schema)
    if problem:
        raise SuiteMalformed(problem.problem, at=f"{at}: input{problem.at}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        raise SuiteMalformed(exc.message[:200], at=f"{at}: input") from exc
    return Tool(name, description, schema)


def _texts(folder: Path) -> dict[str, str]:
    """Read every file of the folder, two levels deep, following no link and opening nothing but plain files."""
    found: dict[str, str] = {}
    room = MAX_BYTES
    for path in _paths(folder):
        shown = path.relative_to(folder).as_posix()
        if len(found) >= MAX_FILES:
            raise SuiteMalformed(f"more than {MAX_FILES} files", at="suite")
        data = _plain(path, room, at=shown)
        room -= len(data)
        try:
            found[shown] = data.decode()
        except UnicodeDecodeError as exc:
            raise SuiteMalformed(f"not UTF-8 ({exc.reason})", at=shown) from exc
    return found


def _paths(folder: Path) -> Iterator[Path]:
    try:
        for entry in sorted(folder.iterdir()):
            if entry.name in ("cases", "tools") and entry.is_dir() and not entry.is_symlink():
                yield from sorted(entry.iterdir())
            else:
                yield entry
    except OSError as exc:
        raise SuiteMalformed(f"cannot be read ({exc.strerror})", at=str(folder)) from exc


def _plain(path: Path, room: int, *, at: str) -> bytes:
    if not _FILES.fullmatch(at):
        raise SuiteMalformed(
            "a suite is suite.toml, README.md, cases/*.jsonl and tools/*.json, and nothing else", at=at[:200]
        )
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO would wait for ever
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SuiteMalformed("not a plain file", at=at)
            data = stream.read(room + 1)
    except OSError as exc:
        raise SuiteMalformed(f"cannot be read ({exc.strerror})", at=at) from exc
    if len(data) > room:
        raise SuiteMalformed(f"the suite has more than {MAX_BYTES} bytes", at=at)
    return data
