"""Learning from audits and from nothing else: lessons, the boundary, restrictions, training."""

from audition.learn.batch import Batch, BatchError, moment_of
from audition.learn.boundary import Boundary
from audition.learn.lessons import LessonError, Lessons, NoLessons, of_batch
from audition.learn.outcome import Outcomes, gae, outcomes_of
from audition.learn.plan import (
    Learner,
    Plan,
    PlanError,
    Study,
    Teacher,
    Untrained,
    World,
    study_of,
)
from audition.learn.restrictions import GUARDED, PROCESS, TEACHERS_ONLY, Forbidden, held_to
from audition.learn.training import Trained, follow, train

__all__ = [
    "GUARDED",
    "PROCESS",
    "TEACHERS_ONLY",
    "Batch",
    "BatchError",
    "Boundary",
    "Forbidden",
    "Learner",
    "LessonError",
    "Lessons",
    "NoLessons",
    "Outcomes",
    "Plan",
    "PlanError",
    "Study",
    "Teacher",
    "Trained",
    "Untrained",
    "World",
    "follow",
    "gae",
    "held_to",
    "moment_of",
    "of_batch",
    "outcomes_of",
    "study_of",
    "train",
]
