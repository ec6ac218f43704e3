"""Laws of the core's decoders and rules, for values that nobody thought of."""

import contextlib
import json
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import policy
from registry.audit import Entry, compare, read_leaf, seal
from registry.errors import DocumentRefused, NameUnusable
from registry.manifests import (
    LICENCE_STATES,
    FileEntry,
    Licence,
    MalformedManifest,
    Manifest,
    Upstream,
    decode,
    encode,
    modelpack,
)
from registry.names import Ref, model_name, word
from registry.pins import NothingToRollBackTo, Served, choose_rollback
from signing.canonical import MAX_INTEGER, NotCanonical, canonical_bytes, parse, parse_canonical, pretty_bytes
from signing.times import TimeUnreadable, from_rfc3339, rfc3339

pytestmark = pytest.mark.property

LIMIT = 1 << 20
text = st.text(st.characters(codec="utf-8"), max_size=20)
ascii_text = st.text(string.printable, max_size=12)
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_text, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(ascii_text, values, max_size=4)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.from_regex(
    r"[a-z0-9]([a-z0-9]|[._-](?=[a-z0-9])){0,10}/[a-z0-9]([a-z0-9]|[._-](?=[a-z0-9])){0,10}", fullmatch=True
).filter(lambda name: "--" not in name and ".." not in name and not name.endswith(".git"))
pieces = st.text("abcdefgh0123_-", min_size=1, max_size=8) | st.sampled_from(["größe", "模型", "naïve"])


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    # a number in front of every path: no file where another one needs a folder
    paths = sorted(
        f"{number}/{'/'.join(parts)}"
        for number, parts in enumerate(
            draw(st.lists(st.lists(pieces, min_size=1, max_size=3), min_size=1, max_size=5))
        )
    )
    files = tuple(FileEntry(path, draw(st.integers(0, MAX_INTEGER)), draw(digests)) for path in paths)
    upstream = draw(
        st.none()
        | st.builds(
            Upstream,
            text,
            st.none() | st.text("0123456789abcdef", min_size=40, max_size=40),
            st.booleans(),
        )
    )
    licence = Licence(draw(st.sampled_from(LICENCE_STATES)), tuple(draw(st.lists(text, max_size=3))))
    return Manifest(draw(names), files, licence, upstream)


@given(values)
def test_canonical_bytes_are_read_back_and_have_one_form(value: Any) -> None:
    data = canonical_bytes(value)
    assert value == parse_canonical(data, max_bytes=LIMIT)
    assert value == parse(pretty_bytes(value), max_bytes=LIMIT)
    assert data == canonical_bytes(parse(data, max_bytes=LIMIT))


@given(values, st.booleans(), st.sampled_from([None, 0, 3]))
def test_another_rendering_is_either_the_same_bytes_or_refused(
    value: Any, escaped: bool, indent: int | None
) -> None:
    other = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
    if other == canonical_bytes(value):
        assert value == parse_canonical(other, max_bytes=LIMIT)
    else:
        with pytest.raises(NotCanonical):
            parse_canonical(other, max_bytes=LIMIT)


@given(objects, objects)
def test_the_order_in_which_a_value_was_built_does_not_show(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert canonical_bytes({**first, **second}) == canonical_bytes(
        dict(reversed({**first, **second}.items()))
    )


@given(st.binary(max_size=512) | values.map(lambda value: json.dumps(value).encode()))
def test_hostile_bytes_raise_only_our_errors(data: bytes) -> None:
    with contextlib.suppress(NotCanonical):
        canonical_or_float = parse(data, max_bytes=LIMIT)
        json.dumps(canonical_or_float, ensure_ascii=False).encode()  # whatever is read can be written
    for read, refusals in (
        (decode, (MalformedManifest,)),
        (policy.decode, (NotCanonical, DocumentRefused, NameUnusable)),
        (read_leaf, (NotCanonical,)),
    ):
        with contextlib.suppress(*refusals):
            read(data)


@given(manifests())
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert manifest == decode(encode(manifest))
    assert (64, 40) == (len(manifest.digest), len(manifest.revision))


@given(manifests(), st.data())
def test_one_changed_byte_is_another_version_or_refused(manifest: Manifest, data: st.DataObject) -> None:
    good = encode(manifest)
    place = data.draw(st.integers(0, len(good) - 1))
    bad = good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :]
    with contextlib.suppress(MalformedManifest):
        assert manifest.digest != decode(bad).digest


