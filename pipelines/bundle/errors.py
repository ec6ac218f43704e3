"""What is refused about a bundle, a volume or a receipt: exit codes 20-29 and 60-69."""

from collections.abc import Sequence
from typing import ClassVar

from pipelines.errors import BundleRefused
from signing.errors import OperatorError


def listed(names: Sequence[str], *, limit: int = 20) -> str:
    """Return the names for one line; all of them stay on the refusal's attribute."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def below(problems: Sequence[str], *, limit: int = 20) -> str:
    """Return the problems on lines of their own below a heading."""
    rest = len(problems) - limit
    more = [f"and {rest} more"] if rest > 0 else []
    return "".join(f"\n  {problem}" for problem in (*problems[:limit], *more))


def chunks(problems: Sequence[str], what: str) -> str:
    """Return `1 chunk damaged` or `3 chunks damaged`, with each named below."""
    return f"{len(problems)} {'chunk' if len(problems) == 1 else 'chunks'} {what}{below(problems)}"


class NotABundle(BundleRefused):
    """There is nothing here that looks like a bundle."""

    exit_code: ClassVar[int] = 20
    next_step: ClassVar[str] = (
        "Check that the medium is mounted, and name its folder: the one that holds volume.json, or a folder above it."
    )

    def __init__(self, where: Sequence[str], problem: str = "no folder with a volume.json") -> None:
        super().__init__(f"{', '.join(where)}: {problem}")
        self.where, self.problem = tuple(where), problem


class MalformedBundle(BundleRefused):
    """A document of the bundle does not say what such a document says, or contradicts another one."""

    exit_code: ClassVar[int] = 21
    next_step: ClassVar[str] = (
        "Import nothing. Copy the bundle again from the connected side; if it fails again, the origin has to pack anew."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class FilesDamaged(BundleRefused):
    """Small files of the bundle that are missing or whose bytes are not the ones that were written."""

    exit_code: ClassVar[int] = 22
    next_step: ClassVar[str] = (
        "Import nothing. Copy the files named here again from the connected side, or use another copy of that volume."
    )

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(listed(problems))
        self.problems = tuple(problems)


class UndeclaredFile(BundleRefused):
    """Something on the medium that the bundle does not declare: a stranger's file, a link, a device."""

    exit_code: ClassVar[int] = 23
    next_step: ClassVar[str] = (
        "Do not open the file. Ask whoever carried the medium what it is; have the origin write a clean medium."
    )

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(f"not part of the bundle: {listed(paths)}")
        self.paths = tuple(paths)


class VolumeMissing(BundleRefused):
    """The bundle has more volumes than were given."""

    exit_code: ClassVar[int] = 24
    next_step: ClassVar[str] = (
        "Insert the volumes named here and run the same command with all folders. With one drive, add --collect and "
        "run it once for each medium: what was copied is kept. If one is lost: `tidegate bundles repair-request`."
    )

    def __init__(self, bundle: str, *, missing: Sequence[int], of: int, enough: int | None = None) -> None:
        """`enough`: how many of the volumes that are not here would do, parity among them; None where each is needed."""
        names = ", ".join(f"volume {index} of {of}" for index in missing)
        fewer = "" if enough is None else f"; any {enough} of the volumes not here would do"
        super().__init__(f"bundle {bundle}: {names} missing{fewer}")
        self.bundle, self.missing, self.of, self.enough = bundle, tuple(missing), of, enough


class ChunksMissing(BundleRefused):
    """Chunks that a volume should hold and does not, or holds with another size."""

    exit_code: ClassVar[int] = 25
    next_step: ClassVar[str] = (
        "Copy the files named here again from the connected side (the copy was probably interrupted), then repeat; "
        "or ask for them: `tidegate bundles repair-request`."
    )

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(chunks(problems, "missing or cut"))
        self.problems = tuple(problems)


