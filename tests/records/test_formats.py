"""Each format's mapping, labels out of sight, numbers of steps aligned with the labels."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audition.canonical import canonical
from audition.records import MISTAKE, RecordError, read, survey
from audition.step import Act, Ask, Finish, Think

TRACE = {
    "input": "1 + 1 + 1 =",
    "steps": ["1 + 1 = 2", "2 + 1 = 4", "So the answer is 4"],
    "answer": "SECRET",
    "target": "SECRET",
    "mistake_index": 1,
}
CRAFTED = {
    "question": "who?",
    "history": [
        {"role": "human", "content": "who, then?"},
        {"role": "Planner (thought)", "content": "ask the surfer"},
        {"role": "Surfer", "content": "nobody"},
        {"role": "human", "content": "sure?"},
        {"role": "Planner", "content": "nobody"},
    ],
    "mistake_agent": "SECRET",
    "mistake_step": "2",
    "mistake_reason": "SECRET",
    "ground_truth": "SECRET",
    "is_corrected": False,
}
GENERATED = {
    "question": "who?",
    "question_ID": "SECRET",
    "history": [
        {"role": "assistant", "name": "Expert", "content": "I count"},
        {"role": "user", "name": "Terminal", "content": "4"},
    ],
    "system_prompt": {"Expert": "You count."},
    "mistake_agent": "SECRET",
    "mistake_step": "0",
    "mistake_reason": "SECRET",
    "ground_truth": "SECRET",
    "level": "SECRET",
}
SOLVED = {
    "question": "How many?",
    "ground_truth": "SECRET",
    "small": {"is_correct": False, "solution": "2 + 2 = 5\n\nA: 5"},
    "large": {"is_correct": True, "solution": ""},
}
AGENT = {
    "id": "SECRET",
    "scenario": "SECRET",
    "variant": "SECRET",
    "model": "agent-1",
    "generation": "SECRET",
    "severity": 5.0,
    "judges": {"SECRET": 5.0},
    "messages": [
        {"role": "system", "content": "be good"},
        {"role": "user", "content": "publish"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "function": {"name": "bash", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "{}"},
    ],
}
CHAT = {"messages": AGENT["messages"], "verdict_of_people": "SECRET", MISTAKE: 1}
RATED = {
    "labeler": "SECRET",
    "question": {"problem": "2 + 2 =", "ground_truth_answer": "SECRET"},
    "label": {
        "steps": [
            {
                "completions": [{"text": "no", "rating": -1}, {"text": "I add", "rating": 0}],
                "human_completion": None,
                "chosen_completion": 1,
            },
            {
                "completions": [{"text": "5", "rating": -1, "flagged": None}],
                "human_completion": {"text": "4", "rating": None, "source": "human"},
                "chosen_completion": None,
            },
            {
                "completions": [{"text": "so 5", "rating": -1}, {"text": "so 4", "rating": 1}],
                "human_completion": None,
                "chosen_completion": None,
            },
        ],
        "total_time": 1,
        "finish_reason": "found_error",
    },
}
LINES = {
    "prm800k": RATED,
    "big-bench-mistake": TRACE,
    "who-and-when": CRAFTED,
    "gsm8k": SOLVED,
    "odcv": AGENT,
    "chat": CHAT,
}


def write(folder, *lines, name="some-task.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def chat(message):
    """A conversation of one message of the assistant."""
    return {"messages": [{"role": "assistant"} | message]}


@pytest.mark.parametrize("name", LINES)
def test_a_format_is_told_from_the_shape_of_the_content(tmp_path, name):
    (tmp_path / "gsm8k-odcv").mkdir()
    path = write(tmp_path / "gsm8k-odcv", LINES[name])
    assert {record.source.format for record in read(path)} == {name}


@pytest.mark.parametrize("line", [*LINES.values(), GENERATED])
def test_no_label_shows_in_what_a_judge_may_see(tmp_path, line):
    for record in read(write(tmp_path, line)):
        seen = record.model_dump_json(exclude={"labels"})
        assert "SECRET" not in seen
        assert "SECRET" in json.dumps(record.labels)


def test_a_trace_is_thoughts_and_an_answer(tmp_path):
    (record,) = read(write(tmp_path, TRACE))
    assert record.task == "some-task"
    assert record.goal == "1 + 1 + 1 ="
    assert [step.proposal for step in record.steps()] == [
        Think(prompt="1 + 1 = 2"),
        Think(prompt="2 + 1 = 4"),
        Finish(answer="So the answer is 4"),
    ]
    assert record.labels[MISTAKE] == 2


def test_no_mistake_and_no_label_are_told_apart(tmp_path):
    without = {name: value for name, value in TRACE.items() if name != "mistake_index"}
    none, unlabelled = read(write(tmp_path, TRACE | {"mistake_index": None}, without))
    assert none.labels[MISTAKE] is None
    assert MISTAKE not in unlabelled.labels


def test_a_history_that_opens_with_the_task_has_step_i_at_index_i(tmp_path):
    (record,) = read(write(tmp_path, CRAFTED))
    steps = record.steps()
    assert record.goal == "who, then?"
    assert steps[1].proposal == Ask(question="nobody", to="team")
    assert steps[1].by == "Surfer"
    assert steps[-1].proposal == Finish(answer="nobody")
    assert record.labels[MISTAKE] == 2
    assert steps[record.labels[MISTAKE] - 1].by == "Surfer"


def test_a_history_that_opens_with_an_agent_has_step_i_plus_1_at_index_i(tmp_path):
    (record,) = read(write(tmp_path, GENERATED))
    assert record.goal == "who?"
    assert record.entries[0].message.content == "You count."
    assert record.labels[MISTAKE] == 1
    assert record.steps()[0].by == "Expert"


def test_a_label_that_names_no_step_gives_no_number(tmp_path):
    for place in ("5", "0", "3", "-1", "1, 2", "²", "9" * 5000):
        (record,) = read(write(tmp_path, CRAFTED | {"mistake_step": place}))
        assert record.labels["mistake_step"] == place
        assert MISTAKE not in record.labels


def test_each_models_solution_is_a_record(tmp_path):
    small, large, again, _ = read(write(tmp_path, SOLVED, SOLVED))
    assert (small.thinker, large.thinker) == ("small", "large")
    assert [step.proposal for step in small.steps()] == [
        Think(prompt="2 + 2 = 5"),
        Finish(answer="A: 5"),
    ]
    assert [step.proposal for step in large.steps()] == [Finish(answer="")]
    assert small.labels == {"ground_truth": "SECRET", "is_correct": False}
    assert large.labels == {"ground_truth": "SECRET", "is_correct": True}
    assert [record.source.record for record in (small, large, again)] == [0, 1, 2]


def test_an_agents_run_is_its_calls(tmp_path):
    (record,) = read(write(tmp_path, AGENT))
    assert (record.goal, record.thinker, record.task) == ("publish", "agent-1", "odcv")
    assert [step.proposal for step in record.steps()] == [Act(tool="bash")]


def test_of_a_rated_solution_what_it_goes_on_with_is_the_record(tmp_path):
    (record,) = read(write(tmp_path, RATED))
    assert (record.goal, record.task) == ("2 + 2 =", "some-task")
    assert [step.proposal for step in record.steps()] == [
        Think(prompt="I add"),
        Think(prompt="4"),
        Finish(answer="so 5"),
    ]
    assert record.labels["ratings"] == [0, 1, -1] and record.labels[MISTAKE] == 3
    assert record.labels["finish_reason"] == "found_error"


@pytest.mark.parametrize(
    ("ratings", "mistake"),
    [([1, 0, -1], 3), ([-1], 1), ([1, 1], None), ([None, -1], "unsaid"), ([1, None], "unsaid")],
)
def test_a_first_mistake_is_known_where_all_before_it_is_rated(tmp_path, ratings, mistake):
    steps = [
        {"completions": [{"text": "a", "rating": one}], "chosen_completion": 0} for one in ratings
    ]
    (record,) = read(write(tmp_path, RATED | {"label": {"steps": steps}}))
    assert record.labels.get(MISTAKE, "unsaid") == mistake


def test_a_solution_that_nobody_labelled_is_no_record(tmp_path):
    path = write(tmp_path, RATED | {"label": {"steps": None}}, RATED)
    (record,) = read(path)
    assert record.source.record == 0 and [one.steps for one in survey(path)] == [3]


def test_own_logs_may_say_goal_task_and_model(tmp_path):
    more = {"goal": "the goal", "task": "mail", "model": "m"}
    (record,) = read(write(tmp_path, CHAT | more))
    assert (record.goal, record.task, record.thinker) == ("the goal", "mail", "m")
    assert record.labels == {"verdict_of_people": "SECRET", MISTAKE: 1}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (TRACE | {"steps": [1]}, "steps.0"),
        (TRACE | {"steps": []}, "steps"),
        (TRACE | {"mistake_index": 3}, "mistake_index: 3"),
        (TRACE | {"mistake_index": "1"}, "mistake_index"),
        (TRACE | {"mistake_index": True}, "mistake_index"),
        (CRAFTED | {"history": []}, "history"),
        (CRAFTED | {"history": [{"role": "a"}]}, "history.0.content"),
        (CRAFTED | {"history": [{"role": "\n", "content": ""}]}, "history.0.role"),
        (CRAFTED | {"mistake_step": [1]}, "mistake_step"),
        (SOLVED | {"small": {"solution": None}}, "small.solution"),
        (RATED | {"question": {"problem": 2}}, "question.problem"),
        (RATED | {"label": {"steps": [{"chosen_completion": 1}]}}, "chosen_completion: 1, of 0"),
        (RATED | {"label": {"steps": [{"completions": [{"text": 1}]}]}}, "completions.0.text"),
        (SOLVED | {"x" * 201: {"solution": ""}}, "xxx"),
        ({"question": "?"} | {str(n): {"solution": ""} for n in range(65)}, "more than 64"),
        (AGENT | {"model": 3}, "model"),
        (AGENT | {"messages": [3]}, "messages.0"),
        (AGENT | {"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages.0.tool_calls"),
        (CHAT | {"goal": 1}, "goal"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]},
            "messages.0.content.0.type: a tool_use part is a call; put it into the message's",
        ),
        (chat({"content": [{"type": "tool_result"}]}), "messages.0.content.0.type: a tool_result"),
        (chat({"content": [{"type": "thinking"}]}), "put its text into the message's reasoning"),
        (chat({"content": [{"type": "x"}]}), "must be one of text, refusal, image_url"),
        (chat({"content": 3}), "messages.0.content: must be text or a list;"),
        (chat({"tool_calls": [{"function": "f"}]}), "tool_calls.0.function: must be an object;"),
        (chat({"tool_calls": [{"function": {}}]}), "tool_calls.0.function.name: is missing;"),
        (
            chat({"tool_calls": [{"function": {"name": "f", "arguments": 1}}]}),
            "tool_calls.0.function.arguments: must be text or an object;",
        ),
        (chat({"reasoning_content": 1}), "messages.0.reasoning_content: must be text;"),
        (chat({"tool_calls": [{"function": {"name": "f"}}] * 1001}), "not hold more than 1,000"),
        (CRAFTED | {"mistake_step": [1]}, "mistake_step: must be text or a whole number;"),
    ],
)
def test_a_malformed_field_is_named(tmp_path, line, field):
    path = write(tmp_path, *[value for value in LINES.values() if set(value) == set(line)], line)
    with pytest.raises(RecordError) as caught:
        list(read(path))
    message = str(caught.value)
    assert message.startswith("some-task.jsonl, line ")
    assert field in message
    assert message.isprintable()
    assert not re.search(r"Input should|valid|instance|_[A-Z]|\.str|\[", message)


@pytest.mark.parametrize("label", ["1", "two", 99, 2, 0, -1, 1.0, True, [1], {}, 10**3000])
@pytest.mark.parametrize("name", ["chat", "odcv", "big-bench-mistake", "who-and-when", "gsm8k"])
def test_a_label_that_is_no_number_of_a_step_is_refused(tmp_path, name, label):
    line = {
        "chat": CHAT,
        "odcv": AGENT,
        "big-bench-mistake": {"input": "?", "steps": ["!"]},
        "who-and-when": {"question": "?", "history": [{"role": "a", "content": "!"}]},
        "gsm8k": {"question": "?", "small": {"solution": "!"}},
    }[name]
    with pytest.raises(RecordError, match=f"some-task.jsonl, line 2: {MISTAKE}: ") as caught:
        list(read(write(tmp_path, line | {MISTAKE: 1}, line | {MISTAKE: label}), name))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_record_without_a_step_has_no_first_mistake_to_name(tmp_path):
    empty = {"messages": [{"role": "user", "content": "hi"}]}
    (record,) = read(write(tmp_path, empty | {MISTAKE: None}))
    assert record.labels == {MISTAKE: None}
    with pytest.raises(RecordError, match=f"{MISTAKE}: 1 is no number of the record's steps"):
        list(read(write(tmp_path, empty | {MISTAKE: 1})))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def attempt(path, format):
    """The records, or None; and the refusal, or nothing."""
    try:
        return list(read(path, format)), ""
    except RecordError as error:
        return None, str(error)


def mutated(value, draw):
    """The value with one part of it, anywhere, replaced, removed or doubled."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    value = dict(value) if isinstance(value, dict) else list(value)
    key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    if draw(st.booleans()):
        value[key] = mutated(value[key], draw)
    elif draw(st.booleans()):
        del value[key]
    elif isinstance(value, list):
        value.append(value[key])
    else:
        value[draw(st.text())] = value[key]
    return value


@pytest.mark.parametrize("name", [*LINES, "who-and-when, generated"])
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(data=st.data())
def test_whatever_is_changed_in_a_line_it_is_read_or_refused_in_one_line(
    tmp_path_factory, name, data
):
    line = LINES.get(name, GENERATED)
    for _ in range(data.draw(st.integers(1, 3))):
        line = mutated(line, data.draw)
    path = write(tmp_path_factory.mktemp("records"), line)
    for format in (None, name.partition(",")[0]):
        records, refusal = attempt(path, format)
        assert refusal.isprintable()
        if records is not None:
            (counted,) = survey(path, format)
            assert counted.steps == sum(len(record.steps()) for record in records)
            canonical([record.model_dump() for record in records])
