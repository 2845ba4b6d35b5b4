"""The smallest HTTP client: this machine only, no proxy whatever the environment says."""

import http.client
import socket
from collections.abc import Mapping
from typing import Optional

from settings import SceneError

TIMEOUT_SECONDS = 5
LEAVE_SECONDS = 0.3


def get(port: int, path: str, headers: Optional[Mapping[str, str]] = None) -> tuple[int, bytes]:
    """The status and the body. Raises `OSError` or `http.client.HTTPException`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ask_and_leave(port: int, path: str, headers: Mapping[str, str]) -> None:
    """Sends a request and hangs up while the service behind the gateway is at work on it. Raises `SceneError` if the answer was there first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LEAVE_SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers))
        connection.getresponse()
    except TimeoutError:
        return
    finally:
        connection.close()
    raise SceneError(f"{path} was answered within {LEAVE_SECONDS} s: nobody could leave before")


def answers_200(port: int, path: str) -> bool:
    try:
        return get(port, path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections. Asks nothing, so an instrumented server records no span for it."""
    try:
        socket.create_connection((host, port), timeout=TIMEOUT_SECONDS).close()
        return True
    except OSError:
        return False
