"""The corpus of schema pairs, hostile schemas, and the second engine where it is installed."""

import copy
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from registry import jsoncompat_engine, schema_oracle
from registry.inclusion import Included, NotIncluded, Undecided, engines, examine, includes
from registry.schema_dialects import dialect
from registry.schema_engines import Opinion, Pair, Structural, weigh
from registry.schema_regex import matches
from registry.schemas import Work

HERE = Path(__file__).parent / "schema_pairs"
CASES = {
    f"{path.stem}: {case['name']}": case
    for path in sorted(HERE.glob("*.json"))
    for case in json.loads(path.read_text())
}
VERDICTS = {"included": Included, "not-included": NotIncluded, "unknown": Undecided}
VALIDATORS: dict[str, Any] = {
    "draft-07": jsonschema.Draft7Validator,
    "2020-12": jsonschema.Draft202012Validator,
}
S: dict[str, Any] = {"type": "string"}
HAS_JSONCOMPAT = importlib.util.find_spec("jsoncompat") is not None
needs_jsoncompat = pytest.mark.skipif(
    not HAS_JSONCOMPAT, reason="jsoncompat (Python 3.12 and later) is not here"
)


def reader(schema: Any) -> Any:
    """Return the unmodified validator of the dialect that a case is written in."""
    return VALIDATORS[dialect(schema)](schema)


@pytest.mark.parametrize("name", CASES)
def test_each_pair_gets_the_verdict_that_the_rules_give_it(name: str) -> None:
    case = CASES[name]
    before = copy.deepcopy(case)
    found = includes(case["producer"], case["consumer"])
    assert VERDICTS[case["verdict"]] is type(found), found
    assert before == case


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "not-included" == case["verdict"]])
def test_each_witness_convinces_an_unmodified_validator(name: str) -> None:
    """In the dialect of each side; `nullable` is OpenAPI's and no validator knows it."""
    producer, consumer = CASES[name]["producer"], CASES[name]["consumer"]
    witnesses = [p.witness for p in examine(producer, consumer) if isinstance(p, NotIncluded)]
    assert witnesses
    for witness in witnesses:
        assert reader(producer).is_valid(witness) or "nullable" in json.dumps(producer)
        assert not reader(consumer).is_valid(witness)


def test_the_corpus_is_what_its_readme_says() -> None:
    assert len(CASES) >= 120
    for case in CASES.values():
        assert {"name", "producer", "consumer", "verdict", "source"} == case.keys()
        assert case["verdict"] in VERDICTS
    assert {path.stem for path in HERE.glob("*.json")} == {name.split(": ")[0] for name in CASES}


# -------------------------------------------------------------------------------------------------- hostile


def chain(length: int) -> dict[str, Any]:
    links = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{length}": S}}


def towers(levels: int) -> dict[str, Any]:
    """Each level offers two ways to the next, which are the same: 2^levels values to tell apart."""
    schema: dict[str, Any] = S
    for level in range(levels):
        schema = {"anyOf": [{"type": "object", "properties": {f"k{level}{side}": schema}} for side in "ab"]}
    return schema


