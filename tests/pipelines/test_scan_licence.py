import pytest

from pipelines.scan.licence import combine, disagree, from_identifier, from_licence_text, from_model_card
from pipelines.scan.spdx import identify, spdx_id


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


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("Apache License 2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("BSD-3-Clause", "BSD-3-Clause"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("LGPL-3.0-only", "LGPL-3.0-only"),
        ("mpl-2.0", "MPL-2.0"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("llama3.1", "LicenseRef-llama3.1"),
        ("gemma", "LicenseRef-gemma"),
        ("LicenseRef-gemma", "LicenseRef-gemma"),
        ("creativeml-openrail-m", "LicenseRef-creativeml-openrail-m"),
        ("qwen-research", "LicenseRef-qwen-research"),
        ("other", None),
        ("unknown", None),
        ("do what you want", None),
        ("", None),
    ],
)
def test_an_id_has_its_spdx_name_or_none(said: str, name: str | None) -> None:
    assert name == spdx_id(said)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date: September 25, 2024",
            "llama3.2",
        ),
        ("LLAMA 4 COMMUNITY LICENSE AGREEMENT", "llama4"),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT", "llama2"),
        ("Gemma Terms of Use\n\nLast modified: April 1, 2024", "gemma"),
        ("CreativeML Open RAIL-M\ndated August 22, 2022", "creativeml-openrail-m"),
        ("BigCode OpenRAIL-M v1 License Agreement", "bigcode-openrail-m"),
        ("Tongyi Qianwen LICENSE AGREEMENT", "qwen"),
        ("Qwen RESEARCH LICENSE AGREEMENT", "qwen-research"),
        ("DEEPSEEK LICENSE AGREEMENT\nVersion 1.0", "deepseek"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n Version 3", "lgpl-3.0"),
        ("Mozilla Public License Version 2.0", "mpl-2.0"),
        ("Creative Commons Attribution 4.0 International Public License", "cc-by-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "cc-by-nc-4.0"),
        ("CC0 1.0 Universal", "cc0-1.0"),
        ("Permission to use this with friends is granted.", None),
    ],
)
def test_a_text_is_known_by_words_that_only_it_has(text: str, name: str | None) -> None:
    assert name == identify(text)


def test_ids_written_in_other_ways_are_one() -> None:
    written = from_identifier("a", "Apache License 2.0"), from_model_card("b", card("license: apache-2.0"))
    assert not disagree(list(written))


def test_a_hostile_licence_text_is_read_in_bounded_time() -> None:
    import time

    begun = time.monotonic()
    for text in (
        "redistribution and use in source and binary forms" * 2000,
        "llama " * 20_000,
        "gnu " * 20_000,
    ):
        identify(text)
    assert time.monotonic() - begun < 5
