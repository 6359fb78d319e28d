"""The doctor's report about a dataset, and the tokens of a row."""

from pydantic import Field

from ftlab.formatting import counted
from ftlab.schemas.check_rules import Severity, severity_of
from ftlab.schemas.common import WireModel

DEFAULT_MAX_FINDINGS = 100
MOST_FINDINGS = 10_000
"""Most findings that a report may describe; all are counted."""


class Finding(WireModel):
    """One broken rule at one place; a finding about the whole dataset has no row."""

    rule: str
    severity: str
    message: str
    """One sentence that does not quote the row."""
    row: int | None = None
    """Counted from 1 among the rows that were accepted: what the token view takes."""
    line: int | None = None
    """Line, or element, of the uploaded file."""


class LengthBin(WireModel):
    """Rows of at least `first` and at most `last` tokens."""

    first: int
    last: int
    num_rows: int


class Lengths(WireModel):
    """How many tokens the rows have before anything is cut off."""

    mean: float = 0.0
    p50: int = 0
    p90: int = 0
    p99: int = 0
    longest: int = 0
    bins: list[LengthBin] = Field(default_factory=list)


class Duplicates(WireModel):
    """Rows that repeat an earlier one. The first of its kind is not counted."""

    num_exact: int = 0
    num_near: int = 0
    """Nearly identical rows; an estimate from sketches of the texts."""
    is_exact_estimated: bool = False
    """The dataset is so large that exact duplicates were counted in a sample of all texts and scaled up."""
    num_rows_compared: int = 0
    """Number of rows, from the first, that were searched for near duplicates."""


class Overlap(WireModel):
    """Rows of the evaluation dataset that training sees as well."""

    eval_dataset_id: str
    num_eval_rows: int
    num_exact: int
    num_near: int
    is_exact_estimated: bool = False
    """As in `Duplicates`: one of the datasets is so large that a sample was compared and scaled up."""


class RoleFacts(WireModel):
    """All messages of one role."""

    role: str
    num_messages: int
    num_chars: int
    scripts: dict[str, int] = Field(default_factory=dict)
    """Messages by the script most of their letters are in."""


class CheckReport(WireModel):
    """What the doctor found in a dataset for a model, at a length and with a choice of what is trained."""

    dataset_id: str = ""
    dataset_name: str = ""
    model: str = ""
    kind: str
    max_length: int
    """`max_length` of the request."""
    assistant_only_loss: bool
    num_rows: int
    counts: dict[str, int]
    """All findings, by rule."""
    num_findings: int
    findings: list[Finding]
    """At most the requested number: the worst first, and some of every rule."""
    lengths: Lengths
    tokens_per_epoch: int
    """Tokens that the model reads in one epoch: of the rows that are trained, up to `max_length`."""
    trained_tokens_per_epoch: int
    """Of these, the ones that the loss counts."""
    num_truncated: int
    num_dropped_tokens: int
    """Cut off the truncated rows."""
    num_untrained: int
    """Rows without a trained token; training skips them."""
    suggested_max_length: int
    """The smallest multiple of 64 that truncates at most 1 % of the rows."""
    padding_fraction: float
    """Expected share of padding in a batch of `padding_batch_size` shuffled rows."""
    padding_batch_size: int
    packing_waste_fraction: float
    """Share of the positions that stay empty when rows are packed to `max_length`."""
    duplicates: Duplicates
    overlap: Overlap | None = None
    roles: list[RoleFacts] = Field(default_factory=list)
    template: str
    """`model`, `training` (TRL's for the family), or `none`."""

    @property
    def summary(self) -> str:
        """One sentence: how much there is, and which rules were broken how often; notes are only counted."""
        learned = f"{self.trained_tokens_per_epoch:,} of {self.tokens_per_epoch:,} tokens trained"
        return f"{self.num_rows:,} rows, {learned}; {self.found}."

    @property
    def found(self) -> str:
        """Which rules were broken how often; notes are only counted."""
        named = [f"{number:,} {rule}" for rule, number in self.counts.items() if severity_of(rule) is not Severity.INFO]
        if notes := self.count_of(Severity.INFO):
            named.append(counted(notes, "note"))
        return ", ".join(named) or "nothing found"

    @property
    def has_errors(self) -> bool:
        """Whether a job with this dataset would be refused."""
        return self.count_of(Severity.ERROR) > 0

    def count_of(self, severity: Severity) -> int:
        """All findings of this severity; a rule that a later service added is a note."""
        return sum(number for rule, number in self.counts.items() if severity_of(rule) is severity)


class CheckState(WireModel):
    """Progress of a check. `report` is set once `status` is `done`."""

    status: str
    """`working` or `done`; a check that failed is answered with its error."""
    done_rows: int
    total_rows: int
    """0 while it is not known."""
    report: CheckReport | None = None


class Token(WireModel):
    """One token of a row."""

    id: int
    text: str
    """Its part of the rendered text; the texts of all tokens in order are the whole text, or its beginning. Empty for a
    further part of a character that needs several tokens.
    """
    is_trained: bool
    is_special: bool
    is_truncated: bool
    """Cut off at `max_length`."""


class TokenRow(WireModel):
    """A row as the model reads it."""

    dataset_id: str = ""
    model: str = ""
    row: int
    """Row number, starting at 1."""
    line: int
    part: str = ""
    """`chosen` or `rejected` where a row is a pair."""
    num_tokens: int
    num_trained: int
    num_truncated: int
    num_hidden: int = 0
    """At the end of a long row: counted, but not among `tokens`."""
    tokens: list[Token]
