//! Headers that strangers write, and header maps of a host that are nasty: the filter neither traps
//! nor half-reads, holds no stream, changes no header that is not its own, and what it sends stays
//! a valid envelope.

use vectors::SentryTrace;
use wasm_host::{config, Exchange, Gateway, HeaderMap, Rng, Twist, When};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-1";
const NOT_TEXT: &[u8] = b"\xff\xfe";

#[test]
fn bytes_that_are_no_text_in_every_header_of_the_answer() {
    let names = [
        ":status",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-expose-headers",
        "content-type",
        "cache-control",
        "expires",
        "set-cookie",
        "server-timing",
        "sentry-trace",
        "baggage",
        "traceparent",
        "vary",
    ];
    Gateway::with_each_configuration(|gateway| {
        for name in names {
            for value in [
                NOT_TEXT,
                b"",
                b"\0",
                b"\"",
                b"\"\\",
                b",*,\xff",
                &[b','; 300],
            ] {
                let granted = Exchange::granted("/").header("sentry-trace", TRACE);
                let mut alone = granted.clone();
                alone.response.remove(name.as_bytes());
                gateway.assert_serves(&alone.response_header(name, value));
                gateway.assert_serves(&granted.response_header(name, value));
            }
        }
    });
}

#[test]
fn bytes_that_are_no_text_in_every_header() {
    let names = [
        ":authority",
        ":path",
        ":method",
        ":scheme",
        "user-agent",
        "x-request-id",
        "sentry-trace",
        "baggage",
        "traceparent",
        "tracestate",
        "origin",
        "content-type",
        "cookie",
        "host",
        "x-forwarded-for",
    ];
    Gateway::with_each_configuration(|gateway| {
        for name in names {
            for value in [NOT_TEXT, b"", b"\0", b"\xc3\x28", b"ok\xff", &[0x80; 300]] {
                let mut exchange = Exchange::get("/");
                exchange.request.remove(name.as_bytes());
                gateway.assert_serves(&exchange.header(name, value));
                // Beside a good one, before it and after it.
                gateway.assert_serves(
                    &Exchange::get("/")
                        .header("sentry-trace", TRACE)
                        .header(name, value),
                );
                gateway.assert_serves(
                    &Exchange::get("/")
                        .header(name, value)
                        .header("sentry-trace", TRACE),
                );
                gateway.assert_serves(&Exchange::granted("/").header(name, value));
            }
        }
        for name in [
            NOT_TEXT,
            b"",
            b"\0",
            b"Sentry-Trace",
            b"sentry-trace ",
            b"sentry-trace\xff",
        ] {
            gateway.assert_serves(&Exchange::get("/").header(name, TRACE));
        }
        gateway.assert_serves(&Exchange::get("/").response_header(NOT_TEXT, NOT_TEXT));
    });
}

#[test]
fn third_party_baggage_keeps_bytes_that_are_no_text() {
    let mut gateway = Gateway::start(config::UNSAMPLED);
    let baggage = b"other=\xff\xfe,sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03";
    let not_sampled = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-0";
    let exchange = Exchange::get("/")
        .header("sentry-trace", not_sampled)
        .header("baggage", baggage);
    let forwarded = gateway.assert_serves(&exchange);
    assert_eq!(forwarded.values("baggage"), [baggage]);
}

/// One of them makes some readers drop the whole header, so none stays when the header is written.
#[test]
fn a_baggage_member_that_is_none_is_left_out_beside_ours() {
    let mut gateway = Gateway::start(config::UNSAMPLED);
    let exchange = Exchange::get("/").header("baggage", b"a=1;p,broken,b=\xff\xfe");
    let forwarded = gateway.assert_serves(&exchange);
    let [baggage] = forwarded.values("baggage")[..] else {
        panic!("one line of baggage");
    };
    assert!(baggage.starts_with(b"a=1;p,b=\xff\xfe,sentry-"));
    gateway.flush();
    assert_eq!(gateway.metric("baggage_members_dropped.malformed"), 1);
}

