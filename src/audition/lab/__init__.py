"""The lab: published or provable results that a command measures again, one file a claim."""

from audition.lab.catalogue import CLAIMS, Listed, find, listed, missing
from audition.lab.claim import Check, Claim, ClaimError, Config, Figures, Progress
from audition.lab.report import page, pictures
from audition.lab.result import Result, measure

__all__ = [
    "CLAIMS",
    "Check",
    "Claim",
    "ClaimError",
    "Config",
    "Figures",
    "Listed",
    "Progress",
    "Result",
    "find",
    "listed",
    "measure",
    "missing",
    "page",
    "pictures",
]
