//! What strangers write, and answers of a host that are legal but nasty: the filter neither traps
//! nor half-reads, holds no stream, changes no header that is not its own, and what it sends stays
//! a valid envelope.

use std::time::Duration;

use vectors::SentryTrace;
use wasm_host::{
    config, module_imports, read_spans, Answer, Exchange, Gateway, HeaderMap, Host, Rng, Twist,
    When,
};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-1";
const NOT_TEXT: &[u8] = b"\xff\xfe";

/// Serves, looks at every header, and reads what is sent.
fn assert_serves(gateway: &mut Gateway, exchange: &Exchange) -> HeaderMap {
    let served = gateway.serve(exchange);
    served.assert_only_our_headers_changed();
    assert_sends_valid_envelopes(gateway);
    served.forwarded
}

fn assert_sends_valid_envelopes(gateway: &mut Gateway) {
    for callout in gateway.flush() {
        read_spans(&callout);
        let ends_line = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        for (name, value) in callout.headers.lines() {
            assert!(
                !name.iter().chain(value).any(ends_line),
                "{:?}",
                callout.headers
            );
        }
    }
    gateway.answer_all(200);
    gateway.host.forget();
    assert_eq!(gateway.host.called_out_of_place(), [""; 0]);
}

fn with_each_configuration(test: impl Fn(&mut Gateway)) {
    for configuration in config::ALL {
        test(&mut Gateway::start(configuration));
    }
}

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
    with_each_configuration(|gateway| {
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
                assert_serves(gateway, &alone.response_header(name, value));
                assert_serves(gateway, &granted.response_header(name, value));
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
    with_each_configuration(|gateway| {
        for name in names {
            for value in [NOT_TEXT, b"", b"\0", b"\xc3\x28", b"ok\xff", &[0x80; 300]] {
                let mut exchange = Exchange::get("/");
                exchange.request.remove(name.as_bytes());
                assert_serves(gateway, &exchange.header(name, value));
                // Beside a good one, before it and after it.
                assert_serves(
                    gateway,
                    &Exchange::get("/")
                        .header("sentry-trace", TRACE)
                        .header(name, value),
                );
                assert_serves(
                    gateway,
                    &Exchange::get("/")
                        .header(name, value)
                        .header("sentry-trace", TRACE),
                );
                assert_serves(gateway, &Exchange::granted("/").header(name, value));
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
            assert_serves(gateway, &Exchange::get("/").header(name, TRACE));
        }
        assert_serves(
            gateway,
            &Exchange::get("/").response_header(NOT_TEXT, NOT_TEXT),
        );
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
    let forwarded = assert_serves(&mut gateway, &exchange);
    assert_eq!(forwarded.values("baggage"), [baggage]);
}

/// One of them makes some readers drop the whole header, so none stays when the header is written.
#[test]
fn a_baggage_member_that_is_none_is_left_out_beside_ours() {
    let mut gateway = Gateway::start(config::UNSAMPLED);
    let exchange = Exchange::get("/").header("baggage", b"a=1;p,broken,b=\xff\xfe");
    let forwarded = assert_serves(&mut gateway, &exchange);
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
    with_each_configuration(|gateway| {
        for exchange in &exchanges {
            assert_serves(gateway, exchange);
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
    with_each_configuration(|gateway| {
        for text in texts {
            for name in [":path", ":authority", ":method", "user-agent"] {
                let mut exchange = Exchange::get("/");
                exchange.request.set(name.as_bytes(), text.as_bytes());
                assert_serves(gateway, &exchange);
                assert_serves(gateway, &exchange.clone().header("sentry-trace", TRACE));
            }
        }
    });
}

#[test]
fn a_header_map_without_lines_and_no_phase_in_which_it_may_change() {
    with_each_configuration(|gateway| {
        let mut exchange = Exchange::get("/");
        exchange.request = HeaderMap::new();
        exchange.response = HeaderMap::new();
        assert_serves(gateway, &exchange);
        for twist in [Twist::Null, Twist::Empty] {
            gateway
                .host
                .twist("proxy_get_header_map_pairs", When::Always, twist);
            assert_serves(gateway, &Exchange::get("/"));
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
        assert_serves(&mut gateway, &Exchange::get("/"));
        gateway.host.behave();
    }
    // And the next good one is served as ever.
    let forwarded = assert_serves(&mut gateway, &Exchange::get("/"));
    assert!(SentryTrace::parse(forwarded.values("sentry-trace")[0]).is_some());
}

#[test]
fn properties_of_the_wrong_shape() {
    let mut values: Vec<_> = [0, 1, 3, 7, 9, 16, 4_096]
        .map(|len| vec![0xff; len])
        .to_vec();
    for number in [i64::MIN, -1, 0, 1, 99, 100, 600, 65_536, i64::MAX] {
        values.push(number.to_le_bytes().to_vec());
    }
    values.extend([&b"\xff\xfe"[..], b"\0", b"a\r\nb", b"\"}"].map(<[u8]>::to_vec));
    with_each_configuration(|gateway| {
        let mut twists = vec![Twist::Null, Twist::Empty];
        twists.extend(values.iter().cloned().map(Twist::Bytes));
        for twist in twists {
            for when in [When::Always, When::During("proxy_on_log")] {
                gateway
                    .host
                    .twist("proxy_get_property", when, twist.clone());
                assert_serves(gateway, &Exchange::get("/").header("sentry-trace", TRACE));
                gateway.host.behave();
            }
        }
        gateway.assert_every_span_is_accounted_for();
    });
}

#[test]
fn one_property_at_a_time_is_absurd_or_absent() {
    let paths: [&[&str]; 9] = [
        &["request", "time"],
        &["request", "duration"],
        &["request", "protocol"],
        &["response", "code"],
        &["response", "code_details"],
        &["response", "size"],
        &["response", "flags"],
        &["xds", "route_name"],
        &["xds", "cluster_name"],
    ];
    let values = [i64::MIN, -1, 0, i64::MAX].map(|number| number.to_le_bytes().to_vec());
    let values =
        values
            .into_iter()
            .chain([vec![], vec![1, 2, 3], NOT_TEXT.to_vec(), vec![b'/'; 9_000]]);
    let mut gateway = Gateway::start(config::SAMPLED);
    for value in values {
        for path in paths {
            let exchange = Exchange::get("/");
            let host = &mut gateway.host;
            let stream = host
                .create_stream(gateway.root)
                .unwrap_or_else(|trap| panic!("{trap}"));
            exchange.attributes_at_request(host, stream);
            host.set_property(stream, path, value.clone());
            host.request_headers(stream, &exchange.request, true)
                .unwrap_or_else(|trap| panic!("{trap}"));
            exchange.attributes_at_response(host, stream);
            exchange.attributes_at_end(host, stream);
            host.set_property(stream, path, value.clone());
            host.finish(stream).unwrap_or_else(|trap| panic!("{trap}"));
            assert_sends_valid_envelopes(&mut gateway);
        }
    }
    // A host without attributes at all.
    gateway.host.refuse("proxy_get_property", 1, When::Always);
    assert_serves(&mut gateway, &Exchange::get("/"));
    gateway.assert_every_span_is_accounted_for();
}

#[test]
fn a_clock_that_stands_jumps_or_goes_back() {
    with_each_configuration(|gateway| {
        for now in [0, 1, u64::MAX, 1 << 63, 1_700_000_000_000_000_000, 999] {
            gateway.host.set_clock(now);
            assert_serves(gateway, &Exchange::get("/"));
            gateway.host.set_clock(now / 2);
            assert_serves(gateway, &Exchange::get("/"));
        }
        gateway.assert_every_span_is_accounted_for();
    });
}

#[test]
fn answers_of_a_receiver_that_is_none() {
    let huge = "9".repeat(64 * 1024);
    let limits = "60:transaction:key,".repeat(3_000);
    let rows: [(&str, &[u8]); 22] = [
        ("retry-after", b""),
        ("retry-after", b"-1"),
        ("retry-after", b"0"),
        ("retry-after", b"1e999"),
        ("retry-after", b"nan"),
        ("retry-after", b"18446744073709551616"),
        ("retry-after", b"Wed, 21 Oct 2015 07:28:13 GMT"),
        ("retry-after", NOT_TEXT),
        ("retry-after", huge.as_bytes()),
        ("x-sentry-rate-limits", b""),
        ("x-sentry-rate-limits", b":"),
        ("x-sentry-rate-limits", b",,,"),
        ("x-sentry-rate-limits", b"::::::"),
        ("x-sentry-rate-limits", b"-5:transaction"),
        ("x-sentry-rate-limits", b"99999999999999999999:transaction"),
        ("x-sentry-rate-limits", NOT_TEXT),
        ("x-sentry-rate-limits", huge.as_bytes()),
        ("x-sentry-rate-limits", limits.as_bytes()),
        (":status", b"200"),
        (":status", NOT_TEXT),
        (":status", b"99999999999999999999"),
        ("", b""),
    ];
    for (name, value) in rows {
        for code in [200, 429, 503] {
            let mut gateway = Gateway::start(config::SAMPLED);
            gateway.serve(&Exchange::get("/"));
            gateway.flush();
            let token = gateway.host.outstanding()[0];
            let answer = Answer::status(code).with(name, value);
            gateway
                .host
                .answer(token, &answer)
                .unwrap_or_else(|trap| panic!("{trap}"));
            gateway.serve(&Exchange::get("/"));
            gateway.flush();
            gateway.assert_every_span_is_accounted_for();
        }
    }
}

#[test]
fn answers_with_many_headers_or_none_that_can_be_read() {
    let mut many = Answer::status(200);
    for number in 0..1_000 {
        many = many.with("x", number.to_string());
    }
    let truncated = Answer::status(200).headers.encode()[..9].to_vec();
    for twist in [
        None,
        Some(Twist::Null),
        Some(Twist::Empty),
        Some(Twist::Bytes(truncated)),
    ] {
        let mut gateway = Gateway::start(config::SAMPLED);
        gateway.serve(&Exchange::get("/"));
        gateway.flush();
        if let Some(twist) = twist {
            let when = When::During("proxy_on_http_call_response");
            gateway
                .host
                .twist("proxy_get_header_map_pairs", when, twist);
        }
        let token = gateway.host.outstanding()[0];
        gateway
            .host
            .answer(token, &many)
            .unwrap_or_else(|trap| panic!("{trap}"));
        gateway.flush();
        gateway.assert_every_span_is_accounted_for();
    }
}

#[test]
fn configurations_that_are_none() {
    let deep = "[".repeat(100_000);
    let long = format!(r#"{{"dsn": "{}"}}"#, "x".repeat(1 << 20));
    let numbers = r#"{"traces_sample_rate": 1e999, "transport": {"max_queue_bytes": -1}}"#;
    let configurations: [&[u8]; 8] = [
        b"",
        NOT_TEXT,
        b"{\"dsn\": \"\xff\xfe\"}",
        b"\0",
        deep.as_bytes(),
        long.as_bytes(),
        numbers.as_bytes(),
        br#"{"transport": {"flush_interval_ms": 0, "timeout_ms": 99999999999}}"#,
    ];
    let mut host = Host::start().unwrap_or_else(|error| panic!("{error}"));
    for configuration in configurations {
        let (root, accepted) = host
            .plugin(configuration)
            .unwrap_or_else(|trap| panic!("{trap}"));
        assert!(!accepted, "{}", wasm_host::text(configuration));
        let served = Exchange::get("/")
            .run(&mut host, root)
            .unwrap_or_else(|trap| panic!("{trap}"));
        assert_eq!(served.forwarded, served.exchange.request);
    }
    for twist in [Twist::Null, Twist::Empty, Twist::Bytes(vec![0xff; 70_000])] {
        host.twist("proxy_get_buffer_bytes", When::Always, twist);
        let (_, accepted) = host
            .plugin(config::SAMPLED)
            .unwrap_or_else(|trap| panic!("{trap}"));
        assert!(!accepted);
        host.behave();
    }
}

#[test]
fn environments_that_are_none() {
    // Whether it is taken with an empty configuration, and with one that has a DSN, a release and
    // an environment, by which the variables for these are not asked for.
    let rows: [(&str, &[u8], [bool; 2]); 9] = [
        ("SENTRY_DSN", NOT_TEXT, [false, true]),
        ("SENTRY_DSN", b"nonsense", [false, true]),
        ("SENTRY_TRACES_SAMPLE_RATE", NOT_TEXT, [false; 2]),
        ("SENTRY_TRACES_SAMPLE_RATE", b"nan", [false; 2]),
        ("SENTRY_TRACES_SAMPLE_RATE", b"inf", [false; 2]),
        ("SENTRY_TRACES_SAMPLE_RATE", b"-0.5", [false; 2]),
        // Bytes that are no text are replacement characters, which are a name.
        ("SENTRY_ENVIRONMENT", NOT_TEXT, [true; 2]),
        ("SENTRY_RELEASE", &[b'x'; 70_000], [false, true]),
        ("", b"", [true; 2]),
    ];
    for (name, value, is_taken) in rows {
        let builder = Host::builder()
            .env(name, value)
            .env("PATH", NOT_TEXT)
            .property(&["xds", "node", "id"], NOT_TEXT);
        let mut host = builder.start().unwrap_or_else(|error| panic!("{error}"));
        for (configuration, is_taken) in ["{}", config::DEFERRED].into_iter().zip(is_taken) {
            let (root, accepted) = host
                .plugin(configuration)
                .unwrap_or_else(|trap| panic!("{trap}"));
            let value = wasm_host::text(&value[..value.len().min(20)]);
            assert_eq!(accepted, is_taken, "{name}={value} with {configuration}");
            let served = Exchange::get("/")
                .run(&mut host, root)
                .unwrap_or_else(|trap| panic!("{trap}"));
            served.assert_only_our_headers_changed();
            if !accepted {
                assert_eq!(served.forwarded, served.exchange.request);
            }
        }
    }
}

/// Whatever any import that returns bytes returns.
#[test]
fn every_import_that_returns_bytes_returns_others() {
    let mut random = Rng::new(3);
    let imports = module_imports().unwrap_or_else(|error| panic!("{error}"));
    for (_, import) in imports {
        for round in 0..12 {
            let twist = match round {
                0 => Twist::Null,
                1 => Twist::Empty,
                _ => {
                    let mut bytes = vec![0; random.below(1 << round)];
                    random.fill(&mut bytes);
                    Twist::Bytes(bytes)
                }
            };
            let mut host = Host::start().unwrap_or_else(|error| panic!("{error}"));
            host.twist(&import, When::AfterConfiguration, twist);
            let (root, _) = host
                .plugin(config::SAMPLED)
                .unwrap_or_else(|trap| panic!("{trap}"));
            let mut gateway = Gateway { host, root };
            assert_serves(&mut gateway, &Exchange::get("/"));
            gateway.host.advance(Duration::from_secs(2));
            assert_serves(
                &mut gateway,
                &Exchange::get("/").header("sentry-trace", TRACE),
            );
        }
    }
}
