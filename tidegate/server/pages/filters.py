"""How values read on a page: digests to copy, moments in two times, sizes in bytes, commands to type."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from markupsafe import Markup

from pipelines.suites.html_parts import Markup as Finished
from signing.times import from_rfc3339, rfc3339

SHORT = 12  # digits of a digest that people compare at a glance
_COPY = Markup('<button type="button" class="copy" data-copy="{}" aria-label="Copy {}"></button>')


def visible(value: Any) -> Any:
    """Return what is put into a page, its hidden characters by their number; finished HTML stays as it is."""
    if isinstance(value, Finished):
        return Markup(value)  # noqa: S704 - made by `tag`, which escapes
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(one if one.isprintable() or one in "\n\t\xa0" else f"⟨U+{ord(one):04X}⟩" for one in value)


def digest(value: str, *, whole: bool = False, what: str = "digest") -> Markup:
    """Return a digest, cut to what the eye compares unless `whole`, with a button that copies all of it."""
    value = visible(value)
    shown = value if whole else value.removeprefix("sha256:")[:SHORT]
    name = f"{what} {value.removeprefix('sha256:')[:SHORT]}"
    code = Markup('<code title="{0}" data-whole="{0}">{1}</code>').format(value, shown)
    kind = Markup("digest whole") if whole else Markup("digest")
    return Markup('<span class="{}">{}{}</span>').format(kind, code, _COPY.format(value, name))


def moment(value: str) -> Markup:
    """Return a moment (RFC 3339 in UTC) as UTC; where scripts run, the reader's own time is put after it."""
    shown = value.replace("T", " ").removesuffix("Z")[:16]
    return Markup('<time datetime="{}">{} UTC</time>').format(visible(value), visible(shown))


def day(value: str) -> Markup:
    """Return the day of a moment; the whole moment is its title."""
    return Markup('<span class="tabular nowrap" title="{}">{}</span>').format(
        visible(value), visible(value[:10])
    )


def ago(value: str, now: datetime) -> str:
    """Return how long a moment lies back, or ahead, in the largest fitting unit."""
    seconds = int((now - from_rfc3339(value)).total_seconds())
    size = abs(seconds)
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if size >= unit:
            count = f"{size // unit} {name}{'' if size // unit == 1 else 's'}"
            return f"{count} ago" if seconds > 0 else f"in {count}"
    return "just now"


def size(value: int) -> str:
    """Return a number of bytes to three figures, in the units that file systems count in."""
    if value < 1024:
        return f"{value} B"
    amount = float(value)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024 or unit == "TiB":
            break
    return f"{amount:.3g} {unit}" if amount < 1000 else f"{amount:,.0f} {unit}"


def number(value: float) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,}"


def cli(command: str, label: str = "The same on the command line") -> Markup:
    """Return the command that does what stands above it."""
    command = visible(command)
    line = Markup("<code>{}</code>{}").format(command, _COPY.format(command, "command"))
    return Markup('<div class="same">{}</div><div class="cli">{}</div>').format(label, line)


def badge(text: str, tone: str = "plain") -> Markup:
    """Return a state: its word, with a shape and a colour beside it. Tones: good, bad, warn, info, plain, quiet."""
    return Markup('<span class="badge {}">{}</span>').format(tone, visible(text))


_TONES = {
    "PASSED": "good",
    "WARNED": "warn",
    "FAILED": "bad",
    "INCONCLUSIVE": "warn",
    "SERVES": "good",
    "OTHER": "bad",
    "SILENT": "warn",
    "UNPROVEN": "warn",
    "VERIFIED": "good",
    "OPEN": "good",
    "CLOSED": "bad",
    "APPROVE": "good",
    "REJECT": "bad",
    "WITHDRAWN": "bad",
}


def state(text: str) -> Markup:
    """Return the badge of an outcome that the registry records."""
    return badge(text.lower().replace("-", " "), _TONES.get(text.upper(), "plain"))


def steps(text: str) -> Markup:
    """Return a next step, what stands between backticks in it as a command."""
    parts = visible(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else Markup("{}").format(part)
        for number, part in enumerate(parts)
    )


def hours(value: float) -> str:
    """Return an age in hours as people say it."""
    if value < 1:
        return "under an hour ago"
    return f"{value:.0f} hours ago" if value < 48 else f"{value / 24:.0f} days ago"


def figure(value: float | str) -> str:
    """Return a measured number to three figures, without an exponent."""
    found = float(value)
    return f"{found:,.0f}" if abs(found) >= 100 else f"{found:.3g}"


FILTERS: dict[str, Callable[..., Any]] = {
    "digest": digest,
    "moment": moment,
    "day": day,
    "ago": ago,
    "size": size,
    "number": number,
    "cli": cli,
    "badge": badge,
    "figure": figure,
    "hours": hours,
    "rfc": rfc3339,
    "steps": steps,
    "state": state,
}
