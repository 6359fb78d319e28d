"""Peak memory of an evaluation of models, from its config and the lengths of its rows."""

from collections.abc import Sequence

from ftlab.schemas import EvaluationConfig
from train.device_defaults import AS_TRAINED, FIRST_BATCH_ON_CPU
from train.estimate.memory import DeviceTraits, Memory, answering_peak, evaluation_peak
from train.model.shape import ModelShape


def measuring_peak(
    shape: ModelShape, config: EvaluationConfig, readings: Sequence[int], prompts: Sequence[int], traits: DeviceTraits
) -> Memory:
    """The largest of the peaks of all parts of the work.

    `readings` are the tokens of the longest row of each perplexity, and `prompts` those of the longest prompt, if a
    metric needs answers. One of them is not empty.
    """
    texts = config.batch_size or (1 if traits.use_cuda else FIRST_BATCH_ON_CPU)
    training = AS_TRAINED.training.model_copy(update={"per_device_eval_batch_size": texts})
    loaded = AS_TRAINED.model_copy(update={"training": training})
    peaks = [evaluation_peak(shape, loaded, max(1, longest), traits) for longest in readings]
    answer = config.generation.max_new_tokens
    peaks += [answering_peak(shape, loaded, texts, longest + answer, traits) for longest in prompts]
    return max(peaks, key=lambda peak: peak.total)
