"""A training run written by hand: its numbers are few and exact on every machine."""

from __future__ import annotations

import numpy as np

from audition.canonical import digest_bytes, digest_value
from audition.gate import draw_rows
from audition.learn import PROCESS, Batch, Plan, of_batch
from audition.ledger.events import (
    BatchSealed,
    Column,
    LessonTaken,
    RestrictionDeclared,
    RestrictionLifted,
    RunClosed,
    RunOpened,
    ThinkerChosen,
    ThinkerUpdated,
    Training,
    lifting_note,
)
from audition.step import AuditorCard, Evidence, Lifting, Limits, Restriction, Role, Signature
from handmade import KEY, SECRET, Scribe

RUN = "00" * 15 + "c3"
TEACHER = AuditorCard(
    name="teacher",
    role=Role.TEACHER,
    sees=(Evidence.HISTORY, Evidence.PROPOSAL),
    rules=digest_bytes(b"approves of the right lever"),
)
SHORT = Restriction(
    name="short",
    says="Three updates at most.",
    scope="training",
    limits=Limits(updates=3),
    lifting=Lifting(needs=1, keys=(str(KEY.public),)),
)
LAYOUT = (
    Column(name="room", dtype="u1", part="context"),
    Column(name="lever", dtype="u1", part="span"),
    Column(name="drawn", dtype="u1", part="drawn"),
    Column(name="approval", dtype="f4", part="approval"),
)


def trained_run(run: str = RUN) -> Scribe:
    """One batch of four steps in two leaves, its lessons, an update, and a lifted restriction."""
    pen = Scribe(run, gate={}, cards=(TEACHER,), restrictions=(PROCESS, SHORT), mode="simulated")
    plan = Plan(
        name="levers",
        says="Pull the right lever.",
        study="levers",
        world={"rooms": 4},
        signal="approval",
        batches=1,
        leaf=2,
        rates={"0": 0.75},
        seeds=(3,),
    )
    first, last = pen.put("weights before"), pen.put("weights after")
    pen.log(
        RunOpened(
            mode="simulated",
            project=plan.name,
            goal=pen.put(plan.says),
            thinker="puller",
            thinking=first,
            auditors=(TEACHER,),
            gate={},
            restrictions=pen.limits,
            secret=digest_bytes(SECRET),
            training=Training(plan=pen.put(plan), seed=3),
        )
    )
    for restriction in pen.restrictions:
        pen.log(RestrictionDeclared(restriction=restriction))
    note = lifting_note(run, SHORT.name, "The plan is short anyhow.")
    pen.log(
        RestrictionLifted(
            restriction=SHORT.name,
            reason="The plan is short anyhow.",
            signatures=(Signature(key=KEY.public.id, value=KEY.sign(note)),),
        )
    )
    drawn_R = draw_rows(SECRET, run, 0, np.full(4, 0.75))
    assert drawn_R.any() and not drawn_R.all()
    rows = {
        "room": np.array([0, 1, 2, 3], np.uint8),
        "lever": np.array([1, 0, 1, 1], np.uint8),
        "drawn": drawn_R.astype(np.uint8),
        "approval": np.where(drawn_R, [1.0, 1.0, 0.0, 0.25], np.nan).astype(np.float32),
    }
    batch = Batch.of(rows, LAYOUT, 2)
    pen.contents.append((batch.data(), False))
    pen.log(
        BatchSealed(
            number=0,
            rows=4,
            leaf=2,
            columns=LAYOUT,
            data=digest_bytes(batch.data()),
            root=batch.root(),
            environment=digest_value(plan.world),
            thinker=first,
            auditor=TEACHER.name,
            judge=TEACHER.rules,
            rates=plan.rates,
        )
    )
    lessons = of_batch(
        batch,
        batch.root(),
        signal="approval",
        auditor=TEACHER.name,
        rate_R=np.full(4, 0.75),
        drawn_R=drawn_R,
    )
    pen.log(
        LessonTaken(
            of="puller",
            batch=batch.root(),
            signal="approval",
            auditor=TEACHER.name,
            population=4,
            admissible=len(lessons),
            taken=len(lessons),
            lessons=lessons.digest(),
        )
    )
    pen.log(
        ThinkerUpdated(
            of="puller",
            number=0,
            before=first,
            after=last,
            lessons=lessons.digest(),
            signal="approval",
            horizon=1,
            measures={"loss": 0.5},
        )
    )
    pen.log(ThinkerChosen(among=(last,), chosen=last, by="declared"))
    pen.log(RunClosed(status="trained", answer=last, secret=SECRET))
    return pen
