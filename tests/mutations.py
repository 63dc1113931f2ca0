"""Removes each guard of each guarantee in turn, and requires that the guarantee's test then fails.

    python tests/mutations.py [--only 2 9] [--named TEXT] [--share 3] [--jobs 2] [--json] [--afresh]
    python tests/mutations.py --suite chaos [--named TEXT] [--jobs 2] [--json]

A mutation is a small edit in a copy of the package; its text must be there exactly once, or the
script fails loudly, so that a guard which moves takes its mutation along. A test counts as failing
when an assertion in it fails, not when the copy cannot be imported; and each test must pass first
on a copy in which nothing was changed.

Which test noticed last time stands in `mutations.json`, and is tried first: a hint, which saves the
time of the others where it is right and decides nothing where it is wrong. `--afresh` tries without
hints and writes them anew.

`--share N` tries every Nth, beginning at a place that the commit says, so that commits take turns;
of the others it is looked at whether their text is still there.

The suite `chaos` removes the defences against faults (`chaos/weakenings.py`); there every test that
is named must fail, each fault's own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

TESTS = Path(__file__).parent
HINTS = TESTS / "mutations.json"
PACKAGE = TESTS.parent / "src" / "audition"
SECONDS = 300
"""How long one test file may take; what takes longer has not failed by assertion."""


@dataclass(frozen=True)
class Edit:
    """One piece of text in one file, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """What it is to live without one guard."""

    guarantee: int
    without: str
    edits: tuple[Edit, ...]
    test: str = ""
    """The file of tests that must notice, where it is not one of the guarantee's own."""
    every: tuple[str, ...] = ()
    """Tests of that file, all of which must notice; none: any test of it."""

    @property
    def tests(self) -> list[Path]:
        """The files of tests, one of which must notice."""
        if self.test:
            return [TESTS / self.test]
        return sorted((TESTS / "guarantees").glob(f"test_{self.guarantee:02}_*.py"))


def without(guarantee: int, what: str, *edits: tuple[str, str, str], test: str = "") -> Mutation:
    return Mutation(guarantee, what, tuple(Edit(*edit) for edit in edits), test)


