"""A home worth looking at: versions judged by a real engine, a request that waits, nodes that drift, one version withdrawn.

For screenshots of every page; made by the same commands that people type. Takes some minutes.
"""

from datetime import UTC, datetime
from pathlib import Path

from demo.engine import find_engine
from registry.audit import EventKind
from registry.entities import Observation
from registry.home import load
from registry.names import Ref
from signing.canonical import canonical_bytes
from signing.times import rfc3339
from tests.story.judging_models import MODELS, quantised
from tests.story.judging_site import MODEL, Site, build
from tests.world import at_work

V1, V2, V3, V4 = (f"{MODEL}@{ordinal}" for ordinal in (1, 2, 3, 4))


def scene(folder: Path) -> Site:
    """Build it below an empty folder."""
    engine = find_engine()
    assert engine is not None, "no engine: python -m demo.engine sets one up"
    site = build(folder, engine)
    for tier, people in (("edge", ()), ("team", ("alice",)), ("org", ("alice", "bob"))):
        site.validate(V1, tier)
        site.promote(V1, tier, *people)
    site.add(MODELS / "v2")
    site.validate(V2, "edge")
    site.promote(V2, "edge")
    site.validate(V2, "team")
    site.promote(V2, "team", "alice")
    site.validate(V2, "org")
    why = "longer tool dialogues, asked for by the on-call team"
    site.at.type("approvals", "request", V2, "--tier", "org", "--reason", why)
    site.at.as_("alice").type("approve", V2, "--tier", "org", *site.signs("alice"))
    site.add(MODELS / "v3", "tool-contract-xml-function")
    site.add(quantised("v2", folder / "small"))
    site.at.as_("bob").type(
        "models", "withdraw", V4, "--reason", "reads `src/a.py` wrongly since it was quantised"
    )
    _looked_at(site)
    return site


def _looked_at(site: Site) -> None:
    """Three nodes as an agent would have seen them: one as pinned, one that serves another version, one silent."""
    home = load(site.folder / "site")
    now = datetime.now(UTC)
    with at_work(home, actor="agent", now=now) as work, work.store.change(actor="agent", now=now) as change:
        one, two = (change.version(Ref.parse(ref)).digest for ref in (V1, V2))
        seen = (
            ("edge", "ward-3", "SERVES", two, ""),
            ("team", "gpu-01", "SERVES", two, ""),
            ("team", "gpu-02", "OTHER", one, f"it serves the files of {V1}"),
            ("org", "gpu-07", "SILENT", None, "no answer on 127.0.0.1:8107"),
        )
        for tier, node, state, version, why in seen:
            body = canonical_bytes({"format": "tidegate-observation/1", "why": why, "facts": {}}).decode()
            row = Observation(
                tier=tier, node=node, model=MODEL, state=state, version=version, body=body, since=rfc3339(now), actor="agent"
            )  # fmt: skip
            change.record(EventKind.OBSERVED, tier, row)
