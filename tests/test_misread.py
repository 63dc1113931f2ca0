"""What is wrong in a TOML file is told by its line, its field, and the field that was meant."""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from audition.misread import misread
from audition.step import Frozen


class Leaf(Frozen):
    kind: Literal["leaf"]
    colour: str = ""


class Branch(Frozen):
    kind: Literal["branch"]
    weight: int = 0
    branch: str = ""
    leaves: tuple[Leaf, ...] = ()


class Tree(Frozen):
    name: str
    top: Branch | None = None
    parts: tuple[Annotated[Leaf | Branch, Field(discriminator="kind")], ...] = ()
    named: dict[str, Branch] = Field(default={})


def wrong(text: str) -> str:
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate(tomllib.loads(text))
    return misread(caught.value, "tree.toml", text, [Tree])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('nmae = "a"', "tree.toml, line 1: nmae is no field here; did you mean name?"),
        ('name = "a"\nzzz = 1', "tree.toml, line 2: zzz is no field here; check its spelling"),
        (
            'name = "a"\n[top]\nkind = "branch"\nwieght = 1',
            "tree.toml, line 4: top.wieght is no field here; did you mean weight?",
        ),
        (  # a field that is called as its model is
            'name = "a"\n[[parts]]\nkind = "branch"\nbranch = "b"\nweight = "heavy"',
            "tree.toml, line 5: parts.0.weight: Input should be a valid integer, unable to parse "
            "string as an integer",
        ),
        (
            'name = "a"\n[[parts]]\nkind = "branch"\nbranch = 1',
            "tree.toml, line 4: parts.0.branch: Input should be a valid string",
        ),
        (
            'name = "a"\n[[parts]]\nkind = "branch"\n[[parts]]\nkind = "leaf"\ncolor = "red"',
            "tree.toml, line 6: parts.1.color is no field here; did you mean colour?",
        ),
        (
            'name = "a"\n[[parts]]\nkind = "branch"\n[[parts.leaves]]\nkind = "leaf"\n'
            '[[parts.leaves]]\nkind = "leaf"\ncolor = "red"',
            "tree.toml, line 8: parts.0.leaves.1.color is no field here; did you mean colour?",
        ),
        (
            'name = "a"\n[named."x y"]\nkind = "branch"\nwheight = 1',
            "tree.toml, line 4: named.x y.wheight is no field here; did you mean weight?",
        ),
        (
            'name = "a"\nnamed.x.kind = "branch"\nnamed . x . wheight = 1',
            "tree.toml, line 3: named.x.wheight is no field here; did you mean weight?",
        ),
        (
            'name = "a"\n[tops]\nkind = "branch"',
            "tree.toml, line 2: tops is no field here; did you mean top?",
        ),
        (
            'name = "a"\n[[parts]]\nkind = "leaf"\nweight = 1',
            "tree.toml, line 4: parts.0.weight is no field here; check its spelling",
        ),
        ("[named]", "tree.toml: name is missing; nothing runs without it"),
        (
            'name = "a"\n[top]\nkind = "branch"\nweight = "heavy"',
            "tree.toml, line 4: top.weight: Input should be a valid integer, unable to parse "
            "string as an integer",
        ),
    ],
)
def test_what_is_wrong_is_told_by_line_field_and_way_out(text: str, told: str) -> None:
    assert wrong(text) == told


def test_a_field_of_another_kind_is_not_offered_for_itself() -> None:
    with pytest.raises(ValidationError) as caught:
        Leaf.model_validate({"kind": "leaf", "weight": 1})
    text = '[top]\nkind = "leaf"\nweight = 1'
    told = misread(caught.value, "tree.toml", text, [Leaf, Branch], ("top",))
    assert told == (
        "tree.toml, line 3: top.weight is no field here; it belongs to another kind of top"
    )


def test_a_misspelt_field_is_told_before_the_one_that_it_leaves_missing() -> None:
    assert "did you mean name?" in wrong('nam = "a"')


@pytest.mark.parametrize(
    "text",
    [
        'name = "a"\ntop = { kind = "branch", wieght = 1 }',
        'name = """\n[top]\nwieght = 1\n"""\ntop = { kind = "branch", wieght = 1 }',
    ],
)
def test_no_line_is_told_where_it_is_not_plain(text: str) -> None:
    assert wrong(text).startswith("tree.toml: top.wieght is no field")


@given(st.lists(st.sampled_from(["", "# x", "[named]", "[named.x]", "[[parts]]"]), unique=True))
def test_the_line_is_the_one_on_which_the_field_stands(before: list[str]) -> None:
    lines = ['name = "a"', *before, "[top]", 'kind = "branch"', "wieght = 1"]
    assert wrong("\n".join(lines)).startswith(f"tree.toml, line {len(lines)}: top.wieght is no")
