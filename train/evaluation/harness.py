"""Tasks of lm-evaluation-harness as lm-eval runs them: their rows, its prompts, its requests and its scores.

Only evaluations with tasks import this module, because `lm_eval` is an extra.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from peft import PeftModel
from transformers import set_seed

from ftlab.errors import InvalidRequestError
from ftlab.schemas.bench_tasks import BenchTask
from train.data.tokens.chat_template import ChatTemplate
from train.evaluation.cases import Skip
from train.evaluation.task_checks import Task
from train.evaluation.task_rows import TaskCase, TaskRow
from train.evaluation.work import LoadedModel, Work
from train.model.generation import RowDraws, generating, generation_config, row_seed

GENERATED = "generate_until"
CHOSEN = "multiple_choice"
BYPASS = "bypass"
"""A metric of lm-eval that only keeps the answers."""
NO_FILTER = "none"
MAX_SEEDS = 2**32
NOT_OF_A_TASK = ("tag", "group", "task_list")
"""Fields of a task file that are about other tasks."""
TASK_ERRORS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, TypeError, ValueError)
"""Exceptions that a faulty task causes, in its own functions or in lm-eval."""


def load_tasks(
    specs: Sequence[BenchTask], tasks: Sequence[Task], cache: Path, *, max_rows: int | None, seed: int, first: int
) -> "list[HarnessTask]":
    """Read the rows of tasks, whose numbers begin with `first`; `cache` is a folder for copies of them.

    Raise `InvalidRequestError` for a task that lm-eval cannot load.
    """
    loaded: list[HarnessTask] = []
    for spec, task in zip(specs, tasks, strict=True):
        loaded.append(HarnessTask(spec, task, cache, max_rows=max_rows, seed=seed, first=first))
        first += len(loaded[-1].cases)
    return loaded


class HarnessTask:
    """One task, with the rows that are measured."""

    def __init__(
        self, spec: BenchTask, task: Task, cache: Path, *, max_rows: int | None, seed: int, first: int
    ) -> None:
        """Raises what `load_tasks` raises."""
        self.name = spec.name
        self._spec, self._seed, self._max_rows = spec, seed, max_rows
        with self._errors("be loaded"):
            fields = load_yaml(task.file.path) | task.data
            fields["dataset_kwargs"] = fields["dataset_kwargs"] | {"cache_dir": str(cache)}
            if spec.num_fewshot is not None:
                fields["num_fewshot"] = spec.num_fewshot
            own = {key: value for key, value in fields.items() if key not in NOT_OF_A_TASK}
            self._task = ConfigurableTask(config=own)
            docs = list(self._task.doc_iterator(limit=max_rows))
            self.cases = [self._case(first + place, place, doc) for place, (_, doc) in enumerate(docs)]
        if not self.cases:
            raise InvalidRequestError(f"Task '{self.name}' has no rows; check its files.", "invalid_config", "tasks")

    @property
    def part(self) -> str:
        """Name of the part of a model's work that measures the task."""
        return f"task:{self.name}"

    @property
    def reads_only(self) -> bool:
        """Whether models only read its texts, and generate none."""
        return str(self._task.OUTPUT_TYPE) != GENERATED

    @property
    def functions(self) -> Mapping[str, Callable[[Sequence[Any]], float]]:
        """How lm-eval computes the value of each metric from those of the rows."""
        return dict(self._task.aggregation())

    @property
    def metrics(self) -> list[str]:
        """The metrics that the task names, with its filters."""
        filters = [each.name for each in self._task._filters]
        return [_named(metric, filtered) for filtered in filters for metric in self.functions if metric != BYPASS]

    def is_lower_better(self, metric: str) -> bool:
        return self._task.higher_is_better().get(metric) is False

    def measure(self, work: Work, loaded: LoadedModel, rows: Sequence[int], dtype: torch.dtype | None) -> None:
        """Measure the rows of these numbers. Mixed precision computes in `dtype`; `None` is that of the weights."""
        model = _HarnessModel(loaded, dtype)
        with self._errors("be prepared"):
            requests = self._requests(model)
        fitting, skipped = [], {}
        for row in rows:
            with self._errors("be prepared", row):
                if model.fits(requests[row]):
                    fitting.append(row)
                else:
                    skipped[row] = Skip.PROMPT_TOO_LONG
        work.on_done(skipped)
        fitting.sort(key=lambda row: -len(str(requests[row][0].args[0])))

        def measure(batch: list[int]) -> int:
            # One request of each row at a time: as many rows as the memory holds.
            model.batch_size_per_gpu = len(batch)
            set_seed((self._seed + batch[0]) % MAX_SEEDS)
            model.draws = _PromptDraws(self._seed, requests[batch[0]][0].repeats or 1)
            work.on_done(self._measured(model, {row: requests[row] for row in batch}))
            return 0

        with generating(loaded.model), _checked_in(loaded.model, work.check_in):
            work.in_batches(fitting, loaded, measure)

    def _requests(self, model: "_HarnessModel") -> dict[int, list[Instance]]:
        """What lm-eval asks the model about each row: of all rows, so that each has the examples of a whole run."""
        templated = self._spec.apply_chat_template and model.has_template
        self._task.set_fewshot_seed(self._seed)
        self._task.build_all_requests(
            limit=self._max_rows,
            apply_chat_template=templated,
            fewshot_as_multiturn=templated,
            chat_template=model.apply_chat_template if templated else None,
        )
        found: dict[int, list[Instance]] = defaultdict(list)
        for instance in self._task.instances:
            found[self.cases[0].number + instance.doc_id].append(instance)
        for instances in found.values():
            instances.sort(key=lambda instance: instance.idx)
        return found

    def _measured(self, model: "_HarnessModel", requests: Mapping[int, Sequence[Instance]]) -> dict[int, TaskRow]:
        of_kind: dict[str, list[Instance]] = defaultdict(list)
        for instances in requests.values():
            for instance in instances:
                instance.resps.clear()
                of_kind[instance.request_type] += [instance] * (instance.repeats or 1)
        for kind, repeated in of_kind.items():
            with self._errors("be measured"):
                replies = getattr(model, kind)(repeated, disable_tqdm=True)
            for instance, reply in zip(repeated, replies, strict=True):
                instance.resps.append(reply)
        with self._errors("be filtered"):
            self._task._instances = [instance for instances in requests.values() for instance in instances]
            self._task.apply_filters()
        found = {}
        for row, instances in requests.items():
            with self._errors("be scored", row):
                found[row] = TaskRow(self._answer(instances), self._items(instances))
        return found

    def _items(self, instances: Sequence[Instance]) -> dict[str, Any]:
        """What each metric makes of one row, for every filter of the task."""
        items: dict[str, Any] = {}
        for filtered in instances[0].filtered_resps:
            replies = [instance.filtered_resps[filtered] for instance in instances]
            for metric, item in self._task.process_results(instances[0].doc, replies).items():
                if metric != BYPASS:
                    items[_named(metric, filtered)] = _plain(metric, item)
        return items

    def _answer(self, instances: Sequence[Instance]) -> str | None:
        """The generated answer, or the choice that the model prefers."""
        if self._task.OUTPUT_TYPE == GENERATED:
            return str(instances[0].resps[0])
        if self._task.OUTPUT_TYPE != CHOSEN:
            return None
        choices = self._task.doc_to_choice(instances[0].doc)
        likelihoods = [instance.resps[0][0] for instance in instances[: len(choices)]]
        return str(choices[int(np.argmax(likelihoods))])

    def _case(self, number: int, place: int, doc: Any) -> TaskCase:
        asked, target = self._task.doc_to_text(doc), self._task.doc_to_target(doc)
        choices = self._task.doc_to_choice(doc) if self._task.OUTPUT_TYPE == CHOSEN else []
        if not isinstance(asked, str):  # the choices are whole questions, and `asked` is the right one
            return TaskCase(number, place + 1, self.name, " / ".join(choices), str(choices[asked]))
        if isinstance(target, int) and 0 <= target < len(choices):
            target = choices[target]
        reference = " / ".join(map(str, target)) if isinstance(target, list) else str(target)
        return TaskCase(number, place + 1, self.name, asked or reference, reference)

    @contextmanager
    def _errors(self, what: str, row: int | None = None) -> Iterator[None]:
        """Raise `InvalidRequestError` that names the task for an error of its files."""
        try:
            yield
        except InvalidRequestError:
            raise
        except (*TASK_ERRORS, TemplateError) as error:
            where = "" if row is None else f" at row {row - self.cases[0].number + 1}"
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InvalidRequestError(
                f"Task '{self.name}' cannot {what}{where} ({reason}); correct its files, or leave it out.",
                "invalid_config",
                "tasks",
            ) from error


