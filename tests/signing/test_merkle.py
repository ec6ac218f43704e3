"""The audit tree: published vectors, every small tree exhaustively, and forged proofs."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.canonical import NotCanonical
from signing.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LARGEST = 70
LEAVES = tuple(leaf_hash(b"event %d" % number) for number in range(LARGEST))
ROOTS = tuple(root_of(LEAVES[:size]) for size in range(LARGEST + 1))

# The eight inputs of the Certificate Transparency reference test (google/certificate-transparency,
# merkletree/merkle_tree_test.cc) and the roots after each.
CT_INPUTS = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
CT_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def definition(leaves: tuple[bytes, ...]) -> bytes:
    """RFC 6962 section 2.1 word for word, as slow as it reads: the second opinion."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + definition(leaves[:half]) + definition(leaves[half:])).digest()


def test_the_published_roots_come_out() -> None:
    frontier = Frontier()
    assert hashlib.sha256(b"").digest() == frontier.root() == root_of(()) == EMPTY_ROOT
    for number, (text, root) in enumerate(zip(CT_INPUTS, CT_ROOTS, strict=True)):
        frontier = frontier.append(leaf_hash(bytes.fromhex(text)))
        assert (number + 1, root) == (frontier.size, frontier.root().hex())


def test_every_small_tree_agrees_with_the_definition_however_it_is_built() -> None:
    frontier = Frontier()
    for size in range(LARGEST + 1):
        assert definition(LEAVES[:size]) == root_of(LEAVES[:size]) == frontier.root()
        assert frontier == Frontier.from_hex(frontier.to_hex())
        if size < LARGEST:
            frontier = frontier.append(LEAVES[size])


def test_every_leaf_of_every_small_tree_is_proved_and_nothing_else_is() -> None:
    stranger = leaf_hash(b"never logged")
    for size in range(1, LARGEST + 1):
        root = ROOTS[size]
        for index in range(size):
            proof = inclusion_proof(LEAVES[:size], index)
            assert verify_inclusion(LEAVES[index], index=index, size=size, proof=proof, root=root)
            assert not verify_inclusion(stranger, index=index, size=size, proof=proof, root=root)
            assert not verify_inclusion(
                LEAVES[index], index=index, size=size, proof=(*proof, root), root=root
            )
            if proof:
                shorter = proof[:-1]
                assert not verify_inclusion(LEAVES[index], index=index, size=size, proof=shorter, root=root)
            if size > 1:
                other = (index + 1) % size
                assert not verify_inclusion(LEAVES[index], index=other, size=size, proof=proof, root=root)


def test_every_small_tree_is_proved_a_prefix_of_every_larger_one() -> None:
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            proof = consistency_proof(LEAVES[:new], old)
            assert verify_consistency(
                old_size=old, new_size=new, old_root=ROOTS[old], new_root=ROOTS[new], proof=proof
            )
            longer = (*proof, EMPTY_ROOT)
            assert not verify_consistency(
                old_size=old, new_size=new, old_root=ROOTS[old], new_root=ROOTS[new], proof=longer
            )
            for place in range(len(proof)):
                forged = (*proof[:place], EMPTY_ROOT, *proof[place + 1 :])
                assert not verify_consistency(
                    old_size=old, new_size=new, old_root=ROOTS[old], new_root=ROOTS[new], proof=forged
                )
                dropped = proof[:place] + proof[place + 1 :]
                assert not verify_consistency(
                    old_size=old, new_size=new, old_root=ROOTS[old], new_root=ROOTS[new], proof=dropped
                )


def test_a_rewritten_event_is_caught_by_whoever_kept_an_old_checkpoint() -> None:
    for old in range(1, 33):
        for rewritten in range(old):
            fork = [*LEAVES[:rewritten], leaf_hash(b"rewritten"), *LEAVES[rewritten + 1 : 33]]
            proof = consistency_proof(fork, old)
            assert not verify_consistency(
                old_size=old, new_size=33, old_root=ROOTS[old], new_root=root_of(fork), proof=proof
            )


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    pair = LEAVES[0] + LEAVES[1]
    assert leaf_hash(pair) != node_hash(LEAVES[0], LEAVES[1])


