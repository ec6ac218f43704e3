"""`audit verify`: the tree, its signatures, and the log replayed against the tables. Returns every problem."""

from registry import audit
from registry.home import Home
from registry.store import Store
from signing import checkpoint
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable
from signing.merkle import Frontier, leaf_hash
from tidegate.keyring import log_verifier_key


def verify(store: Store, home: Home) -> list[str]:
    """Return what is wrong, in words; an empty list when everything agrees."""
    with store.view() as view:
        leaves, heads = view.leaves(), {head.size: head for head in view.checkpoints()}
        gap = audit.misplaced(leaves)
        if gap is not None:
            return [f"event {gap} is missing, out of place or unreadable"]
        problems: list[str] = []
        frontier, key = Frontier(), log_verifier_key(home)
        for position, data in leaves:
            frontier = frontier.append(leaf_hash(data))
            head = heads.pop(position + 1, None)
            if head is None:
                problems.append(f"event {position} has no signed head")
                continue
            try:
                found = checkpoint.verify(head.note, key)
            except (CheckpointSignatureWrong, CheckpointUnreadable) as refusal:
                problems.append(f"head {head.size}: {refusal}")
                continue
            if (found.size, found.root) != (frontier.size, frontier.root()):
                problems.append(
                    f"head {head.size}: was signed over other events than those that stand before it"
                )
        problems += [f"head {size}: stands beyond the last event" for size in heads]
        entries = [audit.read_leaf(data) for _, data in leaves]
        columns = [(e.position, e.kind, e.subject, e.at, e.actor) for e in entries]
        if columns != view.event_columns():
            problems.append("event: the columns of the event table differ from what was recorded")
        problems += [str(item) for item in audit.compare(entries, dict(view.recorded()))]
    return problems
