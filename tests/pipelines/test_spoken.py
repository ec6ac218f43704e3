"""Sixteen letters over a telephone: read forgivingly, bound to the bundle, and never proof."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import spoken
from pipelines.answer import taken_in
from pipelines.baseline import SPOKEN, AssumptionRefused, assume_received, baseline
from pipelines.spoken import OUTCOMES, PARTIAL, WHOLE, SpokenCodeWrong
from registry.errors import NotFound
from tests.pipelines.gap import World, make_world, model_files

SECRET = "0123456789ABCDEFGHJKMNPQRS"
EXPORT = "e" * 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A site that took a bundle in and agreed on a secret."""
    made = make_world(tmp_path_factory.mktemp("spoken") / "world")
    made.add("acme/tiny", model_files())
    made.receive(made.ship("acme/tiny@1", out="first"))
    with made.at(made.origin) as work:
        secret = spoken.make_secret(work, "lab")
    with made.at(made.site) as work:
        spoken.enter_secret(work, spoken.grouped(secret).lower())
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


def says(gap: World) -> tuple[str, str]:
    with gap.at(gap.site) as work:
        with work.store.view() as view:
            row = taken_in(view, None)
        return spoken.speak(work, row)


def hears(gap: World, code: str, *, sequence: int = 1, site: str = "lab") -> str:
    with gap.at(gap.origin) as work:
        return spoken.hear(work, site, sequence, code).outcome


def test_what_the_site_reads_out_the_origin_hears(gap: World) -> None:
    code, outcome = says(gap)
    assert WHOLE == outcome
    assert 16 == len(code)
    assert WHOLE == hears(gap, spoken.grouped(code))
    assert WHOLE == hears(gap, code), "hearing it again changes nothing"
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert 1 == len(view.spoken_receipts("lab"))
        assert frozenset() == baseline(view, "lab").held, "it acknowledges nothing"


def test_a_site_that_lost_something_says_so(gap: World) -> None:
    gap.site.blobs.path(max(gap.site.blobs.held(), key=gap.site.blobs.size)).unlink()
    code, outcome = says(gap)
    assert PARTIAL == outcome == hears(gap, code)
    with gap.at(gap.origin) as work, pytest.raises(AssumptionRefused, match="no reason"):
        assume_received(work, "lab", 1, person="maria")


def test_what_was_read_out_last_is_what_counts(gap: World) -> None:
    whole, _ = says(gap)
    lost = gap.site.blobs.path(max(gap.site.blobs.held(), key=gap.site.blobs.size))
    lost.rename(lost.with_suffix(".away"))
    partial, _ = says(gap)
    for code in (whole, partial):
        hears(gap, code)
    with gap.at(gap.origin) as work, pytest.raises(AssumptionRefused):
        assume_received(work, "lab", 1, person="maria")
    hears(gap, whole)
    with gap.at(gap.origin) as work:
        assert not assume_received(work, "lab", 1, person="maria").already


def test_a_spoken_receipt_stands_behind_a_persons_word(gap: World) -> None:
    hears(gap, says(gap)[0])
    with gap.at(gap.origin) as work:
        assert SPOKEN == assume_received(work, "lab", 1, person="maria").reason
        with work.store.view() as view:
            found = baseline(view, "lab")
    assert [SPOKEN] == [word.reason for word in found.assumptions]
    assert found.assumed


def test_a_code_of_another_bundle_is_refused(gap: World) -> None:
    code, _outcome = says(gap)
    gap.ship(out="second")
    with pytest.raises(SpokenCodeWrong):
        hears(gap, code, sequence=2)


def test_one_letter_misheard_is_refused(gap: World) -> None:
    code, _outcome = says(gap)
    for place, letter in enumerate(code):
        other = "Z" if letter != "Z" else "Y"
        with pytest.raises(SpokenCodeWrong):
            hears(gap, code[:place] + other + code[place + 1 :])
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert [] == view.spoken_receipts("lab")


@pytest.mark.parametrize(
    "said", ["", "0000", "0" * 17, "0" * 100_000, "000000000000000!", "000000000000000U", "é" * 16]
)
def test_what_is_no_code_is_refused(gap: World, said: str) -> None:
    with pytest.raises(SpokenCodeWrong):
        hears(gap, said)


def test_without_a_bundle_a_site_or_a_secret_there_is_nothing_to_hear(gap: World) -> None:
    code, _outcome = says(gap)
    for words in ({"sequence": 9}, {"site": "nowhere"}):
        with pytest.raises(NotFound):
            hears(gap, code, **words)
    for home in (gap.origin, gap.site):
        for file in home.keys.glob("spoken*"):
            file.unlink()
    with pytest.raises(SpokenCodeWrong, match="no secret was agreed on"):
        hears(gap, code)
    with pytest.raises(SpokenCodeWrong, match="no secret was entered"):
        says(gap)


def test_a_new_secret_ends_the_old_codes(gap: World) -> None:
    code, _outcome = says(gap)
    with gap.at(gap.origin) as work:
        spoken.make_secret(work, "lab")
    with pytest.raises(SpokenCodeWrong):
        hears(gap, code)


def test_secrets_are_their_owners_alone_and_no_site_can_take_the_others_place(gap: World) -> None:
    files = [file for home in (gap.origin, gap.site) for file in home.keys.glob("spoken*")]
    assert ["spoken-lab", "spoken.origin"] == sorted(file.name for file in files)
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in files}


@pytest.mark.parametrize("text", ["", "0" * 25, "0" * 27, "U" * 26, "\x00" * 26])
def test_what_is_no_secret_is_not_kept(gap: World, text: str) -> None:
    before = (gap.site.keys / "spoken.origin").read_bytes()
    with gap.at(gap.site) as work, pytest.raises(SpokenCodeWrong):
        spoken.enter_secret(work, text)
    assert before == (gap.site.keys / "spoken.origin").read_bytes()


def test_a_damaged_secret_file_is_said(gap: World) -> None:
    (gap.site.keys / "spoken.origin").write_bytes(b"\xff\xfe" * 40)
    with pytest.raises(SpokenCodeWrong):
        says(gap)


def test_codes_are_what_they_were() -> None:
    """Two releases must agree over the telephone."""
    assert ["0NDYNWT28G6NEJTA", "PWV48DQBXEY1ZV1S"] == [
        spoken.code(SECRET, EXPORT, outcome) for outcome in OUTCOMES
    ]


@given(st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=16, max_size=16), st.data())
def test_a_bad_line_costs_nothing(code: str, data: st.DataObject) -> None:
    """Case, O for 0, I and L for 1, spaces and hyphens wherever they fall."""
    misread = {"0": "0Oo", "1": "1IiLl"}
    heard = ""
    for letter in code:
        heard += data.draw(st.sampled_from(misread.get(letter, letter + letter.lower())))
        heard += data.draw(st.sampled_from(["", "", " ", "-", " - "]))
    assert code == spoken.letters(heard, count=16, what="code")


def test_secrets_do_not_repeat() -> None:
    made = {spoken.new_secret() for _ in range(50)}
    assert 50 == len(made)
    assert {26} == set(map(len, made))
