"""What a plan may ask."""

from __future__ import annotations

import pytest

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.question import Question

RMSE = Metric("val/rmse", "min", "test/rmse")


@pytest.mark.parametrize(
    ("question", "metric"),
    [
        (Question(), ACCURACY),
        (Question(), RMSE),
        (Question("rmse", margin=0.01), RMSE),
        (Question("steps", 0.98), ACCURACY),
        (Question("steps", 0.98, steps_margin=0.2), RMSE),
    ],
)
def test_a_question_on_the_metric_or_on_a_target_is_one(question: Question, metric: Metric) -> None:
    question.check(metric, [0.9, 0.98])


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question("steps"), "question.target must be one of the plan's targets, 0.9, 0.98; got None"),
        (Question("steps", 0.97), "got 0.97"),
        (Question("accuracy", 0.98), "measure: steps, target: 0.9"),
        (Question("rmse"), "question must be {measure: accuracy} or"),
        (Question("flops", 0.98), "got measure 'flops'"),
        (Question(margin=0.0), "question.margin must be above 0"),
        (Question(margin=float("nan")), "question.margin"),
        (Question(steps_margin=1.5), "question.steps_margin must be between 0 and 1"),
    ],
)
def test_any_other_is_one_plain_error(question: Question, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("{", "\\{").replace("}", "\\}")):
        question.check(ACCURACY, [0.9, 0.98])


def test_only_shares_have_a_margin_that_nobody_said() -> None:
    assert Question().metric_margin(ACCURACY) == 0.002
    assert Question().metric_margin(RMSE) is None
    assert Question(margin=0.1).metric_margin(RMSE) == 0.1
