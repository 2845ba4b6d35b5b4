//! What a long text of a caller's or an upstream's costs, in wasmi's fuel: it grows with the text
//! and no faster, and hardly with the number of rules.
//!
//! Fuel is no time, but in V8 some 70 units of it were a nanosecond where both were measured.

use serde_json::{json, Value};
use wasm_host::{config, Exchange, Gateway};

/// About the longest request that Envoy takes by default: 60 KiB of headers.
const LONG: usize = 57_000;
/// Two milliseconds, for the rules and for everything else that is done about a request.
const TWO_MS: u64 = 140_000_000;
/// What many patterns may add to a common request: less than half a microsecond, by the same
/// measure.
const A_LITTLE: u64 = 30_000;

fn start(more: &Value) -> Gateway {
    let mut configuration: Value = serde_json::from_str(config::UNSAMPLED).expect("JSON");
    for (key, value) in more.as_object().expect("an object") {
        configuration[key] = value.clone();
    }
    Gateway::start(&configuration.to_string())
}

/// So many patterns of one shape.
fn patterns(shape: &str, count: usize) -> impl Iterator<Item = String> + '_ {
    (0..count).map(move |each| shape.replace('#', &each.to_string()))
}

/// A text of pieces of what the patterns look for, another one for each seed.
fn pieces(seed: u64, length: usize) -> String {
    const PIECES: [&str; 10] = [
        "/shop-", "1", "7", "/items/", "/a", "/", "x-", ".json", "s", "9",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    while text.len() < length {
        // A step of Knuth's linear generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(PIECES[usize::try_from(state >> 40).expect("24 bits") % PIECES.len()]);
    }
    text.truncate(length);
    text
}

/// Texts that patterns may find expensive: plain ones, near misses, spellings, and ones that are
/// new each time.
fn long_texts() -> Vec<String> {
    let repeated = [
        "a",
        "/shop-1",
        "/shop-19/items",
        "/%2e%2e%2f",
        "/..",
        "//",
        "/a/b/c/d.jso",
        "%2570",
    ];
    let repeated = repeated
        .iter()
        .map(|piece| piece.repeat(LONG / piece.len()));
    let random = (0..4).map(|seed| pieces(seed, LONG));
    repeated
        .chain(random)
        .map(|text| format!("/{text}"))
        .collect()
}

const SHAPES: [&str; 9] = [
    "/shop-#/items",
    "/shop-#/[^/]+/items/[0-9]+$",
    "/a#/.*[.]json",
    "(?i)shop-#|store-#",
    "[0-9]+-#",
    "a.{20}#",
    "^/shop-#/",
    "(a|s)*#$",
    r"\b#\b",
];

/// What a common request costs with some configuration, once it was there.
fn common(more: &Value, request: &Exchange) -> u64 {
    let mut gateway = start(more);
    gateway.serve(request);
    gateway.serve(request).fuel()
}

#[track_caller]
fn assert_bounded(what: &str, more: &Value, request: impl Fn(&str) -> Exchange) {
    assert_bounded_beside(&json!({}), what, more, request);
}

#[track_caller]
fn assert_bounded_beside(
    none: &Value,
    what: &str,
    more: &Value,
    request: impl Fn(&str) -> Exchange,
) {
    let usual = request("/api/7/items");
    let without = common(none, &usual);
    let with = common(more, &usual);
    assert!(
        with <= without + A_LITTLE,
        "{what}: {with} for a common request, {without} without"
    );
    let mut gateway = start(more);
    let mut most = 0;
    for text in long_texts() {
        let fuel = gateway.serve(&request(&text)).fuel();
        let begin = text.get(..12).unwrap_or_default();
        assert!(fuel <= TWO_MS, "{what}: {fuel} for {begin}…");
        most = most.max(fuel);
    }
    println!("{what}: {without} without, {with} with, {most} at most");
}

#[test]
fn two_hundred_rules_cost_hardly_more_than_none() {
    for shape in SHAPES {
        let rules = |key: &str| -> Value {
            let rules = patterns(shape, 200).map(|it| json!({"match": {key: it}, "ignore": true}));
            json!({"rules": rules.collect::<Vec<_>>()})
        };
        assert_bounded(&format!("path {shape}"), &rules("path"), Exchange::get);
        assert_bounded(&format!("host {shape}"), &rules("host"), |host| {
            Exchange::get("/").to(host)
        });
    }
}

#[test]
fn two_hundred_rules_for_headers_cost_hardly_more_than_none() {
    for shape in SHAPES {
        let rules = patterns(shape, 200)
            .map(|it| json!({"match": {"header": {"x-long": it}}, "ignore": true}));
        let rules = json!({"rules": rules.collect::<Vec<_>>()});
        assert_bounded(&format!("header {shape}"), &rules, |value| {
            Exchange::get("/").header("x-long", value)
        });
        // A long line, in as many lines as Envoy takes.
        assert_bounded(&format!("lines {shape}"), &rules, |value| {
            let lines = value.as_bytes().chunks(600);
            lines.fold(Exchange::get("/"), |it, line| it.header("x-long", line))
        });
    }
    let names = (0..200)
        .map(|each| json!({"match": {"header": {format!("x-{each}"): "a$"}}, "ignore": true}));
    let rules = json!({"rules": names.collect::<Vec<_>>()});
    assert_bounded("200 headers", &rules, |value| {
        let lines = value.as_bytes().chunks(600).enumerate();
        lines.fold(Exchange::get("/"), |it, (each, line)| {
            it.header(format!("x-{each}"), line)
        })
    });
}

#[test]
fn seventy_targets_cost_hardly_more_than_none() {
    for shape in SHAPES {
        let texts = patterns("/shop-#/items", 50).map(Value::from);
        let regexes = patterns(shape, 20).map(|it| json!({"regex": it}));
        let targets =
            json!({"trace_propagation_targets": texts.chain(regexes).collect::<Vec<_>>()});
        // None of them matches, and what that means costs something, too.
        let none = json!({"trace_propagation_targets": []});
        assert_bounded_beside(&none, &format!("targets {shape}"), &targets, Exchange::get);
    }
}

/// A name made of groups is looked for once, and with a bound.
#[test]
fn groups_of_long_paths_are_bounded() {
    let shapes = [
        "^/(.*)/(.*)/(.*)/items$",
        "(a|s)*(x?)",
        "/([^/]+)/([^/]+)/items",
        "(x?)",
    ];
    for shape in shapes {
        let rule = json!({"match": {"path": shape}, "transaction": "$1$2$3"});
        let last = shape.matches('(').count();
        let name: String = (1..=last).map(|group| format!("${group}")).collect();
        let mut rule = rule;
        rule["transaction"] = name.into();
        let mut gateway = start(&json!({"rules": vec![rule; 200]}));
        for text in long_texts() {
            let fuel = gateway.serve(&Exchange::get(&text)).fuel();
            assert!(fuel <= TWO_MS, "{shape}: {fuel}");
        }
    }
}

type Make = Box<dyn Fn(usize) -> Exchange>;

fn repeated(piece: &str, length: usize) -> String {
    piece.repeat(length / piece.len() + 1)
}

/// A request with a header of that length, made of pieces.
fn value(name: &'static str, piece: &'static str) -> Make {
    Box::new(move |length| incoming().header(name, repeated(piece, length)))
}

/// A request with as many lines as are that long together.
fn lines(name: &'static str, value: &'static str) -> Make {
    let each = name.len() + value.len();
    Box::new(move |length| (0..length / each).fold(incoming(), |it, _| it.header(name, value)))
}

/// A response that is let in, with a header of that length.
fn answered(name: &'static str, piece: &'static str) -> Make {
    Box::new(move |length| Exchange::granted("/").response_header(name, repeated(piece, length)))
}

fn target(piece: &'static str) -> Make {
    Box::new(move |length| Exchange::get(&format!("/{}", repeated(piece, length))))
}

fn preflight() -> Exchange {
    Exchange::method("OPTIONS", "/")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "PUT")
        .response_header("access-control-allow-origin", "https://page.example")
}

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-1";
const W3C: &str = "00-d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-01";

