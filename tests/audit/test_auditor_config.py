"""Auditors that ask a model, as a project file has them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from audition.audit import Compared, ComparisonAuditor, Critic, CriticAuditor, Shown, card
from audition.model import Served, Server
from audition.step import Evidence, Role

SERVER = 'server = {base_url = "http://127.0.0.1:1/v1", model = "judge"}\n'
WHERE = Server(base_url="http://127.0.0.1:1/v1", model="judge")


def read(kind: type[CriticAuditor | ComparisonAuditor], text: str) -> Any:
    return kind.model_validate(tomllib.loads(text))


def test_a_critic_of_a_file_is_the_critic_of_python() -> None:
    text = 'kind = "critic"\nname = "critic"\n' + SERVER
    assert card(read(CriticAuditor, text).auditor()) == card(Critic("critic", Served(WHERE)))
    further = 'role = "teacher"\nrubric = "Is it kind?"\nretries = 0\nshown = {entries = 5}\n'
    mine = Critic(
        "critic",
        Served(WHERE),
        role=Role.TEACHER,
        rubric="Is it kind?",
        retries=0,
        limits=Shown(entries=5),
    )
    assert card(read(CriticAuditor, text + further).auditor()) == card(mine)
    seeing = read(CriticAuditor, f"{text}thoughts = true\n").auditor()
    assert Evidence.THOUGHT in seeing.sees


def test_a_comparison_of_a_file_is_that_of_python() -> None:
    text = 'kind = "comparison"\nname = "teacher"\nway = "list"\nmost = 4\n' + SERVER
    mine = Compared("teacher", Served(WHERE), way="list", most=4)
    assert card(read(ComparisonAuditor, text).auditor()) == card(mine)


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (CriticAuditor, "", "give it a server or a provider"),
        (CriticAuditor, SERVER + 'role = "judge"\n', "role"),
        (CriticAuditor, SERVER + "retries = -1\n", "retries"),
        (CriticAuditor, SERVER + 'rubric = ""\n', "rubric"),
        (CriticAuditor, SERVER + "shown = {characters = 1}\n", "shown.characters"),
        (CriticAuditor, SERVER + "sees = []\n", "sees"),
        (ComparisonAuditor, SERVER + 'way = "vote"\n', "way"),
        (ComparisonAuditor, SERVER + "most = 27\n", "most"),
        (ComparisonAuditor, SERVER + 'role = "guard"\n', "role"),
    ],
)
def test_what_is_wrong_is_named(
    kind: type[CriticAuditor | ComparisonAuditor], text: str, says: str
) -> None:
    word = "critic" if kind is CriticAuditor else "comparison"
    with pytest.raises(ValidationError, match=says):
        read(kind, f'kind = "{word}"\nname = "x"\n{text}')


def test_a_teacher_of_a_file_may_not_see_thoughts() -> None:
    text = f'kind = "critic"\nname = "x"\nrole = "teacher"\nthoughts = true\n{SERVER}'
    with pytest.raises(ValueError, match="a teacher may not see THOUGHT"):
        read(CriticAuditor, text).auditor()