def explosion(word: str) -> dict[str, Any]:
    two = {f"d{n}": {word: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    return {"$ref": "#/$defs/d0", "$defs": {**two, "d40": S}}


def entangled(count: int) -> dict[str, Any]:
    """Every definition may continue as any other one, inside a list."""
    items = {
        f"d{n}": {"type": "array", "items": {"$ref": f"#/$defs/d{(n * 7 + 1) % count}"}} for n in range(count)
    }
    any_of = [{"$ref": f"#/$defs/d{n}"} for n in range(count)]
    return {"anyOf": any_of, "$defs": items}


HOSTILE: dict[str, Any] = {
    "long chain of references": chain(5_000),
    "explosion by allOf": explosion("allOf"),
    "explosion by anyOf": explosion("anyOf"),
    "explosion by oneOf": explosion("oneOf"),
    "towers": towers(12),
    "towers of alternatives for all": {"allOf": [towers(5)] * 12},
    "entangled": entangled(300),
    "loop": {"$ref": "#"},
    "loop by not": {"not": {"$ref": "#"}},
    "loop by if": {"if": {"$ref": "#"}, "then": {"$ref": "#"}},
    "evil pattern": {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"},
    "counted pattern": {"type": "string", "pattern": "^(((a{1,90}){1,90}){1,90})$"},
    "exponential automaton": {"type": "string", "pattern": "^[ab]*a[ab]{40}$"},
    "many patterns": {
        "allOf": [{"pattern": f"^[ab]*{'a' if n % 2 else 'b'}[ab]{{{n + 8}}}$"} for n in range(9)]
    },
    "wide enum": {"enum": [f"value {n}" for n in range(100_000)]},
    "many keys": {
        "type": "object",
        "properties": {f"k{n}": S for n in range(5_000)},
        "additionalProperties": False,
    },
    "steps without common measure": {
        "allOf": [{"multipleOf": 1 + n / 997} for n in range(60)],
        "type": "number",
    },
    "huge numbers": {"type": "number", "minimum": 1e308, "multipleOf": 1e-300},
    "deep list": json.loads('{"items":' * 45 + "true" + "}" * 45),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_ends_soon_and_is_no_proof_for_what_it_is_not(name: str) -> None:
    """Time on the processor; `benchmarks/contracts.py` measures."""
    demanding = {"type": "object", "required": ["z"], "properties": {"z": {"const": 1}}}
    began = time.process_time()
    for producer, consumer in ((HOSTILE[name], demanding), (demanding, HOSTILE[name]), (S, HOSTILE[name])):
        found = includes(producer, consumer)
        if isinstance(found, NotIncluded):
            work = Work(10**7)
            assert schema_oracle.accepts(producer, found.witness, work) is True
            assert schema_oracle.accepts(consumer, found.witness, work) is False
    assert not isinstance(includes(HOSTILE[name], demanding), Included)
    assert time.process_time() - began < 10


# -------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        ("^a$", "a", True),
        ("^a$", "a\n", None),
        ("^\\d$", "\u0663", None),
        ("^\\d$", "3", True),
        ("^(?=a)", "a", None),
        ("(a+)+$", "a" * 5_000 + "b", False),
        ("[", "a", None),
        ("^[^a-c]\\u0041$", "dA", True),
    ],
)
def test_a_pattern_is_answered_where_all_readers_agree(pattern: str, text: str, answer: bool | None) -> None:
    assert answer is matches(pattern, text, Work(10**6))


def test_the_oracle_reads_each_dialect_and_fetches_nothing() -> None:
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert schema_oracle.accepts(old, ["x"], Work(1_000)) is False
    assert schema_oracle.accepts({"$ref": "https://example.org/s.json"}, 1, Work(1_000)) is None
    assert schema_oracle.accepts({"pattern": "^(?!x)"}, "y", Work(1_000)) is None
    assert schema_oracle.accepts({"type": "string", "nullable": True}, None, Work(1_000)) is True


def test_no_opinion_beats_a_confirmed_witness_and_silence_proves_nothing() -> None:
    """A second engine that is wrong both ways: its false alarm is dropped, its silence is not evidence."""
    pair = Pair(S, {"type": ["string", "null"]})
    wrong = Opinion((NotIncluded("", "value", "it says so", 5),))
    proved = Structural().compare(pair)
    assert () == weigh(pair, [("structural", proved), ("second", wrong)])
    undecided = Pair(S, {**S, "format": "date"})
    found = weigh(
        undecided, [("structural", Structural().compare(undecided)), ("second", Opinion(proved=True))]
    )
    assert [Undecided] == [type(problem) for problem in found]
    refuted = Pair({"type": "integer"}, S)
    true_alarm = Opinion((NotIncluded("", "value", "it says so", 5),))
    found = weigh(refuted, [("structural", Opinion(proved=True)), ("second", true_alarm)])
    assert true_alarm.problems == found


def test_the_structural_engine_is_always_asked_first() -> None:
    assert "structural" == engines()[0].name
    assert HAS_JSONCOMPAT == ("jsoncompat" in [engine.name for engine in engines()])


# --------------------------------------------------------------------------------------------- jsoncompat


@needs_jsoncompat
def test_the_second_engine_never_contradicts_the_corpus() -> None:
    """Where it has a counter-example that is confirmed, the pair is not included; it finds many."""
    engine = jsoncompat_engine.available()
    assert engine is not None
    confirmed = 0
    for name, case in CASES.items():
        pair = Pair(case["producer"], case["consumer"])
        for problem in engine.compare(pair).problems:
            if isinstance(problem, NotIncluded) and pair.confirms(problem.witness):
                assert "not-included" == case["verdict"], name
                confirmed += 1
    assert confirmed >= 30


@needs_jsoncompat
@pytest.mark.parametrize("name", HOSTILE)
def test_the_second_engine_is_shown_nothing_that_could_hurt_it(name: str) -> None:
    engine = jsoncompat_engine.available()
    assert engine is not None
    began = time.process_time()
    engine.compare(Pair(HOSTILE[name], S))
    assert time.process_time() - began < 2
