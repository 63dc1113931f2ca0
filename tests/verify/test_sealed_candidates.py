"""Forged candidates: each breach of their rules is found, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.ledger.events import CandidatesSealed, Missing, RunOpened
from audition.step import AuditorCard, Evidence, Role, Usage, digest_of
from audition.verify import Verification, verify
from handmade import KEY, OTHERS, Events, Scribe, compared_run, first, shell

SEALED = "candidates.sealed"
Twist = Callable[[Events], Events]


def examined(tmp_path: Path, twist: Twist | None = None, pen: Scribe | None = None) -> Verification:
    path = handmade.write(tmp_path / "runs.db", pen or compared_run(), twist=twist)
    return verify(path, [KEY.public])


def changed(kind: str, nth: int = 0, **fields: Any) -> Twist:
    def twist(events: Events) -> Events:
        spot = first(events, kind, nth)
        at, body = events[spot]
        events[spot] = (at, body.model_copy(update=fields))
        return events

    return twist


def moved(by: int, nth: int = 0) -> Twist:
    def twist(events: Events) -> Events:
        spot = first(events, SEALED, nth)
        events.insert(spot + by, events.pop(spot))
        return events

    return twist


def drawn_step() -> Scribe:
    """A run up to its first drawn step, which nobody but the rules has judged."""
    pen = Scribe(
        handmade.COMPARED,
        gate=handmade.spec(handmade.COMPARING),
        cards=handmade.JUDGES,
        others=OTHERS,
    )
    pen.open()
    while True:
        pen.think(shell("ls"))
        pen.verdict("rules", 0.0)
        if pen.lot.drawn:
            return pen
        pen.decide()
        pen.perform()


def sealed(pen: Scribe, nth: int = 0) -> CandidatesSealed:
    body = pen.events[first(pen.events, SEALED, nth)][1]
    assert isinstance(body, CandidatesSealed)
    return body


def breach(found: Verification, guarantee: int, says: str) -> None:
    assert found.first_bad is not None, "nothing was found"
    assert (found.first_bad.guarantee, says in found.first_bad.says) == (guarantee, True), (
        found.first_bad
    )


def test_a_faithful_run_verifies(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert found.ok, found.findings
    pen = compared_run()
    drawn = [body.drawn for _, body in pen.events if body.kind == "audit.drawn"]  # type: ignore[attr-defined]
    assert sum(body.kind == SEALED for _, body in pen.events) == sum(drawn) < len(drawn)


def test_those_that_were_lost_are_no_breach(tmp_path: Path) -> None:
    missing = (Missing(reason="lost", usage=Usage()),) * 2
    pen = drawn_step()
    pen.verdict("judge", None, ranking=(0,))
    pen.decide()
    lost = changed(SEALED, before=None, candidates=(), missing=missing)
    found = examined(tmp_path, lost, pen)
    assert found.ok, found.findings


@pytest.mark.parametrize(
    ("twist", "guarantee", "says"),
    [
        (moved(-1), 4, "candidates.sealed stands where the draw was due"),
        (moved(-2), 4, "candidates.sealed stands where the sealed moment was due"),
        (moved(1), 4, "audit.recorded stands where the sealed candidates was due"),
        (moved(3), 4, "audit.recorded stands where the sealed candidates was due"),
        (changed(SEALED, moment="e" * 64), 4, "candidates of another moment"),
        (changed(SEALED, before="e" * 64), 4, "another state than the thought began in"),
        (changed(SEALED, before=None), 4, "a state that nobody names"),
        (changed(SEALED, candidates=()), 4, "1 candidates and 0 missing, declared are 3"),
        (changed("run.opened", candidates=2), 4, "3 candidates and 0 missing, declared are 2"),
        (changed("run.opened", candidates=None), 4, "stands where verdicts and a decision was due"),
    ],
)
def test_they_stand_where_they_may_and_are_as_many_as_declared(
    tmp_path: Path, twist: Twist, guarantee: int, says: str
) -> None:
    breach(examined(tmp_path, twist), guarantee, says)


def test_a_drawn_step_without_them_is_found(tmp_path: Path) -> None:
    def dropped(events: Events) -> Events:
        del events[first(events, SEALED)]
        return events

    breach(examined(tmp_path, dropped), 4, "stands where the sealed candidates was due")


def test_a_second_set_is_found(tmp_path: Path) -> None:
    def twice(events: Events) -> Events:
        spot = first(events, SEALED)
        events.insert(spot, events[spot])
        return events

    breach(examined(tmp_path, twice), 4, "candidates.sealed stands where verdicts")


def test_candidates_of_an_undrawn_step_are_found(tmp_path: Path) -> None:
    pen = compared_run()

    def planted(events: Events) -> Events:
        draws = [i for i, (_, body) in enumerate(events) if body.kind == "audit.drawn"]
        spot = next(i for i in draws if not events[i][1].drawn)  # type: ignore[attr-defined]
        fields = {"moment": events[spot][1].moment}  # type: ignore[attr-defined]
        events.insert(spot + 1, (events[spot][0], sealed(pen).model_copy(update=fields)))
        return events

    breach(examined(tmp_path, planted, pen), 4, "candidates.sealed stands where verdicts")


def test_a_replacement_s_candidates_are_found(tmp_path: Path) -> None:
    """It has none but its own: whoever gives it some compares what nobody thought."""
    pen = drawn_step()
    better = shell("ls -l")
    pen.verdict("judge", 1.0, better)
    pen.put(better)
    pen.decide()
    pen.attempt = 1
    pen.propose(better, by="judge")
    assert examined(tmp_path, None, pen).ok
    pen.events.insert(len(pen.events) - 1, (pen.at, pen.rolled(*OTHERS)))
    (tmp_path / "again").mkdir()
    breach(examined(tmp_path / "again", None, pen), 4, "candidates.sealed stands where verdicts")


def test_a_candidate_that_is_no_proposal_is_found(tmp_path: Path) -> None:
    pen = compared_run()
    one = sealed(pen).candidates[0].model_copy(update={"proposal": pen.put("no proposal")})
    twist = changed(SEALED, candidates=(one, *sealed(pen).candidates[1:]))
    breach(examined(tmp_path, twist, pen), 2, "candidate 1 is no proposal")


def test_a_candidate_whose_content_is_gone_is_found(tmp_path: Path) -> None:
    pen = compared_run()
    gone = digest_of(OTHERS[0])  # type: ignore[arg-type]
    pen.contents = [one for one in pen.contents if handmade.digest_bytes(one[0]) != gone]
    breach(examined(tmp_path, None, pen), 10, "is gone, and no event says that it was deleted")


@pytest.mark.parametrize("ranking", [(0,), (1, 0), (3, 1, 0, 2)])
def test_a_ranking_of_others_than_were_sealed_is_found(
    tmp_path: Path, ranking: tuple[int, ...]
) -> None:
    def ranked(events: Events) -> Events:
        spot, (at, body) = next(
            (i, event)
            for i, event in enumerate(events)
            if getattr(getattr(event[1], "verdict", None), "ranking", None)
        )
        verdict = body.verdict.model_copy(update={"ranking": ranking})  # type: ignore[attr-defined]
        events[spot] = (at, body.model_copy(update={"verdict": verdict}))
        return events

    says = f"judge judges {len(ranking)} candidates, sealed are 3"
    breach(examined(tmp_path, ranked), 5, says)


def test_who_was_not_shown_them_cannot_rank_them(tmp_path: Path) -> None:
    pen = compared_run()
    blind = AuditorCard(name="judge", role=Role.TEACHER, sees=(Evidence.PROPOSAL,))
    at, opened = pen.events[0]
    assert isinstance(opened, RunOpened)
    cards = tuple(blind if card.name == "judge" else card for card in opened.auditors)
    pen.events[0] = (at, opened.model_copy(update={"auditors": cards}))
    found = examined(tmp_path, None, pen)
    says = "judge judges candidates that it was not shown"
    assert any(says in one.says for one in found.findings)
