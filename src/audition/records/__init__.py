"""Transcripts from elsewhere, as steps that can be judged.

`read` turns files into `Record`s; `survey` counts what a file holds. One importer a file.
`record_of` takes a run out of a ledger again; `written` writes a record as chat JSONL, and
`write_log` writes runs as a log of Inspect.
"""

from audition.records.conversation import written
from audition.records.from_ledger import REDACTED, record_of
from audition.records.inspect_written import write_log
from audition.records.reader import FORMATS, Survey, read, survey
from audition.records.record import MISTAKE, Group, Record, RecordedStep, RecordError, Said

__all__ = [
    "FORMATS",
    "MISTAKE",
    "REDACTED",
    "Group",
    "Record",
    "RecordError",
    "RecordedStep",
    "Said",
    "Survey",
    "read",
    "record_of",
    "survey",
    "write_log",
    "written",
]
