"""Where thinking is confined: a workspace without a way out, its snapshots and its futures."""

from audition.box.config import BoxConfig, BoxError, BoxRefused, BoxUnavailable, Limits
from audition.box.confined import Box
from audition.box.opening import open_box
from audition.box.pages import LibraryError
from audition.box.report import BoxReport, Held
from audition.box.search import Hit, Library, Passage
from audition.box.trial import Trial, Tried, try_ways_out
from audition.box.unopened import Unopened, unopened

__all__ = [
    "Box",
    "BoxConfig",
    "BoxError",
    "BoxRefused",
    "BoxReport",
    "BoxUnavailable",
    "Held",
    "Hit",
    "Library",
    "LibraryError",
    "Limits",
    "Passage",
    "Trial",
    "Tried",
    "Unopened",
    "open_box",
    "try_ways_out",
    "unopened",
]
