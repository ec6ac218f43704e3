"""Do two schemas have no value in common: proved, with the place where they part, or not proved.

Apart from the walk (`registry.schema_walk`), because it is the other question: not whether all that is emitted
is accepted, but whether any of it is. The walk asks it to leave out alternatives that cannot be meant, and
`registry.inclusion.clash` to tell what widening never mends.
"""

from registry import schema_scalars as scalars
from registry.schema_flat import Flat, Group, Sides
from registry.schema_judge import judge_all
from registry.schema_nodes import Keys
from registry.schemas import Work


def step(path: str, *names: str) -> str:
    """Extend a JSON pointer (RFC 6901)."""
    return path + "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


class Apart:
    """Proofs that nothing emitted is accepted. Every method may raise `TooMuchWork`."""

    def __init__(self, keys: Keys, sides: Sides, work: Work) -> None:
        self.keys, self.sides, self.work = keys, sides, work

    def path(self, p: Group, c: Group, path: str, *, depth: int = 8, shared: bool = False) -> str | None:
        """Return the path where `p` always emits what `c` never accepts, or None where that is not proved.

        `shared`: only at a key that both sides name and the producer always writes.
        """
        self.work.spend()
        branches = self.sides.branches(p)
        found = [self.flat_apart(flat, c, path, depth, shared=shared) for flat in branches] if depth else []
        return None if None in found or not found else found[0]

    def flat_apart(self, p: Flat, c: Group, path: str, depth: int, *, shared: bool) -> str | None:
        wanted = self.sides.demands(c)
        if not p.kinds & wanted.kinds:
            return path
        if p.enum is not None:
            held = [value for value in p.enum if judge_all(p.nodes, value, self.work) is not False]
            return path if all(judge_all(wanted.own, v, self.work) is False for v in held) else None
        for node in wanted.own:
            for group in (*node.any, *node.one):
                parts = [
                    self.path(p.group, Group.of([n]), path, depth=depth - 1, shared=shared) for n in group
                ]
                if parts and None not in parts:
                    return parts[0]
        kinds = p.kinds & wanted.kinds
        kinds -= {"fraction"} if "integer" in kinds else set()
        if len(kinds) > 1:
            return None
        return self.kind_apart(next(iter(kinds)), p, wanted, path, depth, shared=shared)

    def kind_apart(self, kind: str, p: Flat, c: Flat, path: str, depth: int, *, shared: bool) -> str | None:
        """As `apart`, where both sides have one kind in common."""
        if kind == "object":
            return self.object_apart(p, c, path, depth, shared=shared)
        if kind == "array":
            (least, most), (low, high) = self.sides.sizes(p), c.sizes
            misfit = (high is not None and least > high) or (most is not None and most < low)
            return path if misfit and not shared else None
        if kind == "string" or kind in scalars.NUMBERS:
            refused = self.keys.node(nots=(self.keys.node(all=tuple(c.own)),))
            return path if scalars.of_kind(kind, p, [refused], self.work).proved else None
        return None

    def object_apart(self, p: Flat, c: Flat, path: str, depth: int, *, shared: bool) -> str | None:
        for name in sorted(p.required if shared else p.required | c.required):
            mine, yours = p.child(name), c.child(name)
            if mine is None or yours is None:
                if not shared and (name in p.required or name in c.required):
                    return path
                continue
            if shared and not (name in p.declared and name in c.declared):
                continue
            there = step(path, "properties", name)
            found = self.path(mine, yours, there, depth=depth - 1, shared=shared)
            if found is not None:
                return found
        return None
