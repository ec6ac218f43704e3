"""Licences by name and by words: one table for ids as people write them, texts, and what SPDX calls them.

Ids here are lower case, as a model hub writes them and as a decision `accept-licence` names them. SPDX has names for
some; for a licence that it does not list, its own form is `LicenseRef-…`. What neither an id nor distinctive words
tell is unknown, and stays so.
"""

import re

# Our id: (SPDX's id, other ways to write it).
_KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "apache-2.0": ("Apache-2.0", ("apache2", "apache 2.0", "apache-2", "apache license 2.0")),
    "mit": ("MIT", ("mit license", "mit-license", "expat")),
    "bsd-2-clause": ("BSD-2-Clause", ("bsd-2", "simplified bsd")),
    "bsd-3-clause": ("BSD-3-Clause", ("bsd-3", "new bsd", "modified bsd")),
    "gpl-2.0": ("GPL-2.0-only", ("gpl-2.0-only", "gplv2", "gpl2")),
    "gpl-2.0-or-later": ("GPL-2.0-or-later", ("gpl-2.0+", "gplv2+")),
    "gpl-3.0": ("GPL-3.0-only", ("gpl-3.0-only", "gplv3", "gpl3")),
    "gpl-3.0-or-later": ("GPL-3.0-or-later", ("gpl-3.0+", "gplv3+")),
    "lgpl-2.1": ("LGPL-2.1-only", ("lgpl-2.1-only", "lgplv2.1")),
    "lgpl-3.0": ("LGPL-3.0-only", ("lgpl-3.0-only", "lgplv3")),
    "agpl-3.0": ("AGPL-3.0-only", ("agpl-3.0-only", "agplv3")),
    "mpl-2.0": ("MPL-2.0", ("mpl2", "mplv2", "mozilla public license 2.0")),
    "cc0-1.0": ("CC0-1.0", ("cc0",)),
    "cc-by-4.0": ("CC-BY-4.0", ("cc by 4.0",)),
    "cc-by-sa-4.0": ("CC-BY-SA-4.0", ("cc by-sa 4.0",)),
    "cc-by-nc-4.0": ("CC-BY-NC-4.0", ("cc by-nc 4.0",)),
    "cc-by-nc-sa-4.0": ("CC-BY-NC-SA-4.0", ("cc by-nc-sa 4.0",)),
    "cc-by-nd-4.0": ("CC-BY-ND-4.0", ()),
    "cc-by-nc-nd-4.0": ("CC-BY-NC-ND-4.0", ()),
    "unlicense": ("Unlicense", ("the unlicense",)),
    "isc": ("ISC", ()),
    "llama2": ("LicenseRef-llama2", ("llama-2", "llama 2")),
    "llama3": ("LicenseRef-llama3", ("llama-3", "llama 3")),
    "llama3.1": ("LicenseRef-llama3.1", ("llama-3.1", "llama 3.1")),
    "llama3.2": ("LicenseRef-llama3.2", ("llama-3.2", "llama 3.2")),
    "llama3.3": ("LicenseRef-llama3.3", ("llama-3.3", "llama 3.3")),
    "llama4": ("LicenseRef-llama4", ("llama-4", "llama 4")),
    "gemma": ("LicenseRef-gemma", ("gemma-terms-of-use",)),
    "openrail": ("LicenseRef-openrail", ()),
    "openrail++": ("LicenseRef-openrail-plus-plus", ("creativeml-openrail++-m",)),
    "creativeml-openrail-m": ("LicenseRef-creativeml-openrail-m", ()),
    "bigscience-openrail-m": ("LicenseRef-bigscience-openrail-m", ()),
    "bigcode-openrail-m": ("LicenseRef-bigcode-openrail-m", ()),
    "bigscience-bloom-rail-1.0": ("LicenseRef-bigscience-bloom-rail-1.0", ()),
    "qwen": ("LicenseRef-qwen", ("tongyi-qianwen", "qwen-license")),
    "qwen-research": ("LicenseRef-qwen-research", ("tongyi-qianwen-research",)),
    "deepseek": ("LicenseRef-deepseek", ("deepseek-license",)),
    "mrl": ("LicenseRef-mrl", ("mistral-research", "mistral-ai-research-licence")),
}  # fmt: skip
_BY_NAME = {
    name: ours
    for ours, (spdx, others) in _KNOWN.items()
    for name in (ours, spdx.lower(), spdx.lower().removeprefix("licenseref-"), *others)
}

