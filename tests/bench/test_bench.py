"""The tables of `make bench`, from windows that nobody measured: whoever is chosen by ONLY, there is a table, and a machine that is busy has no verdict."""

import contextlib
import io
import itertools
import re
import unittest
from pathlib import Path

import floors
import noise
import report
from bench import NOT_JUDGED, Run, chosen, tell
from contestants import DOORS, OPTIONS, PRICES, RATES, SETS, SETTINGS, WHO, everybody
from envoys import BenchError
from measure import ROOT, Window, expected_spans

FILES = [Path(name) for name in ("ours.wasm", "ours.so", "published.wasm", "empty.wasm", "baseline.wasm", "baseline.so")]
EVERYBODY = {each.name: each for each in everybody(*FILES)}


def windows(costs: dict[str, float], rounds: int = 3) -> floors.Windows:
    return {name: [Window(cost, 1_000.0, [1.0, 2.0], 0, 0) for _ in range(rounds)] for name, cost in costs.items()}


def good() -> dict[str, float]:
    """Costs that hold every floor."""
    return {"none": 50.0, "native-1": 74.0, "native-batched-1": 68.0, "native-0.1": 58.0, "dynamic-0": 52.0, "dynamic-0.1": 54.0, "dynamic-1": 57.0,
            "wasm-0": 59.0, "wasm-0.1": 62.0, "wasm-1": 70.0, "wasm-transaction": 86.0}


def rows_of_the_contract() -> list[str]:
    section = (ROOT / "docs" / "spec" / "filter.md").read_text(encoding="utf-8").partition("\n## 10. ")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


class Contestants(unittest.TestCase):
    def test_names_are_unique_and_everybody_has_somebody_beside(self) -> None:
        names = [each.name for each in everybody(*FILES)]
        self.assertEqual(len(names), len(set(names)))
        for each in EVERYBODY.values():
            self.assertIn(each.beside, EVERYBODY, each.name)
            alike = EVERYBODY[each.beside]
            self.assertEqual((each.headers, each.path, each.http2, each.workers), (alike.headers, alike.path, alike.http2, alike.workers), each.name)

    def test_every_set_has_only_who_there_is(self) -> None:
        for name, names in [*SETS.items(), *(("prices", names) for names in PRICES)]:
            self.assertEqual([each for each in names if each not in EVERYBODY], [], name)

    def test_all_that_sample_are_measured_at_all_rates(self) -> None:
        for who, rate in itertools.product(WHO, RATES):
            self.assertIn(f"{who}-{rate:g}", SETS["rates"])
            contestant = EVERYBODY[f"{who}-{rate:g}"]
            self.assertEqual((contestant.rate, contestant.spans), (rate, 2 if rate else 0))
            if contestant.tracing:
                self.assertEqual(contestant.tracing["random_sampling"], {"value": 100 * rate})

    def test_who_is_chosen_comes_with_what_it_is_measured_against(self) -> None:
        def names(only: str) -> list[str]:
            return [each.name for each in chosen(list(EVERYBODY.values()), only)]

        self.assertEqual(names("none,wasm-1+cors"), ["none", "none+cors", "wasm-1+cors", "wasm-1+cors@baseline"])
        self.assertEqual(names("native-1+h2"), ["native-1+h2"])
        self.assertEqual(set(names("")), set(SETS["rates"]) | {name + "@baseline" for name in SETS["rates"] if name.startswith(DOORS)})
        with self.assertRaisesRegex(BenchError, "there is no otlp"):
            names("none,otlp")

    def test_chance_is_allowed_where_something_is_drawn(self) -> None:
        self.assertEqual(expected_spans(EVERYBODY["wasm-1"], 20_000), (40_000, 0))
        self.assertEqual(expected_spans(EVERYBODY["wasm-0"], 20_000), (0, 0))
        self.assertEqual(expected_spans(EVERYBODY["wasm-0+traced"], 20_000), (0, 0))
        self.assertEqual(expected_spans(EVERYBODY["wasm-1+sampled"], 20_000), (40_000, 0))
        self.assertEqual(expected_spans(EVERYBODY["wasm-1-no-upstream"], 20_000), (20_000, 0))
        wanted, tolerance = expected_spans(EVERYBODY["native-0.1"], 10_000)
        self.assertEqual((round(wanted), round(tolerance)), (2_000, 360))