class ChunksDamaged(BundleRefused):
    """Chunks whose bytes are not the ones their names promise, or that the medium cannot read."""

    exit_code: ClassVar[int] = 26
    next_step: ClassVar[str] = (
        "Get good copies of the files named here, or ask for them (`tidegate bundles repair-request`), and run the same "
        "command again; everything else is kept and not read twice."
    )

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(chunks(problems, "damaged"))
        self.problems = tuple(problems)


class BundlesMixed(BundleRefused):
    """Volumes of different bundles were given together."""

    exit_code: ClassVar[int] = 27
    next_step: ClassVar[str] = "Name only the volumes of one bundle, and import one bundle after the other."

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__(f"these are not volumes of one bundle: {', '.join(found)}")
        self.found = tuple(found)


class EncodingUnknown(BundleRefused):
    """Chunks are stored in a form that this release does not read."""

    exit_code: ClassVar[int] = 28
    next_step: ClassVar[str] = (
        "Update this site's Tidegate to the origin's release, or ask the origin for a bundle with --profile guard."
    )

    def __init__(self, encoding: str, *, at: str) -> None:
        super().__init__(f"{at}: encoding {encoding!r} is unknown to this release")
        self.encoding, self.at = encoding, at


class BaseMissing(BundleRefused):
    """The origin left out files that it believes are here, and they are not."""

    exit_code: ClassVar[int] = 29
    next_step: ClassVar[str] = (
        "Send the origin a new receipt (`tidegate receipts write --out FILE`) and ask for a new bundle."
    )

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"left out because the origin takes them to be here, and not held here: {listed(missing)}"
        )
        self.missing = tuple(missing)


class MediumUnknown(BundleRefused):
    """Neither the name of a medium nor a size."""

    exit_code: ClassVar[int] = 60
    next_step: ClassVar[str] = (
        "Write a size (4700000000, 4.7GB, 4GiB), a disc (dvd, bd25, bd50, bd100), or a formatted stick (fat32:64GB, "
        "exfat:1TB)."
    )

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no medium and no size")
        self.text = text


class OutputUnusable(BundleRefused):
    """The folder for a bundle cannot be written, or holds something already."""

    exit_code: ClassVar[int] = 61
    next_step: ClassVar[str] = "Name another folder with --out; a bundle never replaces what is there."

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class VolumeTooSmall(BundleRefused):
    """A volume on which not even the small files fit."""

    exit_code: ClassVar[int] = 62
    next_step: ClassVar[str] = "Choose a larger --volume-size; the message says the smallest that would do."

    def __init__(self, volume_bytes: int, *, least: int) -> None:
        super().__init__(f"a volume of {volume_bytes:,} bytes; at least {least:,} are needed")
        self.volume_bytes, self.least = volume_bytes, least


class ReceiptOnMedium(BundleRefused):
    """The receipt would be written onto the delivered medium, which is only ever read."""

    exit_code: ClassVar[int] = 63
    next_step: ClassVar[str] = (
        "Name a place for the receipt that is not on the delivered medium: a folder here, or the medium that goes back."
    )

    def __init__(self, path: str, *, medium: str) -> None:
        super().__init__(f"{path} is on the delivered medium ({medium}), which is never written to")
        self.path, self.medium = path, medium


