import pytest

from pipelines.scan.licence import combine, disagree, from_identifier, from_licence_text, from_model_card


def card(*lines: str) -> str:
    return "\n".join(["---", *lines, "---", "# Model"])


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (card("license: apache-2.0"), ("apache-2.0",)),
        (card("tags: [a]", 'license: "MIT"  # yes', "base: x"), ("mit",)),
        (card("license:", "- apache-2.0", "- mit"), ("apache-2.0", "mit")),
        (card("license:", "  - mit", "tags:", "  - x"), ("mit",)),
        (card("license: other", "license_name: qwen-research"), ("qwen-research",)),
        (card("license: other"), ("other",)),
        (card("license_name: gemma"), ("gemma",)),
        ("\ufeff" + card("license: mit"), ("mit",)),
    ],
)
def test_plain_front_matter_is_read(text: str, ids: tuple[str, ...]) -> None:
    statement = from_model_card("README.md", text)
    assert ("stated", ids) == (statement.state, statement.ids)


@pytest.mark.parametrize(
    "text", ["", "# Model", "license: mit", card("tags: x"), card("model:", "  license: mit"), "--- \n---\n"]
)
def test_a_card_that_says_nothing_says_nothing(text: str) -> None:
    assert "not-stated" == from_model_card("README.md", text).state


@pytest.mark.parametrize(
    "text",
    [
        card("license: [apache-2.0, mit]"),
        card("license: &a mit"),
        card("license: |", "  mit"),
        card("license:", "  name: mit"),
        card("license:"),
        card("license: mit", "license: apache-2.0"),
        card("{license: mit}"),
        card("'license': mit"),
        card("license:", "- a: b"),
        card("license: do what you want"),
        "---\nlicense: mit\n",
    ],
)
def test_what_needs_a_yaml_reader_is_not_readable(text: str) -> None:
    assert "not-readable" == from_model_card("README.md", text).state


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("   Apache License\n  Version 2.0, January 2004", "apache-2.0"),
        (
            "MIT License\n\nPermission is hereby granted, free of charge, to any person\nobtaining a copy of this software",
            "mit",
        ),
        (
            "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007 ... the GNU Affero General Public License",
            "gpl-3.0",
        ),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3", "agpl-3.0"),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "llama3.1"),
        ("Redistribution and use in source and binary forms, ... Neither the name", "bsd-3-clause"),
        ("Redistribution and use in source and binary forms, with or without", "bsd-2-clause"),
    ],
)
def test_licence_texts_are_known_by_their_words(text: str, name: str) -> None:
    assert (name,) == from_licence_text("LICENSE", text).ids


@pytest.mark.parametrize("text", ["", "All rights reserved."])
def test_an_unknown_licence_text_is_not_readable(text: str) -> None:
    assert "not-readable" == from_licence_text("LICENSE", text).state


def test_unknown_is_not_empty() -> None:
    assert "not-stated" == combine([from_model_card("README.md", "# x")]).state
    assert (
        "not-readable"
        == combine([from_licence_text("LICENSE", "?"), from_model_card("README.md", "# x")]).state
    )
    both = combine([from_licence_text("LICENSE", "?"), from_model_card("README.md", card("license: mit"))])
    assert ("stated", ("mit",), ("README.md",)) == (both.state, both.ids, both.sources)


def test_files_disagree_when_no_id_is_common() -> None:
    mit, two = from_identifier("a", "MIT"), from_model_card("b", card("license:", "- mit", "- gpl-3.0"))
    assert not disagree([mit, two, from_identifier("c", 7)])
    assert disagree([mit, two, from_identifier("c", "apache-2.0")])
