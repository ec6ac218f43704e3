"""What every pipeline works with: the home's state and who acts when. Made by `tidegate.wiring`, passed down."""

from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner, Signer

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
    stations: tuple[Signer, ...] = ()  # this machine's keys for snapshot and timestamp; none: `station` alone

    @property
    def publishers(self) -> tuple[Signer, ...]:
        """What signs snapshot and timestamp at an origin: those of its keys that the root names are used."""
        return self.stations or (self.station,)
