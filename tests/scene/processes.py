"""Starting the scene's programs, waiting for them without guessing, and ending them without a trace."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from settings import SceneError

POLL_SECONDS = 0.05
END_SECONDS = 5
LOG_LINES = 25


class Stopped(Exception):
    """Somebody asked the scene to end while it was waiting for something."""


class StopSignal:
    """Ctrl-C, SIGTERM or a closed terminal, as a flag that every wait looks at.

    An exception out of the handler could strike between the start of a program and the note that it has to be ended, or
    in the middle of ending it; a flag cannot.
    """

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` means it.
            signal.signal(signal.SIGHUP, self._request)

    def _request(self, _number, _frame) -> None:
        self.requested = True

    def pause(self, seconds: float) -> None:
        if self.requested:
            raise Stopped
        time.sleep(seconds)


class Child:
    """A program of the scene, leader of a process group of its own, with its output in a log file."""

    def __init__(self, name: str, command: Sequence[object], folder: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name.lower().replace(' ', '-')}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environ,
                # Ctrl-C in a terminal reaches a whole group: in groups of their own, they end when
                # and how we say.
                start_new_session=True,
            )

    def tail(self) -> str:
        """The end of the log, ready to be shown."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"the log of {self.name} ends with:"] + [f"  | {line}" for line in lines or ["(nothing)"]])

    def signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # The group is empty; macOS says so in other words while its leader is not reaped.


# Ends what is left when the scene was killed and could not: its standard input is a pipe that then closes. A line is
# the leader of a group that has begun, with a minus of one that has ended.
UNDERTAKER = """
import os, shutil, signal, sys
groups = set()
for line in sys.stdin:
    number = int(line)
    groups.discard(-number) if number < 0 else groups.add(number)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class Stage:
    """The scene's programs and their temporary folder: whatever happens inside `with`, none of it is left behind."""

    def __init__(self, stop: StopSignal) -> None:
        self.stop = stop
        self.children: list[Child] = []
        self.folder = Path(tempfile.mkdtemp(prefix="sentry-filter-scene-"))
        command = [sys.executable, "-c", UNDERTAKER, str(self.folder)]
        self.undertaker = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def _tell(self, number: int) -> None:
        try:
            print(number, file=self.undertaker.stdin, flush=True)
        except OSError:
            pass  # It was killed, too.

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_exception) -> None:
        for child in self.children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        for child in self.children:
            try:
                child.process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            child.signal(signal.SIGKILL)  # The leader if it would not go, and whatever it left in its group.
            child.process.wait()
            self._tell(-child.process.pid)
        self.undertaker.stdin.close()
        self.undertaker.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str, command: Sequence[object], **variables: str) -> Child:
        try:
            child = Child(name, command, self.folder, self._environ(variables))
        except OSError as error:
            raise SceneError(f"{name} cannot be started: {error}") from error
        self._tell(child.process.pid)
        self.children.append(child)
        return child

    def wait_ready(self, child: Child, ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            self.check_alive(child)
            if time.monotonic() > deadline:
                raise SceneError(f"{child.name} is not ready after {seconds:g} s; {child.tail()}")
            self.stop.pause(POLL_SECONDS)
        self.check_alive(child)  # Else it was another program that answered.

    def wait_end(self, child: Child, seconds: float) -> int:
        """Waits for a program that ends by itself, and returns its status."""
        deadline = time.monotonic() + seconds
        while child.process.poll() is None:
            if time.monotonic() > deadline:
                raise SceneError(f"{child.name} is not done after {seconds:g} s; {child.tail()}")
            self.stop.pause(POLL_SECONDS)
        child.signal(signal.SIGKILL)  # Whatever it left in its group.
        self._tell(-child.process.pid)
        self.children.remove(child)
        return child.process.returncode

    def end(self, child: Child) -> None:
        """Ends a program, and waits until it is gone."""
        child.signal(signal.SIGKILL)
        child.process.wait()
        self._tell(-child.process.pid)
        self.children.remove(child)

    def check_alive(self, *children: Child) -> None:
        for child in children or self.children:
            status = child.process.poll()
            if status is not None:
                raise SceneError(f"{child.name} ended by itself with status {status}; {child.tail()}")

    def _environ(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Our environment, without the person's own Sentry settings and with no proxy between the parts."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SENTRY_")}
        for name in ("no_proxy", "NO_PROXY"):
            environ[name] = "127.0.0.1,localhost"
        return {**environ, "TMPDIR": str(self.folder), **variables}