def test_an_empty_tree_vouches_for_nothing() -> None:
    assert verify_consistency(old_size=0, new_size=5, old_root=EMPTY_ROOT, new_root=ROOTS[5], proof=())
    assert not verify_consistency(old_size=0, new_size=5, old_root=ROOTS[1], new_root=ROOTS[5], proof=())
    assert not verify_consistency(old_size=0, new_size=0, old_root=ROOTS[1], new_root=ROOTS[1], proof=())
    assert not verify_inclusion(LEAVES[0], index=0, size=0, proof=(), root=EMPTY_ROOT)


def test_sizes_that_cannot_be_are_answered_with_no() -> None:
    assert not verify_inclusion(LEAVES[0], index=-1, size=1, proof=(), root=ROOTS[1])
    assert not verify_inclusion(LEAVES[0], index=1, size=1, proof=(), root=ROOTS[1])
    assert not verify_consistency(old_size=-1, new_size=1, old_root=EMPTY_ROOT, new_root=ROOTS[1], proof=())
    assert not verify_consistency(old_size=2, new_size=1, old_root=ROOTS[2], new_root=ROOTS[1], proof=())


@pytest.mark.parametrize("index", [-1, 3, 4])
def test_a_leaf_that_is_not_there_has_no_proof(index: int) -> None:
    with pytest.raises(IndexError, match="tree of 3"):
        inclusion_proof(LEAVES[:3], index)


@pytest.mark.parametrize("old", [-1, 4])
def test_a_tree_proves_no_larger_one(old: int) -> None:
    with pytest.raises(IndexError, match="tree of 3"):
        consistency_proof(LEAVES[:3], old)


PEAK = "ab" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        ":",
        f"0:{PEAK}",
        "1:",
        f"01:{PEAK}",
        f"1:{PEAK.upper()}",
        f"1:{PEAK[:-1]}",
        f"1:{PEAK}00",
        f"1:{PEAK} ",
        f"1:{PEAK}\n",
        f"+1:{PEAK}",
        f"-1:{PEAK}",
        f"3:{PEAK}",
        f"\u0661:{PEAK}",
        f"{2**63}:{PEAK}",
        "1:" + PEAK * 64,
    ],
)
def test_a_damaged_frontier_is_refused(text: str) -> None:
    with pytest.raises(NotCanonical, match="frontier"):
        Frontier.from_hex(text)


def test_a_frontier_is_consistent_or_it_is_not_made() -> None:
    with pytest.raises(NotCanonical, match="need 2 hashes"):
        Frontier(3, (LEAVES[0],))
    with pytest.raises(NotCanonical, match=r"frontier\[0\]: 31 bytes"):
        Frontier(1, (LEAVES[0][:31],))
    with pytest.raises(NotCanonical, match="31 bytes"):
        Frontier().append(LEAVES[0][:31])


@pytest.mark.property
@given(st.text() | st.from_regex(r"\A[0-9]{1,20}:[0-9a-f]{0,130}\Z"))
def test_any_text_is_read_back_exactly_or_refused(text: str) -> None:
    try:
        frontier = Frontier.from_hex(text)
    except NotCanonical:
        return
    assert text == frontier.to_hex()


@pytest.mark.property
@given(
    st.integers(-2, 2**70),
    st.integers(-2, 2**70),
    st.lists(st.binary(min_size=30, max_size=33), max_size=70),
    st.binary(min_size=32, max_size=32),
)
def test_hostile_proofs_are_answered_and_never_raise(
    first: int, second: int, proof: list[bytes], root: bytes
) -> None:
    assert not verify_inclusion(LEAVES[0], index=first, size=second, proof=(*proof, b"short"), root=root)
    assert not verify_consistency(
        old_size=first, new_size=second, old_root=LEAVES[0], new_root=root, proof=proof
    ) or (first == second and root == LEAVES[0])