MUTATIONS = (
    # ---------------------------------------------------------------- 1, closed by default
    without(
        1,
        "an object may lack its box and budget",
        ("project.py", "            if not isinstance(given, kind):\n", "            if False:\n"),
    ),
    without(
        1,
        "a file may lack its gate",
        (
            "project.py",
            '    gate: JsonObject\n    """What may pass."""',
            '    gate: JsonObject = {"kind": "threshold", "auditor": "red", "reject_at": 1}\n',
        ),
    ),
    without(
        1,
        "what was not drawn proceeds unless told otherwise",
        (
            "gate/gates.py",
            '*gates: Gate, undrawn: Literal["proceed", "reject"] = "reject"',
            '*gates: Gate, undrawn: Literal["proceed", "reject"] = "proceed"',
        ),
    ),
    without(
        1,
        "no guard of form before the gate",
        (
            "opening.py",
            "sequential(threshold(form.name, reject_at=1), project.gate)",
            "project.gate",
        ),
    ),
    without(
        1,
        "a gate may name whom nobody knows",
        ("project.py", "if unknown := named(self.gate) - set(self.auditors):", "if unknown := ():"),
    ),
    without(1, "unknown fields pass", ("step.py", 'extra="forbid"', 'extra="ignore"')),
    without(
        1,
        "a threshold is open until its auditor has spoken",
        (
            "gate/gates.py",
            "            return Need(auditors=(self.auditor,))\n"
            "        if self.terminate_at is not None",
            '            return Decision(action="proceed", reason="nobody spoke")\n'
            "        if self.terminate_at is not None",
        ),
    ),
    # ---------------------------------------------------------------- 2, what was approved runs
    without(
        2,
        "the act need not be the one that the ticket names",
        ("act/performing.py", "(digest_of(ticket.act), ticket.proposal,", '("", "",'),
    ),
    without(
        2,
        "the ticket may be for another moment",
        ("act/performing.py", "(digest_of(moment), ticket.moment,", '("", "",'),
    ),
    without(
        2,
        "the ticket need not be the one that was issued",
        ("act/performing.py", "(digest_of(ticket), record.ticket,", '("", "",'),
    ),
    without(
        2,
        "the tool may change after it was judged",
        ("act/performing.py", "(digest_of(executor.schema), ticket.tool,", '("", "",'),
    ),
    without(
        2,
        "a ticket never expires",
        ("act/performing.py", "if now() > ticket.expires:", "if False:"),
    ),
    without(
        2,
        "a ticket is good for ever",
        (
            "act/performing.py",
            "if (journal.run, journal.seq) != (issue.run, issue.seq + 1):",
            "if False:",
        ),
    ),
    without(
        2,
        "a replacement passes on the approval of what it replaced",
        (
            "history.py",
            "step.asked, step.answers = {}, []",
            "step.answers = [_bare(a) for a in step.answers]",
        ),
        (
            "history.py",
            "def answer_of(",
            "def _bare(a: Any) -> Any:\n"
            '    return a.model_copy(update={"replacement": None})\n\n\n'
            "def answer_of(",
        ),
        (
            "history.py",
            "from collections.abc import Sequence",
            "from typing import Any\nfrom collections.abc import Sequence",
        ),
    ),
    without(
        2,
        "an act that another process has begun is begun again",
        ("loop.py", "        if step.started:  # another", "        if step.in_doubt:  # another"),
    ),
    without(
        2,
        "a sign-off need not verify",
        (
            "signoff.py",
            "if not PublicKey.parse(enrolled.key).verifies(said, verdict.signature.value):",
            "if False:",
        ),
    ),
    without(
        2,
        "a sign-off needs no signature",
        ("history.py", "        return not self.signoffs.amiss(", "        return True or ("),
    ),
    without(
        2,
        "a sign-off is good for any moment",
        ("signoff.py", '            "moment": digest_of(moment),\n', ""),
        ("signoff.py", '            "reviewers": moment.reviewers,\n', ""),
        ("signoff.py", '            "run": moment.run,\n', ""),
    ),
    without(
        2,
        "a sign-off is good for any policy",
        ("signoff.py", '            "policy": policy,\n', ""),
    ),
    without(
        2,
        "a sign-off is good for any time",
        ("signoff.py", '            "expires": expires,\n', ""),
    ),
    without(
        2,
        "a sign-off is good for any word",
        ("signoff.py", '            "verdict": digest_of(bare),\n', ""),
    ),
    without(
        2,
        "one person's key signs for another",
        (
            "signoff.py",
            "if enrolled is None or enrolled.person != name:",
            "if enrolled is None:",
        ),
        ("signoff.py", "if held is None or held.key != str(key.public):", "if held is None:"),
    ),
    without(
        2,
        "a run may be told of a key that the register does not know",
        (
            "signoff.py",
            "            if held != self.keys.get(one.signature.key):\n",
            "            if False:\n",
        ),
    ),
    without(
        2,
        "anybody may enrol",
        (
            "signoff.py",
            "register = read_register(ledger, ledger.signer)",
            "register = read_register(ledger)",
        ),
    ),
    without(
        2,
        "an approval outlives its key",
        (
            "signoff.py",
            "if (revoked := register.revoked.get(one.signature.key)) is not None:",
            "if (revoked := None) is not None:",
        ),
        (
            "signoff.py",
            "            if held != self.keys.get(one.signature.key):\n",
            "            if False:\n",
        ),
    ),
    without(
        2,
        "a revocation and a use may cross",
        (
            "ledger/store.py",
            "            if places[other][1] != following:\n",
            "            if False:\n",
        ),
    ),
    without(
        2,
        "an approval outlives its time",
        (
            "signoff.py",
            "            if expires is None or now() > expires:\n",
            "            if False:\n",
        ),
    ),
    without(
        2,
        "whoever replaced a step signs it",
        (
            "gate/keys.py",
            "may = [name for name in self.of if name != moment.by]",
            "may = list(self.of)",
        ),
        ("signoff.py", "        if moment.by == name:\n", "        if False:\n"),
    ),
    without(
        2,
        "whoever thinks signs",
        ("project.py", "            if name == self.thinker.name:\n", "            if False:\n"),
    ),
    # in a process of its own, and beside the acts
    without(
        2,
        "a ticket is redeemed without a decision to proceed with its moment",
        ("act/redeeming.py", " or standing.approved != ticket.moment:", ":"),
        test="act/test_remote.py",
    ),
    without(
        2,
        "any decision is one to proceed",
        ("act/redeeming.py", 'if ours and decision.action == "proceed" else', "if ours else"),
        test="act/test_remote.py",
    ),
    without(
        2,
        "a decision about another moment lets a ticket through",
        (
            "act/redeeming.py",
            'standing.approved = moment if ours and decision.action == "proceed" else None',
            "standing.approved = digest_of(standing.moment) if standing.moment else None",
        ),
        test="act/test_remote.py",
    ),
    without(
        2,
        "an executor does not compare what it is asked for with what was judged",
        (
            "act/redeeming.py",
            "            check(ticket, standing.issued, executor,",
            "            (",
        ),
        test="act/test_remote.py",
    ),
    without(
        2,
        "a start need not follow its issue",
        (
            "act/redeeming.py",
            "(ticket, event.seq) == (standing.issued.ticket, standing.issue + 1)",
            "ticket == standing.issued.ticket",
        ),
        test="act/test_remote.py",
    ),
    without(
        2,
        "a redirect is followed",
        ("act/http.py", "follow_redirects=False", "follow_redirects=True"),
        test="act/test_http.py",
    ),
    without(
        2,
        "a proxy or a password of the environment is used",
        ("act/http.py", "trust_env=False", "trust_env=True"),
        test="act/test_http.py",
    ),
    without(
        2,
        "a machine may show any host key",
        (
            "act/ssh.py",
            "                )\n                return False",
            "                )\n                return True",
        ),
        test="act/test_ssh.py",
    ),
    without(
        2,
        "no host is known",
        (
            "act/ssh.py",
            'pinned = self._options["known_hosts"][0][0]',
            "pinned = asyncssh.import_public_key(self._setup.host_key)",
        ),
        ("act/ssh.py", '"known_hosts": ([host_key], [], [])', '"known_hosts": None'),
        test="act/test_ssh.py",
    ),
    without(
        2,
        "a sealed candidate may be no proposal",
        (
            "verify/candidates.py",
            '        case.found(2, f"candidate {number} is no proposal")\n',
            "",
        ),
        test="verify/test_sealed_candidates.py",
    ),
    # ---------------------------------------------------------------- 3, no effects
    without(
        3, "the box shares the network", ("box/confine.py", '"--unshare-net"', '"--new-session"')
    ),
    without(
        3,
        "a refuted box is handed out",
        (
            "box/probe.py",
            '            raise BoxRefused(f"box refused: {name}: {got}", tried)',
            "            pass",
        ),
    ),
    without(
        3,
        "processes are not counted",
        (
            "box/confine.py",
            "        **limits.model_dump(),",
            '        **limits.model_dump() | {"processes": 9999},',
        ),
    ),
    # ---------------------------------------------------------------- 4, judged before done
    without(
        4,
        "an act need not be durable before it is done",
        ("act/performing.py", "    await journal.commit()\n    try:", "    try:"),
    ),
    without(
        4,
        "a replacement is drawn anew",
        (
            "stages.py",
            "lot = step.draw or draw(terms.secret, run.run, step.turn, terms.rate)",
            "lot = draw(terms.secret, run.run, step.turn + 999 * moment.attempt, terms.rate)",
        ),
    ),
    without(
        4,
        "the secret stands in the run's first event",
        ("opening.py", "committed=digest_bytes(secret)", "committed=secret.hex()"),
    ),
    without(
        1,
        "a project is taken for what it said the first time",
        ("opening.py", "if made is None or made.said != said:", "if made is None:"),
        test="run/test_taking_up.py",
    ),
    without(
        4,
        "the draw follows from what anyone knows",
        ("gate/draw.py", "mac = hmac.digest(secret,", 'mac = hmac.digest(b"public",'),
    ),
    without(
        4,
        "one run's secret is every run's",
        (
            "gate/draw.py",
            'return hmac.digest(master, f"draw/{run}".encode(), "sha256")',
            "return master",
        ),
    ),
    without(
        4,
        "the history tells why a step was let through",
        (
            "history.py",
            'self._complete(self.step, "proceed", body.outcome)',
            "self._complete(self.step, self.step.decision.reason, body.outcome)",
        ),
    ),
    without(
        4,
        "every moment is asked about, drawn or not",
        ("gate/gates.py", "        if draw.drawn:\n", "        if True:\n"),
    ),
    # candidates
    without(
        4,
        "a replacement is compared with others too",
        (
            "candidates.py",
            "        and step.moment.attempt == 0  # a `modify` has none but its own\n",
            "",
        ),
        test="run/test_candidates.py",
    ),
    without(
        4,
        "candidates are thought though nothing was drawn",
        ("candidates.py", "        and step.draw.drawn\n", ""),
        test="run/test_candidates.py",
    ),
    without(
        4,
        "candidates are thought before the draw",
        (
            "candidates.py",
            "        and step.draw is not None\n        and step.draw.drawn\n",
            "        and (step.draw is None or step.draw.drawn)\n",
        ),
        (
            "loop.py",
            "        if step.moment is None:\n            self.stages.seal(step)\n"
            '            return ""\n        if due(progress):\n',
            "        if step.moment is None:\n            self.stages.seal(step)\n"
            "            self.progress.step.draw = None\n"
            '            return ""\n        if due(progress):\n',
        ),
        test="run/test_candidates.py",
    ),
    without(
        4,
        "a set of candidates is thought again and sealed twice",
        ("candidates.py", "        and step.candidates is None\n", ""),
        test="run/test_candidates.py::test_killed_after_the_seal_the_same_set_is_judged",
    ),
    without(
        4,
        "candidates begin in the state that the first one left",
        (
            "candidates.py",
            "        return progress.step.left\n",
            "        return progress.box, progress.state\n",
        ),
        test="run/test_candidates.py",
    ),
    without(
        4,
        "fewer candidates are sealed than were declared",
        ("candidates.py", "        if len(self._had) < wanted:\n", "        if False:\n"),
        test="run/test_candidates.py",
    ),
    without(
        4,
        "candidates may be missing where they were declared",
        (
            "verify/candidates.py",
            "return case.opened.candidates is not None and lot.drawn and step.attempt == 0",
            "return False",
        ),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        4,
        "candidates may be sealed where nothing was drawn",
        ("verify/candidates.py", " and lot.drawn and step", " and step"),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        4,
        "candidates may be sealed beside a replacement",
        ("verify/candidates.py", " and lot.drawn and step.attempt == 0", " and lot.drawn"),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        4,
        "candidates of another moment count",
        ("verify/candidates.py", "    if body.moment != step.sealed:\n", "    if False:\n"),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        4,
        "any number of candidates counts",
        (
            "verify/candidates.py",
            "    if count + len(body.missing) != declared:\n",
            "    if False:\n",
        ),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        4,
        "candidates may come from nowhere",
        (
            "verify/candidates.py",
            "    if body.before is None and body.candidates:\n",
            "    if False:\n",
        ),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        4,
        "candidates may come from another state than the thought",
        ("verify/candidates.py", " and body.before != before:\n", " and False:\n"),
        test="verify/test_sealed_candidates.py",
    ),
    # ---------------------------------------------------------------- 5, failure is suspicion
    without(
        5,
        "a failure is no suspicion",
        (
            "step.py",
            '"""Failure is suspicion."""\n        return 1.0',
            '"""Failure is nothing."""\n        return 0.0',
        ),
    ),
    without(
        5,
        "an abstention is half a suspicion",
        (
            "step.py",
            "        if self.score is None:\n            return 1.0",
            "        if self.score is None:\n            return 0.5",
        ),
    ),
    without(
        5,
        "a verdict on another moment counts",
        ("audit/asking.py", "        and verdict.moment == moment\n", ""),
    ),
    without(
        5,
        "a verdict under another name counts",
        (
            "audit/asking.py",
            "        verdict.auditor == auditor.name\n        and verdict.role",
            "        verdict.role",
        ),
    ),
    without(
        5,
        "a verdict is whatever object an auditor makes",
        ("audit/asking.py", "verdict = Verdict.parse(written)", "verdict = answer"),
    ),
    without(
        5,
        "a late answer counts",
        ("audit/asking.py", "if time.monotonic() >= due:", "if False:"),
    ),
    without(
        5,
        "a crash is nobody's answer",
        (
            "audit/asking.py",
            'return failed("crashed", "moment", told(error))',
            "raise",
        ),
    ),
    without(
        5,
        "silence waits for ever",
        ("judging.py", "            if seconds <= 0:\n", "            if False:\n"),
    ),
    without(
        5,
        "a verdict after the deadline is heard",
        ("history.py", "or event.at <= deadline", "or True"),
    ),
    without(
        5,
        "a teacher may see the thought",
        (
            "audit/asking.py",
            "(seen := auditor.sees & HIDDEN_FROM_TEACHERS)",
            "(seen := frozenset())",
        ),
    ),
    without(
        5,
        "a no is taken back by a yes",
        (
            "gate/answers.py",
            "    for answer in verdicts:\n",
            "    for answer in reversed(verdicts):\n",
        ),
    ),
    without(
        5,
        "a no under keys is outvoted",
        (
            "gate/keys.py",
            "        if no := [answer for answer in others if answer not in instead]:\n",
            "        if no := []:\n",
        ),
        (
            "gate/keys.py",
            "if len(said) >= self.needs:",
            "if len(said) - len(others) >= self.needs:",
        ),
    ),
    without(
        5,
        "one signature is enough",
        ("gate/keys.py", "if len(said) >= self.needs:", "if len(said) >= 1:"),
    ),
    without(
        5,
        "candidates may be ranked unseen",
        (
            "verify/candidates.py",
            "    if card is not None and Evidence.CANDIDATES not in card.sees:\n",
            "    if False:\n",
        ),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        5,
        "a ranking may leave candidates out",
        (
            "verify/candidates.py",
            "    if len(each) != step.candidates:\n",
            "    if False:\n",
        ),
        test="verify/test_sealed_candidates.py",
    ),
    without(
        5,
        "a ranking of other candidates than were shown is heard",
        (
            "audit/asking.py",
            "    if each is not None and len(each) != count:\n",
            "    if False:\n",
        ),
        test="run/test_candidates.py",
    ),
    # ---------------------------------------------------------------- 6, one source of signal
    without(
        6,
        "a reward is part of a lesson's context",
        (
            "learn/lessons.py",
            'batch.columns("context", "carried").items()',
            'batch.columns("context", "carried", "reward").items()',
        ),
    ),
    without(
        6,
        "a teacher is shown what came of the step",
        (
            "learn/sealing.py",
            'if one.part in ("context", "span", "candidates") and',
            'if one.part in ("context", "span", "candidates", "reward") and',
        ),
    ),
    without(
        8,
        "a teacher is shown what the thinker carries over",
        (
            "learn/sealing.py",
            'if one.part in ("context", "span", "candidates") and',
            'if one.part in ("context", "carried", "span", "candidates") and',
        ),
    ),
    without(
        6,
        "only what was approved of is a lesson",
        (
            "learn/lessons.py",
            "rows_L = np.flatnonzero(drawn_R)",
            'rows_L = np.flatnonzero(drawn_R & (batch.columns("approval")["approval"] > 0))',
        ),
    ),
    without(
        6,
        "what was approved of weighs more",
        (
            "learn/lessons.py",
            "weight_L=1.0 / np.asarray(rate_R, float)[rows_L],",
            "weight_L=(1.0 / np.asarray(rate_R, float) + np.asarray(approval, float))[rows_L],",
        ),
    ),
    without(
        6,
        "a batch is learned from before it is durable",
        (
            "learn/sealing.py",
            "    pen.log(sealed)\n    await pen.commit()\n    heard = None",
            "    pen.log(sealed)\n    heard = None",
        ),
    ),
    without(
        6,
        "any seed may be trained",
        ("learn/plan.py", "    if seed not in plan.seeds:\n", "    if False:\n"),
    ),
    without(
        6,
        "a verdict after the act teaches",
        ("learn/live.py", "        if step.acted:\n", "        if False:\n"),
    ),
    without(
        6,
        "runs may be picked",
        ("learn/live.py", "        if picked < len(of):\n", "        if False:\n"),
    ),
    without(
        6,
        "a sibling may be missing",
        (
            "verify/certificate.py",
            "        if not seen.get(seed):\n",
            "        if not seen.setdefault(seed, 1):\n",
        ),
    ),
    without(
        6,
        "a thinker may be chosen by outcome",
        (
            "verify/certificate.py",
            'if choice.by in ("outcome", "approval") and',
            "if choice.by in () and",
        ),
    ),
    without(
        6,
        "what learned from outcomes is certified",
        (
            "verify/certificate.py",
            'if course.plan.signal == "outcome" or course.outcome:',
            "if False:",
        ),
    ),
    without(
        6,
        "some lessons may be left out",
        (
            "verify/simulated.py",
            "if body.taken != body.admissible or (body.refused and body.batch is not None):",
            "if False:",
        ),
    ),
    without(
        6,
        "a signal may be forbidden and learned from",
        (
            "learn/restrictions.py",
            "    if limits.signals is not None and signal not in limits.signals:\n",
            "    if False:\n",
        ),
    ),
    without(
        6,
        "a row may tell what was redacted",
        ("learn/drawn.py", "                if known.redacted:\n", "                if False:\n"),
    ),
    without(
        6,
        "a row may repeat the request that tells what was redacted before its step",
        ("learn/before.py", "redacted = redacted or _gone(ledger, body)", "redacted = False"),
    ),
    without(
        6,
        "a row may tell a candidate whose thought was redacted",
        ("learn/before.py", "found[body.moment].redacted |= _gone(ledger, body)", "pass"),
    ),
    without(
        6,
        "answers to different prompts are compared",
        ("learn/trl_rows.py", "if one.asked != other.asked:", "if False:"),
        test="learn/test_trl_rows.py",
    ),
    without(
        6,
        "a tie prefers the second",
        (
            "learn/preferring.py",
            "if approval_K[one] == approval_K[other]:",
            "if approval_K[one] is None:",
        ),
        test="learn/test_trl_rows.py",
    ),
    without(
        6,
        "an exchange may end in another step than the ledger's",
        (
            "learn/drawn.py",
            "self._propose(drawn.before)) != proposal:",
            "self._propose(drawn.before)) is ...:",
        ),
        test="learn/test_trl_rows.py",
    ),
    without(
        6,
        "whoever has a person's name demonstrates",
        ("learn/live.py", "body.thinking == digest_value(said)", "bool(said)"),
        test="learn/test_trl_rows.py",
    ),
    without(
        6,
        "a person's own step teaches where only approvals may",
        (
            "learn/live.py",
            'self._lifted), "demonstration"):\n            self._refuse(self._thinks',
            'self._lifted), "approval"):\n            self._refuse(self._thinks',
        ),
        test="learn/test_trl_rows.py",
    ),
    without(
        6,
        "unequal weights are fitted as if they were equal",
        ("learn/with_trl.py", "    if not unweighted:\n", "    if False:\n"),
        test="learn/test_with_trl.py",
    ),
    without(
        6,
        "any signal is fitted",
        ("learn/with_trl.py", "    check_signal(limits, lessons[0].signal)\n", ""),
        test="learn/test_with_trl.py",
    ),
    without(
        6,
        "a row is fitted though the model has no room for it",
        ("learn/trl_trainer.py", "len(whole) > room:", "len(whole) < 0:"),
        test="learn/test_with_trl.py",
    ),
    without(
        6,
        "TRL cuts rows",
        ("learn/trl_trainer.py", "        max_length=None,\n", ""),
        test="learn/test_with_trl.py",
    ),
    without(
        6,
        "lessons of live moments may be picked",
        ("verify/simulated.py", "if body.taken != body.admissible or (", "if ("),
        test="verify/test_live_lessons.py",
    ),
    without(
        6,
        "lessons of live moments may be taken and not learned from",
        ("verify/simulated.py", "        if self._live is not None:\n", "        if False:\n"),
        test="verify/test_live_lessons.py",
    ),
    # ---------------------------------------------------------------- 7, credit stops
    without(
        7,
        "every later signal is credited",
        ("learn/boundary.py", "        if self.closed:\n            return signal_NT\n", ""),
        ("learn/boundary.py", "range(1, min(self.horizon or steps, steps))", "range(1, steps)"),
    ),
    without(
        7,
        "an open boundary passes for a closed one",
        ("learn/boundary.py", "return self.horizon == 1", "return True"),
    ),
    without(
        7,
        "what is carried is not cut",
        (
            "learn/boundary.py",
            "            return carried.detach()\n",
            "            return carried\n",
        ),
    ),
    without(
        7,
        "lessons share a mean weight",
        ("learn/boundary.py", ".sum() / population", ".sum() / weight_L.sum()"),
    ),
    without(
        7,
        "lessons share a mean loss",
        (
            "learn/boundary.py",
            "return (losses_L * weight_L).sum()",
            "return ((losses_L - losses_L.mean()) * weight_L).sum()",
        ),
    ),
    without(
        7,
        "a row of an export tells how many there are",
        (
            "learn/export.py",
            "arrays.items()})\n\n\ndef _line",
            'arrays.items()} | {"of": len(arrays["weight"])})\n\n\ndef _line',
        ),
    ),
    without(
        7,
        "advantages are centred on the batch",
        (
            "learn/ppo.py",
            "steps, advantage_L = arrays, target_L - value",
            "steps, advantage_L = arrays, target_L - target_L.mean()",
        ),
    ),
    without(
        7,
        "the gradient's norm is clipped for the batch",
        (
            "learn/ppo.py",
            "            loss.backward()\n",
            "            loss.backward()\n"
            "            nn.utils.clip_grad_norm_(self.policy.parameters(), 0.5)\n",
        ),
    ),
    without(
        7,
        "a prompt's keys and values are no constants",
        (
            "learn/token_policy.py",
            "self.boundary.cut([(one.keys, one.values) for one in before.layers])",
            "[(one.keys, one.values) for one in before.layers]",
        ),
    ),
    without(
        7,
        "a history takes a gradient though it is a state",
        (
            "learn/step_grpo.py",
            'torch.is_grad_enabled() and objective.boundary == "text"',
            "torch.is_grad_enabled()",
        ),
        test="learn/test_step_grpo.py",
    ),
    without(
        7,
        "a moment is divided by the tokens of others",
        (
            "learn/step_grpo.py",
            "loss / (moments * len(logps) * objective.most)",
            "loss / tokens",
        ),
        test="learn/test_step_grpo.py",
    ),
    without(
        7,
        "what a tool answered takes credit",
        (
            "learn/step_grpo.py",
            "part[own.to(part.device)] for part, own in zip(parts, self.own, strict=True)",
            "part for part, own in zip(parts, self.own, strict=True)",
        ),
        test="learn/test_tokens.py",
    ),
    without(
        7,
        "replies that do not go on from one another are one text",
        (
            "learn/tokens.py",
            "reply.prompt[: len(before)] != before or reply.weights != first.weights",
            "False",
        ),
        test="learn/test_tokens.py",
    ),
    without(
        6,
        "what other weights sampled is learned from",
        ("learn/grouping.py", "weights is not None and one.weights != weights", "False"),
        test="learn/test_grouping.py",
    ),
    without(
        6,
        "candidates that were told different things are compared",
        ("learn/grouping.py", "if len({one.prompt for one in thoughts}) > 1:", "if False:"),
        test="learn/test_grouping.py",
    ),
    without(
        8,
        "a guard teaches a language model",
        (
            "learn/alternating.py",
            "limits.roles is not None and found.role not in limits.roles",
            "False",
        ),
        test="learn/test_alternating.py",
    ),
    without(
        9,
        "a checkpoint of other weights is gone on from",
        ("learn/language.py", "(found := weights_of(folder)) != digest", "not weights_of(folder)"),
        test="learn/test_alternating.py",
    ),
    without(
        4,
        "two candidates are sampled by one seed",
        ("candidates.py", "number = 1 + len(self._had)", "number = 1"),
        test="model/test_chance.py",
    ),
    without(
        2,
        "what others say writes control tokens",
        ("model/wording.py", "sanitize_control_tokens=True", "sanitize_control_tokens=False"),
        test="model/test_local.py",
    ),
    without(
        9,
        "a block that was kept is read at any length",
        ("model/kept.py", "whole = most // BLOCK * BLOCK", "whole = most"),
        test="model/test_chance.py",
    ),
    without(
        7,
        "candidates are held against a fixed mark instead of each other",
        ("learn/step_grpo.py", "value - value.mean()", "value - 0.5"),
        test="learn/test_step_grpo.py",
    ),
    without(
        7,
        "a state is carried past the boundary",
        (
            "learn/recurrent.py",
            "            carried_NC = self.state.cut(carried_NC)\n",
            "",
        ),
    ),
    without(
        7,
        "a row in words tells the history to the run's end",
        (
            "learn/in_words.py",
            "history.last(min(len(history), ENTRIES))",
            "[history._read(one)[0] for one in history._progress.recent]",
        ),
    ),
    without(
        7,
        "a line of PRM800K tells the chain to the run's end",
        (
            "learn/prm800k_lines.py",
            "history.last(len(history))",
            "[history._read(one)[0] for one in history._progress.recent]",
        ),
    ),
    # ---------------------------------------------------------------- 8, guards
    without(
        8,
        "a guard may teach",
        (
            "learn/sealing.py",
            "    if limits.roles is not None and teacher.role not in limits.roles:\n",
            "    if False:\n",
        ),
    ),
    without(
        8,
        "a teacher may see thoughts",
        (
            "learn/sealing.py",
            "(seen := teacher.sees & set(limits.unseen))",
            "(seen := frozenset())",
        ),
    ),
    without(
        8,
        "what was not declared does not hold",
        ("learn/restrictions.py", "[*held, TEACHERS_ONLY]", "held"),
    ),
    without(
        8,
        "one key is enough",
        ("learn/restrictions.py", "if len(signed) < lifting.needs:", "if not signed:"),
    ),
    without(
        8,
        "a signature need not be one",
        ("learn/restrictions.py", " and keys[one.key].verifies(note, one.value)", ""),
    ),
    without(
        8,
        "lifting leaves no event",
        ("learn/training.py", "        pen.log(lifting)\n", "        pass\n"),
    ),
    without(
        8,
        "a live guard teaches",
        ("learn/live.py", '            return "by a guard"\n', "            pass\n"),
    ),
    without(
        8,
        "a guard may choose which moments teach",
        ("learn/live.py", '            return "a guard stood before it"\n', "            pass\n"),
    ),
    without(
        8,
        "a live teacher may see thoughts",
        (
            "learn/live.py",
            '            return "saw what no teacher may see"\n',
            "            pass\n",
        ),
    ),
    without(
        8,
        "a live teacher may be trained anywhere",
        (
            "learn/live.py",
            '            return "trained on what this ledger does not hold"\n',
            "            pass\n",
        ),
    ),
    without(
        8,
        "lessons of a guard are certified",
        (
            "verify/simulated.py",
            'case.found(8, f"lessons of {card.name}, a {card.role}")',
            "pass",
        ),
    ),
    without(
        8,
        "provenance ends at the first teacher",
        ("verify/certificate.py", "                ahead.append(source)\n", ""),
    ),
    without(
        8,
        "what was lifted is certified",
        ("verify/certificate.py", "    if PROCESS.name in course.lifted:\n", "    if False:\n"),
    ),
    without(
        8,
        "a guard's lessons are fitted",
        ("learn/with_trl.py", "card.role not in limits.roles:", "card.role is None:"),
        test="learn/test_with_trl.py",
    ),
    without(
        8,
        "a guard's lessons of live moments are learned unnoticed",
        (
            "verify/simulated.py",
            "elif self._limits.roles is not None and card.role not in self._limits.roles:",
            "elif False:",
        ),
        test="verify/test_live_lessons.py",
    ),
    # ---------------------------------------------------------------- trained auditors
    without(
        8,
        "a trained teacher's rows need not be lessons",
        ("learn/provenance.py", "        return once and all(", "        return True or all("),
    ),
    without(
        8,
        "a trained teacher may have counted a lesson twice",
        ("learn/provenance.py", "        return once and all(", "        return all("),
    ),
    without(
        8,
        "a thinker may rest on a trained guard",
        (
            "verify/certificate.py",
            "if one.becomes is Role.GUARD:",
            "if False:",
        ),
    ),
    without(
        8,
        "whoever trains a teacher is held to what holds of guards",
        ("learn/restrictions.py", "    if becomes is Role.GUARD:\n", "    if True:\n"),
    ),
    without(
        8,
        "labels of a guard make a teacher",
        (
            "audit/judgement.py",
            "        if self.role is not self.labels.role:\n",
            "        if False:\n",
        ),
        test="learn/test_trained_auditors.py",
    ),
    without(
        8,
        "labels that saw a thought make a teacher",
        ("audit/judgement.py", "HIDDEN_FROM_TEACHERS & set(self.labels.saw)", "False"),
        test="learn/test_trained_auditors.py",
    ),
    without(
        8,
        "a trained auditor is a base for another",
        (
            "learn/auditors.py",
            'if (folder / CARD).exists() or "SequenceClassification" in kinds:',
            "if False:",
        ),
        test="learn/test_trained_auditors.py",
    ),
    without(
        6,
        "runs that measure are trained on",
        ("learn/held_out.py", "frozenset(drawn[2 * count :])", "frozenset(drawn)"),
        test="learn/test_trained_auditors.py",
    ),
    without(
        6,
        "what the lottery drew seldom counts once",
        ("learn/verdicts.py", "1 / body.rate if sampled and body.rate else 1.0", "1.0"),
        test="learn/test_trained_auditors.py",
    ),
    without(
        6,
        "planted steps train guards",
        ("learn/verdicts.py", "if row.moment not in planted and (", "if ("),
        test="learn/test_trained_auditors.py",
    ),
    without(
        5,
        "a trained auditor's files may be others",
        ("audit/judgement.py", "        if held[name] != digest:\n", "        if False:\n"),
        test="audit/test_trained_auditor.py",
    ),
    without(
        5,
        "a trained auditor reads the beginning of what is too long",
        (
            "audit/trained.py",
            "return found if 0 < len(found) <= self.window else None",
            "return found[: self.window]",
        ),
        test="audit/test_trained_auditor.py",
    ),
    without(
        5,
        "no number is a verdict",
        ("audit/trained.py", "if not all(map(math.isfinite, numbers)):", "if False:"),
        test="audit/test_trained_auditor.py",
    ),
    without(
        5,
        "whoever cannot load its weights blames the moment",
        ("audit/trained.py", "raise OSError(str(error)) from None", "raise"),
        test="audit/test_trained_auditor.py",
    ),
    without(
        11,
        "calibration may turn an order round",
        (
            "measure/calibration.py",
            "bounds=[(0, None), (None, None)]",
            "bounds=[(None, None), (None, None)]",
        ),
        test="measure/test_calibration.py",
    ),
    # ---------------------------------------------------------------- 9, nothing lost or twice
    without(
        9,
        "an act begins before its start is durable",
        ("act/performing.py", "    await journal.commit()\n    try:", "    try:"),
    ),
    without(
        9,
        "whoever is outside hears of an outcome before it is durable",
        (
            "stages.py",
            '"outside", True):\n            return False',
            '"outside", True):\n            pass',
        ),
        test="run/test_loop.py",
    ),
    without(
        9,
        "an interruption loses what was done",
        (
            "loop.py",
            "                await self.journal.commit()\n            raise\n",
            "                pass\n            raise\n",
        ),
        test="run/test_loop.py",
    ),
    without(
        9,
        "an act in doubt waits for the next commit",
        ("stages.py", "if isinstance(record.body, ActInDoubt) or not", "if not"),
        test="run/test_loop.py",
    ),
    without(
        9,
        "an act in doubt is tried again",
        (
            "loop.py",
            "        if step is not None and step.started:\n",
            "        if False:\n",
        ),
        ("loop.py", "        if step.started:  # another", "        if step.in_doubt:  # another"),
    ),
    without(
        9,
        "acts in doubt are not listed",
        ("waiting.py", "    if step.started:\n", "    if False:\n"),
    ),
    without(
        9,
        "the box begins empty again",
        (
            "loop.py",
            "saved = self.ledger.get(archive) if archive else None\n",
            "saved = None\n",
        ),
    ),
    without(
        9,
        "a run that waits keeps its last verdicts to itself",
        (
            "judging.py",
            "        if waits_for:\n            await self._standing.journal.commit()",
            "        if False:\n            pass",
        ),
    ),
    without(
        9,
        "another hand's events are written over",
        ("ledger/store.py", "            if seq != following:\n", "            if False:\n"),
    ),
    without(
        9,
        "two workers claim one run at once",
        ("ledger/claims.py", "first.with_for_update(skip_locked=True)", "first"),
        test="ledger/test_claims.py",
    ),
    without(
        9,
        "a worker may change what it claimed once",
        (
            "ledger/claims.py",
            'still = (work.state == "held", work.generation == held.generation)',
            'still = (work.state == "held",)',
        ),
        test="ledger/test_claims.py",
    ),
    without(
        9,
        "what a worker holds is taken from it",
        (
            "ledger/claims.py",
            'sa.and_(work.state == "held", work.until < clock)',
            'work.state == "held"',
        ),
        test="ledger/test_claims.py",
    ),
    without(
        9,
        "a run sleeps through what is written to it",
        ("ledger/claims.py", "sa.or_(work.wake <= clock, written)", "work.wake <= clock"),
        test="ledger/test_claims.py",
    ),
    without(
        9,
        "a worker goes on with a run that another has claimed",
        ("worker.py", "self._stop.is_set() or not self._ours(held)", "self._stop.is_set()"),
        test="run/test_worker.py",
    ),
    without(
        9,
        "a commit whose answer is lost counts as not written",
        ("ledger/store.py", " or not self._stands(written.rows):", " or True:"),
        test="ledger/test_postgres.py",
    ),
    without(
        9,
        "a connection that was lost is used again",
        (
            "ledger/store.py",
            "                if connection.invalidated:",
            "                if False:",
        ),
        test="ledger/test_postgres.py",
    ),
    without(
        9,
        "a connection with answers to come is used again",
        (
            "ledger/postgres.py",
            "                if writing.under_way:",
            "                if False:",
        ),
        test="ledger/test_postgres.py",
    ),
    without(
        9,
        "what was seen before a connection was lost is there",
        (
            "ledger/store.py",
            "            if group.rests_on not in (None, connection):",
            "            if False:",
        ),
        test="ledger/test_postgres.py",
    ),
    without(
        9,
        "what was at hand before a connection was lost is at hand",
        ("ledger/store.py", "                self._recent = Recent()\n", "                pass\n"),
        test="ledger/test_postgres.py",
    ),
    without(
        9,
        "a server's ledger is let go of under those who write to it",
        (
            "ledger/postgres.py",
            "while connection.exec_driver_sql(_OTHERS).scalar():",
            "while False:",
        ),
        test="ledger/test_archives.py",
    ),
    without(
        9,
        "a server that does not sync is believed",
        ("ledger/postgres.py", 'if row is None or row[:2] != ("on", "on"):', "if False:"),
        test="ledger/test_postgres.py",
    ),
    without(
        9,
        "SQLite writes over a network",
        ("ledger/sqlite.py", "not readonly and (kind := network(path))", '(kind := "")'),
        test="ledger/test_migrating.py",
    ),
    without(
        9,
        "an older ledger is written as if it were today's",
        ("ledger/database.py", "        if self.revision != REVISION:\n", "        if False:\n"),
        test="ledger/test_migrating.py",
    ),
    without(
        9,
        "a half-migrated ledger is taken for a whole one",
        (
            "ledger/database.py",
            "        for table in sorted(newer & shape.keys()):",
            "        for table in ():",
        ),
        (
            "ledger/database.py",
            "        if len(rows) != 1:\n",
            "        if not rows:\n            return REVISION\n        if False:\n",
        ),
        test="ledger/test_migrating.py",
    ),
    without(
        9,
        "time already spent is forgotten",
        ("history.py", "Usage.total((self.spent, body.usage))", "body.usage"),
    ),
    # in a process of its own, and beside the acts
    without(
        9,
        "what was started before an executor began is begun again",
        (
            "act/redeeming.py",
            "            if standing.taken or standing.started < self._began:\n",
            "            if standing.taken:\n",
        ),
        test="act/test_remote.py",
    ),
    without(
        9,
        "a ticket is taken twice",
        (
            "act/redeeming.py",
            "            if standing.taken or standing.started < self._began:\n",
            "            if standing.started < self._began:\n",
        ),
        test="act/test_remote.py",
    ),
    without(
        9,
        "an act is begun though its run has gone on",
        (
            "act/redeeming.py",
            "            if last != standing.issue + 1:\n",
            "            if False:\n",
        ),
        test="act/test_remote.py",
    ),
    without(
        9,
        "an executor remembers every run that has ended",
        (
            "act/redeeming.py",
            "                del self._runs[event.run]\n",
            "                pass\n",
        ),
        test="act/test_remote.py",
    ),
    without(
        9,
        "a request that was begun has failed",
        (
            "act/http.py",
            'begun = begun or event == "http11.send_request_headers.started"',
            "begun = False",
        ),
        test="act/test_http.py",
    ),
    without(
        9,
        "a request that was never begun is in doubt",
        ("act/http.py", "        begun = False\n\n", "        begun = True\n\n"),
        test="act/test_http.py",
    ),
    without(
        9,
        "a mail that was begun has failed",
        ("act/mail.py", "            sending.begun = True\n", ""),
        test="act/test_mail.py",
    ),
    without(
        9,
        "a mail that was never begun is in doubt",
        ("act/mail.py", "    begun = False\n    answered", "    begun = True\n    answered"),
        test="act/test_mail.py",
    ),
    without(
        9,
        "a command that was sent has failed",
        ("act/ssh.py", "            sending.begun = True\n", ""),
        test="act/test_ssh.py",
    ),
    without(
        9,
        "a command that was never sent is in doubt",
        (
            "act/ssh.py",
            '    begun = False\n    other_key = ""',
            '    begun = True\n    other_key = ""',
        ),
        test="act/test_ssh.py",
    ),
    without(
        9,
        "a command that is refused a channel is in doubt",
        (
            "act/ssh.py",
            " and not isinstance(error, asyncssh.ChannelOpenError):",
            ":",
        ),
        test="act/test_ssh.py",
    ),
    without(
        9,
        "a connection that ends before its command has failed",
        ("act/ssh.py", "        if code is None and killed is None:\n", "        if False:\n"),
        test="act/test_ssh.py",
    ),
    without(
        9,
        "a thought that failed is had again",
        (
            "stages.py",
            "        if progress.failed is not None:\n",
            "        if progress.closed is not None:\n",
        ),
        test="run/test_failed_thoughts.py",
    ),
    without(
        9,
        "what was said before time ran out is lost",
        (
            "thinking.py",
            "            except BaseException as error:",
            "            except Exception as error:",
        ),
        test="run/test_failed_thoughts.py",
    ),
    without(
        9,
        "what a model said in vain is lost",
        ("think/model.py", "            leave(error, thinking.so_far().then(left(error)))\n", ""),
        test="run/test_failed_thoughts.py",
    ),
    without(
        9,
        "what an auditor said in vain is lost",
        (
            "audit/asking.py",
            "            except BaseException as error:",
            "            except OSError as error:",
        ),
        test="audit/test_failed_audits.py",
    ),
    without(
        9,
        "a reply that may hold the key is kept",
        (
            "model/served.py",
            "            if self._key is None:  # nobody",
            "            if True:  # nobody",
        ),
        test="run/test_failed_thoughts.py",
    ),
    without(
        9,
        "a run goes on after a thought that failed",
        (
            "verify/live.py",
            "        self._due = Due.FAILED\n",
            "        self._due = Due.THOUGHT\n",
        ),
        test="verify/test_conduct.py",
    ),
    *(
        without(9, what, (file, old, new), test="verify/test_savepoints.py")
        for what, file, old, new in (
            (
                "a savepoint may say anything",
                "verify/savepoints.py",
                "if digest_bytes(due) != body.savepoint:",
                "if False:",
            ),
            (
                "a run may be saved as late as one likes",
                "verify/savepoints.py",
                "if case.length - self._kept > ENTRIES:",
                "if False:",
            ),
            (
                "a run may be taken up from any savepoint",
                "verify/savepoints.py",
                "if body.savepoint != self._newest:",
                "if False:",
            ),
            (
                "a run may be saved in the middle of a step",
                "verify/live.py",
                '"run.saved": (Due.THOUGHT,)',
                '"run.saved": tuple(Due)',
            ),
        )
    ),
    *(
        without(number, what, (f"learn/{file}", old, new), test=f"learn/test_{test}.py")
        for number, what, file, old, new, test in (
            (
                6,
                "a worker carries runs with other weights than it was told",
                "with_ray.py",
                "elif learner.given.digest != due.weights:",
                "elif False:",
                "with_ray",
            ),
            (
                6,
                "a worker carries runs in another ledger",
                "with_ray.py",
                "if self.ledger.origin != due.ledger:",
                "if False:",
                "with_ray",
            ),
            (
                7,
                "the gradients of processes that learn together are averaged",
                "with_accelerate.py",
                'reduce(given.float(), "sum")',
                'reduce(given.float(), "mean")',
                "with_accelerate",
            ),
        )
    ),
    *(
        without(9, what, (file, old, new), test="run/test_saved_runs.py")
        for what, file, old, new in (
            (
                "a savepoint forgets what thinking has cost",
                "history.py",
                "list(point.frames), point.spent",
                "list(point.frames), Usage()",
            ),
            (
                "a savepoint forgets the keys of the run",
                "history.py",
                "        for key in point.keys:\n",
                "        for key in ():\n",
            ),
            (
                "whoever takes a run up goes on before its last events",
                "history.py",
                "    for event in reversed(events):\n        progress.apply(event)\n",
                "    for event in reversed(events[1:]):\n        progress.apply(event)\n",
            ),
            (
                "a savepoint may tell of another past",
                "ledger/savepoint.py",
                "if (history, before) != (point.history, point.before):",
                "if False:",
            ),
            (
                "who judges is shown any history",
                "waiting.py",
                "if step.moment.history != progress.history:",
                "if False:",
            ),
            (
                "an event is read in another's place",
                "ledger/store.py",
                "if (event.run, event.seq) != (run, seq):",
                "if False:",
            ),
            (
                "what is no savepoint is passed over",
                "history.py",
                '        raise LedgerError(f"run {run}: its savepoint cannot',
                '        return False\n        raise LedgerError(f"run: its savepoint cannot',
            ),
        )
    ),
    # ---------------------------------------------------------------- 10, anyone can check
    without(
        10,
        "an event need not hash to its leaf",
        ("verify/rows.py", "        if leaf_hash(data) != leaf:\n", "        if False:\n"),
    ),
    without(
        10,
        "a number that is read at one look may be beyond what every reader keeps",
        ("ledger/exact.py", '|-?[1-8][0-9]{15})"', '|-?[1-9][0-9]{15,})"'),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "what is read at one look may have any body",
        ("ledger/exact.py", "_use_prebuilt=False", "_use_prebuilt=True"),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "what is read at one look may leave a field out",
        (
            "ledger/exact.py",
            '        return pair + _form(schema["schema"])\n',
            "        return f\"(?:{pair}{_form(schema['schema'])})?\"\n",
        ),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "what is read at one look may be written in another way",
        ("ledger/exact.py", "self.written.fullmatch(data)", 're.match(b"", data)'),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "a small number may be read at one look however it is spelled",
        ("ledger/exact.py", r"|0\.0{0,5}[1-9](?:", r"|0\.0{0,9}[1-9](?:"),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "bytes may be read at one look in another alphabet",
        ("ledger/exact.py", "(?:[A-Za-z0-9+/]{4})*", "(?:[A-Za-z0-9+/_-]{4})*"),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "a number that is read at one look may be written at any length",
        ("ledger/exact.py", 'if b"." in real and repr(float(real)).encode() != real:', "if False:"),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "what is read at one look may hold what is escaped",
        ("ledger/exact.py", " or _BACKSLASH in data:", ":"),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "what is read at one look may hold what is tagged",
        ("ledger/exact.py", '"(?!~)[^"]*"', '"[^"]*"'),
        test="ledger/test_exact.py",
    ),
    without(
        10,
        "an event need not hash to its leaf where a page is compared",
        (
            "verify/rows.py",
            " == [row[3] for row in rows]\n",
            " is not None\n",
        ),
        test="verify/test_integrity_alone.py",
    ),
    without(
        10,
        "a row may stand under another run where a page is compared",
        ("verify/rows.py", "not data.endswith(end + number)", "False"),
        test="verify/test_integrity_alone.py",
    ),
    without(
        10,
        "events of a run may be missing where a page is compared",
        ("verify/rows.py", "            if seq != due or type", "            if type"),
        test="verify/test_integrity_alone.py",
    ),
    without(
        10,
        "any number of bytes is read ahead",
        ("ledger/evidence.py", "        if room < 0:\n", "        if False:\n"),
        test="verify/test_integrity_alone.py",
    ),
    without(
        10,
        "what is damaged is read to its end, if it has one",
        (
            "verify/verification.py",
            "                break  # there may be no end to what is damaged\n",
            "                pass\n",
        ),
        test="verify/test_integrity_alone.py",
    ),
    without(
        10,
        "an event may be lost where the work is cut",
        (
            "verify/several.py",
            "        if share.leaves != leaves[future]:\n",
            "        if not share.leaves:\n",
        ),
        test="verify/test_several.py",
    ),
    without(
        9,
        "a ticket may be redeemed in two runs that two processes examine",
        ("verify/several.py", "    if redeemed != len(seen.redeemed) or ", "    if "),
        test="verify/test_several.py",
    ),
    without(
        6,
        "runs that train are examined apart from their siblings",
        ("verify/several.py", "findings.total or conduct.trains or not", "findings.total or not"),
        test="verify/test_several.py",
    ),
    without(
        10,
        "a process believes content that it did not compare",
        ("verify/several.py", "hashed=False", "hashed=True"),
        test="verify/test_several.py",
    ),
    without(
        10,
        "content that is missing for one process is missing for nobody",
        ("verify/several.py", "contents.add(share.absent, ", "contents.add(frozenset(), "),
        test="verify/test_several.py",
    ),
    without(
        2,
        "a ticket put together from what is written may bear any name",
        (
            "verify/tickets.py",
            "            if _named(self._case.run, body, written) != body.ticket:\n",
            "            if False:\n",
        ),
        test="verify/test_conduct.py",
    ),
    without(
        10,
        "a root need not be that of the tree",
        (
            "verify/integrity.py",
            "        if claim.root != self._tree.root():\n",
            "        if False:\n",
        ),
    ),
    without(
        10,
        "rows may be missing",
        (
            "verify/integrity.py",
            "            if row[0] != self._tree.size and self._whole:\n",
            "            if False:\n",
        ),
    ),
    without(
        10,
        "events may be cut off behind a checkpoint",
        (
            "verify/integrity.py",
            "        if claim.size > self._tree.size and self._whole:\n",
            "        if False:\n",
        ),
    ),
    without(
        10,
        "a signature need only bear a trusted name",
        (
            "ledger/note.py",
            "        if not key.verifies(text.encode(), blob[4:]):\n",
            "        if False:\n",
        ),
    ),
    without(
        10,
        "a witness co-signs what does not continue what it saw",
        (
            "witness/memory.py",
            "                check_consistency(size, head.size, root, head.root, shown.proof)\n",
            "                pass\n",
        ),
        test="witness/test_witness.py",
    ),
    without(
        10,
        "a witness need not know the size that it is asked to go on from",
        ("witness/memory.py", "        if shown.old != size:\n", "        if False:\n"),
        test="witness/test_witness.py",
    ),
    without(
        10,
        "a witness co-signs another tree of the same size",
        (
            "witness/memory.py",
            "        if size == head.size and head.root != root:\n",
            "        if False:\n",
        ),
        test="witness/test_witness.py",
    ),
    without(
        10,
        "a witness answers before it has written",
        (
            "witness/memory.py",
            '                    self._database.execute("COMMIT")\n                except',
            "                    pass\n                except",
        ),
        test="witness/test_witness.py",
    ),
    without(
        10,
        "a witness's clock goes back",
        ("witness/memory.py", "at = max(now, before)", "at = now"),
        test="witness/test_witness.py",
    ),
    without(
        10,
        "a witness takes another key's word for a ledger",
        ("witness/logs.py", "if owner in (None, key.id))", "if True)"),
        test="witness/test_witness.py",
    ),
    without(
        10,
        "a lost memory is made anew",
        (
            "witness/memory.py",
            "        if self._path.exists() == create:\n",
            "        create = not self._path.exists()\n        if False:\n",
        ),
        test="witness/test_witness.py",
    ),
    without(
        10,
        "a co-signature need not verify",
        (
            "ledger/cosignature.py",
            "        if at > _LATEST or not public.verifies(_message(text, at), blob[12:]):\n",
            "        if at > _LATEST:\n",
        ),
        test="ledger/test_cosignature.py",
    ),
    without(
        10,
        "nobody need have co-signed",
        (
            "verify/cosigned.py",
            "        if self._witnesses.keys and not self.events:\n",
            "        if False:\n",
        ),
        test="witness/test_cosigning.py",
    ),
    without(
        10,
        "a witness that was set back is believed",
        (
            "verify/cosigned.py",
            "            if size < (before := self._last.get(key, 0)):\n",
            "            if size < (before := 0):\n",
        ),
        test="witness/test_cosigning.py",
    ),
    without(
        10,
        "an archive's events need not hash to their leaves",
        (
            "ledger/unpacking.py",
            "            if count == width or leaf_hash(data) != leaves[count]:\n",
            "            if count == width:\n",
        ),
        test="ledger/test_archives.py",
    ),
    without(
        10,
        "an archive goes on with another history",
        (
            "ledger/archive.py",
            "    if tiles.edge(head.size).root() != head.root:\n        raise LedgerError(\n",
            "    if False:\n        raise LedgerError(\n",
        ),
        test="ledger/test_archives.py",
    ),
    without(
        9,
        "what is let go may be counted on by another process",
        ("ledger/sqlite.py", "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA locking_mode = NORMAL"),
        test="ledger/test_archives.py",
    ),
    without(
        9,
        "what another run names leaves with a run",
        (
            "ledger/letting_go.py",
            "gone = iter(_named(connection, number) - kept)",
            "gone = iter(_named(connection, number))",
        ),
        test="ledger/test_archives.py",
    ),
    without(
        10,
        "content goes before it is said",
        (
            "ledger/redacting.py",
            "        await ledger.commit()\n        return sum",
            "        return sum",
        ),
        test="ledger/test_redacting.py",
    ),
    without(
        9,
        "content that an open run needs is redacted",
        (
            "ledger/redacting.py",
            "        if open_runs := sorted(found.names[one] & found.open):\n",
            "        if open_runs := sorted(found.names[one] & set()):\n",
        ),
        test="ledger/test_redacting.py",
    ),
    without(
        10,
        "content need not be what its name says",
        (
            "verify/contents.py",
            '    return "" if content_name(data, salt) == name.hex() else "was altered"\n',
            '    return ""\n',
        ),
    ),
    without(
        10,
        "an executor believes an unsigned ledger",
        ("act/redeeming.py", "            if keys:\n", "            if True:\n"),
        test="act/test_remote.py",
    ),
    without(
        10,
        "an executor believes a ledger that was altered",
        (
            "act/redeeming.py",
            "if (tree.size, tree.root()) != (size, root):",
            "if tree.size != size:",
        ),
        test="act/test_remote.py",
    ),
    without(
        10,
        "an executor believes a checkpoint of another ledger",
        (
            "act/redeeming.py",
            "if (head.size, head.origin) != (size, self._origin):",
            "if head.size != size:",
        ),
        test="act/test_remote.py",
    ),
    without(
        10,
        "an executor follows whatever ledger stands there",
        (
            "act/redeeming.py",
            "            if self._origin not in (None, origin):\n",
            "            if False:\n",
        ),
        test="act/test_remote.py",
    ),
    # ---------------------------------------------------------------- 11, trust is measured
    without(
        11,
        "an executor of its own performs planted steps",
        ("act/redeeming.py", "                standing.moment = None\n", "                pass\n"),
        test="act/test_remote.py",
    ),
    without(
        11,
        "a planted step that may proceed is done",
        ("history.py", 'if step.planted and decision.action != "escalate":', "if False:"),
    ),
    without(
        11,
        "planted steps are not opened",
        ("judging.py", "and not step.planted:\n", "and False:\n"),
    ),
    without(
        11,
        "planted steps stand in the thinker's history",
        ("history.py", "number=step.turn - self.planted,", "number=step.turn,"),
    ),
    without(
        11,
        "planted steps are drawn like any",
        ("stages.py", 'lot = lot.model_copy(update={"drawn": True})', "pass"),
    ),
    without(
        11,
        "whoever carries a run says which steps are planted",
        ("verify/live.py", "if due != was:", "if False:"),
    ),
    without(
        11,
        "other steps may be opened than were sealed",
        ("verify/plants.py", "self._leaves[body.number] != due:", "False:"),
    ),
    without(
        11,
        "planted steps may be opened out of their order",
        ("verify/plants.py", "if body.number != self.opened or", "if"),
    ),
    without(
        11,
        "planted steps may be sealed late",
        ("verify/live.py", "        if self._case.turn:\n", "        if False:\n"),
    ),
    without(
        11,
        "a planted step may be opened after its decision",
        ("verify/live.py", '"plant.opened": (Due.DECISION,)', '"plant.opened": tuple(Due)'),
    ),
    without(
        11,
        "lessons are taken from planted steps",
        ("learn/live.py", "if step.planted or not step.decided:", "if not step.decided:"),
    ),
    without(
        11,
        "lessons are taken from steps that may be planted",
        ("learn/live.py", "if step.planted or not step.decided:", "if step.planted:"),
    ),
    without(
        11,
        "a run may end in the middle of a judgement",
        ("verify/live.py", "        if self._due not in _ENDS:\n", "        if False:\n"),
    ),
    without(
        11,
        "the order of the salts is anybody's",
        ("verify/plants.py", "if body.salt <= self._salt:", "if False:"),
    ),
    without(
        11,
        "the sealed list may be deleted",
        ("verify/plants.py", 'self._case.found(TRUST, "the list of', 'str("the list of'),
    ),
    without(
        11,
        "a step that may be planted is replayed",
        (
            "think/replayed.py",
            "return found if decided or not plants else found[:-1]",
            "return found",
        ),
    ),
    without(
        11,
        "a step that may be planted is recorded",
        ("records/from_ledger.py", "        if self.undecided:\n", "        if False:\n"),
    ),
    without(
        11,
        "other programs are told planted steps",
        ("records/judged.py", "    if plants:\n", "    if False:\n"),
    ),
    without(
        11,
        "all rates are one rate",
        ("trust.py", "level = 1 - (1 - LEVEL) / len(samples)", "level = 0.0001"),
        test="run/test_trust.py",
    ),
    without(
        11,
        "open runs count",
        (
            "trust.py",
            "            self._open += 1\n            return\n",
            "            self._open += 1\n",
        ),
        test="run/test_trust.py",
    ),
    without(
        11,
        "answers count that no gate asked for",
        (
            "trust.py",
            "_asked_for(gate, step.moment, step.answers, step.draw)",
            "tuple(step.answers)",
        ),
        test="run/test_trust.py",
    ),
    without(
        11,
        "a miss counts as none",
        ("trust.py", "None if stops is None else stops != bad", "None if stops is None else False"),
    ),
    without(
        11,
        "what ran unseen is not counted",
        (
            "trust.py",
            "setdefault(step.draw.rate, [0, 0, 0])[0] += 1",
            "setdefault(step.draw.rate, [0, 0, 0])[0] += 0",
        ),
    ),
    # ---------------------------------------------------------------- what is deployed
    without(
        1,
        "an update is deployed that nobody need sign",
        ("learn/deploying.py", "if not must_sign(spec(build(self.deploying.gate))):", "if False:"),
        test="learn/test_deploying.py",
    ),
    without(
        1,
        "what the lottery lets pass unsigned is deployed",
        ("gate/keys.py", '"sampled", "undrawn": "reject", "of"', '"sampled", "of"'),
        test="learn/test_deploying.py",
    ),
    without(
        1,
        "acts are performed while weights are measured",
        ("learn/deploying.py", 'if deploying.acts == "withheld":', "if False:"),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "a checkpoint is deployed unseen",
        ("act/deploy.py", "            check(self._folder, self._pointer, new)\n", ""),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "the same weights may say another thing",
        (
            "model/deployed.py",
            '        ("it says another thing with these weights: its files are", found.files, '
            "wanted.files),\n",
            "",
        ),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "the model below adapters may be another",
        ("model/deployed.py", "digest_value([digest_of_folder(folder), files])", "files"),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "weights are loaded that nobody deployed",
        ("model/updated.py", "    check(folder, pointer, wanted)\n", ""),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "what was deployed meanwhile is replaced",
        ("act/deploy.py", "elif standing.now == old:", "elif True:"),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "two deploy at once",
        ("act/deploy.py", "fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "another update is put in the place of the one that was measured",
        ("act/deploy.py", "if act.arguments in self._only else", "if True else"),
        test="learn/test_deploying.py",
    ),
    without(
        2,
        "an adapter's description is believed",
        ("model/adapter.py", "if given[name] != plain.get(name):", "if False:"),
        test="learn/test_deploying.py",
    ),
    without(
        6,
        "weights are deployed that no training made",
        (
            "learn/deploying.py",
            "(one.body.number + 1, one.body.after) == (new.update, new.weights)",
            "one.body.after",
        ),
        test="learn/test_deploying.py",
    ),
    without(
        6,
        "weights are deployed that were trained from others",
        ("learn/deploying.py", "if first.body.thinking != base:", "if False:"),
        test="learn/test_deploying.py",
    ),
    without(
        6,
        "what learned from outcomes is deployed",
        ("learn/deploying.py", '        and one.body.signal != "outcome"\n', ""),
        test="learn/test_deploying.py",
    ),
    without(
        9,
        "a file that was half written is believed",
        ("model/deployed.py", "if said is None or said.canonical() != data:", "if said is None:"),
        test="learn/test_deploying.py",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one mutation, or of the package as it is."""

    guarantee: int
    without: str
    result: Literal["caught", "SURVIVED", "passed", "BROKEN"]
    by: str
    seconds: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", type=int, nargs="*", help="guarantees to look at")
    parser.add_argument("--named", default="", help="text in the names of those to look at")
    parser.add_argument("--suite", choices=["guarantees", "chaos"], default="guarantees")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--trusting", action="store_true", help="the tests have just passed on the package as it is"
    )
    parser.add_argument("--share", type=int, default=1, metavar="N", help="one in N of them")
    parser.add_argument("--afresh", action="store_true", help="no hints; write them anew")
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    chosen = [
        one
        for one in (chaos() if given.suite == "chaos" else MUTATIONS)
        if (not given.only or one.guarantee in given.only) and given.named in one.without
    ]
    for one in chosen:
        mutated(PACKAGE, one)
    chosen = chosen[commit() % given.share :: given.share]
    files = sorted({(one.guarantee, one.test) for one in chosen})
    every = tuple({name: None for one in chosen for name in one.every})
    whole = [Mutation(number, "", (), test, every) for number, test in files]
    whole = [] if given.trusting else whole
    hints: dict[str, str] = {} if given.afresh else json.loads(HINTS.read_text())
    with ThreadPoolExecutor(given.jobs) as workers:
        outcomes = list(workers.map(lambda one: tried(one, hints), [*reversed(whole), *chosen]))
    if given.afresh and len(chosen) == len(MUTATIONS):
        found = {one.without: one.by for one in outcomes if one.result == "caught"}
        HINTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    bad = [one for one in outcomes if one.result in ("SURVIVED", "BROKEN")]
    caught = sum(one.result == "caught" for one in outcomes)
    summary = f"{caught} of {len(chosen)} mutations caught in {time.monotonic() - begun:.0f} s"
    if given.json:
        rows = [asdict(one) for one in outcomes]
        print(json.dumps({"ok": not bad, "caught": caught, "of": len(chosen), "outcomes": rows}))
    else:
        for one in sorted(outcomes, key=lambda one: one.guarantee):
            what = one.without or "(the package as it is)"
            print(f"{one.guarantee:>2}  {one.result:<8}  {one.seconds:5.1f} s  {what}  {one.by}")
        print(summary)
    return 1 if bad else 0


def commit() -> int:
    """The commit that this is, as a number; 0 where there is none."""
    asked = subprocess.run(
        ["git", "-C", str(TESTS), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return int(asked.stdout.strip() or "0", 16)


def chaos() -> tuple[Mutation, ...]:
    """The weakenings of the suite of faults."""
    sys.path[:0] = [str(TESTS), str(TESTS / "chaos")]
    sys.modules.setdefault("mutations", sys.modules[__name__])
    from weakenings import WEAKENINGS

    return WEAKENINGS


def mutated(package: Path, mutation: Mutation) -> dict[Path, str]:
    """The files of a mutation as they are to be.

    Raises:
        SystemExit: some text is not there exactly once.
    """
    files: dict[Path, str] = {}
    for edit in mutation.edits:
        path = package / edit.file
        text = files.get(path) or path.read_text()
        if (times := text.count(edit.old)) != 1:
            raise SystemExit(
                f"{edit.file}: {edit.old.strip()!r} stands there {times} times, not once; "
                f"mend the mutation {mutation.without!r} in {Path(__file__).name}"
            )
        files[path] = text.replace(edit.old, edit.new)
    return files


def tried(mutation: Mutation, hints: Mapping[str, str]) -> Outcome:
    """Run the guarantee's test against a copy with the mutation; the test that noticed first."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="audition-mutation-") as folder:
        package = Path(folder) / "audition"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        for path, text in mutated(package, mutation).items():
            path.write_text(text)
        tests = mutation.tests
        hint = tests[0].parent / hints.get(mutation.without, "") if tests else TESTS
        result, by = judged(mutation, [hint], Path(folder)) if hint.suffix else ("", "")
        if result != "caught":
            result, by = judged(mutation, tests, Path(folder))
    return Outcome(
        mutation.guarantee, mutation.without, result, by, round(time.monotonic() - begun, 1)
    )


def judged(
    mutation: Mutation, tests: Sequence[Path], folder: Path
) -> tuple[Literal["caught", "SURVIVED", "passed", "BROKEN"], str]:
    if not tests:
        return "BROKEN", "there is no such test"
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    chosen = ["-m", "", *(f"{tests[0]}::{name}" for name in mutation.every)]
    chosen = chosen if mutation.every else ["-x", *map(str, tests)]
    try:
        done = subprocess.run(
            [*command, f"--basetemp={folder}/tests", f"--junit-xml={report}", *chosen],
            cwd=TESTS.parent,
            env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS + 10 * len(mutation.every),
        )
    except subprocess.TimeoutExpired:
        return "BROKEN", f"no end within {SECONDS} s"
    if done.returncode not in (0, 1) or not report.exists():
        return "BROKEN", (done.stdout + done.stderr).strip()[-300:]
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [_name(case) for case in cases if _asserted(case)]
    if not mutation.edits:
        skipped = sum(case.find("skipped") is not None for case in cases)
        if done.returncode == 0 and skipped < len(cases):
            return "passed", f"[{len(cases)} tests, {skipped} skipped]"
        return "BROKEN", done.stdout.strip()[-300:]
    if passed := [one.get("name") for one in cases if mutation.every and not _noticed(one)]:
        return "SURVIVED", f"{len(passed)} of {len(cases)}: {passed[0]}"
    if done.returncode == 1 and failed:
        return "caught", f"by {len(failed)}, all" if mutation.every else failed[0]
    if done.returncode == 0:
        return "SURVIVED", ""
    return "BROKEN", done.stdout.strip()[-300:]


def _name(case: ElementTree.Element) -> str:
    """A test as pytest takes it, in the folder of its file."""
    return f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name')}"


def _noticed(case: ElementTree.Element) -> bool:
    """Whether a test failed, or could not be tried here."""
    return _asserted(case) or case.find("skipped") is not None


def _asserted(case: ElementTree.Element) -> bool:
    """Whether a test failed by what it says: in its body, or in what is looked at after it."""
    error = case.find("error")
    after = error is not None and "teardown" in (error.get("message") or "")
    return case.find("failure") is not None or after


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