class Tables(unittest.TestCase):
    def test_any_one_has_a_row_and_any_two_of_the_floors(self) -> None:
        for names in [*([name] for name in EVERYBODY), *map(list, itertools.combinations(SETS["floors"], 2))]:
            with self.subTest(names=names):
                rows = report.table(EVERYBODY, windows(dict.fromkeys(names, 1.0), 2)).splitlines()[2:]
                self.assertEqual(len(rows), len(names))

    def test_what_is_added_is_told_only_beside_what_it_is_added_to(self) -> None:
        for costs, added in [({"otel": 2}, ""), ({"none": 1, "otel": 2}, "+1.0 (+1.0 to +1.0)"), ({"none": 1, "lua+traced": 2}, ""),
                             ({"none+traced": 1, "lua+traced": 2}, "+1.0 (+1.0 to +1.0)"), ({"none": 1}, "")]:
            with self.subTest(costs=costs):
                last = report.table(EVERYBODY, windows(costs)).splitlines()[-1]
                self.assertEqual(last.split("|")[3].strip(), added)

    def test_the_cost_at_each_rate(self) -> None:
        costs = {"none": 50.0} | {f"{who}-{rate:g}": 50 + 10 * place for who in WHO for place, rate in enumerate(RATES)}
        self.assertTrue(report.has_rates(windows(costs)))
        for row in report.by_rate(windows(costs)).splitlines()[2:]:
            self.assertIn("| +0.0 (0 %) | +10.0 (20 %) | +20.0 (40 %) | +30.0 (60 %) |", row)
        del costs["native-0.01"]
        self.assertFalse(report.has_rates(windows(costs)))

    def test_every_option_and_setting_has_its_prices(self) -> None:
        measured = [windows(dict.fromkeys(names, 50.0)) for names in PRICES]
        rows = [row.split("|")[1:-1] for row in report.prices(measured).splitlines()[2:]]
        self.assertEqual(len(rows), len(OPTIONS) + len(SETTINGS) + len(report.FORMATS))
        for what, *cells in rows:
            self.assertIn(sum(bool(cell.strip()) for cell in cells), (2, 4), what)

    def test_a_price_is_told_against_the_same_without_the_option(self) -> None:
        costs = {"none": 50, "none+cors": 60, "dynamic-0": 55, "dynamic-0-quiet": 54, "dynamic-0+cors": 67}
        rows = report.prices([windows({"none": 1}), windows(costs)]).splitlines()[2:]
        self.assertEqual([row.split(" | ")[:2] for row in rows], [
            ["| `response_headers: []`", "-1.0 (-1.0 to -1.0), -2 %"], ["| from a page of another origin", "+2.0 (+2.0 to +2.0), 4 %"],
        ])


