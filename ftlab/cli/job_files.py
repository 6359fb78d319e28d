"""`ftlab init` and `ftlab clone`: a new job file, and the job file of an earlier job."""

from pathlib import Path
from typing import Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument

TEMPLATE = """\
# A fine-tuning job. Check it with `ftlab submit {file} --dry-run`, submit it with `ftlab submit {file} --follow`.
# A setting after a # shows its default. All settings: docs/reference/job-config.md

name: my-first-job
model: {model}
dataset: {dataset}
# eval_dataset: held-out.jsonl      # rows to evaluate on; the best checkpoint is then delivered
# eval_split: null                  # or a share of the rows, as 0.1, instead of eval_dataset

# tuning: lora                      # or full, which trains all weights
# load_in_4bit: false               # true is QLoRA: the base model in 4 bits

method:
  type: sft
  # max_length: 1024                # tokens of a row; longer rows are cut
  # packing: false                  # several rows in one sequence
  # assistant_only_loss: true       # train on what the assistant says only

# lora:
#   r: 16
#   lora_alpha: 32
#   lora_dropout: 0.0
#   target_modules: all-linear
#   modules_to_save: null           # modules to train as a whole, as [embed_tokens, lm_head]

training:
  num_train_epochs: 3
  # max_steps: null                 # instead of epochs
  # per_device_train_batch_size: 4  # or auto: as many as fit
  # gradient_accumulation_steps: 1
  # learning_rate: null             # null: 2e-4 for LoRA, 2e-5 for all weights
  # eval_steps: null                # null: at the start and at the end
  # save_steps: 50                   # steps between checkpoints
"""


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The job file to write.")] = Path("job.yaml"),
    model: Annotated[str, typer.Option("--model", help="Base model.")] = "HuggingFaceTB/SmolLM2-135M-Instruct",
    dataset: Annotated[str, typer.Option("--dataset", help="File, id or name of the dataset.")] = "train.jsonl",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a job file with the usual settings and their defaults as comments."""
    import json

    from ftlab.errors import InvalidRequestError

    if file.exists() and not force:
        raise InvalidRequestError(
            f"{file} exists. Choose another name, or pass --force to replace it.", "invalid_option"
        )
    # A JSON text is a YAML text, and needs no thought about colons and quotes.
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in (("model", model), ("dataset", dataset))}
    file.write_text(TEMPLATE.format(file=file, **values), "utf-8")
    typer.echo(f"Wrote {file}. Submit it with: ftlab submit {file} --follow", err=True)


@command(app)
def clone(
    session: Session,
    job: JobArgument,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as a.b=value.")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the copy instead of printing it.")] = False,
) -> None:
    """Print the job file of an earlier job, or submit the job again with other settings."""
    from ftlab.cli.job_details import auto_comment
    from ftlab.cli.job_source import assign
    from ftlab.schemas.job_file import parse_job_config, short_document, write_yaml

    found = session.client.jobs.get(job)
    source = f"Job {found.id}"
    document = short_document(parse_job_config(found.fixed_config, source))
    if "name" in document:
        document["name"] = f"{document['name'][:190]} copy"  # of two jobs with one name, neither can be named
    for assignment in assignments or []:
        assign(document, assignment)
    config = parse_job_config(document, source)
    if submit:
        from ftlab.cli.submit import report_submitted

        report_submitted(session, session.client.jobs.create(config))
        return
    document = short_document(config)
    if session.output.as_json:
        session.output.json(document)
    else:
        for line in auto_comment(found):
            session.output.data(line)
        session.output.data(write_yaml(document).rstrip())
