"""What fits, what a router update mends, what nothing mends, and what nobody can tell."""

import copy
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from registry.compatibility import (
    Comparison,
    NotComparable,
    NotCompatible,
    Verdict,
    changes,
    compare,
    compare_documents,
)
from registry.contracts import (
    Emission,
    EngineProfile,
    RouterContract,
    SurfaceFacts,
    Tool,
    ToolContract,
)
from registry.inclusion import Included, NotIncluded, Undecided, clash, examine, includes
from registry.router_patch import patch_for
from registry.schema_widening import widened
from registry.surface_rules import parser_named, with_parser
from registry.template_rules import WireDigests

S, INT, N = {"type": "string"}, {"type": "integer"}, {"type": "number"}
OK, REFUTED, OPEN = Included, NotIncluded, Undecided


def obj(
    properties: dict[str, Any], required: tuple[str, ...] = (), extra: Any = None, **kw: Any
) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, **kw}
    if required:
        schema["required"] = list(required)
    if extra is not None:
        schema["additionalProperties"] = extra
    return schema


def one(schema: Any) -> dict[str, Any]:
    return obj({"v": schema}, ("v",), False)


def tree(number: dict[str, Any], **kw: Any) -> dict[str, Any]:
    node = obj({"n": number, "k": {"type": "array", "items": {"$ref": "#/$defs/T"}}}, (), False)
    return obj({"t": {"$ref": "#/$defs/T"}}, (), False, **{"$defs": {"T": node}}, **kw)


A_OR_B = {"oneOf": [obj({"k": {"enum": ["a"]}}, ("k",), False), obj({"k": {"enum": ["b"]}}, ("k",), False)]}
CODEX_OLD = obj(
    {"command": {"type": "array", "items": S}, "workdir": S, "timeout_ms": N}, ("command",), False
)
CODEX_NEW = obj({"cmd": S, "workdir": S, "yield_time_ms": N}, ("cmd",), False)

