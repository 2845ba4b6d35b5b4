//! Where a configuration comes from, what is refused, and that each keeps to itself.

use vectors::SentryTrace;
use wasm_host::{config, only, Answer, Callout, Envelope, Exchange, Gateway, Host, Trap};

#[test]
fn two_configurations_in_one_vm_share_nothing() -> Result<(), Trap> {
    let mut host = Host::start().unwrap_or_else(|error| panic!("{error}"));
    let other = config::SAMPLED
        .replace("example/7", "example/8")
        .replace("shop@1.2.3", "shop@2");
    let (first, _) = host.plugin(config::SAMPLED)?;
    let (second, _) = host.plugin(&other)?;
    let (silent, _) = host.plugin(config::PROPAGATE_ONLY)?;
    let served = [first, second, silent].map(|root| Exchange::get("/").run(&mut host, root));
    let [in_first, in_second, in_silent] = served;
    assert!(in_silent?.forwarded.values("sentry-trace").is_empty());

    host.tick(silent)?;
    assert!(host.callouts().is_empty());
    host.tick(second)?;
    assert_posts(
        host.callouts(),
        "/api/8/envelope/",
        "shop@2",
        &in_second?.sentry_trace(),
    );
    host.tick(first)?;
    assert_posts(
        &host.callouts()[1..],
        "/api/7/envelope/",
        "shop@1.2.3",
        &in_first?.sentry_trace(),
    );

    host.answer(1, &Answer::status(429))?;
    assert!(host.shut_down(second)?, "the answer was in");
    let served = Exchange::get("/").run(&mut host, first)?;
    host.answer(2, &Answer::status(200))?;
    host.tick(first)?;
    assert_posts(
        &host.callouts()[2..],
        "/api/7/envelope/",
        "shop@1.2.3",
        &served.sentry_trace(),
    );
    Ok(())
}

#[test]
fn a_new_configuration_of_the_same_root_takes_over() -> Result<(), Trap> {
    let mut gateway = Gateway::start(config::SAMPLED);
    gateway.serve(&Exchange::get("/"));
    assert!(gateway
        .host
        .configure(gateway.root, config::PROPAGATE_ONLY)?);
    let served = gateway.serve(&Exchange::get("/"));
    assert!(served.forwarded.values("sentry-trace").is_empty());
    // What waited under the first one is given up, and counted: it has no other end.
    assert!(gateway.flush().is_empty());
    assert_eq!(gateway.metric("spans_recorded"), 2);
    assert_eq!(gateway.metric("spans_discarded.network_error"), 2);

    // One that is refused changes nothing.
    assert!(gateway.host.configure(gateway.root, config::SAMPLED)?);
    assert!(!gateway.host.configure(gateway.root, "{")?);
    let served = gateway.serve(&Exchange::get("/"));
    assert_posts(
        &gateway.flush(),
        "/api/7/envelope/",
        "shop@1.2.3",
        &served.sentry_trace(),
    );
    gateway.assert_every_span_is_accounted_for();
    Ok(())
}

#[test]
fn settings_come_from_the_environment_of_the_vm() {
    let builder = Host::builder()
        .env("PATH", "/bin")
        .env("SENTRY_DSN", config::DSN)
        .env("SENTRY_ENVIRONMENT", "staging")
        .env("SENTRY_RELEASE", "edge@9")
        .env("SENTRY_TRACES_SAMPLE_RATE", "1.0")
        .property(&["xds", "node", "id"], "node-a");
    let mut gateway = Gateway::with(builder, "{}");
    gateway.serve(&Exchange::get("/"));
    let callouts = gateway.flush();
    let envelope = Envelope::parse(&only(&callouts).body);
    let transaction = envelope.transaction();
    assert_eq!(transaction["environment"], "staging");
    assert_eq!(transaction["release"], "edge@9");
    assert_eq!(transaction["server_name"], "node-a");
}

