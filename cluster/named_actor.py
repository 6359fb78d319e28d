"""Starting and calling the named actors of the Ray cluster."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayError

from cluster.names import NAMESPACE, ON_HEAD
from ftlab.errors import FineTuneLabError


class ActorUnreachableError(Exception):
    """No actor has the name, it does not answer, or this process has left the cluster."""


class NamedActor:
    """An actor that is looked up at the first call, and again after a call that failed.

    Calls raise `ActorUnreachableError`, or the `FineTuneLabError` that the actor's method has raised. They may come
    from any thread.
    """

    def __init__(self, name: str, namespace: str = NAMESPACE) -> None:
        self._name = name
        self._namespace = namespace
        self._handle: Any = None

    def send(self, method: str) -> None:
        """Call a method and do not wait for its answer."""
        with self._reaching():
            getattr(self._look_up(), method).remote()

    def call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        with self._reaching():
            return ray.get(getattr(self._look_up(), method).remote(*arguments), timeout=timeout_s)

    async def call_async(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        with self._reaching():
            async with asyncio.timeout(timeout_s):
                # A look-up asks Ray's control store and may block: never on an event loop.
                handle = self._handle or await asyncio.to_thread(self._look_up)
                return await getattr(handle, method).remote(*arguments)

    def end(self) -> None:
        """Kill the actor, if there is one; Ray does not restart it."""
        with suppress(ActorUnreachableError), self._reaching():
            ray.kill(self._look_up(), no_restart=True)

    def _look_up(self) -> Any:
        if not ray.is_initialized():
            # Ray would start a cluster of its own.
            raise ActorUnreachableError("This process has left the Ray cluster.")
        if self._handle is None:
            self._handle = ray.get_actor(self._name, self._namespace)
        return self._handle

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except FineTuneLabError:  # Ray gives an error of the method the class of its cause
            raise
        except (ValueError, TimeoutError, RayError) as error:  # `ValueError`: no actor has the name
            self._handle = None
            raise ActorUnreachableError(f"The actor {self._name!r} does not answer: {error}") from error


def start_actor(actor_class: type, name: str, **options: Any) -> ray.actor.ActorHandle:
    """Start a detached actor that Ray restarts whenever it dies, or find the running one."""
    return (
        ray.remote(actor_class)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            resources=ON_HEAD,
            max_restarts=-1,
            max_task_retries=0,
            **options,
        )
        .remote()
    )
