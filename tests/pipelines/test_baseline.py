"""What may be built on: proof and a person's word, never what was merely sent."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.baseline import Baseline, State, fold
from pipelines.inventory import inventory, read_runs, spell, write_runs
from pipelines.receipts import ReceiptInventoryDiffers
from registry.entities import Assumption, Export
from registry.entities import Receipt as ReceiptRow
from tests.pipelines.rows import blob, receipt, sent, word_for


def letters(blobs: frozenset[str]) -> str:
    return "".join(name for name in "abcdefghijklmnopqrstuvwxyz" if blob(name) in blobs)


def states(found: Baseline) -> str:
    return " ".join(one.state.value[:2] for one in found.bundles)


def test_before_the_first_bundle_nothing_is_known() -> None:
    found = fold([], [], [])
    assert Baseline(frozenset(), frozenset(), frozenset(), None, (), ()) == found
    assert State.UNKNOWN is found.state(blob("a"))


def test_what_is_merely_sent_is_exported_and_never_built_on() -> None:
    found = fold([sent(1, "ab"), sent(2, "c")], [], [])
    assert frozenset() == found.held
    assert "abc" == letters(found.exported)
    assert State.EXPORTED is found.state(blob("a"))
    assert "EX EX" == states(found)


def test_a_receipt_proves_what_it_names_and_nothing_that_was_sent_since() -> None:
    one, two = sent(1, "ab"), sent(2, "c")
    proof = receipt(one, "abx", at=5)
    found = fold([one, two], [proof], [])
    assert "abx" == letters(found.acknowledged)
    assert "c" == letters(found.exported)
    assert proof.digest == found.receipt
    assert "AC EX" == states(found)


def test_a_lost_bundle_is_healed_by_the_next() -> None:
    """Bundle 2 never arrived; bundle 3 is built on what 1 proved, and its receipt says so."""
    one, two = sent(1, "a"), sent(2, "b")
    before = fold([one, two], [receipt(one, "a", at=5)], [])
    assert "a" == letters(before.held)
    three = sent(3, "bc", leaned="a")
    after = fold([one, two, three], [receipt(one, "a", at=5), receipt(three, "abc", at=9, arrived=[1])], [])
    assert "abc" == letters(after.acknowledged)
    assert "AC EX AC" == states(after)


def test_the_newest_receipt_alone_counts_in_whatever_order_they_come() -> None:
    """The site gave `a` away after its first receipt: nobody may build on it any more."""
    exports = [sent(1, "a"), sent(2, "b")]
    old, new = receipt(exports[0], "a", at=5, taken=50), receipt(exports[1], "b", at=8, arrived=[1], taken=20)
    for rows in ([old, new], [new, old]):
        assert "b" == letters(fold(exports, rows, []).held)


def test_a_bundle_that_came_in_part_or_was_cleaned_up_says_how_much_is_lacking() -> None:
    one = sent(1, "abc")
    found = fold([one], [receipt(one, "a", at=5)], [])
    assert [(State.ACKNOWLEDGED, 2)] == [(b.state, b.lacking) for b in found.bundles]
    assert "bc" == letters(found.exported), "and is sent again"


def test_a_receipt_written_later_about_an_earlier_bundle_is_the_newer_one() -> None:
    """A site restored from its backup knows only bundle 1 again; the receipt about bundle 2 is history."""
    exports = [sent(1, "a"), sent(2, "b")]
    rows = [receipt(exports[1], "ab", at=8, arrived=[1]), receipt(exports[0], "a", at=9)]
    assert "a" == letters(fold(exports, rows, []).held)


def test_a_persons_word_adds_what_the_bundle_carried_and_no_more() -> None:
    one, two, three = sent(1, "a"), sent(2, "b", leaned="a", bases="z"), sent(3, "c")
    found = fold([one, two, three], [], [word_for(two, at=20)])
    assert ("", "b", "ac") == tuple(map(letters, (found.acknowledged, found.assumed, found.exported))), (
        "what bundle 2 leaned on was never proved"
    )
    assert [(2, "maria", "signed for")] == [(a.sequence, a.by, a.reason) for a in found.assumptions]
    assert State.ASSUMED is found.state(blob("b"))
    assert "EX AS EX" == states(found)


def test_a_word_about_another_document_of_that_number_counts_for_nothing() -> None:
    """The origin was restored from a backup and made its bundle 2 anew."""
    lost, made_anew = sent(2, "b"), sent(2, "c")
    assert frozenset() == fold([sent(1, "a"), made_anew], [], [word_for(lost, at=5)]).held


def test_a_newer_receipt_replaces_the_word() -> None:
    one, two, three = sent(1, "a"), sent(2, "b"), sent(3, "c")
    word = word_for(two, at=10)
    lost = fold([one, two, three], [receipt(three, "ac", at=20, arrived=[1])], [word])
    assert "ac" == letters(lost.held), "bundle 2 had not arrived after all"
    assert () == lost.assumptions
    proved = fold([one, two, three], [receipt(two, "ab", at=20, arrived=[1])], [word])
    assert ("ab", "") == (letters(proved.acknowledged), letters(proved.assumed))


def test_an_older_receipt_leaves_the_word_standing() -> None:
    """The receipt of bundle 1 comes home after somebody gave their word for bundle 2."""
    one, two = sent(1, "a"), sent(2, "b")
    found = fold([one, two], [receipt(one, "a", at=3, taken=30)], [word_for(two, at=10)])
    assert ("a", "b") == (letters(found.acknowledged), letters(found.assumed))


def test_a_word_given_after_the_receipt_speaks_of_a_bundle_that_came_late() -> None:
    """Bundle 2 arrived after bundle 3; nobody writes receipts there any more."""
    one, two, three = sent(1, "a"), sent(2, "b"), sent(3, "c")
    proof = receipt(three, "ac", at=5, arrived=[1], taken=6)
    assert "b" == letters(fold([one, two, three], [proof], [word_for(two, at=7)]).assumed)
    assert "" == letters(fold([one, two, three], [proof], [word_for(two, at=6)]).assumed)


def test_a_site_that_went_back_ends_every_word_from_before() -> None:
    """It knew bundle 2 and knows only bundle 1 now: it was restored, so bundle 3 is gone too."""
    one, two, three = sent(1, "a"), sent(2, "b"), sent(3, "c")
    rows = [receipt(two, "ab", at=5, arrived=[1]), receipt(one, "a", at=9, taken=30)]
    before = fold([one, two, three], rows, [word_for(three, at=8)])
    assert ("a", True) == (letters(before.held), before.restored)
    assert "AC EX EX" == states(before)
    assert "ac" == letters(fold([one, two, three], rows, [word_for(three, at=31)]).held)


def test_a_digest_only_receipt_proves_all_that_the_bundles_named() -> None:
    one, two, three = sent(1, "a"), sent(2, "b", leaned="a", bases="z"), sent(3, "c")
    found = fold([one, two, three], [receipt(two, "abz", at=5, arrived=[1], digest_only=True)], [])
    assert ("abz", "c") == (letters(found.acknowledged), letters(found.exported))
    assert "AC AC EX" == states(found)


@pytest.mark.parametrize("holds", ["a", "ab", "abzx", "abc", ""])
def test_a_digest_only_receipt_over_anything_else_proves_nothing(holds: str) -> None:
    exports = [sent(1, "a"), sent(2, "b", leaned="a", bases="z")]
    with pytest.raises(ReceiptInventoryDiffers):
        fold(exports, [receipt(exports[1], holds, at=5, arrived=[1], digest_only=True)], [])


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Export], list[ReceiptRow], list[Assumption], dict[int, set[str]]]:
    """A courier who loses and reorders, a site that imports, cleans up and answers now and then."""
    exports: list[Export] = []
    receipts: list[ReceiptRow] = []
    words: list[Assumption] = []
    holds: set[str] = set()
    arrived: set[int] = set()
    truth: dict[int, set[str]] = {}  # moment of a receipt to what the site really held
    for minute in range(1, draw(st.integers(1, 14))):
        match draw(st.sampled_from(["send", "send", "import", "import", "lose", "answer", "answer", "say"])):
            case "send":
                number = len(exports) + 1
                exports.append(sent(number, draw(st.sampled_from(["a", "bc", "cd", "e", ""])), at=minute))
            case "import" if exports:
                row = draw(st.sampled_from(exports))
                arrived.add(row.sequence)
                holds |= {name for name in "abcde" if blob(name) in row.body}
            case "lose" if holds:
                holds.discard(draw(st.sampled_from(sorted(holds))))
            case "answer" if arrived:
                about = exports[draw(st.sampled_from(sorted(arrived))) - 1]
                late = draw(st.integers(0, 20))
                receipts.append(
                    receipt(about, "".join(sorted(holds)), at=minute, arrived=arrived, taken=minute + late)
                )
                truth[minute] = set(holds)
            case "say" if exports:
                words.append(word_for(draw(st.sampled_from(exports)), at=minute))
            case _:
                pass
    return exports, receipts, words, truth


@given(streams(), st.randoms(use_true_random=False))
def test_nothing_is_believed_without_a_reason(
    stream: tuple[list[Export], list[ReceiptRow], list[Assumption], dict[int, set[str]]],
    shuffling: random.Random,
) -> None:
    exports, receipts, words, truth = stream
    found = fold(exports, receipts, words)
    assert set(letters(found.acknowledged)) == (truth[max(truth)] if truth else set())
    spoken_for = {a.sequence for a in found.assumptions}
    assert spoken_for <= {word.sequence for word in words}
    carried = {row.sequence: {name for name in "abcde" if blob(name) in row.body} for row in exports}
    assert set(letters(found.assumed)) <= {name for number in spoken_for for name in carried[number]}
    assert set(letters(found.held | found.exported)) >= {n for names in carried.values() for n in names}
    assert not found.acknowledged & found.assumed
    assert not found.held & found.exported
    for rows in (exports, receipts, words):
        shuffling.shuffle(rows)
    again = fold(exports, receipts, words)
    assert (found.held, found.exported, found.bundles) == (again.held, again.exported, again.bundles)


@given(st.sets(st.integers(1, 60)))
def test_runs_of_numbers_round_trip(numbers: set[int]) -> None:
    text = write_runs(numbers)
    runs = read_runs(text) if text else ()
    assert runs is not None
    assert sorted(numbers) == [number for run in runs for number in run]
    assert text == spell(runs)


@pytest.mark.parametrize(
    "text", ["", "0", "2-1", "1-1", "1 2", "1-3 3", "2 1", "1,2", "01", "1 -3", "9" * 17, "1  3"]
)
def test_any_other_spelling_of_runs_is_refused(text: str) -> None:
    assert read_runs(text) is None


def test_a_run_of_any_length_costs_nothing() -> None:
    runs = read_runs("1-9999999999999999")
    assert runs is not None
    assert 10**15 in runs[0]


def test_an_inventory_is_of_the_set() -> None:
    assert inventory([blob("a"), blob("b")]) == inventory([blob("b"), blob("a"), blob("a")])
    assert inventory([blob("a")]) != inventory([])
