"""Runs Phoenix, a server for OpenTelemetry's traces, with an empty database:

    .tools/receivers/phoenix/bin/python tests/receivers/run_phoenix.py

It listens on a free port of the loopback, and says so with one line of JSON on its standard output, when it is ready:

    {"address": "127.0.0.1:4711"}

Spans go to /v1/traces; the API is below /v1/projects/default/. It ends when its standard input closes, and takes its
files with it. It reports to nobody.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sentry-filter-phoenix-") as folder:
        port = free_port()
        variables = {
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        }
        log = Path(folder) / "log"
        with log.open("w") as output:
            server = subprocess.Popen(
                [sys.executable, Path(sys.executable).with_name("phoenix"), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **variables},
            )
        try:
            while not is_ready(port):
                if server.poll() is not None:
                    sys.stderr.write(log.read_text())
                    return 1
                time.sleep(0.2)
            print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
            sys.stdin.read()
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
