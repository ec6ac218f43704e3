"""What a person sees of a bundle's way: packed for media, read back, divided anew, asked for again, brought."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.bundle.errors import ChunksMissing
from registry.audit import EventKind
from tests.tidegate.town import MODEL, Town

V1, V2 = f"{MODEL}@1", f"{MODEL}@2"


@pytest.fixture
def fresh(town: Town) -> Town:
    """The same site before anything of the first version's weights was there: they are asked for again."""
    town.blob(1, "model.safetensors").unlink()
    return town


def test_create_says_what_was_packed_and_what_may_be_lost(town: Town) -> None:
    out = town.folder / "out"
    words = ["bundles", "create", V1, "--to", "clinic", "--parity", "1", "--compact", "--self-contained"]
    said = town.origin.ask(*words, "--out", out)
    assert {"bundle", "sequence", "digest", "site", "volumes", "bytes", "carried", "stored", "parity", "left_out",
            "versions", "notes"} == set(said)  # fmt: skip
    assert (2, [V1], 0) == (said["sequence"], said["versions"], said["left_out"])
    assert 0 < said["stored"] <= said["carried"]
    [folder] = map(Path, said["volumes"])
    assert list((folder / "parity").rglob("*"))


def test_a_persons_word_is_shown_at_the_site(town: Town) -> None:
    out = town.folder / "out"
    word = ["--assume-received", "1", "--by", "maria", "--reason", "she signed for it"]
    said = town.origin.ask("bundles", "create", V2, "--to", "clinic", "--out", out, *word)
    assert said["left_out"] > 0
    assert "maria: she signed for it" in town.site.type("bundles", "inspect", out).output
    seen = town.site.ask("bundles", "inspect", out)
    assert ["number 1, by maria: she signed for it"] == seen["assumed_received"]
    town.site.type("bundles", "import", out)


def test_the_media_are_read_back_at_both_ends(town: Town) -> None:
    words = ["--serial", "VBTM-0042", "--seal", "7781", "--carrier", "maria"]
    for prompt in (town.origin, town.site):
        said = prompt.ask("bundles", "verify", town.medium, *words)
        assert ["WHOLE"] == [volume["outcome"] for volume in said["volumes"]]
        assert "WHOLE" in prompt.type("bundles", "verify", town.medium, *words).output
        assert str(EventKind.MEDIUM_VERIFIED) in prompt.type("audit", "log").output
        prompt.type("audit", "verify")


def test_other_media_carry_the_same_bundle(town: Town) -> None:
    said = town.origin.ask("bundles", "resplit", town.medium, "--out", town.folder / "new", "--parity", "2")
    before = town.site.ask("bundles", "inspect", town.medium)
    after = town.site.ask("bundles", "inspect", *said["volumes"])
    assert before["signed_by"] == after["signed_by"]
    assert town.site.ask("bundles", "import", *said["volumes"])["already"]


def test_what_is_lost_is_asked_for_and_brought(fresh: Town) -> None:
    """The whole way of a repair, as it is typed."""
    damaged = fresh.folder / "damaged"
    shutil.copytree(fresh.medium, damaged)
    chunks = [path for path in damaged.rglob("chunks/*/*") if path.is_file()]
    for path in chunks:
        path.unlink()
    fresh.site.type("bundles", "import", damaged, ends=ChunksMissing.exit_code)
    request, answer = fresh.folder / "request.json", fresh.folder / "answer"
    shown = fresh.site.type("bundles", "repair-request", damaged, "--out", request).output
    assert "tidegate bundles repair request.json" in shown
    said = fresh.origin.ask("bundles", "repair", request, "--out", answer)
    assert len(json.loads(request.read_text())["payload"]["chunks"]) == said["chunks"] < len(chunks)
    done = fresh.site.ask("bundles", "import", answer, damaged)
    assert done["bytes"] > 0
    fresh.site.type("doctor", "--deep")


def test_with_one_drive_media_are_collected(town: Town) -> None:
    """Typed by a program, --collect asks nobody: it says which are missing."""
    said = town.origin.ask("bundles", "create", V1, "--to", "clinic", "--self-contained", "--parity", "1",
                           "--out", town.folder / "out")  # fmt: skip
    done = town.site.ask("bundles", "import", *said["volumes"], "--collect")
    assert ["held"] == [version["outcome"] for version in done["versions"]]
    assert [] == done["missing"]
