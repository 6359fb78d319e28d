"""What `ftlab eval` sends and prints."""

import pytest

from ftlab.cli.evaluate import _cut_answers, _document, _lines, _metric, _verdict
from ftlab.errors import InvalidRequestError
from ftlab.schemas.evaluation_results import EvaluationResults, MetricResult, ModelResult, PairedTest
from ftlab.schemas.job_file import parse_any_config


def test_metrics_are_types_or_mappings():
    document = _document(["job:a"], "ds-1", ["f1", "{type: chrf, word_order: 2}"], None, 10, "mine")
    config = parse_any_config(document)
    assert config.model_dump(mode="json", exclude_unset=True) == {
        "kind": "evaluation",
        "name": "mine",
        "models": ["job:a"],
        "dataset": "ds-1",
        "metrics": [{"type": "f1"}, {"type": "chrf", "word_order": 2}],
        "max_rows": 10,
    }
    with pytest.raises(InvalidRequestError, match=r"metrics\.0"):
        parse_any_config(document | {"metrics": [_metric("acuracy")]})


def test_tasks_are_names_or_mappings_and_need_no_dataset():
    document = _document(["job:a"], None, None, ["one", "{name: two, num_fewshot: 5}"], None, None)
    config = parse_any_config(document)
    assert config.model_dump(mode="json", exclude_unset=True) == {
        "kind": "evaluation",
        "models": ["job:a"],
        "metrics": [],
        "tasks": [{"name": "one"}, {"name": "two", "num_fewshot": 5}],
    }


@pytest.mark.parametrize(
    ("difference", "p_value", "lower", "verdict"),
    [
        (0.2, 0.01, False, "+0.2, better"),
        (-0.2, 0.01, False, "-0.2, worse"),
        (-0.2, 0.01, True, "-0.2, better"),
        (0.2, 0.2, False, "+0.2, not significant"),
        (0.2, None, False, "+0.2, not significant"),
        (0.0, 0.01, False, "+0, not significant"),
        (None, None, False, ""),
    ],
)
def test_only_a_significant_difference_is_called_better_or_worse(difference, p_value, lower, verdict):
    test = PairedTest(metric="f1", model="model", other="base", difference=difference, p_value=p_value)
    assert _verdict(MetricResult(metric="f1", is_lower_better=lower), test) == verdict


def test_perplexities_over_other_tokens_are_called_not_comparable():
    test = PairedTest(metric="perplexity", model="model", other="base", num_rows=4, is_comparable=False)
    assert _verdict(MetricResult(metric="perplexity"), test) == "not comparable, other tokens"


def test_answers_that_were_cut_off_are_counted():
    models = [
        ModelResult(key="base", name="org/name", num_answers=40, num_cut_answers=12),
        ModelResult(key="model", name="job:a", base="base", num_answers=40),
    ]
    found = EvaluationResults(job_id="job-1", dataset_id="ds-1", num_rows=40, models=models)
    assert list(_cut_answers(found)) == ["12 of 40 answers of org/name were cut off at generation.max_new_tokens."]


def test_the_base_has_no_difference_and_skipped_rows_are_named():
    metric = MetricResult(metric="f1", value=0.5, low=0.25, high=0.75, num_rows=4, skipped={"no_prompt": 2})
    found = EvaluationResults(
        job_id="job-1",
        dataset_id="ds-1",
        num_rows=6,
        models=[
            ModelResult(key="base", name="org/name", metrics=[metric]),
            ModelResult(key="model", name="job:a", base="base", metrics=[MetricResult(metric="f1")]),
        ],
        tests=[PairedTest(metric="f1", model="model", other="base", difference=0.1, p_value=0.0314)],
    )
    assert list(_lines(found)) == [
        ("org/name (base)", "f1", "0.5", "0.25 to 0.75", 4, "2 no_prompt", "", ""),
        ("job:a", "f1", "", "", 0, "", "+0.1, better", "0.031"),
    ]
