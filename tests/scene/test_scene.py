"""The scene's own logic, without the programs: `python3 -m unittest discover tests/scene`."""

import signal
import socket
import subprocess
import sys
import time
import types
import unittest
from dataclasses import replace
from pathlib import Path

import run
from bootstrap import SOURCE, bootstrap, remove_filter, replace_texts
from collected import collected_span
from processes import Stage
from settings import CHROMIUMS, Port, SceneError, clashing_ports, find_chromium, missing_parts, parse_settings
from spotlight import event_data, seconds, spans_of
from tree import Span, render
from verdict import GATEWAY, check, sampled_all_the_same
from visits import Visit, bare_visit, browser_visit
from web import accepts

BROWSER = Visit("continued from the browser", trace_id="t1", span_id="browser")
BARE = bare_visit()
DSC = {"trace_id": "t1", "sampled": "true"}


def gateway(span_id="gateway", parent="browser", **changes) -> Span:
    span = Span("t1", span_id, parent, "http.server", "/api/{id}", 10.0, 10.004, GATEWAY, True, DSC)
    return replace(span, **changes)


def upstream() -> Span:
    return gateway("upstream", "gateway", op="http.client", name="GET", start=10.001, is_segment=False, dsc=None)


def service(parent="gateway", **changes) -> Span:
    span = Span("t1", "service", parent, "http.server", "items", 10.001, 10.003, "sentry.python.flask", True, DSC)
    return replace(span, **changes)


class Judging(unittest.TestCase):
    def assert_whole(self, visit, *spans, path=("gateway", "python")):
        self.assertEqual(check(visit, path, list(spans), []).missing, [])

    def assert_lacks(self, texts, visit, *spans, foreign=()):
        missing = check(visit, ["gateway", "python"], list(spans), list(foreign)).missing
        self.assertEqual(len(missing), len(texts), missing)
        for text, found in zip(texts, missing):
            self.assertIn(text, found)

    def test_a_continued_trace(self):
        self.assert_whole(BROWSER, gateway(), service())

    def test_the_order_of_arrival_is_free(self):
        self.assert_whole(BROWSER, service(), gateway())

    def test_the_service_may_hang_below_the_upstream_span(self):
        self.assert_whole(BROWSER, gateway(), upstream(), service(parent="upstream"))

    def test_a_started_trace(self):
        self.assert_whole(BARE, gateway(parent=None), service())

    def test_the_gateway_twice(self):
        again = gateway("again", "service")
        below = service("again", span_id="below", reporter="sentry.ruby", dsc=None)
        self.assert_whole(BROWSER, gateway(), service(), again, below, path=["gateway", "python", "gateway", "ruby"])

    def test_a_started_trace_is_not_the_other_visits(self):
        self.assert_lacks(["any span"], BARE, gateway(parent=None), service(), foreign=["t1"])

    def test_nothing_there(self):
        self.assert_lacks(["any span"], BARE)
        self.assert_lacks(["a single first span: there are 0", "found nothing"], BROWSER)

    def test_no_span_of_the_gateway(self):
        lacks = ["span gateway, parent of python's", "a single first span: there are 0", "found python"]
        self.assert_lacks(lacks, BROWSER, service())

    def test_no_span_of_the_service(self):
        self.assert_lacks(["found gateway"], BROWSER, gateway())

    def test_a_span_of_another_trace_does_not_count(self):
        self.assert_lacks(["found gateway"], BROWSER, gateway(), service(trace_id="t2"))

    def test_the_gateway_below_somebody_else(self):
        lacks = ["span x, parent of gateway's", "there are 0"]
        self.assert_lacks(lacks, BROWSER, gateway(parent="x"), service())

    def test_the_service_beside_the_gateway(self):
        self.assert_lacks(["there are 2", "found gateway"], BROWSER, gateway(), service(parent="browser"))

    def test_the_service_below_a_hole(self):
        self.assert_lacks(["span hole, parent of python's", "found gateway"], BROWSER, gateway(), service(parent="hole"))

    def test_a_span_that_was_sent_twice(self):
        self.assert_lacks(["one span gateway instead of 2", "there are 2"], BROWSER, gateway(), gateway(), service())

    def test_a_circle_ends(self):
        circle = replace(upstream(), parent_span_id="upstream")
        found = check(BROWSER, ["gateway", "python"], [circle, service(parent="upstream")], []).missing
        self.assertIn("a single first span: there are 0", found)

    def test_another_dynamic_sampling_context(self):
        other = service(dsc={**DSC, "release": "1"})
        self.assert_lacks(["one dynamic sampling context"], BROWSER, gateway(), other)

    def test_another_dynamic_sampling_context_in_the_first_of_two_envelopes(self):
        first, again = gateway(dsc={**DSC, "release": "1"}), gateway("again", "service")
        below = service("again", span_id="below")
        found = check(BROWSER, ["gateway", "python"] * 2, [first, service(), again, below], []).missing
        self.assertEqual(len(found), 1, found)
        self.assertIn("one dynamic sampling context", found[0])

    def test_no_dynamic_sampling_context(self):
        lacks = ["the dynamic sampling context in the envelope of python"]
        self.assert_lacks(lacks, BROWSER, gateway(), service(dsc=None))

    def test_a_members_type_does_not_matter(self):
        self.assert_whole(BROWSER, gateway(), service(dsc={"trace_id": "t1", "sampled": True}))

    def test_a_sample_rand_is_a_number(self):
        def told(rand: object) -> dict:
            return {**DSC, "sample_rand": rand}

        self.assert_whole(BROWSER, gateway(dsc=told("0.077180")), service(dsc=told("0.07718")))
        self.assert_lacks(["one dynamic sampling context"], BROWSER, gateway(dsc=told("0.077180")), service(dsc=told("0.07719")))
        self.assert_lacks(["one dynamic sampling context"], BROWSER, gateway(dsc=told("0.5")), service(dsc=told("half")))

    def test_a_visit_that_was_not_to_be_sampled(self):
        self.assertEqual(sampled_all_the_same(BROWSER, [gateway(trace_id="t2")]), [])
        self.assertEqual(sampled_all_the_same(BROWSER, [service()]), ["python's http.server service"])


