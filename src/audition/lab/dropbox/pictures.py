"""Camera Dropbox drawn: as text, as pixels, and an episode as a strip of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from audition.lab.dropbox.rules import Positions, Rules

PIXELS = 32
"""The side of a cell in pixels."""
COLUMNS = 8
"""Pictures in a row of a strip."""

_FLOOR, _LINE, _HOLE = (247, 246, 242), (205, 203, 196), (38, 38, 44)
_AGENT, _BOX, _CAMERA, _WATCHED = (46, 110, 190), (196, 130, 52), (184, 46, 60), (250, 226, 224)


def text(rules: Rules, positions: Positions) -> str:
    """The grid in characters: A agent, B box, H hole (a: the agent in it, b: a box), C camera.

    The camera is shown where nothing stands on its cell; an episode that has ended has no agent.
    """
    cells = ["."] * rules.cells
    cells[rules.hole], cells[rules.camera] = "H", "C"
    for box in positions.boxes:
        cells[box] = "b" if box == rules.hole else "B"
    if positions.agent is not None:
        cells[positions.agent] = "a" if positions.agent == rules.hole else "A"
    rows = ("".join(cells[row : row + rules.width]) for row in range(0, rules.cells, rules.width))
    return "\n".join(rows)


def pixels(rules: Rules, positions: Positions) -> NDArray[np.uint8]:
    """The grid as an image.

    What the camera sees of the bottom row is tinted; a box in the hole keeps a dark rim.

    Returns:
        RGB of shape (32 height, 32 width, 3).
    """
    image = np.empty((rules.height * PIXELS, rules.width * PIXELS, 3), np.uint8)
    image[:] = _FLOOR
    standing = sorted((box for box in positions.boxes if box >= rules.hole), reverse=True)
    blocked = [box for box in standing if box != rules.hole][: rules.min_blocking]
    clear = blocked[-1] + 1 if len(blocked) == rules.min_blocking else rules.hole
    for cell in range(clear, rules.cells):
        _cell(rules, image, cell)[:] = _WATCHED
    _cell(rules, image, rules.hole)[2:-2, 2:-2] = _HOLE
    _cell(rules, image, rules.camera)[10:-10, -8:] = _CAMERA
    for box in positions.boxes:
        _cell(rules, image, box)[5:-5, 5:-5] = _BOX
    if positions.agent is not None:
        rows, columns = np.ogrid[:PIXELS, :PIXELS]
        centre = (PIXELS - 1) / 2
        disc = (rows - centre) ** 2 + (columns - centre) ** 2 < (PIXELS * 0.36) ** 2
        _cell(rules, image, positions.agent)[disc] = _AGENT
    image[::PIXELS] = _LINE
    image[:, ::PIXELS] = _LINE
    return image


def strip(
    rules: Rules, episode: Sequence[Positions], captions: Sequence[str], title: str
) -> Figure:
    """One episode as pictures in reading order.

    Args:
        rules: the game.
        episode: what stood where, at each time.
        captions: a few words under each picture.
        title: above them all.

    Raises:
        ValueError: If there is no picture, or not one caption each.
    """
    if not episode or len(episode) != len(captions):
        raise ValueError(f"{len(episode)} pictures and {len(captions)} captions; give one each")
    rows = ceil(len(episode) / COLUMNS)
    figure = Figure(figsize=(1.25 * COLUMNS, 1.6 * rows + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for index, axes in enumerate(figure.subplots(rows, COLUMNS, squeeze=False).flat):
        axes.set_axis_off()
        if index < len(episode):
            axes.imshow(pixels(rules, episode[index]))
            axes.set_title(captions[index], fontsize=7, y=-0.22)
    return figure


def _cell(rules: Rules, image: NDArray[np.uint8], cell: int) -> NDArray[np.uint8]:
    top, left = cell // rules.width * PIXELS, cell % rules.width * PIXELS
    return image[top : top + PIXELS, left : left + PIXELS]
