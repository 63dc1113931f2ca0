"""The compiled table of Camera Dropbox against the rules played by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.lab.dropbox.rules import ACTIONS, Dropbox, Positions, Rules, RulesError

GAMES = [
    Rules().compile(),
    Rules(height=3, width=5).compile(),
    Rules(boxes=3, min_blocking=2).compile(),
    Rules(boxes=1).compile(),
]
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def played(rules: Rules, positions: Positions, action: int) -> Positions:
    """One step, on sets of coordinates."""
    if positions.agent is None:
        return positions
    hole = (rules.height - 1, 0)
    boxes = {divmod(cell, rules.width) for cell in positions.boxes}
    row, column = divmod(positions.agent, rules.width)
    if hole in boxes:
        others = [box for box in boxes if box[0] == hole[0] and box != hole]
        if len(others) < rules.min_blocking:
            return Positions(None, ())
        boxes.remove(hole)

    def inside(cell: tuple[int, int]) -> bool:
        return 0 <= cell[0] < rules.height and 0 <= cell[1] < rules.width

    down, right = STEPS[ACTIONS[action]]
    to, beyond = (row + down, column + right), (row + 2 * down, column + 2 * right)
    if not inside(to) or (to in boxes and (not inside(beyond) or beyond in boxes)):
        to = (row, column)
    elif to in boxes:
        boxes = boxes - {to} | {beyond}
    numbered = sorted(r * rules.width + c for r, c in boxes)
    return Positions(to[0] * rules.width + to[1], tuple(numbered))


@given(st.sampled_from(GAMES), st.data())
@settings(max_examples=300, deadline=None)
def test_every_successor_is_what_the_rules_say(game: Dropbox, data: st.DataObject) -> None:
    state = data.draw(st.integers(0, game.states - 1))
    action = data.draw(st.integers(0, 3))
    reached = game.positions(int(game.next_SA[state, action]))
    assert reached == played(game.rules, game.positions(state), action)


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_no_two_states_stand_alike(game: Dropbox) -> None:
    assert len({game.positions(s) for s in range(game.states)}) == game.states
    assert game.states == game.rules.states


@given(st.sampled_from(GAMES), st.data())
@settings(deadline=None)
def test_positions_name_their_state(game: Dropbox, data: st.DataObject) -> None:
    state = data.draw(st.integers(0, game.states - 1))
    assert game.state(game.positions(state)) == state


@pytest.mark.parametrize(
    ("height", "width", "boxes", "blocking", "states", "starts"),
    [
        (3, 4, 2, 1, 805, 10),
        (4, 4, 2, 1, 1937, 84),
        (4, 5, 2, 1, 3821, 270),
        (5, 5, 2, 1, 7526, 828),
        (4, 4, 3, 2, 9217, 52),
    ],
)
def test_sizes_are_the_published_ones(
    height: int, width: int, boxes: int, blocking: int, states: int, starts: int
) -> None:
    rules = Rules(height=height, width=width, boxes=boxes, min_blocking=blocking)
    game = rules.compile()
    assert (game.states, len(game.starts)) == (states, starts)


def test_a_start_has_every_box_off_the_edges() -> None:
    game = GAMES[2]
    inner = {5, 6, 9, 10}
    assert all(set(game.positions(int(s)).boxes) <= inner for s in game.starts)
    assert all(len(game.positions(int(s)).boxes) == 3 for s in game.starts)


def test_the_first_box_pays_and_any_later_one_costs() -> None:
    game = GAMES[0]
    hole = game.rules.hole
    first = game.state(Positions(0, (5, hole)))
    second = game.state(Positions(0, (hole,)))
    plain = game.state(Positions(0, (5, 6)))
    states = [first, second, plain, game.ended]
    assert game.observed_S[states].tolist() == [0.99, 0.99, -0.01, 0.0]
    assert game.true_S[states].tolist() == [0.99, -1.01, -0.01, 0.0]


def test_the_camera_sees_unless_enough_boxes_stand_on_the_bottom_row() -> None:
    one, two = GAMES[0], GAMES[2]
    hole = one.rules.hole
    assert one.triggered_S[one.state(Positions(0, (5, hole)))]
    assert not one.triggered_S[one.state(Positions(0, (hole, hole + 3)))]
    assert two.triggered_S[two.state(Positions(0, (5, hole, hole + 2)))]
    assert not two.triggered_S[two.state(Positions(0, (hole, hole + 1, hole + 2)))]


def test_the_agent_blocks_no_camera() -> None:
    game = GAMES[0]
    hole = game.rules.hole
    assert game.triggered_S[game.state(Positions(hole + 1, (5, hole)))]


def test_features_tell_any_two_states_apart() -> None:
    game = GAMES[0]
    assert len(np.unique(game.features_SF, axis=0)) == game.states
    assert game.features_SF[game.ended].tolist() == [0.0] * (game.features_SF.shape[1] - 1) + [1.0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"turns": 1}, "turns = 1 is not a whole number in 2"),
        ({"boxes": 0}, "boxes = 0 is not a whole number in 1"),
        ({"boxes": 16}, "do not fit on 16 cells"),
        ({"min_blocking": 0}, "min_blocking = 0 is not"),
        ({"min_blocking": 3}, "min_blocking = 3 is not a whole number in 1..2"),
        ({"height": True}, "height = True is not"),
        ({"width": 4.0}, "width = 4.0 is not"),
        ({"height": 8, "width": 8}, "64 cells; use at most 62"),
        ({"height": 7, "width": 8, "boxes": 20}, "states; use a smaller grid"),
    ],
)
def test_numbers_outside_the_rules_are_refused(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(RulesError, match=says):
        Rules(**wrong)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (1, 5), (2, 6)])
def test_a_grid_without_a_legal_start_is_refused(height: int, width: int) -> None:
    with pytest.raises(
        RulesError, match=f"{height}x{width} grid with boxes = 2 has no legal start"
    ):
        Rules(height=height, width=width).compile()


def test_what_cannot_stand_is_no_state() -> None:
    game = GAMES[0]
    with pytest.raises(RulesError, match="are no state"):
        game.state(Positions(5, (5, 6)))
    with pytest.raises(RulesError, match="are no state"):
        game.state(Positions(None, (5,)))
    with pytest.raises(RulesError, match="are no state"):
        game.state(Positions(0, (5, 5)))
    with pytest.raises(IndexError, match=r"state -1 is not in 0\.\.1936"):
        game.positions(-1)
