"""The claim `camera-dropbox`: what it finds, draws and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audition.lab.camera_dropbox import CLAIM, episodes, grids, noise, overseers, recursive
from audition.lab.claim import ClaimError, Config, Figures
from audition.lab.dropbox import exact
from audition.lab.dropbox.published import DIGITS, PUBLISHED, horizons_of, rows
from audition.lab.dropbox.rules import Rules

GAME = Rules().compile()
QUICK = Config(quick=True)


def unheard(doing: str, part: float) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def noisy() -> Figures:
    return noise(GAME, QUICK, unheard)


@pytest.mark.parametrize("section", [grids, recursive, overseers])
def test_every_published_figure_is_hit(section: Any) -> None:
    found: Figures = section(GAME, QUICK, unheard)
    assert found.holds, [check for check in found.checks if not check.holds]


def test_every_horizon_of_every_grid_is_told() -> None:
    exactly: Any = grids(GAME, QUICK, unheard).figures["exact"]
    assert set(exactly) == set(PUBLISHED["sizes"])
    for table in exactly.values():
        assert list(table) == [str(m) for m in range(1, 51)]
        for row in table.values():
            assert row["fail"] + row["intended"] + row["hack"] == pytest.approx(1, abs=1e-9)


def test_noise_with_exact_ties_stands_beside_the_rounded_rows(noisy: Figures) -> None:
    assert noisy.holds, [check for check in noisy.checks if not check.holds]
    found: Any = noisy.figures["noise"]
    ties, rounded = found["0.5"]["exact_ties"], found["0.5"]["double_precision"]
    assert ties["1"]["intended"] == pytest.approx(rounded["1"]["intended"], abs=1e-3)
    assert ties["30"]["hack"] - rounded["30"]["hack"] > 3 * ties["30"]["hack_se"]
    assert found["seeds"] == list(range(10))


def test_a_figure_off_by_one_digit_does_not_pass() -> None:
    outcomes = exact.horizons(GAME, exact.trusted(GAME))
    assert all(check.holds for check in rows("", outcomes, PUBLISHED["exact"], DIGITS))
    for key, places in DIGITS.items():
        column = np.array(getattr(outcomes, key))
        column[11] += 1.1 * 10**-places
        wrong = exact.Outcomes(**{name: getattr(outcomes, name) for name in DIGITS} | {key: column})
        failed = [c.says for c in rows("", wrong, PUBLISHED["exact"], DIGITS) if not c.holds]
        assert len(failed) == (key != "fail")


def test_published_rows_cover_every_horizon_once() -> None:
    covered = [m for span in PUBLISHED["exact"] for m in horizons_of(span)]
    assert covered == list(range(1, 51))


def test_the_episodes_shown_are_an_intended_one_and_a_hack() -> None:
    told: Any = episodes(GAME, QUICK, unheard).figures["episodes"]
    assert told["1"]["observed"][-1] == told["1"]["true"][-1] > 90
    assert told["50"]["observed"][-1] > 180 > 0 > told["50"]["true"][-1]


def test_another_game_runs_and_draws() -> None:
    said: list[float] = []
    options: dict[str, Any] = {"grid": "3x4", "turns": 20}
    found = CLAIM.run(Config(quick=True, options=options), lambda doing, done: said.append(done))
    assert found.holds
    assert not {"learned", "overseer"} & set(found.figures)
    assert list(found.figures["exact"]) == ["3x4 T=20"]  # pyright: ignore[reportArgumentType]
    assert said == sorted(said) and said[-1] == 1.0
    assert found.seeds == tuple(range(10))
    again = Figures.model_validate_json(found.model_dump_json())
    assert len(CLAIM.plots(again)) == 7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"grid": "3x3"}, "3x3 grid with boxes = 2 has no legal start"),
        ({"grid": "4by4"}, "grid '4by4' is not rows x columns"),
        ({"grid": "4x4x4"}, "is not rows x columns"),
        ({"turns": 1}, "turns = 1 is not"),
        ({"boxes": 0}, "boxes = 0 is not"),
        ({"boxes": 40}, "do not fit"),
        ({"min_blocking": 3}, "min_blocking = 3 is not"),
        ({"overseer": "none"}, "overseer"),
    ],
)
def test_an_option_that_cannot_be_played_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ClaimError, match=says):
        CLAIM.run(Config(options=options), lambda doing, done: None)


def test_the_example_of_its_page_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[2] / "docs/claims/camera-dropbox.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
    printed = capsys.readouterr().out.strip()
    assert printed and f"It prints `{printed}`" in page