class Floors(unittest.TestCase):
    def test_every_row_of_the_contract_that_is_a_ratio_is_judged(self) -> None:
        found = [re.search(r"`(\S+)` / `(\S+)` \| [≤≥] ([\d.]+) \| [≤≥] ([\d.]+) \|$", row) for row in rows_of_the_contract()]
        told = {(*each.groups()[:2], *map(float, each.groups()[2:])) for each in found if each}
        self.assertEqual(told, {(each.what, each.against, each.floor, each.goal) for each in floors.RATIOS})
        self.assertEqual(len(told), len(floors.RATIOS))
        for row in (f"| ≤ {floors.READY_AT_MOST} |", f"| ≤ {floors.MODULE_BYTES:,} | ≤ {floors.MODULE_GOAL:,} |", f"| ≤ {floors.GZIPPED_BYTES:,} |"):
            self.assertTrue(any(row in each for each in rows_of_the_contract()), row)

    def test_each_floor_can_break(self) -> None:
        self.assertEqual(floors.judge(windows(good())).broken, [])
        self.assertEqual(len(floors.judge(windows(good())).rows), len(floors.RATIOS))
        for ratio in floors.RATIOS:
            measured = windows(good())
            for one in measured[ratio.what]:
                one.cpu_us, one.per_second = (500.0, one.per_second) if ratio.is_added else (one.cpu_us, 100.0)
            with self.subTest(ratio=ratio):
                broken = floors.judge(measured).broken
                self.assertTrue(any(f"`{ratio.what}` / `{ratio.against}`" in each for each in broken), broken)

    def test_a_baseline_is_told_and_not_judged(self) -> None:
        verdicts = floors.judge(windows({"none": 50.0, "native-1": 60.0, "wasm-1": 55.0, "wasm-1@baseline": 90.0}))
        self.assertEqual((len([row for row in verdicts.rows if "@baseline" in row]), verdicts.broken), (2, []))

    def test_a_tracer_that_costs_nothing_holds_no_floor(self) -> None:
        self.assertEqual(len(floors.judge(windows({"none": 50.0, "native-1": 49.0, "dynamic-1": 51.0})).broken), 1)

    def test_without_no_filter_there_is_no_ratio(self) -> None:
        self.assertEqual(floors.judge(windows({"wasm-1": 1.0, "native-1": 1.0})).rows, [])

    def test_starts_and_sizes_are_judged(self) -> None:
        verdicts = floors.Verdicts([], [])
        floors.judge_ready(verdicts, [0.050, 0.051, 0.200], [0.055, 0.056, 0.057])
        self.assertEqual(verdicts.broken, [])
        floors.judge_ready(verdicts, [0.050], [0.070])
        self.assertEqual(verdicts.broken, ["Envoy ready with the dynamic module: 1.40 (50 → 70 ms) instead of ≤ 1.20"])


class Noise(unittest.TestCase):
    def test_others_and_a_spread_are_complaints(self) -> None:
        quiet, busy = noise.Others(), noise.Others()
        quiet.note(2.0, 1.9, 1.0)
        busy.note(2.0, 0.5, 0.5)
        self.assertEqual(noise.complaints([50.0, 51.0, 52.0, 50.0], quiet), [])
        self.assertEqual(len(noise.complaints([50.0, 51.0, 52.0, 50.0], busy)), 1)
        self.assertEqual(len(noise.complaints([50.0, 70.0, 52.0, 90.0], quiet)), 1)
        self.assertEqual(len(noise.complaints([50.0, 70.0, 52.0, 90.0], busy)), 2)

    def test_an_interval_is_the_same_twice_and_has_what_varies(self) -> None:
        values = [1.0, 2.0, 3.0, 4.0, 5.0]
        low, high = noise.interval(5, lambda rounds: sum(values[each] for each in rounds) / 5)
        self.assertEqual((low, high), noise.interval(5, lambda rounds: sum(values[each] for each in rounds) / 5))
        self.assertTrue(1.5 < low < 2.8 and 3.2 < high < 4.5, (low, high))

    def test_a_busy_machine_has_no_verdict_but_says_so(self) -> None:
        def told(costs: dict[str, float], busy: list[str], is_judged: bool = False) -> tuple[int, str]:
            output = io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                measured = windows(costs)
                status = tell(Run("bench", "today", EVERYBODY, [measured], busy), False, is_judged, Path("no module"))
            return status, output.getvalue()

        bad = good() | {"wasm-1": 500.0}
        self.assertEqual(told(good(), [])[0], 0)
        self.assertEqual(told(bad, [])[0], 1)
        status, output = told(bad, ["others were there"])
        self.assertEqual(status, NOT_JUDGED)
        self.assertIn("The machine was busy, so these numbers say little**: others were there", output)
        self.assertIn("NOT JUDGED", output)
        self.assertEqual(told(bad, ["others were there"], is_judged=True)[0], 1)


if __name__ == "__main__":
    unittest.main()