#[test]
fn a_wrong_configuration_is_refused_with_all_its_reasons_and_the_next_one_is_taken(
) -> Result<(), Trap> {
    let refused: [(&str, &[&str]); 10] = [
        ("", &["configuration"]),
        ("{", &["configuration"]),
        ("[]", &["configuration"]),
        ("null", &["configuration"]),
        (r#"{"dns": "x"}"#, &["dns", "dsn"]),
        (r#"{"dsn": "not-a-dsn"}"#, &["dsn"]),
        (r#"{"dsn": 7}"#, &["dsn"]),
        (r#"{"traces_sample_rate": 2}"#, &["traces_sample_rate"]),
        (
            r#"{"transport": {"max_in_flight": "many"}}"#,
            &["transport.max_in_flight"],
        ),
        (
            r#"{"traces_sample_rate": -1, "environment": [], "transport": {"x": 1}, "debug": "yes"}"#,
            &["traces_sample_rate", "environment", "transport.x", "debug"],
        ),
    ];
    let mut host = Host::start().unwrap_or_else(|error| panic!("{error}"));
    for (configuration, words) in refused {
        let before = host.logs().len();
        let (_, accepted) = host.plugin(configuration)?;
        assert!(!accepted, "{configuration}");
        let said: String = host.logs()[before..]
            .iter()
            .map(|line| line.message.clone())
            .collect();
        for word in words {
            assert!(said.contains(word), "{word} of {configuration}: {said}");
        }
    }
    let (root, accepted) = host.plugin(config::SAMPLED)?;
    assert!(accepted);
    Exchange::get("/").run(&mut host, root)?;
    host.tick(root)?;
    assert_eq!(host.callouts().len(), 1);
    Ok(())
}

#[test]
fn debug_tells_each_decision_in_a_line() {
    let mut gateway = Gateway::start(config::DEBUG);
    for _ in 0..3 {
        let before = gateway.host.logs().len();
        gateway.serve(&Exchange::get("/"));
        assert_eq!(gateway.host.logs().len(), before + 1);
    }
}

#[test]
fn the_secret_of_a_dsn_is_sent_and_never_logged() -> Result<(), Trap> {
    let secret = "9f86d081884c7d659a2feaa0c55ad015";
    let configurations = [
        format!(
            r#"{{"dsn": "https://key:{secret}@host.example/7", "debug": true, "traces_sample_rate": 1.0}}"#
        ),
        format!(r#"{{"dsn": "https://key:{secret}@host.example/"}}"#),
        format!(r#"{{"dsn": "ftp://key:{secret}@host.example/7"}}"#),
        format!(r#"{{"dsn": "https://key:{secret}@host.example/7", "unknown": true}}"#),
        format!(r#"{{"dsn": ["https://key:{secret}@host.example/7"]}}"#),
        format!(r#"{{"dsn": "https://key:{secret}@host.example/7""#),
    ];
    let mut host = Host::start().unwrap_or_else(|error| panic!("{error}"));
    for configuration in configurations {
        let (root, accepted) = host.plugin(&configuration)?;
        Exchange::get("/").run(&mut host, root)?;
        host.tick(root)?;
        for callout in host.callouts() {
            assert!(accepted || host.callouts().len() == 1);
            assert!(callout.headers.only("x-sentry-auth").contains(secret));
        }
        let told = host
            .logs()
            .iter()
            .find(|line| line.message.contains(secret));
        assert_eq!(told, None, "{configuration}");
    }
    assert_eq!(host.callouts().len(), 1);
    Ok(())
}

fn assert_posts(callouts: &[Callout], path: &str, release: &str, trace: &SentryTrace) {
    let callout = only(callouts);
    assert!(
        callout.headers.only(":path").starts_with(path),
        "{:?}",
        callout.headers
    );
    let envelope = Envelope::parse(&callout.body);
    let transaction = envelope.transaction();
    assert_eq!(transaction["release"], release);
    assert_eq!(
        transaction["contexts"]["trace"]["trace_id"],
        trace.trace_id.as_str()
    );
}
