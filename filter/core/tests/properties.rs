//! What must hold for whatever strangers send: the checks of the fuzz targets, with inputs that
//! proptest makes of the pieces of each format. They run on a stable toolchain with every
//! `make test`; PROPTEST_CASES asks for more.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans are for what runs in a gateway"
)]

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../fuzz/src/lib.rs"]
mod checks;

use checks::{formats, operations, request, response, segment};

const TRACE_IDS: [&str; 4] = [
    "771a43a4192642f0b136d5159a501700",
    "d49d9bf66f13450b81f65bc51cf49c03",
    "771A43A4192642F0B136D5159A501700",
    "00000000000000000000000000000000",
];
const SPAN_IDS: [&str; 3] = ["7c51afd529da4a2a", "1CC4B26AB9094EF0", "0000000000000000"];

/// Something that was damaged on the way: most of the time nothing, else a byte more, less or
/// other.
fn damaged(value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (value, 0..12_u8, any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut value, rejections, at, byte)| {
            let at = at.index(value.len() + 1);
            match rejections {
                0 => value.insert(at, byte),
                1 => value.truncate(at),
                2 if at < value.len() => value[at] = byte,
                3 if at < value.len() => drop(value.remove(at)),
                _ => {}
            }
            value
        },
    )
}

fn sentry_trace() -> impl Strategy<Value = Vec<u8>> {
    let flag = select(vec!["", "-1", "-0", "-", "-2", "-1, "]);
    let value = (select(&TRACE_IDS[..]), select(&SPAN_IDS[..]), flag)
        .prop_map(|(trace_id, span_id, flag)| format!("{trace_id}-{span_id}{flag}").into_bytes());
    damaged(value)
}

fn traceparent() -> impl Strategy<Value = Vec<u8>> {
    let version = select(vec!["00", "01", "cc", "ff", "0x"]);
    let flags = select(vec!["00", "01", "02", "03", "ff", "01-more", "1"]);
    let value = (
        version,
        select(&TRACE_IDS[..]),
        select(&SPAN_IDS[..]),
        flags,
    )
        .prop_map(|(version, trace_id, span_id, flags)| {
            format!("{version}-{trace_id}-{span_id}-{flags}").into_bytes()
        });
    damaged(value)
}

fn tracestate() -> impl Strategy<Value = Vec<u8>> {
    let member = "[a-z0-9][a-z0-9@_*/-]{0,4}=[ -~]{0,4}";
    let members = vec(member, 0..4).prop_map(|members| members.join(",").into_bytes());
    damaged(prop_oneof![4 => members, 1 => "[0-9]{1,2}\\*a=1,".prop_map(String::into_bytes)])
}

fn baggage() -> impl Strategy<Value = Vec<u8>> {
    let trace_id = select(&TRACE_IDS[..]).prop_map(|id| format!("sentry-trace_id={id}"));
    let ours = select(vec![
        "sentry-public_key=49d0f7386ad645858ae85020e393bef3",
        "sentry-sample_rand=0.5",
        "sentry-sample_rate=0.25;p",
        "sentry-sampled=true",
        "sentry-sampled=false",
        "sentry-org_id=7",
        "sentry-trace%5Fid=1",
        "sentry-trace_id=",
        "sentry-",
        "sentry-x y=1",
        "sentry-release = \"a b\"",
        "sentry-release=a+%2b=",
        "sentry-release=%ff\\%2",
        "sentry-user-id=1",
        "sentry-%74race_id=1",
        "%73entry-release=2",
        "sentry%2Dsampled=true",
        "Sentry-sampled=true",
    ]);
    let member = prop_oneof![
        2 => trace_id,
        3 => ours.prop_map(str::to_owned),
        2 => "[sS%]?(73|53)?(entry|sentry)[-%]?(2[dD])?[-a-z_%+0-9]{0,3}[ \t]?=[ \t]?[!-+.-~\u{80}-\u{ff}]{0,5}",
        3 => "[ \t]?[a-z]{1,3} ?=[!-+.-~]{0,6}(;[a-z=]{0,3})?",
        1 => "[ -~]{0,6}",
    ];
    let members = vec(member, 0..8).prop_map(|members| members.join(",").into_bytes());
    // Around the limits of 64 members and 8,192 bytes.
    let many = "(6[0-9]\\*[a-z]=v,|[0-9]{1,3}\\*sentry-[a-c]=1,)".prop_map(String::into_bytes);
    let long = "(81[0-9]{2}\\*k=|27[0-9]{2}\\*k=v|8[0-9]{3}\\*x)".prop_map(String::into_bytes);
    damaged(prop_oneof![8 => members, 1 => many, 1 => long])
}

