"""Every row of a home that ships and of one that serves is found again in the log, word for word, where it is looked for."""

import pytest
from sqlmodel import select

from pipelines.custody import Medium
from pipelines.questions.proving import Prover
from pipelines.questions.reporting import report
from pipelines.questions.whence import Whence, whence
from pipelines.report_page import page
from pipelines.report_picture import steps_of
from registry.entities import RECORDED, Row
from registry.home import Home
from registry.names import Ref
from registry.views import View
from tests.pipelines.gap import World, make_world, model_files
from tests.pipelines.test_transfers import SAID


@pytest.fixture(scope="module")
def gap(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("gap") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/other", model_files(seed=2))
    medium = made.ship("acme/tiny", "acme/other", transfer=SAID)
    made.read_back(medium, home=made.site, medium=Medium(serial="M-0017", carrier="carol"))
    made.arrive(medium)
    made.arrive(made.ship("acme/other", out="again"))
    return made


def unproved(gap: World, home: Home) -> list[str]:
    with gap.at(home) as work, work.store.view() as view:
        prover = Prover(work, view)
        return [
            proof.doubt
            for table in RECORDED
            for row in rows_of(view, table)
            for proof in [prover.row(row)]
            if not proof.verified
        ]


def rows_of(view: View, table: type[Row]) -> list[Row]:
    return list(view.session.exec(select(table)))


def test_a_version_is_followed_back_to_where_it_came_from(gap: World) -> None:
    with gap.at(gap.site) as work, work.store.view() as view:
        found = whence(work, view, Ref.parse("acme/tiny@1"))
        page_of = report(work, view, "acme/tiny")
    assert [] == found.doubts
    assert found.bundle is not None
    assert ("harbour", 1, "anna of engineering") == (
        found.bundle["origin"],
        found.bundle["root"],
        found.bundle["said"]["requester"],
    )
    assert [("WHOLE", "M-0017", "carol")] == [
        (one["outcome"], one["serial"], one["carrier"]) for one in found.media
    ]
    assert {bundle_of(found)} == {one["claimed_with"] for one in found.fetched}
    way = [step.title for step in steps_of(page_of, page_of.versions[0])]
    assert ["Added from a folder", "Media read back", "Taken in", "Scan here"] == [
        title for title in way if not title.startswith(("Bundle", "Suites", "No tier"))
    ]
    assert "anna of engineering" in page(page_of)


def test_a_taking_in_that_was_removed_is_missed(gap: World) -> None:
    with gap.at(gap.site) as work, work.store.view() as view:
        view.import_of = lambda _bundle: None  # type: ignore[method-assign, assignment]
        (doubt, *_) = reversed(whence(work, view, Ref.parse("acme/tiny@1")).doubts)
    assert "which brought it, is not recorded here any more" in doubt


def bundle_of(found: Whence) -> object:
    return found.bundle["bundle"] if found.bundle else None


def test_every_row_of_both_homes_is_proved(gap: World) -> None:
    assert [] == unproved(gap, gap.origin)
    assert [] == unproved(gap, gap.site)
