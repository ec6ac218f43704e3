"""Every command with wrong input of each kind: its own refusal, the place, what to do next, and nothing changed.

A case is a command as somebody might type it at 3 a.m. and the refusal that it must end with. After each one the
test looks at the exit code, the words, the JSON, and every file of both homes and of the folder around them.
"""

import json
import re
import shutil
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipelines.baseline import AssumptionRefused
from pipelines.bundle.errors import (
    BundlesMixed,
    ChunksMissing,
    FilesDamaged,
    MediumNotWhole,
    MediumUnreadable,
    NotABundle,
    NotOurBundle,
    OutputUnusable,
    ParityImpossible,
    ReceiptForeign,
    ReceiptOnMedium,
    ReceiptWrong,
    VolumeTooSmall,
)
from pipelines.engines.advisories import MalformedAdvisories
from pipelines.engines.endpoint import EndpointUnusable
from pipelines.intake.errors import HubUnreachable, ScanBlocked, SourceUnusable
from pipelines.intake.oci_documents import LayoutUnusable
from pipelines.materialise import FolderTaken
from pipelines.mlflow_server import MlflowUnreachable
from pipelines.publishers import UnknownPublisher
from pipelines.repair import NothingToRepair, RepairRequestWrong
from pipelines.rollout.refusals import ServingMalformed
from pipelines.second_opinion import OpinionUnreadable
from pipelines.spoken import SpokenCodeWrong
from pipelines.suites.evidence_logs import EvidenceUnreadable
from pipelines.suites.held import ReportUnwritable
from pipelines.suites.refusals import SuiteMalformed
from pipelines.unsigned import UnsignedBundleRefused
from registry.approval_requests import NotAsShown
from registry.approvals import ApprovalUnreadable
from registry.companions import CompanionsMalformed
from registry.compatibility import NotCompatible
from registry.contracts import MalformedContract, UnreadableToolList
from registry.decisions import DecisionUnreadable
from registry.errors import (
    DocumentRefused,
    HomeUnusable,
    NameUnusable,
    NotFound,
    PeopleUnsigned,
    StoreUnusable,
)
from registry.gate import GateClosed
from registry.pins import NothingToRollBackTo
from signing import keys
from signing.canonical import NotCanonical, pretty_bytes
from signing.checkpoint import CheckpointUnreadable
from signing.drafts import CeremonyUnusable
from signing.errors import OperatorError
from signing.keys import KeyExists, KeyMissing, KeyUnreadable, UnknownKeyScheme
from signing.model_signature import ModelSignatureUnreadable, ModelSignatureWrong
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.refusals import (
    BadRoot,
    MetadataTampered,
    NoSuchRole,
    RestampRefused,
    RootFingerprintWrong,
    SiteNameRefused,
)
from signing.times import TimeUnreadable
from signing.tokens import TokenUnusable
from tests.cli import Prompt
from tests.tidegate import town as making
from tests.tidegate.town import DEMO, MODEL, Town, tree
from tidegate.cli.root import main
from tidegate.errors import (
    DatabaseAddressRefused,
    FileUnreadable,
    FolderNotEmpty,
    NotHere,
    PassphraseMissing,
    PassphraseUnreadable,
    ServerSettingsWrong,
    SystemRefused,
)
from tidegate.reference import commands
from tidegate.server.ground import CannotListen

V1 = f"{MODEL}@1"
SITE, ORIGIN = "site", "origin"
PAPERS = ("broken.json", "binary", "empty", "list.json", "deep.json", "fraction.json", "null.json")


@dataclass(frozen=True)
class Case:
    """A command line (`{name}` is a path in the scene), the refusal it ends with, and what the message names."""

    home: str
    line: str
    refusal: type[OperatorError]
    named: str = ""

    @property
    def words(self) -> list[str]:
        return self.line.split()


