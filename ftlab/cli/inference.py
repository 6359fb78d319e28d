"""`ftlab inference ...`: the environment of vLLM, which answers in chats on machines with CUDA GPUs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.jobs import YesOption, confirm
from ftlab.cli.session import Session, command
from ftlab.cli.up import HomeOption
from ftlab.files import free_bytes
from ftlab.formatting import size

if TYPE_CHECKING:
    from ftlab.cli.vllm_install import Download
    from ftlab.vllm_environment import VllmEnvironment

inference = typer.Typer(
    help="Install vLLM on the machine of the service, for faster chats.", no_args_is_help=True, context_settings=CONTEXT
)
app.add_typer(inference, name="inference")


@command(inference, "install")
def install_vllm(
    session: Session,
    home: HomeOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be downloaded.")] = False,
    reinstall: Annotated[bool, typer.Option("--reinstall", help="Replace what is installed.")] = False,
    yes: YesOption = False,
) -> None:
    """Install vLLM in an environment of its own, in the data folder of the service on this machine."""
    from tempfile import TemporaryDirectory

    from ftlab.cli.vllm_install import install, new_environment, plan_download
    from ftlab.settings import load_settings
    from ftlab.vllm_environment import find_vllm

    folder = load_settings({"home": home}).inference_folder
    if dry_run:
        with TemporaryDirectory() as aside, new_environment(Path(aside)) as target:
            download = plan_download(target)
        session.output.done(asdict(download), f"Would install {_summary(download)}.")
        return
    if (found := find_vllm(folder)) is not None and not reinstall:
        session.output.talk(f"vLLM {found.version} is installed already; --reinstall replaces it.")
        _show(session, found)
        return
    with new_environment(folder) as target:
        free = free_bytes(folder)
        what = _summary(plan_download(target))
        confirm(f"Install {what}? {size(free)} are free in {folder}, and installed files are larger.", yes)
        session.output.talk(f"Installing {what}; this takes some minutes.")
        _show(session, install(target))


@command(inference, "status")
def show_status(session: Session, home: HomeOption = None) -> None:
    """Show what is installed on this machine, and what answers in chats."""
    from ftlab.settings import load_settings
    from ftlab.vllm_environment import find_vllm

    settings = load_settings({"home": home})
    found = find_vllm(settings.inference_folder)
    if found is None:
        session.output.done(None, "vLLM is not installed; 'ftlab inference install' installs it.")
    else:
        _show(session, found)
    session.output.talk(f"The setting inference_backend is {settings.inference_backend}.")


def _summary(download: "Download") -> str:
    unknown = f" and {download.num_unknown} files of unknown size" if download.num_unknown else ""
    return (
        f"vLLM {download.version}: {download.num_packages} packages, {size(download.size_bytes)} to download{unknown}"
    )


def _show(session: Session, found: "VllmEnvironment") -> None:
    if session.output.as_json:
        session.output.json(asdict(found) | {"folder": str(found.folder)})
        return
    session.output.record(
        {
            "vLLM": found.version,
            "Folder": found.folder,
            "Size": size(found.size_bytes),
            "Installed": found.installed_at,
            "Architectures": len(found.architectures),
        }
    )