/// Values as the lines of one header.
fn lines(value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    vec(value, 0..4).prop_map(|lines| lines.join(&b'\n'))
}

fn named(
    name: &'static str,
    value: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Vec<u8>> {
    value.prop_map(move |value| [name.as_bytes(), b": ", &value].concat())
}

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    select(values).prop_map(|value| value.as_bytes().to_vec())
}

/// A request in the form of `checks::request`.
fn a_request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => named("sentry-trace", sentry_trace()),
        4 => named("baggage", baggage()),
        2 => named("traceparent", traceparent()),
        1 => named("tracestate", tracestate()),
        1 => one_of(&[
            ":method: GET", ":method: OPTIONS", ":scheme: https", ":authority: shop.example", ":authority: O1.ingest.sentry.io",
            "sentry_trace: 1", "Sentry.Trace: 1", ":path: /shops/42/cart", ":path: /internal", ":path: /api/42/envelope/", ":path: /shops/8*x/a", ":path: 3000*/shops/\u{fc}", "x-team: web",
            "@route: /api/{id}", "@route: r", "@cluster: c", "@metadata.ignore: true", "@metadata.traces_sample_rate: 0.5",
            "@metadata.transaction: /t", "@metadata.transaction: 9000*/", "@metadata: ?",
        ]),
        1 => vec(any::<u8>(), 0..40),
    ];
    let preflight = vec(named("access-control-request-headers", a_list()), 0..3);
    let preflight = preflight.prop_map(|lines| {
        let asks =
            b":method: OPTIONS\naccess-control-request-method: PUT\norigin: https://page.example";
        [vec![asks.to_vec()], lines].concat()
    });
    let lines = prop_oneof![4 => vec(line.clone(), 0..7), 1 => (preflight, vec(line, 0..3)).prop_map(|(asks, more)| [asks, more].concat())];
    (b'a'..b'n', any::<u8>(), lines).prop_map(|(configuration, host, lines)| {
        [&[configuration, host][..], &lines.join(&b'\n')].concat()
    })
}

fn a_response() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "(:status|retry-after): [0-9+]{0,4}".prop_map(String::into_bytes),
        one_of(&[
            ":status: 429",
            ":status: 200",
            "retry-after: Wed, 21 Oct 2015 07:28:13 GMT",
            "retry-after: 1e99"
        ]),
        "x-sentry-rate-limits: [0-9.x-]{0,22}(:|:transaction|:error;span|:all|)(:[a-z, ]{0,4})?"
            .prop_map(String::into_bytes),
        vec(any::<u8>(), 0..20),
    ];
    damaged(vec(line, 0..4).prop_map(|lines| lines.join(&b'\n')))
}

/// A list of header names with some of ours in it.
fn a_list() -> impl Strategy<Value = Vec<u8>> {
    let name = "(x-a|\\*|[Ss]entry-trace|BAGGAGE|baggage|traceparent|sentry|[ -~]{0,3}|)";
    let names = vec(name, 0..5).prop_map(|names| names.join(", ").into_bytes());
    damaged(names)
}

