"""Every refusal of the product, found by walking the subclasses: number, next step, family, page, and use."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from signing.errors import OperatorError
from tests.command_lines import in_backticks, problems
from tidegate import reference

HOUSE = Path(__file__).resolve().parents[1]
REFUSALS = reference.refusals()
# An instruction begins with what to do, or with when to do it.
NOT_AN_INSTRUCTION = ("The", "This", "It", "There", "You", "An", "A", "That")


def by_name(refusal: type[OperatorError]) -> str:
    return refusal.__name__


def every_subclass(cls: type[OperatorError]) -> set[type[OperatorError]]:
    return {cls}.union(*(every_subclass(child) for child in cls.__subclasses__()))


def test_the_walk_finds_refusals_of_every_layer() -> None:
    layers = Counter(refusal.__module__.split(".")[0] for refusal in REFUSALS)
    assert {"signing", "registry", "pipelines", "tidegate"} == set(layers)
    assert len(REFUSALS) > 90


def test_every_exit_code_belongs_to_one_refusal() -> None:
    codes = Counter(refusal.exit_code for refusal in REFUSALS)
    twice = [f"{r.exit_code} {r.__module__}.{r.__name__}" for r in REFUSALS if codes[r.exit_code] > 1]
    assert [] == twice


def test_every_name_belongs_to_one_refusal() -> None:
    names = Counter(refusal.__name__ for refusal in REFUSALS)
    assert [] == [name for name, count in names.items() if count > 1]


def test_no_family_base_has_an_exit_code() -> None:
    """What has subclasses is a family: it is caught, never raised, and its children have their own numbers."""
    ours = {"signing", "registry", "pipelines", "tidegate"}
    everything = {cls for cls in every_subclass(OperatorError) if cls.__module__.split(".")[0] in ours}
    families = {cls for cls in everything if any(child in everything for child in cls.__subclasses__())}
    assert [] == [cls.__name__ for cls in families if "exit_code" in vars(cls)]
    assert set(REFUSALS) == everything - families


@pytest.mark.parametrize("refusal", REFUSALS, ids=by_name)
class TestEveryRefusal:
    def test_has_a_number_of_its_family_and_layer(self, refusal: type[OperatorError]) -> None:
        family = reference.family_of(refusal)
        assert family is not None, f"{refusal.exit_code} belongs to no family"
        assert refusal.__module__.startswith(family.modules)

    def test_tells_a_person_what_to_do(self, refusal: type[OperatorError]) -> None:
        step = refusal.next_step
        assert step == step.strip()
        assert step.endswith((".", ";", "`", ")")), "a sentence"
        assert step[0].isupper()
        assert step.split()[0] not in NOT_AN_INSTRUCTION, "an instruction, not an explanation"
        assert len(step) <= 300, "read at 3 a.m."

    def test_names_only_commands_that_exist(self, refusal: type[OperatorError]) -> None:
        wrong = [problem for line in in_backticks(refusal.next_step) for problem in problems(line)]
        assert [] == wrong

    def test_says_when_it_is_raised(self, refusal: type[OperatorError]) -> None:
        assert "" != reference.first_line(refusal)

    def test_ends_a_command_with_a_code_that_a_shell_can_see(self, refusal: type[OperatorError]) -> None:
        # 126 to 128 are the shell's own, and so is 128 and the number of each signal that ends programs; 255 is ssh's.
        assert 3 <= refusal.exit_code <= 125 or 160 <= refusal.exit_code <= 254


def test_no_refusal_is_dead() -> None:
    """Each one is raised, built, or handed to a call as the refusal to use, somewhere in the product."""
    trees = [
        ast.parse(path.read_text())
        for layer in ("signing", "registry", "pipelines", "tidegate")
        for path in (HOUSE / layer).rglob("*.py")
    ]
    used: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call):
            values = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Raise):
            values = [node.exc] if node.exc else []
        elif isinstance(node, ast.Dict):
            values = list(node.values)
        else:
            continue
        used |= {
            ast.unparse(value).rsplit(".", 1)[-1]
            for value in values
            if isinstance(value, ast.Name | ast.Attribute)
        }
    assert [] == [refusal.__name__ for refusal in REFUSALS if refusal.__name__ not in used]


def test_the_page_lists_every_refusal_with_its_next_step() -> None:
    page = (HOUSE / "docs/operator/exit-codes.md").read_text()
    missing = [
        refusal.__name__
        for refusal in REFUSALS
        if f"| {refusal.exit_code} | `{refusal.__name__}` | " not in page
        or refusal.next_step.replace("|", "\\|") not in page
    ]
    assert [] == missing
