"""Who is measured: each contestant is one Envoy configuration, and a way to tell from its stats that it did its job."""

import json
from dataclasses import dataclass, field
from pathlib import Path

TRACE = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-0"
BAGGAGE = "sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,sentry-sampled=false,sentry-environment=production,other=1"
# What a browser sends, the same for all.
BROWSER = {
    "accept": "application/json",
    "accept-language": "en-US,en;q=0.5",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "cookie": "a=1; b=2",
}
TRACED = {"sentry-trace": TRACE, "baggage": BAGGAGE}
FILTER = "wasmcustom.sentry_filter."
DYNAMIC_FILTER = "dynamicmodulescustom.sentry_filter."
DSN = "http://49d0f7386ad645858ae85020e393bef3@receiver.example/1"
ENVOY = "type.googleapis.com/envoy."


@dataclass
class Contestant:
    name: str
    what: str
    filters: list = field(default_factory=list)
    tracing: dict | None = None
    headers: dict = field(default_factory=dict)
    # A header that the service must have got, and how many spans a request makes, by which of
    # Envoy's stats.
    forwards: str | None = None
    spans: int = 0
    sent: str | None = None
    lost: str | None = None
    # What lives as long as Envoy, and what of Envoy's runtime is not the default.
    extensions: list = field(default_factory=list)
    runtime: dict = field(default_factory=dict)
    # Who has the same requests and no filter: what is added is added to that.
    beside: str = "none"


def wasm(module: Path, configuration: dict | None = None) -> dict:
    config = {
        "failure_policy": "FAIL_RELOAD",
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(module)}}},
    }
    if configuration:
        config["configuration"] = {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": json.dumps(configuration),
        }
    return {"name": "wasm", "typed_config": {"@type": ENVOY + "extensions.filters.http.wasm.v3.Wasm", "config": config}}


def filter_of(module: Path, name: str, what: str, rate: float, headers: dict | None = None, **configuration) -> Contestant:
    configuration = {"dsn": DSN, "traces_sample_rate": rate, **configuration}
    contestant = Contestant(name, what, [wasm(module, configuration)], headers=headers or {}, forwards="sentry-trace")
    contestant.beside = "none-traced" if headers else "none"
    contestant.sent, contestant.lost = FILTER + "spans_sent", FILTER + "spans_discarded."
    contestant.spans = 2 if rate else 0
    return contestant


def ours(module: Path) -> list[Contestant]:
    def recorded(transport: str) -> Contestant:
        what = f"this filter, every request recorded, `{transport}`"
        return filter_of(module, transport, what, 1, transport={"format": transport})

    return [
        filter_of(module, "forwarded", "this filter, a trace arrives that is not sampled", 0, TRACED),
        filter_of(module, "unsampled", "this filter, begins traces and samples none", 0),
        recorded("otlp"),
        recorded("span_v2"),
        recorded("transaction"),
    ]


def dynamic(module: Path, name: str, what: str, rate: float, **configuration) -> Contestant:
    """The same filter through Envoy's other door."""
    text = json.dumps({"dsn": DSN, "traces_sample_rate": rate, **configuration})
    loaded = {"module": {"local": {"filename": str(module)}}}
    config = {
        "@type": ENVOY + "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": loaded,
        "filter_name": "sentry",
        "filter_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text},
    }
    extension = {
        "@type": ENVOY + "extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension",
        "dynamic_module_config": loaded,
        "extension_name": "sentry",
    }
    return Contestant(
        name, f"this filter as a dynamic module, {what}", [{"name": "sentry", "typed_config": config}],
        extensions=[{"name": "envoy.bootstrap.dynamic_modules", "typed_config": extension}],
        forwards="sentry-trace", spans=2 if rate else 0, sent=DYNAMIC_FILTER + "spans_sent", lost=DYNAMIC_FILTER + "spans_discarded.",
    )


def dynamics(module: Path) -> list[Contestant]:
    def recorded(transport: str) -> Contestant:
        return dynamic(module, f"dynamic-{transport}", f"every request recorded, `{transport}`", 1, transport={"format": transport})

    return [dynamic(module, "dynamic-unsampled", "begins traces and samples none", 0), recorded("otlp"), recorded("transaction")]


def opentelemetry(name: str, what: str, with_upstream: bool, **runtime: int) -> Contestant:
    grpc = {"envoy_grpc": {"cluster_name": "sentry"}, "timeout": "5s"}
    provider = {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": grpc,
            "service_name": "gateway",
        },
    }
    tracing = {"provider": provider, "spawn_upstream_span": with_upstream}
    return Contestant(
        name, what, tracing=tracing, forwards="traceparent", spans=1 + with_upstream, sent="tracing.opentelemetry.spans_sent",
        lost="tracing.opentelemetry.spans_dropped", runtime={f"tracing.opentelemetry.{key}": value for key, value in runtime.items()},
    )


def zipkin() -> Contestant:
    provider = {
        "name": "envoy.tracers.zipkin",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collector_cluster": "sentry",
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
        },
    }
    return Contestant(
        "zipkin", "Envoy's Zipkin tracer", tracing={"provider": provider}, forwards="x-b3-traceid", spans=1,
        sent="tracing.zipkin.spans_sent", lost="tracing.zipkin.reports_dropped",
    )


def lua(clears_route_cache: bool = True) -> Contestant:
    code = """
function envoy_on_request(handle)
  local headers = handle:headers()
  for _, name in ipairs({"sentry-trace", "baggage"}) do
    local value = headers:get(name)
    if value then headers:replace(name, value) end
  end
end
"""
    script = {
        "name": "lua",
        "typed_config": {
            "@type": ENVOY + "extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": code},
            "clear_route_cache": clears_route_cache,
        },
    }
    return Contestant(
        "lua", "a Lua filter that copies two headers", [script], headers=TRACED, forwards="sentry-trace", beside="none-traced"
    )


def everybody(module: Path, library: Path, empty: Path, trimmed: Path, baseline: Path | None) -> list[Contestant]:
    filters = ours(module)
    if baseline:
        for contestant in ours(baseline):
            contestant.name += "@baseline"
            contestant.what += ", the baseline's module"
            filters.append(contestant)
    return [
        Contestant("none", "no filter, no tracer"),
        Contestant("none-traced", "no filter, no tracer, a trace arrives", headers=TRACED, forwards="sentry-trace"),
        Contestant("empty", "a Wasm filter that does nothing, on the SDK as it is published", [wasm(empty)]),
        Contestant("trimmed", "the same, without the callbacks that it has no use for, as in this filter", [wasm(trimmed)]),
        *filters,
        *dynamics(library),
        opentelemetry("otel", "Envoy's OpenTelemetry tracer", False),
        opentelemetry("otel+upstream", "Envoy's OpenTelemetry tracer, with `spawn_upstream_span`", True),
        # Its default is a POST for every five spans.
        opentelemetry("otel-batched", "the same, with `min_flush_spans` 512, as this filter batches", True, min_flush_spans=512),
        zipkin(),
        lua(),
    ]
