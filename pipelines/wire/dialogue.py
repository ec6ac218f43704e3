"""The one fixed dialogue, and what can be told from how a template renders it. Pure.

Every word that stands in it is a sentinel that no template has in itself. The words of this module are part of the
digests' meaning: changing one of them changes every `wire_sha256` that contracts state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pipelines.scan.templates import families
from registry.template_rules import WireDigests
from signing.digests import sha256_hex

Message = Mapping[str, Any]

# An answer in plain words begins and ends with a letter that no call begins or ends with, so that what two renderings
# have in common ends exactly where the call begins.
_WORDS = {role: f"probe {role} words" for role in ("system", "developer", "user", "tool")}
_ANSWER = "~probe answer~"
_NAME, _KEY, _VALUE, _SECOND, _COUNT = "probe_tool", "probe_key", "probe value", "second value", "probe_count"
_IDS = ("probe0001", "probe0002")  # nine letters and digits: Mistral's templates demand that
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": _NAME,
            "description": "probe description",
            "parameters": {
                "type": "object",
                "properties": {
                    _KEY: {"type": "string", "description": "probe text"},
                    _COUNT: {"type": "integer", "description": "probe number"},
                },
                "required": [_KEY],
            },
        },
    }
]


@dataclass(frozen=True)
class Rendered:
    """What one dialogue came to: its text, or why there is none."""

    text: str | None
    error: str = ""

    def says(self, *words: str) -> bool:
        """Whether all of these stand in the text."""
        return self.text is not None and all(word in self.text for word in words)


def jobs() -> dict[str, dict[str, Any]]:
    """The dialogues to render, by name: `messages`, `tools` and `add_generation_prompt` of each."""
    user, answer = _message("user"), {"role": "assistant", "content": _ANSWER}
    found = {
        "user": _job(user),
        "assistant": _job(user, answer, user),
        "system": _job(_message("system"), user),
        "developer": _job(_message("developer"), user),
        "developer-tools": _job(_message("developer"), user, tools=True),
        "tools": _job(user, tools=True),
    }
    for opening, first in (("", [_message("system")]), ("-without-system", [])):
        found[f"words{opening}"] = _job(*first, user, answer, tools=True, ask=False)
        for form in ("object", "text"):
            call, result = (
                _calling(form, _VALUE),
                {**_message("tool"), "tool_call_id": _IDS[0], "name": _NAME},
            )
            name = f"{opening}-{form}"
            found[f"full{name}"] = _job(*first, user, call, result, answer, user, tools=True)
            found[f"short{name}"] = _job(*first, user, call, answer, user, tools=True)
            found[f"call{name}"] = _job(*first, user, call, tools=True, ask=False)
            both = _calling(form, _VALUE, _SECOND)
            found[f"both{name}"] = _job(*first, user, both, tools=True, ask=False)
    return found


# The most of the dialogue that the template takes; the first that renders is what the digest is of.
_WITH_CALL = [
    f"{length}{opening}-{form}"
    for length in ("full", "short")
    for opening in ("", "-without-system")
    for form in ("object", "text")
]
_VARIANTS = [*_WITH_CALL, "words", "words-without-system", "user"]


def interpret(template: str, rendered: Mapping[str, Rendered]) -> WireDigests:
    """Tell what can be told from the renderings of `jobs`."""
    own = sha256_hex(template.encode())
    variant = next((name for name in _VARIANTS if rendered[name].text is not None), None)
    text = rendered[variant].text if variant is not None else None
    if variant is None or text is None:
        why = rendered["user"].error
        return WireDigests(problem=f"no dialogue can be rendered: {why}", template_sha256=own)
    call, parallel = _call(rendered, variant) if variant in _WITH_CALL else (None, False)
    seen = families(call) if call else ()
    return WireDigests(
        wire_sha256=sha256_hex(text.encode()),
        call_sha256=sha256_hex(call.encode()) if call else None,
        family=seen[0] if len(seen) == 1 else None,
        roles=tuple(_roles(rendered)),
        template_sha256=own,
        tools=rendered["tools"].says(_NAME),
        parallel=parallel,
        variant=variant,
    )


def _call(rendered: Mapping[str, Rendered], variant: str) -> tuple[str | None, bool]:
    """The call as that variant writes it, and whether two calls of one answer are written."""
    rest = variant.partition("-")[2]
    opening = "-without-system" if rest.startswith("without-system") else ""
    call = segment(rendered[f"call-{rest}"].text, rendered[f"words{opening}"].text)
    return call, rendered[f"both-{rest}"].says(_VALUE, _SECOND)


def segment(with_call: str | None, with_words: str | None) -> str | None:
    """The call as it is written: what is left when the parts that both texts share are cut off at both ends.

    None where one of them is missing or the tool's name does not stand in what is left: then nobody knows the call.
    """
    if with_call is None or with_words is None:
        return None
    before = _shared(with_call, with_words)
    after = _shared(with_call[before:][::-1], with_words[before:][::-1])
    found = with_call[before : len(with_call) - after]
    return found if _NAME in found and _VALUE in found else None


def _shared(first: str, second: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _roles(rendered: Mapping[str, Rendered]) -> Iterator[str]:
    """Roles whose words reach the text of any dialogue: no other message says them."""
    words = {**_WORDS, "assistant": _ANSWER}
    for role in ("system", "developer", "user", "assistant", "tool"):
        if any(item.says(words[role]) for item in rendered.values()):
            yield role


def _message(role: str) -> dict[str, Any]:
    return {"role": role, "content": _WORDS[role]}


def _calling(form: str, *values: str) -> dict[str, Any]:
    calls = []
    for name, value in zip(_IDS, values, strict=False):
        arguments: Any = {_KEY: value, _COUNT: 7}
        if form == "text":
            arguments = f'{{"{_KEY}": "{value}", "{_COUNT}": 7}}'
        calls.append({"id": name, "type": "function", "function": {"name": _NAME, "arguments": arguments}})
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _job(*messages: Message, tools: bool = False, ask: bool = True) -> dict[str, Any]:
    return {
        "messages": list(messages),
        "tools": TOOLS if tools else None,
        "add_generation_prompt": ask,
    }