CASES: dict[str, tuple[Any, Any, type]] = {
    "identical": (one(S), one(S), OK),
    "description only": (one({**S, "description": "x"}), one(S), OK),
    "default only": (one({**INT, "default": 3}), one({**INT, "default": 4}), OK),
    "vendor field only": (one({**S, "x-order": 3}), one(S), OK),
    "router adds optional, producer closed": (one(S), obj({"v": S, "u": S}, ("v",), False), OK),
    "router adds optional, producer silent: it emits what it declares": (
        obj({"v": S}),
        obj({"v": S, "u": S}),
        OK,
    ),
    "router adds optional, producer open": (obj({"v": S}, (), True), obj({"v": S, "u": S}), REFUTED),
    "router adds required": (one(S), obj({"v": S, "u": S}, ("v", "u"), False), REFUTED),
    "optional becomes required": (obj({"v": S}), obj({"v": S}, ("v",)), REFUTED),
    "producer emits an unknown key": (obj({"v": S, "w": S}, ("v",)), one(S), REFUTED),
    "free object into closed": ({"type": "object"}, obj({}, (), False), REFUTED),
    "enum narrowed": (one({"enum": ["c", "f", "k"]}), one({"enum": ["c", "f"]}), REFUTED),
    "enum widened": (one({"enum": ["c", "f"]}), one({"enum": ["c", "f", "k"]}), OK),
    "typed enum widened": (one({**S, "enum": ["c"]}), one({**S, "enum": ["c", "k"]}), OK),
    "any text into an enum": (one(S), one({"enum": ["c", "f"]}), REFUTED),
    "true is not 1": (one({"const": True}), one({"const": 1}), REFUTED),
    "const into type": (one({"const": "a"}), one(S), OK),
    "const changed": (one({"const": "a"}), one({"const": "b"}), REFUTED),
    "integer into number": (one(INT), one(N), OK),
    "number into integer": (one(N), one(INT), REFUTED),
    "number in steps of one into integer": (one({**N, "multipleOf": 1}), one(INT), OK),
    "nullable by type list": (one(INT), one({"type": ["integer", "null"]}), OK),
    "nullable by anyOf": (one(INT), one({"anyOf": [INT, {"type": "null"}]}), OK),
    "OpenAPI nullable emitted": (one({**S, "nullable": True}), one(S), REFUTED),
    "OpenAPI nullable accepted": (one(S), one({**S, "nullable": True}), OK),
    "untyped into text": (one({}), one(S), REFUTED),
    "true into true": (obj({"v": True}), obj({"v": True}), OK),
    "nothing accepted": (one(S), False, REFUTED),
    "no parameters": (obj({}), obj({}), OK),
    "lengths loosened": (one({**S, "minLength": 1, "maxLength": 9}), one({**S, "maxLength": 20}), OK),
    "shortest text raised": (one(S), one({**S, "minLength": 3}), REFUTED),
    "longest text lowered": (one({**S, "maxLength": 20}), one({**S, "maxLength": 9}), REFUTED),
    "longest text beyond any example": (one(S), one({**S, "maxLength": 10**9}), OPEN),
    "bounds loosened": (one({**INT, "minimum": 1, "maximum": 500}), one({**INT, "exclusiveMinimum": 0}), OK),
    "bound exclusive": (one({**N, "minimum": 0}), one({**N, "exclusiveMinimum": 0}), REFUTED),
    "upper bound": (one({**INT, "maximum": 500}), one({**INT, "exclusiveMaximum": 500}), REFUTED),
    "few integers into an enum": (one({**INT, "minimum": 1, "maximum": 3}), one({"enum": [1, 2, 3]}), OK),
    "steps": (one({**INT, "multipleOf": 6}), one({**INT, "multipleOf": 3}), OK),
    "coarser steps": (one({**N, "multipleOf": 0.1}), one({**N, "multipleOf": 0.2}), REFUTED),
    "array items": (one({"type": "array", "items": INT}), one({"type": "array", "items": N}), OK),
    "array items narrowed": (
        one({"type": "array", "items": N}),
        one({"type": "array", "items": INT}),
        REFUTED,
    ),
    "array lengths": (one({"type": "array"}), one({"type": "array", "maxItems": 2}), REFUTED),
    "array repeats": (one({"type": "array"}), one({"type": "array", "uniqueItems": True}), REFUTED),
    "tuple widened": (
        one({"type": "array", "prefixItems": [INT, S]}),
        one({"type": "array", "prefixItems": [N, S]}),
        OK,
    ),
    "tuple as draft-07 wrote it": (
        one({"type": "array", "items": [INT]}),
        one({"prefixItems": [S]}),
        REFUTED,
    ),
    "$defs nested": (
        one({"$ref": "#/$defs/P"}) | {"$defs": {"P": one(INT)}},
        one({"$ref": "#/definitions/Q"}) | {"definitions": {"Q": one(N)}},
        OK,
    ),
    "allOf of a producer is merged before it is closed": (
        {"allOf": [obj({"a": S}, ("a",)), obj({"b": INT}, ("b",))]},
        obj({"a": S, "b": N}, ("a", "b"), False),
        OK,
    ),
    "a reference with more beside it": (
        one({"$ref": "#/$defs/P", "maxLength": 3}) | {"$defs": {"P": S}},
        one({**S, "maxLength": 5}),
        OK,
    ),
    "oneOf discriminated": (one(A_OR_B), one(A_OR_B), OK),
    "oneOf branch added": (one({"oneOf": [S, INT]}), one({"oneOf": [S, INT, {"type": "null"}]}), OK),
    "oneOf that two branches take": (one({**INT, "minimum": 0}), one({"oneOf": [INT, N]}), REFUTED),
    "anyOf branch removed": (one({"anyOf": [S, INT]}), one({"anyOf": [S]}), REFUTED),
    "not, provably avoided": (one(S), one({"not": {"type": "null"}}), OK),
    "not, perhaps hit": (one(S), one({"not": {"const": "x"}}), REFUTED),
    "same pattern": (one({**S, "pattern": "^(a+)+$"}), one({**S, "pattern": "^(a+)+$"}), OK),
    "pattern inside pattern": (
        one({**S, "pattern": "^a[0-9]+$"}),
        one({**S, "pattern": "^[a-z][0-9]+$"}),
        OK,
    ),
    "pattern added, plain": (one(S), one({**S, "pattern": "^[a-z]+$"}), REFUTED),
    "pattern added, catastrophic": (one(S), one({**S, "pattern": "^(a+)+$"}), REFUTED),
    "lookahead dropped": (one({**S, "pattern": "^(?!x).*$"}), one(S), OK),
    "same format": (one({**S, "format": "uri"}), one({**S, "format": "uri"}), OK),
    "other format": (one({**S, "format": "uri"}), one({**S, "format": "date"}), OPEN),
    "a formatted text where a number is wanted": (one({**S, "format": "uri"}), one(N), REFUTED),
    "a format nobody can exemplify": (one({**S, "format": "isbn"}), one(N), OPEN),
    "recursive, same words": (tree(INT), tree(INT), OK),
    "recursive, narrowed": (tree(N), tree(INT), REFUTED),
    "recursive, other words": (tree(INT), tree(N), OK),
    "loop of references": ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, one(S), OPEN),
    "remote reference": (one(S), one({"$ref": "https://example.org/s.json"}), OPEN),
    "reference to nothing": (one(S), one({"$ref": "#/$defs/gone"}), OPEN),
    "unknown keyword": (one(S), one({**S, "strength": 3}), OPEN),
    "unknown dialect": (one(S), {**one(S), "$schema": "http://json-schema.org/draft-04/schema#"}, OPEN),
    "draft-07 is understood": ({**one(S), "$schema": "http://json-schema.org/draft-07/schema#"}, one(S), OK),
    "no schema at all": ({"type": "strin"}, {"type": "strin"}, OPEN),
    # What a published subset checker takes for compatible, being blind to these keywords.
    "blind: prefixItems": (
        one({"type": "array", "prefixItems": [N, S]}),
        one({"type": "array", "prefixItems": [INT, S]}),
        REFUTED,
    ),
    "blind: if/then": (
        obj({"v": S, "w": S}, (), False),
        obj({"v": S, "w": S}, (), False, **{"if": {"required": ["v"]}, "then": {"required": ["w"]}}),
        REFUTED,
    ),
    "blind: dependentRequired": (
        obj({"a": S, "b": S}, (), False),
        obj({"a": S, "b": S}, (), False, dependentRequired={"a": ["b"]}),
        REFUTED,
    ),
    "blind: unevaluatedProperties": (
        obj({"a": S}, (), True),
        obj({"a": S}, unevaluatedProperties=False),
        REFUTED,
    ),
    "blind: contains": (one({"type": "array"}), one({"type": "array", "contains": INT}), REFUTED),
    "blind: propertyNames": (
        {"type": "object"},
        {"type": "object", "propertyNames": {"maxLength": 3}},
        REFUTED,
    ),
    "command[] became cmd": (CODEX_OLD, CODEX_NEW, REFUTED),
}