/// A request and its response in the form of `checks::response`.
fn an_exchange() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        1 => named("sentry-trace", sentry_trace()),
        2 => named("baggage", baggage()),
        3 => one_of(&["origin: https://page.example", "origin: null", "origin: https://shop.example"]),
        2 => one_of(&[":method: OPTIONS", ":method: GET", ":scheme: https", ":authority: shop.example", "authorization: x"]),
        2 => one_of(&["access-control-request-method: PUT", "access-control-request-headers: baggage"]),
    ];
    let response = prop_oneof![
        3 => one_of(&["access-control-allow-origin: *", "access-control-allow-origin: https://page.example", "access-control-allow-origin: null"]),
        1 => one_of(&["access-control-allow-credentials: true", "access-control-allow-credentials: false"]),
        3 => one_of(&[":status: 200", ":status: 204", ":status: 404", "content-type: text/html", "cache-control: private"]),
        2 => named("access-control-allow-headers", a_list()),
        2 => named("access-control-expose-headers", a_list()),
        2 => one_of(&["cache-control: no-store", "cache-control: public", "set-cookie: a", "expires: 0", "content-type: text/html;x"]),
        1 => "server-timing: [a-z\",;= \\\\]{0,12}".prop_map(String::into_bytes),
        1 => named("sentry-trace", sentry_trace()),
        1 => vec(any::<u8>(), 0..30),
    ];
    (
        b'a'..b'g',
        any::<u8>(),
        vec(request, 0..6),
        vec(response, 0..8),
    )
        .prop_map(|(configuration, host, request, response)| {
            let lines: Vec<Vec<u8>> = request
                .into_iter()
                .chain([b"--".to_vec()])
                .chain(response)
                .collect();
            [&[configuration, host][..], &lines.join(&b'\n')].concat()
        })
}

/// JSON that looks like a plugin configuration, whole or cut.
fn a_configuration() -> impl Strategy<Value = Vec<u8>> {
    let value = select(vec![
        "0",
        "1",
        "-1",
        "0.25",
        "1e400",
        "5000",
        "true",
        "null",
        "\"\"",
        "\"a\"",
        "\"^/a/(.*)$\"",
        "\"((\"",
        "\"$1\"",
        "\"https://key@o1.ingest.sentry.io/42\"",
        "\"restart\"",
        "\"ignore\"",
        "[]",
        "[\"a\", {\"regex\": \"b\"}]",
        "[\"sentry-trace\", \"baggage\"]",
        "{\"allow_headers\": false}",
        "{}",
        "{\"trace\": \"restart\"}",
        "{\"timeout_ms\": 1, \"cluster\": \"c\"}",
        "[{\"match\": {\"path\": \"(a)\"}, \"transaction\": \"$1\"}]",
        "[{\"match\": {\"header\": {\"X\": \"y\"}}, \"ignore\": true}]",
    ]);
    let key = select(vec![
        "dsn",
        "environment",
        "release",
        "org_id",
        "traces_sample_rate",
        "incoming",
        "max_traces_per_second",
        "trace_propagation_targets",
        "rules",
        "debug",
        "transport",
        "propagate_traceparent",
        "cors",
        "response_headers",
        "server_timing",
        "",
        "unknown",
        "no key!",
    ]);
    let object = vec((key, value), 0..5).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("\"{key}\": {value}"))
            .collect();
        format!("{{{}}}", members.join(", ")).into_bytes()
    });
    prop_oneof![4 => damaged(object), 1 => vec(any::<u8>(), 0..60)]
}

fn a_dsn() -> impl Strategy<Value = Vec<u8>> {
    let dsn = "(https?|HTTP|ftp)://[a-z@:]{0,4}@?(o0?[0-9]{1,2}\\.sentry\\.io|\\[::1\\]|[!-~]{1,4})(:[0-9]{1,5})?(/[a-z/]{0,4})?/[0-9]{0,2}(\\?.)?";
    damaged(dsn.prop_map(String::into_bytes))
}

