"""`ftlab status` and `ftlab config`: the state of the service, and its settings."""

import re
from typing import TYPE_CHECKING

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.up import HomeOption

if TYPE_CHECKING:
    from ftlab.schemas import ServiceInfo
    from ftlab.settings import Settings

HIDDEN = "********"

_PASSWORD = re.compile(r"(^[\w+]+://[^:/]*:)[^@]*(@[^/?#@]*)*(?=@)")
"""A password as SQLAlchemy reads it: unlike in other URLs, it may hold '/', '?' and '#'. SQLAlchemy counts an '@' that
is not escaped as part of the host, which is hardly ever intended.
"""
_QUERY_PASSWORD = re.compile(r"([?&][^=&]*password=)[^&]*", re.IGNORECASE)


@command(app)
def status(session: Session, home: HomeOption = None) -> None:
    """Show whether the service runs, its addresses and its queue."""
    from ftlab.cli.service_file import running_service
    from ftlab.errors import ServiceUnavailableError
    from ftlab.settings import load_settings

    settings = load_settings({"home": home, "server": session.server}, with_login=True)
    service = running_service(settings)
    if service is not None and home is None and service.urls.get("API") != settings.server_url:
        service = None  # the request is about another one
    output = session.output
    if service is not None and not output.as_json:
        output.record({"Service": f"{service.state} (process {service.pid})", "Data": settings.home, **service.urls})
    session.client.health()
    try:
        session.client.ready()
        message = "ready"
    except ServiceUnavailableError as error:
        message = error.message
    queue = session.client.queue()
    info = session.client.info()
    if output.as_json:
        local = service and vars(service)
        output.json({"server": settings.server_url, "status": message, "service": local, "info": info, "queue": queue})
        return
    waiting = f". {queue.waiting_for}" if queue.waiting_for else ""
    output.record(
        {
            "Server": f"{settings.server_url}: {message}",
            "Queue": f"{len(queue.running)} running, {queue.num_queued} queued{waiting}",
            **_addresses(info, {} if service is None else service.urls),
        }
    )


def _addresses(info: "ServiceInfo", shown: dict[str, str]) -> dict[str, object]:
    """The addresses of the components, except those already shown."""
    where = "" if info.dashboard_token_file else " (on the machine of the service)"
    addresses = {
        "MLflow": f"{info.mlflow_url}{where}",
        "Ray dashboard": f"{info.dashboard_url}{where}",
        "Dashboard token": info.dashboard_token_file and f"in the file {info.dashboard_token_file}",
    }
    return {name: address for name, address in addresses.items() if name not in shown}


@command(app)
def config(session: Session, home: HomeOption = None) -> None:
    """Show the effective settings; secrets stay hidden."""
    from ftlab.settings import load_settings

    settings = load_settings({"home": home, "server": session.server}, with_login=True)
    shown = shown_settings(settings)
    if session.output.as_json:
        session.output.json(shown)
    else:
        if not settings.home.exists():
            shown["home"] = f"{settings.home} (does not exist; 'ftlab up' creates it)"
        session.output.record({name: "-" if value in (None, []) else value for name, value in shown.items()})


def shown_settings(settings: "Settings") -> dict[str, object]:
    """All settings, with secrets replaced."""
    values: dict[str, object] = settings.model_dump(mode="json")
    values["server"] = settings.server_url
    values["database_url"] = _without_password(settings.store_url)
    for secret in ("api_key", "smtp_password"):
        if values[secret]:
            values[secret] = HIDDEN
    return values


def _without_password(url: str) -> str:
    return _QUERY_PASSWORD.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1{HIDDEN}", url))
