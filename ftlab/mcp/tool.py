"""A tool that an agent may call, and the collection of all tools."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

from ftlab.client import AsyncClient
from ftlab.schemas.accounts import Scope
from ftlab.schemas.common import StrictModel

Arguments = TypeVar("Arguments", bound=StrictModel)
Run = Callable[[AsyncClient, Arguments], Awaitable[dict[str, Any]]]


class Effect(StrEnum):
    """What a call of a tool changes."""

    READS = "reads"
    ADDS = "adds"
    """It adds a record, or changes one so that it can be changed back."""
    DESTROYS = "destroys"


class Door(StrEnum):
    """How an agent reaches the tools."""

    STDIO = "stdio"
    """A process on the machine of the agent, with the agent's files."""
    HTTP = "http"
    """The service itself, which has none of the agent's files."""


@dataclass(frozen=True)
class Tool:
    """One tool. Its description is written for a model."""

    name: str
    title: str
    description: str
    arguments: type[StrictModel]
    scope: Scope
    """What the key must allow."""
    effect: Effect
    door: Door | None
    """The only door that has it; `None` for both."""
    run: Run[Any]

    def is_offered(self, door: Door, scopes: Iterable[Scope], *, readonly: bool) -> bool:
        """Whether an agent with a key of these scopes may call it."""
        if self.door not in (None, door) or (readonly and self.effect is not Effect.READS):
            return False
        return any(self.scope in scope.includes for scope in scopes)


TOOLS: list[Tool] = []
"""All tools, in the order in which agents see them."""


def tool(
    title: str, *, scope: Scope = Scope.READ, effect: Effect = Effect.READS, door: Door | None = None
) -> Callable[[Run[Arguments]], Run[Arguments]]:
    """Register an async function as the tool of its name; its docstring is the description."""

    def register(function: Run[Arguments]) -> Run[Arguments]:
        arguments = get_type_hints(function)["arguments"]
        name = function.__name__.removesuffix(f"_{door}") if door else function.__name__
        description = " ".join((inspect.getdoc(function) or "").split())
        TOOLS.append(Tool(name, title, description, arguments, scope, effect, door, function))
        return function

    return register
