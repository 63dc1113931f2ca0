"""The one tool that ends a thought: its schema, and what is wrong with a proposal that misses it.

Each executor's own parameters stand in the schema, and a proposal is held to them before it is put
forward: what no executor could carry out as written is answered here, in one line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from audition.canonical import canonical
from audition.plain import shown
from audition.step import Act, Ask, Digest, JsonObject, Proposal, ToolSchema, digest_of
from audition.step import parse_proposal as parsed

NAME = "propose"
"""What the tool is called."""

ALTERNATIVES = 8
"""Other steps that one proposal may offer."""

DEEPEST = 32
"""Nesting of a tool's schema; a deeper one refers to itself."""

_FORM = 'an object with "proposal" and, if there are any, "alternatives"'


class Malformed(ValueError):
    """What was put forward is no proposal; says why in one line."""


class Propose:
    """The tool `propose` for a thinker who may propose acts of these tools.

    Args:
        tools: schemas of the executors; the one called `ask` stands for questions to a person.

    Raises:
        ValueError: a schema refers to itself, or to what is not in its own `$defs`.
    """

    def __init__(self, tools: Sequence[ToolSchema]) -> None:
        from jsonschema import Draft202012Validator

        self.tools = tuple(tools)
        """What may be proposed."""
        self._asks = any(tool.name == "ask" for tool in tools)
        self._tools = {tool.name: tool for tool in tools if tool.name != "ask"}
        plain = {name: _inlined(tool) for name, tool in self._tools.items()}
        self._checks = {name: Draft202012Validator(schema) for name, schema in plain.items()}
        steps = {"anyOf": list(self._steps(plain))}
        others = {"type": "array", "items": steps, "maxItems": ALTERNATIVES}
        parameters = _object({"proposal": steps, "alternatives": others}, "proposal")
        says = "Put forward the one step to take next. It is judged before it happens."
        self.function: JsonObject = function(NAME, says, parameters)
        """The tool as a model is given it."""

    def configuration(self) -> list[Digest]:
        """Digests of the tools that it knows, sorted."""
        return sorted(digest_of(tool) for tool in self.tools)

    def read(self, arguments: str) -> Proposal:
        """The proposal that was written.

        Raises:
            Malformed: it is none, or no tool would take it.
        """
        given = loaded(arguments)
        if "proposal" not in given or given.keys() - {"proposal", "alternatives"}:
            raise Malformed(_FORM)
        first, others = given["proposal"], given.get("alternatives") or []
        if not isinstance(others, list) or len(others) > ALTERNATIVES:
            raise Malformed(f"alternatives: a list of at most {ALTERNATIVES} steps")
        each = [self.step(one) for one in (first, *others)]
        return each[0].model_copy(update={"alternatives": tuple(each[1:])})

    def step(self, given: Any) -> Proposal:
        """One step, without alternatives of its own.

        Raises:
            Malformed: it is none, or no tool would take it.
        """
        if not isinstance(given, dict):
            raise Malformed("a step is an object with a kind: act, ask, think or finish")
        for name in ("alternatives", "malformed"):
            if name in given:
                raise Malformed(f"{name} is no field of a step")
        try:
            proposal = parsed(canonical(given))
        except ValidationError as error:
            raise Malformed(_amiss(error)) from None
        except ValueError as error:
            raise Malformed(shown(str(error), 200)) from None
        if isinstance(proposal, Act):
            self._fits(proposal)
        if isinstance(proposal, Ask) and not self._asks:
            raise Malformed("kind: there is nobody to ask")
        return proposal

    def _fits(self, act: Act) -> None:
        from jsonschema.exceptions import best_match

        if (check := self._checks.get(act.tool)) is None:
            known = ", ".join(self._tools) or "none"
            raise Malformed(f"tool: no tool is called {shown(act.tool, 60)!r}; there are: {known}")
        if (error := best_match(check.iter_errors(act.arguments))) is not None:
            place = ".".join(["arguments", *(shown(str(part), 60) for part in error.path)])
            raise Malformed(f"{act.tool}: {place}: {shown(error.message, 200)}")

    def _steps(self, plain: dict[str, JsonObject]) -> list[JsonObject]:
        """The schema of each kind of step."""
        acts = [
            _kind("act", tool.description, tool=_one(name), arguments=plain[name])
            for name, tool in self._tools.items()
        ]
        question = "Put a question to a person; the answer comes back before the next step."
        asks = [_kind("ask", question, question=_TEXT, to=_TEXT)] if self._asks else []
        think = "Open a smaller step within this one, with a prompt of its own."
        finish = "Close the innermost open step with its answer; closing the first ends the run."
        return [
            *acts,
            *asks,
            _kind("think", think, prompt=_TEXT),
            _kind("finish", finish, answer=_TEXT),
        ]


def function(name: str, says: str, parameters: JsonObject) -> JsonObject:
    """A tool as chat completions name it."""
    told: JsonObject = {"name": name, "description": says, "parameters": parameters}
    return {"type": "function", "function": told}


def fields(step: Proposal) -> dict[str, Any]:
    """A step as it would be written, without alternatives."""
    return step.model_dump(exclude_defaults=True, exclude={"alternatives"}) | {"kind": step.kind}


def loaded(arguments: str) -> dict[str, Any]:
    """The JSON object that a model wrote.

    Raises:
        Malformed: it wrote something else.
    """
    try:
        given = json.loads(arguments)
    except json.JSONDecodeError as error:
        raise Malformed(f"no JSON: {error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError):
        raise Malformed("no JSON: a number too long, or nested too deep") from None
    if not isinstance(given, dict):
        raise Malformed("the arguments are no JSON object")
    return given


_TEXT: JsonObject = {"type": "string"}


def _one(word: str) -> JsonObject:
    return {"type": "string", "enum": [word]}


def _object(properties: dict[str, Any], *required: str) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _kind(kind: str, says: str, **fields: JsonObject) -> JsonObject:
    reason = {"type": "string", "description": "Why this step, for those who judge it."}
    needed = [name for name in fields if name != "to"]
    shape = _object({"kind": _one(kind), **fields, "reason": reason}, "kind", *needed)
    return {"description": says, **shape}


def _inlined(tool: ToolSchema) -> JsonObject:
    """The tool's parameters with each reference replaced by what it stands for.

    Not every server resolves references, and none could once the schema stands inside another.
    """
    known = tool.parameters.get("$defs", {})

    def put(value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError(f"tool {tool.name}: its schema is nested too deep, or in itself")
        if isinstance(value, list):
            return [put(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(name := value.get("$ref"), str):
            found = name.removeprefix("#/$defs/")
            if found == name or not isinstance(known, dict) or found not in known:
                raise ValueError(f"tool {tool.name}: its schema refers to {shown(name, 60)!r}")
            rest = {key: item for key, item in value.items() if key != "$ref"}
            return {**put(known[found], depth + 1), **put(rest, depth + 1)}
        return {key: put(item, depth + 1) for key, item in value.items() if key != "$defs"}

    return put(tool.parameters, 0)


def _amiss(error: ValidationError) -> str:
    """What is wrong with a step, in one short line."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"].startswith("union_tag"):
        return "kind: one of act, ask, think, finish"
    place = ".".join(shown(str(part), 60) for part in first["loc"][1:])
    return f"{place}: {shown(first['msg'], 200)}" if place else shown(first["msg"], 200)
