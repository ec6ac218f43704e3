"""Puts the checks together: files in, findings and facts out.

The order, and what is read for it:

1. headers and small documents (`shelf`), which the later ones share;
2. complete, dtypes, generation: what headers and documents say, held against each other;
3. tokenizer and template, each in a child process;
4. finite: every byte of every tensor, once.
"""

from collections.abc import Sequence

from pipelines.files_check.complete import check_complete
from pipelines.files_check.dtypes import check_dtypes
from pipelines.files_check.finite import BLOCKS, forms_of
from pipelines.files_check.generation import check_generation
from pipelines.files_check.shelf import Shelf, read_shelf
from pipelines.files_check.sweep import CutShort, Part, Seen, sweep
from pipelines.files_check.template import check_template
from pipelines.files_check.tokenizer import check_tokenizer
from pipelines.files_check.values import FilesFacts, FilesResult, Findings, Progress
from pipelines.scan.gguf import GgufTensor
from pipelines.scan.reading import quoted
from pipelines.scan.safetensors import TensorInfo
from pipelines.scan.values import ScannedFile

_UNREAD = ("IQ1_M",)  # its scale is spread over other fields
_SMALL = 256  # numbers; a smaller tensor may well be all zeros or all ones
_MAY_BE_ONE = ("scale", "scale_inv", "scales", "bias", "qzeros", "position_ids")
MAX_NOTES = 50


def check_files(files: Sequence[ScannedFile], *, progress: Progress) -> FilesResult:
    """Judge a version's files by what they hold.

    Memory stays under 256 MiB whatever the files say, beside the children's own limits; each byte of the weights is
    read once, by as many workers as there are cores.

    Args:
        progress: called with bytes of tensors as they are done, `tensor_bytes` of them in all.

    Raises:
        OSError: a stream could not be opened or read. Whatever the bytes say is a finding, never an exception.
    """
    found = Findings()
    shelf = read_shelf(files, found)
    check_complete(shelf, found)
    check_dtypes(shelf, found)
    check_generation(shelf, found)
    tokenizer = check_tokenizer(shelf, found)
    template = check_template(shelf, found)
    parts = _parts(shelf)
    notes = _check_finite(shelf, parts, found, progress)
    facts = FilesFacts(
        bytes=sum(part.end - part.begin for part in parts),
        tensors=len(parts),
        tokenizer=tokenizer,
        template=template,
        notes=tuple(notes),
    )
    return FilesResult(found.all(), facts)


def _parts(shelf: Shelf) -> list[Part]:
    """Every tensor of every weight file, in the order in which the bytes lie."""
    headers = shelf.headers
    return [
        Part(
            number,
            tensor.name,
            tensor.dtype if isinstance(tensor, TensorInfo) else tensor.type,
            header.data_start + tensor.begin,
            header.data_start + tensor.end,
        )
        for number, (path, header) in enumerate(sorted(headers.items()))
        for tensor in header.tensors
    ]


def _check_finite(shelf: Shelf, parts: Sequence[Part], found: Findings, progress: Progress) -> list[str]:
    """Read the weights. Returns what was seen and may well be right."""
    headers = shelf.headers
    paths = sorted(headers)
    try:
        seen = sweep([shelf.files[path].open for path in paths], parts, progress=progress)
    except CutShort as exc:
        found.wrong("finite", "", str(exc))
        return []
    tensors = [tensor for path in paths for tensor in headers[path].tensors]
    notes = []
    for part, tensor, one in zip(parts, tensors, seen, strict=True):
        path = paths[part.file]
        if part.dtype in _UNREAD:
            found.unknown(
                "finite", path, f"{quoted(part.name)} is {part.dtype}, whose scales are not looked at"
            )
        if one.first is not None:
            found.wrong("finite", path, _not_finite(part, one))
        elif not one.varies and one.value is not None:
            said = f"{quoted(part.name)} is {'all zeros' if one.value == 0 else 'one value throughout'}"
            if _must_vary(tensor):
                found.wrong("finite", path, said)
            else:
                notes.append(f"{quoted(path, quotes=False)}: {said}")
    return notes[:MAX_NOTES]


def _not_finite(part: Part, seen: Seen) -> str:
    kinds = [
        f"{count} {kind}" for count, kind in ((seen.nans, "NaN"), (seen.infinities, "infinite")) if count
    ]
    stride = forms_of(part.dtype)[0].stride
    what = "scales" if part.dtype in BLOCKS else "values"
    total = (part.end - part.begin) // stride
    return f"{quoted(part.name)} ({part.dtype}) holds {' and '.join(kinds)} {what}; the first is number {seen.first} of {total}"


def _must_vary(tensor: TensorInfo | GgufTensor) -> bool:
    """Whether a tensor of one value is damage: a matrix of some size. A bias, a norm or a scale may well be one."""
    sides = [side for side in tensor.shape if side > 1]
    return len(sides) > 1 and tensor.elements >= _SMALL and not tensor.name.endswith(_MAY_BE_ONE)
