"""A security module in software (SoftHSM 2), with tokens of a test's own; one per test process."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.programs import program

PIN = b"271828"
_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
           "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")  # fmt: skip


class SoftHsm:
    """Its library reads the settings once per process, so they are put in place before the first use."""

    def __init__(self, folder: Path) -> None:
        program("softhsm2-util")
        self.folder = folder
        self.module = next(place for place in _PLACES if Path(place).exists())
        (folder / "tokens").mkdir()
        settings = folder / "softhsm2.conf"
        settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
        os.environ["SOFTHSM2_CONF"] = str(settings)
        for label in ("export", "card"):
            self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "3141592")

    def uri(self, name: str, token: str = "export") -> str:
        return f"hsm:token={token};object={name};module={self.module}"

    def make(self, name: str, kind: str, *more: str, token: str = "export", identity: str = "") -> None:
        """A key pair, made with the common tool for tokens."""
        words = ["--keypairgen", "--key-type", kind, "--label", name, *more]
        self.tool(*words, *(["--id", identity] if identity else []), token=token)

    def keep_certificate(self, name: str, der: bytes, identity: str, token: str = "card") -> None:
        (self.folder / f"{name}.der").write_bytes(der)
        words = ["--write-object", str(self.folder / f"{name}.der"), "--type", "cert"]
        self.tool(*words, "--label", name, "--id", identity, token=token)

    def tool(self, *words: str, token: str = "export") -> str:
        login = ("--token-label", token, "--login", "--pin", PIN.decode())
        return self._run("pkcs11-tool", "--module", self.module, *login, *words, pin=False)

    def _run(self, name: str, *words: str, pin: bool = True) -> str:
        command = [program(name), *words, *(["--pin", PIN.decode()] if pin else [])]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout
