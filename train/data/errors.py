"""What is wrong with a dataset, as one error for the whole file."""

from ftlab.errors import InvalidRequestError


class DatasetInvalidError(InvalidRequestError):
    """The dataset cannot be trained on; the message says where and why, without quoting its rows."""

    default_code = "dataset_invalid"
