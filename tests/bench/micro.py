"""The core's steps beside the same jobs in the crates of Sentry and OpenTelemetry: `make bench-core`.

Runs filter/core/benches with divan, shows what it says, and makes a table of it: ours, the other's, and the ratio, of one run. Before anything is measured the bench
holds both to the same answer. Everything is compiled natively as the module is, for size.

DOCS=1
"""

import csv
import os
import re
import subprocess
import sys
from datetime import date

from envoys import BenchError
from measure import OUTPUT, ROOT, into_page

# Each job by the name it has in peers.rs, and what it is.
JOBS = {
    "sentry_trace": "read `sentry-trace`",
    "traceparent": "read `traceparent`",
    "tracestate_header": "check `tracestate`",
    "baggage": "read `baggage`, members:",
    "dsc": "DSC of four members",
    "dsn": "read a DSN",
    "configuration": "read a configuration, rules:",
    "decision_of": "decide about a request:",
    "sentry_trace_written": "write `sentry-trace`",
    "traceparent_written": "write `traceparent`",
    "baggage_written": "write `baggage`, members:",
    "transaction": "a POST of two spans, `transaction`",
    "span_v2": "a POST of two spans, `span_v2`",
    "otlp": "a POST of two spans, `otlp`",
    "client_report": "a POST of a client report",
}
LINE = re.compile(r"^(?P<tree>(?:│  |   )*)[├╰]─ (?P<name>\S+)\s*(?P<stats>.*)$")
NANOSECONDS = {"ps": 1e-3, "ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}


def run() -> list[str]:
    command = [os.environ.get("CARGO", "cargo"), "bench", "--locked", "-p", "sentry-filter-core", "--bench", "straight_line", "--bench", "peers"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise BenchError("cargo bench failed: see above")
    return lines


def medians(told: list[str]) -> dict[tuple[str, str, str], float]:
    """Those of peers.rs by job, crate and argument, in nanoseconds."""
    bench, path, read = "", [], {}
    for line in told:
        if not (match := LINE.match(line)):
            bench = line.split()[0] if " fastest " in line else bench
        if not match or bench != "peers":
            continue
        path = [*path[:len(match["tree"]) // 3], match["name"]]
        stats = [each.strip() for each in match["stats"].split("│")]
        if len(stats) < 3 or not stats[2]:
            continue
        value, unit = stats[2].split()
        job, crate, argument = [*path, ""][:3]
        read[job, crate, argument] = float(value) * NANOSECONDS[unit]
    return read


def rows(read: dict[tuple[str, str, str], float]) -> list[tuple[str, float, str, float | None]]:
    """What, ours, whose, theirs."""
    if unknown := {job for job, _, _ in read} ^ set(JOBS):
        raise BenchError(f"peers.rs and JOBS differ in {', '.join(sorted(unknown))}")
    told = []
    for job, what in JOBS.items():
        ours = {argument: value for (name, crate, argument), value in read.items() if (name, crate) == (job, "ours")}
        for argument, value in sorted(ours.items(), key=lambda each: (len(each[0]), each[0])):
            others = [(crate, value) for (name, crate, with_argument), value in read.items() if (name, with_argument) == (job, argument) and crate != "ours"]
            peer, theirs = others[0] if others else ("", None)
            told.append((f"{what} {argument}".strip(), value, peer, theirs))
    return told


def table(told: list[tuple[str, float, str, float | None]]) -> str:
    lines = ["| | ns | the same in | ns | ratio |", "|---|---|---|---|---|"]
    for what, ours, peer, theirs in told:
        other = f"`{peer}` | {theirs:,.0f} | {ours / theirs:.2f}" if theirs else " |  | "
        lines.append(f"| {what} | {ours:,.0f} | {other} |")
    return "\n".join(lines)


def main() -> int:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    told = rows(medians(run()))
    with (OUTPUT / "micro.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "ours_ns", "peer", "peer_ns"])
        writer.writerows(told)
    print(table(told))
    if os.environ.get("DOCS"):
        note = (
            f"What the core's steps take beside the same jobs in the crates of Sentry and OpenTelemetry (`make bench-core`, {date.today()}): medians of one run, to be compared with each "
            "other only; native code, all of it compiled for size as the module is. Both give the same answer, or the bench does not run. Their POSTs begin with a clone of the message."
        )
        into_page("bench-core", f"{note}\n\n{table(told)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench-core: {error}")
