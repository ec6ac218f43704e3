"""A person's own key, however it is kept: a file, a PIV card, a FIDO2 token, an ssh-agent.

A file is opened here. What cannot be opened, because the private half is in a token or held by an agent, signs
through `ssh-keygen -Y sign`, which knows how to talk to both and asks for the touch itself; for an agent the public
half is named. A PIV card is named by URI and signs through PKCS#11.
"""

import binascii
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tidegate.keyring import key_uri

_HEAD = 64 << 10  # bytes; a key file is smaller
_PATIENCE = 600  # seconds to find the token and touch it


def sign_as_person(key: str, message: bytes, *, namespace: str, passphrase: Callable[[str], bytes]) -> str:
    """Return the text of a person's signature, as `signing.person_signature.verify` takes it.

    Args:
        key: a path, or an `hsm:` URI of a key with a certificate beside it.
        passphrase: called with the key for a sealed file's passphrase or a card's PIN.

    Raises:
        KeyMissing, KeyUnreadable, UnknownKeyScheme: of `signing.keys`.
        TokenUnusable: of `signing.tokens`.
        PersonSignatureUncheckable: the card's certificate is of a kind that nobody could check.
    """
    if key.startswith("hsm:"):
        from signing import piv

        return piv.sign(message, namespace=namespace, uri=key_uri(key), passphrase=passphrase)
    path = Path(key.removeprefix("file:"))
    if _kept_elsewhere(path):
        return _by_ssh_keygen(path, message, namespace)
    from signing.sshsig import load_private, sign

    return sign(message, namespace=namespace, private_key=load_private(path, passphrase=passphrase))


def _kept_elsewhere(path: Path) -> bool:
    """Whether the file is a public half, or the handle of a token's key; what cannot be read is a file's matter."""
    from signing.sshsig import ALGORITHMS, HARDWARE

    try:
        with path.open("rb") as stream:
            data = stream.read(_HEAD)
    except OSError:
        return False
    if data.startswith(tuple(f"{name} ".encode() for name in ALGORITHMS)):
        return True
    armored = re.search(rb"-----BEGIN OPENSSH PRIVATE KEY-----([\sA-Za-z0-9+/=]*)-----END", data)
    try:  # the public half stands open in a sealed file as well (openssh-portable PROTOCOL.key)
        opened = binascii.a2b_base64(armored[1]) if armored else b""
    except binascii.Error:
        return False
    return any(name.encode() in opened for name in HARDWARE)


def _by_ssh_keygen(path: Path, message: bytes, namespace: str) -> str:
    from signing.keys import KeyUnreadable

    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(path)]
    try:
        done = subprocess.run(command, input=message, stdout=subprocess.PIPE, timeout=_PATIENCE, check=False)
    except FileNotFoundError as exc:
        raise KeyUnreadable(str(path), "ssh-keygen, which would sign with it, is not installed here") from exc
    except subprocess.TimeoutExpired as exc:
        raise KeyUnreadable(str(path), f"nobody touched the token in {_PATIENCE} s") from exc
    if done.returncode != 0:
        problem = "ssh-keygen could not sign with it (its words are above); is the token plugged in, the agent running?"
        raise KeyUnreadable(str(path), problem)
    return done.stdout.decode(errors="replace")
