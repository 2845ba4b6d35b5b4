"""What a person can choose about the scene, where its parts lie, and whether it can start at all."""

import errno
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[2]
SCENE_TOOLS = ROOT / ".tools" / "scene"
VUE_TOOLS = ROOT / ".tools" / "vue"
ASTRO_TOOLS = ROOT / ".tools" / "astro"
# The Python that has OpenTelemetry's types.
ORACLES = ROOT / ".tools" / "oracles" / "bin" / "python"
FORMATS = ("transaction", "span_v2", "otlp")


class SceneError(Exception):
    """Something a person can understand and mend; the message is all they need."""


@dataclass(frozen=True)
class Port:
    number: int
    variable: str
    purpose: str


@dataclass(frozen=True)
class Settings:
    spotlight: Port
    service: Port
    microservice: Port
    page: Port
    site: Port
    gateway: Port
    admin: Port
    collector: Port
    envoy: Path
    module: Path
    # Whether the filter is the dynamic module.
    is_native: bool
    # How the gateway sends its spans: its `transport.format`.
    format: str
    # Whether the SDKs that know both send streamed spans, and not transactions.
    streamed: bool
    once: bool
    without_filter: bool
    failing_days: bool
    chromium: Path
    puma: Optional[Path]
    # Whether a language or a browser that is missing is an error.
    must_be_whole: bool
    picture: Optional[Path]

    @property
    def ports(self) -> list[Port]:
        return [self.spotlight, self.service, self.microservice, self.page, self.site, self.gateway, self.admin, self.collector]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Reads the environment, and refuses what cannot work: every problem at once rather than one a try."""
    settings, problems = parse_settings(environ)
    problems += missing_parts(settings) + clashing_ports(settings.ports)
    if problems:
        raise SceneError("the scene cannot start:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return settings


def parse_settings(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """The settings, with the default in place of what cannot be read, and a problem for each of those."""
    problems: list[str] = []

    def port(variable: str, default: int, purpose: str) -> Port:
        text = environ.get(variable) or str(default)
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
            problems.append(f"{variable} is {text!r}, which is no port: choose a number from 1 to 65535")
            text = str(default)
        return Port(int(text), variable, purpose)

    def path(variable: str, default: Path) -> Path:
        return Path(environ.get(variable) or default).resolve()

    door = environ.get("DOOR") or "wasm"
    if door not in ("wasm", "native"):
        problems.append(f"DOOR is {door!r}: the doors are wasm and native")
    is_native = door == "native"
    module = path("SENTRY_FILTER_WASM", ROOT / "target" / "wasm32-wasip1" / "release" / "sentry_filter.wasm")
    if is_native:
        module = path("SENTRY_FILTER_SO", ROOT / "target" / "native" / "libsentry_filter.so")

    format_ = environ.get("FORMAT") or "transaction"
    if format_ not in FORMATS:
        problems.append(f"FORMAT is {format_!r}: the formats are {', '.join(FORMATS)}")
        format_ = "transaction"

    settings = Settings(
        spotlight=port("SPOTLIGHT_PORT", 8969, "Spotlight, the local Sentry"),
        service=port("SERVICE_PORT", 8081, "the service behind the gateway"),
        microservice=port("MICROSERVICE_PORT", 8082, "the service that the first one calls"),
        page=port("PAGE_PORT", 5173, "the page"),
        site=port("SITE_PORT", 8083, "the site behind the gateway"),
        gateway=port("GATEWAY_PORT", 10000, "the gateway"),
        admin=port("ADMIN_PORT", 9901, "Envoy's admin interface"),
        collector=port("COLLECTOR_PORT", 4318, "the collector of OpenTelemetry's spans"),
        envoy=path("ENVOY_BIN", ROOT / ".tools" / "bin" / "envoy"),
        module=module,
        is_native=is_native,
        format=format_,
        streamed=environ.get("STREAMED", "") not in ("", "0"),
        without_filter=environ.get("WITHOUT_FILTER", "") not in ("", "0"),
        failing_days=environ.get("FAILING_DAYS", "") not in ("", "0"),
        chromium=path("CHROMIUM", find_chromium()),
        puma=puma(environ.get("PUMA", "puma")),
        once=environ.get("ONCE", "") not in ("", "0"),
        must_be_whole=environ.get("CI") == "true",
        picture=Path(environ["PICTURE"]).resolve() if environ.get("PICTURE") else None,
    )
    return settings, problems


# Where Chromium, or Chrome, is on the systems that developers have: chromium.mjs and install.sh look in the same places.
CHROMIUMS = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/snap/bin/chromium",
    "/usr/bin/google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
]


def find_chromium(places: Sequence[str] = CHROMIUMS) -> Path:
    """The first that is there; the first of all if none is."""
    return next((Path(place) for place in places if Path(place).exists()), Path(places[0]))


def puma(program: str) -> Optional[Path]:
    """Ruby's server, if it and Sentry's SDK are on the machine."""
    server, ruby = shutil.which(program), shutil.which("ruby")
    if not (server and ruby):
        return None
    sdk = subprocess.run([ruby, "-e", 'require "rack"; require "sentry-ruby"'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Path(server) if sdk.returncode == 0 else None


def missing_parts(settings: Settings) -> list[str]:
    """The installed and built files that are not there, each with the command that makes it."""
    parts = [
        (settings.module, "the filter's module", remedy_for_module(settings)),
        (settings.envoy, "Envoy", "run `make envoy`, or name it in ENVOY_BIN"),
        (SCENE_TOOLS / "node_modules" / ".installed", "Spotlight", "run `make scene`"),
        (SCENE_TOOLS / "python" / ".installed", "the service's SDK", "run `make scene`"),
        (VUE_TOOLS / "node_modules" / ".installed", "the page's Vue and SDK", "run `make scene`"),
        (ASTRO_TOOLS / "node_modules" / ".installed", "the site's Astro and SDK", "run `make scene`"),
    ]
    if settings.format == "otlp":
        parts.append((ORACLES, "OpenTelemetry's types", "run `make oracles`"))
    return [f"{what} is missing: {remedy}" for file, what, remedy in parts if not file.exists()]


def remedy_for_module(settings: Settings) -> str:
    target, variable = ("native", "SENTRY_FILTER_SO") if settings.is_native else ("wasm", "SENTRY_FILTER_WASM")
    return f"run `make {target}`, or name it in {variable}"


def clashing_ports(ports: list[Port]) -> list[str]:
    """The ports that the scene cannot have: chosen twice, taken by another program, or forbidden."""
    problems = []
    for index, port in enumerate(ports):
        twin = next((other for other in ports[:index] if other.number == port.number), None)
        if twin:
            problems.append(f"{port.variable} and {twin.variable} are both {port.number}: choose two ports")
            continue
        obstacle = port_obstacle(port.number)
        if obstacle:
            problems.append(
                f"port {port.number} ({port.purpose}) {obstacle}: choose another with {port.variable}=<port>"
            )
    return problems


def port_obstacle(number: int) -> Optional[str]:
    """Why nothing of ours can listen on this port, or None.

    Both questions are needed. Binding alone overlooks, on macOS, a program that listens on all addresses, and
    connecting alone overlooks a port that is bound but not listening. `SO_REUSEADDR` is what keeps the scene's own last
    run, whose connections linger for a minute, from looking like another program.
    """
    if listens(socket.AF_INET, "127.0.0.1", number) or listens(socket.AF_INET6, "::1", number):
        return "is taken by another program"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return "is taken by another program" if taken else f"cannot be used ({error.strerror})"
    return None


def listens(family: socket.AddressFamily, host: str, number: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            return probe.connect_ex((host, number)) == 0
    except OSError:  # No such address family on this machine.
        return False
