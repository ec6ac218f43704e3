"""Ask every version every case on the real engine, and write down which of them each gets right.

    python -m demo.measure_models        writes demo/models/accuracy.json

A case is right when the answer is exactly the expected one: the one call with these arguments and no other
text, or these words and no call. Answers are greedy, so the same engine gives the same file again.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from demo import dialogues
from demo.dialogues import ADD, GET_WEATHER, READ_FILE, TOOLS, Message, Tool, calls, result, user
from demo.engine import Engine, EngineTrouble, Served, ask, find_engine

MODELS = Path(__file__).parent / "models"
VERSIONS = ("v1", "v2", "v3")


@dataclass(frozen=True)
class Case:
    """What is said and offered, and the only right answer: a call, or words."""

    kind: str
    messages: Sequence[Message]
    tools: Sequence[Tool]
    call: tuple[str, dict[str, Any]] | None = None
    words: str | None = None


def cases() -> Iterator[Case]:
    """Return all cases, always in the same order."""
    for ask_for, city in product(dialogues.ASK_WEATHER, dialogues.CITIES):
        yield Case("weather", [user(ask_for.format(city))], TOOLS, ("get_weather", {"city": city}))
    for ask_for, path in product(dialogues.ASK_FILE, dialogues.PATHS):
        yield Case("file", [user(ask_for.format(path))], TOOLS, ("read_file", {"path": path}))
    for ask_for, a, b in product(dialogues.ASK_SUM, (1, 3, 4, 7, 9), (2, 5, 8)):
        yield Case("sum", [user(ask_for.format(a, b))], TOOLS, ("add", {"a": a, "b": b}))
    for said, words in dialogues.SMALL_TALK.items():
        yield Case("talk", [user(said)], TOOLS, words=words)
        yield Case("talk", [user(said)], (), words=words)
    for said in dialogues.OUT_OF_REACH:
        yield Case("no tool fits", [user(said.format("oslo"))], TOOLS, words=dialogues.NO_TOOL)
    for city in ("oslo", "Paris", "rome", "Berlin"):
        question = user(f"What is the weather in {city}?")
        yield Case("tool missing", [question], (READ_FILE, ADD), words=dialogues.NO_TOOL)
        yield Case("tool missing", [question], (), words=dialogues.NO_TOOL)
        yield Case("one tool", [question], (GET_WEATHER,), ("get_weather", {"city": city}))
        for sky in ("snow", "sunny", "rain"):
            told = [question, calls("get_weather", city=city), result(sky)]
            yield Case("tool result", _with_call_ids(told), TOOLS, words=f"It is {sky} in {city}.")
    for path, text in product(("README.md", "main.py", "notes.txt"), ("draft", "done")):
        told = [user(f"Read {path}"), calls("read_file", path=path), result(text)]
        yield Case("tool result", _with_call_ids(told), TOOLS, words=f"It says: {text}")


def _with_call_ids(messages: Sequence[Message]) -> list[Message]:
    """Return the messages as the OpenAI API wants them: arguments as text, and ids that link call and result."""
    linked: list[Message] = []
    for message in messages:
        if "tool_calls" in message:
            function = dict(message["tool_calls"][0]["function"])
            function["arguments"] = json.dumps(function["arguments"])
            linked.append({**message, "tool_calls": [{"type": "function", "id": "c1", "function": function}]})
        else:
            linked.append({**message, **({"tool_call_id": "c1"} if message["role"] == "tool" else {})})
    return linked


def answer(served: Served, case: Case) -> tuple[list[tuple[str, Any]], str]:
    """Return the calls (name, arguments, or their text if that is no JSON) and the words of the model's answer."""
    body = {"messages": case.messages, "temperature": 0, "max_tokens": 96}
    reply = ask(f"{served.base_url}/chat/completions", body | ({"tools": case.tools} if case.tools else {}))
    message = reply["choices"][0]["message"]
    made = []
    for call in message.get("tool_calls") or []:
        arguments = call["function"]["arguments"]
        try:
            made.append((call["function"]["name"], json.loads(arguments)))
        except ValueError:
            made.append((call["function"]["name"], arguments))
    return made, message.get("content") or ""


def is_right(case: Case, made: list[tuple[str, Any]], words: str) -> bool:
    """Say whether the answer is exactly the expected one."""
    return made == ([case.call] if case.call else []) and words == (case.words or "")


def measure(engine: Engine, log: Path) -> dict[str, Any]:
    """Return the table: per version how many are right, per case which versions get it right."""
    asked = list(cases())
    right: dict[str, list[bool]] = {}
    for version in VERSIONS:
        with engine.serve(MODELS / version, log) as served:
            right[version] = [is_right(case, *answer(served, case)) for case in asked]
    kinds = list(dict.fromkeys(case.kind for case in asked))
    scores = {
        version: {
            kind: f"{sum(ok for ok, case in zip(marks, asked, strict=True) if case.kind == kind)}"
            f"/{sum(case.kind == kind for case in asked)}"
            for kind in kinds
        }
        for version, marks in right.items()
    }
    rows = [
        _row(case) | {"right": [version for version in VERSIONS if right[version][i]]}
        for i, case in enumerate(asked)
    ]
    return {"engine": f"{engine.name} {engine.version}", "scores": scores, "cases": rows}


def _row(case: Case) -> dict[str, Any]:
    last = case.messages[-1]["content"] if case.kind == "tool result" else None
    expected = {"call": case.call[0], "arguments": case.call[1]} if case.call else {"words": case.words}
    return {
        "kind": case.kind,
        "prompt": case.messages[0]["content"],
        **({"tool_result": last} if last else {}),
        "tools": [tool["function"]["name"] for tool in case.tools],
        "expected": expected,
    }


def main() -> None:
    """Measure with the engine of this machine and write the table beside the models."""
    engine = find_engine()
    if engine is None:
        raise EngineTrouble("no engine: run `python -m demo.engine` first")
    with tempfile.TemporaryDirectory() as folder:
        table = measure(engine, Path(folder) / "engine.log")
    lines = ",\n".join("  " + json.dumps(row) for row in table["cases"])
    head = json.dumps({"engine": table["engine"], "scores": table["scores"]}, indent=1)
    (MODELS / "accuracy.json").write_text(f'{head[:-2]},\n "cases": [\n{lines}\n ]\n}}\n', "utf-8")
    print(json.dumps(table["scores"], indent=1))


if __name__ == "__main__":
    main()
