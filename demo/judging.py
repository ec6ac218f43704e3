"""The journey's second part: at the site, versions are measured, asked for, let in, refused and taken back."""

import json
import re
import shutil
from pathlib import Path

from demo import doors
from demo.engine import Engine, ask
from demo.hub import serve_hub
from demo.story import MODEL, Story
from registry.errors import PolicyUnsigned
from registry.gate import GateClosed
from tidegate.errors import CompanionsDrifted, SuiteNotPassed

HERE = Path(__file__).parent
PROFILE, ROUTER = "llama-server-hermes", "demo-router-v1"


def tell(story: Story, engine: Engine) -> None:
    """Tell it, from the imported first version on."""
    _policy(story)
    _router(story, engine)
    _first_promotion(story, engine)
    _second_version(story, engine)
    _asked_and_signed(story)
    _third_version(story, engine)
    doors.introduce(story)
    with doors.opened(story) as address:
        before = doors.visit(story, address)
        _router_updated(story, engine)
        _clients(story, before)
        _way_back(story, before)


def contract(name: str) -> Path:
    """A document of the demonstration."""
    return HERE / "contracts" / f"{name}.json"


def _policy(story: Story) -> None:
    story.chapter(
        "What each tier demands, in a file that somebody signs",
        """Policy is a file for people: written, reviewed, compared with what is in force, rehearsed on everything that
        serves. Unsigned, it is refused.""",
    )
    shutil.copy(HERE / "tiers.toml", story.folder / "tiers.toml")
    story.run("tidegate policy diff tiers.toml --home site --actor alice")
    story.run("tidegate policy apply tiers.toml --home site --actor sam", ends=PolicyUnsigned.exit_code)
    story.run(
        "tidegate policy apply tiers.toml --person alice --key alice.key --reason 'agreed on Monday' --home site --actor alice",
        quiet=True,
    )


def _router(story: Story, engine: Engine) -> None:
    story.chapter(
        "What this site's router and engine speak",
        """Whether tool calls work depends on the model, the engine with its flags, and the router. Each is a document; the
        gate compares them.""",
    )
    _engine_profile(story, engine)
    story.run("tidegate contracts add engine-profile.json --home site --actor sam")
    story.run(f"tidegate contracts add {contract('router-contract-v1')} --home site --actor sam")
    for tier in ("team", "org"):
        story.run(
            f"tidegate contracts set-router {tier} {ROUTER} --engine {PROFILE} --home site --actor sam",
        )
    story.run(f"tidegate companions set {MODEL} coding --home site --actor sam")


def _engine_profile(story: Story, engine: Engine) -> None:
    """The demo's profile with the build that the engine found here says it is. One thread: sharing costs these models time."""
    with engine.serve(HERE / "models" / "v1", story.folder / "engine-version.log") as served:
        build = ask(served.base_url.removesuffix("/v1") + "/props")["build_info"]
    profile = json.loads(contract("engine-profile-hermes").read_text())
    profile |= {"name": PROFILE, "version": build, "flags": ["--jinja", "--threads", "1"]}
    (story.folder / "engine-profile.json").write_text(json.dumps(profile, indent=2) + "\n")


def _first_promotion(story: Story, engine: Engine) -> None:
    story.chapter(
        "Measured on a real engine, approved, promoted",
        """The gate is one page: what holds, what does not, and who can mend it. `validate` hands the files over, starts the
        engine by the tier's profile, runs what the tier demands, and ends it. Then people sign what they saw.""",
    )
    story.run(f"tidegate gate {MODEL}@1 --tier team --home site --actor sam", ends=GateClosed.exit_code)
    _to_team(story, engine, 1)
    _validate(story, engine, 1, "org")
    _to_org(story, 1)


def _validate(story: Story, engine: Engine, ordinal: int, tier: str) -> str:
    return story.run(
        f"tidegate validate {MODEL}@{ordinal} --tier {tier} --program {engine.path} --home site --actor vera"
    )