class Drawing(unittest.TestCase):
    def test_a_continued_trace(self):
        drawn = render("continued", "t1", [service(), gateway()], {"browser": "in the caller"})
        self.assertEqual(
            drawn.splitlines(),
            [
                "trace t1  (continued)",
                "└─ span browser               (in the caller)",
                "   └─ http.server  /api/{id}  gateway (sentry-filter.rust.proxy-wasm)  4.0 ms",
                "      └─ http.server  items   python (sentry.python.flask)             2.0 ms",
            ],
        )

    def test_siblings_and_holes(self):
        later = gateway("later", None, start=11.0, end=11.5, reporter="x")
        spans = [gateway(parent=None), service(parent="hole"), later]
        self.assertEqual(
            render("broken", "t1", spans, {}).splitlines(),
            [
                "trace t1  (broken)",
                "├─ http.server  /api/{id}  gateway (sentry-filter.rust.proxy-wasm)    4.0 ms",
                "├─ span hole               (missing)",
                "│  └─ http.server  items   python (sentry.python.flask)               2.0 ms",
                "└─ http.server  /api/{id}  x                                        500.0 ms",
            ],
        )

    def test_nothing(self):
        self.assertEqual(render("empty", "t1", [], {}), "trace t1  (empty)")


class Reading(unittest.TestCase):
    def test_event_stream(self):
        stream = b"\nevent: e\ndata: [1]\nid: 7\n\ndata: a\r\ndata: b\r\n\r\ndata: cut off\n"
        self.assertEqual(list(event_data(stream.splitlines(keepends=True))), ["[1]", "a\nb"])

    def test_a_transaction_and_its_spans(self):
        trace = {"trace_id": "t1", "span_id": "s1", "parent_span_id": None, "op": "http.server"}
        child = {"trace_id": "t1", "span_id": "s2", "parent_span_id": "s1", "start_timestamp": 1, "timestamp": 2}
        payload = {
            "transaction": "/api/{id}",
            "start_timestamp": 1.5,
            "timestamp": "1970-01-01T00:00:02.5Z",
            "contexts": {"trace": trace},
            "spans": [child],
        }
        envelope = [{"sdk": {"name": "sdk"}, "trace": DSC}, [[{"type": "transaction"}, payload], [{"type": "sessions"}, {}]]]
        self.assertEqual(
            list(spans_of(envelope)),
            [
                Span("t1", "s1", None, "http.server", "/api/{id}", 1.5, 2.5, "sdk", True, DSC),
                Span("t1", "s2", "s1", "default", "(no name)", 1.0, 2.0, "sdk", False),
            ],
        )

    def test_streamed_spans(self):
        span = {"trace_id": "t1", "span_id": "s1", "name": "GET", "start_timestamp": 1.5, "end_timestamp": 2.5}
        op = {"sentry.op": {"type": "string", "value": "http.server"}}
        items = [{**span, "is_segment": True, "attributes": op}, {**span, "span_id": "s2", "parent_span_id": "s1"}]
        envelope = [{"sdk": {"name": "sdk"}, "trace": DSC}, [[{"type": "span"}, {"items": items}]]]
        self.assertEqual(
            list(spans_of(envelope)),
            [
                Span("t1", "s1", None, "http.server", "GET", 1.5, 2.5, "sdk", True, DSC),
                Span("t1", "s2", "s1", "default", "GET", 1.5, 2.5, "sdk", False),
            ],
        )
        with self.assertRaisesRegex(SceneError, "sdk sent a streamed span that is none"):
            list(spans_of([{"sdk": {"name": "sdk"}}, [[{"type": "span"}, {"items": [{"name": "GET"}]}]]]))

    def test_spans_of_the_collector_lack_no_dynamic_sampling_context(self):
        fields = {"trace_id": "t1", "span_id": "gateway", "parent_span_id": "browser", "op": "http.server", "name": "GET"}
        span = collected_span({**fields, "start": 10.0, "end": 10.004, "reporter": GATEWAY, "is_segment": True})
        self.assertEqual(span, gateway(name="GET", dsc={}))
        self.assertEqual(check(BROWSER, ["gateway", "python"], [span, service()], []).missing, [])

    def test_timestamps(self):
        for timestamp in (1700000000.25, "2023-11-14T22:13:20.250000Z", "2023-11-14T23:13:20.25+01:00"):
            self.assertEqual(seconds(timestamp), 1700000000.25)
        self.assertEqual(seconds("2023-11-14T22:13:20Z"), 1700000000)

    def test_a_transaction_that_is_none_is_shown(self):
        envelope = [{"sdk": {"name": "sdk"}}, [[{"type": "transaction"}, {"contexts": {}}]]]
        with self.assertRaisesRegex(SceneError, "sdk sent a transaction that is none"):
            list(spans_of(envelope))


