"""What things may be called."""

import pytest

from registry.errors import NameUnusable
from registry.names import Ref, model_name, word

DIGEST = "ab12cd34" * 8


@pytest.mark.parametrize(
    "name", ["qwen/qwen3-8b", "a/b", "org.x/model_1.5", "0/0", "a" * 96 + "/" + "b" * 96]
)
def test_a_name_that_works_on_every_protocol(name: str) -> None:
    assert name == model_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "model", "a/b/c", "/b", "a/", "Qwen/qwen", "a/b--c", "a--b/c", "a/..", "../a", "a/b..c", "a/.b", "a/b.",
        "-a/b", "a/b-", "a/b.git", "a /b", "a/b\n", "a\\b", "a/b@3", "ä/b", "a/" + "b" * 97, "a/b\x00", "a/b:3",
    ],
)  # fmt: skip
def test_a_name_that_some_protocol_would_bend(name: str) -> None:
    with pytest.raises(NameUnusable) as refusal:
        model_name(name)
    assert (name, "model") == (refusal.value.name, refusal.value.what)
    assert "namespace/name" in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["edge", "team", "org", "site-7", "a", "v", "vault", "abcdef12345", "t" * 31]
)
def test_a_word_for_a_tier_site_or_person(name: str) -> None:
    assert name == word("tier", name)


@pytest.mark.parametrize(
    "name",
    ["", "Edge", "1st", "-a", "a--b", "a_b", "a.b", "a/b", "v1", "v42", "latest", "main", "master", "head",
     "abcdef123456", "t" * 32, "ä", "a\n", " a"],
)  # fmt: skip
def test_a_word_that_git_mlflow_or_a_commit_id_already_means(name: str) -> None:
    with pytest.raises(NameUnusable) as refusal:
        word("tier", name)
    assert "tier" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("a/b", Ref("a/b")),
        ("a/b@3", Ref("a/b", ordinal=3)),
        ("a/b@team", Ref("a/b", tier="team")),
        (f"a/b@sha256:{DIGEST}", Ref("a/b", digest_prefix=DIGEST)),
        ("a/b@sha256:ab12cd34", Ref("a/b", digest_prefix="ab12cd34")),
    ],
)
def test_a_reference_is_read_and_written_alike(text: str, ref: Ref) -> None:
    assert ref == Ref.parse(text)
    assert text == str(ref)


@pytest.mark.parametrize(
    "text",
    [
        "a@3",
        "a/b@",
        "a/b@0",
        "a/b@-1",
        "a/b@03",
        "a/b@sha256:ab",
        "a/b@sha256:",
        "a/b@Team",
        "a/b@1@2",
        "a/b@٣",
    ],
)
def test_what_refers_to_nothing_is_refused(text: str) -> None:
    with pytest.raises(NameUnusable):
        Ref.parse(text)