class _PromptDraws:
    """Random numbers of sampled answers: they follow from the prompt, and from how often its row has asked it.

    A row asks its prompt `num_repeats` times in succession. So the rows of a prompt get the same answers, and none
    depends on the batches.
    """

    def __init__(self, seed: int, num_repeats: int) -> None:
        self._seed, self._num_repeats = seed, num_repeats
        self._asked: Counter[tuple[int, ...]] = Counter()

    def of(self, prompts: Sequence[tuple[int, ...]]) -> RowDraws:
        seeds = []
        for prompt in prompts:
            seeds.append(row_seed(self._seed, (*prompt, self._asked[prompt] % self._num_repeats)))
            self._asked[prompt] += 1
        return RowDraws(seeds)


class _HarnessModel(HFLM):
    """A loaded model as lm-eval asks it: with the chat template of this service, and greedy unless a task draws."""

    def __init__(self, loaded: LoadedModel, dtype: torch.dtype | None) -> None:
        # It warns that the model is loaded already.
        logging.getLogger(HFLM.__module__).setLevel(logging.ERROR)
        super().__init__(
            loaded.model,
            backend="causal",
            tokenizer=loaded.tokenizer,
            max_length=loaded.max_positions,
            mixed_precision_dtype=dtype,
            softmax_dtype=torch.float32,
        )
        self._template = ChatTemplate.of(loaded.tokenizer)
        self.draws = _PromptDraws(0, 1)

    @property
    def has_template(self) -> bool:
        return self._template.origin != "none"

    def fits(self, requests: Sequence[Instance]) -> bool:
        """Whether the model has positions for the requests, which lm-eval would cut."""
        return all(self._fits(request) for request in requests)

    def _fits(self, request: Instance) -> bool:
        if request.request_type == "loglikelihood_rolling":
            return True  # which reads a text in windows
        context, rest = request.args[0], request.args[1]
        if request.request_type == GENERATED:
            answer = int(rest.get("max_gen_toks", self.max_gen_toks))
            return bool(len(self.tok_encode(context)) + answer <= self.max_length)
        return bool(len(self.tok_encode(context + rest)) <= self.max_length)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        if add_generation_prompt:
            try:
                return self._template.render(self.tokenizer, chat_history, None, add_generation_prompt=True)
            except TemplateError:
                pass  # lm-eval leaves out the system message, which is what most such templates refuse
        text: str = super().apply_chat_template(chat_history, add_generation_prompt)
        return text

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **settings: Any) -> torch.Tensor:
        """Generate without the settings that come with the model."""
        before, own = self.model.generation_config, generation_config(self.model, self.tokenizer, 1)
        own.max_new_tokens = None  # lm-eval gives the length with the prompt
        self.model.generation_config = own
        draws: AbstractContextManager[Any] = nullcontext()
        if settings.get("do_sample"):
            rows = zip(context.tolist(), settings["attention_mask"].tolist(), strict=True)
            draws = self.draws.of([tuple(compress(tokens, mask)) for tokens, mask in rows])
        try:
            with draws:
                tokens: torch.Tensor = super()._model_generate(context, max_length, stop, **settings)
        finally:
            self.model.generation_config = before
        return tokens


@contextmanager
def _checked_in(model: Any, check_in: Callable[[], None]) -> Iterator[None]:
    """Check in before every pass; an exception ends the work."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    hook = inner.register_forward_pre_hook(lambda *_: check_in())
    try:
        yield
    finally:
        hook.remove()


def _named(metric: str, filtered: str) -> str:
    return metric if filtered == NO_FILTER else f"{metric}/{filtered}"


def _plain(metric: str, item: Any) -> Any:
    """What a metric made of a row as JSON has it. Raise `ValueError` for what JSON cannot hold."""
    if isinstance(item, np.generic | np.ndarray):
        item = item.tolist()
    if isinstance(item, list | tuple):
        return [_plain(metric, each) for each in item]
    if item is None or isinstance(item, str | int | float):
        return item
    raise ValueError(f"metric '{metric}' gives a {type(item).__name__}, which cannot be kept")
