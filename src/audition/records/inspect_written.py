"""Runs written as one log of Inspect (`.eval`), which Inspect opens and `review` reads back.

A run is a sample: its conversation as messages, each auditor's suspicion as a score, each decision
as an event, what models cost as usage, and in the metadata where the run stands in the ledger.

Inspect writes the file, so the whole log is in memory once. It is then read back: a log that tells
another run than the ledger is not left behind. Needs the extra `inspect`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audition.extra import installing
from audition.failing import told
from audition.ledger import LedgerError, SqlLedger
from audition.ledger.evidence import Evidence
from audition.ledger.tree import Frontier
from audition.records.from_ledger import record_of
from audition.records.inspect_message import inspect_call, inspect_messages
from audition.records.judged import Judged, judged
from audition.records.lines import called
from audition.records.reader import read
from audition.records.record import Record, RecordError
from audition.step import Act, Finish, JsonObject, RunId, Usage, digest_of

if TYPE_CHECKING:
    from inspect_ai.event import Event
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import ModelUsage
    from inspect_ai.scorer import Score

MAX_LOG = 256 << 20
"""Most that the records of one log may come to, in bytes of JSON."""

SEVERAL = "several"
"""What a log calls a task or a model that its samples do not share."""


def write_log(
    ledger: SqlLedger,
    where: str | Path,
    runs: Sequence[RunId],
    file: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Write runs into a file; returns how many of their contents were redacted.

    Args:
        ledger: where the runs are.
        where: that ledger's file.
        runs: the runs, one or more.
        file: whatever it holds is replaced; its name ends in `.eval`.
        progress: told how many runs have been taken from the ledger.

    Raises:
        RecordError: the extra is not installed, the runs are too long for one log, or Inspect's
            format cannot hold one of them.
        LedgerError: a run or its content cannot be read.
    """
    if find_spec("inspect_ai") is None:
        raise RecordError(f"{called(file)}: a log of Inspect needs {installing('inspect')}")
    records: list[Record] = []
    beside: list[Judged] = []
    redacted = held = 0
    for number, run in enumerate(runs, 1):
        record, gone = record_of(ledger, run)
        records.append(record)
        beside.append(judged(ledger, run))
        redacted += gone
        held += len(record.model_dump_json())
        if held > MAX_LOG:
            raise RecordError(
                f"{called(file)}: more than {MAX_LOG >> 20} MiB, too much for one log; name fewer "
                "runs with --run"
            )
        progress(number)
    places = _places(where, {one.run: one.last for one in beside})
    try:
        samples = [
            _sample(record, run, places[run.run])
            for record, run in zip(records, beside, strict=True)
        ]
        _write(_log(samples), file)
        for run, record, again in zip(runs, records, read(file, "inspect"), strict=True):
            if digest_of(again.model_copy(update={"source": record.source})) != digest_of(record):
                raise RecordError(f"run {run} would be read back as another")
    except ValueError as error:
        raise RecordError(f"{called(file)}: no log of Inspect can hold it: {told(error)}") from None
    return redacted


def _sample(record: Record, run: Judged, place: JsonObject) -> EvalSample:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput

    *_, last = (None, *(step.proposal for step in record.steps()))
    answer = last.answer if isinstance(last, Finish) else None
    spent = bool(run.thinking.tokens_in + run.thinking.tokens_out)
    fields: dict[str, Any] = {
        "id": run.run,
        "epoch": 1,
        "input": record.goal,
        "target": "",
        "messages": list(inspect_messages(record)),
        "output": ModelOutput.from_content(record.thinker, answer) if answer else ModelOutput(),
        "scores": {name: _score(name, said) for name, said in run.verdicts.items()} or None,
        "events": list(_events(run)),
        "metadata": {
            "audition": {
                "run": run.run,
                "status": run.status,
                "task": record.task,
                "thinker": record.thinker,
                "labels": record.labels,
                **place,
            }
        },
        "model_usage": {record.thinker: _usage(run.thinking)} if spent else {},
        "role_usage": {name: _usage(cost) for name, cost in run.judging.items()},
        "started_at": _time(run.began).isoformat(),
        "completed_at": _time(run.ended).isoformat(),
        "total_time": (run.ended - run.began) / 1e6,
    }
    if run.status == "failed":
        fields["error"] = {"message": run.reason, "traceback": "", "traceback_ansi": ""}
    return EvalSample.model_validate(fields)