fn incoming() -> Exchange {
    Exchange::get("/").header("sentry-trace", TRACE)
}

/// Everything that is read of a request or a response, as long as it may be: the work doubles with
/// the text at most.
#[test]
fn no_text_costs_more_than_in_proportion_to_its_length() {
    let texts: Vec<(&str, Make)> = vec![
        ("path", target("/a")),
        ("query", target("?a=b&")),
        ("query without names", target("?&")),
        ("query, escaped", target("?%61")),
        (
            "method",
            Box::new(|length| Exchange::method(&repeated("A", length), "/")),
        ),
        (
            "authority, @",
            Box::new(|length| Exchange::get("/").to(&repeated("a@", length))),
        ),
        (
            "authority, :",
            Box::new(|length| Exchange::get("/").to(&repeated("a:", length))),
        ),
        ("origin", value("origin", "a")),
        ("baggage of others", value("baggage", "a=b,")),
        ("baggage, empty members", value("baggage", ",")),
        ("baggage of ours", value("baggage", "sentry-a=b,")),
        ("baggage, escaped", value("baggage", "sentry-a=%41,")),
        ("baggage, one key", value("baggage", "sentry-%41")),
        ("baggage, properties", value("baggage", "a=b;p")),
        ("baggage, white space", value("baggage", " \t")),
        ("baggage, lines", lines("baggage", "a=b")),
        ("sentry-trace, lines", lines("sentry-trace", TRACE)),
        ("sentry-trace, commas", value("sentry-trace", ",")),
        ("traceparent, lines", lines("traceparent", W3C)),
        ("tracestate", value("tracestate", "a=b,")),
        ("tracestate, lines", lines("tracestate", "a=b")),
        ("cookies", value("cookie", "a=b;")),
        ("cookies, empty", value("cookie", ";")),
        ("cookies, lines", lines("cookie", "a=b")),
        (
            "cookies, long lines",
            Box::new(|length| {
                let line = "a=b;".repeat(512);
                (0..length / line.len()).fold(incoming(), |it, _| it.header("cookie", &line))
            }),
        ),
        ("captured", value("x-long", "a")),
        ("captured, lines", lines("x-long", "a")),
        ("not captured, lines", lines("x-a", "a")),
        ("referer", value("referer", "https://a@b/?a=b&c=d#")),
        (
            "preflight",
            Box::new(|length| {
                preflight().header("access-control-request-headers", repeated("a,", length))
            }),
        ),
        (
            "allow list",
            Box::new(|length| {
                let asked = preflight().header("access-control-request-headers", "baggage");
                asked.response_header("access-control-allow-headers", repeated("a,", length))
            }),
        ),
        (
            "expose list",
            answered("access-control-expose-headers", "a,"),
        ),
        (
            "expose list, quoted",
            answered("access-control-expose-headers", "\"\\"),
        ),
        ("server-timing", answered("server-timing", "a;desc=\"b\",")),
        ("cache-control", answered("cache-control", "a=\"b\",")),
        ("set-cookie", answered("set-cookie", "a=b;")),
        ("location", answered("location", "https://a@b/?a=b&c=d#")),
        (
            "response, lines",
            Box::new(|length| {
                let names = (0..length / 10).map(|each| format!("x-{each}"));
                names.fold(Exchange::granted("/"), |it, name| {
                    it.response_header(name, "a")
                })
            }),
        ),
    ];
    let forwards = json!({"strict_trace_continuation": true});
    let tells = json!({
        "traces_sample_rate": 1, "send_default_pii": true, "server_timing": true, "propagate_traceparent": true,
        "response_headers": ["sentry-trace", "baggage", "traceparent"],
        "capture_request_headers": ["cookie", "x-long", "referer"], "capture_response_headers": ["set-cookie", "location"],
    });
    let mut wrong = Vec::new();
    for (which, more) in [("forwards", forwards), ("tells all", tells)] {
        let mut gateway = start(&more);
        for (what, make) in &texts {
            let mut fuel = |length: usize| {
                let request = make(length);
                // The first one may have grown a table.
                gateway.serve(&request);
                let fuel = gateway.serve(&request).fuel();
                gateway.flush();
                gateway.answer_all(200);
                fuel
            };
            let (half, whole) = (fuel(LONG / 2), fuel(LONG));
            println!("{which}, {what}: {half}, {whole}");
            if whole > half * 9 / 4 || whole > TWO_MS {
                wrong.push(format!(
                    "{which}, {what}: {half} fuel, and {whole} for twice the length"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
