"""Bytes that nobody should see: a passphrase, a PIN, an open private key."""

from typing import final


@final
class Hidden(bytes):
    """Bytes whose repr shows nothing, so that a traceback with local variables, or a log of them, shows nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"

    __str__ = __repr__
