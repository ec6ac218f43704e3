"""A suite as a folder that a steward reviews, and as the one document that is signed, stored and shipped.

    suite.toml       name, description, number of cases, limits, gates
    cases/*.jsonl    one case per line (`pipelines.suites.cases`)
    tools/*.json     the tools that are offered, unless the suite takes the contract's
    checks/*.py      Python checks, where suite.toml says python = true: run only by a person's permission
    README.md        optional

Nothing else may lie in the folder: a suite is data, and code in it would be code that crossed the gap.
The packed document holds every file's text, so that what was reviewed is byte for byte what is run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.suites.cases import CHAT, Case, Mode, exactly, read_case, read_files_case
from pipelines.suites.folder import ALLOWED, FILES, MAX_BYTES, MAX_FILES, texts
from pipelines.suites.gates import ARGS_VALID, CALLS_PARSED, CASES_PASSED, CLUSTER, PERF, SURFACE, Gate
from pipelines.suites.python_source import check_functions
from pipelines.suites.refusals import SuiteMalformed, SuiteUnfit
from pipelines.suites.schema import ill_formed, refused
from pipelines.suites.settings import ENDPOINT, FORMAT, Settings, read_settings
from pipelines.suites.vocabulary import ArgsEqual, ArgsMatch, JsonSchema
from registry.contracts import ToolContract
from signing.canonical import NotCanonical, canonical_bytes, parse, parse_canonical
from signing.digests import sha256_hex

KIND = "suite"  # of `Document`
MAX_LINE = 64 << 10  # bytes


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
class Suite:
    """What is asked of a version. `tools` is None when they are the bound contract's.

    The last fields have the values of a suite that says nothing about them: one chat request at a time.
    """

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
    kind: str = ENDPOINT
    surfaces: tuple[str, ...] = (CHAT,)
    streaming: tuple[bool, ...] = (False,)
    concurrency: int = 1  # requests in flight at once
    python: bool = False  # it brings Python checks; run only by permission
    warmup: int = 0  # requests to each side before anything counts

    @property
    def digest(self) -> str:
        """SHA-256 of the packed document: the suite's identity."""
        return sha256_hex(pack(self))

    def modes(self, case: Case) -> tuple[Mode, ...]:
        """How a case is asked: on each surface, streamed or not, unless the case fixes them; files are not asked."""
        if self.kind != ENDPOINT:
            return (Mode(CHAT, False),)
        surfaces = (case.surface,) if case.surface else self.surfaces
        streams = self.streaming if case.streams is None else (case.streams,)
        return tuple(Mode(surface, stream) for surface in surfaces for stream in streams)

    def counted(self, metric: str) -> list[Case]:
        """The cases that a metric is about."""
        if metric.startswith(CLUSTER):
            return [case for case in self.cases if case.cluster == metric.removeprefix(CLUSTER)]
        if metric.startswith(SURFACE):
            name = metric.removeprefix(SURFACE)
            return [case for case in self.cases if any(mode.surface == name for mode in self.modes(case))]
        if metric.startswith(f"{PERF}ttft"):
            return [case for case in self.cases if any(mode.stream for mode in self.modes(case))]
        if metric in (CALLS_PARSED, ARGS_VALID):
            return [case for case in self.cases if case.expects_call]
        return list(self.cases)


def load(folder: Path) -> Suite:
    """Read a suite's folder. Raises `SuiteMalformed`, naming file, line and field."""
    return read(texts(folder))


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
        if not FILES.fullmatch(path):
            raise SuiteMalformed(ALLOWED, at=path[:200])
    if "suite.toml" not in files:
        raise SuiteMalformed("is missing", at="suite.toml")
    settings = read_settings(files["suite.toml"])
    suite = Suite(
        name=settings.name,
        description=settings.description,
        declared=settings.cases,
        repeats=settings.repeats,
        timeout_seconds=settings.timeout_seconds,
        limit_seconds=settings.limit_seconds,
        seed=settings.seed,
        gates=settings.gates,
        cases=tuple(_cases(files, settings.kind)),
        tools=_own_tools(files, settings),
        files=dict(files),
        kind=settings.kind,
        surfaces=settings.surfaces,
        streaming=settings.streaming,
        concurrency=settings.concurrency,
        python=settings.python,
        warmup=settings.warmup,
    )
    _whole(suite)
    return suite


def _own_tools(files: Mapping[str, str], settings: Settings) -> Mapping[str, Tool] | None:
    paths = sorted(path for path in files if path.startswith("tools/"))
    if settings.own_tools != bool(paths):
        raise SuiteMalformed("'own' with files in tools/, or 'contract' with none", at="suite.toml: tools")
    if settings.kind != ENDPOINT:
        return {}
    return {tool.name: tool for tool in (_tool(path, files) for path in paths)} or None


