"""Rules over proposals: a guard, or a teacher, that matches patterns, the same every time.

Patterns are RE2 (linear in the text, whatever the pattern), matched against every string in the
proposal: an act's tool and arguments, a question and whom it is for, a prompt, an answer, and
arguments that were no JSON.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError, field_validator

from audition.canonical import digest_value
from audition.misread import misread
from audition.step import (
    Act,
    Ask,
    Digest,
    Evidence,
    Finish,
    Frozen,
    Name,
    Proposal,
    Role,
    Think,
    Unit,
    Verdict,
    View,
    Words,
    digest_of,
)

QUOTED = 240
"""Characters of a citation."""


class Rule(Frozen):
    """One rule: when it matches, the proposal is suspect."""

    name: Name
    """Its name, given in the verdict."""
    says: str = ""
    """What it is about, for people."""
    kinds: tuple[Literal["act", "ask", "think", "finish"], ...] = ("act",)
    """Kinds of proposal it looks at."""
    tools: tuple[str, ...] = ("*",)
    """Tools it looks at, with shell wildcards."""
    except_tools: tuple[str, ...] = ()
    """Tools it leaves alone."""
    pattern: str = ""
    """RE2 pattern to be found in one string of the proposal; empty matches any proposal."""
    unless: str = ""
    """RE2 pattern that excuses a string."""
    suspicion: Unit = 1.0
    """How suspect a match is."""

    @field_validator("pattern", "unless")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        _compiled(pattern)
        return pattern


class RulesError(ValueError):
    """Rules are wrong; the message names the file or the auditor, and the field."""


class Rules:
    """An auditor made of rules; its suspicion is that of the worst match, 0 without one.

    A teacher approves by what suspicion leaves, of each candidate where there are several.

    Args:
        rules: the rules, with names that differ.
        name: the auditor's name.
        role: in which role it answers.
    """

    def __init__(
        self, rules: Iterable[Rule], *, name: str = "rules", role: Role = Role.GUARD
    ) -> None:
        self.name = name
        self.role = role
        also = (Evidence.CANDIDATES,) if role is Role.TEACHER else ()
        self.sees = frozenset({Evidence.PROPOSAL, *also})
        self.rules: Sequence[Rule] = tuple(rules)
        names = [rule.name for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise RulesError(f"{self.name}.rules: two rules are called {sorted(twice)[0]!r}")

    def configuration(self) -> Digest:
        """Digest of the rules, for the auditor's card."""
        return digest_value([digest_of(rule) for rule in self.rules])

    async def audit(self, view: View) -> Verdict:
        """Judge the proposal alone."""
        return self.judge(view)

    def judge(self, view: View) -> Verdict:
        """As `audit`, which waits for nothing."""
        assert view.proposal is not None
        matches = list(self._matches(view.proposal))
        words = None
        if matches:
            words = Words(
                rationale="; ".join(
                    f"{rule.name}: {rule.says}" if rule.says else rule.name for rule, _ in matches
                ),
                citations=tuple(dict.fromkeys(quote for _, quote in matches if quote)),
            )
        worst = max((rule.suspicion for rule, _ in matches), default=0.0)
        each = None
        if self.role is Role.TEACHER and view.candidates is not None and len(view.candidates) > 1:
            each = tuple(1 - self._suspicion(one) for one in view.candidates)
        return Verdict(
            auditor=self.name,
            role=self.role,
            moment=view.moment_digest,
            score=worst if self.role is Role.GUARD else 1 - worst,
            approvals=each,
            words=words,
            saw=tuple(sorted(self.sees)),
        )

    def _suspicion(self, proposal: Proposal) -> float:
        return max((rule.suspicion for rule, _ in self._matches(proposal)), default=0.0)

    def _matches(self, proposal: Proposal) -> Iterator[tuple[Rule, str]]:
        strings = list(_strings(proposal))
        for rule in self.rules:
            if proposal.kind not in rule.kinds or not _covers(rule, proposal):
                continue
            if not rule.pattern:
                yield rule, ""
                continue
            for string in strings:
                found = _compiled(rule.pattern).search(string)
                if found and not (rule.unless and _compiled(rule.unless).search(string)):
                    yield rule, string[found.start() : found.start() + QUOTED]
                    break


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a TOML file: a list of tables `[[rules]]` with the fields of `Rule`.

    Raises:
        RulesError: the file is no such list; the message names the file and the field.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        return _RulesFile.model_validate(tomllib.loads(data.decode())).rules
    except ValidationError as error:
        raise RulesError(misread(error, path.name, data.decode(), [_RulesFile])) from None
    except ValueError as error:
        raise RulesError(f"{path.name}: {error}") from None


class _RulesFile(Frozen):
    rules: tuple[Rule, ...] = Field(min_length=1)


def _covers(rule: Rule, proposal: Proposal) -> bool:
    if not isinstance(proposal, Act):
        return True
    return any(fnmatchcase(proposal.tool, tool) for tool in rule.tools) and not any(
        fnmatchcase(proposal.tool, tool) for tool in rule.except_tools
    )


def _strings(proposal: Proposal) -> Iterator[str]:
    match proposal:
        case Act():
            yield _clean(proposal.tool)
            yield from _leaves(proposal.arguments)
            if proposal.malformed is not None:
                yield _clean(proposal.malformed)
        case Ask():
            yield _clean(proposal.question)
            yield _clean(proposal.to)
        case Think():
            yield _clean(proposal.prompt)
        case Finish():
            yield _clean(proposal.answer)


def _leaves(value: JsonValue) -> Iterator[str]:
    match value:
        case str():
            yield _clean(value)
        case dict():
            for key, item in value.items():
                yield _clean(key)
                yield from _leaves(item)
        case list():
            for item in value:
                yield from _leaves(item)
        case _:
            pass


def _clean(text: str) -> str:
    """RE2 reads UTF-8; a lone surrogate becomes a replacement character."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@cache
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False  # the error is raised, and needs no second telling on the terminal
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        says = error.args[0] if error.args else ""
        plain = says.decode("utf-8", "replace") if isinstance(says, bytes) else str(says)
        raise ValueError(f"pattern {pattern!r}: {plain}") from None
