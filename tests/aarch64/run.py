"""The dynamic module for aarch64 in an Envoy for aarch64, which QEMU runs on this machine: `make test-aarch64`.

run.py QEMU ENVOY MODULE: one request that is told its trace, and one POST with its spans.
"""

import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ENVOY = "type.googleapis.com/envoy."
# An emulated Envoy takes its time.
DEADLINE_SECONDS = 120
ROOT_OF_THE_SYSTEM = "/usr/aarch64-linux-gnu"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes what is posted."""

    bodies: list[bytes] = []

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["content-length"]))
        self.bodies.append(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def bootstrap(module: Path, port: int) -> dict:
    loaded = {"module": {"local": {"filename": str(module)}}}
    configuration = {"dsn": "http://49d0f7386ad645858ae85020e393bef3@receiver.example/1", "traces_sample_rate": 1}
    value = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(configuration)}
    dynamic = {"@type": ENVOY + "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"}
    extension = {"@type": ENVOY + "extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension"}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "here"}}}
    manager = {
        "@type": ENVOY + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "sentry", "typed_config": {**dynamic, "dynamic_module_config": loaded, "filter_name": "sentry", "filter_config": value}},
            {"name": "router", "typed_config": {"@type": ENVOY + "extensions.filters.http.router.v3.Router"}},
        ],
    }
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}
    cluster = {"name": "sentry", "type": "STATIC", "connect_timeout": "10s", "load_assignment": {"cluster_name": "sentry", "endpoints": [endpoint]}}
    listener = {"name": "gateway", "address": address(0), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}
    return {
        "admin": {"address": address(0)},
        "bootstrap_extensions": [
            {"name": "envoy.bootstrap.dynamic_modules", "typed_config": {**extension, "dynamic_module_config": loaded, "extension_name": "sentry"}}
        ],
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def main(qemu: str, envoy: str, module: Path) -> None:
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        config, admin, log = (Path(folder) / name for name in ("envoy.json", "admin", "log"))
        config.write_text(json.dumps(bootstrap(module.resolve(), receiver.server_port)), encoding="utf-8")
        command = [qemu, "-L", ROOT_OF_THE_SYSTEM, envoy, "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "--admin-address-path", admin, "-l", "warn"]
        with log.open("wb") as file:
            process = subprocess.Popen([str(part) for part in command], stdout=file, stderr=file)
        deadline = time.monotonic() + DEADLINE_SECONDS

        def wait(what: str, look):
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    if found := look():
                        return found
                except OSError:
                    pass
                time.sleep(0.1)
            sys.exit(f"test-aarch64: there is no {what}:\n{log.read_text(errors='replace')[-3000:]}")

        def get(url: str):
            return urllib.request.urlopen(url, timeout=10)

        try:
            at = wait("admin address", lambda: admin.exists() and admin.read_text(encoding="utf-8").strip())
            found = wait("listener", lambda: json.load(get(f"http://{at}/listeners?format=json")).get("listener_statuses"))
            port = found[0]["local_address"]["socket_address"]["port_value"]
            trace = wait("response with a trace", lambda: get(f"http://127.0.0.1:{port}/carts/7").headers.get("sentry-trace"))
            body = wait("POST", lambda: Receiver.bodies and Receiver.bodies[0])
            if trace[:32].encode() not in body:
                sys.exit(f"test-aarch64: what was posted is not of the trace {trace}: {body[:300]!r}")
        finally:
            process.kill()
            process.wait()
    print(f"aarch64: one request through Envoy, its trace {trace[:32]} in its response and in what was posted ({len(body)} bytes)")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
