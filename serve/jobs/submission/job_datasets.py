"""The datasets of a job: found by id or name, and checked against its method. Every function blocks on the store."""

from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError
from ftlab.schemas import GrpoMethod, JobConfig
from ftlab.schemas.methods import METHODS, RowKind
from ftlab.status import ReasonCode
from tracking.store import Transaction
from tracking.store.records import DatasetRecord
from train.data.split_spec import SplitSpec, no_eval_rows
from train.dataset_mix import mix_of


def with_ids(tx: Transaction, owner: str, config: JobConfig) -> tuple[JobConfig, list[DatasetRecord]]:
    """The config with the ids of datasets that it gives by name, and the datasets to train on, after their check."""
    datasets = [find_dataset(tx, owner, dataset, "dataset") for dataset in config.datasets]
    check_kinds(config, datasets, "dataset")
    ids = [dataset.id for dataset in datasets]
    changes: dict[str, object] = {"dataset": ids if isinstance(config.dataset, list) else ids[0]}
    if config.eval_dataset is not None:
        held_out = find_dataset(tx, owner, config.eval_dataset, "eval_dataset")
        check_kinds(config, [held_out], "eval_dataset")
        changes["eval_dataset"] = held_out.id
    _check_split(config, datasets)
    mix_of(config, [dataset.num_rows for dataset in datasets])
    return config.model_copy(update=changes), datasets


def _check_split(config: JobConfig, datasets: list[DatasetRecord]) -> None:
    """Raise `InvalidRequestError` for an `eval_split` that sets no row aside, as far as the number of rows shows."""
    split = SplitSpec.of(config)
    if split is None:
        return
    num_rows = [dataset.num_rows for dataset in datasets[: split.files]]
    if not any(map(split.num_held_out, num_rows)):
        message = no_eval_rows(split, [(1, number) for number in num_rows])
        raise InvalidRequestError(message, ReasonCode.CONFIG_INVALID, "eval_split")


def find_dataset(tx: Transaction, owner: str, dataset: str, param: str) -> DatasetRecord:
    """The dataset with this id or unique name.

    Raise `NotFoundError`, or `ConflictError` (code `ambiguous`), that names the field `param` of the request.
    """
    try:
        return tx.datasets.resolve(dataset, owner=owner)
    except NotFoundError as error:  # without the value: no error repeats what a body holds
        raise NotFoundError("There is no dataset with this id or name.", error.code, param) from None
    except ConflictError as error:
        raise ConflictError(error.message, error.code, param) from None


def check_kinds(config: JobConfig, datasets: list[DatasetRecord], param: str) -> None:
    """Raise `InvalidRequestError` for rows that the method cannot train on, and for files of several kinds."""
    kinds = {dataset.kind for dataset in datasets}
    wanted = config.method.row_kinds
    for kind in kinds:
        if kind not in wanted:
            raise InvalidRequestError(
                f"{param} has rows of the kind '{kind}', and method '{config.method.type}' learns from "
                f"{' or '.join(wanted)} only; {_remedy(RowKind(kind))}, or choose another dataset.",
                "dataset_kind_mismatch",
                param,
            )
    _refuse_fields(config, datasets, param)
    _refuse_missing_references(config, datasets, param)
    if len(kinds) > 1:
        raise InvalidRequestError(
            f"The files of a job must be of one kind; these are {' and '.join(sorted(kinds))}.",
            "dataset_kind_mismatch",
            param,
        )


def _refuse_missing_references(config: JobConfig, datasets: list[DatasetRecord], param: str) -> None:
    """Raise `InvalidRequestError` for prompts without answers where a reward compares with these."""
    method = config.method
    if not isinstance(method, GrpoMethod) or not method.compared_rewards:
        return
    if any(dataset.kind == RowKind.PROMPTS for dataset in datasets):
        rewards = " and ".join(f"'{reward}'" for reward in method.compared_rewards)
        raise InvalidRequestError(
            f"{param} has prompts without reference answers, and {rewards} in method.rewards compares with them. "
            "Upload the rows with their answers as 'completion', or choose rewards that need none.",
            "dataset_kind_mismatch",
            param,
        )


def _remedy(kind: RowKind) -> str:
    """What lets a job train on rows of this kind."""
    methods = " or ".join(f"'{method.model_fields['type'].default}'" for method in METHODS if kind in method.row_kinds)
    return f"set method.type to {methods}, which learns from {kind.plural}"


def _refuse_fields(config: JobConfig, datasets: list[DatasetRecord], param: str) -> None:
    method = config.method
    for dataset in datasets:
        for field in dataset.fields:
            if field["name"] in method.refused_fields and field["used_as"] is None:
                raise InvalidRequestError(
                    f"Rows of {param} have the field '{field['name']}', which method '{method.type}' does not read: "
                    "every pair counts alike. Upload the rows without this field, or with another name for it.",
                    "dataset_kind_mismatch",
                    param,
                )
