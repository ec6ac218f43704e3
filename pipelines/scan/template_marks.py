"""The marks that expressions of a chat template carry, and the words by which they are told.

Apart from `template_flow`, which hands marks on, and `template_questions`, which judges what is asked of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import nodes

from pipelines.scan.template_fold import Constants

# Marks of an expression; several may stand together.
HOLDER = 1  # the messages, or one of them
TEXT = 2  # words of a message
PART = 4  # an element of a message's content: a part, or a letter
CLOCK = 8  # the date
LENGTH = 16  # how long a message's text is
COUNT = 32  # how many messages there are, or at which of them we are
OPTION = 64  # what the client sets beside the messages: tools, documents, whether to think
DECIDED = 128  # the answer to a question about words, the date or a length
MARKED = 256  # the answer to a harmless question, such as for a mark; a sentence may not hang on it either
ANSWERS = DECIDED | MARKED
KEPT = OPTION | ANSWERS  # what an answer has of what it was asked of

MESSAGES = frozenset(
    ("messages", "message", "msg", "conversation", "conversations", "history", "dialogue", "chat", "turns")
)
SAID = frozenset(("content", "text", "prompt", "query", "question", "user_input", "user_message", "input"))
WORDS = frozenset(
    ("content", "text", "reasoning_content", "reasoning", "thinking", "arguments", "refusal", "parts")
)
KINDS = frozenset(("type", "role"))
PART_NAMES = frozenset((
    "type", "text", "image", "image_url", "image_pil", "img", "video", "video_url", "audio", "audio_url",
    "input_audio", "file",
))  # fmt: skip
CLOCKS = frozenset(("strftime_now", "date_string", "now", "current_date", "today"))
OPTIONS = (
    "tool", "function", "document", "citation", "think", "reason", "effort", "schema", "json", "image", "audio",
    "video", "modal", "safety", "ground", "date", "lang", "identity", "skip",
)  # fmt: skip
TYPE_TESTS = frozenset((
    "string", "mapping", "iterable", "sequence", "none", "defined", "undefined", "boolean", "true", "false",
    "number", "integer", "float", "callable",
))  # fmt: skip
# What published templates do with words without asking anything of them.
PLAIN_METHODS = frozenset((
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "splitlines", "items", "values", "keys",
    "copy", "append", "extend", "pop", "update", "setdefault", "insert", "join",
))  # fmt: skip
PLAIN_FILTERS = frozenset((
    "trim", "string", "tojson", "safe", "e", "escape", "forceescape", "list", "first", "last", "reverse", "lower",
    "upper", "title", "capitalize", "default", "d", "indent", "join", "items", "map", "batch", "slice", "unique",
    "sort", "int", "float", "wordwrap", "striptags", "dictsort", "pprint", "urlencode", "xmlattr", "fromjson",
    "from_json",
))  # fmt: skip
TO_TEXT = frozenset(("string", "tojson", "pprint", "items", "dictsort", "xmlattr", "urlencode"))
ASKING = frozenset(("startswith", "endswith", "find", "rfind", "index", "rindex", "count"))
PARTING = frozenset(("split", "rsplit", "partition", "rpartition", "removeprefix", "removesuffix", "get"))
PICKING = frozenset(("select", "reject", "selectattr", "rejectattr"))
CHOOSING = PICKING | {"map", "groupby", "sum", "sort", "unique", "min", "max", "join"}


@dataclass(frozen=True)
class Asked:
    """A question that a template puts to the words of a message: the rule that reports it, and where."""

    rule: str
    line: int
    message: str


@dataclass
class Flow:
    """The marks of all expressions and names of one template, once `follow` is through."""

    constants: Constants
    marks: dict[int, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    asked: set[Asked] = field(default_factory=set)
    settled: bool = True  # False: the rounds did not suffice

    def of(self, node: nodes.Node) -> int:
        """The marks of one expression."""
        return self.marks.get(id(node), 0)

    def union(self, children: Sequence[nodes.Node]) -> int:
        """The marks of several together."""
        marks = 0
        for child in children:
            marks |= self.marks.get(id(child), 0)
        return marks

    def decided(self, node: nodes.Node) -> bool:
        """Whether an expression depends on an answer that words gave, or the date, or a length."""
        return bool(self.of(node) & ANSWERS)
