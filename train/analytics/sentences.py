"""The results of an analysis as plain sentences, the most important first."""

from collections.abc import Iterator

from ftlab.schemas import JobAnalytics
from ftlab.schemas.analytics import BestEvaluation
from train.analytics.learning import Goal

LITTLE_GAIN = 0.02
"""A smaller share of the total improvement is little."""
STILL_IMPROVING = 0.05
LARGE_GAP = 0.25
"""A larger gap, relative to the training, is worth a sentence."""
CLIPPED_OFTEN = 0.5
SLOWER = 0.8
"""Share of the highest speed below which the last quarter is slow."""
LONG_DATA_WAIT = 0.05
LONG_EVALUATION = 0.25
MIN_LOST_S = 1.0


def sentences_of(found: JobAnalytics, goal: Goal) -> list[str]:
    """What the analysis found, one sentence each. Steps are those of the whole job."""
    return [
        *_learning(found, goal),
        *_last_third(found, goal),
        *_course(found),
        *_measurements(found),
        *_time(found),
        *_comparison(found, goal),
    ]


def words(metric: str) -> str:
    """A metric's name in a sentence: `eval loss` for `eval_loss`."""
    return metric.replace("_", " ")


def _learning(found: JobAnalytics, goal: Goal) -> Iterator[str]:
    best = found.best
    if best is None:
        if found.convergence is not None:
            yield "There is no evaluation yet, so nothing shows how well the model does on other rows."
        return
    extreme = "highest" if goal.is_highest_best else "lowest"
    yield f"The {extreme} {words(best.metric)} is {best.value:.4g}, at step {best.step:,} of {found.step:,}."
    if _never_improved(best, goal):
        yield f"It never improved on the model before training, which has {best.before_training:.4g}."
    elif best.evaluations_since:
        evaluations = "evaluation" if best.evaluations_since == 1 else "evaluations"
        yield (
            f"The {words(best.metric)} has not improved for {best.steps_since:,} steps ({best.evaluations_since} "
            f"{evaluations})."
        )


def _last_third(found: JobAnalytics, goal: Goal) -> Iterator[str]:
    best = found.best
    if best is None or best.last_third_gain is None or not found.status.is_terminal or _never_improved(best, goal):
        return
    total = abs(best.before_training - best.value) if best.before_training is not None else None
    if best.last_third_gain <= 0:
        yield f"The last third of the steps did not improve the {words(best.metric)}."
    elif total and best.last_third_gain < LITTLE_GAIN * total:
        yield f"The last third of the steps improved the {words(best.metric)} by only {best.last_third_gain:.2g}."
    elif total and not best.evaluations_since and best.last_third_gain > STILL_IMPROVING * total:
        yield f"The {words(best.metric)} was still improving at the end: more steps may improve it further."


def _never_improved(best: BestEvaluation, goal: Goal) -> bool:
    return best.before_training is not None and goal.improvement(best.before_training, best.value) <= 0


def _course(found: JobAnalytics) -> Iterator[str]:
    course, gap = found.convergence, found.gap
    if course is not None and course.num_points > 1:
        name = "training loss" if course.metric == "loss" else words(course.metric)
        text = f"The {name} went from {course.first:.4g} to {course.last:.4g}"
        if course.trend is not None:
            text += f" and is {course.trend} in the last third of the steps"
        yield f"{text}; it settled at step {course.settled_step:,}." if course.settled_step else f"{text}."
    if gap is not None and gap.is_widening and gap.at_best is not None:
        yield (
            f"The evaluation is worse than the training by {gap.gap:.2g} at step {gap.step:,}, and was by "
            f"{gap.at_best:.2g} at the best evaluation: the model overfits."
        )
    elif gap is not None and gap.gap > LARGE_GAP * abs(gap.train):
        yield (
            f"The evaluation is worse than the training by {gap.gap:.2g} at step {gap.step:,}: {gap.evaluation:.4g} "
            f"and {gap.train:.4g}."
        )


def _measurements(found: JobAnalytics) -> Iterator[str]:
    if found.spikes is not None and found.spikes.largest:
        spike = max(found.spikes.largest, key=lambda each: each.value - each.usual)
        count = "one spike:" if found.spikes.count == 1 else f"{found.spikes.count} spikes; the largest is"
        yield (
            f"The training loss has {count} {spike.value:.4g} at step {spike.step:,}, after a median of "
            f"{spike.usual:.4g}."
        )
    norm = found.gradient_norm
    if norm is not None and norm.clipped_share is not None and norm.clipped_share > CLIPPED_OFTEN:
        yield (
            f"The gradient was clipped at {norm.clipped_share:.0%} of the logged steps (training.max_grad_norm); its "
            f"norm has a median of {norm.median:.3g}."
        )
    speeds = [part.tokens_per_s for part in found.throughput.parts if part.tokens_per_s] if found.throughput else []
    if len(speeds) > 1 and speeds[-1] < SLOWER * max(speeds):
        yield f"The speed fell from {max(speeds):,.0f} to {speeds[-1]:,.0f} tokens/s in the last quarter of the steps."


def _time(found: JobAnalytics) -> Iterator[str]:
    time = found.time
    step_s = sum(each or 0.0 for each in (time.generation_s, time.forward_s, time.backward_s, time.optimizer_s))
    if time.data_s and time.data_s > LONG_DATA_WAIT * (step_s + time.data_s):
        share = time.data_s / (step_s + time.data_s)
        yield f"The steps waited for their rows for {share:.0%} of their time (resources.cpus_per_worker)."
    if time.evaluation_s and time.evaluation_s > LONG_EVALUATION * (step_s + time.evaluation_s):
        share = time.evaluation_s / (step_s + time.evaluation_s)
        yield f"Evaluations took {share:.0%} of the time of training and evaluation (training.eval_steps)."
    if time.lost_s >= MIN_LOST_S and time.total_s:
        again = f": {time.lost_steps:,} steps were trained again" if time.lost_steps else ""
        yield f"Interruptions cost {time.lost_s / time.total_s:.0%} of the time{again}."


def _comparison(found: JobAnalytics, goal: Goal) -> Iterator[str]:
    rivals = [run for run in found.earlier_runs if run.is_comparable and run.best is not None]
    if found.best is None or not rivals:
        return
    rival = max(rivals, key=lambda run: goal.improvement(0.0, run.best or 0.0))
    assert rival.best is not None
    gain = goal.improvement(rival.best, found.best.value)
    how = "better than" if gain > 0 else "worse than" if gain < 0 else "equal to"
    yield (
        f"Its best {words(found.best.metric)} of {found.best.value:.4g} is {how} the {rival.best:.4g} of the best "
        f"comparable earlier job, {rival.job_id}."
    )
