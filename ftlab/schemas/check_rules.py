"""What the doctor looks for in a dataset."""

from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    """A job with this dataset would fail."""
    WARNING = "warning"
    """Training works, but with less data than intended."""
    INFO = "info"
    """Worth knowing."""

    @property
    def word(self) -> str:
        """The name shown to users."""
        return severity_word(self)


class CheckRule(StrEnum):
    """The name of a rule stands behind each finding."""

    TEMPLATE_FAILED = "template_failed"
    TURNS_NOT_FOUND = "turns_not_found"
    NOTHING_TO_LEARN = "nothing_to_learn"
    ONE_LABEL = "one_label"
    NO_REFERENCE = "no_reference"
    EVAL_TEMPLATE_FAILED = "eval_template_failed"
    EVAL_TURNS_NOT_FOUND = "eval_turns_not_found"
    EVAL_NOTHING_TO_LEARN = "eval_nothing_to_learn"
    EVAL_NO_METHOD = "eval_no_method"
    NO_NUMBER = "no_number"
    SEVERAL_NUMBERS = "several_numbers"
    UNTRAINED_ROW = "untrained_row"
    EQUAL_WHEN_CUT = "equal_when_cut"
    UNBALANCED_LABELS = "unbalanced_labels"
    TRUNCATED_ROW = "truncated_row"
    EMPTY_ROW = "empty_row"
    REPEATED_ANSWER = "repeated_answer"
    HUGE_ROW = "huge_row"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    EVAL_OVERLAP = "eval_overlap"
    EVAL_NEAR_OVERLAP = "eval_near_overlap"
    ROLE_ORDER = "role_order"
    UNKNOWN_ROLE = "unknown_role"
    ROLE_WORD_IN_TEXT = "role_word_in_text"
    SPECIAL_TOKEN_IN_TEXT = "special_token_in_text"
    UNKNOWN_TOKEN = "unknown_token"
    MISSING_VALUE = "missing_value"
    SCRIPT_MISMATCH = "script_mismatch"
    UNTRAINED_GREETING = "untrained_greeting"
    LEFT_OUT_BY_TEMPLATE = "left_out_by_template"
    WHITE_SPACE_LEFT_OUT = "white_space_left_out"
    NO_END_OF_TURN = "no_end_of_turn"
    ANSWER_START_DIFFERS = "answer_start_differs"
    NO_CHAT_TEMPLATE = "no_chat_template"
    NO_GENERATION_MARKS = "no_generation_marks"
    TEMPLATE_REPAIRED = "template_repaired"

    @property
    def severity(self) -> Severity:
        """Severity of a finding of this rule."""
        return _TABLE[self][0]

    @property
    def meaning(self) -> str:
        """Meaning of the rule for a row or a dataset, in one sentence."""
        return _TABLE[self][1]


def severity_word(severity: str) -> str:
    """The name that people see: `info` is a note."""
    return "note" if severity == Severity.INFO else str(severity)


def severity_of(rule: str) -> Severity:
    """Severity of a rule by its name; a rule that a later service added counts as a note."""
    return CheckRule(rule).severity if rule in set(CheckRule) else Severity.INFO


R, ERROR, WARNING, INFO = CheckRule, Severity.ERROR, Severity.WARNING, Severity.INFO