def _score(auditor: str, said: Sequence[JsonObject]) -> Score:
    """What a monitor's score says (`audition.inspecting.monitor`): the worst suspicion, and all."""
    from inspect_ai.scorer import Score

    worst: Any = max(said, key=lambda one: float(str(one["suspicion"])))
    why = worst["says"] or worst.get("failed") or worst.get("abstains") or ""
    return Score(
        value=worst["suspicion"],
        explanation=f"step {worst['step']}: {why}",
        metadata={"auditor": auditor, "steps": list(said)},
    )


def _events(run: Judged) -> Iterator[Event]:
    """Each decision: about a call an approval, about anything else an information."""
    from inspect_ai.event import ApprovalEvent, InfoEvent

    for number, one in enumerate(run.decisions, 1):
        event: dict[str, Any] = {
            "timestamp": _time(one.at),
            "working_start": max(0, one.at - run.began) / 1e6,
            "metadata": {"step": one.step, "moment": one.moment},
        }
        if isinstance(one.proposal, Act):
            yield ApprovalEvent.model_validate(
                event
                | {
                    "message": one.proposal.reason,
                    "call": inspect_call(f"decision-{number}", one.proposal),
                    "approver": "audition",
                    "decision": "approve" if one.action == "proceed" else one.action,
                    "explanation": one.reason,
                }
            )
        else:
            data = {"step": one.step, "decision": one.action, "reason": one.reason}
            yield InfoEvent.model_validate(event | {"source": "audition", "data": data})


def _usage(cost: Usage) -> ModelUsage:
    from inspect_ai.model import ModelUsage

    return ModelUsage(
        input_tokens=cost.tokens_in,
        output_tokens=cost.tokens_out,
        total_tokens=cost.tokens_in + cost.tokens_out,
        total_cost=cost.usd or None,
    )


def _places(where: str | Path, last: dict[RunId, int]) -> dict[RunId, JsonObject]:
    """Where runs stand in the ledger's tree, as it is now, up to the events that were read.

    Args:
        where: the ledger's file.
        last: of each run the number of the last event that was read.
    """
    tree = Frontier()
    first: dict[RunId, int] = {}
    end: dict[RunId, int] = {}
    with Evidence(where) as evidence:
        for index, run, seq, leaf, _ in evidence.rows():
            if not isinstance(run, bytes) or not isinstance(leaf, bytes):
                raise LedgerError(f"{where}: event {index} is damaged; verify the ledger")
            tree.append(leaf)
            name = run.hex()
            if seq <= last.get(name, -1):
                first.setdefault(name, index)
                end[name] = index
        head: JsonObject = {
            "ledger": evidence.origin,
            "size": tree.size,
            "root": tree.root().hex(),
        }
    return {run: head | {"first": first[run], "last": end[run]} for run in last}


def _log(samples: Sequence[EvalSample]) -> EvalLog:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec, EvalStats

    whose: list[Any] = [one.metadata["audition"] for one in samples]
    tasks, models = ({str(one[name]) for one in whose} for name in ("task", "thinker"))
    spec = EvalSpec(
        created=samples[0].started_at or "",
        task=tasks.pop() if len(tasks) == 1 else SEVERAL,
        model=models.pop() if len(models) == 1 else SEVERAL,
        dataset=EvalDataset(samples=len(samples), sample_ids=[str(one.id) for one in samples]),
        config=EvalConfig(),
        metadata={"audition": {name: whose[0][name] for name in ("ledger", "size", "root")}},
    )
    stats = EvalStats(
        started_at=min(one.started_at or "" for one in samples),
        completed_at=max(one.completed_at or "" for one in samples),
        model_usage=_added(one.model_usage for one in samples),
        role_usage=_added(one.role_usage for one in samples),
    )
    ended = {str(one.metadata["audition"]["status"]) for one in samples}
    status = "error" if "failed" in ended else "started" if "open" in ended else "success"
    return EvalLog(status=status, eval=spec, stats=stats, samples=list(samples))


def _added(costs: Iterator[dict[str, ModelUsage]]) -> dict[str, ModelUsage]:
    total: dict[str, ModelUsage] = {}
    for one in costs:
        for name, usage in one.items():
            total[name] = total[name] + usage if name in total else usage
    return total


def _write(log: EvalLog, file: Path) -> None:
    from inspect_ai.log import write_eval_log

    write_eval_log(log, str(file.absolute()), "eval")


def _time(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)
