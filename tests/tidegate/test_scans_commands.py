"""`models scan`, `rescan`, `second-opinion` and `decisions waive` as they are typed."""

from pathlib import Path

import pytest

from pipelines.intake.errors import ScanBlocked
from pipelines.second_opinion import OpinionUnreadable
from signing.digests import file_sha256
from tests.pipelines.hostile import as_json, good_model
from tests.pipelines.test_intake_folder import laid_out
from tests.tidegate.town import MODEL, Town

OPINIONS = Path(__file__).parents[1] / "pipelines" / "second_opinions"
CODE = as_json({"model_type": "x", "auto_map": {"AutoModel": "modeling_x.X"}})


def test_a_blocked_file_comes_in_after_a_reviewers_signature(town: Town) -> None:
    folder = laid_out(town.folder / "model", good_model(config__json=CODE))
    add = ["models", "add", folder, "--as", "acme/tiny"]
    refused = town.origin.ask_refused(*add, ends=ScanBlocked.exit_code)
    assert f"waive code.auto-map sha256:{file_sha256(folder / 'config.json')}" in refused["message"]
    key = town.key("alice").with_suffix(".pub")
    town.origin.type("people", "add", "alice", "--public-key", key, "--role", "reviewer")
    sign = ["--person", "alice", "--reason", "the engine has its own code", "--key", town.key("alice")]
    town.origin.type("decisions", "waive", "code.auto-map", folder / "config.json", *sign)
    assert "waived" in {found["severity"] for found in town.origin.ask(*add)["scan"]["findings"]}
    assert "WARNED" == town.origin.ask("models", "scan", "acme/tiny")["outcome"]


@pytest.mark.parametrize(
    "words",
    [
        ["safetensors.malformed", "sha256:" + "0" * 64, "--path", "x"],
        ["no.such-rule", "sha256:" + "0" * 64, "--path", "x"],
        ["code.auto-map", "sha256:0", "--path", "x"],
        ["code.auto-map", "/no/such/file"],
        ["code.auto-map", "sha256:" + "0" * 64],
    ],
    ids=["not waivable", "unknown rule", "no digest", "no file", "no path"],
)
def test_a_waiver_that_cannot_be_meant_ends_with_2(town: Town, words: list[str]) -> None:
    sign = ["--person", "alice", "--reason", "please", "--key", town.key("alice")]
    town.site.type("decisions", "waive", *words, *sign, ends=2)


def test_a_rescan_after_which_nothing_is_due(town: Town) -> None:
    said = town.site.ask("models", "rescan")
    assert ([], 2, []) == (said["due"], said["current"], said["scanned"])
    assert "0 of 0 scanned by today's rules; 2 were already" in town.site.type("models", "rescan").output


def test_a_second_opinion_is_shown_and_decides_nothing(town: Town) -> None:
    words = ["models", "second-opinion", f"{MODEL}@1"]
    said = town.site.type(*words, OPINIONS / "picklescan.txt").output
    assert "picklescan: found something, 3 remarks about 3 files" in said
    assert "no gate looks at it" in said
    assert (
        "picklescan"
        in town.site.type(
            "suites", "report", town.site.ask(*words, OPINIONS / "picklescan.txt")["report"]
        ).output
    )
    town.site.ask_refused(*words, town.key("alice"), ends=OpinionUnreadable.exit_code)
    town.site.type("audit", "verify")
