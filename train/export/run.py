"""One attempt of an export, from the plan to artifacts that answer like the tuned model."""

import gc
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ftlab.files import sync
from ftlab.schemas.export import ExportFormat
from ftlab.schemas.export_results import CARD_FILE, RECEIPT_FILE, Receipt
from train.checkpoints.checkpoint_files import commit, verify
from train.device_defaults import AS_TRAINED
from train.export.answer_check import (
    AGREEMENT,
    LARGEST,
    TYPICAL,
    Difference,
    Reference,
    difference_from,
    differs,
    load_to_compare,
    prompt_tokens,
    reference_of,
)
from train.export.forms import Form, forms_of, num_tensors
from train.export.merged_weights import MergedWeights
from train.export.model_card import model_card
from train.failures.classify import raise_if_disk_full
from train.loop.run_context import EarlyStop, Heartbeat, StopPoll
from train.model.base_model import check_revision, find_model
from train.model.folder import facts_of
from train.model.reward_head import check_files
from train.model.tokenizer import load_tokenizer
from train.plan import Ending, ExportPlan, ModelLoaded, Outcome, Phase, RunLink
from train.process import prepare_process
from train.reporting.work_progress import WorkProgress


def run(plan: ExportPlan, link: RunLink) -> Outcome:
    """Write and check the artifacts that are not there yet.

    Raises any error; `train.failures.classify.classify` derives the reason from it.
    """
    prepare_process(plan)
    export = _Export(plan, link)
    try:
        export.run()
    except EarlyStop as stop:
        return Outcome(
            Ending.STOPPED, export.progress.num_done, stop.kind, kept="the artifacts that are complete are kept"
        )
    except Exception as error:
        raise_if_disk_full(error, plan.job_folder)
        raise
    finally:
        _remove_unfinished(plan.artifacts_folder, f".tmp-{plan.attempt}-*")
        gc.collect()
    return Outcome(Ending.FINISHED, export.progress.num_done)


