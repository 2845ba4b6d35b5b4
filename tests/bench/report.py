"""What a run of `make bench` or `make bench-prices` tells: tables, a chart, a file with every window."""

import csv
import statistics
from pathlib import Path

from contestants import DOORS, OPTIONS, RATES, SETTINGS, WHO, Contestant
from floors import Windows, added
from measure import OUTPUT, spread
from noise import interval

# Which formats the price list compares with `otlp`.
FORMATS = ("transaction", "span_v2")
COLOURS = {"wasm": "#6c5fc7", "dynamic": "#3b2a8c", "native": "#9aa0a6", "native-batched": "#c8ccd0"}


def rounds_of(windows: Windows) -> list[int]:
    return list(range(min(len(each) for each in windows.values())))


def table(contestants: dict[str, Contestant], windows: Windows) -> str:
    """Everybody, with all that was measured."""
    lines = ["| | µs of CPU a request | added (of rounds drawn anew) | requests/s | p50 ms | p99 ms | p99.9 ms |", "|---|---|---|---|---|---|---|"]
    for name, each in windows.items():
        contestant = contestants[name]
        adds = bool(contestant.filters or contestant.tracing) and contestant.beside in windows
        more = told_added(windows, name, contestant.beside) if adds else ""
        tail = " | ".join(f"{statistics.median(getattr(one, key) for one in each):.2f}" for key in ("p50", "p99", "p999"))
        lines.append(
            f"| {contestant.what} (`{name}`) | {spread([one.cpu_us for one in each], 1)} | {more} | {spread([one.per_second for one in each], 0)} | {tail} |"
        )
    return "\n".join(lines)


def told_added(windows: Windows, name: str, beside: str) -> str:
    every = rounds_of(windows)
    low, high = interval(len(every), lambda rounds: added(windows, name, rounds, beside))
    return f"{added(windows, name, every, beside):+.1f} ({low:+.1f} to {high:+.1f})"


def of_a_request(windows: Windows, microseconds: float) -> str:
    """The same as a part of a request without a filter."""
    return f"{100 * microseconds / statistics.median(one.cpu_us for one in windows['none']):.0f} %"


def has_rates(windows: Windows) -> bool:
    return all(f"{who}-{rate:g}" in windows for who in WHO for rate in RATES) and "none" in windows


def by_rate(windows: Windows) -> str:
    """What it costs at your rate."""
    every = rounds_of(windows)
    lines = ["| µs of CPU added a request, at `traces_sample_rate` | " + " | ".join(f"{rate:g}" for rate in RATES) + " |", "|---|" + "---|" * len(RATES)]
    for who, what in WHO.items():
        values = [added(windows, f"{who}-{rate:g}", every) for rate in RATES]
        cells = " | ".join(f"{value:+.1f} ({of_a_request(windows, value)})" for value in values)
        lines.append(f"| {what} | {cells} |")
    return "\n".join(lines)


def price(groups: list[Windows], name: str, base: str, beside: str) -> str:
    """What `name` costs more than `base`, each beside the requests that it gets without a filter, in the group that has them all."""
    windows = next((each for each in groups if {name, base, beside} <= each.keys()), None)
    if windows is None:
        return ""

    def more(rounds: list[int]) -> float:
        pairs = ((windows[name][each].cpu_us - windows[beside][each].cpu_us) - (windows[base][each].cpu_us - windows["none"][each].cpu_us) for each in rounds)
        return statistics.median(pairs)

    every = rounds_of(windows)
    low, high = interval(len(every), more)
    return f"{more(every):+.1f} ({low:+.1f} to {high:+.1f}), {of_a_request(windows, more(every))}"


def prices(groups: list[Windows]) -> str:
    """What each option costs, through both doors, where nothing is sampled and where everything is."""
    told = {"dynamic": "dynamic module", "wasm": "Wasm"}
    columns = [(who, rate) for who in reversed(DOORS) for rate in ("0", "1")]
    heads = (f"{told[who]}, {'recorded' if rate == '1' else 'nothing sampled'}" for who, rate in columns)
    lines = ["| µs of CPU more a request (of rounds drawn anew), and part of a request | " + " | ".join(heads) + " |", "|---|" + "---|" * len(columns)]

    def row(what: str, suffix: str, beside: str = "none") -> None:
        cells = [price(groups, f"{who}-{rate}{suffix}", f"{who}-{rate}", beside) for who, rate in columns]
        if any(cells):
            lines.append(f"| {what} | {' | '.join(cells)} |")

    for option, (what, _) in OPTIONS.items():
        row(what, f"-{option}")
    for setting in SETTINGS:
        row(setting.what, f"+{setting.name}", f"none+{setting.name}")
    for form in FORMATS:
        cells = [price(groups, f"{who}-{form}", f"{who}-1", "none") if rate == "1" else "" for who, rate in columns]
        if any(cells):
            lines.append(f"| `transport.format`: `{form}` instead of `otlp` | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_csv(groups: list[Windows], name: str) -> None:
    with (OUTPUT / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["contestant", "round", "cpu_us", "requests_per_second", "p50_ms", "p99_ms", "p999_ms"])
        for contestant, each in (one for windows in groups for one in windows.items()):
            for number, one in enumerate(each, 1):
                writer.writerow([contestant, number, f"{one.cpu_us:.2f}", f"{one.per_second:.0f}", one.p50, one.p99, one.p999])


def draw(windows: Windows, note: str, file: Path) -> None:
    """One chart: what it costs at each rate."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    every = rounds_of(windows)
    figure, axes = pyplot.subplots(figsize=(8, 3.6))
    width = 0.8 / len(WHO)
    labels = {"wasm": "Wasm module", "dynamic": "dynamic module", "native": "Envoy's OpenTelemetry tracer", "native-batched": "the same, batched"}
    for index, who in enumerate(WHO):
        places = [place + (index - (len(WHO) - 1) / 2) * width for place in range(len(RATES))]
        bars = axes.bar(places, [added(windows, f"{who}-{rate:g}", every) for rate in RATES], width, label=labels[who], color=COLOURS[who])
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_xticks(range(len(RATES)), [f"{rate:.0%} sampled" for rate in RATES])
    axes.set_ylabel("µs of CPU added a request")
    axes.set_title(note.partition(",")[0], fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
