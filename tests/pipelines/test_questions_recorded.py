"""Every row of a home that ships and of one that serves is found again in the log, word for word, where it is looked for."""

import pytest
from sqlmodel import select

from pipelines.questions.proving import Prover
from registry.entities import RECORDED, Row
from registry.home import Home
from registry.views import View
from tests.pipelines.gap import World, make_world, model_files
from tests.pipelines.test_transfers import SAID


@pytest.fixture(scope="module")
def gap(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("gap") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/other", model_files(seed=2))
    made.arrive(made.ship("acme/tiny", "acme/other", transfer=SAID))
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


def test_every_row_of_both_homes_is_proved(gap: World) -> None:
    assert [] == unproved(gap, gap.origin)
    assert [] == unproved(gap, gap.site)
