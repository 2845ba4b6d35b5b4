"""The Envoys of a benchmark: the gateway that is measured, and the one behind it that is service and receiver in one."""

import json
import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from contestants import ENVOY, Contestant

LOCALHOST = "127.0.0.1"
START_SECONDS = 30
CPUCLOCK_SCHED = 2  # Of it and a process's id clock_getcpuclockid(3) makes the number of that process's clock.
BIG_BYTES = 1 << 20  # What the answer to /big has.
# What the service shows of a request, so that each contestant can be asked whether it really
# forwards a trace.
SHOWN = ("sentry-trace", "traceparent", "x-b3-traceid")


class BenchError(Exception):
    """What a person is told instead of a traceback."""


class Envoy:
    def __init__(self, binary: Path, bootstrap: dict, folder: Path, name: str, cpus: set[int], concurrency: int = 1) -> None:
        self.name, self.workers = name, concurrency
        self.log = folder / f"{name}.log"
        file = folder / f"{name}.json"
        file.write_text(json.dumps(bootstrap), encoding="utf-8")
        admin = folder / f"{name}.admin"
        admin.unlink(missing_ok=True)
        command = [binary, "-c", file, "--concurrency", concurrency, "--use-dynamic-base-id", "--admin-address-path", admin, "-l", "warn"]
        started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        if cpus:
            for task in os.listdir(f"/proc/{self.process.pid}/task"):
                os.sched_setaffinity(int(task), cpus)
        self.admin = self._wait(lambda: admin.read_text(encoding="utf-8").strip() if admin.exists() else None)
        self._wait(lambda: self.get("/ready").startswith("LIVE"))
        self.start_seconds = time.monotonic() - started
        listeners = json.loads(self.get("/listeners?format=json"))["listener_statuses"]
        self.ports = {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in listeners}

    def _wait(self, ask):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if answer := ask():
                    return answer
            except OSError:
                pass
            time.sleep(0.005)
        raise BenchError(f"Envoy {self.name} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=10) as answer:
            return answer.read().decode()

    def stats(self) -> dict[str, int]:
        lines = (line.rpartition(": ") for line in self.get("/stats?type=Counters").splitlines())
        stats = {name: int(value) for name, _, value in lines}
        lines = (line.rpartition(": ") for line in self.get("/stats?filter=sentry_filter&type=Gauges").splitlines())
        return stats | {name: int(value) for name, _, value in lines}

    def cpu_seconds(self) -> float:
        """All threads of the process, user and system, as the kernel accounts them: by its clock of that process, which is finer than `/proc/<pid>/stat`."""
        return time.clock_gettime(~self.process.pid << 3 | CPUCLOCK_SCHED)

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise BenchError("the system does not tell the memory of a process")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def gateway(contestant: Contestant, behind: Envoy, routes: int = 1) -> dict:
    """The last of the routes is the one that everything takes."""
    missed = [{"name": f"/shops/{each}", "match": {"prefix": f"/shops/{each}/"}, "route": {"cluster": "upstream"}} for each in range(1, routes)]
    metadata = {"metadata": {"filter_metadata": {"sentry": contestant.metadata}}} if contestant.metadata else {}
    manager = {
        "tracing": contestant.tracing,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [
                    *missed, {"name": "/api/{id}", "match": {"prefix": "/"}, "route": {"cluster": "upstream"}} | metadata
                ]}
            ]
        },
    }
    manager = {key: value for key, value in manager.items() if value is not None}
    clusters = [cluster("upstream", behind.ports["service"], http2=False), cluster("sentry", behind.ports["receiver"], http2=True)]
    whole = bootstrap([listener("gateway", manager, contestant.filters)], clusters)
    whole["layered_runtime"]["layers"][0]["static_layer"] |= contestant.runtime
    if contestant.extensions:
        whole["bootstrap_extensions"] = contestant.extensions
    return whole


def behind() -> dict:
    """A service that answers at once, and a receiver that takes what Sentry, OpenTelemetry's and Zipkin's collectors take."""
    shown = [
        {"header": {"key": f"x-saw-{name}", "value": f"%REQ({name})%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name in SHOWN
    ]
    item = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": '{"id": 7, "name": "item"}'}}}
    cors = {**item, "match": {"prefix": "/cors"}, "response_headers_to_add": [
        {"header": {"key": "access-control-allow-origin", "value": "%REQ(origin)%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    ]}
    nothing = {"match": {"prefix": "/nothing"}, "direct_response": {"status": 200}}
    big = {"match": {"prefix": "/big"}, "direct_response": {"status": 200, "body": {"inline_string": "x" * BIG_BYTES}}}
    mirror = {**item, "match": {"path": "/shown"}, "response_headers_to_add": shown}
    grpc = {
        "match": {"prefix": "/opentelemetry.proto.collector.trace.v1.TraceService/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [
            {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for name, value in (("grpc-status", "0"), ("content-type", "application/grpc"))
        ],
    }
    otlp = {"match": {"safe_regex": {"regex": "/.*/v1/traces/?"}}, "direct_response": {"status": 200}}
    zipkin = {"match": {"path": "/api/v2/spans"}, "direct_response": {"status": 202}}  # Any other status counts as dropped.
    rest = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "{}"}}}

    def of(name: str, routes: list, codec: str) -> dict:
        hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
        manager = {"codec_type": codec, "route_config": {"virtual_hosts": hosts, "max_direct_response_body_size_bytes": 2 << 20}}
        return listener(name, manager, [])

    return bootstrap([of("service", [mirror, cors, nothing, big, item], "HTTP1"), of("receiver", [grpc, otlp, zipkin, rest], "HTTP2")], [])


def bootstrap(listeners: list, clusters: list) -> dict:
    return {
        "admin": {"address": address(0)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        # A window ends when what it recorded has left: Envoy's tracers wait for five seconds
        # otherwise, the filter for one.
        "layered_runtime": {
            "layers": [
                {"name": "bench", "static_layer": {
                    "tracing.opentelemetry.flush_interval_ms": 1000, "tracing.zipkin.flush_interval_ms": 1000
                }}
            ]
        },
    }


def listener(name: str, manager: dict, filters: list) -> dict:
    router = {"name": "router", "typed_config": {"@type": ENVOY + "extensions.filters.http.router.v3.Router"}}
    config = {
        "@type": ENVOY + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "http_filters": [*filters, router], **manager,
    }
    return {"name": name, "address": address(0), "filter_chains": [{"filters": [{"name": "http", "typed_config": config}]}]}


def cluster(name: str, port: int, http2: bool) -> dict:
    options = {"http2_protocol_options" if http2 else "http_protocol_options": {}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
    return {
        "name": name, "connect_timeout": "1s", "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": ENVOY + "extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": options
            }
        },
    }


def address(port: int) -> dict:
    return {"socket_address": {"address": LOCALHOST, "port_value": port}}


def temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="sentry-filter-bench-")
