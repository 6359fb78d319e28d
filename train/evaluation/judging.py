"""The work of judges: the answers of a model, rated by another one. Every judgement is kept as soon as it is there."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ftlab.errors import ConflictError, InvalidRequestError
from ftlab.schemas.judge_servers import JudgeServer
from ftlab.schemas.judges import JudgeMetric, JudgePreference, JudgeScore
from train.evaluation.cases import Case, Skip
from train.evaluation.judge_client import JudgeClient, RequestRefusedError, filled, parse_choice, parse_score
from train.evaluation.measures import Answer, JudgeMeasure, Numbers
from train.plan import EvaluationPlan

POLL_S = 0.5
LAST_REPLIES_S = 2.0
"""Seconds that a stopped evaluation waits for the replies to requests that are under way."""
TIE = 0.5


@dataclass(frozen=True)
class Judgement:
    """What a judge made of one row."""

    numbers: Numbers | Skip
    replies: tuple[str, ...] = ()
    """What it wrote; the other order of a pair second."""


@dataclass(frozen=True)
class Rated:
    """The answers that are rated: those of a model, and those of its base model, `None` for the base model itself."""

    answers: Mapping[int, Answer | Skip]
    base_answers: Mapping[int, Answer | Skip] | None


def judge_clients(plan: EvaluationPlan) -> dict[str, JudgeClient]:
    """The judges of the plan's metrics by name.

    Raise `InvalidRequestError` or `ConflictError` for one that is not what it was at the submission.
    """
    # Its lines at this level hold the URL of the judge, which the job's log does not need.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    clients: dict[str, JudgeClient] = {}
    for metric in plan.config.metrics:
        if isinstance(metric, JudgeMetric) and metric.judge not in clients:
            server = _server(plan, metric)
            clients[metric.judge] = JudgeClient(metric.judge, server, plan.config.seed)
    return clients


def _server(plan: EvaluationPlan, metric: JudgeMetric) -> JudgeServer:
    server = plan.judges.get(metric.judge)
    if server is None:
        raise InvalidRequestError(
            f"The service no longer has the judge '{metric.judge}'; add it to the setting judges, or submit the "
            "evaluation with another one.",
            "invalid_config",
            "metrics",
        )
    if metric.model not in (None, server.model):
        raise ConflictError(
            f"Judge '{metric.judge}' is another model now ('{server.model}', and not '{metric.model}' as at the "
            "submission). Submit the evaluation again.",
            "judge_changed",
            "metrics",
        )
    return server


@dataclass(frozen=True)
class Judging:
    """One metric of one model."""

    measure: JudgeMeasure
    client: JudgeClient
    check_in: Callable[[], None]
    """Called while replies are awaited; raises `EarlyStop` where a stop is requested."""
    on_done: Callable[[Mapping[int, Judgement]], None]
    """Called with every row as soon as it is judged."""

    def rate(self, cases: Sequence[Case], rated: Rated) -> None:
        """Judge the rows. Raise what `JudgeClient.ask` raises, and `InvalidRequestError` where it refuses every row."""
        asked = []
        for case in cases:
            known = self._known(case, rated)
            if known is None:
                asked.append(case)
            else:
                self.on_done({case.number: known})
        refused: dict[int, str] = {}
        num_judged = 0
        for case, judgement in self._judged(asked, rated):
            if isinstance(judgement, Judgement):
                num_judged += 1
                self.on_done({case.number: judgement})
            else:
                refused[case.number] = str(judgement)
        if refused and not num_judged:
            first = next(iter(refused.values()))
            raise InvalidRequestError(
                f"Judge '{self.client.name}' refused every row of metric '{self.measure.name}' ({first}); check its "
                "model and max_tokens in the setting judges, and the length of the rubric.",
                "invalid_config",
                "metrics",
            )
        self.on_done(dict.fromkeys(refused, Judgement(Skip.JUDGE_REFUSED)))

    def _known(self, case: Case, rated: Rated) -> Judgement | None:
        """The judgement that needs no request; `None` where the judge must be asked."""
        metric = self.measure.metric
        answer = rated.answers[case.number]
        if isinstance(answer, Skip):
            return Judgement(answer)
        if metric.needs_reference and case.reference is None:
            return Judgement(Skip.NO_REFERENCE)
        if not isinstance(metric, JudgePreference):
            return None
        base = answer if rated.base_answers is None else rated.base_answers[case.number]
        if isinstance(base, Skip):
            return Judgement(base)
        return Judgement((TIE, 1.0)) if base.text == answer.text else None

    def _judged(self, cases: Sequence[Case], rated: Rated) -> Iterator[tuple[Case, Judgement | RequestRefusedError]]:
        """Each row with its judgement, in the order in which they arrive."""
        if not cases:
            return
        pool = ThreadPoolExecutor(self.client.server.max_concurrency, thread_name_prefix="judge")
        futures: dict[Future[Judgement | RequestRefusedError], Case] = {
            pool.submit(self._ask, case, rated): case for case in cases
        }
        try:
            while futures:
                done, _ = wait(futures, POLL_S, FIRST_COMPLETED)
                for future in done:
                    yield futures.pop(future), future.result()
                self.check_in()
        except BaseException:
            # The replies that are under way are paid for: those that arrive soon are kept.
            pool.shutdown(wait=False, cancel_futures=True)
            done, _ = wait([future for future in futures if not future.cancelled()], LAST_REPLIES_S)
            self._keep([(futures[future], future) for future in done])
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _keep(self, arrived: Sequence[tuple[Case, "Future[Judgement | RequestRefusedError]"]]) -> None:
        for case, future in arrived:
            if future.exception() is None and isinstance(judgement := future.result(), Judgement):
                self.on_done({case.number: judgement})

    def _ask(self, case: Case, rated: Rated) -> Judgement | RequestRefusedError:
        answer = rated.answers[case.number]
        assert isinstance(answer, Answer)
        known = {"question": case.question, "reference": case.reference or ""}
        metric = self.measure.metric
        try:
            if isinstance(metric, JudgeScore):
                reply = self.client.ask(score_prompt(metric, known | {"answer": answer.text}))
                return _score(metric, reply)
            assert rated.base_answers is not None
            base = rated.base_answers[case.number]
            assert isinstance(base, Answer)
            orders = ((answer.text, base.text), (base.text, answer.text))
            replies = [
                self.client.ask(pair_prompt(metric, known | {"answer_a": first, "answer_b": second}))
                for first, second in orders
            ]
            return _preference(replies)
        except RequestRefusedError as refusal:
            return refusal


def score_prompt(metric: JudgeScore, values: Mapping[str, str]) -> str:
    """What the judge reads to give a score."""
    scale = f"a number from {metric.min_score:g} (worst) to {metric.max_score:g} (best)"
    form = '{"score": <number>, "reason": "<one sentence>"}'
    return f"{filled(metric.rubric, values)}\n\nReply with one JSON object and nothing else. score is {scale}:\n{form}"


def pair_prompt(metric: JudgePreference, values: Mapping[str, str]) -> str:
    """What the judge reads to choose between two answers."""
    form = '{"better": "<A, B or tie>", "reason": "<one sentence>"}'
    return f"{filled(metric.rubric, values)}\n\nReply with one JSON object and nothing else:\n{form}"


def _score(metric: JudgeScore, reply: str) -> Judgement:
    score = parse_score(reply, metric.min_score, metric.max_score)
    return Judgement(Skip.JUDGE_UNREADABLE if score is None else (score, 1.0), (reply,))


def _preference(replies: Sequence[str]) -> Judgement:
    """1 where the judge prefers the model in both orders, 0 where it prefers the base in both, else a tie."""
    first, second = map(parse_choice, replies)
    if first is None or second is None:
        return Judgement(Skip.JUDGE_UNREADABLE, tuple(replies))
    wins = {("A", "B"): 1.0, ("B", "A"): 0.0}
    return Judgement((wins.get((first, second), TIE), 1.0), tuple(replies))