#[test]
fn headers_of_any_size_and_number() {
    let huge = "x".repeat(64 * 1024);
    let members: Vec<_> = (0..1_000)
        .map(|number| format!("key{number}=value{number}"))
        .collect();
    let ours: Vec<_> = (0..1_000)
        .map(|number| format!("sentry-key{number}=value{number}"))
        .collect();
    let exchanges = [
        Exchange::get(&format!("/{huge}?{huge}")),
        Exchange::method(&huge, "/"),
        Exchange::get("/").to(&huge),
        Exchange::get("/").header("sentry-trace", &huge),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", &huge),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", format!("k={huge}")),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", format!("sentry-release={huge}")),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", members.join(",")),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", ours.join(",")),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", ",".repeat(8_192)),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", "=".repeat(8_192)),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", ";".repeat(8_192)),
        Exchange::get("/")
            .header("sentry-trace", TRACE)
            .header("baggage", "%".repeat(8_192)),
        Exchange::get("/")
            .header("user-agent", &huge)
            .header("cookie", &huge)
            .header("referer", &huge),
        many("sentry-trace", TRACE, 100),
        many("sentry-trace", "nonsense", 100),
        many("baggage", "key=value", 1_000),
        many("x", "y", 1_000),
        Exchange::get("/").header("sentry-trace", vec![TRACE; 100].join(", ")),
    ];
    Gateway::with_each_configuration(|gateway| {
        for exchange in &exchanges {
            gateway.assert_serves(exchange);
        }
    });
}

fn many(name: &str, value: &str, times: usize) -> Exchange {
    (0..times).fold(Exchange::get("/"), |exchange, _| {
        exchange.header(name, value)
    })
}

#[test]
fn values_that_would_end_a_header_line() {
    let texts = [
        "a\r\nx-evil: 1",
        "a\nb",
        "a\0b",
        "\r\n\r\n{}",
        "\u{2028}",
        "\"},{\"a\":\"",
        "\u{0}\u{1f}\u{7f}",
    ];
    Gateway::with_each_configuration(|gateway| {
        for text in texts {
            for name in [":path", ":authority", ":method", "user-agent"] {
                let mut exchange = Exchange::get("/");
                exchange.request.set(name.as_bytes(), text.as_bytes());
                gateway.assert_serves(&exchange);
                gateway.assert_serves(&exchange.clone().header("sentry-trace", TRACE));
            }
        }
    });
}

#[test]
fn a_header_map_without_lines_and_no_phase_in_which_it_may_change() {
    Gateway::with_each_configuration(|gateway| {
        let mut exchange = Exchange::get("/");
        exchange.request = HeaderMap::new();
        exchange.response = HeaderMap::new();
        gateway.assert_serves(&exchange);
        for twist in [Twist::Null, Twist::Empty] {
            gateway
                .host
                .twist("proxy_get_header_map_pairs", When::Always, twist);
            gateway.assert_serves(&Exchange::get("/"));
            gateway.host.behave();
        }
    });
}

#[test]
fn header_maps_of_the_wrong_shape_change_nothing() {
    let good = Exchange::get("/orders")
        .header("sentry-trace", TRACE)
        .request
        .encode();
    let mut shapes: Vec<Vec<u8>> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    shapes.push([&good[..], b"more"].concat());
    // Each number in it, as a lie.
    let words = 1 + 2 * u32::from_le_bytes([good[0], good[1], good[2], good[3]]) as usize;
    for word in 0..words {
        for lie in [0, 1, 0xff, 0x7fff_ffff, 0x8000_0000, u32::MAX - 3, u32::MAX] {
            let mut shape = good.clone();
            shape[word * 4..][..4].copy_from_slice(&u32::to_le_bytes(lie));
            shapes.push(shape);
        }
    }
    let mut random = Rng::new(7);
    for _ in 0..300 {
        let mut shape = vec![0; random.below(200)];
        random.fill(&mut shape);
        shapes.push(shape);
        let mut shape = good.clone();
        let at = random.below(shape.len());
        shape[at] ^= 1 << random.below(8);
        shapes.push(shape);
    }
    let mut gateway = Gateway::start(config::SAMPLED);
    for shape in shapes {
        let twist = Twist::Bytes(shape);
        gateway
            .host
            .twist("proxy_get_header_map_pairs", When::Always, twist);
        gateway.assert_serves(&Exchange::get("/"));
        gateway.host.behave();
    }
    // And the next good one is served as ever.
    let forwarded = gateway.assert_serves(&Exchange::get("/"));
    assert!(SentryTrace::parse(forwarded.values("sentry-trace")[0]).is_some());
}
