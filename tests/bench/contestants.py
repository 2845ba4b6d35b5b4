"""Who is measured: each contestant is one Envoy configuration and the requests that it gets, and a way to tell from its stats that it did its job.

A name says all: `dynamic-0.1+cors` is the dynamic module at a rate of 0.1, asked by another origin's page. Its requests are those of `none+cors`, which has no filter.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

TRACE = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-0"
TRACEPARENT = "00-d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-00"
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
# What is sampled, as production samples.
RATES = (0.0, 0.01, 0.1, 1.0)


@dataclass
class Contestant:
    name: str
    what: str
    filters: list = field(default_factory=list)
    tracing: dict | None = None
    headers: dict = field(default_factory=dict)
    # A header that the service must have got, and how many spans a recorded request makes, by
    # which of Envoy's stats.
    forwards: str | None = None
    spans: int = 0
    sent: str | None = None
    lost: str | None = None
    # What lives as long as Envoy, and what of Envoy's runtime is not the default.
    extensions: list = field(default_factory=list)
    runtime: dict = field(default_factory=dict)
    # Who has the same requests and no filter: what is added is added to that.
    beside: str = "none"
    # The share of the requests that is recorded: drawn, or (0 and 1) told by what arrives.
    rate: float = 1.0
    # How its requests come, and how many workers there are for them.
    path: str | None = None
    http2: bool = False
    workers: int = 1
    # What the route says to filters.
    metadata: dict | None = None
    # A header that a client must have got.
    answers: str | None = None


@dataclass(frozen=True)
class Setting:
    """What requests come with, and where to: an axis of its own. `none` is measured in each."""

    name: str
    what: str
    headers: dict = field(default_factory=dict)
    path: str | None = None
    http2: bool = False
    workers: int = 1
    metadata: dict | None = None
    # Whether they come with a decision about sampling.
    is_sampled: bool | None = None
    answers: str | None = None

    def of(self, contestant: Contestant) -> Contestant:
        """The contestant, with such requests."""
        is_filter = contestant.sent is not None and not contestant.tracing
        name, at, whose = contestant.name.partition("@")
        return replace(
            contestant, name=f"{name}+{self.name}{at}{whose}", what=f"{contestant.what}, {self.what}", headers=self.headers, path=self.path,
            http2=self.http2, workers=self.workers, metadata=self.metadata if is_filter else None, beside=f"none+{self.name}",
            rate=contestant.rate if self.is_sampled is None else float(self.is_sampled), answers=self.answers if is_filter else None,
        )


def arriving(is_sampled: bool) -> dict:
    """A trace in the words of Sentry and of W3C, for all the same."""
    flag, word = ("1", "true") if is_sampled else ("0", "false")
    baggage = BAGGAGE.replace("sentry-sampled=false", f"sentry-sampled={word}")
    return {"sentry-trace": TRACE[:-1] + flag, "baggage": baggage, "traceparent": TRACEPARENT[:-1] + flag}


SETTINGS = [
    Setting("traced", "a trace arrives that is not sampled", arriving(False), is_sampled=False),
    Setting("sampled", "a trace arrives that is sampled", arriving(True), is_sampled=True),
    Setting("cors", "from a page of another origin", {"origin": "https://shop.example"}, path="/cors/7?limit=10", answers="access-control-expose-headers"),
    Setting("h2", "over HTTP/2", http2=True),
    Setting("workers", "with two workers on the core", workers=2),
    Setting("metadata", "where the route has metadata for the filter", metadata={"transaction": "/api/{item}"}),
]
# What the filter can be asked for: the price list. The name of the option, its configuration, and
# what is recorded where it is asked.
OPTIONS = {
    "quiet": ("`response_headers: []`", {"response_headers": []}),
    "all-responses": ("`response_headers` with all three", {"response_headers": ["sentry-trace", "baggage", "traceparent"]}),
    "no-cors": ("`cors` off", {"cors": {"allow_headers": False, "expose_headers": False}}),
    "rules": ("20 `rules`, of which the last matches", {"rules": [
        *({"match": {"path": f"^/shops/{each}/items/[0-9]+$"}, "transaction": f"/shops/{each}/items/{{id}}"} for each in range(1, 20)),
        {"match": {"path": "^/api/[0-9]+$"}, "transaction": "/api/{id}"},
    ]}),
    "traceparent": ("`propagate_traceparent`", {"propagate_traceparent": True}),
    "server-timing": ("`server_timing`", {"server_timing": True}),
    "request-start": ("`request_start_header`", {"request_start_header": True}),
    "no-upstream": ("`upstream_spans: false`", {"upstream_spans": False}),
    "captured": ("`capture_request_headers` with two", {"capture_request_headers": ["accept", "accept-language"]}),
}


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
    contestant = Contestant(name, what, [wasm(module, configuration)], headers=headers or {}, forwards="sentry-trace", rate=rate)
    contestant.sent, contestant.lost = FILTER + "spans_sent", FILTER + "spans_discarded."
    contestant.spans = spans_of(rate, configuration)
    return contestant


def dynamic(module: Path, name: str, what: str, rate: float, **configuration) -> Contestant:
    """The same filter through Envoy's other door."""
    configuration = {"dsn": DSN, "traces_sample_rate": rate, **configuration}
    loaded = {"module": {"local": {"filename": str(module)}}}
    config = {
        "@type": ENVOY + "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": loaded,
        "filter_name": "sentry",
        "filter_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(configuration)},
    }
    extension = {
        "@type": ENVOY + "extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension",
        "dynamic_module_config": loaded,
        "extension_name": "sentry",
    }
    return Contestant(
        name, what, [{"name": "sentry", "typed_config": config}],
        extensions=[{"name": "envoy.bootstrap.dynamic_modules", "typed_config": extension}], rate=rate,
        forwards="sentry-trace", spans=spans_of(rate, configuration), sent=DYNAMIC_FILTER + "spans_sent", lost=DYNAMIC_FILTER + "spans_discarded.",
    )


