"""The lab's catalogue, what a claim takes, and its page of pictures."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from audition.lab import (
    CLAIMS,
    Check,
    Claim,
    ClaimError,
    Config,
    Figures,
    Result,
    find,
    measure,
    page,
    pictures,
)
from audition.lab.report import LARGEST, drawn, figure, leaves

OPTIONS = {"text": "a", "whole": 3, "real": 0.5, "flag": False, "list": [1], "any": None}


def claim(run=lambda config, progress: Figures(figures={}, checks=()), plots=lambda figures: {}):
    return Claim(
        name="tiny",
        says="It is so.",
        source="ours",
        published={},
        blind_spot="everything else",
        seeds=1,
        options=OPTIONS,
        run=run,
        plots=plots,
    )


def scattered(dots):
    figure_ = pytest.importorskip("matplotlib.figure").Figure(figsize=(2, 2))
    axes = figure_.subplots()
    axes.plot([n % 97 for n in range(dots)], [n % 89 for n in range(dots)], "o", label="a label")
    axes.legend()
    return figure_


@pytest.mark.parametrize("name", CLAIMS)
def test_the_catalogue_says_what_the_claim_says_of_itself(name):
    for needed in ("torch", "numba", "gymnasium", "matplotlib", "transformers", "safetensors"):
        pytest.importorskip(needed)
    found = find(name)
    assert (found.name, found.says) == (name, CLAIMS[name])
    assert "\n" not in found.says
    assert found.blind_spot
    assert found.source


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_has_a_page_in_the_documentation(name):
    root = Path(__file__).parents[2]
    assert (root / "docs" / "claims" / f"{name}.md").exists()
    assert f"claims/{name}.md" in (root / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_module_that_is_a_claim_is_in_the_catalogue():
    folder = Path(import_module("audition.lab").__file__ or "").parent
    found = {
        path.stem.replace("_", "-")
        for path in folder.glob("*.py")
        if re.search(r"^CLAIM\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == set(CLAIMS)


def test_a_run_is_handed_every_option_given_or_default():
    handed = []

    def run(config, progress):
        progress("working", 0.5)
        handed.append(config)
        return Figures(figures={}, checks=())

    measure(claim(run), Config(options={"whole": 4}))
    assert handed[0].options == OPTIONS | {"whole": 4}


@given(
    st.sampled_from(sorted(OPTIONS)),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
)
def test_an_option_keeps_the_kind_of_its_default_or_is_refused(name, value):
    try:
        chosen = claim().chosen({name: value})[name]
    except ClaimError:
        return
    assert chosen is value
    if name == "real":
        assert type(value) in (int, float)
        assert abs(value) <= 2**53
    elif name != "any":
        assert type(value) is type(OPTIONS[name])


@given(
    st.sampled_from(sorted(OPTIONS)),
    st.text() | st.sampled_from(["NaN", "Infinity", "1e999", "true", "null", "[", '{"a": NaN}']),
)
def test_an_option_of_the_command_line_is_read_strictly(name, text):
    try:
        value = claim().option(name, text)
    except ClaimError:
        return
    if isinstance(value, str):
        assert value == text or json.loads(text) == value
    else:
        assert json.loads(text) == value
        assert "NaN" not in text
        assert "Infinity" not in text


@pytest.mark.parametrize("name", ["", "../up", "A", "a b", "a-", "a--b", "é", "a/b", "a\n"])
def test_a_name_that_could_be_a_path_or_an_option_is_refused(name):
    with pytest.raises(ClaimError, match="no name for a claim"):
        Claim(
            name=name,
            says="",
            source="",
            published={},
            blind_spot="",
            seeds=1,
            options={},
            run=claim().run,
            plots=claim().plots,
        )


def test_nothing_holds_without_a_check_or_by_what_is_not_a_number():
    assert Figures(figures={}, checks=()).holds is False
    with pytest.raises(ValidationError, match="not a number holds nothing"):
        Check(says="lost", got=float("nan"), due="> 0", holds=True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_a_result_comes_back_from_its_text_as_it_was(value):
    result = told(Figures(figures={"value": value}, checks=(), seeds=(1, 2)))
    again = Result.read(result.text())
    assert again == result
    assert list(leaves(again.found.figures)) == list(leaves(result.found.figures))
    assert all(isinstance(figure(leaf), str) for _, leaf in leaves(value))


def told(found: Figures) -> Result:
    return Result(
        claim="tiny",
        says="It is so.",
        source="ours",
        published={"a": {"b": 1.0}},
        found=found,
        blind_spot="everything else",
        seconds=1.0,
        command="audition lab run tiny",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        versions={"python": "3.11"},
        cores=2,
    )


def test_the_command_of_a_result_measures_it_again():
    options = {"text": "a b", "list": [1, 2], "whole": 3}
    result = measure(claim(), Config(quick=True, seeds=2, options=options))
    assert result.command == (
        "audition lab run tiny --quick --seeds 2 --option 'text=a b' --option 'list=[1,2]'"
    )


def test_published_figures_stand_beside_those_measured_under_the_same_name():
    source = page([told(Figures(figures={"a": {"b": 0.25, "c": 7}}, checks=()))], draw=lambda _: {})
    beside, _, rest = source.partition("All other figures")
    assert re.search(r'a\.b</td><td class="n">1</td><td class="n">0\.25<', beside)
    assert re.search(r'a\.c</td><td class="n">7<', rest)
    assert "a.b" not in rest


def test_what_is_not_listed_is_counted():
    many = Figures(figures={str(n): n for n in range(1234)}, checks=())
    assert "1000 listed, 234 more with --json" in page([told(many)], draw=lambda _: {})


def test_the_same_figures_give_the_same_bytes_and_no_text():
    tiny = claim(plots=lambda figures: {"dots": scattered(50)})
    nothing = Figures(figures={}, checks=())
    once, again = pictures(tiny, nothing), pictures(tiny, nothing)
    assert once == again
    assert once["dots"].startswith("data:image/svg+xml;base64,")
    source = base64.b64decode(once["dots"].partition(",")[2])
    assert b"<text" not in source
    assert b"<script" not in source


def test_a_picture_of_too_many_marks_is_written_as_dots():
    tiny = claim(plots=lambda figures: {"dots": scattered(20_000)})
    [uri] = pictures(tiny, Figures(figures={}, checks=())).values()
    assert uri.startswith("data:image/png;base64,")
    assert len(uri) < LARGEST


def test_a_kept_result_that_its_claim_no_longer_draws_is_said_to_be_one(monkeypatch):
    def plots(figures):
        return {"gone": figures.figures["gone"]}

    monkeypatch.setattr("audition.lab.report.find", lambda name: claim(plots=plots))
    with pytest.raises(ClaimError, match="does not draw these figures"):
        drawn(told(Figures(figures={}, checks=())))
    assert "No pictures: tiny does not draw these figures" in page(
        [told(Figures(figures={}, checks=()))]
    )
