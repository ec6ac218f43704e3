"""What OCI clients ask by digest, on SQLite and PostgreSQL."""

from pathlib import Path

from pipelines.promote import withdraw
from registry import store_images
from registry.home import Home
from registry.manifests import decode
from registry.names import Ref
from tests.conftest import NOON
from tests.pipelines.test_materialise import add, pin
from tests.world import at_work

MODEL = "acme/tiny"


def test_images_files_and_numbers(site_home: Home, tmp_path: Path) -> None:
    """team served 1 and serves 2, edge serves 1, nobody promoted 3; 2 is withdrawn; another model has 1's files."""
    with at_work(site_home, actor="ines", now=NOON) as work:
        one, two, three = (add(work, tmp_path, seed) for seed in (1, 2, 3))
        add(work, tmp_path, 1, model="acme/other")
        for version, tier in ((one, "team"), (two, "team"), (one, "edge")):
            pin(work, version, tier)
        withdraw(work, Ref(MODEL, ordinal=2), reason="misreads dosages")
        licence = next(e.sha256 for e in decode(one.manifest.encode()).files if e.path == "LICENSE")
        weights = next(e.sha256 for e in decode(three.manifest.encode()).files if "model." in e.path)
        with work.store.view() as view:
            assert [row.digest for row in store_images.by_image(view, MODEL, two.modelpack)] == [two.digest]
            assert store_images.by_image(view, "acme/other", two.modelpack) == []
            assert [v.ordinal for v in store_images.holding(view, MODEL, licence)] == [2, 1, 3]
            assert [v.ordinal for v in store_images.holding(view, MODEL, weights)] == [3]
            for wild in ("%" * 64, "_" * 64, licence[:63]):
                assert store_images.holding(view, MODEL, wild) == []
            assert sorted(store_images.ordinals(view, MODEL)) == [1, 2, 3]
            assert sorted(store_images.served_ordinals(view, MODEL, None)) == [1, 2]
            assert store_images.served_ordinals(view, MODEL, {"edge"}) == [1]
            assert store_images.withdrawn_ordinals(view, MODEL) == {2}
            newest = {
                (served, tiers): [
                    v.ordinal for v in store_images.newest(view, MODEL, 2, served=served, tiers=tiers)
                ]
                for served, tiers in ((False, None), (True, None), (True, frozenset({"edge"})))
            }
        assert list(newest.values()) == [[3, 2], [2, 1], [1]]
