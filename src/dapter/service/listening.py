"""What the HTTP servers of this package share: a socket that answers at once, and a log without requests."""

import asyncio
import contextlib
import logging
import socket
from typing import Any

from dapter.errors import ServiceError, need
from dapter.service.rules import check_port


def listen(host: str, port: int) -> socket.socket:
    """A socket for uvicorn.

    Raises:
        UsageError: no such port.
        ServiceError: it is taken, or no such host.
    """
    check_port(port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as stack:
            # With the protocol named (create_server does not), asyncio turns off Nagle's delay: 40 ms an answer.
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()
            return listener
    except (OSError, UnicodeError) as error:
        raise ServiceError(f"cannot listen at {host}:{port} ({error}). Cure: choose another port") from error


async def begin(server: Any, listener: socket.socket) -> "asyncio.Task[None]":
    """Start a server of uvicorn; its task, once it answers. What keeps it from that is raised."""
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if task.done():
        task.result()
    return task


def configure(app: Any, extra: str, **more: Any) -> Any:
    """Uvicorn's settings for an app, without a log of what is asked.

    Args:
        extra: of dapter, that brings uvicorn.
    """
    uvicorn = need("uvicorn", extra)
    logging.getLogger("uvicorn.access").disabled = True  # `access_log` alone yields to a handler that is set later
    quiet = {"access_log": False, "log_config": None, "server_header": False}
    return uvicorn.Config(app, http="h11", ws="none", lifespan="off", **quiet, **more)
