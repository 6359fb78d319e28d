"""What happened, in one sentence for people."""

from ftlab.status import FailureCause, Phase, ReasonCode
from train.failures.divergence import is_by_rows
from train.failures.facts import FailureFacts

C = FailureCause


def sentence_of(cause: FailureCause, facts: FailureFacts, phase: Phase | None) -> str:
    """The sentence about a cause. Where the error already names the place and the remedy, it is the message."""
    where = _where(facts, phase)
    match cause:
        case C.GPU_MEMORY | C.GPU_MEMORY_TRAINING | C.GPU_MEMORY_EVALUATION:
            return f"The GPU's memory was used up {where}{_rows(facts, cause)}."
        case C.HOST_MEMORY:
            return f"The machine's memory was used up {where}{_rows(facts, cause)}."
        case C.STUCK:
            return facts.failure.message.partition(" Its stacks ")[0]
        case C.DIVERGED if not facts.metrics.get("loss"):
            return "The loss was not a finite number from the first step on: the base model or the rows are at fault."
        case C.DIVERGED if is_by_rows(facts):
            what = facts.failure.message.partition(". ")[0]
            return f"{what}, and the steps before it were as usual: most likely, rows of this step are at fault."
        case C.DIVERGED:
            what = facts.failure.message.partition(". ")[0]
            return f"The training diverged: {what[:1].lower()}{what[1:]}."
        case C.LEARNED_NOTHING:
            limit = "max_cost" if facts.failure.reason is ReasonCode.COST_LIMIT else "time limit"
            return f"The {limit} was used up, and the loss had not changed since the first step."
        case C.KILLED:
            return f"A process of the run exited without an error message {where}: killed, or a crash in native code."
        case C.COLLECTIVE_LOST:
            return f"The workers lost their connection to each other {where}; most likely one of them ended first."
    return facts.failure.message


def _where(facts: FailureFacts, phase: Phase | None) -> str:
    at_step = f" at step {facts.step}" if facts.step else ""
    match phase:
        case Phase.LOADING:
            return "while the model and the rows were loaded"
        case Phase.EVALUATING:
            return f"in the evaluation{at_step}"
        case Phase.SAVING:
            return f"while a checkpoint was saved{at_step}"
        case Phase.DELIVERING:
            return "while the model was delivered"
        case Phase.TRAINING:
            return f"in a training step after step {facts.step}" if facts.step else "in the first training step"
    return at_step.strip() or "before the first step"


def _rows(facts: FailureFacts, cause: FailureCause) -> str:
    """The rows of a pass, from the config."""
    if facts.config is None or cause is C.GPU_MEMORY or cause is C.HOST_MEMORY:
        return ""
    training = facts.config.training
    is_eval = cause is C.GPU_MEMORY_EVALUATION
    number = training.per_device_eval_batch_size if is_eval else training.per_device_train_batch_size
    return f", with {number} {'row' if number == 1 else 'rows'} at once"
