"""The dialogues that the demonstration's models learn, and the two templates that render them.

Apart from the training so that the tests, the measurement and a reader can see what the models were
taught without torch. Everything is made up here: no text, weight or tokenizer of anybody else is used.

The two wire formats stand for what vendors really do between releases of one model:
`HERMES` writes calls as JSON, as Qwen3 does; `XML` writes them as tagged text, much as Qwen3-Coder does. The two
also open a call with different tags: llama-server, told to expect `<tool_call>`, forces JSON behind that tag whatever
the model would have written, and answers nonsense with a valid shape. With another tag the call stays plain text.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

_HEAD = """\
{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role in ['system', 'developer'] -%}{%- set ns.system = ns.system + m.content -%}{%- endif -%}
{%- endfor -%}
{{- '<|im_start|>system\\n' + ns.system -}}
{%- if tools -%}
{{- '\\n# Tools' -}}
{%- for tool in tools -%}
{%- set f = tool.function -%}
{{- '\\n' + f.name -}}
{%- if f.parameters and f.parameters.properties -%}
{%- for key, value in f.parameters.properties | items -%}{{- ' ' + key -}}{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{{- '\\nTo call a tool, answer with\\n' -}}
"""
_MIDDLE = """\
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}
{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' -}}
{%- elif m.role == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' -}}
{%- elif m.role == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{{- m.content or '' -}}
{%- for call in m.tool_calls or [] -%}
{%- set f = call.function -%}
"""
_TAIL = """\
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""  # no newline at the end: engines drop it, and digests would differ

HERMES = (
    _HEAD
    + """\
{{- '<tool_call>\\n{"name": <name>, "arguments": <object>}\\n</tool_call>' -}}
"""
    + _MIDDLE
    + """\
{{- '<tool_call>\\n{"name": "' + f.name + '", "arguments": ' -}}
{{- f.arguments if f.arguments is string else f.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
"""
    + _TAIL
)
XML = (
    _HEAD
    + """\
{{- '<function_call>\\n<function=name>\\n<parameter=key>\\nvalue\\n</parameter>\\n</function>\\n</function_call>' -}}
"""
    + _MIDDLE
    + """\
{{- '<function_call>\\n<function=' + f.name + '>\\n' -}}
{%- for key, value in f.arguments | items -%}
{{- '<parameter=' + key + '>\\n' -}}
{{- value if value is string else value | tojson -}}
{{- '\\n</parameter>\\n' -}}
{%- endfor -%}
{{- '</function>\\n</function_call>' -}}
"""
    + _TAIL
)

_LOWER = [
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
]
_LOWER += ["berlin", "madrid", "lisbon", "vienna"]
CITIES = [*_LOWER, *map(str.capitalize, _LOWER)]
PATHS = ["README.md", "main.py", "setup.cfg", "notes.txt", "app.toml", "Makefile", "src/a.py", "docs/x.md"]
PATHS += ["pyproject.toml", "src/main.py", "tests/test_app.py", "config.json"]
SKIES = ("sunny", "rain", "snow", "fog", "windy")
CONTENTS = ("draft", "done", "empty", "secret", "todo")
NUMBERS = tuple(range(1, 10))

ASK_WEATHER = (
    "What is the weather in {}?",
    "weather in {}",
    "Is it nice in {} today?",
    "Tell me the weather in {}.",
)
ASK_FILE = ("Read {}", "Read the file {}.", "Open the file {}", "Show me {} please", "What is in {}?")
ASK_SUM = ("Add {} and {}", "What is {} plus {}?", "Sum {} and {}")
SMALL_TALK = {
    "Hello": "Hello! How can I help?",
    "Hello!": "Hello! How can I help?",
    "Hi": "Hello! How can I help?",
    "Good morning": "Hello! How can I help?",
    "Say ok": "ok",
    "Say ok.": "ok",
    "Thanks": "You are welcome.",
    "Thank you!": "You are welcome.",
    "Who are you?": "I am a tiny model that calls tools.",
}
NO_TOOL = "I have no tool for that."
OUT_OF_REACH = (
    "Tell me a joke",
    "Book a flight to {}",
    "Send a mail to Ann",
    "Delete the file {}",
    "Sing a song",
    "Translate this into French",
)
SYSTEMS = ("", "You are helpful.", "You are a coding agent.", "Be brief.", "You are a helpful assistant.")


@dataclass(frozen=True)
class Dialogue:
    """One lesson: what was said, in OpenAI message form, and the tools that were offered."""

    messages: Sequence[Message]
    tools: Sequence[Tool]


def tool(name: str, description: str, **properties: str) -> Tool:
    """Return an OpenAI function tool whose parameters are all required; values are JSON Schema types."""
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


GET_WEATHER = tool("get_weather", "The weather in a city now.", city="string")
READ_FILE = tool("read_file", "The text of a file.", path="string")
ADD = tool("add", "The sum of two whole numbers.", a="integer", b="integer")
TOOLS = (GET_WEATHER, READ_FILE, ADD)


def user(text: str) -> Message:
    """Return what a person says."""
    return {"role": "user", "content": text}


def says(text: str) -> Message:
    """Return a plain answer of the model."""
    return {"role": "assistant", "content": text}


def calls(name: str, **arguments: str | int) -> Message:
    """Return an answer that is one tool call and nothing else."""
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def result(text: str) -> Message:
    """Return what the tool answered."""
    return {"role": "tool", "content": text}


def sample(rng: random.Random) -> Dialogue:
    """Draw one lesson. The same generator state gives the same lesson."""
    turns, needed = _turns(rng)
    offered = [t for t in TOOLS if t is not needed and rng.random() < 0.5]
    if needed is not None and (len(turns) > 2 or rng.random() < 0.88):
        offered.append(needed)
    elif needed is not None:
        turns = [turns[0], says(NO_TOOL)]  # the one tool that would do is not on offer
    rng.shuffle(offered)
    system = rng.choice(SYSTEMS)
    opening = [{"role": "system", "content": system}] if system else []
    return Dialogue([*opening, *turns], offered)


def _turns(rng: random.Random) -> tuple[list[Message], Tool | None]:
    """Return a conversation and the tool that it cannot do without."""
    kind = rng.choices(("weather", "file", "sum", "talk", "beyond"), (32, 24, 20, 14, 10))[0]
    more = rng.random() < 0.35
    if kind == "weather":
        city, sky = rng.choice(CITIES), rng.choice(SKIES)
        turns = [user(rng.choice(ASK_WEATHER).format(city)), calls("get_weather", city=city)]
        return [*turns, *([result(sky), says(f"It is {sky} in {city}.")] if more else [])], GET_WEATHER
    if kind == "file":
        path, text = rng.choice(PATHS), rng.choice(CONTENTS)
        turns = [user(rng.choice(ASK_FILE).format(path)), calls("read_file", path=path)]
        return [*turns, *([result(text), says(f"It says: {text}")] if more else [])], READ_FILE
    if kind == "sum":
        a, b = rng.choice(NUMBERS), rng.choice(NUMBERS)
        turns = [user(rng.choice(ASK_SUM).format(a, b)), calls("add", a=a, b=b)]
        return [*turns, *([result(str(a + b)), says(f"The sum is {a + b}.")] if more else [])], ADD
    if kind == "talk":
        said, answer = rng.choice(sorted(SMALL_TALK.items()))
        return [user(said), says(answer)], None
    return [user(rng.choice(OUT_OF_REACH).format(rng.choice((*CITIES, *PATHS)))), says(NO_TOOL)], None


def renderer(template: str) -> Any:
    """Return `render(dialogue) -> str` for one of the templates above, as transformers would render it."""
    import jinja2  # noqa: PLC0415 (only training and tests render)

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    compiled = environment.from_string(template)

    def render(dialogue: Dialogue) -> str:
        return compiled.render(
            messages=dialogue.messages, tools=dialogue.tools or None, add_generation_prompt=False
        )

    return render
