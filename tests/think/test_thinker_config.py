"""A thinker as a project file says it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError
from thoughts import Echoes, Past

from audition.box import Library
from audition.model import Inspected, Provider, Served, Server
from audition.step import Finish
from audition.think import InspectThinker, LanguageModel, ModelThinker, language_model
from rehearsal import Note
from servers.chat import calling, chat_server, proposing

NOTE = Note(Path("unused")).schema


def test_a_project_file_describes_a_model_its_budget_and_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-0123456789abcdef")
    tmp_path.joinpath("ink.txt").write_text("Ink is blue.")
    script = [calling("search", {"query": "ink"}), proposing({"kind": "finish", "answer": "a"})]
    with chat_server(*script) as server, Library.open(tmp_path) as library:
        text = f"""
            kind = "model"
            base_url = "{server.base_url}"
            model = "small"
            key = "MY_KEY"
            library = "papers"
            stream = false
            asked = {{ temperature = 0, tokens = 50 }}
            budget = {{ calls = 1 }}
            patience = {{ attempts = 1 }}
        """
        file = ModelThinker.model_validate(tomllib.loads(text))
        thinker = language_model(file, [NOTE], library)
        thought = anyio.run(thinker.think, Past(), Echoes())
        seen = server.seen
    assert thought.proposal == Finish(answer="a")
    assert (seen[0].asked["temperature"], seen[0].asked["max_tokens"]) == (0, 50)
    assert "no calls are left" in seen[1].asked["messages"][-1]["content"]


def test_what_pins_a_model_does_not_depend_on_how_it_is_described() -> None:
    given = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    file = ModelThinker.model_validate({"kind": "model", **given})
    plain = LanguageModel(Served(Server.model_validate(given)), [NOTE])
    assert language_model(file, [NOTE], None).configuration() == plain.configuration()


def test_a_provider_is_described_likewise() -> None:
    pytest.importorskip("inspect_ai")
    file = InspectThinker.model_validate({"kind": "inspect", "model": "mockllm/model"})
    plain = LanguageModel(Inspected(Provider(model="mockllm/model")), [NOTE])
    assert language_model(file, [NOTE], None).configuration() == plain.configuration()


def test_a_provider_without_inspect_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audition.model.inspected.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"audition\[inspect\]"):
        Inspected(Provider(model="mockllm/model"))


@pytest.mark.parametrize("field", ["api_key", "temprature", "keys"])
def test_a_misspelt_field_is_refused(field: str) -> None:
    given = {"kind": "model", "base_url": "http://127.0.0.1:1/v1", "model": "m", field: "x"}
    with pytest.raises(ValidationError):
        ModelThinker.model_validate(given)