@given(manifests(), objects)
def test_no_surplus_field_travels_in_a_manifest(manifest: Manifest, surplus: dict[str, Any]) -> None:
    value = {**surplus, **json.loads(encode(manifest))}
    if set(value) == set(json.loads(encode(manifest))):
        return
    with pytest.raises(MalformedManifest):
        decode(canonical_bytes(value))


@given(manifests())
def test_the_modelpack_form_names_the_same_bytes(manifest: Manifest) -> None:
    body, _ = modelpack(manifest, ordinal=1)
    layers = json.loads(body)["layers"]
    assert [(f"sha256:{f.sha256}", f.size) for f in manifest.files] == [
        (x["digest"], x["size"]) for x in layers
    ]


@given(st.text(max_size=40) | names.map(lambda name: f"{name}@3"))
def test_a_name_is_taken_as_it_is_or_refused(anything: str) -> None:
    for read in (model_name, lambda name: word("tier", name), lambda name: str(Ref.parse(name))):
        with contextlib.suppress(NameUnusable):
            assert anything == read(anything)


@given(st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants them naive
def test_a_moment_is_read_as_it_was_written(moment: datetime) -> None:
    assert moment.replace(microsecond=0) == from_rfc3339(rfc3339(moment))


@given(st.text(max_size=30))
def test_text_is_the_one_spelling_of_a_moment_or_refused(anything: str) -> None:
    with contextlib.suppress(TimeUnreadable):
        assert anything == rfc3339(from_rfc3339(anything))


rows = st.tuples(st.sampled_from(["pin", "person"]), st.dictionaries(ascii_text, scalars, max_size=3))


@given(st.lists(st.lists(rows, max_size=3), max_size=5), objects)
def test_the_log_replayed_equals_the_tables_it_recorded(
    events: list[list[tuple[str, Any]]], note: Any
) -> None:
    log = [
        Entry(number, "promoted", "team", "2026-11-20T12:00:00Z", "ines", tuple(recorded), note)
        for number, recorded in enumerate(events)
    ]
    leaves = [seal(item, salt=lambda: bytes(16)) for item in log]
    assert log == [read_leaf(leaf.data, leaf.openings) for leaf in leaves]
    everything = [row for recorded in events for row in recorded]
    tables = {label: [row for table, row in everything if table == label] for label in ("pin", "person")}
    assert [] == compare(log, tables)
    for number, (label, _) in enumerate(everything):
        fewer = everything[:number] + everything[number + 1 :]
        short = {name: [row for table, row in fewer if table == name] for name in ("pin", "person")}
        assert [(label, "missing from the table")] == [(d.table, d.problem) for d in compare(log, short)]


@given(st.lists(st.integers(1, 4), max_size=8), st.sets(st.integers(1, 4)), st.sets(st.integers(1, 4)))
def test_a_rollback_never_leads_to_what_may_not_serve(
    served: list[int], withdrawn: set[int], damaged: set[int]
) -> None:
    history = [
        Served(at, str(number) * 64, number, None, None, None) for at, number in enumerate(served, start=1)
    ]
    usable = {number for number in served[:-1] if number != served[-1]} - withdrawn - damaged
    try:
        line = choose_rollback(
            "team",
            "a/b",
            history,
            withdrawn={str(number) * 64 for number in withdrawn},
            damaged={str(number) * 64 for number in damaged},
        )
    except NothingToRollBackTo:
        assert set() == usable
    else:
        assert line.ordinal in usable
        assert line.ordinal not in [number for number in served[line.position : -1] if number in usable]
