"""What it is to live without one defence against faults: `python tests/mutations.py --suite chaos`.

Every fault names the weakenings with which its test must fail; each must, on each database where it
can happen. Some are the database's own to ward off, and name none.
"""

from __future__ import annotations

from kills import KILLS
from test_faults import CASES

from mutations import Edit, Mutation

TEST = "chaos/test_faults.py"


def without(what: str, *edits: tuple[str, str, str]) -> Mutation:
    """A weakening, and the tests that must all notice it."""
    every = tuple(
        f"test_nothing_is_lost_and_nothing_done_twice[{case.id}]"
        for case in CASES
        if what in case.values[0].without and (case.values[0].quick or case.values[0] in KILLS)
    )
    return Mutation(9, what, tuple(Edit(*edit) for edit in edits), TEST, every)


WEAKENINGS = (
    # a run is its events
    without(
        "a run is begun anew whoever takes it up",
        (
            "taking_up.py",
            "for event in self.ledger.read(self.run, after=self.journal.durable - 1):",
            "for event in ():",
        ),
    ),
    without(
        "a run that is not there is taken up",
        (
            "loop.py",
            "        if progress.opened is not None:\n            self.log(RunResumed(",
            "        if True:\n            self.log(RunResumed(",
        ),
    ),
    without(
        "a candidate is thought anew from another state",
        (
            "candidates.py",
            "        return progress.step.left\n",
            "        return progress.box, progress.state\n",
        ),
    ),
    without(
        "what a person is asked need not be durable",
        (
            "judging.py",
            "await standing.journal.commit()  # what is judged elsewhere must first be durable",
            "pass",
        ),
        (
            "judging.py",
            "await self._standing.journal.commit()  # a run that waits is nothing but rows",
            "pass",
        ),
    ),
    # at most once
    without(
        "an act need not be durable before it is done",
        ("act/performing.py", "    await journal.commit()\n    try:", "    try:"),
    ),
    without(
        "an act that was begun is begun again",
        ("loop.py", "        if step.started:  # another", "        if False:  # another"),
    ),
    without(
        "an act in doubt waits for nobody",
        (
            "waiting.py",
            "    if step.started:\n        ticket =",
            "    if False:\n        ticket =",
        ),
    ),
    without(
        "two may write the same place",
        ("ledger/store.py", "            if seq != following:\n", "            if False:\n"),
        ("ledger/database.py", '    sa.UniqueConstraint("run", "seq"),\n', ""),
    ),
    without(
        "a ticket never expires",
        ("act/performing.py", "if now() > ticket.expires:", "if False:"),
    ),
    without(
        "whoever is late has answered",
        (
            "waiting.py",
            "    if seconds is not None and seconds <= 0:\n",
            "    if False:\n",
        ),
    ),
    # a worker's
    without(
        "what a dead worker held is held for ever",
        ("ledger/claims.py", 'work.state == "held", work.until < clock', 'work.state == "lost"'),
    ),
    without(
        "a claim keeps nobody away",
        ("ledger/claims.py", '                state="held",\n', '                state="ready",\n'),
    ),
    # durable
    without(
        "a transaction is none",
        ("ledger/sqlite.py", '"BEGIN IMMEDIATE" if writes else "BEGIN"', '"SELECT 1"'),
        (
            "ledger/grouping.py",
            '_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"',
            '_BEGIN = "SET TRANSACTION READ WRITE"',
        ),
    ),
    without(
        "a commit that failed is believed",
        (
            "ledger/store.py",
            'group.failure = error if known else LedgerError(f"not written: {error!r}")\n'
            "                group.refused = dict.fromkeys((event[0] for event in group.events), "
            "group.failure)\n",
            "del known\n",
        ),
    ),
    without(
        "whoever ends the writing thread ends the process",
        (
            "ledger/store.py",
            "            except BaseException as error:",
            "            except Exception as error:",
        ),
    ),
    without(
        "commits are not synced",
        ("ledger/sqlite.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),
    ),
    without(
        "nobody waits for a lock",
        ("ledger/sqlite.py", '"timeout": 30', '"timeout": 0'),
        ("ledger/postgres.py", '"lock_timeout": "30s"', '"lock_timeout": "1ms"'),
    ),
    without(
        "a server that says nothing is waited for",
        (
            "ledger/postgres.py",
            "            elif time.monotonic() > until:\n",
            "            elif False:\n",
        ),
    ),
    without(
        "whoever holds the ledger may say nothing for ever",
        (
            "ledger/postgres.py",
            "session = SESSION | (READING if readonly else WRITING)",
            "session = SESSION",
        ),
    ),
    without(
        "a database's error is nobody's",
        (
            "ledger/database.py",
            '        raise LedgerError(f"{short}: {_explain(error.orig)}") from None',
            "        raise",
        ),
    ),
    without(
        "a ledger need not stand where it stood",
        ("ledger/sqlite.py", "        if stands != self._stood:\n", "        if False:\n"),
    ),
    without(
        "a server may answer before it has synced",
        ("ledger/postgres.py", "IN ('off', 'local')", "IN ('never')"),
    ),
    without(
        "a commit without an answer was written",
        (
            "ledger/store.py",
            "if written is None or not written.rows or not self._stands(written.rows):",
            "if written is None or not written.rows:",
        ),
    ),
    without(
        "nobody asks what became of a commit",
        (
            "ledger/store.py",
            "if written is None or not written.rows or not self._stands(written.rows):",
            "if True:",
        ),
    ),
    without(
        "a checkpoint from elsewhere is not compared",
        (
            "verify/verification.py",
            "witnessed = [_witnessed(Path(checkpoint), keys)] if checkpoint is not None else []",
            "witnessed = []",
        ),
    ),
    # an executor's process
    without(
        "an answer that is lost is a failure",
        ("act/remote.py", "            if handed_over:\n", "            if False:\n"),
    ),
    without(
        "whoever is not there may have performed",
        ("act/remote.py", "        handed_over = False\n", "        handed_over = True\n"),
    ),
    without(
        "what was started before is performed",
        (
            "act/redeeming.py",
            "if standing.taken or standing.started < self._began:",
            "if standing.taken:",
        ),
    ),
    without(
        "a ticket is taken twice",
        (
            "act/redeeming.py",
            "if standing.taken or standing.started < self._began:",
            "if standing.started < self._began:",
        ),
    ),
    without(
        "an executor asks no ledger",
        (
            "act/serving.py",
            "await anyio.to_thread.run_sync(self._redemptions.take, ticket, executor)",
            "pass",
        ),
    ),
)