/// Lines of a request, its response and its attributes.
fn a_segment() -> impl Strategy<Value = Vec<u8>> {
    let names = vec![
        ":method",
        ":path",
        ":scheme",
        ":authority",
        "accept",
        "cookie",
        "set-cookie",
        "referer",
        "location",
        "x-key",
        "x-user",
        "user-agent",
        "content-type",
        "sentry-trace",
        "@time",
        "@duration",
        "@code",
        "@details",
        "@flags",
        "@size",
        "@grpc",
        "@protocol",
        "@source",
        "@route",
        "@cluster",
        "@address",
        "@attempts",
        "@pool",
        "@latency",
        "@failure",
    ];
    let values = vec![
        "GET",
        "/a/b?c=d&token=e&f",
        "https",
        "me:pw@shop.example:8443",
        "text/html",
        "a=b; session=1; =; c",
        "https://me:pw@page.test/?mail=x#y",
        "application/grpc",
        "1787306400123456789",
        "31000000",
        "-1",
        "9223372036854775807",
        "200",
        "101",
        "503",
        "via_upstream",
        "internal_redirect",
        "upstream_reset_after_response_started{x}",
        "16384",
        "HTTP/1.1",
        "10.0.0.7:8080",
        "[::1]:80",
        "/cart/{id}",
        "900*\"",
        "2000*x",
        "",
        "\u{1F980}",
    ];
    let line = (
        select(names),
        damaged(select(values).prop_map(|text| text.as_bytes().to_vec())),
    )
        .prop_map(|(name, value)| [name.as_bytes(), b": ", &value].concat());
    (b'a'..=b'f', vec(line, 0..24)).prop_map(|(config, lines)| {
        let mut data = vec![config];
        data.extend(lines.join(&b'\n'));
        data
    })
}

proptest! {
    // A finding is kept as a file of the corpus, not by proptest.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sentry_trace_is_written_as_every_sdk_reads_it(data in lines(sentry_trace())) {
        formats::sentry_trace(&data);
    }

    #[test]
    fn traceparent_is_written_in_version_00(data in lines(traceparent())) {
        formats::traceparent(&data);
    }

    #[test]
    fn tracestate_is_the_same_in_one_line(data in lines(tracestate())) {
        formats::tracestate(&data);
    }

    #[test]
    fn baggage_of_others_is_conserved(data in lines(baggage())) {
        formats::baggage(&data);
    }

    #[test]
    fn a_header_map_reads_back(data in prop_oneof![vec(any::<u8>(), 0..80), a_request()]) {
        formats::header_map(&data);
    }

    #[test]
    fn a_configuration_is_usable_or_refused(data in a_configuration()) {
        formats::config(&data);
    }

    #[test]
    fn a_dsn_is_shown_as_it_reads(data in a_dsn()) {
        formats::dsn(&data);
    }

    #[test]
    fn a_response_closes_for_a_day_at_most(data in a_response()) {
        formats::rate_limits(&data);
    }

    #[test]
    fn the_upstream_gets_one_context_and_the_baggage_of_others(data in a_request()) {
        request::check(&data);
    }

    #[test]
    fn a_response_is_added_to_once_and_nothing_is_lost(data in an_exchange()) {
        response::check(&data);
    }

    #[test]
    fn what_leaves_of_a_request_is_within_the_limits(data in a_segment()) {
        segment::check(&data);
    }

    #[test]
    fn every_span_is_accounted_for(data in vec(any::<u8>(), 0..200)) {
        operations::check(&data);
    }
}

type Check = fn(&[u8]);

/// What the fuzz targets start from, and what they have found.
#[test]
fn the_corpus_holds() {
    let targets: [(&str, Check); 12] = [
        ("sentry_trace", formats::sentry_trace),
        ("traceparent", formats::traceparent),
        ("tracestate", formats::tracestate),
        ("baggage", formats::baggage),
        ("header_map", formats::header_map),
        ("config", formats::config),
        ("dsn", formats::dsn),
        ("rate_limits", formats::rate_limits),
        ("request", request::check),
        ("response", response::check),
        ("segment", segment::check),
        ("operations", operations::check),
    ];
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, check) in targets {
        let files = fs::read_dir(corpus.join(target)).expect("a target has a corpus");
        for file in files {
            let path = file.expect("a directory entry").path();
            println!("{}", path.display());
            check(&fs::read(path).expect("a file"));
        }
    }
}
