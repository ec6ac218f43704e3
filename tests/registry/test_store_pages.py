"""Lists by the page: whole, in order, no row twice, whatever is added meanwhile, on both databases."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlmodel import SQLModel

from registry import store_pages
from registry.entities import Event, Person, Pin, Version
from registry.errors import CursorUnusable
from registry.store import Store
from registry.store_pages import LISTINGS, MOST, Asked, Page
from registry.views import View
from signing.canonical import canonical_bytes
from tests.conftest import new_database

MODELS = {"acme/coder": 7, "acme/guard": 1, "beta/coder-small": 3, "zeta/9": 2}


def version(model: str, ordinal: int) -> dict[str, Any]:
    return {
        "model": model, "ordinal": ordinal, "digest": hashlib.sha256(f"{model}{ordinal}".encode()).hexdigest(),
        "revision": "a" * 40, "manifest": "{}", "modelpack": "b" * 64, "size": ordinal, "brought_by": "add",
        "added_at": f"2026-11-{ordinal:02d}T00:00:00Z", "added_by": "ann",
    }  # fmt: skip


def pin(tier: str, model: str, position: int) -> dict[str, Any]:
    return {
        "tier": tier, "model": model, "position": position, "kind": "promote", "version": "c" * 64, "ordinal": position,
        "contract": None, "profile": None, "router": None, "evidence": "[]", "reason": "r",
        "since": f"2026-11-{position:02d}T00:00:00Z", "actor": "ann", "companions": None, "override": None,
    }  # fmt: skip


def event(position: int) -> dict[str, Any]:
    kind = ("version added", "promoted")[position % 2]
    at = f"2026-11-{1 + position // 3:02d}T00:00:00Z"
    return {
        "position": position, "kind": kind, "subject": f"s{position % 4}", "at": at, "actor": ("ann", "bob")[position // 20],
        "leaf": "{}", "openings": None,
    }  # fmt: skip


def person(name: str, position: int) -> dict[str, Any]:
    return {
        "name": name, "position": position, "public_key": "k", "roles": "steward", "active": True, "since": "2026",
        "actor": "ann", "method": None, "until": None, "authority": None,
    }  # fmt: skip


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    store = Store(
        f"sqlite:///{tmp_path_factory.mktemp('pages')}/pages.db", sign_head=lambda _size, _root: "note"
    )
    with store.engine.begin() as connection:
        SQLModel.metadata.create_all(connection)
        for table, rows in (
            (Version, [version(model, n) for model, many in MODELS.items() for n in range(1, many + 1)]),
            (
                Pin,
                [
                    pin(tier, model, n)
                    for n in (1, 2)
                    for tier in ("edge", "org")
                    for model in ("acme/coder", "zeta/9")
                ],
            ),
            (Event, [event(n) for n in range(40)]),
            (Person, [person(name, n) for n in (1, 2, 3) for name in ("ann", "bob", "carla")]),
        ):
            connection.execute(insert(table), rows)
    with store.view() as found:
        yield found
    store.close()


def walked(ask: Callable[[Asked], Page[Any]], limit: int) -> list[Any]:
    """All rows, page by page."""
    found: list[Any] = []
    cursor = None
    while True:
        page = ask(Asked(limit, cursor))
        assert len(page.rows) <= limit
        found += page.rows
        if page.next is None:
            return found
        assert limit == len(page.rows), "only the last page is short"
        cursor = page.next


LISTS: dict[str, tuple[Callable[[View, Asked], Page[Any]], Callable[[Any], Any], int]] = {
    "models": (store_pages.models, lambda row: row.model, 4),
    "models with coder": (lambda v, a: store_pages.models(v, a, search="CODER"), lambda row: row.model, 2),
    "versions": (
        lambda v, a: store_pages.versions(v, "acme/coder", a),
        lambda row: -row.ordinal,
        7,
    ),
    "events": (store_pages.events, lambda row: -row.position, 40),
    "events, oldest first": (
        lambda v, a: store_pages.events(v, a, oldest_first=True),
        lambda row: row.position,
        40,
    ),
    "events of bob": (
        lambda v, a: store_pages.events(v, a, actor="bob", kind="promoted"),
        lambda row: -row.position,
        10,
    ),
    "events of some days": (
        lambda v, a: store_pages.events(v, a, since="2026-11-03T00:00:00Z", until="2026-11-05T00:00:00Z"),
        lambda row: -row.position,
        9,
    ),
    "pins now": (store_pages.pins_now, lambda row: (row.tier, row.model), 4),
    "pins of a model": (
        lambda v, a: store_pages.pins_now(v, a, model="zeta/9"),
        lambda row: row.tier,
        2,
    ),
    "pin history": (lambda v, a: store_pages.listing(v, "pins", a), lambda row: -row.id, 8),
    "people": (store_pages.people, lambda row: row.name, 3),
}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("name", LISTS)
def test_every_row_stands_on_one_page_in_order(view: View, name: str, limit: int) -> None:
    ask, key, many = LISTS[name]

    found = [key(row) for row in walked(lambda asked: ask(view, asked), limit)]

    assert many == len(found) == len(set(found))
    assert sorted(found) == found


def test_a_model_is_shown_with_its_newest_version(view: View) -> None:
    line = store_pages.models(view).rows[0]

    assert ("acme/coder", 7, 7) == (line.model, line.newest, line.size)


def test_what_is_searched_is_text_and_no_pattern(view: View) -> None:
    assert () == store_pages.models(view, search="%").rows
    assert () == store_pages.models(view, search="a_me").rows


def test_people_and_pins_are_shown_as_they_stand_now(view: View) -> None:
    assert {3} == {row.position for row in store_pages.people(view).rows}
    assert {2} == {row.position for row in store_pages.pins_now(view).rows}


def test_nobody_gets_more_than_a_page_holds(view: View) -> None:
    assert MOST == Asked(10**9).rows
    assert 1 == Asked(-5).rows


@pytest.mark.parametrize("name", LISTINGS)
def test_every_listing_can_be_narrowed_by_each_of_its_columns(view: View, name: str) -> None:
    for column in LISTINGS[name].filters:
        assert () == store_pages.listing(view, name, where={column: "nobody says so"}).rows


def test_a_cursor_belongs_to_its_list(view: View) -> None:
    cursor = store_pages.events(view, Asked(5)).next

    for ask in (store_pages.people, store_pages.models, store_pages.pins_now):
        with pytest.raises(CursorUnusable):
            ask(view, Asked(5, cursor))
    with pytest.raises(CursorUnusable):
        store_pages.events(view, Asked(5, cursor), oldest_first=True)


@given(
    text=st.text(max_size=60)
    | st.binary(max_size=60).map(lambda data: store_pages._cursor("people", [data.hex()])[1:])
    | st.lists(st.integers(-3, 3) | st.text() | st.none() | st.booleans(), max_size=4).map(
        lambda found: base64.urlsafe_b64encode(canonical_bytes(found)).decode()
    )
)
def test_what_was_never_a_cursor_is_refused_and_nothing_else_happens(view: View, text: str) -> None:
    with pytest.raises(CursorUnusable):
        store_pages.events(view, Asked(5, text))


@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=99))
def test_a_cursor_holds_any_name(view: View, name: str) -> None:
    cursor = store_pages._cursor("people", [name])

    assert [row.name for row in store_pages.people(view, Asked(9, cursor)).rows] == [
        known for known in ("ann", "bob", "carla") if known > name
    ]


def test_the_other_database_gives_the_same_pages(postgres_server: str) -> None:
    """Names may be ordered otherwise there; cursors still meet every row."""
    store = Store(new_database(postgres_server), sign_head=lambda _size, _root: "note")
    with store.engine.begin() as connection:
        SQLModel.metadata.create_all(connection)
        connection.execute(
            insert(Version),
            [version(model, n) for model, many in MODELS.items() for n in range(1, many + 1)],
        )
        connection.execute(
            insert(Pin),
            [pin(tier, model, n) for n in (1, 2) for tier in ("edge", "org") for model in MODELS],
        )
    with store.view() as found:
        assert set(MODELS) == {row.model for row in walked(lambda asked: store_pages.models(found, asked), 1)}
        assert 8 == len(walked(lambda asked: store_pages.pins_now(found, asked), 3))
        assert 13 == len(walked(lambda asked: store_pages.listing(found, "versions", asked), 5))
    store.close()