@pytest.mark.parametrize(("producer", "consumer", "answer"), CASES.values(), ids=CASES.keys())
def test_each_known_change_of_a_schema(producer: Any, consumer: Any, answer: type) -> None:
    before = copy.deepcopy((producer, consumer))
    found = includes(producer, consumer)
    assert answer is type(found), found
    assert before == (producer, consumer)


# The library of today reads a list under `items` and OpenAPI's `nullable` in a way of its own.
PLAIN = [
    name
    for name, case in CASES.items()
    if case[2] is REFUTED and name not in ("tuple as draft-07 wrote it", "OpenAPI nullable emitted")
]


@pytest.mark.parametrize("name", PLAIN)
def test_each_witness_is_one_to_an_unmodified_validator(name: str) -> None:
    producer, consumer, _ = CASES[name]
    witnesses = [p.witness for p in examine(producer, consumer) if isinstance(p, NotIncluded)]
    assert witnesses
    for witness in witnesses:
        assert jsonschema.Draft202012Validator(producer).is_valid(witness)
        assert not jsonschema.Draft202012Validator(consumer).is_valid(witness)


def test_a_doubt_hides_no_certainty() -> None:
    """The link's format cannot be judged; that the count is text where a number is wanted can."""
    producer = obj({"link": S, "count": S}, ("link", "count"))
    consumer = obj({"link": {**S, "format": "uri"}, "count": INT}, ("link", "count"))
    problems = {problem.path: problem for problem in examine(producer, consumer)}
    assert isinstance(problems["/properties/link"], Undecided)
    assert isinstance(problems["/properties/count"], NotIncluded)
    assert isinstance(includes(producer, consumer), NotIncluded)