class ReceiptWrong(BundleRefused):
    """A receipt that is not readable, or that its site did not sign."""

    exit_code: ClassVar[int] = 64
    next_step: ClassVar[str] = (
        "Take nothing from it. Ask the site to write the receipt again (`tidegate receipts write`) and carry it anew."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class ReceiptForeign(BundleRefused):
    """A receipt for a bundle that this origin did not make."""

    exit_code: ClassVar[int] = 65
    next_step: ClassVar[str] = (
        "Carry the receipt to the origin that made the bundle. If that is this one, it was restored from an older backup: "
        "tell the security officer before shipping anything more."
    )

    def __init__(self, site: str, *, sequence: int, problem: str) -> None:
        super().__init__(f"receipt of {site} for its bundle {sequence}: {problem}")
        self.site, self.sequence, self.problem = site, sequence, problem


class FormatTooNew(BundleRefused):
    """The bundle says that a reader must understand something which this release does not."""

    exit_code: ClassVar[int] = 66
    next_step: ClassVar[str] = (
        "Update this site's Tidegate to the origin's release, or ask the origin for a bundle in the older format."
    )

    def __init__(self, unknown: Sequence[str], *, at: str) -> None:
        super().__init__(f"{at}: this release does not know {listed(unknown)}, and the document says it must")
        self.unknown, self.at = tuple(unknown), at


class NotReady(BundleRefused):
    """Several things stand in the way; each is named with what mends it."""

    exit_code: ClassVar[int] = 67
    next_step: ClassVar[str] = "Do what stands under each of them, then run the same command again."

    def __init__(self, problems: Sequence[OperatorError]) -> None:
        each = "".join(f"\n- {problem}\n  Next: {problem.next_step}" for problem in problems)
        super().__init__(f"{len(problems)} things stand in the way:{each}")
        self.problems = tuple(problems)


class PlanUntrusted(BundleRefused):
    """The volume plan is not signed by the packer that the export document names."""

    exit_code: ClassVar[int] = 68
    next_step: ClassVar[str] = (
        "Import nothing. Copy plan.json and plan.sig.json again from the connected side; if it fails again, have it packed anew."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(f"plan.json: {problem}")
        self.problem = problem


class MediumUnreadable(BundleRefused):
    """The medium gives an error instead of bytes."""

    exit_code: ClassVar[int] = 69
    next_step: ClassVar[str] = (
        "Clean or re-insert the medium and try again, or use another copy; check that you may read its files."
    )

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class PartlyImported(BundleRefused):
    """Some of the bundle is whole and visible; the rest waits for chunks that nothing here gives."""

    exit_code: ClassVar[int] = 110
    next_step: ClassVar[str] = (
        "Do what stands under each of them, then run the same command again: it goes on where it stopped."
    )

    def __init__(
        self,
        bundle: str,
        *,
        visible: Sequence[str],
        waiting: Sequence[str],
        problems: Sequence[OperatorError],
    ) -> None:
        each = "".join(f"\n- {problem}\n  Next: {problem.next_step}" for problem in problems)
        super().__init__(
            f"bundle {bundle} is in only in part. Visible: {listed(visible) or 'its documents'}. "
            f"Waiting: {listed(waiting) or 'files'}.{each}"
        )
        self.bundle, self.problems = bundle, tuple(problems)
        self.visible, self.waiting = tuple(visible), tuple(waiting)


class NotOurBundle(BundleRefused):
    """This home did not make the bundle, or has not kept what it needs to speak of it."""

    exit_code: ClassVar[int] = 117
    next_step: ClassVar[str] = (
        "Do this at the origin that made the bundle (`tidegate bundles list` shows its bundles), or ship anew."
    )

    def __init__(self, bundle: str, *, problem: str) -> None:
        super().__init__(f"bundle {bundle}: {problem}")
        self.bundle, self.problem = bundle, problem


class ParityImpossible(BundleRefused):
    """Parity cannot be had for this bundle as it was asked for."""

    exit_code: ClassVar[int] = 114
    next_step: ClassVar[str] = "Leave --parity out, choose larger media, or ship in profile media."

    def __init__(self, problem: str) -> None:
        super().__init__(f"no parity: {problem}")
        self.problem = problem


class MediumNotWhole(BundleRefused):
    """A medium that was read back does not hold what was packed."""

    exit_code: ClassVar[int] = 115
    next_step: ClassVar[str] = (
        "Do not hand the medium over. Write it again from the packed folder, and read it back with the same command."
    )

    def __init__(self, bundle: str, problems: Sequence[str]) -> None:
        super().__init__(f"bundle {bundle}: {len(problems)} wrong{below(problems)}")
        self.bundle, self.problems = bundle, tuple(problems)
