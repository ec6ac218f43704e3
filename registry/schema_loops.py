"""Takes out of a graph of nodes what no validator could evaluate: loops about one value, endless chains, explosions.

Apart from the reading, because it looks at the finished graph as a whole: whether a schema leads back to itself
is known only when all of them were read. A loop through a part of the value is recursion and stays.
"""

from collections.abc import Iterator

from registry.schema_nodes import Node
from registry.schemas import Work

MAX_CHAIN = 100  # schemas about one and the same value, inside each other
MAX_EVALUATIONS = 5_000  # that a plain validator needs for one value, without its parts


def cut_loops(root: Node, work: Work) -> None:
    """Blur every schema that is about itself without ever looking inside a value; validators do not end there.

    Also blurs chains longer than `MAX_CHAIN` and what a plain validator would evaluate for years.
    Afterwards following `about_itself` ends.
    """
    costs: dict[int, tuple[int, int]] = {}
    for start in _reachable(root, work):
        if start.key not in costs:
            _measure(start, costs, work)


def _measure(start: Node, costs: dict[int, tuple[int, int]], work: Work) -> None:
    """Write down, for each node below, the longest chain and the evaluations that one value takes."""
    chain, open_ = [(start, list(start.about_itself()))], {start.key}
    while chain:
        work.spend()
        node, rest = chain[-1]
        if rest:
            child = rest.pop()
            if child.key in open_ or len(chain) > MAX_CHAIN:
                _blur_from(chain, child)
            elif child.key not in costs:
                open_.add(child.key)
                chain.append((child, list(child.about_itself())))
            continue
        chain.pop()
        open_.discard(node.key)
        below = [costs.get(child.key, (0, 0)) for child in node.about_itself()]
        depth, evaluations = 1 + max((d for d, _ in below), default=0), 1 + sum(e for _, e in below)
        if depth > MAX_CHAIN or evaluations > MAX_EVALUATIONS:
            node.blur("one value would have to be evaluated too many times")
            depth, evaluations = 1, 1
        costs[node.key] = depth, evaluations


def _blur_from(chain: list[tuple[Node, list[Node]]], again: Node) -> None:
    """Blur every schema of the loop that has come back to `again`, or the end of a chain that is too long."""
    places = [place for place, (node, _) in enumerate(chain) if node is again]
    for node, rest in chain[places[0] if places else -1 :]:
        node.blur("a `$ref` leads back to itself, or through too many others")
        rest.clear()


def _reachable(root: Node, work: Work) -> list[Node]:
    found, todo = {root.key: root}, [root]
    while todo:
        work.spend()
        for child in _inside(todo.pop()):
            if child.key not in found:
                found[child.key] = child
                todo.append(child)
    return list(found.values())


def _inside(node: Node) -> Iterator[Node]:
    yield from node.about_itself()
    for items in node.items:
        yield from items.prefix
        yield from [items.rest] if items.rest else []
    yield from (contains.node for contains in node.contains)
    for shape in node.shapes:
        yield from shape.properties.values()
        yield from (child for _, child in shape.patterns)
        yield from [shape.rest] if shape.rest else []
    yield from node.names
    yield from (rest for rest in (node.rest_names, node.rest_items) if rest is not None)
