"""Preferences, reinforcement learning and graders, driven by the `openai` client."""

import io
import json

import openai as sdk
import pytest
from openai import OpenAI

from tests.unit.serve.openai.conftest import BASE
from tests.unit.serve.openai.test_jobs import own

ANSWER = "{{sample.output_text}}"
EQUAL = {"type": "string_check", "name": "same", "input": ANSWER, "reference": "{{ item.answer }}", "operation": "eq"}
LIKE = {"type": "string_check", "name": "polite", "input": ANSWER, "reference": "Please.", "operation": "ilike"}
MULTI = {
    "type": "multi",
    "name": "both",
    "graders": {"same": EQUAL, "polite": LIKE},
    "calculate_output": "0.75 * same + polite / 4",
}
HYPER = {"n_epochs": 1, "batch_size": 2, "learning_rate_multiplier": 1.0, "eval_interval": 5}


def upload_rows(client: OpenAI, *rows: dict) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return client.files.create(file=("rows.jsonl", io.BytesIO(text.encode())), purpose="fine-tune").id


def question(**fields: object) -> dict:
    return {"messages": [{"role": "user", "content": "What is 12 + 30?"}], **fields}


def reinforce(client: OpenAI, file: str, grader: dict, **fields):
    method = {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": HYPER}}
    return client.fine_tuning.jobs.create(model=BASE, training_file=file, method=method, **fields)


def test_preferences_are_trained_with_dpo_whatever_the_names_of_their_fields(openai: OpenAI, services):
    said = [[{"role": "assistant", "content": text}] for text in ("Fine.", "No.")]
    names = (("preferred_output", "non_preferred_output"), ("preferred_completion", "non_preferred_completion"))
    for pair in names:
        row = {"input": {"messages": question()["messages"], "tools": []}} | dict(zip(pair, said, strict=True))
        hyper = {"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 2.0, "beta": 0.3}
        job = openai.fine_tuning.jobs.create(
            model=BASE,
            training_file=upload_rows(openai, row, row),
            method={"type": "dpo", "dpo": {"hyperparameters": hyper}},
        )
        assert job.method.dpo.hyperparameters.model_dump() == hyper
        with services.store.read() as tx:
            config = tx.jobs.get(own(job)).config
        assert (config.method.beta, config.training.learning_rate) == (0.3, 2e-5)


def test_a_reinforcement_job_trains_on_the_rewards_that_equal_its_grader(lenient: OpenAI, services):
    job = reinforce(lenient, upload_rows(lenient, question(answer="42"), question(answer="43")), MULTI)
    assert job.method.reinforcement.grader.calculate_output == MULTI["calculate_output"]
    assert job.hyperparameters.batch_size == 2
    with services.store.read() as tx:
        config = tx.jobs.get(own(job)).config
    rewards = [(reward.type, reward.weight) for reward in config.method.rewards]
    assert rewards == [("exact_match", 0.75), ("regex", 0.25)]
    assert config.training.eval_steps == 5


@pytest.mark.parametrize(
    ("row", "grader", "said"),
    [
        (question(answer="42", solution="b"), EQUAL, "one other text"),
        (question(solution="42"), EQUAL, "is 'solution'"),
        (question(), EQUAL, "one other text"),
        (question(answer="42"), EQUAL | {"operation": "like"}, "needs a fixed text"),
        (question(answer="42"), EQUAL | {"input": "{{item.answer}}"}, "the whole answer"),
        (question(answer="42"), EQUAL | {"reference": "It is {{item.answer}}"}, "fixed text"),
        (question(answer="42"), {"type": "text_similarity", "name": "t"}, "no reward of this service"),
        (question(answer="42"), MULTI | {"calculate_output": "min(same, polite)"}, "weighted sum"),
        (question(answer="42"), MULTI | {"calculate_output": "same + 1"}, "weighted sum"),
        (question(answer="42"), MULTI | {"calculate_output": f"{10**400} * same"}, "weighted sum"),
        (question(answer="42"), MULTI | {"graders": {"a": {"type": "python"}}}, "must be a string_check"),
    ],
)
def test_a_grader_without_an_equal_is_refused(openai: OpenAI, row, grader, said):
    with pytest.raises(sdk.BadRequestError, match=said) as raised:
        reinforce(openai, upload_rows(openai, row), grader)
    assert raised.value.code == "unsupported_grader"
    assert str(raised.value.param).startswith("method.reinforcement.grader")


@pytest.mark.parametrize("grader", [MULTI | {"calculate_output": "1001 * same"}, LIKE | {"reference": "." * 1000}])
def test_a_grader_beyond_the_bounds_of_a_reward_is_refused(openai: OpenAI, grader):
    with pytest.raises(sdk.BadRequestError, match=r"would be a reward whose (weight|pattern) must") as raised:
        reinforce(openai, upload_rows(openai, question(answer="42")), grader)
    assert raised.value.code == "unsupported_grader"


def test_a_text_beside_a_question_is_not_trained_as_its_answer(openai: OpenAI):
    """Such as an id, in a file whose messages end with the user; a reward would compare answers with it."""
    file = upload_rows(openai, question(id="row-1"), question(id="row-2"))
    with pytest.raises(sdk.BadRequestError, match="end with the user") as raised:
        openai.fine_tuning.jobs.create(model=BASE, training_file=file)
    assert (raised.value.code, raised.value.param) == ("dataset_kind_mismatch", "training_file")


def test_a_malformed_grader_and_hyperparameters_without_an_equal_are_refused(openai: OpenAI):
    file = upload_rows(openai, question(answer="42"))
    for grader in (EQUAL | {"colour": 1}, {"type": "string_check"}, MULTI | {"calculate_output": "other"}):
        with pytest.raises(sdk.BadRequestError) as raised:
            reinforce(openai, file, grader)
        assert raised.value.code == "invalid_grader"
    for name, value in (("compute_multiplier", 2.0), ("eval_samples", 3), ("reasoning_effort", "high")):
        method = {"type": "reinforcement", "reinforcement": {"grader": EQUAL, "hyperparameters": {name: value}}}
        with pytest.raises(sdk.BadRequestError) as raised:
            openai.fine_tuning.jobs.create(model=BASE, training_file=file, method=method)
        assert raised.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("grader", "sample", "reward"),
    [
        (EQUAL, "42", 1.0),
        (EQUAL, "42 ", 0.0),
        (EQUAL | {"reference": "a.c"}, "abc", 0.0),
        (EQUAL | {"reference": "a\n.c"}, "a\n.c", 1.0),
        (LIKE, "Yes, pLEASE.", 1.0),
        (LIKE | {"operation": "like"}, "Yes, pLEASE.", 0.0),
        (LIKE | {"operation": "ne"}, "Please.", 0.0),
        (LIKE | {"operation": "ne"}, "Please.\n", 1.0),
        (MULTI, "42", 0.75),
        (MULTI | {"graders": [EQUAL, LIKE], "calculate_output": "-(same - 2 * polite)"}, "please.", 2.0),
    ],
)
def test_a_grader_is_run_on_an_answer(openai: OpenAI, grader, sample, reward):
    alpha = openai.fine_tuning.alpha.graders
    done = alpha.run(grader=grader, model_sample=sample, item={"answer": "42"})
    assert done.reward == reward
    assert done.metadata.name == grader["name"]
    assert set(done.sub_rewards) == (set() if grader["type"] == "string_check" else {"same", "polite"})
    with pytest.raises(sdk.BadRequestError, match="no reward of this service"):
        alpha.validate(grader={"type": "text_similarity"})  # type: ignore[typeddict-item]


def test_a_grader_is_validated(openai: OpenAI):
    assert openai.fine_tuning.alpha.graders.validate(grader=EQUAL).grader.operation == "eq"
    with pytest.raises(sdk.BadRequestError, match="field 'answer'"):
        openai.fine_tuning.alpha.graders.run(grader=EQUAL, model_sample="x", item={})