_TABLE: dict[CheckRule, tuple[Severity, str]] = {
    R.TEMPLATE_FAILED: (ERROR, "The model's chat template refuses the row."),
    R.TURNS_NOT_FOUND: (
        ERROR,
        "The chat template writes earlier messages differently as a conversation grows, so the answers cannot be "
        "identified.",
    ),
    R.NOTHING_TO_LEARN: (ERROR, "No row of the dataset has a token that the loss counts."),
    R.ONE_LABEL: (ERROR, "All rated answers have the same label, so there is no contrast to learn from."),
    R.NO_REFERENCE: (ERROR, "The row has no reference answer, and a reward compares with it."),
    R.EVAL_TEMPLATE_FAILED: (ERROR, "The model's chat template refuses the row of the evaluation dataset."),
    R.EVAL_TURNS_NOT_FOUND: (
        ERROR,
        "The chat template writes earlier messages of the row of the evaluation dataset differently as the "
        "conversation grows, so the answers cannot be identified.",
    ),
    R.EVAL_NOTHING_TO_LEARN: (ERROR, "No row of the evaluation dataset has a token that the loss counts."),
    R.EVAL_NO_METHOD: (ERROR, "No training method takes the rows of both the training and the evaluation dataset."),
    R.NO_NUMBER: (WARNING, "The reference answer has no number, so numeric_answer gives 0 to every answer."),
    R.SEVERAL_NUMBERS: (
        WARNING,
        "The result of the reference answer has several numbers, such as a fraction; numeric_answer compares the last.",
    ),
    R.UNTRAINED_ROW: (WARNING, "The loss counts no token of the row; training skips it."),
    R.EQUAL_WHEN_CUT: (WARNING, "The two answers of the pair are equal up to max_length; training skips the pair."),
    R.UNBALANCED_LABELS: (
        WARNING,
        "More than twice as much weight is on answers with one label as on those with the other.",
    ),
    R.TRUNCATED_ROW: (WARNING, "The row is longer than max_length; its end is cut off."),
    R.EMPTY_ROW: (WARNING, "The text to train on has no visible characters."),
    R.REPEATED_ANSWER: (
        WARNING,
        "An answer only repeats the message before it, or the answer before it; the model learns to echo.",
    ),
    R.HUGE_ROW: (WARNING, "The row is many times longer than max_length."),
    R.EXACT_DUPLICATE: (WARNING, "The row is the same as an earlier one."),
    R.NEAR_DUPLICATE: (
        INFO,
        "The row is nearly identical to an earlier one (about 80 % of its short passages or more).",
    ),
    R.EVAL_OVERLAP: (WARNING, "A row of the evaluation dataset is also in the training dataset."),
    R.EVAL_NEAR_OVERLAP: (
        WARNING,
        "A row of the evaluation dataset is nearly identical to one of the training dataset.",
    ),
    R.ROLE_ORDER: (INFO, "The turns are not in the order that chat models expect."),
    R.UNKNOWN_ROLE: (WARNING, "A message has a role other than system, user, assistant and tool."),
    R.ROLE_WORD_IN_TEXT: (
        WARNING,
        "A line of a message begins with the name of a role, in some language, such as User: or Ассистент:.",
    ),
    R.SPECIAL_TOKEN_IN_TEXT: (
        WARNING,
        "The text of a message contains one of the tokenizer's special tokens, which the model would read as markup.",
    ),
    R.UNKNOWN_TOKEN: (
        WARNING,
        "The tokenizer has no token for some characters of the row; the model reads its unknown token instead.",
    ),
    R.MISSING_VALUE: (
        WARNING,
        "A message is only a word that programs write for a missing value, such as NaN; the model learns that word.",
    ),
    R.UNTRAINED_GREETING: (
        WARNING,
        "The conversation begins with the assistant, and the chat template has no prompt for that; the model does not "
        "learn that message.",
    ),
    R.SCRIPT_MISMATCH: (INFO, "The answers are written in a different script from the questions."),
    R.LEFT_OUT_BY_TEMPLATE: (WARNING, "The chat template does not write the text of one of the messages."),
    R.WHITE_SPACE_LEFT_OUT: (
        INFO,
        "The chat template removes the white space at the beginning of an answer, such as the indentation of code.",
    ),
    R.NO_END_OF_TURN: (
        WARNING,
        "The trained turns end without a special token, so the model does not learn to stop.",
    ),
    R.ANSWER_START_DIFFERS: (
        WARNING,
        "The chat template begins answers differently at inference, for example with the beginning of reasoning.",
    ),
    R.NO_CHAT_TEMPLATE: (INFO, "The model has no chat template; messages are written one per line."),
    R.NO_GENERATION_MARKS: (
        INFO,
        "The chat template does not mark the assistant's tokens; FineTune Lab finds them by itself, so there is "
        "nothing to do.",
    ),
    R.TEMPLATE_REPAIRED: (
        INFO,
        "The chat template rewrites earlier turns; training uses TRL's training template for its family instead.",
    ),
}
