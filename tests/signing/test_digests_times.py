"""Digests of files and bytes; moments as text."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from signing.digests import BLOCK, file_sha256, is_sha256, sha256_hex
from signing.times import TimeUnreadable, from_rfc3339, rfc3339, whole_second

HALF_PAST_EIGHT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


def test_the_digest_of_nothing_is_the_published_one() -> None:
    """Source: NIST FIPS 180-4 example values."""
    assert "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" == sha256_hex(b"")
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == sha256_hex(b"abc")


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
def test_a_file_hashes_as_its_bytes_do(tmp_path: Path, size: int) -> None:
    data = (b"tide" * (size // 4 + 1))[:size]
    (tmp_path / "f").write_bytes(data)
    assert hashlib.sha256(data).hexdigest() == file_sha256(tmp_path / "f")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 63,
        "a" * 65,
        "A" * 64,
        "g" * 64,
        "a" * 64 + "\n",
        " " + "a" * 63,
        "\uff41" * 64,
        "\u0663" * 64,
        None,
        7,
        b"a" * 64,
    ],
)
def test_what_only_looks_like_a_digest_is_none(text: object) -> None:
    assert not is_sha256(text)


def test_a_digest_is_one() -> None:
    assert is_sha256("0123456789abcdef" * 4)


def test_a_moment_is_utc_in_whole_seconds() -> None:
    assert "2026-11-20T08:30:00Z" == rfc3339(HALF_PAST_EIGHT.replace(microsecond=999_999))
    assert "2026-11-20T08:30:00Z" == rfc3339(HALF_PAST_EIGHT.astimezone(timezone(timedelta(hours=9))))
    assert HALF_PAST_EIGHT == from_rfc3339("2026-11-20T08:30:00Z")
    assert HALF_PAST_EIGHT == whole_second(HALF_PAST_EIGHT + timedelta(milliseconds=400))


def test_the_order_of_texts_is_the_order_of_time() -> None:
    moments = [HALF_PAST_EIGHT + timedelta(hours=hours) for hours in (-100_000, -1, 0, 1, 5, 100_000)]
    assert moments == [from_rfc3339(text) for text in sorted(map(rfc3339, reversed(moments)))]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-20",
        "2026-11-20T08:30:00",
        "2026-11-20T08:30:00+00:00",
        "2026-11-20T08:30:00.5Z",
        "2026-11-20 08:30:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T08:30:00Z\n",
        "20261120T083000Z",
        "\x00",
    ],
)
def test_another_spelling_of_a_moment_is_refused(text: str) -> None:
    with pytest.raises(TimeUnreadable):
        from_rfc3339(text)


@pytest.mark.parametrize(
    "text", ["2026-1-2T3:4:5Z", " 2026-11-20T08:30:00Z", "\uff12\uff10\uff12\uff16-11-20T08:30:00Z"]
)
def test_no_spelling_reads_as_a_moment_and_is_written_otherwise(text: str) -> None:
    """Text is compared as time everywhere, so a second spelling of one moment would sort wrongly."""
    with pytest.raises(TimeUnreadable):
        from_rfc3339(text)
