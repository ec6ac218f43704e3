"""`README.txt` of an audit folder: what lies where, and how to check it without Tidegate. ASCII, for people."""

from collections.abc import Mapping
from typing import Any


def readme(about: Mapping[str, Any]) -> str:
    """Return the text."""
    lines = [
        f"Audit folder of the home {about['home']}, made {about['made_at']}.",
        f"Log: {about['size']} events, root {about['root']}",
        f"Key: {about['log_key']}",
        "Compare this key with one that you have from somebody else than this folder.",
        *([f"Left out: {about['left_out']}."] if about["left_out"] else []),
        "",
        "log/          the log in C2SP tiles, its signed head, heads that others cosigned, proofs of what was served",
        "statements/   signed statements, each with its signature beside it",
        "approvals/    what people signed to approve or reject, and their signatures",
        "decisions/    other decisions that people signed",
        "requests/     the pages that people were shown",
        "people/       who the people are and were; allowed_signers for ssh-keygen",
        "reports/      what scans and suites found here",
        "documents/    contracts, profiles, suites and the like",
        "versions/     per version its list of files, its signature (OpenSSF Model Signing), its bill of materials",
        "trust/        the trust metadata that this home published or remembers",
        "keys/         public keys",
        "texts/        long texts that the log names by their SHA-256",
        "",
        "Is every file as it was written?      sha256sum -c SHA256SUMS",
        "Does all of it fit together?          python3 verify.py audit .",
        "Why did a tier serve a model?         python3 verify.py promotion . TIER MODEL",
        "verify.py is published with the format, which AUDIT.md describes.",
    ]
    return "\n".join(lines) + "\n"
