"""`ftlab samples`: what a job's model answers to the prompts of the job, before and after training."""

from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command, refuse_unknown
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from ftlab.schemas import SamplePayload

    Answers = dict[int, dict[int, SamplePayload]]


@command(app)
def samples(
    session: Session,
    job: JobArgument,
    steps: Annotated[
        list[int] | None,
        typer.Option("--step", min=0, help="Show the answers of this step; may be repeated.", show_default=False),
    ] = None,
    prompt: Annotated[
        int | None,
        typer.Option("--prompt", min=1, help="Show every answer to this prompt in full.", show_default=False),
    ] = None,
) -> None:
    """Compare the first and the last answers to the prompts of a job (training.sample_prompts)."""
    from ftlab.schemas import EventKind
    from ftlab.schemas.sample_prompts import answers_by_prompt

    found = session.client.jobs.get(job)
    events = session.client.jobs.events(found.id, kinds=EventKind.SAMPLE)
    answers = answers_by_prompt(event.payload for event in events)
    known = sorted({step for by_step in answers.values() for step in by_step})
    if not known and not session.output.as_json:
        yet = "" if found.status.is_terminal else " yet"
        session.output.talk(f"Job {found.id} has no answers{yet}; it needs training.sample_prompts.")
        return
    refuse_unknown([str(step) for step in steps or ()], [str(step) for step in known], "a sampled step", "There are:")
    if prompt is not None:
        refuse_unknown([str(prompt)], [str(number) for number in answers], "a prompt with answers", "There are:")
        answers = {prompt: answers[prompt]}
    chosen = [step for step in known if not steps or step in steps]
    if session.output.as_json:
        session.output.json([by_step[step] for by_step in answers.values() for step in chosen if step in by_step])
    elif prompt is not None:
        _print_whole(session, answers[prompt], chosen)
    else:
        _print_table(session, answers, chosen if steps else sorted({chosen[0], chosen[-1]}))


def _print_table(session: Session, answers: "Answers", steps: list[int]) -> None:
    """Print one row per prompt, with one column per step."""
    from ftlab.formatting import one_line

    columns = [f"STEP {step}" for step in steps]
    rows = []
    for number, by_step in answers.items():
        texts = [by_step[step].text if step in by_step else "" for step in steps]
        rows.append((number, *map(one_line, [_prompt_of(by_step), *texts])))
    session.output.table(("NO", "PROMPT", *columns), rows, shrink=("PROMPT", *columns))


def _print_whole(session: Session, by_step: "dict[int, SamplePayload]", steps: list[int]) -> None:
    from ftlab.formatting import one_line

    session.output.data(f"Prompt: {one_line(_prompt_of(by_step))}")
    for answer in (by_step[step] for step in steps if step in by_step):
        cut = ", cut" if answer.is_cut else ""
        session.output.data(f"Step {answer.step} ({answer.num_tokens} tokens{cut}):")
        for line in answer.text.splitlines():
            session.output.data(f"  {one_line(line)}")


def _prompt_of(by_step: "dict[int, SamplePayload]") -> str:
    return next(iter(by_step.values())).prompt