class Visiting(unittest.TestCase):
    def test_the_browsers_headers_describe_one_trace(self):
        visit = browser_visit()
        self.assertEqual(visit.headers["sentry-trace"], f"{visit.trace_id}-{visit.span_id}-1")
        self.assertIn(f"sentry-trace_id={visit.trace_id}", visit.headers["baggage"])
        self.assertTrue(visit.headers["baggage"].startswith("acme-tenant=42,"))


class Replacing(unittest.TestCase):
    def test_each_text_once(self):
        self.assertEqual(replace_texts("a: 1, b: 2", {"a: 1": "a: 3", "b: 2": "b: 4"}), "a: 3, b: 4")

    def test_exchanged_values_are_not_replaced_again(self):
        self.assertEqual(replace_texts("p 1, p 2", {"p 1": "p 2", "p 2": "p 1"}), "p 2, p 1")

    def test_never_and_twice_are_both_named(self):
        with self.assertRaisesRegex(SceneError, "'p 1' occurs 2 times; 'q' occurs 0 times"):
            replace_texts("p 1, p 1", {"p 1": "p 2", "q": "r"})

    def test_the_real_file_has_every_text(self):
        chosen, _ = parse_settings({"GATEWAY_PORT": "10001", "SENTRY_FILTER_WASM": "a b, c.wasm"})
        text = bootstrap(chosen)
        self.assertIn("port_value: 10001", text)
        self.assertIn('b, c.wasm"', text)

    def test_the_real_file_with_the_dynamic_module(self):
        chosen, _ = parse_settings({"DOOR": "native", "SENTRY_FILTER_SO": "a b, c.so"})
        text = bootstrap(chosen)
        self.assertNotIn("wasm", text)
        self.assertEqual(text.count('b, c.so"'), 2, "the filter and the bootstrap extension")
        self.assertIn('"environment": "local"', text)

    def test_the_real_file_with_another_format(self):
        for door in ("wasm", "native"):
            chosen, _ = parse_settings({"DOOR": door, "FORMAT": "otlp", "COLLECTOR_PORT": "4319"})
            text = bootstrap(chosen)
            self.assertIn('"transport": {"format": "otlp", "cluster": "collector", "path": "/v1/traces"}', text)
            self.assertIn("cluster_name: collector", text)
            self.assertIn("port_value: 4319", text)
        chosen, _ = parse_settings({"FORMAT": "span_v2"})
        self.assertIn('"transport": {"format": "span_v2"}', bootstrap(chosen))

    def test_a_format_that_is_none(self):
        _, problems = parse_settings({"FORMAT": "zipkin"})
        self.assertEqual(problems, ["FORMAT is 'zipkin': the formats are transaction, span_v2, otlp"])

    def test_a_door_that_is_none(self):
        _, problems = parse_settings({"DOOR": "window"})
        self.assertEqual(problems, ["DOOR is 'window': the doors are wasm and native"])

    def test_the_real_file_without_the_filter(self):
        text = remove_filter(SOURCE.read_text())
        self.assertNotIn("sentry_filter.wasm", text)
        self.assertEqual(text.count("- name: envoy.filters.http.router"), 1)