def _to_team(story: Story, engine: Engine, ordinal: int) -> None:
    ref = f"{MODEL}@{ordinal}"
    _validate(story, engine, ordinal, "team")
    _approve(story, ref, "team", "alice", "reads our tools", last=None if ordinal == 1 else 2)
    story.run(f"tidegate promote {ref} --tier team --reason 'pilot' --home site --actor alice", quiet=True)


def _approve(
    story: Story, ref: str, tier: str, person: str, why: str, *, page: str = "", last: int | None = 2
) -> None:
    """Sign. The page that is signed is printed each time; after the first time its end is enough here."""
    shown = f" --shown {page}" if page else ""
    story.run(
        f"tidegate approve {ref} --tier {tier}{shown} --person {person} --key {person}.key --reason '{why}' --home site --actor {person}",
        last=last,
    )


def _to_org(story: Story, ordinal: int, page: str = "") -> None:
    ref = f"{MODEL}@{ordinal}"
    for person in ("alice", "bob"):
        _approve(story, ref, "org", person, "the pilot is content", page=page)
    story.run(f"tidegate promote {ref} --tier org --reason 'for everybody' --home site --actor bob", last=5)


def _second_version(story: Story, engine: Engine) -> None:
    story.chapter(
        "A second version, measured beside the first",
        """The receipt went back to the origin: what the site holds is left out of the next bundle. For the organisation, 226
        questions are put to both versions in turns, in the same run; the gate asks what was lost, not only the average.""",
    )
    story.run("tidegate bundles acknowledge receipt-1.json --home origin --actor oda")
    _carry(story, 2, "tool-contract-hermes")
    _to_team(story, engine, 2)
    said = _validate(story, engine, 2, "org")
    [report] = re.findall(r"behaviour: PASSED \[(\w+)\]", said)
    story.run(f"tidegate suites report {report} --html report.html --home site --actor alice")
    story.say(f"(the page is one file that loads nothing: {story.folder / 'report.html'})")


def _asked_and_signed(story: Story) -> None:
    story.chapter(
        "Somebody asks; two people read one page, and sign it",
        """Sam asks for version 2. The page that the stewards read goes on record. Each signs that page by its SHA-256, with
        their own key: had a word of it changed since, their signature would be refused. Sam's own would not count.""",
    )
    ref = f"{MODEL}@2 --tier org"
    story.run(
        f"tidegate approvals request {ref} --reason 'the wards need the sums right' --home site --actor sam",
        last=4,
    )
    said = story.run(f"tidegate approvals show {ref} --home site --actor bob")
    [page] = re.findall(r"^Page ([0-9a-f]{64})$", said, flags=re.MULTILINE)
    _to_org(story, 2, page)


def _carry(story: Story, ordinal: int, tool_contract: str, extra: str = "") -> None:
    """Fetch a version at the origin and carry it to the site."""
    with serve_hub(MODEL, HERE / "models" / f"v{ordinal}") as hub:
        story.run(f"tidegate models fetch hf:{MODEL} --endpoint {hub} --home origin --actor oda", quiet=True)
    story.run(
        f"tidegate contracts add {contract(tool_contract)} --for {MODEL}@{ordinal} --home origin --actor oda"
    )
    story.run(
        f"tidegate bundles create {MODEL}@{ordinal} --to clinic{extra} --out medium-{ordinal} --home origin --actor oda"
    )
    story.run(
        f"tidegate bundles import medium-{ordinal} --receipt receipt-{ordinal}.json --home site --actor ines",
        quiet=True,
    )


def _third_version(story: Story, engine: Engine) -> None:
    story.chapter(
        "A third version that would break every tool call, silently",
        """It writes its calls in another format. Served with yesterday's template the engine answers 200 to every request and
        parses none of the calls; no health page would say so. The gate says it before anything runs, and what would have to
        change; the suite measures it.""",
    )
    xml = HERE / "companions" / "coding-xml"
    story.run(f"tidegate companions add {xml} --name coding-xml --home origin --actor oda")
    _carry(story, 3, "tool-contract-xml-function", " --with coding-xml")
    story.run("tidegate contracts diff demo-hermes demo-xml-function --home site")
    story.run(f"tidegate gate {MODEL}@3 --tier team --home site --actor sam", ends=GateClosed.exit_code)
    _served_with_the_old_template(story, engine)
    story.demand(_serves(story) == {"org": 2, "team": 2}, "both tiers still serve version 2")