def _documents() -> list[Case]:
    """Files that are not what they should be, given to every command that reads one."""
    lines: list[tuple[str, str, type[OperatorError]]] = [
        (SITE, "contracts add {file}", MalformedContract),
        (SITE, "contracts compare {file} demo-router-v1", MalformedContract),
        (SITE, "contracts tools {file}", UnreadableToolList),
        (SITE, "people add carol --public-key {file}", PersonSignatureUncheckable),
        (SITE, "trust enrol {file} --fingerprint 00", RootFingerprintWrong),
        (SITE, "audit verify --kept-head {file}", CheckpointUnreadable),
        (SITE, "audit verify --receipt {file}", ReceiptWrong),
        (SITE, f"approve {V1} --tier team --person alice --reason x --key {{file}}", KeyUnreadable),
        (SITE, f"approve {V1} --tier team --person alice --payload {{file}} --signature {{file}}",
         PersonSignatureUncheckable),
        (ORIGIN, "bundles acknowledge {file}", ReceiptWrong),
        (ORIGIN, "bundles repair {file} --out {out}", RepairRequestWrong),
        (ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --key {{file}}", KeyUnreadable),
    ]  # fmt: skip
    cases = [
        Case(home, line.replace("{file}", f"{{{paper}}}"), refusal)
        for home, line, refusal in lines
        for paper in PAPERS
    ]
    too_large = {"people", "policy", "sites", "approve"}  # these take small files only, and say so first
    for paper in PAPERS:
        cases.append(Case(SITE, f"policy apply {{{paper}}}", DocumentRefused))
        cases.append(Case(ORIGIN, f"sites add lab --identity {{{paper}}}", NotCanonical))
    return [
        Case(case.home, case.line, FileUnreadable, "is larger than")
        if "deep.json" in case.line and case.words[0] in too_large and case.refusal is not KeyUnreadable
        else case
        for case in cases
    ]


def _nothing_there() -> list[Case]:
    lines: list[tuple[str, str, type[OperatorError]]] = [
        (SITE, "contracts add {none}", FileUnreadable),
        (SITE, "contracts tools {none}", FileUnreadable),
        (SITE, "policy check {none}", FileUnreadable),
        (SITE, "people add carol --public-key {none}", FileUnreadable),
        (SITE, "trust enrol {none} --fingerprint 00", FileUnreadable),
        (SITE, "audit verify --kept-head {none}", FileUnreadable),
        (SITE, "audit verify --receipt {none}", FileUnreadable),
        (SITE, f"approve {V1} --tier team --person alice --reason x --key {{none}}", KeyMissing),
        (SITE, f"approve {V1} --tier team --person alice --payload {{none}} --signature {{none}}", FileUnreadable),
        (SITE, "bundles import {none}", NotABundle),
        (SITE, "bundles inspect {none}", NotABundle),
        (SITE, "bundles verify {none}", NotABundle),
        (ORIGIN, "bundles verify {none}", NotABundle),
        (SITE, "bundles repair-request {none} --out {out}", NotABundle),
        (ORIGIN, "bundles resplit {none} --out {out}", NotABundle),
        (ORIGIN, "bundles repair {none} --out {out}", FileUnreadable),
        (SITE, "suites add {none}", SuiteMalformed),
        (ORIGIN, "sites add lab --identity {none}", FileUnreadable),
        (ORIGIN, "bundles acknowledge {none}", MediumUnreadable),
        (SITE, "receipts write --out {none}/receipt.json", OutputUnusable),
        (ORIGIN, "models add {none} --as a/b", SourceUnusable),
        (ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --key {{none}}", KeyMissing),
    ]  # fmt: skip
    return [Case(home, line, refusal, "none") for home, line, refusal in lines]


def _nowhere_to_write() -> list[Case]:
    """Where a file stands, no folder can be: the same words as for a full or a read-only disk."""
    return [
        Case(SITE, "audit head --out {empty}/x", SystemRefused, "empty"),
        Case(SITE, "trust identity {empty}/x", SystemRefused, "empty"),
        Case(SITE, f"materialise {V1} {{empty}}/x", SystemRefused, "empty"),
        Case(SITE, f"materialise {V1} {{empty}}/x --layout hf-cache", SystemRefused, "empty"),
        Case(SITE, f"approve {V1} --tier team --person alice --reason x --write-payload {{empty}}/x", SystemRefused),
        Case(ORIGIN, "trust root {empty}/x", SystemRefused, "empty"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{empty}}/x", OutputUnusable, "empty"),
        Case(SITE, "bundles import {medium} --receipt {empty}/x", OutputUnusable, "empty"),
        Case(ORIGIN, "bundles resplit {medium} --out {empty}/x", OutputUnusable, "empty"),
        Case(ORIGIN, "bundles repair {request} --out {empty}/x", OutputUnusable, "empty"),
        Case(SITE, "receipts write --out {empty}/x", OutputUnusable, "empty"),
    ]  # fmt: skip


def _names() -> list[Case]:
    with_ref = (
        "models show {ref}", "models scan {ref}", "models withdraw {ref} --reason x", "audit explain {ref}",
        "promote {ref} --tier team", "rollback {ref} --tier team --reason x", "models list {ref}",
        "approve {ref} --tier team --person alice --reason x --key {alice.key}",
        "contracts add {contract} --for {ref}",
    )  # fmt: skip
    malformed = ("nope", "A/B", "a/b/c", "../x", "a--b/c", "a/b@")
    cases = [
        Case(SITE, line.replace("{ref}", ref), NameUnusable, ref.partition("@")[0])
        for line in with_ref
        for ref in malformed
    ]
    unknown = [
        line for line in with_ref if not line.startswith("rollback")
    ]  # a tier that never served it: below
    cases += [Case(SITE, line.replace("{ref}", "acme/none"), NotFound, "acme/none") for line in unknown]
    cases += [Case(SITE, line.replace("{ref}", "acme/none@9"), NotFound, "acme/none@9") for line in unknown[:6]
              if "models list" not in line]  # fmt: skip
    return [
        *cases,
        Case(ORIGIN, "bundles create nope --to clinic --out {out}", NameUnusable, "nope"),
        Case(ORIGIN, "bundles create acme/none --to clinic --out {out}", NotFound, "acme/none"),
        Case(ORIGIN, "models add {v1} --as NOPE", NameUnusable, "NOPE"),
        Case(SITE, "materialise acme/none {out}", NotFound, "acme/none"),
        Case(SITE, "materialise nowhere {out}", NotFound, "nowhere"),
        Case(SITE, "materialise edge {out}", NotFound, "edge"),
        Case(SITE, f"promote {V1} --tier nowhere", NotFound, "nowhere"),
        Case(SITE, f"approve {V1} --tier nowhere --person alice --reason x --key {{alice.key}}", NotFound, "nowhere"),
        Case(SITE, f"approve {V1} --tier team --person zoe --reason x --key {{alice.key}}", NotFound, "zoe"),
        Case(SITE, f"rollback {MODEL} --tier nowhere --reason x", NotFound, "nowhere"),
        Case(SITE, "tiers show nowhere", NotFound, "nowhere"),
        Case(SITE, "receipts write nowhere", NotFound, "nowhere"),
        Case(SITE, "receipts speak 9", NotFound, "9"),
        Case(ORIGIN, "receipts hear nowhere 1 0000-0000-0000-0000", NotFound, "nowhere"),
        Case(ORIGIN, "receipts hear clinic 9 0000-0000-0000-0000", NotFound, "9"),
        Case(ORIGIN, "receipts secret nowhere", NotFound, "nowhere"),
        Case(ORIGIN, "receipts status nowhere", NotFound, "nowhere"),
        Case(SITE, "contracts show nowhere", NotFound, "nowhere"),
        Case(SITE, "contracts compare nowhere demo-router-v1", NotFound, "nowhere"),
        Case(SITE, "contracts set-router nowhere demo-router-v1 --engine nowhere", NotFound, "nowhere"),
        Case(SITE, "contracts set-router team nowhere --engine nowhere", NotFound, "nowhere"),
        Case(SITE, "suites adopt nowhere", NotFound, "nowhere"),
        Case(SITE, "people remove nobody", NotFound, "nobody"),
        Case(SITE, "people add B@D --public-key {alice.pub}", NameUnusable, "B@D"),
        Case(SITE, f"suites run nowhere {V1} --tier team --endpoint http://127.0.0.1:9/v1", NotFound, "nowhere"),
        Case(ORIGIN, "sites add B@D --identity {identity}", NameUnusable, "B@D"),
        Case(ORIGIN, f"bundles create {V1} --to nowhere --out {{out}}", NotFound, "nowhere"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --with nowhere --out {{out}}", NotFound, "nowhere"),
        Case(ORIGIN, f"bundles create {V1} --to nowhere --out {{out}} --assume-received 1 --by maria --reason x",
             NotFound, "nowhere"),
    ]  # fmt: skip


def _wrong_home() -> list[Case]:
    at_origin = (
        "trust enrol {root} --fingerprint 00", "bundles import {medium}", "bundles inspect {medium}",
        f"promote {V1} --tier team", f"rollback {MODEL} --tier team --reason x", "policy apply {root}", "policy show",
        "policy check {root}", "policy diff {root}", f"gate {V1} --tier team", f"validate {V1} --tier team", "reconcile",
        "contracts set-router team x --engine y",
        "receipts write", "receipts speak", "receipts secret --enter", "bundles repair-request {medium} --out {out}",
        f"approve {V1} --tier team --person alice --reason x --key {{alice.key}}",
    )  # fmt: skip
    at_site = (
        "trust root {out}", f"bundles create {V1} --to clinic --out {{out}}", "bundles acknowledge {receipt}",
        "sites add lab --identity {identity}", "sites list", "models fetch hf:a/b",
        "receipts hear clinic 1 0000-0000-0000-0000", "receipts secret clinic", "receipts status",
        "bundles resplit {medium} --out {out}", "bundles repair {request} --out {out}",
    )  # fmt: skip
    return [
        *(Case(ORIGIN, line, NotHere, "is not a site") for line in at_origin),
        *(Case(SITE, line, NotHere, "is not an origin") for line in at_site),
    ]


def _the_rest() -> list[Case]:
    return [
        Case(SITE, f"promote {V1} --tier team", GateClosed, "checks are against"),
        Case(SITE, f"promote {V1} --tier org --dry-run", GateClosed, "org"),
        Case(SITE, f"rollback {MODEL} --tier team --reason x", NothingToRollBackTo, "team"),
        Case(SITE, "rollback acme/none --tier team --reason x", NothingToRollBackTo, "acme/none"),
        Case(SITE, f"approve {V1} --tier team --person alice --reason x --key {{bob.key}}", PersonSignatureWrong,
             "made by another key"),
        Case(SITE, f"approve {V1} --tier team --person alice --payload {{list.json}} --signature {{alice.pub}}",
             PersonSignatureUncheckable),
        Case(SITE, f"approve {V1} --tier team --person alice --payload {{list.json}} --signature {{list.sig}}",
             ApprovalUnreadable, "approval"),
        Case(SITE, "people add al --public-key {alice.key}", DocumentRefused, "private key"),
        Case(SITE, "trust enrol {root} --fingerprint 0123", RootFingerprintWrong, "0123"),
        Case(SITE, "trust enrol {list.json} --fingerprint {list.sha}", MetadataTampered, "root"),
        Case(SITE, "pins --at yesterday", TimeUnreadable, "yesterday"),
        Case(SITE, f"materialise {V1} {{other}}", FolderTaken, "notes.txt"),
        Case(SITE, "bundles import {other}", NotABundle),
        Case(SITE, "bundles import {medium} --receipt {medium}/receipt.json", ReceiptOnMedium, "receipt.json"),
        Case(SITE, "contracts compare demo-router-v1 {contract}", NotCompatible),
        Case(SITE, f"contracts add {{router}} --for {V1}", DocumentRefused, "router-contract"),
        Case(ORIGIN, f"contracts add {{router}} --for {V1}", DocumentRefused, "router-contract"),
        Case(ORIGIN, "contracts add {new-contract} --for acme/none", NotFound, "acme/none"),
        Case(ORIGIN, "models add {other} --as a/b", ScanBlocked, "a/b"),
        Case(ORIGIN, "models add {nothing} --as a/b", SourceUnusable, "nothing"),
        Case(ORIGIN, "models add oci:{other}:v1 --as a/b", LayoutUnusable, "oci-layout"),
        Case(SITE, f"materialise {V1} {{other}} --layout ollama", FolderTaken, "no folder of Ollama"),
        Case(SITE, f"materialise {V1} {{other}} --layout oci", FolderTaken, "no OCI layout"),
        Case(ORIGIN, "models fetch hf: --as a/b", SourceUnusable),
        Case(ORIGIN, "models fetch hf:a/b --endpoint http://127.0.0.1:1", HubUnreachable, "127.0.0.1:1"),
        Case(ORIGIN, "models fetch mlflow:runs:/a --tracking-uri http://127.0.0.1:1", SourceUnusable, "runs:/a"),
        Case(ORIGIN, "models fetch mlflow:models:/a--b/1 --tracking-uri databricks", MlflowUnreachable, "databricks"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --volume-size 1k", VolumeTooSmall, "1,000"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --key tpm:1", UnknownKeyScheme, "tpm:"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --key hsm:1", TokenUnusable, "at most once"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --key hsm:token=a;object=b", TokenUnusable, "library"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --passphrase-fd 987", PassphraseUnreadable, "987"),
        Case(SITE, f"approve {V1} --tier team --person alice --reason x --key hsm:object=b", TokenUnusable, "token="),
        Case(SITE, f"approve {V1} --tier team --person alice --reason x --key hsm:token=a;object=b;pin=4", TokenUnusable,
             "leave it out"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --key {{alice.key}}", KeyUnreadable, "alice.key"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --parity 1 --profile guard", ParityImpossible, "guard"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --next-by tomorrow", TimeUnreadable, "tomorrow"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --assume-received 9 --by maria --reason x",
             AssumptionRefused, "9"),
        Case(ORIGIN, f"bundles create {V1} --to clinic --out {{out}} --assume-received 1 --by maria",
             AssumptionRefused, "1"),
        Case(SITE, "bundles verify {other}", NotABundle, "other"),
        Case(ORIGIN, "bundles verify {other} --serial 1", NotABundle, "other"),
        Case(SITE, "bundles repair-request {medium} --out {out}", NothingToRepair),
        Case(ORIGIN, "bundles resplit {medium} --out {medium}", OutputUnusable, "is there already"),
        Case(ORIGIN, "bundles resplit {medium} --out {out} --volume-size 1k", VolumeTooSmall, "1,000"),
        Case(ORIGIN, "bundles resplit {damaged} --out {out}", ChunksMissing, "chunks/"),
        Case(ORIGIN, "bundles repair {receipt} --out {out}", RepairRequestWrong, "receipt.json"),
        Case(ORIGIN, "bundles repair {changed-request} --out {out}", RepairRequestWrong, "did not sign"),
        Case(ORIGIN, "bundles repair {request} --out {medium}", OutputUnusable, "is there already"),
        Case(ORIGIN, "bundles repair {request} --out {out} --volume-size 1k", VolumeTooSmall, "1,000"),
        Case(ORIGIN, "bundles acknowledge {foreign-receipt}", ReceiptForeign, "elsewhere"),
        Case(SITE, "receipts write --out {medium}", ReceiptOnMedium, "medium"),
        Case(SITE, "receipts speak", SpokenCodeWrong, "no secret was entered"),
        Case(SITE, "receipts secret --enter", SpokenCodeWrong, "0 were given"),
        Case(ORIGIN, "receipts hear clinic 1 0000-0000-0000-0000", SpokenCodeWrong, "no secret was agreed on"),
        Case(ORIGIN, "receipts hear clinic 1 0000-0000-0000-000U", SpokenCodeWrong, "'U'"),
        Case(ORIGIN, "receipts hear clinic 1 0000", SpokenCodeWrong, "4 were given"),
        Case(SITE, "gc --discard-quarantine none", NotFound, "none"),
        Case(SITE, "support-bundle --out {out}/nosuch/help.tar.gz", SystemRefused, "nosuch"),
        Case(SITE, "support-bundle --out {out}/help.tar.gz --log {none}", FileUnreadable, "none"),
        Case(SITE, "gc --plan --discard-quarantine ../keys", NotFound, "../keys"),
        Case(ORIGIN, "gc --discard-quarantine {none}", NotFound, "none"),
        Case(ORIGIN, "bundles acknowledge {changed-receipt}", ReceiptWrong, "did not sign"),
        Case(ORIGIN, "sites add clinic --identity {root}", NotCanonical, "identity"),
        Case(ORIGIN, "sites add clinc --identity {identity}", DocumentRefused, "the site clinic"),
    ]  # fmt: skip


def _approvals() -> list[Case]:
    alice = "--person alice --reason x --key {alice.key}"
    return [
        Case(SITE, f"approvals request {V1} --tier nowhere --reason x", NotFound, "nowhere"),
        Case(SITE, "approvals request acme/none --tier team --reason x", NotFound, "acme/none"),
        Case(SITE, "approvals request NOPE/x --tier team --reason x", NameUnusable, "NOPE"),
        Case(ORIGIN, f"approvals request {V1} --tier team --reason x", NotHere, "is not a site"),
        Case(ORIGIN, "approvals list", NotHere, "is not a site"),
        Case(SITE, "approvals show 0123456789ab", NotFound, "0123456789ab"),
        Case(SITE, "approvals show acme/none --tier team", NotFound, "acme/none"),
        Case(ORIGIN, f"approvals show {V1} --tier team", NotHere, "is not a site"),
        Case(SITE, f"approvals review 0123456789ab --verdict upheld {alice}", NotFound, "0123456789ab"),
        Case(ORIGIN, f"approvals review 0123456789ab --verdict upheld {alice}", NotHere, "is not a site"),
        Case(SITE, f"approve {V1} --tier team --shown 0123456789ab {alice}", NotAsShown, "0123456789ab"),
        Case(SITE, f"reject {V1} --tier team --shown 0123456789ab {alice}", NotAsShown, "0123456789ab"),
        Case(SITE, f"reject {V1} --tier nowhere {alice}", NotFound, "nowhere"),
        Case(SITE, f"reject {V1} --tier team --person alice --reason x --key {{bob.key}}", PersonSignatureWrong,
             "made by another key"),
        Case(ORIGIN, f"reject {V1} --tier team {alice}", NotHere, "is not a site"),
        Case(SITE, f"promote {V1} --tier nowhere --break-glass {alice}", NotFound, "nowhere"),
        Case(SITE, f"promote {V1} --tier team --break-glass --person zoe --reason x --key {{alice.key}}", NotFound, "zoe"),
        Case(SITE, f"promote {V1} --tier team --break-glass --person alice --reason x --key {{bob.key}}",
             PersonSignatureWrong, "made by another key"),
        Case(ORIGIN, f"promote {V1} --tier team --break-glass {alice}", NotHere, "is not a site"),
    ]  # fmt: skip


def _judging() -> list[Case]:
    ref, by = "acme/none@9", "--person alice --reason x --key {alice.key}"
    waiver = "decisions waive code.auto-map"
    return [
        Case(SITE, f"gate {ref} --tier team", NotFound, ref),
        Case(SITE, f"gate {V1} --tier nowhere", NotFound, "nowhere"),
        Case(SITE, f"validate {ref} --tier team", NotFound, ref),
        Case(SITE, f"validate {V1} --tier edge", NotFound, "edge"),
        Case(SITE, "reconcile --tier nowhere", NotFound, "nowhere"),
        Case(SITE, "policy diff {list.json}", DocumentRefused, "tiers.toml"),
        Case(SITE, "policy check {list.json}", DocumentRefused, "tiers.toml"),
        Case(SITE, f"decisions accept-licence mit {by}", DecisionUnreadable, "no reviewer"),
        Case(SITE, f"decisions quarantine nowhere case {by}", NotFound, "nowhere"),
        Case(SITE, f"decisions allow-python nowhere {by}", NotFound, "nowhere"),
        Case(SITE, f"decisions revoke 0123456789 {by}", NotFound, "0123456789"),
        Case(SITE, f"{waiver} {V1} --path nothing.bin {by}", NotFound, "nothing.bin"),
        Case(SITE, f"{waiver} acme/none@1 --path x {by}", NotFound, "acme/none"),
        Case(SITE, f"{waiver} NOPE@1 --path x {by}", NameUnusable, "NOPE"),
        Case(SITE, "companions add {other} --name coding", CompanionsMalformed, "notes.txt"),
        Case(SITE, "companions add {none} --name coding", CompanionsMalformed, "none"),
        Case(SITE, "companions set acme/none nowhere", NotFound, "nowhere"),
        Case(SITE, "companions set acme/none --none", NotFound, "acme/none"),
        Case(SITE, "companions show nowhere", NotFound, "nowhere"),
        Case(SITE, f"companions write {{out}} --tier team --model {MODEL}", NotFound, MODEL),
        Case(SITE, f"companions drift {{root}} --tier team --model {MODEL}", NotFound, MODEL),
        Case(SITE, f"client-config codex --tier team --model {MODEL} --base-url http://127.0.0.1:9", NotFound, MODEL),
        Case(SITE, f"client-config codex --tier team --model {MODEL} --base-url ftp://x", EndpointUnusable, "ftp"),
        Case(SITE, "advisories add {list.json}", MalformedAdvisories, "advisories"),
        Case(SITE, f"contracts derive {ref} --tools {{contract}}", NotFound, ref),
        Case(SITE, "contracts diff nowhere demo-router-v1", NotFound, "nowhere"),
        Case(SITE, f"contracts patch {ref} --tier team", NotFound, ref),
        Case(SITE, "contracts routers nowhere", NotFound, "nowhere"),
        Case(SITE, f"models second-opinion {V1} {{other}}/notes.txt", OpinionUnreadable, "notes.txt"),
        Case(SITE, "models scan acme/none@9", NotFound, ref),
        Case(SITE, "suites report 0123456789", NotFound, "0123456789"),
        Case(ORIGIN, "trust restamp 20200101-01", NotOurBundle, "20200101-01"),
        Case(ORIGIN, "trust restamp {medium} --days 365", RestampRefused, "holds until"),
        Case(SITE, "bundles import {medium} --timestamp {binary}", RestampRefused),
        Case(SITE, "bundles import {medium} --timestamp {empty}", RestampRefused),
        Case(SITE, "suites flips nowhere", NotFound, "nowhere"),
        Case(SITE, f"suites evidence {V1} {{root}}", EvidenceUnreadable, "root"),
        Case(SITE, f"rollout team {MODEL}", ServingMalformed, "serving.toml"),
        Case(SITE, "serving show", ServingMalformed, "serving.toml"),
        Case(SITE, "serving units --out {out}", ServingMalformed, "serving.toml"),
        Case(SITE, "agent team", ServingMalformed, "serving.toml"),
        Case(SITE, "drift nowhere", NotFound, "nowhere"),
    ]  # fmt: skip


def _logs() -> list[Case]:
    return [
        Case(SITE, "audit prove 99999", NotFound, "99999"),
        Case(SITE, "audit prove 1 --open /nothing", NotFound, "/nothing"),
        Case(SITE, "audit check-proof {none}", FileUnreadable, "none"),
        Case(SITE, "audit check-proof {list.json}", CheckpointUnreadable, "proof"),
        Case(SITE, "audit check-proof {binary}", CheckpointUnreadable, "proof"),
        Case(SITE, "audit witnesses --accept nowhere --reason x", NotFound, "nowhere"),
        Case(SITE, "audit export {other}", FolderNotEmpty, "not empty"),
        Case(SITE, "audit export {out} --model demo/none", NotFound, "demo/none"),
        Case(SITE, "audit export {empty}/x", SystemRefused, "empty"),
        Case(SITE, "audit served --tier nowhere", NotFound, "nowhere"),
        Case(SITE, "audit served --model one", NameUnusable, "one"),
        Case(SITE, "audit why nowhere demo/none", NotFound, "nowhere"),
        Case(SITE, "audit why team demo/none", NotFound, "demo/none"),
        Case(SITE, "audit decided team demo/none", NotFound, "demo/none"),
        Case(SITE, "audit origin demo/none", NotFound, "demo/none"),
        Case(SITE, "audit touched nobody", NotFound, "nobody"),
        Case(SITE, "audit report demo/none --out {out}", NotFound, "demo/none"),
        Case(SITE, "audit report demo/tiny-toolcaller --out {list.json}", ReportUnwritable, "already"),
        Case(SITE, "audit report demo/tiny-toolcaller --out {empty}/x", ReportUnwritable, "empty"),
    ]


def _ceremonies() -> list[Case]:
    add_key = "--role root --person eve"
    return [
        Case(ORIGIN, "trust init {out}", CeremonyUnusable, "has its trust"),
        Case(SITE, "trust init {out}", NotHere, "is not an origin"),
        Case(ORIGIN, f"trust add-key {{other}} {{identity}} {add_key}", CeremonyUnusable, "ceremony.json"),
        Case(SITE, f"trust add-key {{none}} {{identity}} {add_key}", CeremonyUnusable, "none"),
        Case(SITE, "trust lint {list.json}", BadRoot, "list.json"),
        Case(SITE, "trust lint {none}", FileUnreadable, "none"),
        Case(SITE, "trust lint {other}", CeremonyUnusable, "ceremony.json"),
        Case(SITE, "trust sign {other} --key {alice.key}", CeremonyUnusable, "ceremony.json"),
        Case(ORIGIN, "trust publish {other}", CeremonyUnusable, "ceremony.json"),
        Case(SITE, "trust publish {other}", NotHere, "is not an origin"),
        Case(ORIGIN, "trust rotate {out} --renew nobody", NoSuchRole, "nobody"),
        Case(ORIGIN, "trust rotate {out} --retire nobody", NoSuchRole, "nobody"),
        Case(ORIGIN, "trust rotate {out} --replace 00000000={identity}", NoSuchRole, "00000000"),
        Case(ORIGIN, "trust rotate {other} --replace-station", CeremonyUnusable, "is there already"),
        Case(SITE, "trust rotate {out} --renew root", NotHere, "is not an origin"),
        Case(SITE, "trust show {other}", CeremonyUnusable, "ceremony.json"),
        Case(ORIGIN, "sites add lab --identity {identity} --draft {other}", CeremonyUnusable, "is there already"),
        Case(ORIGIN, "sites add LAB --identity {identity} --draft {out}", SiteNameRefused, "LAB"),
        Case(SITE, "keys create {empty}/x.pem", SystemRefused, "empty"),
        Case(SITE, "keys create {list.json}", KeyExists, "list.json"),
        Case(SITE, "keys show {list.json}", NotCanonical, "list.json"),
        Case(SITE, "keys show {none}", KeyMissing, "none"),
    ]  # fmt: skip


def _officers_elsewhere() -> list[Case]:
    to = "--to clinic --out {out}"
    return [
        Case(ORIGIN, f"bundles create {V1} {to} --draft {{other}}", CeremonyUnusable, "is there already"),
        Case(
            ORIGIN,
            f"bundles create {V1} --to clinic --out {{empty}}/x --draft {{out}}",
            OutputUnusable,
            "empty",
        ),
        Case(ORIGIN, f"bundles create {V1} --to nowhere --out {{out}} --draft {{out}}", NotFound, "nowhere"),
        Case(ORIGIN, "bundles finish {other}", UnsignedBundleRefused, "no bundle waits here"),
        Case(ORIGIN, "bundles finish {none}", UnsignedBundleRefused, "none"),
        Case(SITE, "bundles finish {other}", NotHere, "is not an origin"),
        Case(ORIGIN, "bundles redraft {other} --draft {out}", UnsignedBundleRefused, "no bundle waits here"),
        Case(ORIGIN, "bundles redraft {other} --draft {other}", CeremonyUnusable, "is there already"),
        Case(SITE, "bundles redraft {other} --draft {out}", NotHere, "is not an origin"),
    ]


def _people() -> list[Case]:
    by = "--person alice --reason x --key {alice.key}"
    return [
        Case(SITE, f"people add zed --public-key {{alice.pub}} {by}", DocumentRefused, "alice's already"),
        Case(SITE, f"people add zed --certificate {{empty}} {by}", PersonSignatureUncheckable, "certificate"),
        Case(SITE, "people remove bob", PeopleUnsigned, "bob"),
        Case(SITE, "people remove bob --person alice --reason x --key {bob.key}", PersonSignatureWrong),
        Case(SITE, f"people confirm zed {by}", NotFound, "zed"),
        Case(SITE, "people publish", NotHere),
        Case(ORIGIN, "people publish", NotFound, "person"),
        Case(ORIGIN, "people follow-origin", NotHere),
        Case(SITE, "people follow-origin", PeopleUnsigned, "origin"),
        Case(SITE, f"people card-issuer {{binary}} {by}", PersonSignatureUncheckable, "certificate"),
        Case(SITE, "people card-list {binary}", PersonSignatureUncheckable, "revocation list"),
        Case(SITE, "people card-list {none}", FileUnreadable),
    ]


def _accounts() -> list[Case]:
    return [
        Case(SITE, "accounts add B@D --grants viewer", NameUnusable, "B@D"),
        Case(SITE, "accounts add zed --grants king", NameUnusable, "king"),
        Case(SITE, "accounts grant zed --grants viewer", NotFound, "zed"),
        Case(SITE, "accounts revoke zed --grants viewer", NotFound, "zed"),
        Case(SITE, "accounts deactivate zed", NotFound, "zed"),
        Case(SITE, "accounts unlock zed", NotFound, "zed"),
        Case(SITE, "accounts password zed --code", NotFound, "zed"),
        Case(SITE, "tokens create zed --label x --grants viewer", NotFound, "zed"),
        Case(SITE, "tokens create zed --label X --grants viewer", NameUnusable, "X"),
        Case(SITE, "tokens revoke zed/x", NotFound, "zed/x"),
    ]


def _model_signatures() -> list[Case]:
    check = "models verify-signature {other}/ --signature"
    return [
        Case(SITE, "publishers add acme --models acme/* --public-key {binary}", ModelSignatureUnreadable, "acme"),
        Case(SITE, "publishers add acme --models acme/* --certificate-chain {empty}", ModelSignatureUnreadable, "acme"),
        Case(SITE, "publishers add acme --models all --public-key {binary}", NameUnusable, "all"),
        Case(SITE, "publishers add B@D --models acme/* --public-key {binary}", NameUnusable, "B@D"),
        Case(SITE, "publishers add acme --models acme/* --public-key {none}", FileUnreadable, "none"),
        Case(SITE, "publishers remove nobody", UnknownPublisher, "nobody"),
        Case(SITE, "publishers revocations acme {binary}", ModelSignatureUnreadable, "acme"),
        Case(SITE, "publishers revocations acme {none}", FileUnreadable, "none"),
        Case(SITE, "models sign acme/none --out {out}", NotFound, "acme/none"),
        Case(SITE, f"models sign {V1} --out {{empty}}/x", SystemRefused, "empty"),
        Case(SITE, f"models sign {V1} --out {{out}} --key {{alice.key}}", KeyUnreadable),
        Case(SITE, "models verify-signature acme/none", NotFound, "acme/none"),
        Case(SITE, f"models verify-signature {V1} --signature {{list.json}}", UnknownPublisher, "no publisher for"),
        Case(SITE, f"models verify-signature {V1} --at noon", TimeUnreadable, "noon"),
        Case(SITE, f"{check} {{none}} --public-key {{binary}}", FileUnreadable, "none"),
        Case(SITE, f"{check} {{list.json}} --public-key {{binary}}", ModelSignatureWrong, "UNCHECKABLE"),
        Case(SITE, "models verify-files {other} acme/none", NotFound, "acme/none"),
        Case(SITE, f"models verify-files {{other}} {V1}", ModelSignatureWrong, "is missing"),
        Case(SITE, f"models verify-files {{none}} {V1}", SourceUnusable, "none"),
        Case(SITE, "models bom acme/none", NotFound, "acme/none"),
    ]  # fmt: skip


def _doors() -> list[Case]:
    return [
        Case(SITE, "serve --listen 203.0.113.7:1", CannotListen, "203.0.113.7:1"),  # nobody's (RFC 5737)
        Case(SITE, "server nginx --name models.example --certificate {none} --key {none}", ServerSettingsWrong, "needs a socket"),
    ]  # fmt: skip


CASES = [
    *_doors(),
    *_accounts(),
    *_model_signatures(),
    *_people(),
    *_ceremonies(),
    *_officers_elsewhere(),
    *_logs(),
    *_judging(),
    *_documents(),
    *_nothing_there(),
    *_nowhere_to_write(),
    *_names(),
    *_wrong_home(),
    *_the_rest(),
    *_approvals(),
]


@dataclass
class Scene:
    """A town that no case may change, and the papers that the cases name."""

    town: Town
    papers: dict[str, str]

    def words(self, case: Case) -> list[str]:
        return [re.sub(r"\{([^}]+)\}", lambda found: self.papers[found[1]], word) for word in case.words]

    def prompt(self, home: str) -> Prompt:
        return self.town.site if home == SITE else self.town.origin


@pytest.fixture(scope="module")
def scene(built_town: Town, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    town = making.copy(built_town, tmp_path_factory.mktemp("bad-input") / "town")
    folder = town.folder
    texts = {
        "broken.json": b"{nope", "binary": b"\xff\xfe\x00" * 50, "empty": b"", "list.json": b"[1,2]",
        "deep.json": b"[" * 100_000, "fraction.json": b'{"a": 1.5}', "null.json": b"null",
    }  # fmt: skip
    for name, data in texts.items():
        (folder / name).write_bytes(data)
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("mine")
    (folder / "nothing").mkdir()
    contract = json.loads((DEMO / "contracts" / "tool-contract-hermes.json").read_text())
    (folder / "new-contract").write_text(json.dumps(contract | {"name": "new"}))
    _receipts(town)
    _requests(town)
    papers = {
        name: str(folder / name) for name in (*texts, "other", "nothing", "out", "none", "new-contract")
    }
    papers |= {
        f"{who}.{end}": str(folder / f"{who}.{end}") for who in ("alice", "bob") for end in ("key", "pub")
    }
    papers |= {f"{kind}-receipt": str(folder / f"{kind}.json") for kind in ("foreign", "changed")}
    papers |= {name: str(folder / name) for name in ("damaged", "request", "changed-request")}
    papers |= {
        "receipt": str(town.receipt), "medium": str(town.medium), "v1": str(DEMO / "models" / "v1"),
        "root": str(folder / "root.json"), "identity": str(folder / "clinic.json"),
        "contract": str(DEMO / "contracts" / "tool-contract-hermes.json"),
        "router": str(DEMO / "contracts" / "router-contract-v1.json"),
        "list.sig": _sign(town, folder / "list.json"), "list.sha": sha256(texts["list.json"]).hexdigest(),
    }  # fmt: skip
    return Scene(town, papers)


def _receipts(town: Town) -> None:
    """One that says it is of a site nobody knows, one that claims to hold less."""
    receipt = json.loads(town.receipt.read_text())
    foreign = receipt | {"payload": receipt["payload"] | {"site": "elsewhere"}}
    (town.folder / "foreign.json").write_bytes(pretty_bytes(foreign))
    changed = receipt | {"payload": receipt["payload"] | {"holds": receipt["payload"]["holds"][1:]}}
    (town.folder / "changed.json").write_bytes(pretty_bytes(changed))


def _requests(town: Town) -> None:
    """A medium without its chunks, what the site would ask for if it lacked a file, and one that asks for less."""
    damaged, request, blob = (
        town.folder / "damaged",
        town.folder / "request",
        town.blob(1, "model.safetensors"),
    )
    shutil.copytree(town.medium, damaged)
    for chunks in damaged.rglob("chunks"):
        shutil.rmtree(chunks)
    blob.rename(town.folder / "blob")
    town.site.type("bundles", "repair-request", damaged, "--out", request)
    (town.folder / "blob").rename(blob)
    asked = json.loads(request.read_text())
    less = asked | {"payload": asked["payload"] | {"chunks": []}}
    (town.folder / "changed-request").write_bytes(pretty_bytes(less))


def _sign(town: Town, file: Path) -> str:
    """alice signs something that is no approval."""
    from registry.approvals import NAMESPACE
    from signing.sshsig import load_private, sign

    key = load_private(town.key("alice"), passphrase=lambda _: b"")
    signature = file.with_suffix(".sig")
    signature.write_text(sign(file.read_bytes(), namespace=NAMESPACE, private_key=key))
    return str(signature)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.home}: {case.line[:90]}")
def test_wrong_input_is_refused_in_words_and_changes_nothing(scene: Scene, case: Case) -> None:
    prompt, words = scene.prompt(case.home), scene.words(case)
    before = tree(scene.town.folder)

    shown = prompt.type(*words, ends=case.refusal.exit_code)
    assert f"Next:    {case.refusal.next_step}" in shown.stderr
    assert "Refused: " in shown.stderr
    assert case.named in shown.stderr
    assert "Traceback" not in shown.output

    refusal = prompt.ask_refused(*words, ends=case.refusal.exit_code)
    assert {"refused", "message", "next_step", "exit_code"} == set(refusal)
    assert case.refusal.__name__ == refusal["refused"]
    assert refusal["message"].strip()

    assert before == tree(scene.town.folder), "a refused command left something behind"


def test_every_command_that_takes_something_is_among_the_cases() -> None:
    """`init`, `doctor` and the lists of what is here take nothing that could be wrong but a home."""
    tried = {" ".join(case.words[:n]) for case in CASES for n in (1, 2)}
    untried = {path for path, _ in commands() if path not in tried}
    assert {
        "init", "doctor", "upgrade", "tiers list", "people list", "people pending", "contracts list", "suites list",
        "bundles list", "audit log", "advisories list", "companions list", "decisions list", "models rescan", "policy history", "publishers list",
        "accounts list", "tokens list", "server check",
        "audit breaches", "audit expiring", "audit overrides", "audit transfers",
    } == untried  # fmt: skip


# --- the home itself -------------------------------------------------------------------------------------------

NEEDS_A_HOME = [
    ["models", "list"], ["contracts", "list"], ["suites", "list"], ["tiers", "list"], ["people", "list"],
    ["trust", "show"], ["bundles", "list"], ["pins"], ["audit", "log"], ["audit", "verify"], ["audit", "head"],
    ["audit", "explain", V1], ["promote", V1, "--tier", "team"], ["materialise", "team", "out"],
]  # fmt: skip


def at(home: Path, *words: object, **environment: str | None) -> Result:
    """One command in a home, as it is; a bug's traceback comes through."""
    variables = {"TIDEGATE_HOME": str(home), "TIDEGATE_ACTOR": "ines", "TIDEGATE_PASSPHRASE_FILE": None}
    return CliRunner(env=variables | environment).invoke(
        main, [str(word) for word in words], catch_exceptions=False
    )


@pytest.mark.parametrize("words", NEEDS_A_HOME, ids=" ".join)
def test_without_a_home_every_command_says_so(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for home in (tmp_path / "none", tmp_path / "other"):
        result = at(home, *words)
        assert HomeUnusable.exit_code == result.exit_code
        assert str(home) in result.stderr
    assert ["other"] == [path.name for path in tmp_path.iterdir()]


SETTINGS = {
    "": "format",
    "nope": "cannot be read",
    "\xff": "cannot be read",
    "format = 2": "format is 2",
    "format = 1\nname = 'x'\nroles = ['site']\nprofile = 'solo'\ncolour = 1": "colour",
    "format = 1\nname = 'x'\nroles = ['king']\nprofile = 'solo'": "roles",
    "format = 1\nname = 'x'\nroles = ['site']\nprofile = 'many'": "profile",
    "format = 1\nname = 7\nroles = ['site']\nprofile = 'solo'": "name",
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_that_do_not_read_are_named(town: Town, settings: str) -> None:
    file = town.site.home / "tidegate.toml"
    file.write_bytes(settings.encode("latin-1"))
    result = at(town.site.home, "models", "list")
    assert HomeUnusable.exit_code == result.exit_code
    assert str(file) in result.stderr
    assert SETTINGS[settings] in result.stderr


DATABASES: dict[str, type[OperatorError]] = {
    "nonsense": DatabaseAddressRefused,
    "mysql://a/b": DatabaseAddressRefused,
    "postgresql+psycopg://ines@127.0.0.1:port/x": DatabaseAddressRefused,
    "postgresql+psycopg://ines:secret@127.0.0.1:1/x": DatabaseAddressRefused,
    "postgresql+psycopg://ines@127.0.0.1:1/x": StoreUnusable,
    "sqlite:////nowhere/registry.db": StoreUnusable,
}


@pytest.mark.parametrize("database", DATABASES)
def test_a_database_that_cannot_be_used_is_named_and_its_password_is_not(town: Town, database: str) -> None:
    with (town.site.home / "tidegate.toml").open("a") as settings:
        settings.write(f"database = {json.dumps(database)}\n")
    for words in (["models", "list"], ["people", "remove", "alice"], ["audit", "verify"]):
        result = at(town.site.home, *words)
        assert DATABASES[database].exit_code == result.exit_code
        assert "secret" not in result.output


@pytest.mark.parametrize("damage", ["gone", "empty", "junk", "cut short", "a folder"])
def test_a_damaged_database_is_refused_and_left_as_it_is(town: Town, damage: str) -> None:
    file = town.site.home / "registry.db"
    data = file.read_bytes()
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    elif damage != "gone":
        file.write_bytes({"empty": b"", "junk": b"junk" * 4000, "cut short": data[:40_000]}[damage])
    before = tree(town.site.home)
    for words in (["models", "list"], ["pins"], ["people", "remove", "alice"], ["audit", "verify"]):
        result = at(town.site.home, *words)
        assert StoreUnusable.exit_code == result.exit_code, words
        assert str(file) in result.stderr
    assert before == tree(town.site.home)


def test_a_database_of_another_release_is_refused(town: Town) -> None:
    import sqlite3

    with closing(sqlite3.connect(town.site.home / "registry.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    result = at(town.site.home, "models", "list")
    assert StoreUnusable.exit_code == result.exit_code
    assert "9999" in result.stderr


# --- passphrases -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "refusal"),
    [
        (None, PassphraseMissing),
        ("wrong", KeyUnreadable),
        ("empty", KeyUnreadable),
        ("none", FileUnreadable),
        ("folder", FileUnreadable),
    ],
)
@pytest.mark.parametrize("command", ["bundles create", "sites add"])
def test_officers_keys_open_with_their_passphrase_only(
    town: Town, command: str, file: str | None, refusal: type[OperatorError]
) -> None:
    (town.folder / "wrong").write_text("not this one\n")
    (town.folder / "empty").write_text("\n")
    (town.folder / "folder").mkdir()
    lab = keys.create_key(town.folder / "lab.pem", passphrase=b"lab")
    (town.folder / "lab.json").write_bytes(lab.public_json)
    words = {
        "bundles create": ["bundles", "create", V1, "--to", "clinic", "--out", town.folder / "out"],
        "sites add": ["sites", "add", "lab", "--identity", town.folder / "lab.json"],
    }[command]
    before = tree(town.folder)
    given = None if file is None else str(town.folder / file)
    result = at(town.origin.home, *words, TIDEGATE_PASSPHRASE_FILE=given)
    assert refusal.exit_code == result.exit_code
    assert before == tree(town.folder)


# --- the medium ------------------------------------------------------------------------------------------------


def test_a_medium_with_one_changed_byte_in_its_papers_is_refused(town: Town) -> None:
    paper = next(town.medium.rglob("README.txt"))
    paper.write_bytes(paper.read_bytes().replace(b"t", b"T", 1))
    before = tree(town.folder)
    shutil.copytree(town.site.home, town.folder / "elsewhere")
    assert FilesDamaged.exit_code == at(town.site.home, "bundles", "inspect", town.medium).exit_code
    shutil.rmtree(town.folder / "elsewhere")
    assert before == tree(town.folder)


def test_two_bundles_at_once_are_refused(town: Town) -> None:
    second = town.folder / "second"
    town.origin.type("bundles", "create", V1, "--to", "clinic", "--out", second)
    before = tree(town.folder)
    result = at(town.site.home, "bundles", "import", town.medium, second)
    assert BundlesMixed.exit_code == result.exit_code
    assert before == tree(town.folder)


def test_a_medium_that_is_not_whole_is_refused_and_put_on_record(town: Town) -> None:
    """The one refusal that leaves something: what was found."""
    next(path for path in town.medium.rglob("chunks/*/*") if path.is_file()).unlink()
    for prompt in (town.origin, town.site):
        words = [
            "bundles",
            "verify",
            town.medium,
            "--serial",
            "VBTM-0042",
            "--seal",
            "7781",
            "--carrier",
            "maria",
        ]
        shown = prompt.type(*words, ends=MediumNotWhole.exit_code)
        assert f"Next:    {MediumNotWhole.next_step}" in shown.stderr
        prompt.type("audit", "verify")
        assert "medium verified" in prompt.type("audit", "log").output


def test_a_repair_request_is_never_written_onto_the_medium(town: Town) -> None:
    for chunks in town.medium.rglob("chunks"):
        shutil.rmtree(chunks)
    town.blob(1, "model.safetensors").unlink()
    before = tree(town.medium)
    words = ["bundles", "repair-request", town.medium, "--out", town.medium / "request.json"]
    town.site.type(*words, ends=ReceiptOnMedium.exit_code)
    assert before == tree(town.medium)


def test_a_refused_bundle_leaves_no_persons_word_behind(town: Town) -> None:
    before = tree(town.folder)
    words = ["bundles", "create", "acme/none", "--to", "clinic", "--out", town.folder / "out"]
    word = ["--assume-received", "1", "--by", "maria", "--reason", "seen"]
    town.origin.type(*words, *word, ends=NotFound.exit_code)
    assert before == tree(town.folder)


# --- making a home ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["B@D", "--role", "site"], NameUnusable),
        (["lab", "--role", "site", "--database", "nonsense"], DatabaseAddressRefused),
        (["lab", "--role", "site", "--database", "sqlite:///x.db"], DatabaseAddressRefused),
        (["lab", "--role", "site", "--database", "postgresql+psycopg://u:pw@h/x"], DatabaseAddressRefused),
        (["lab", "--role", "site", "--database", "postgresql+psycopg://u@h/x?password=pw"], DatabaseAddressRefused),
        (["lab", "--role", "site", "--database", "postgresql+psycopg://u@127.0.0.1:1/x"], StoreUnusable),
        (["lab", "--role", "origin"], PassphraseMissing),
    ],
)  # fmt: skip
def test_a_home_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, words: list[str], refusal: type[OperatorError]
) -> None:
    for home in (tmp_path / "deep" / "home", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        result = at(home, "init", *words)
        assert refusal.exit_code == result.exit_code
        assert "pw@" not in result.stderr
        assert [] == list((tmp_path / "empty").iterdir())
        assert not (tmp_path / "deep" / "home").exists()


def test_a_home_is_never_made_over_something(town: Town) -> None:
    before = tree(town.folder)
    (town.folder / "other").mkdir()
    (town.folder / "other" / "notes.txt").write_text("mine")
    for home, problem in ((town.site.home, "is a home already"), (town.folder / "other", "is not empty")):
        result = at(home, "init", "lab", "--role", "site")
        assert HomeUnusable.exit_code == result.exit_code
        assert problem in result.stderr
    shutil.rmtree(town.folder / "other")
    assert before == tree(town.folder)


def test_two_homes_never_share_a_database(tmp_path: Path, postgres_server: str) -> None:
    from tests.conftest import new_database

    database = new_database(postgres_server)
    assert 0 == at(tmp_path / "one", "init", "one", "--role", "site", "--database", database).exit_code
    size = json.loads(at(tmp_path / "one", "audit", "head", "--json").stdout)["size"]
    result = at(tmp_path / "two", "init", "two", "--role", "site", "--database", database)
    assert StoreUnusable.exit_code == result.exit_code
    assert "holds a home already" in result.stderr
    assert not (tmp_path / "two").exists()
    assert size == json.loads(at(tmp_path / "one", "audit", "head", "--json").stdout)["size"]


# --- arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["models", "list", "\udc80/b"],
        ["contracts", "show", "\udc80"],
        ["models", "withdraw", V1, "--reason", "\udc80"],
        ["models", "withdraw", V1, "--reason", "  "],
        ["rollback", MODEL, "--tier", "team", "--reason", ""],
        ["models", "withdraw", V1, "--reason", "x" * 10_000],
        ["models", "withdraw", V1, "--reason", "x", "--actor", "ines\n9 bob"],
        ["models", "withdraw", V1, "--reason", "x", "--actor", "x" * 100],
        ["models", "withdraw", V1],
        ["models", "add", "x", "--as", "a/b", "--waive", "nonsense"],
        ["audit", "log", "--last", "0"],
        ["suites", "add"],
        ["bundles", "verify"],
        ["bundles", "repair-request", "x"],
        ["bundles", "import"],
        ["people", "add", "zed", "--public-key", "x.pub", "--until", "soon"],
        ["people", "add", "zed", "--public-key", "x.pub", "--until", "2020-01-01"],
        ["suites", "add", "--builtin", "nope"],
        ["suites", "run", "x", V1, "--endpoint", "u"],
        ["nope"],
        ["models", "nope"],
    ],
    ids=lambda words: " ".join(words)[:60].encode(errors="replace").decode(),
)
def test_a_command_line_that_cannot_be_meant_ends_with_2(scene: Scene, words: list[str]) -> None:
    before = tree(scene.town.folder)
    result = scene.town.site.type(*words, ends=2)
    assert "Usage:" in result.stderr
    assert before == tree(scene.town.folder)


@pytest.mark.parametrize(
    "words",
    [
        ["--volume-size", "floppy"], ["--volume-size", ""], ["--volume-size", "-1"], ["--volume-size", "9" * 400],
        ["--parity", "3"], ["--parity", "-1"], ["--profile", "zip"], ["--assume-received", "0"],
        ["--assume-received", "1"], ["--by", "maria"], ["--reason", "x"],
        ["--assume-received", "1", "--reason", "x"],
    ],
    ids=lambda words: " ".join(words)[:40],
)  # fmt: skip
def test_options_of_a_bundle_that_cannot_be_meant_end_with_2(scene: Scene, words: list[str]) -> None:
    before = tree(scene.town.folder)
    create = ["bundles", "create", V1, "--to", "clinic", "--out", scene.papers["out"]]
    assert "Usage:" in scene.town.origin.type(*create, *words, ends=2).stderr
    if words[0] in ("--volume-size", "--parity"):
        resplit = ["bundles", "resplit", scene.papers["medium"], "--out", scene.papers["out"]]
        assert "Usage:" in scene.town.origin.type(*resplit, *words, ends=2).stderr
    assert before == tree(scene.town.folder)


def test_a_reader_that_went_away_is_no_refusal(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tidegate audit log | head -1`."""
    from tidegate.cli import audit

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(audit, "show", gone)
    assert "Refused" not in at(town.site.home, "audit", "log").output
