"""Suites of cases that a served model must pass: signed data, run by pytest in a child process."""

from pathlib import Path

BUILTIN = Path(__file__).parent / "builtin"  # one folder per suite that ships with the product