def _whole(suite: Suite) -> None:
    """Hold the parts against each other: number of cases, tools, Python checks, what each gate counts."""
    if len(suite.cases) != suite.declared:
        raise SuiteMalformed(f"says {suite.declared}, there are {len(suite.cases)}", at="suite.toml: cases")
    seen: set[str] = set()
    for case in suite.cases:
        if case.id in seen:
            raise SuiteMalformed("stands twice", at=f"case {case.id}")
        seen.add(case.id)
    if suite.tools is not None:
        check_tools(suite, suite.tools)
    _whole_python(suite)
    guarded: set[str] = set()
    for gate in suite.gates:
        counted = suite.counted(gate.metric)
        if not counted:
            raise SuiteMalformed("counts no case of this suite", at=f"suite.toml: gates.{gate.metric}")
        if gate.judges_cases:
            guarded.update(case.id for case in counted)
    if loose := sorted(seen - guarded):
        raise SuiteMalformed(f"no gate counts it; add {CASES_PASSED} or its cluster", at=f"case {loose[0]}")


def _whole_python(suite: Suite) -> None:
    """Code crosses the gap only in a suite that says so, and only code that a case uses."""
    brought = sorted(path for path in suite.files if path.startswith("checks/"))
    if brought and not suite.python:
        raise SuiteMalformed(f"{ALLOWED}, unless suite.toml says python = true", at=brought[0])
    if suite.python and not brought:
        raise SuiteMalformed("true, and there is no file in checks/", at="suite.toml: python")
    defined = check_functions(suite.files)
    used = {name: case for case in suite.cases for name in case.functions}
    if missing := sorted(set(used) - set(defined)):
        raise SuiteMalformed(
            f"no file in checks/ defines {missing[0]}", at=f"case {used[missing[0]].id}: checks"
        )
    if idle := sorted(set(defined) - set(used)):
        raise SuiteMalformed(f"no case uses {idle[0]}", at=defined[idle[0]])


def check_tools(suite: Suite, tools: Mapping[str, Tool]) -> None:
    """Raise `SuiteMalformed` when a case names a tool that is not there, or expects what no schema allows."""
    for case in suite.cases:
        for name in case.tools:
            if name not in tools:
                raise SuiteMalformed(f"there is no tool {name!r}", at=f"case {case.id}: tools")
        for number, check in enumerate(case.checks):
            if isinstance(check, ArgsEqual) and case.expects_call:
                problem = refused(tools[case.expects_call].input, check.arguments)
                if problem:
                    raise SuiteMalformed(problem, at=f"case {case.id}: checks[{number}].arguments")
            if isinstance(check, ArgsMatch) and case.expects_call:
                _known_arguments(tools[case.expects_call], check, at=f"case {case.id}: checks[{number}]")


def _known_arguments(tool: Tool, check: ArgsMatch, *, at: str) -> None:
    """A closed schema says which arguments there are; looking for another one could never succeed."""
    known = tool.input.get("properties")
    if tool.input.get("additionalProperties") is not False or not isinstance(known, Mapping):
        return
    if strange := sorted(set(check.arguments) - set(known)):
        raise SuiteMalformed(f"the tool has no argument {strange[0][:64]!r}", at=f"{at}.arguments")


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


def _cases(files: Mapping[str, str], kind: str) -> Iterator[Case]:
    for path in sorted(name for name in files if name.startswith("cases/")):
        lines = files[path].removesuffix("\n").split("\n")  # not splitlines: JSON may hold U+2028
        for number, line in enumerate(lines, start=1):
            at = f"{path} line {number}"
            try:
                raw = parse(line.encode(), max_bytes=MAX_LINE, at=at)
            except (NotCanonical, UnicodeEncodeError) as exc:
                problem = exc.problem if isinstance(exc, NotCanonical) else str(exc)
                raise SuiteMalformed(problem, at=at) from exc
            case = read_case(raw, at=at) if kind == ENDPOINT else read_files_case(raw, at=at)
            _well_formed(case, at=at)
            yield case


def _well_formed(case: Case, *, at: str) -> None:
    """A schema of the case's own is one, and asks for nothing from outside."""
    asked = [("response_format", case.response_format)] if case.response_format else []
    for number, check in enumerate(case.checks):
        if isinstance(check, JsonSchema):
            asked.append((f"checks[{number}].schema", check.schema))
    for name, schema in asked:
        if problem := ill_formed(schema):
            raise SuiteMalformed(problem.message, at=f"{at}: {name}{problem.at}")


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
    if problem := ill_formed(schema):
        raise SuiteMalformed(problem.message, at=f"{at}: input{problem.at}")
    return Tool(name, description, schema)