class Settling(unittest.TestCase):
    def test_bad_ports_are_all_named_at_once(self):
        _, problems = parse_settings({"SERVICE_PORT": "http", "ADMIN_PORT": "70000", "GATEWAY_PORT": "²"})
        self.assertEqual([problem.split()[0] for problem in problems], ["SERVICE_PORT", "GATEWAY_PORT", "ADMIN_PORT"])

    def test_once_is_off_unless_asked_for(self):
        for text, once in (("", False), ("0", False), ("1", True)):
            self.assertEqual(parse_settings({"ONCE": text})[0].once, once)

    def test_a_missing_part_names_its_remedy(self):
        chosen, _ = parse_settings({"SENTRY_FILTER_WASM": "no/such.wasm"})
        self.assertIn("the filter's module is missing: run `make wasm`", missing_parts(chosen)[0])

    def test_a_taken_port_names_its_purpose_and_its_variable(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = Port(taken.getsockname()[1], "GATEWAY_PORT", "the gateway")
            problem = f"port {port.number} (the gateway) is taken by another program"
            remedy = "choose another with GATEWAY_PORT=<port>"
            self.assertEqual(clashing_ports([port]), [f"{problem}: {remedy}"])

    def test_a_port_that_is_chosen_twice(self):
        number = just_used_port()
        ports = [Port(number, "GATEWAY_PORT", "the gateway"), Port(number, "ADMIN_PORT", "Envoy's admin interface")]
        self.assertEqual(clashing_ports(ports), [f"ADMIN_PORT and GATEWAY_PORT are both {number}: choose two ports"])

    def test_a_port_is_free_again_right_after_its_last_connection(self):
        self.assertEqual(clashing_ports([Port(just_used_port(), "GATEWAY_PORT", "the gateway")]), [])


class NeverStopped:
    pause = staticmethod(time.sleep)


STUBBORN_SERVER = """
import signal, socket, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(60)
"""


class Missing(unittest.TestCase):
    def test_in_ci_it_is_said_that_it_is_an_error(self):
        settings = types.SimpleNamespace(must_be_whole=True)
        with self.assertRaisesRegex(SceneError, "^there is no Ruby, and with CI=true nothing may be missing"):
            run.do_without(settings, "there is no Ruby", "another stands in")

    def test_chromium_is_found_where_it_is(self):
        self.assertEqual(find_chromium(["/no/such", sys.executable, "/other"]), Path(sys.executable))
        self.assertEqual(find_chromium(["/no/such", "/other"]), Path("/no/such"))
        for file in ("chromium.mjs", "install.sh"):
            text = (Path(__file__).resolve().parent / file).read_text()
            for place in CHROMIUMS:
                self.assertIn(place, text, file)


class Staging(unittest.TestCase):
    def test_nothing_is_left_of_a_program_that_left_a_stubborn_one(self):
        leader = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"
        with Stage(NeverStopped()) as stage:
            child = self.start(stage, leader, STUBBORN_SERVER)
            stage.wait_ready(child, lambda: child.log.read_text().endswith("\n"), 10)
            port = int(child.log.read_text())
            self.assertTrue(accepts(port))
        self.assertFalse(stage.folder.exists())
        # What was killed and is not our child to wait for takes a moment to go.
        deadline = time.monotonic() + 10
        while accepts(port):
            self.assertLess(time.monotonic(), deadline, "the stubborn program is still there")
            time.sleep(0.01)

    def test_a_failure_half_way_leaves_nothing_either(self):
        with self.assertRaises(ZeroDivisionError), Stage(NeverStopped()) as stage:
            child = self.start(stage, "import time; time.sleep(60)")
            raise ZeroDivisionError
        self.assertEqual(child.process.returncode, -signal.SIGTERM)
        self.assertFalse(stage.folder.exists())

    def test_a_scene_that_is_killed_leaves_nothing(self):
        """`kill -9` gives it no time for anything."""
        scene = "\n".join([
            "import sys, time",
            f"sys.path.insert(0, {str(Path(__file__).resolve().parent)!r})",
            "from processes import Stage, StopSignal",
            "with Stage(StopSignal()) as stage:",
            "    child = stage.start('Part', [sys.executable, '-c', sys.argv[1]])",
            "    stage.wait_ready(child, lambda: child.log.read_text().endswith('\\n'), 10)",
            "    print(child.log.read_text().strip(), stage.folder, flush=True)",
            "    time.sleep(60)",
        ])
        with subprocess.Popen([sys.executable, "-c", scene, STUBBORN_SERVER], stdout=subprocess.PIPE, text=True) as killed:
            port, folder = killed.stdout.readline().split()
            self.assertTrue(accepts(int(port)))
            killed.kill()
        deadline = time.monotonic() + 10
        while accepts(int(port)) or Path(folder).exists():
            self.assertLess(time.monotonic(), deadline, "something is left")
            time.sleep(0.01)

    def test_a_program_that_ends_too_early_shows_its_log(self):
        expected = r"(?s)Part ended by itself with status 3.*\| out of luck"
        with self.assertRaisesRegex(SceneError, expected), Stage(NeverStopped()) as stage:
            child = self.start(stage, "print('out of luck'); raise SystemExit(3)")
            stage.wait_ready(child, lambda: False, 10)

    def test_a_program_that_never_gets_ready(self):
        with self.assertRaisesRegex(SceneError, "Part is not ready after 0.1 s"), Stage(NeverStopped()) as stage:
            stage.wait_ready(self.start(stage, "import time; time.sleep(60)"), lambda: False, 0.1)

    def test_a_program_that_is_not_there(self):
        with self.assertRaisesRegex(SceneError, "Part cannot be started"), Stage(NeverStopped()) as stage:
            stage.start("Part", ["/no/such/program"])

    def start(self, stage, *arguments: str):
        return stage.start("Part", [sys.executable, "-c", *arguments])


def just_used_port() -> int:
    """A free port on which a connection was closed by the server, which then lingers for a minute."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)):
            server.accept()[0].close()
    return number


if __name__ == "__main__":
    unittest.main()
