"""Laws of the parts of schema inclusion, and the long search for a proof that does not hold.

By default a few hundred pairs. `TIDEGATE_EXHAUSTIVE=1 python -m pytest -q tests/property/test_schema_laws.py`
tries a million values (about a quarter of an hour on one core); `TIDEGATE_SCHEMA_TRIES=N` says how many.
"""

import os
import re

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.inclusion import Included, NotIncluded, Undecided, includes
from registry.schema_automata import Reading
from registry.schema_judge import judge
from registry.schema_nodes import Keys
from registry.schema_oracle import accepts
from registry.schema_reading import read
from registry.schema_regex import compiled, matches
from registry.schemas import Work
from tests.property.schema_makers import Maker

pytestmark = pytest.mark.property

EXHAUSTIVE = os.environ.get("TIDEGATE_EXHAUSTIVE") == "1"
TRIES = int(os.environ.get("TIDEGATE_SCHEMA_TRIES", "1000000" if EXHAUSTIVE else "4000"))
PER_PAIR = 20
ATOMS = st.sampled_from(
    ["a", "b", ".", "\\d", "\\w", "\\s", "[ab]", "[^a]", "[a-c0-9]", "\\.", "^", "$", "\\D", "[\\w-]"]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: f"({a}|{b})", inner, inner),
        st.builds(
            lambda a, n: f"(?:{a}){n}", inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])
        ),
    ),
    max_leaves=8,
)
TEXTS = st.text(alphabet="abc0\n\u0663 \u00e9-.", max_size=6)


def test_no_proof_has_a_counter_example_and_every_witness_is_one() -> None:
    """Open producers here, so that the plain validator reads both sides as we do."""
    seen: dict[type, int] = dict.fromkeys((Included, NotIncluded, Undecided), 0)
    tried, seed = 0, 0
    while tried < TRIES:
        seed += 1
        maker = Maker(seed)
        producer, consumer = maker.pair()
        found = includes(producer, consumer, closed=False)
        seen[type(found)] += 1
        emits, takes = jsonschema.Draft202012Validator(producer), jsonschema.Draft202012Validator(consumer)
        if isinstance(found, NotIncluded):
            assert emits.is_valid(found.witness), (seed, found)
            assert not takes.is_valid(found.witness), (seed, found)
        for _ in range(PER_PAIR if isinstance(found, Included) else 0):
            tried += 1
            value = maker.value(producer if maker.random.random() < 0.7 else consumer)
            assert not emits.is_valid(value) or takes.is_valid(value), (seed, value)
    assert min(seen.values()) > 0
    assert seen[Undecided] < seen[Included] + seen[NotIncluded]


@given(PATTERNS, TEXTS)
@settings(max_examples=500, deadline=None)
def test_an_automaton_finds_what_the_engine_finds(pattern: str, text: str) -> None:
    assert compiled(pattern, Reading.PYTHON) is not None
    answer = matches(pattern, text, Work(10**6))
    if answer is not None:
        assert answer is (re.search(pattern, text) is not None)


@given(st.integers(0, 10**9))
@settings(max_examples=300, deadline=None)
def test_a_verdict_on_a_value_is_the_library_s(seed: int) -> None:
    """Where our own reading says yes or no, so does `jsonschema`; both read the schema as it is written."""
    maker = Maker(seed)
    schema = maker.schema()
    value = maker.value(schema)
    work = Work(10**6)
    answer = judge(read(schema, Keys(), work), value, work)
    assert answer in (None, jsonschema.Draft202012Validator(schema).is_valid(value))
    if "unevaluatedProperties" not in str(schema):
        assert accepts(schema, value, work) in (None, jsonschema.Draft202012Validator(schema).is_valid(value))
