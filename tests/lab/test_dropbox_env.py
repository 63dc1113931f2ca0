"""The Gymnasium environments, against the table and against each other."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from audition.lab.dropbox import pictures
from audition.lab.dropbox.env import ID, DropboxEnv, DropboxVectorEnv, register
from audition.lab.dropbox.rules import Positions, Rules, RulesError

RULES = Rules(turns=12)


def test_the_environment_passes_gymnasiums_own_checker() -> None:
    check_env(gym.make(register(), render_mode="ansi").unwrapped)


def test_nothing_is_registered_until_it_is_asked_for() -> None:
    program = (
        "import gymnasium, audition.lab.dropbox.env as env;"
        "assert env.ID not in gymnasium.registry; env.register(); env.register();"
        "assert env.ID in gymnasium.registry"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_step_returns_the_reward_of_the_state_reached() -> None:
    for kind in ("observed", "true"):
        env = DropboxEnv(RULES, reward=kind)
        reward_S = env.game.observed_S if kind == "observed" else env.game.true_S
        rng = np.random.default_rng(1)
        _, info = env.reset(seed=1)
        over = False
        while not over:
            action = np.int64(rng.integers(4))
            due = int(env.game.next_SA[info["state"], action])
            seen, reward, ended, cut, info = env.step(action)
            assert (info["state"], reward) == (due, reward_S[due])
            assert info["true_reward"] == env.game.true_S[due]
            np.testing.assert_array_equal(seen, env.game.features_SF[due])
            over = ended or cut


def test_the_last_turn_is_a_truncation_and_no_termination() -> None:
    env = DropboxEnv(RULES)
    env.reset(seed=0)
    ends = [env.step(np.int64(0))[2:4] for _ in range(RULES.turns)]
    assert ends == [(False, False)] * (RULES.turns - 1) + [(False, True)]
    with pytest.raises(ValueError, match="the episode is over"):
        env.step(np.int64(0))


def test_the_camera_ends_the_episode_one_step_after_it_sees() -> None:
    env = DropboxEnv()
    env.reset(seed=0)
    hole = env.game.rules.hole
    env._state = env.game.state(Positions(hole - 8, (hole - 4, 6)))
    _, reward, ended, _, _ = env.step(np.int64(1))
    assert (reward, ended) == (0.99, False)
    _, reward, ended, cut, _ = env.step(np.int64(1))
    assert (reward, ended, cut) == (0.0, True, False)


def test_a_start_is_drawn_from_the_legal_ones_and_may_be_chosen() -> None:
    env = DropboxEnv(RULES)
    drawn = {env.reset(seed=seed)[1]["state"] for seed in range(300)}
    assert drawn <= set(env.game.starts.tolist()) and len(drawn) > 60
    start = int(env.game.starts[7])
    assert env.reset(options={"start": start})[1]["state"] == start
    with pytest.raises(ValueError, match="is no legal start"):
        env.reset(options={"start": 0})
    with pytest.raises(ValueError, match="unknown options"):
        env.reset(options={"begin": 0})


def test_a_batch_steps_as_single_games_do() -> None:
    envs = DropboxVectorEnv(64, RULES)
    game, rng = envs.game, np.random.default_rng(0)
    seen_NF, info = envs.reset(seed=0)
    state_N, time_N = info["state"], np.zeros(64, int)
    ends = 0
    for _ in range(40):
        np.testing.assert_array_equal(seen_NF, game.features_SF[state_N])
        action_N = rng.integers(0, 4, 64)
        reached_N = game.next_SA[state_N, action_N]
        time_N += 1
        seen_NF, reward_N, ended_N, cut_N, info = envs.step(action_N)
        np.testing.assert_array_equal(reward_N, game.observed_S[reached_N])
        np.testing.assert_array_equal(info["true_reward"], game.true_S[reached_N])
        np.testing.assert_array_equal(ended_N, reached_N == game.ended)
        np.testing.assert_array_equal(cut_N, (time_N == RULES.turns) & ~ended_N)
        over_N = ended_N | cut_N
        if over_N.any():
            final_NF = info["final_obs"][info["_final_obs"]]
            np.testing.assert_array_equal(final_NF, game.features_SF[reached_N[over_N]])
        np.testing.assert_array_equal(info["state"][~over_N], reached_N[~over_N])
        assert np.isin(info["state"][over_N], game.starts).all()
        time_N[over_N] = 0
        np.testing.assert_array_equal(info["time"], time_N)
        state_N, ends = info["state"], ends + over_N.sum()
    assert ends > 64


def test_the_same_seed_draws_the_same_batch() -> None:
    one, other = DropboxVectorEnv(8, RULES), gym.make_vec(register(), num_envs=8, rules=RULES)
    np.testing.assert_array_equal(one.reset(seed=5)[0], other.reset(seed=5)[0])
    assert ID in gym.registry


def test_text_shows_who_stands_where() -> None:
    rules = Rules()
    assert pictures.text(rules, Positions(0, (5, 12))) == "A...\n.B..\n....\nb..C"
    assert pictures.text(rules, Positions(12, (5, 15))) == "....\n.B..\n....\na..B"
    assert pictures.text(rules, Positions(None, ())) == "....\n....\n....\nH..C"


def test_pixels_tint_what_the_camera_sees() -> None:
    rules, side = Rules(), pictures.PIXELS

    def corner(positions: Positions, cell: int) -> tuple[int, ...]:
        image = pictures.pixels(rules, positions)
        assert image.shape == (4 * side, 4 * side, 3)
        return tuple(image[cell // 4 * side + 1, cell % 4 * side + 1].tolist())

    clear, hidden = Positions(0, (5, 6)), Positions(0, (5, 14))
    assert corner(clear, 13) == corner(clear, 15) != corner(clear, 9)
    assert corner(hidden, 13) == corner(clear, 9)
    assert corner(hidden, 15) == corner(clear, 15)


def test_a_strip_needs_a_caption_for_each_picture() -> None:
    with pytest.raises(ValueError, match="2 pictures and 1 captions"):
        pictures.strip(Rules(), [Positions(0, (5,))] * 2, ["start"], "")
    assert len(pictures.strip(Rules(), [Positions(0, (5,))] * 9, [""] * 9, "").axes) == 16


def test_rendering_follows_the_mode() -> None:
    assert DropboxEnv(RULES).render() is None
    text = DropboxVectorEnv(2, RULES, render_mode="ansi")
    assert text.render() is None
    text.reset(seed=0)
    drawn = text.render()
    assert drawn is not None and all("A" in one for one in drawn)
    image = DropboxEnv(RULES, render_mode="rgb_array")
    image.reset(seed=0)
    assert image.render().shape == (128, 128, 3)


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(RulesError, match="3x3 grid"):
        DropboxEnv(Rules(height=3, width=3))
    with pytest.raises(ValueError, match="reward = 'both'"):
        DropboxEnv(reward="both")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="render_mode = 'human'"):
        DropboxEnv(render_mode="human")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="num_envs = 0"):
        DropboxVectorEnv(0)
    env = DropboxEnv(RULES)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"is not in 0\.\.3"):
        env.step(np.int64(4))
    batch = DropboxVectorEnv(2, RULES)
    with pytest.raises(ValueError, match="call reset"):
        batch.step(np.zeros(2, int))
    batch.reset(seed=0)
    with pytest.raises(ValueError, match="give 2 whole numbers"):
        batch.step(np.zeros(3, int))
    with pytest.raises(ValueError, match="give 2 whole numbers"):
        batch.step(np.zeros(2))
    with pytest.raises(ValueError, match=r"is not in 0\.\.3"):
        batch.step(np.array([0, -1]))
    with pytest.raises(ValueError, match="one seed"):
        batch.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="unknown options"):
        batch.reset(options={"start": 1})
