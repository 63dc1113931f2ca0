"""What the page on training shows is a project that loads as it says."""

from __future__ import annotations

import re
from pathlib import Path

from audition.learn.alternating import Schedule
from audition.project import parse
from audition.think import HuggingFaceThinker

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_page_s_project_file_is_one() -> None:
    thinker, rest = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    text = f'name = "p"\ngoal = "g"\n{rest}\n{thinker}\n[box]\n[budget]\n'
    file = parse(text.encode(), "p.toml")
    assert isinstance(file.thinker, HuggingFaceThinker) and file.thinker.folder == "model"
    assert file.candidates == 4 and file.training is not None
    schedule = Schedule.model_validate(file.training)
    assert schedule.learning.lora is not None and schedule.learning.lora.rank == 16
    assert schedule.learning.objective.boundary == "state"