def test_a_clash_is_about_a_name_that_both_sides_use() -> None:
    assert "/properties/v" == clash(one(S), one(INT))
    assert clash(CODEX_OLD, CODEX_NEW) is None
    assert clash(obj({"v": S}), obj({"v": INT})) is None
    assert clash(one({"anyOf": [S, INT]}), one(INT)) is None


def explosion() -> dict[str, Any]:
    """Each definition names the next one twice: 2^40 schemas when followed."""
    two = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    return {"$ref": "#/$defs/d0", "$defs": {**two, "d40": S}}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = S
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


WIDE = {"allOf": [{"anyOf": [obj({f"a{n}{k}": S}) for k in range(9)]} for n in range(9)]}
HOSTILE = {
    "explosion": explosion(),
    "deep": deep(5000),
    "wide": WIDE,
    "long enum": {"enum": list(range(200_000))},
    "many enums": {"allOf": [{"enum": ["x" * 500 + str(k) for k in range(900)]} for _ in range(30)]},
    "long array": {"type": "array", "items": S, "minItems": 10**12},
    "long text": {"type": "string", "minLength": 10**12},
    "slow pattern": {"type": "string", "pattern": "(.*a){25}", "minLength": 40},
    "nested nots": {"not": {"not": {"not": {"type": "string", "pattern": "(a+)+$"}}}},
    "huge bound": {"type": "integer", "minimum": 10**400},
    "tiny step": {"type": "number", "multipleOf": 5e-324},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_end_and_never_pass_for_text(name: str) -> None:
    for producer, consumer in ((HOSTILE[name], obj({"z": S}, ("z",))), (S, HOSTILE[name])):
        assert not isinstance(includes(producer, consumer), Included)


# ------------------------------------------------------------------------------------------------ documents

WEATHER = Tool("get_weather", one(S), output=S)


def model(**changes: Any) -> ToolContract:
    values: dict[str, Any] = {
        "name": "guard",
        "emission": Emission("hermes"),
        "surfaces": ("chat", "responses"),
        "tools": (WEATHER,),
        "context": 8192,
    }
    return ToolContract(**(values | changes))


def router(**changes: Any) -> RouterContract:
    values: dict[str, Any] = {
        "name": "desk",
        "accepts": ("hermes",),
        "surfaces": ("chat",),
        "tools": (WEATHER,),
        "required": ("get_weather",),
        "min_context": 4096,
    }
    return RouterContract(**(values | changes))


def engine(**changes: Any) -> EngineProfile:
    values: dict[str, Any] = {
        "name": "vllm-hermes",
        "engine": "vllm",
        "version": "0.32.0",
        "parses": ("hermes",),
        "flags": ("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        "surfaces": ("chat", "responses"),
    }
    return EngineProfile(**(values | changes))


def rules(comparison: Comparison) -> list[str]:
    return [finding.rule for finding in comparison.findings]


def test_what_fits_passes_without_findings() -> None:
    comparison = compare(model(), router(), engine())
    assert (Verdict.COMPATIBLE, ()) == (comparison.verdict, comparison.findings)
    comparison.require()


def test_an_unknown_never_passes_and_never_hides_an_incompatible() -> None:
    order = ["compatible", "needs-router-update", "unknown", "incompatible"]
    assert order == [str(verdict) for verdict in sorted(Verdict, key=lambda verdict: verdict.severity)]
    unknown = compare(model(), router(), None)
    assert Verdict.UNKNOWN is unknown.verdict
    assert not unknown.passed
    assert Verdict.INCOMPATIBLE is compare(model(context=1), router(), None).verdict


def test_another_way_of_writing_calls_names_the_flag_to_change() -> None:
    comparison = compare(model(emission=Emission("xml-function")), router(), engine())
    assert Verdict.NEEDS_ROUTER_UPDATE is comparison.verdict
    by_rule = {finding.rule: finding for finding in comparison.findings}
    assert {"emission-not-accepted", "emission-not-parsed"} == by_rule.keys()
    step = by_rule["emission-not-parsed"].next_step
    assert "`--tool-call-parser hermes`" in step
    assert "vllm 0.32.0" in step
    assert "'xml-function'" in step


@pytest.mark.parametrize(
    ("documents", "rule", "verdict"),
    [
        ((model(surfaces=("responses",)), router(), engine()), "surface-missing", Verdict.INCOMPATIBLE),
        (
            (model(), router(), engine(surfaces=("responses",))),
            "surface-not-served",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        ((model(context=2048), router(), engine()), "context-too-small", Verdict.INCOMPATIBLE),
        ((model(tools=()), router(), engine()), "required-tool-missing", Verdict.INCOMPATIBLE),
        (
            (model(tools=(WEATHER, Tool("add", one(INT)))), router(), engine()),
            "tool-not-routed",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (
            (model(tools=(Tool("get_weather", one(INT), S),)), router(), engine()),
            "arguments-disjoint",
            Verdict.INCOMPATIBLE,
        ),
        (
            (model(tools=(Tool("get_weather", one({}), S),)), router(), engine()),
            "arguments-not-accepted",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (
            (model(), router(tools=(Tool("get_weather", one({**S, "format": "uri"}), S),)), engine()),
            "arguments-undecided",
            Verdict.UNKNOWN,
        ),
        (
            (model(), router(tools=(Tool("get_weather", one(S), {"type": ["string", "null"]}),)), engine()),
            "results-not-accepted",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (
            (model(), router(tools=(Tool("get_weather", one(S), INT),)), engine()),
            "results-disjoint",
            Verdict.INCOMPATIBLE,
        ),
        (
            (model(), router(tools=(Tool("get_weather", one(S), None),)), engine()),
            "results-unknown",
            Verdict.UNKNOWN,
        ),
        (
            (model(tools=(Tool("get_weather", one(S), None),)), router(), engine()),
            "results-undeclared",
            Verdict.COMPATIBLE,
        ),
    ],
)
def test_each_rule_alone_decides(
    documents: tuple[ToolContract, RouterContract, EngineProfile], rule: str, verdict: Verdict
) -> None:
    comparison = compare(*documents)
    assert [rule] == rules(comparison)
    assert verdict is comparison.verdict
    assert comparison.findings[0].next_step


def emitting(**changes: Any) -> ToolContract:
    return model(emission=Emission("hermes", **changes))


CHAT = {"chat": SurfaceFacts(parallel=True, tool_choice=("named",))}
WIRE = WireDigests("1" * 64, "2" * 64, "hermes", ("user",), tools=True, parallel=True)


@pytest.mark.parametrize(
    ("documents", "rule", "verdict"),
    [
        (
            (emitting(parsers={"vllm": "qwen3_xml"}), router(), engine()),
            "parser-differs",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        ((model(), router(roles=("user",)), engine()), "roles-unknown", Verdict.UNKNOWN),
        (
            (emitting(roles=("user",)), router(roles=("user", "developer")), engine()),
            "role-not-taken",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (
            (model(surface=CHAT), router(surface={"chat": SurfaceFacts(streaming=True)}), engine()),
            "surface-fact-unknown",
            Verdict.UNKNOWN,
        ),
        (
            (
                model(surface={"chat": SurfaceFacts(parallel=False)}),
                router(surface={"chat": SurfaceFacts(parallel=True)}),
                engine(surface=CHAT),
            ),
            "surface-fact-refused",
            Verdict.INCOMPATIBLE,
        ),
        (
            (
                model(surface=CHAT),
                router(surface={"chat": SurfaceFacts(tool_choice=("named",))}),
                engine(surface={"chat": SurfaceFacts(tool_choice=("auto",))}),
            ),
            "surface-fact-not-served",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (
            (model(tools=(Tool("weather", one(S), S),)), router(required=()), engine()),
            "tool-not-routed",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
    ],
)
def test_each_rule_about_what_need_not_be_said_decides_alone(
    documents: tuple[ToolContract, RouterContract, EngineProfile], rule: str, verdict: Verdict
) -> None:
    comparison = compare(*documents)
    assert ([rule], verdict) == (rules(comparison), comparison.verdict)


@pytest.mark.parametrize(
    ("contract", "wire", "rule", "verdict"),
    [
        (model(), replace(WIRE, problem="it never ends"), "template-not-rendered", Verdict.UNKNOWN),
        (model(), replace(WIRE, tools=False), "template-without-tools", Verdict.INCOMPATIBLE),
        (model(), replace(WIRE, family="glm"), "family-contradicted", Verdict.UNKNOWN),
        (emitting(call_sha256="3" * 64), WIRE, "calls-not-described", Verdict.UNKNOWN),
        (
            emitting(call_sha256="2" * 64, wire_sha256="3" * 64),
            WIRE,
            "prompt-not-described",
            Verdict.UNKNOWN,
        ),
        (model(surface=CHAT), replace(WIRE, parallel=False), "parallel-not-rendered", Verdict.UNKNOWN),
    ],
)
def test_a_contract_that_does_not_describe_the_version_never_passes(
    contract: ToolContract, wire: WireDigests, rule: str, verdict: Verdict
) -> None:
    comparison = compare(contract, router(), engine(), wire=wire)
    assert ([rule], verdict) == (rules(comparison), comparison.verdict)
    assert comparison.findings[0].next_step


def test_a_contract_that_describes_the_version_passes() -> None:
    described = emitting(call_sha256="2" * 64, wire_sha256="1" * 64, template_sha256="9" * 64)
    assert compare(described, router(), engine(), wire=WIRE).passed
    # Whoever states the digest of these very calls may call them by a name of their own.
    assert compare(described, router(), engine(), wire=replace(WIRE, family="glm")).passed
    assert compare(model(tools=()), router(required=()), engine(), wire=replace(WIRE, tools=False)).passed


def test_a_renamed_tool_is_found_through_the_routers_alias() -> None:
    """The witness carries the name that the model calls, and the answer is judged by what the model expects."""
    renamed = model(tools=(Tool("weather", one({}), S),))
    aliased = router(aliases={"weather": "get_weather"})
    (finding,) = compare(renamed, aliased, engine()).findings
    assert ("arguments-not-accepted", "weather") == (finding.rule, finding.tool)
    assert "'get_weather'" in finding.next_step
    assert finding.witness is not None
    assert "weather" == finding.witness["name"]
    assert compare(model(tools=(Tool("weather", one(S), S),)), aliased, engine()).passed
    answers = router(aliases={"weather": "get_weather"}, tools=(Tool("get_weather", one(S), one(S)),))
    (result,) = compare(model(tools=(Tool("weather", one(S), S),)), answers, engine()).findings
    assert ("results-disjoint", "weather") == (result.rule, result.tool)


@pytest.mark.parametrize(
    ("flags", "named", "changed"),
    [
        (("--tool-call-parser", "hermes", "--x"), "hermes", ("--tool-call-parser", "new", "--x")),
        (("--tool-call-parser=hermes",), "hermes", ("--tool-call-parser=new",)),
        (("--tool-call-parser hermes",), "hermes", ("--tool-call-parser new",)),
        (("--reasoning-parser", "qwen3"), None, ("--reasoning-parser", "qwen3")),
        (("--tool-parser-plugin", "a.py"), None, ("--tool-parser-plugin", "a.py")),
        (("--jinja",), None, ("--jinja",)),
        ((), None, ()),
    ],
)
def test_the_parser_among_an_engines_flags(
    flags: tuple[str, ...], named: str | None, changed: tuple[str, ...]
) -> None:
    assert (named, changed) == (parser_named(flags), with_parser(flags, "new"))


def test_the_flag_that_must_change_is_named_with_its_new_value() -> None:
    contract = model(emission=Emission("xml-function", parsers={"vllm": "qwen3_xml"}))
    patch = patch_for(contract, router(), engine())
    assert patch is not None
    assert ("--enable-auto-tool-choice", "--tool-call-parser", "qwen3_xml") == patch.profile.flags
    assert (("xml-function",), ("hermes", "xml-function")) == (patch.profile.parses, patch.router.accepts)
    step = compare(contract, router(), engine()).against[0].next_step
    assert "`qwen3_xml`" in step or "accepts" in step


def test_a_tool_may_answer_more_than_its_schema_names() -> None:
    """What a model writes is held to its schema; a tool's answer is not, and the model may never have seen it."""
    answers, expects = obj({"v": S}, ("v",)), obj({"v": S}, ("v",), False)
    tier = router(tools=(Tool("get_weather", one(S), answers),))
    (finding,) = compare(model(tools=(Tool("get_weather", one(S), expects),)), tier, engine()).findings
    assert ("results-not-accepted", Verdict.NEEDS_ROUTER_UPDATE) == (finding.rule, finding.verdict)
    assert finding.witness is not None
    jsonschema.validate(finding.witness["result"], answers)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(finding.witness["result"], expects)


@pytest.mark.parametrize("schema", [deep(60), explosion()], ids=["deep", "explosion"])
def test_a_patch_for_hostile_schemas_ends(schema: dict[str, Any]) -> None:
    for contract, tier in (
        (model(tools=(Tool("get_weather", schema, S),)), router()),
        (model(), router(tools=(Tool("get_weather", {**schema, "maxProperties": 1}, S),))),
    ):
        patch = patch_for(contract, tier, engine())
        assert patch is None or patch.comparison.passed


def test_no_alias_is_ever_guessed() -> None:
    """Two tools with one schema may do opposite things."""
    path = one(S)
    contract = model(tools=(Tool("delete_file", path, S),))
    patch = patch_for(contract, router(tools=(Tool("read_file", path, S),), required=()), engine())
    assert patch is not None
    assert {} == patch.router.aliases
    assert ["read_file", "delete_file"] == [tool.name for tool in patch.router.tools]


def test_a_patch_narrows_what_the_router_answers_and_widens_what_it_takes() -> None:
    tier = router(tools=(Tool("get_weather", one({"enum": ["oslo"]}), {"type": ["string", "null"]}),))
    patch = patch_for(model(), tier, engine())
    assert patch is not None
    (tool,) = patch.router.tools
    assert ({"anyOf": [{"enum": ["oslo"]}, S]}, S) == (tool.input["properties"]["v"], tool.output)
    assert "replace tool 'get_weather'/output" in patch.summary


def test_a_patch_may_not_only_say_what_nobody_knows() -> None:
    assert patch_for(model(), router(roles=("user",)), engine()) is None
    assert patch_for(model(), router(), engine(), wire=replace(WIRE, problem="it never ends")) is None
    assert patch_for(model(context=1), router(), engine()) is None


def test_schemas_that_cannot_be_laid_over_each_other_stand_side_by_side() -> None:
    """References go on meaning what they meant, one branch deeper."""
    theirs = {
        "$ref": "#/$defs/In",
        "$defs": {"In": obj({"x": {"$ref": "#/$defs/X"}}, ("x",), False), "X": INT},
    }
    ours = {"$ref": "#/$defs/In", "$defs": {"In": obj({"x": {"$ref": "#/$defs/X"}}, ("x",), False), "X": S}}
    wide = widened(ours, theirs)
    for value in ({"x": 1}, {"x": "a"}):
        jsonschema.validate(value, wide)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"x": None}, wide)


def test_command_became_cmd_is_shown_as_the_call_that_breaks() -> None:
    version = model(tools=(Tool("exec_command", CODEX_OLD),))
    tier = router(tools=(Tool("exec_command", CODEX_NEW),), required=())
    comparison = compare(version, tier, engine())
    assert Verdict.NEEDS_ROUTER_UPDATE is comparison.verdict
    first = comparison.findings[0]
    assert ("exec_command", {"name": "exec_command", "arguments": {"command": []}}) == (
        first.tool,
        first.witness,
    )
    assert any("/properties/command" == finding.path for finding in comparison.findings)
    with pytest.raises(NotCompatible, match="needs-router-update: exec_command") as refusal:
        comparison.require()
    assert comparison is refusal.value.comparison


def test_a_witness_with_a_fraction_still_fits_a_signed_record() -> None:
    tier = router(tools=(Tool("get_weather", one(INT), S),))
    record = compare(model(tools=(Tool("get_weather", one(N), S),)), tier, engine()).to_json()
    assert '{"arguments": {"v": 0.5}, "name": "get_weather"}' == record["findings"][0]["witness"]


def test_arguments_without_a_stated_type_are_objects_all_the_same() -> None:
    loose = {word: value for word, value in one(S).items() if word != "type"}
    assert compare(model(tools=(Tool("get_weather", loose, S),)), router(), engine()).passed


@pytest.mark.parametrize(
    ("old", "new", "rule", "verdict"),
    [
        (model(), model(emission=Emission("pythonic")), "emission-changed", Verdict.NEEDS_ROUTER_UPDATE),
        (model(), model(emission=Emission("hermes", "ab" * 32)), "template-changed", Verdict.COMPATIBLE),
        (model(), model(tools=()), "tool-removed", Verdict.INCOMPATIBLE),
        (model(tools=()), model(), "tool-added", Verdict.NEEDS_ROUTER_UPDATE),
        (model(), model(surfaces=("chat",)), "surface-removed", Verdict.INCOMPATIBLE),
        (model(), model(context=4096), "context-reduced", Verdict.UNKNOWN),
        (
            model(),
            model(tools=(Tool("get_weather", one({}), S),)),
            "arguments-not-accepted",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (
            model(),
            model(tools=(Tool("get_weather", one(S), S, description="new"),)),
            "description-changed",
            Verdict.COMPATIBLE,
        ),
        (router(), router(accepts=()), "family-removed", Verdict.NEEDS_ROUTER_UPDATE),
        (router(), router(min_context=9999), "demand-added", Verdict.UNKNOWN),
        (router(required=()), router(), "demand-added", Verdict.UNKNOWN),
        (
            router(),
            router(tools=(Tool("get_weather", one({**S, "maxLength": 3}), S),)),
            "arguments-not-accepted",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (engine(), engine(version="0.33.0"), "engine-changed", Verdict.COMPATIBLE),
        (engine(), engine(parses=()), "family-removed", Verdict.NEEDS_ROUTER_UPDATE),
        (emitting(call_sha256="1" * 64), emitting(call_sha256="2" * 64), "calls-rewritten", Verdict.UNKNOWN),
        (
            emitting(wire_sha256="1" * 64),
            emitting(wire_sha256="2" * 64),
            "template-changed",
            Verdict.COMPATIBLE,
        ),
        (
            router(aliases={"weather": "get_weather"}),
            router(),
            "alias-removed",
            Verdict.NEEDS_ROUTER_UPDATE,
        ),
        (router(), router(roles=("developer",)), "demand-added", Verdict.UNKNOWN),
        (router(), router(surface={"chat": SurfaceFacts(strict=True)}), "demand-added", Verdict.UNKNOWN),
    ],
)
def test_what_changed_between_two_documents_of_one_kind(
    old: Any, new: Any, rule: str, verdict: Verdict
) -> None:
    comparison = compare_documents(old, new)
    assert ([rule], verdict) == (rules(comparison), comparison.verdict)
    assert compare_documents(old, old).findings == ()


def test_documents_of_two_kinds_are_compared_where_there_is_a_question() -> None:
    assert compare_documents(router(), model(), engine()).passed
    assert compare_documents(engine(), model()).passed
    assert ["emission-not-parsed"] == rules(compare_documents(model(), engine(parses=())))
    with pytest.raises(NotComparable):
        compare_documents(router(), engine())
    with pytest.raises(NotComparable):
        changes(model(), router())
