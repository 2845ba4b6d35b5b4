//! What strangers write, and answers of a host that are legal but nasty: the filter neither traps
//! nor half-reads, holds no stream, changes no header that is not its own, and what it sends stays
//! a valid envelope.

use std::time::Duration;

use wasm_host::{config, module_imports, Answer, Exchange, Gateway, Host, Rng, Twist, When};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0-1";
const NOT_TEXT: &[u8] = b"\xff\xfe";

#[test]
fn properties_of_the_wrong_shape() {
    let mut values: Vec<_> = [0, 1, 3, 7, 9, 16, 4_096]
        .map(|len| vec![0xff; len])
        .to_vec();
    for number in [i64::MIN, -1, 0, 1, 99, 100, 600, 65_536, i64::MAX] {
        values.push(number.to_le_bytes().to_vec());
    }
    values.extend([&b"\xff\xfe"[..], b"\0", b"a\r\nb", b"\"}"].map(<[u8]>::to_vec));
    Gateway::with_each_configuration(|gateway| {
        let mut twists = vec![Twist::Null, Twist::Empty];
        twists.extend(values.iter().cloned().map(Twist::Bytes));
        for twist in twists {
            for when in [When::Always, When::During("proxy_on_log")] {
                gateway
                    .host
                    .twist("proxy_get_property", when, twist.clone());
                gateway.assert_serves(&Exchange::get("/").header("sentry-trace", TRACE));
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
            gateway.assert_sends_valid_envelopes();
        }
    }
    // A host without attributes at all.
    gateway.host.refuse("proxy_get_property", 1, When::Always);
    gateway.assert_serves(&Exchange::get("/"));
    gateway.assert_every_span_is_accounted_for();
}

#[test]
fn a_clock_that_stands_jumps_or_goes_back() {
    Gateway::with_each_configuration(|gateway| {
        for now in [0, 1, u64::MAX, 1 << 63, 1_700_000_000_000_000_000, 999] {
            gateway.host.set_clock(now);
            gateway.assert_serves(&Exchange::get("/"));
            gateway.host.set_clock(now / 2);
            gateway.assert_serves(&Exchange::get("/"));
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
            gateway.assert_serves(&Exchange::get("/"));
            gateway.host.advance(Duration::from_secs(2));
            gateway.assert_serves(&Exchange::get("/").header("sentry-trace", TRACE));
        }
    }
}
