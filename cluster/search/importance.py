"""How much each parameter of a sweep mattered: PED-ANOVA over the trials that completed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.search.suggest import SearchTrial, space_of, study_of
from ftlab.schemas.sweeps import SweepConfig, TrialState

MIN_TRIALS = 5
"""With fewer trials, the shares say more about chance than about the parameters."""


@dataclass(frozen=True)
class Importance:
    """Share of each parameter, or why there is none."""

    shares: dict[str, float] | None = None
    """By parameter, the largest first; their sum is 1."""
    note: str | None = None


def importance(sweep: SweepConfig, whole: Collection[str], trials: Sequence[SearchTrial]) -> Importance:
    """Shares of the parameters in what separates the best trials from all that completed.

    PED-ANOVA (Watanabe et al., 2023), as Optuna computes it.
    """
    done = [trial for trial in trials if trial.state is TrialState.COMPLETED and trial.value is not None]
    if len(done) < MIN_TRIALS:
        return Importance(
            note=f"The importance of the parameters is computed from {MIN_TRIALS} completed trials on; there "
            f"{'is' if len(done) == 1 else 'are'} {len(done)}."
        )
    if len({trial.value for trial in done}) == 1:
        return Importance(note="All completed trials have the same value, so no parameter made a difference.")
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = study_of(sweep, space_of(sweep, whole), (), done)
    varied = [name for name in sweep.parameters if len({repr(trial.parameters[name]) for trial in done}) > 1]
    if len(varied) < 2:
        return Importance(note="Only one parameter has several values among the completed trials.")
    return Importance(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=varied))
