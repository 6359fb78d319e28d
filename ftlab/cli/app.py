"""The command tree's root."""

import typer

CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="ftlab",
    help="FineTune Lab: queue, monitor and download language-model fine-tuning jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)
