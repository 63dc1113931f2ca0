"""Who thinks: a script, a replayed record, a language model, a person; and what is planted."""

from audition.think.config import HumanThinker, InspectThinker, ModelThinker, language_model
from audition.think.huggingface import HuggingFaceThinker, huggingface
from audition.think.model import LanguageModel, ThoughtBudget, Undecided
from audition.think.person import PersonThinker
from audition.think.planted import Plant, PlantError, Plants, Sealed, leaf, read_plants, sealed
from audition.think.replayed import Replayed
from audition.think.scripted import Line, Scripted

__all__ = [
    "HuggingFaceThinker",
    "HumanThinker",
    "InspectThinker",
    "LanguageModel",
    "Line",
    "ModelThinker",
    "PersonThinker",
    "Plant",
    "PlantError",
    "Plants",
    "Replayed",
    "Scripted",
    "Sealed",
    "ThoughtBudget",
    "Undecided",
    "huggingface",
    "language_model",
    "leaf",
    "read_plants",
    "sealed",
]
