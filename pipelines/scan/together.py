"""What shows only when a version's files are laid beside each other: shards, templates, licences."""

import re
from collections import defaultdict

from pipelines.scan import licence
from pipelines.scan.desk import Desk, TemplateCopy
from pipelines.scan.documents import ShardIndex
from pipelines.scan.reading import quoted
from pipelines.scan.values import Licence

_NUMBERED = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.(safetensors|gguf)", re.ASCII)
_SHOWN = 5  # names listed in one message


def compare_numbering(desk: Desk) -> None:
    """`x-00002-of-00003` says that two others exist; this holds with or without an index."""
    sets: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for path in desk.present:
        if match := _NUMBERED.fullmatch(path):
            sets[match[1], match[3], match[4]].add(int(match[2]))
    for (stem, total, ending), numbers in sorted(sets.items()):
        missing = [number for number in range(1, int(total) + 1) if number not in numbers]
        strange = sorted(number for number in numbers if not 1 <= number <= int(total))
        if missing or strange:
            some = ", ".join(f"{number:05d}" for number in (missing or strange)[:_SHOWN])
            what = f"{len(missing)} of {int(total)} parts are absent" if missing else "parts beyond the last"
            desk.found.add("shard.missing", f"{stem}-*-of-{total}.{ending}", f"{what}: {some}")


def compare_shards(desk: Desk) -> None:
    """Hold each index against the files of its folder, in both directions."""
    for path, index in sorted(desk.indexes.items()):
        folder = path[: path.rfind("/") + 1]
        listed = {folder + name for name in index.weight_map.values()}
        for shard in sorted(listed - desk.present):
            desk.found.add("index.shard-missing", path, f"lists {quoted(shard)}, which is absent")
        for shard in sorted(_safetensors_in(desk, folder) - listed):
            desk.found.add("index.shard-unlisted", shard, f"{quoted(path)} does not list this file")
        _compare_tensors(desk, path, folder, index)
        if listed <= desk.weights.keys():
            total = sum(t.end - t.begin for shard in listed for t in desk.weights[shard].tensors)
            if index.total_size not in (None, total):
                message = f"states {index.total_size} bytes; its files hold {total}"
                desk.found.add("index.total-size", path, message, at="$.metadata.total_size")


def _safetensors_in(desk: Desk, folder: str) -> set[str]:
    return {
        path
        for path in desk.present
        if path.endswith(".safetensors") and path[: path.rfind("/") + 1] == folder
    }


def _compare_tensors(desk: Desk, path: str, folder: str, index: ShardIndex) -> None:
    held = {
        shard: {tensor.name for tensor in desk.weights[shard].tensors}
        for shard in {folder + name for name in index.weight_map.values()}
        if shard in desk.weights
    }
    for tensor, name in index.weight_map.items():
        if folder + name in held and tensor not in held[folder + name]:
            message = f"lists the tensor {quoted(tensor)} in {quoted(name)}, which does not hold it"
            desk.found.add("index.tensor-missing", path, message)
    for shard, tensors in sorted(held.items()):
        for tensor in sorted(tensors):
            if folder + index.weight_map.get(tensor, "") != shard:
                message = f"holds the tensor {quoted(tensor)}, which {quoted(path)} does not list there"
                desk.found.add("index.tensor-unlisted", shard, message)


def compare_templates(desk: Desk) -> None:
    """Engines take different copies of a template; they must be the same text."""
    by_name: dict[str, list[TemplateCopy]] = defaultdict(list)
    for copy in desk.copies:
        by_name[copy.template.name].append(copy)
    for name, copies in sorted(by_name.items()):
        copies.sort(key=lambda copy: (copy.template.source != "chat_template.jinja", copy.template.source))
        first = copies[0]
        for copy in copies[1:]:
            if copy.same_as != first.same_as:
                message = (
                    f"the template {quoted(name)} is another text than in {quoted(first.template.source)}"
                )
                desk.found.add("template.disagreement", copy.path, message, at=copy.template.source)


def judge_licence(desk: Desk) -> Licence:
    """Fold what the files say about the licence, and report what a person has to look at."""
    result = licence.combine(desk.licences)
    if result.state == "not-stated":
        desk.found.add("licence.not-stated", "", "no file states a licence")
    for statement in desk.licences:
        if statement.state == "not-readable":
            path, _, at = statement.source.partition("#")
            desk.found.add(
                "licence.not-readable", path, "states a licence in words that are not recognised", at=at
            )
    if licence.disagree(desk.licences):
        said = "; ".join(f"{s.source} says {', '.join(s.ids)}" for s in desk.licences if s.state == "stated")
        desk.found.add("licence.disagreement", "", quoted(said, limit=400, quotes=False))
    return result