class _Export:
    def __init__(self, plan: ExportPlan, link: RunLink) -> None:
        self._plan, self._link = plan, link
        self._heartbeat = Heartbeat(link)
        self._stop_poll = StopPoll(link, plan.time_left_s, plan.limit)
        self.progress = WorkProgress(link)
        """Tensors that are written and prompts that are answered, of this attempt."""
        self._licence: str | None = None
        """That of the base model."""

    def run(self) -> None:
        plan = self._plan
        plan.artifacts_folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(plan.artifacts_folder, ".tmp-*")
        self._heartbeat.enter(Phase.LOADING)
        self._stop_poll.raise_if_requested()
        missing = {each: name for each, name in plan.config.artifact_names.items() if not self._is_complete(name)}
        base = find_model(plan.model, plan.models_folder, pinned=plan.pinned_revision, local=plan.local_base)
        check_revision(base, plan.pinned_revision)
        for folder in filter(None, (base.adapter, base.folder)):
            check_files(AS_TRAINED.method, folder)
        self._licence = facts_of(base.folder).licence
        weights = MergedWeights(base)
        forms = forms_of(plan, weights, base)
        prompts = len(plan.config.prompts)
        self.progress.total = prompts + sum(
            prompts + num_tensors(form, weights) for each in missing for form in forms[each]
        )
        self._link.emit(ModelLoaded(base.revision))
        self.progress.begin()
        if not missing:
            return
        self._heartbeat.enter(Phase.EVALUATING)
        tokens = prompt_tokens(load_tokenizer(base), plan.config.prompts)
        reference = reference_of(load_to_compare(base, use_cuda=plan.use_cuda), tokens, self._done)
        for each, name in missing.items():
            self._write(each, name, forms[each], reference)

    def _write(self, each: ExportFormat, name: str, forms: Sequence[Form], reference: Reference) -> None:
        """Write one artifact and compare its answers; only then is it committed."""
        plan = self._plan
        folder = plan.artifacts_folder / f".tmp-{plan.attempt}-{name}"
        folder.mkdir()
        for form in forms:
            self._heartbeat.enter(Phase.SAVING)
            hashes = form.write(folder, self._done)
            receipt = self._compare(each, form, folder, reference)
        deployment = form.write_deployment(folder, plan.facts.job_name)
        card = model_card(plan.facts, receipt, deployment, self._licence)
        (folder / CARD_FILE).write_text(card, "utf-8")
        (folder / RECEIPT_FILE).write_text(receipt.model_dump_json(indent=2), "utf-8")
        self._heartbeat.enter(Phase.DELIVERING)
        self._commit(folder, name, hashes)

    def _compare(self, each: ExportFormat, form: Form, folder: Path, reference: Reference) -> Receipt:
        """Raise `FineTuneLabError` (`export_differs`) where the written files do not answer like the tuned model."""
        self._heartbeat.enter(Phase.EVALUATING)
        _release_memory()
        tokens = prompt_tokens(form.load_tokenizer(folder), self._plan.config.prompts)
        difference = difference_from(reference, form.load(folder, use_cuda=self._plan.use_cuda), self._done)
        _release_memory()
        receipt = self._receipt(each, form.weight_type, reference, difference, same_tokens=tokens == reference.tokens)
        _refuse_bad(receipt)
        return receipt

    def _commit(self, folder: Path, name: str, hashes: Mapping[str, str]) -> None:
        """Publish a checked artifact. Its weight files must be those that were written, byte for byte."""
        plan = self._plan
        checked = folder.with_name(f"{folder.name}-checked")
        manifest, _ = commit(
            folder, checked, job_id=plan.job_id, attempt=plan.attempt, step=plan.facts.step, samples=0, metrics={}
        )
        for file, sha256 in hashes.items():
            if manifest.files[file].sha256 != sha256:
                raise differs(f"{file} changed on the disk after it was written")
        checked.rename(plan.artifacts_folder / name)
        sync(plan.artifacts_folder)

    def _is_complete(self, name: str) -> bool:
        try:
            verify(self._plan.artifacts_folder / name)
        except ValueError:
            shutil.rmtree(self._plan.artifacts_folder / name, ignore_errors=True)
            return False
        return True

    def _receipt(
        self,
        each: ExportFormat,
        weight_type: str,
        reference: Reference,
        difference: Difference,
        *,
        same_tokens: bool,
    ) -> Receipt:
        bound, typical_bound = (bounds[weight_type] * reference.spread for bounds in (LARGEST, TYPICAL))
        top1_bound = AGREEMENT.get(weight_type, 0.0)
        is_close = difference.largest <= bound and difference.typical <= typical_bound
        return Receipt(
            format=each,
            weight_type=weight_type.lower(),
            reference=self._plan.name,
            prompts=self._plan.config.prompts,
            num_tokens=reference.num_tokens,
            max_difference=difference.largest,
            bound=bound,
            typical_difference=difference.typical,
            typical_bound=typical_bound,
            spread=reference.spread,
            top1_agreement=difference.top1_agreement,
            top1_bound=top1_bound,
            same_tokens=same_tokens,
            is_good=same_tokens and is_close and difference.top1_agreement >= top1_bound,
        )

    def _done(self) -> None:
        """A tensor is written, or a prompt answered."""
        self.progress.done(self.progress.num_done + 1)
        self._heartbeat.beat()
        self._stop_poll.raise_if_requested_here()


def _refuse_bad(receipt: Receipt) -> None:
    if not receipt.same_tokens:
        raise differs("its tokenizer makes other tokens of the prompts")
    if not receipt.is_good:
        raise differs(
            f"a logit differs by {receipt.max_difference:.3g} (the bound for {receipt.weight_type} is "
            f"{receipt.bound:.3g}), all of them by {receipt.typical_difference:.3g} (bound: "
            f"{receipt.typical_bound:.3g}); the likeliest token agrees in {receipt.top1_agreement:.1%} "
            f"(bound: {receipt.top1_bound:.0%})"
        )


def _remove_unfinished(folder: Path, pattern: str) -> None:
    """Remove the artifacts with such names, which were never complete."""
    for unfinished in folder.glob(pattern):
        shutil.rmtree(unfinished, ignore_errors=True)


def _release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
