"""Templates: list, get, save and delete."""

from collections.abc import Mapping, Sequence
from typing import Any

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.wire import Listing, Request, template_path
from ftlab.schemas import AnyJobConfig, BaseJobConfig, Template, TemplateSummary
from ftlab.schemas.templates import built_in_template, check_template, check_template_name, merged


class AsyncTemplates:
    """Named parts of job configs: built-in ones, and yours."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> Sequence[TemplateSummary]:
        """All templates without their texts: built-in ones, then yours."""
        return await self._transport.items(Listing[TemplateSummary], Request("GET", "/api/templates"))

    async def get(self, name: str) -> Template:
        """A template with its text. A built-in one comes with this package, so the service is not asked.

        Raises `NotFoundError`.
        """
        if built_in := built_in_template(name):
            return built_in
        return await self._transport.read(Template, Request("GET", template_path(name)))

    async def save(self, name: str, text: str) -> Template:
        """Save YAML text as your template of this name, or replace it; the comments are kept.

        Raises `ConflictError` for the name of a built-in template, and `InvalidRequestError` for any other name or
        text that the service would refuse, before anything is sent.
        """
        check_template_name(name)
        check_template(text, f"Template {name!r}")
        return await self._transport.read(Template, Request("PUT", template_path(name), document={"text": text}))

    async def delete(self, name: str) -> None:
        """Delete your template. Raises `NotFoundError`, and `ConflictError` for a built-in template."""
        await self._transport.exchange_unrepeatable(Request("DELETE", template_path(name)))


async def filled(
    transport: AsyncTransport, template: str, config: AnyJobConfig | Mapping[str, Any]
) -> Mapping[str, Any]:
    """The config with what it leaves out taken from a template. Raises `NotFoundError`."""
    given = config.model_dump(mode="json", exclude_unset=True) if isinstance(config, BaseJobConfig) else config
    return merged((await AsyncTemplates(transport).get(template)).config, given)