def spans_of(rate: float, configuration: dict) -> int:
    return (1 + configuration.get("upstream_spans", True)) if rate else 0


def opentelemetry(name: str, what: str, rate: float = 1, with_upstream: bool = True, **runtime: int) -> Contestant:
    grpc = {"envoy_grpc": {"cluster_name": "sentry"}, "timeout": "5s"}
    provider = {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": grpc,
            "service_name": "gateway",
        },
    }
    tracing = {"provider": provider, "spawn_upstream_span": with_upstream, "random_sampling": {"value": 100 * rate}}
    return Contestant(
        name, what, tracing=tracing, forwards="traceparent", rate=rate, spans=(1 + with_upstream) if rate else 0,
        sent="tracing.opentelemetry.spans_sent", lost="tracing.opentelemetry.spans_dropped",
        runtime={f"tracing.opentelemetry.{key}": value for key, value in runtime.items()},
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
    return Contestant("lua", "a Lua filter that copies two headers", [script], forwards="sentry-trace")


WHO = {
    "wasm": "this filter as a Wasm module",
    "dynamic": "this filter as a dynamic module",
    "native": "Envoy's OpenTelemetry tracer, with `spawn_upstream_span`",
    # Its default is a POST for every five spans.
    "native-batched": "the same, with `min_flush_spans` 512, as this filter batches",
}
DOORS = ("wasm", "dynamic")


def at_rate(who: str, rate: float, module: Path, library: Path, more: str = "", **configuration) -> Contestant:
    """One of those that sample, at a rate; what is recorded goes as `otlp` from the filter, too."""
    told = {0.0: "nothing sampled", 1.0: "every request recorded"}.get(rate, f"{rate:.0%} sampled")
    name, what = f"{who}-{rate:g}{more}", f"{WHO[who]}, {told}"
    configuration = {"transport": {"format": "otlp"}, **configuration}
    if who == "wasm":
        return filter_of(module, name, what, rate, **configuration)
    if who == "dynamic":
        return dynamic(library, name, what, rate, **configuration)
    runtime = {"min_flush_spans": 512} if who == "native-batched" else {}
    return opentelemetry(name, what, rate, **runtime)


def doors(module: Path, library: Path) -> list[Contestant]:
    """The filter at each rate, in each format, with each option."""
    everyone = []
    for who in DOORS:
        everyone += [at_rate(who, rate, module, library) for rate in RATES]
        for form in ("transaction", "span_v2"):
            contestant = at_rate(who, 1, module, library, transport={"format": form})
            everyone.append(replace(contestant, name=f"{who}-{form}", what=f"{contestant.what}, `{form}`"))
        for option, (what, configuration) in OPTIONS.items():
            for rate in (0.0, 1.0):
                contestant = at_rate(who, rate, module, library, f"-{option}", **configuration)
                everyone.append(replace(contestant, what=f"{contestant.what}, {what}"))
    return everyone


def at_baseline(contestants: list[Contestant]) -> list[Contestant]:
    return [replace(each, name=each.name + "@baseline", what=each.what + ", the baseline's") for each in contestants]


def everybody(module: Path, library: Path, empty: Path, trimmed: Path, baseline: Path | None = None, baseline_library: Path | None = None) -> list[Contestant]:
    none = Contestant("none", "no filter, no tracer")
    tracers = [at_rate(who, rate, module, library) for who in ("native", "native-batched") for rate in RATES]
    ours = doors(module, library)
    if baseline:
        ours += at_baseline([each for each in doors(baseline, library) if each.name.startswith("wasm")])
    if baseline_library:
        ours += at_baseline([each for each in doors(module, baseline_library) if each.name.startswith("dynamic")])
    copying = next(each for each in SETTINGS if each.name == "traced").of(lua())
    empties = [
        Contestant("empty", "a Wasm filter that does nothing, on the SDK as it is published", [wasm(empty)]),
        Contestant("trimmed", "the same, without the callbacks that it has no use for, as in this filter", [wasm(trimmed)]),
    ]
    alone = opentelemetry("otel", "Envoy's OpenTelemetry tracer, without `spawn_upstream_span`, every request recorded", with_upstream=False)
    samplers = [*ours, *tracers]
    settings = [setting.of(each) for setting in SETTINGS for each in [none, *samplers] if each is none or setting.is_sampled in (None, bool(each.rate))]
    return [none, *empties, *ours, *tracers, alone, zipkin(), *settings, copying]



def of_options(who: str) -> list[str]:
    """One door with each option, where it does something, and in each format."""
    unrecorded = [option for option in OPTIONS if option not in ("no-upstream", "captured")]
    with_options = [f"{who}-{rate}-{option}" for rate, options in (("0", unrecorded), ("1", list(OPTIONS))) for option in options]
    return ["none", f"{who}-0", f"{who}-1", *with_options, f"{who}-transaction", f"{who}-span_v2"]


def of_settings(who: str) -> list[str]:
    """One door with each way to ask."""
    rates = [(each, rate) for each in SETTINGS for rate in ("0", "1") if each.is_sampled in (None, rate == "1")]
    in_settings = [f"{who}-{rate}+{each.name}" for each, rate in rates]
    return ["none", *(f"none+{each.name}" for each in SETTINGS), f"{who}-0", f"{who}-1", *in_settings]


# What `make bench-prices` measures, one group after the other: many Envoys at once would be in each other's way.
PRICES = [names for who in DOORS for names in (of_options(who), of_settings(who))]
# Who is measured if nobody is named, and by which word the rest. With `ONLY` names and words mix.
SETS = {
    "rates": ["none", *(f"{who}-{rate:g}" for who in WHO for rate in RATES), "wasm-transaction"],
    "floors": ["none", "native-1", "native-0.1", "native-batched-1", "wasm-transaction", *(f"{who}-{rate:g}" for who in DOORS for rate in (0.0, 0.1, 1.0))],
    "settings": ["none", *(name for who in DOORS for name in of_settings(who))],
    "prices": ["none", *(name for who in DOORS for name in of_options(who))],
    "others": ["none", "empty", "trimmed", "otel", "zipkin", "none+traced", "lua+traced"],
}
