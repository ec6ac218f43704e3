"""What every pipeline works with: the home's state and who acts when. Made by `tidegate.wiring`, passed down."""

from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner

from registry.blobs import BlobStore
from registry.home import Home
from registry.store import Store


@dataclass(frozen=True)
class Workplace:
    """One command's world. `now` is the moment the command began; no pipeline reads a clock for decisions."""

    home: Home
    store: Store
    blobs: BlobStore
    station: CryptoSigner  # this machine's own key
    actor: str
    now: datetime
