"""Who thinks: a script, a replayed record, a language model, a person."""

from audition.think.config import HumanThinker, InspectThinker, ModelThinker, language_model
from audition.think.model import LanguageModel, ThoughtBudget, Undecided
from audition.think.person import PersonThinker
from audition.think.replayed import Replayed
from audition.think.scripted import Line, Scripted

__all__ = [
    "HumanThinker",
    "InspectThinker",
    "LanguageModel",
    "Line",
    "ModelThinker",
    "PersonThinker",
    "Replayed",
    "Scripted",
    "ThoughtBudget",
    "Undecided",
    "language_model",
]