# In this order: a text that quotes another licence comes before the one it quotes. Words lower case, one space each.
_PHRASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^.{0,400}?\bllama (\d(?:\.\d)?) (?:community )?licen[cs]e agreement", r"llama\1"),
        (r"\bllama (\d(?:\.\d)?) community licen[cs]e", r"llama\1"),
        (r"\bgemma terms of use", "gemma"),
        (r"^.{0,200}?bigcode (?:open ?)?rail-m", "bigcode-openrail-m"),
        (r"^.{0,200}?creativeml open rail\+\+-m", "openrail++"),
        (r"^.{0,200}?creativeml open rail-?m", "creativeml-openrail-m"),
        (r"^.{0,200}?bigscience (?:open )?rail(?:-m)? licen[cs]e", "bigscience-openrail-m"),
        (r"^.{0,400}?open rail[- ]?m|^.{0,400}?responsible ai licen[cs]e", "openrail"),
        (r"^.{0,300}?(?:tongyi qianwen|qwen) research licen[cs]e agreement", "qwen-research"),
        (r"^.{0,300}?(?:tongyi qianwen|qwen) licen[cs]e agreement", "qwen"),
        (r"^.{0,300}?deepseek licen[cs]e agreement", "deepseek"),
        (r"^.{0,300}?mistral ai research licen[cs]e", "mrl"),
        (r"^\W*gnu affero general public licen[cs]e version 3", "agpl-3.0"),
        (r"^\W*gnu lesser general public licen[cs]e version 3", "lgpl-3.0"),
        (r"^\W*gnu lesser general public licen[cs]e version 2\.1", "lgpl-2.1"),
        (r"^\W*gnu general public licen[cs]e version 3", "gpl-3.0"),
        (r"^\W*gnu general public licen[cs]e version 2", "gpl-2.0"),
        (r"mozilla public licen[cs]e,? version 2\.0", "mpl-2.0"),
        (r"apache licen[cs]e,? version 2\.0", "apache-2.0"),
        (r"attribution-noncommercial-sharealike 4\.0 international", "cc-by-nc-sa-4.0"),
        (r"attribution-noncommercial-noderivatives 4\.0 international", "cc-by-nc-nd-4.0"),
        (r"attribution-noncommercial 4\.0 international", "cc-by-nc-4.0"),
        (r"attribution-noderivatives 4\.0 international", "cc-by-nd-4.0"),
        (r"attribution-sharealike 4\.0 international", "cc-by-sa-4.0"),
        (r"attribution 4\.0 international", "cc-by-4.0"),
        (r"cc0 1\.0 universal", "cc0-1.0"),
        (r"this is free and unencumbered software released into the public domain", "unlicense"),
        (r"permission is hereby granted, free of charge, to any person obtaining a copy of this software", "mit"),
        (r"permission to use, copy, modify, and/or distribute this software for any purpose", "isc"),
        (r"redistribution and use in source and binary forms[^\0]*neither the name", "bsd-3-clause"),
        (r"redistribution and use in source and binary forms", "bsd-2-clause"),
    )
)  # fmt: skip
_SHORT = 60  # characters; an id is no longer
_READ = 64 << 10  # characters of a text


def licence_id(said: str) -> str | None:
    """Return our id of a licence from one of its names, or None for a name that is not in the table."""
    return _BY_NAME.get(" ".join(said.strip().lower().split()))


def identify(text: str) -> str | None:
    """Return our id of a licence from its text, by words that only this one has, or None."""
    words = " ".join(text[:_READ].lower().split())
    for pattern, ours in _PHRASES:
        if match := pattern.search(words):
            return match.expand(ours)
    return None


def spdx_id(said: str) -> str | None:
    """Return the SPDX name of a licence from an id or a whole text; None: unknown.

    Licences that SPDX does not list have the form that it gives for these: `LicenseRef-llama3.1`.
    """
    ours = licence_id(said) if len(said) <= _SHORT else None
    ours = ours or identify(said)
    return _KNOWN[ours][0] if ours in _KNOWN else f"LicenseRef-{ours}" if ours else None