def _served_with_the_old_template(story: Story, engine: Engine) -> None:
    story.run(f"tidegate materialise {MODEL}@3 served/v3 --home site")
    shutil.copy(HERE / "models" / "v1" / "chat_template.jinja", story.folder / "old.jinja")
    flags = ["--jinja", "--chat-template-file", str(story.folder / "old.jinja")]
    with engine.serve(story.folder / "served" / "v3", story.folder / "engine-v3.log", flags) as served:
        port = served.base_url.split(":")[-1].removesuffix("/v1")
        story.say(
            f"(serving: llama-server --model $PWD/served/v3/model.gguf --port {port} --jinja --chat-template-file old.jinja)"
        )
        story.run(
            f"tidegate suites run smoke {MODEL}@3 --tier team --endpoint {served.base_url} --home site --actor vera",
            ends=SuiteNotPassed.exit_code,
        )


def _serves(story: Story) -> dict[str, int]:
    return {pin["tier"]: pin["ordinal"] for pin in story.ask("tidegate pins --home site")}


def _router_updated(story: Story, engine: Engine) -> None:
    story.chapter(
        "The router is updated, and then it passes",
        """The change is computed, tried, and written as documents. What it would break of what serves now, or of the way back,
        is shown before it takes effect: here nothing. Version 3 brings companions of its own.""",
    )
    story.run(
        f"tidegate contracts patch {MODEL}@3 --tier team --out router-2.json --out-engine engine-2.json --home site --actor sam"
    )
    for name in ("router-2", "engine-2"):
        story.run(f"tidegate contracts add {name}.json --home site --actor sam")
    change = f"tidegate contracts set-router team {ROUTER} --engine {PROFILE} --home site --actor sam"
    story.run(f"{change} --dry-run")
    story.run(change)
    story.run(f"tidegate companions set {MODEL}@3 coding-xml --home site --actor sam")
    _to_team(story, engine, 3)
    story.run("tidegate pins --home site")


def _clients(story: Story, before: str) -> None:
    """`before` is the commit that a client got of team's version 2."""
    story.chapter(
        "What clients get",
        """The pin moved, and so did the client that only says `team`. From the pin, too, so that nobody types a model name or
        an address twice: the configuration of Codex CLI, and the files that were reviewed with the version.""",
    )
    story.demand(doors.download(story) != before, "the client follows the pin")
    where = f"--tier team --model {MODEL} --home site --actor sam"
    story.run(f"tidegate client-config codex --base-url http://llm.clinic.example:8080/v1 {where}")
    story.run(f"tidegate companions write machine {where}")
    with (story.folder / "machine" / "requirements.toml").open("a") as file:
        file.write('allowed_web_search_modes = ["live"]\n')
    story.say("On that machine somebody adds a line to requirements.toml:")
    story.run(
        f"tidegate companions drift machine/requirements.toml {where}", ends=CompanionsDrifted.exit_code
    )


def _way_back(story: Story, before: str) -> None:
    story.chapter(
        "The way back",
        """Version 3 misbehaves in a way that no suite saw. One command, no network, no second person: the tier returns to the
        last version that served there, with its contract, engine profile, router and companions. The history keeps all lines.""",
    )
    story.run(
        f"tidegate rollback {MODEL} --tier team --reason 'wrong units in the lab reports' --home site --actor sam"
    )
    story.demand(_serves(story) == {"org": 2, "team": 2}, "team serves version 2 again")
    story.demand(doors.download(story) == before, "the client is back, too")
    story.run(
        f"tidegate companions write machine --tier team --model {MODEL} --home site --actor sam", quiet=True
    )
    said = (story.folder / "machine" / "AGENTS.md").read_text()
    story.demand("as tags" not in said, "the companions went back, too")
    story.run("tidegate pins --history --home site")
    story.run("tidegate materialise team served/cache --layout hf-cache --home site --actor sam")
