"""Makes the cases of the built-in suite `behaviour`: the same ones every time, so that a steward can read what is asked.

    python -m tests.make_behaviour            write them
    python -m tests.make_behaviour --check    status 1 when something else lies there

Plain questions that one of three tools answers, or none; wordings and arguments are drawn with a fixed seed. They are
easy on purpose: a suite of hard questions measures taste, one of easy questions notices what broke.

A cluster is what questions have in common that a model may fail at as one: the same city, path, number or phrase. The
interval of a comparison counts clusters; one cluster for all sums would make a model that learnt to add look like luck.
"""

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "pipelines" / "suites" / "builtin" / "behaviour" / "cases"
SEED = 7
MAX_TOKENS = 256
TOOLS = ("get_weather", "read_file", "add")
CITIES = (
    *(
        "oslo",
        "paris",
        "rome",
        "lima",
        "cairo",
        "tokyo",
        "delhi",
        "quito",
        "accra",
        "minsk",
        "dakar",
        "seoul",
    ),
    *("berlin", "madrid", "lisbon", "vienna"),
)
PATHS = (
    *("README.md", "main.py", "setup.cfg", "notes.txt", "app.toml", "Makefile", "src/a.py", "docs/x.md"),
    *("pyproject.toml", "src/main.py", "tests/test_app.py", "config.json"),
)
SKIES = ("sunny", "rain", "snow", "fog", "windy")
CONTENTS = ("draft", "done", "empty", "secret", "todo")
WEATHER = (
    "What is the weather in {}?",
    "weather in {}",
    "Is it nice in {} today?",
    "Tell me the weather in {}.",
)
FILE = ("Read {}", "Read the file {}.", "Open the file {}", "Show me {} please", "What is in {}?")
SUM = ("Add {} and {}", "What is {} plus {}?", "Sum {} and {}")
TALK = ("Hello", "Hello!", "Hi", "Good morning", "Say ok", "Say ok.", "Thanks", "Thank you!", "Who are you?")
BEYOND = (
    *("Tell me a joke", "Sing a song", "Translate this into French", "Send a mail to Ann"),
    *(f"Book a flight to {city}" for city in ("Oslo", "Rome", "Lima", "Tokyo")),
)
SYSTEMS = ("", "", "You are helpful.", "You are a coding agent.", "Be brief.")
Case = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Write or compare."""
    made = dict(files())
    if "--check" in arguments:
        return int(made != {path.name: path.read_text() for path in FOLDER.iterdir()})
    for name, text in made.items():
        (FOLDER / name).write_text(text)
    return 0


def files() -> Iterator[tuple[str, str]]:
    """Yield each file's name and text."""
    makers = (weather, file, sums, results, talk, beyond, missing)
    for number, maker in enumerate(makers, start=1):
        cases = list(maker(random.Random(SEED + number)))
        lines = [json.dumps(case | {"max_tokens": MAX_TOKENS}) for case in cases]
        yield f"{number}-{maker.__name__}.jsonl", "".join(f"{line}\n" for line in lines)


def weather(rng: random.Random) -> Iterator[Case]:
    """A city's weather, written large and small."""
    chosen = rng.sample(
        [(city, way) for city in (*CITIES, *map(str.capitalize, CITIES)) for way in WEATHER], 64
    )
    for number, (city, way) in enumerate(chosen, start=1):
        yield calling(rng, f"weather-{number:03}", way.format(city), "get_weather", {"city": city})


def file(rng: random.Random) -> Iterator[Case]:
    """A file to be read; the path has to come out letter by letter."""
    chosen = rng.sample([(path, way) for path in PATHS for way in FILE], 48)
    for number, (path, way) in enumerate(chosen, start=1):
        yield calling(rng, f"file-{number:03}", way.format(path), "read_file", {"path": path})


def sums(rng: random.Random) -> Iterator[Case]:
    """Two numbers, in their order."""
    chosen = rng.sample([(a, b, way) for a in range(1, 10) for b in range(1, 10) for way in SUM], 32)
    for number, (a, b, way) in enumerate(chosen, start=1):
        yield calling(rng, f"sum-{number:03}", way.format(a, b), "add", {"a": a, "b": b})


def results(rng: random.Random) -> Iterator[Case]:
    """A call, then its result, then an answer that says what the result said."""
    for number in range(1, 33):
        if number % 2:
            question, name, said = (
                rng.choice(WEATHER).format(rng.choice(CITIES)),
                "get_weather",
                rng.choice(SKIES),
            )
        else:
            question, name, said = (
                rng.choice(FILE).format(rng.choice(PATHS)),
                "read_file",
                rng.choice(CONTENTS),
            )
        used = {"check": "multi_turn_tool_result", "result": said, "contains": said}
        yield case(rng, f"results-{number:03}", said, question, TOOLS, called(name), used)


def talk(rng: random.Random) -> Iterator[Case]:
    """Small talk: with tools at hand and without."""
    for number, said in enumerate((*TALK, *TALK), start=1):
        tools = some(rng) if number > len(TALK) else ()
        yield case(rng, f"talk-{number:03}", said, said, tools, *silent())


def beyond(rng: random.Random) -> Iterator[Case]:
    """What no tool can do."""
    for number, said in enumerate(BEYOND * 2, start=1):
        yield case(rng, f"beyond-{number:03}", said, said, some(rng), *silent())


def missing(rng: random.Random) -> Iterator[Case]:
    """What a tool could do that is not offered."""
    for number in range(1, 17):
        city = rng.choice(CITIES).capitalize()
        offered = [name for name in some(rng) if name != "get_weather"] or ["add"]
        yield case(rng, f"missing-{number:03}", city, rng.choice(WEATHER).format(city), offered, *silent())


def calling(rng: random.Random, name: str, question: str, tool: str, arguments: Case) -> Case:
    """A case that has to end in one call with exactly these arguments; other tools are offered beside it."""
    offered = [one for one in TOOLS if one == tool or rng.random() < 0.7]
    rng.shuffle(offered)
    equal = {"check": "args_equal", "arguments": arguments}
    about = str(next(iter(arguments.values())))
    return case(rng, name, about, question, offered, called(tool), {"check": "args_valid"}, equal)


def case(rng: random.Random, name: str, about: str, question: str, tools: Any, *checks: Case) -> Case:
    """One line of a file. `about`: what makes the cluster, with the kind of question."""
    system = rng.choice(SYSTEMS)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    kind = name.rpartition("-")[0]
    cluster = f"{kind}.{re.sub(r'[^a-z0-9]+', '-', about.lower()).strip('-')}"
    return {
        "id": name,
        "cluster": cluster,
        "messages": messages,
        "tools": list(tools),
        "checks": list(checks),
    }


def called(name: str) -> Case:
    """The check that this tool is called."""
    return {"check": "tool_called", "name": name}


def silent() -> tuple[Case, Case]:
    """Words, and no call."""
    return {"check": "no_tool"}, {"check": "answers"}


def some(rng: random.Random) -> list[str]:
    """Some tools, in some order; at least one."""
    return rng.sample(TOOLS, rng.randint(1, len(TOOLS)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
