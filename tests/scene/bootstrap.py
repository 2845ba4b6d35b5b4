"""Envoy's bootstrap for this run: `envoy/envoy-local.yaml` with the ports and the module's path of this machine, and on demand
with the dynamic module in the place of the Wasm module."""

import json
import re

from settings import ROOT, SceneError, Settings

SOURCE = ROOT / "envoy" / "envoy-local.yaml"


def bootstrap(settings: Settings) -> str:
    text = SOURCE.read_text()
    if settings.without_filter:
        text = remove_filter(text)
    elif settings.is_native:
        text = through_dynamic_module(text)
    if not settings.without_filter:
        text = with_format(text, settings)
    return replace_texts(
        text,
        {
            "port_value: 9901": f"port_value: {settings.admin.number}",
            "port_value: 10000": f"port_value: {settings.gateway.number}",
            "port_value: 8081": f"port_value: {settings.service.number}",
            "port_value: 8082": f"port_value: {settings.microservice.number}",
            "port_value: 8083": f"port_value: {settings.site.number}",
            "port_value: 8969": f"port_value: {settings.spotlight.number}",
            **({} if settings.without_filter else filter_texts(settings)),
        },
    )


def with_format(text: str, settings: Settings) -> str:
    """The same gateway with its spans in another format; Spotlight takes no OTLP, so that goes to a cluster of its own."""
    if settings.format == "transaction":
        return text
    transport = {"format": settings.format}
    if settings.format == "otlp":
        transport |= {"cluster": "collector", "path": "/v1/traces"}
        text = f"{text.rstrip()}\n\n{COLLECTOR % settings.collector.number}"
    rate = '"traces_sample_rate": 1.0,'
    return replace_texts(text, {rate: f'{rate} "transport": {json.dumps(transport)},'})


COLLECTOR = """\
  - name: collector
    connect_timeout: 1s
    load_assignment:
      cluster_name: collector
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: { address: 127.0.0.1, port_value: %d }
"""

NATIVE_SOURCE = "target/native/libsentry_filter.so"
EXTENSION = f"""\
bootstrap_extensions:
- name: envoy.bootstrap.dynamic_modules
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension
    dynamic_module_config: {{ module: {{ local: {{ filename: "{NATIVE_SOURCE}" }} }} }}
    extension_name: sentry

static_resources:
"""
FILTER = f"""\
          - name: sentry
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config: {{ module: {{ local: {{ filename: {NATIVE_SOURCE} }} }} }}
              filter_name: sentry
              filter_config:
"""


def through_dynamic_module(text: str) -> str:
    """The same gateway and the same configuration of the filter, through Envoy's other door."""
    before, rest = text.split("          - name: sentry\n            typed_config", 1)
    configuration = rest.split("                configuration:\n", 1)[1]
    text = before + FILTER + configuration
    return text.replace("wasmcustom", "dynamicmodulescustom").replace("static_resources:\n", EXTENSION, 1)


def filter_texts(settings: Settings) -> dict[str, str]:
    if settings.is_native:
        module = str(settings.module)
        return {
            "@127.0.0.1:8969/": f"@127.0.0.1:{settings.spotlight.number}/",
            f"filename: {NATIVE_SOURCE} ": f"filename: {json.dumps(module)} ",
            f'filename: "{NATIVE_SOURCE}" ': f"filename: {json.dumps(module)} ",
        }
    return {
        "@127.0.0.1:8969/": f"@127.0.0.1:{settings.spotlight.number}/",
        # A JSON string is a YAML string too, whatever characters the path has.
        "target/wasm32-wasip1/release/sentry_filter.wasm": json.dumps(str(settings.module)),
    }


def remove_filter(text: str) -> str:
    """The same gateway with only its router: what stands between the two is the filter."""
    before, rest = text.split("          - name: sentry\n            typed_config", 1)
    return before + "          - name: envoy.filters.http.router" + rest.split("          - name: envoy.filters.http.router", 1)[1]


def replace_texts(text: str, replacements: dict[str, str]) -> str:
    """Replaces each text where it occurs, and refuses a file in which one occurs never or twice.

    Plain text, so that the file stays a complete and commented example that Envoy loads as it is. All in one pass: a
    port that was put in is not taken for one to be replaced.
    """
    wrong = [f"{old!r} occurs {text.count(old)} times" for old in replacements if text.count(old) != 1]
    if wrong:
        raise SceneError(f"{SOURCE.name} must have each of these exactly once: {'; '.join(wrong)}")
    pattern = "|".join(re.escape(old) for old in replacements)
    return re.sub(pattern, lambda found: replacements[found.group()], text)
