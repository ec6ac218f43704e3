"""Puts the readers together: files in, findings and facts out. Nothing is executed and no name is trusted.

The order of a scan:
1. the set of paths: how many, safe names, no two that a file system takes for one;
2. each file by itself: is its name allowed, is its content what the name says, is it whole and well formed;
3. the files together: index against shards, copies of the chat template against each other, licences;
4. waivers: a finding whose rule and whose file's SHA-256 a person has waived stays listed and blocks no more.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import BinaryIO

from pipelines.scan import documents, gguf, licence, safetensors, templates
from pipelines.scan import files as names
from pipelines.scan.desk import Desk, TemplateCopy
from pipelines.scan.errors import MalformedDocument, MalformedGguf, MalformedSafetensors, MalformedTemplate
from pipelines.scan.reading import parse_json, quoted, read_at_most
from pipelines.scan.rules import RULES
from pipelines.scan.secrets import find_secrets
from pipelines.scan.together import compare_numbering, compare_shards, compare_templates, judge_licence
from pipelines.scan.values import (
    ChatTemplate,
    Finding,
    FindingList,
    ScannedFile,
    ScanResult,
    Waiver,
    in_order,
    shown_path,
)
from signing.digests import is_sha256, sha256_hex

_TEMPLATE_KEY = "tokenizer.chat_template"  # in GGUF; named ones follow behind a dot
_MAX_TEMPLATES = 16  # of one GGUF file
_MAX_PROSE = 1 << 20  # bytes of a text that is looked through for secrets


def scan(files: Sequence[ScannedFile], *, waivers: Collection[Waiver] = ()) -> ScanResult:
    """Judge a version's files by what they hold.

    Memory stays under 256 MiB whatever the files say; of a weight file only the header and the last 64 KiB are
    read. The result depends on the files and the waivers alone.

    Raises:
        OSError: a stream could not be opened or read. Whatever the bytes say is a finding, never an exception.
    """
    desk = Desk()
    ordered = sorted(files, key=lambda file: file.path)
    _look_at_paths([file.path for file in ordered], desk.found)
    for file in ordered[: names.MAX_FILES]:
        _look_at_file(file, desk)
    if ordered and not desk.present:
        desk.found.add("folder.no-weights", "", "no safetensors or GGUF file")
    compare_numbering(desk)
    compare_shards(desk)
    compare_templates(desk)
    facts = replace(desk.facts(), licence=judge_licence(desk))
    return ScanResult(_waive(desk.found.sorted(), ordered, waivers), facts)


def _look_at_paths(paths: Sequence[str], found: FindingList) -> None:
    if not paths:
        found.add("folder.empty", "", "there is no file")
    if len(paths) > names.MAX_FILES:
        found.add(
            "folder.too-many-files", "", f"{len(paths)} files; the first {names.MAX_FILES} were looked at"
        )
    for path in paths:
        if problem := names.path_problem(path):
            found.add("path.unsafe", path, problem)
    for first, second in names.collisions(paths):
        found.add("path.collision", second, f"some file systems take it for {quoted(first)}")


def _look_at_file(file: ScannedFile, desk: Desk) -> None:
    kind = names.kind_of(file.path)
    if kind in ("safetensors", "gguf"):
        desk.present.add(file.path)
    with file.open() as stream:
        actual = stream.seek(0, 2)
        stream.seek(0)
        if actual != file.size:
            desk.found.add("file.size", file.path, f"listed with {file.size} bytes, has {actual}")
            return
        head = read_at_most(stream, names.SNIFFED)
        stream.seek(0)
        if kind is None:
            _refuse_name(file.path, head, desk.found)
        elif _is_what_it_says(file, kind, head, stream, desk.found):
            stream.seek(0)
            if kind == "safetensors":
                _look_at_safetensors(file, stream, desk)
            elif kind == "gguf":
                _look_at_gguf(file, stream, desk)
            else:
                _look_at_text(file, kind, stream, desk)


def _refuse_name(path: str, head: bytes, found: FindingList) -> None:
    sniffed = names.sniff(head)
    holds = f"; its content looks like {sniffed}" if sniffed else ""
    if names.is_code(path):
        found.add("code.python-file", path, f"program code that an engine might import{holds}")
    else:
        found.add("file.not-allowed", path, f"no engine needs a file of this name{holds}")
    if sniffed == "pickle" or (sniffed == "zip" and b"data.pkl" in head):
        found.add("file.pickle", path, "a pickle: opening it runs whatever it says")


def _is_what_it_says(
    file: ScannedFile, kind: names.Kind, head: bytes, stream: BinaryIO, found: FindingList
) -> bool:
    sniffed = names.sniff(head)
    if sniffed == "git-lfs pointer":
        found.add("file.lfs-pointer", file.path, "a Git LFS pointer stands in place of the file")
        return False
    if sniffed not in (None, kind):
        found.add("file.disguised", file.path, f"named like {kind}, but the content looks like {sniffed}")
        return False
    if names.ends_as_zip(stream, file.size):
        found.add(
            "file.disguised", file.path, "ends as a zip archive, so that other programs read another file"
        )
        return False
    return True


def _look_at_safetensors(file: ScannedFile, stream: BinaryIO, desk: Desk) -> None:
    try:
        header = safetensors.read_header(stream, file.size)
    except MalformedSafetensors as exc:
        desk.found.add("safetensors.malformed", file.path, exc.problem, at=exc.at)
        return
    desk.formats.add("safetensors")
    desk.keep_safetensors(file.path, header)


def _look_at_gguf(file: ScannedFile, stream: BinaryIO, desk: Desk) -> None:
    try:
        header = gguf.read_header(stream, file.size)
    except MalformedGguf as exc:
        desk.found.add("gguf.malformed", file.path, exc.problem, at=exc.at)
        return
    desk.formats.add("gguf")
    desk.keep_gguf(file.path, header)
    if "general.license" in header.metadata:
        source = f"{shown_path(file.path)}#general.license"
        desk.licences.append(licence.from_identifier(source, header.metadata["general.license"]))
    for key, value in header.metadata.items():
        if isinstance(value, str) and names.encoded_payload(value):
            desk.found.add(
                "document.encoded-payload", file.path, "holds an encoded archive, program or pickle", at=key
            )
    keys = sorted(
        key for key in header.metadata if key == _TEMPLATE_KEY or key.startswith(_TEMPLATE_KEY + ".")
    )
    if len(keys) > _MAX_TEMPLATES:
        desk.found.add("template.malformed", file.path, f"more than {_MAX_TEMPLATES} chat templates")
    for key in keys[:_MAX_TEMPLATES]:
        name = key.removeprefix(_TEMPLATE_KEY).removeprefix(".") or "default"
        _look_at_template(file.path, name, key, header.metadata[key], desk)


def _look_at_text(file: ScannedFile, kind: names.Kind, stream: BinaryIO, desk: Desk) -> None:
    if file.size > names.MAX_TEXT_BYTES:
        desk.found.add(
            "file.too-large", file.path, f"{file.size} bytes; at most {names.MAX_TEXT_BYTES} are read"
        )
        return
    if problem := names.text_problem(stream):
        desk.found.add("file.not-text", file.path, problem)
        return
    stream.seek(0)
    if file.size <= _MAX_PROSE and file.path.rpartition("/")[2] not in documents.UNPARSED | {"merges.txt"}:
        for secret in find_secrets(read_at_most(stream, _MAX_PROSE).decode("utf-8", "ignore"), certain=True):
            message = f"holds what looks like a secret: {secret.kind} {quoted(secret.shown)}"
            desk.found.add("text.secret", file.path, message, at=f"line {secret.line}")
        stream.seek(0)
    if kind == "json":
        _look_at_json(file, stream, desk)
    elif kind == "template":
        name = file.path.rpartition("/")[2].removesuffix(".jinja")
        raw = read_at_most(stream, templates.MAX_BYTES + 4)
        text = raw.decode("utf-8", "ignore")  # is UTF-8, but for a last character that the limit cuts
        _look_at_template(file.path, "default" if name == "chat_template" else name, "", text, desk)
    elif "/" not in file.path and file.path.startswith(("README", "LICEN")):
        text = read_at_most(stream, licence.READ_BYTES).decode("utf-8", "ignore")
        read = licence.from_model_card if file.path == "README.md" else licence.from_licence_text
        desk.licences.append(read(file.path, text))


def _look_at_json(file: ScannedFile, stream: BinaryIO, desk: Desk) -> None:
    name = file.path.rpartition("/")[2]
    if name in documents.UNPARSED:
        _look_at_large_json(file, stream, desk)
        return
    limit = documents.MAX_INDEX_BYTES if name.endswith(".index.json") else documents.MAX_BYTES
    if file.size > limit:
        desk.found.add("file.too-large", file.path, f"{file.size} bytes; at most {limit} are read")
        return
    try:
        value = parse_json(read_at_most(stream, limit), max_bytes=limit)
    except MalformedDocument as exc:
        desk.found.add("document.malformed", file.path, exc.problem, at=exc.at)
        return
    for note in documents.code_references(value):
        desk.found.add(note.rule, file.path, note.message, at=note.at)
    _take_from_json(file.path, name, value, desk)


def _look_at_large_json(file: ScannedFile, stream: BinaryIO, desk: Desk) -> None:
    if not read_at_most(stream, names.SNIFFED).lstrip().startswith(b"{"):
        desk.found.add("document.malformed", file.path, "not a JSON object")
    stream.seek(0)
    if key := documents.code_keys(stream):
        desk.found.add(documents.rule_of(key), file.path, "asks the engine to run code", at=f"a key {key}")


def _take_from_json(path: str, name: str, value: object, desk: Desk) -> None:
    """Take the facts of the documents that have some."""
    if path == "config.json":
        desk.config, notes = documents.config_facts(value)
        for note in notes:
            desk.found.add(note.rule, path, note.message, at=note.at)
    elif name.endswith(".index.json"):
        index = documents.shard_index(value)
        if index is None:
            desk.found.add("index.malformed", path, "not a map from tensor to a file of this folder")
        else:
            desk.indexes[path] = index
    else:  # tokenizer_config.json and chat_template.json, and engines look into processor_config.json too
        for template_name, at, text in documents.chat_templates(value):
            _look_at_template(path, template_name, at, text, desk)


def _look_at_template(path: str, name: str, at: str, text: object, desk: Desk) -> None:
    """Audit one copy of a template and keep its digests. `at` is its place in the file, empty for a whole file."""
    if not isinstance(text, str):
        desk.found.add("template.malformed", path, "not a text that is read", at=at)
        return
    try:
        report = templates.audit(text)
    except MalformedTemplate as exc:
        desk.found.add("template.malformed", path, exc.problem, at=_place(at, exc.at))
        return
    for note in report.notes:
        desk.found.add(note.rule, path, note.message, at=_place(at, f"line {note.line}"))
    source = shown_path(f"{path}#{at}" if at else path)
    digest = sha256_hex(text.encode())
    # Engines drop one newline at the end and take all kinds of line ends for one.
    plain = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    template = ChatTemplate(quoted(name, quotes=False), source, digest, report.families)
    desk.copies.append(TemplateCopy(template, path, same_as=sha256_hex(plain.encode())))


def _place(outer: str, inner: str) -> str:
    return f"{outer}, {inner}" if outer else inner


def _waive(
    findings: Sequence[Finding], files: Sequence[ScannedFile], waivers: Collection[Waiver]
) -> tuple[Finding, ...]:
    """Lower what a waiver names by rule and content. A file with an unsafe path has no name to be found by."""
    digests = {
        file.path: file.sha256
        for file in files
        if is_sha256(file.sha256) and not names.path_problem(file.path)
    }
    given = {(waiver.rule, waiver.sha256, waiver.path): waiver for waiver in waivers}
    used: set[tuple[str, str, str | None]] = set()
    judged = []
    for finding in findings:
        digest = digests.get(finding.path)
        keys = [key for path in (finding.path, None) if (key := (finding.rule, digest or "", path)) in given]
        if digest and keys and RULES[finding.rule].waivable:
            used.update(keys)
            waiver = given[keys[0]]
            by = f"waived by {quoted(waiver.by)}: {quoted(waiver.reason, limit=400, quotes=False)}"
            judged.append(replace(finding, severity="waived", message=f"{finding.message} ({by})"))
        else:
            judged.append(finding)
    for rule, sha256, _ in sorted(given.keys() - used, key=lambda key: (*key[:2], key[2] or "")):
        known = rule in RULES and RULES[rule].waivable
        why = "fits no finding" if known else "is for a rule that cannot be waived"
        message = f"the waiver for {quoted(rule)} of the file {quoted(sha256)} {why}"
        judged.append(Finding("waiver.unused", "note", "", "", message, RULES["waiver.unused"].next_step))
    return in_order(judged)
