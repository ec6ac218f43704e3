"""Three homes: an origin, a site of it that packs for others, and a further site, for the tests of relay."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from signing.ceremony import Profile
from signing.digests import sha256_hex
from signing.trust import Memory, Verified, enrol_upstream, upstream_files
from tests.signing.trust_world import NOW, Origin, take

HUB = "alpha"  # what the origin calls the site that passes on
FAR = "beta"  # what that site calls the one behind it


@dataclass
class Chain:
    """`origin` packs for the hub, the hub packs for the far site with keys of its own."""

    base: Path
    origin: Origin
    hub: Origin
    hub_memory: Memory
    far_memory: Memory
    taken: list[Verified] = field(default_factory=list)  # by the far site

    @classmethod
    def founded(cls, base: Path, profile: Profile = Profile.SOLO) -> "Chain":
        origin, hub = Origin.founded(profile), Origin.founded(profile)
        chain = cls(base, origin, hub, origin.enrolled(), hub.enrolled())
        chain.far_memory = chain.trusting_both()
        return chain

    def trusting_both(self) -> Memory:
        """A far site that has heard of nothing yet, enrolled with the first root of each."""
        root = self.origin.state.roots[0]
        return enrol_upstream(self.hub.enrolled(), root, sha256_hex(root))

    def to_hub(self, *releases: str, now: datetime = NOW, **more: Any) -> Path:
        """The origin releases and ships, the hub takes it in. Returns the bundle."""
        paths = [self.origin.release(name) for name in releases]
        bundle = self._place("hub", self.origin, self.origin.export(HUB, paths, now=now, **more))
        self.hub_memory, verified = take(bundle, self.hub_memory, site=HUB, now=now)
        self.hub.documents |= verified.releases
        return bundle

    def relay(self, *paths: str, now: datetime = NOW, memory: Memory | None = None, **more: Any) -> Path:
        """The hub packs release documents that it holds for the far site. Returns the bundle."""
        bundle = self._place("far", self.hub, self.hub.export(FAR, paths, now=now, **more))
        put(bundle, upstream_files(memory or self.hub_memory))
        return bundle

    def arrive(self, bundle: Path, *, now: datetime = NOW) -> Verified:
        """The far site takes the bundle in."""
        self.far_memory, verified = take(bundle, self.far_memory, site=FAR, now=now)
        self.taken.append(verified)
        return verified

    def _place(self, where: str, packer: Origin, export: str) -> Path:
        folder = self.base / where / str(len(list((self.base / where).glob("*"))))
        return packer.pack(folder, export)


def put(bundle: Path, files: dict[str, bytes], *, without: Iterable[str] = ()) -> None:
    """Write files into a bundle."""
    for name in sorted(set(files) - set(without)):
        place = bundle / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(files[name])
