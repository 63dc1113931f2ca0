"""Weakening one setting at a time opens exactly the ways out that it keeps shut, and no other."""

import json

import anyio
import box_settings
import pytest
from box_drive import CONFIG, NAMES, PYTHON
from box_settings import OPENS, SECOND, SETTINGS
from box_users import drive

from audition.box import open_box
from audition.box.attempts import ATTEMPTS
from audition.box.config import Limits
from audition.box.probe import SOURCE, Outside

pytestmark = pytest.mark.usefixtures("needs_box")

TRIED_AT_OPENING = {attempt.__name__ for attempt in ATTEMPTS}
TWICE_SHUT = {
    *("trace", "read_memory", "steal_descriptor", "environment_of_another", "signal_out"),
    *("hard_link_out", "device_node", "mount", "packet", "set_id_program", "root", "interfaces"),
    *("kernel_settings", "kernel_memory", "kernel_log", "kernel_programs", "system_tree"),
}
"""Ways that two settings or more keep shut, so that no one of them opens them."""
EXCEEDED = {
    "seconds": "overtime",
    "cpu_seconds": "spinning",
    "memory": "memory_bomb",
    "processes": "fork_bomb",
    "disk": "disk_bomb",
    "files": "inode_bomb",
    "scratch": "scratch_bomb",
    "output": "output_bomb",
    "open_files": "descriptor_bomb",
}


def test_every_setting_is_weakened_and_every_way_is_kept_shut_by_one():
    assert set(OPENS) | set(SECOND) == set(SETTINGS)
    assert set().union(*OPENS.values()) | TWICE_SHUT == {*TRIED_AT_OPENING, *NAMES, "any packet"}
    assert not set().union(*OPENS.values()) & TWICE_SHUT


def test_every_limit_is_exceeded_by_a_way_out():
    """Processor time of a box as a whole is shown where groups are."""
    assert set(EXCEEDED) == set(Limits.model_fields) - {"cores"}
    assert set(EXCEEDED.values()) <= set(NAMES)


@pytest.mark.parametrize(
    "setting", ["", *(name for name in OPENS if OPENS[name] & TRIED_AT_OPENING)]
)
def test_without_a_setting_exactly_its_attempts_at_opening_get_out(setting):
    async def tried():
        with box_settings.weakened(setting), Outside(CONFIG) as outside:
            async with open_box(CONFIG) as box:
                argv = [PYTHON, "-I", "-S", "-c", SOURCE]
                done = await box.run(argv, stdin=outside.targets())
                reached = {**json.loads(done.stdout), **outside.reached()}
        return {name for name, got in reached.items() if got is not None}

    # Interfaces are those of this machine here, and of a namespace without any in the full run.
    assert anyio.run(tried) - {"interfaces"} == OPENS.get(setting, set()) & TRIED_AT_OPENING


@pytest.mark.full
@pytest.mark.parametrize("who", ["root", "ordinary"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_without_a_setting_exactly_its_ways_out_are_open(setting, who):
    reached = drive(who, "boxed", setting)
    assert {way for way, got in reached.items() if got} == OPENS.get(setting, set())
