"""Guarantee 3: thinking has no effects, as far as any probe can refute."""

import anyio
import pytest

from audition.box import BoxConfig, BoxRefused, BoxUnavailable, Limits, confine, open_box
from audition.box.attempts import ATTEMPTS

BOMBS = {
    "time": "while :; do sleep 1; done",
    "cpu": "while :; do :; done",
    "output": "yes",
    "memory": "python3 -c 'x = bytearray(1 << 29)'",
    "processes": "for i in $(seq 60); do sleep 5 & done; wait",
    "disk": "head -c 50000000 /dev/zero > large",
    "files": "seq 2000 | xargs touch",
}
CONFIG = BoxConfig(
    limits=Limits(
        seconds=3,
        cpu_seconds=1,
        memory=64 << 20,
        processes=20,
        disk=16 << 20,
        files=500,
        output=10_000,
    )
)


def with_a_box(what):
    async def opened():
        async with open_box(CONFIG) as box:
            return await what(box)

    try:
        return anyio.run(opened)
    except BoxUnavailable as error:
        pytest.skip(str(error))


def test_a_box_is_handed_out_only_after_every_probe_has_failed_to_get_out():
    async def reported(box):
        return box.report()

    report = with_a_box(reported)
    assert report.probes == tuple(attempt.__name__ for attempt in ATTEMPTS)
    assert report.uncovered
    assert report.uid != 0


def test_a_box_that_a_probe_can_refute_refuses_to_open_and_says_why(monkeypatch):
    whole = confine.arguments
    monkeypatch.setattr(
        confine,
        "arguments",
        lambda *given: [word for word in whole(*given) if word != "--unshare-net"],
    )

    async def nothing(box):
        return None

    with pytest.raises(BoxRefused, match=r"^box refused: \w+: [^\n]+$"):
        with_a_box(nothing)


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_thinking_may_use_is_bounded(bomb):
    async def thrown(box):
        return await box.run(["sh", "-c", BOMBS[bomb]])

    done = with_a_box(thrown)
    assert done.returncode != 0
    assert done.stopped is not None or done.stderr


def test_what_was_thought_stays_in_its_workspace(tmp_path):
    async def written(box):
        await box.run(
            ["sh", "-c", f"echo thought > kept; mkdir -p {tmp_path}; echo > {tmp_path}/x"]
        )
        return await box.run(["cat", "kept"])

    assert with_a_box(written).stdout == b"thought\n"
    assert list(tmp_path.iterdir()) == []
