//! What the log says about POSTs that fail.

use super::*;

/// The lines since the last time.
fn lines(gateway: &mut Gateway) -> Vec<String> {
    gateway.worker.exporter().gather();
    let lines = gateway.worker.exporter().log.drain(..);
    let lines = lines.filter(|(_, line)| !line.contains("host_calls_refused"));
    lines
        .map(|(level, line)| {
            assert_eq!(level, Level::Warn);
            line.into_owned()
        })
        .collect()
}

/// One request, posted, and answered.
fn answered(gateway: &mut Gateway, answer: &[(&str, &str)]) -> Vec<String> {
    gateway.request("/a");
    for token in gateway.flush() {
        gateway.answer(token, answer);
    }
    gateway.check();
    lines(gateway)
}

const OK: &[(&str, &str)] = &[(":status", "200")];
const SERVED: &str = "x-envoy-upstream-service-time";

#[test]
fn each_kind_of_failure_has_its_meaning_and_the_number_lost() {
    let rows = [
        ("401", "does not know the key", "lost so far: 1)"),
        ("403", "does not know the key", "lost so far: 1)"),
        (
            "404",
            "nothing takes envelopes at this path",
            "lost so far: 1)",
        ),
        ("413", "finds the body too large", "lost so far: 1)"),
        ("429", "limited, or the quota is used up", "lost so far: 1)"),
        ("500", "is failing", "lost so far: 1)"),
        ("503", "is failing", "lost so far: 1)"),
        ("302", "a redirect", "lost so far: 1)"),
        ("418", "not a response that Sentry gives", "lost so far: 1)"),
    ];
    for (status, meaning, lost) in rows {
        let mut gateway = Gateway::new("");
        let told = answered(&mut gateway, &[(":status", status), (SERVED, "1")]);
        let [line] = told.as_slice() else {
            panic!("{status}: {told:?}");
        };
        let begin = format!("sentry: spans do not reach Sentry: {status}: ");
        assert!(line.starts_with(&begin), "{line}");
        assert!(line.contains(meaning) && line.ends_with(lost), "{line}");
    }
    // Envoy's own: by its text.
    let rows = [
        ("remote connection failure, transport failure reason: TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end", "the TLS handshake failed", "lost so far: 0, the others wait and are tried again)"),
        ("remote connection failure, transport failure reason: delayed connect error: Connection refused", "there is no connection: nothing listens there", "the others wait and are tried again)"),
        ("connection timeout", "there is no connection: nothing listens there", "the others wait and are tried again)"),
        ("connection termination", "no answer within transport.timeout_ms, or the connection broke", "lost so far: 1)"),
    ];
    for (reason, meaning, lost) in rows {
        let mut gateway = Gateway::new("");
        let body = format!("upstream connect error. reset reason: {reason}");
        gateway.body = Box::leak(body.into_boxed_str());
        let told = answered(&mut gateway, &[(":status", "503")]);
        let [line] = told.as_slice() else {
            panic!("{reason}: {told:?}");
        };
        assert!(line.contains(meaning) && line.ends_with(lost), "{line}");
    }
    for (error, meaning) in [
        (
            HostError::Refused(2),
            "Envoy has no cluster of the name in transport.cluster",
        ),
        (HostError::Refused(10), "has no healthy host"),
    ] {
        let mut gateway = Gateway::new("");
        gateway.request("/a");
        let callout = gateway.next_callout().expect("a callout");
        gateway
            .worker
            .handle(Event::NotPosted(callout, error), gateway.now_ns);
        let told = lines(&mut gateway);
        assert!(told.len() == 1 && told[0].contains(meaning), "{told:?}");
    }
    // A host that has no callouts at all says so elsewhere.
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    let callout = gateway.next_callout().expect("a callout");
    gateway.worker.handle(
        Event::NotPosted(callout, HostError::Unavailable),
        gateway.now_ns,
    );
    assert_eq!(lines(&mut gateway), [NO_CALLOUTS]);
}

#[test]
fn a_failure_is_told_when_it_begins_and_when_it_is_over() {
    let mut gateway = Gateway::new("");
    assert!(answered(&mut gateway, OK).is_empty());
    let refused: &[_] = &[(":status", "500"), (SERVED, "1")];
    assert_eq!(answered(&mut gateway, refused).len(), 1);
    for _ in 0..600 {
        gateway.now_ns += NS_PER_S;
        assert!(
            answered(&mut gateway, refused).is_empty(),
            "never for each request"
        );
    }
    gateway.now_ns += NS_PER_S;
    let told = answered(&mut gateway, OK);
    assert_eq!(
        told,
        ["sentry: spans reach Sentry again, after 601 s (spans lost meanwhile: 601)"]
    );
    assert!(answered(&mut gateway, OK).is_empty());
}

#[test]
fn what_is_lost_on_the_way_counts_too() {
    let mut gateway = Gateway::new("");
    let told = answered(&mut gateway, LIMIT);
    assert!(
        told[0].contains("429: the key or the project is limited"),
        "{told:?}"
    );
    gateway.request("/a");
    gateway.request("/a");
    gateway.now_ns += 60 * NS_PER_S;
    let told = answered(&mut gateway, OK);
    assert_eq!(
        told,
        ["sentry: spans reach Sentry again, after 60 s (spans lost meanwhile: 3)"]
    );
}

#[test]
fn what_comes_and_goes_is_told_once_a_minute_and_kind() {
    let mut gateway = Gateway::new("");
    let answers: [&[_]; 3] = [
        &[(":status", "500"), (SERVED, "1")],
        &[(":status", "401"), (SERVED, "1")],
        OK,
    ];
    let mut told: Vec<(u64, String)> = Vec::new();
    for second in 0..600 {
        let answer = answers[usize::try_from(second % 3).expect("a number")];
        gateway.now_ns += NS_PER_S;
        let lines = answered(&mut gateway, answer);
        told.extend(lines.into_iter().map(|line| (second, line)));
    }
    for kind in ["500: ", "401: ", "reach Sentry again"] {
        let at: Vec<_> = told
            .iter()
            .filter(|(_, line)| line.contains(kind))
            .map(|(second, _)| *second)
            .collect();
        assert!(at.len() >= 5, "{kind}: {at:?}");
        assert!(
            at.windows(2).all(|pair| pair[1] - pair[0] >= 60),
            "{kind}: {at:?}"
        );
    }
    // What was said last is how it is.
    gateway.now_ns += NS_PER_S;
    answered(&mut gateway, OK);
    for _ in 0..61 {
        gateway.now_ns += NS_PER_S;
        gateway.tick_at(gateway.now_ns);
        told.extend(lines(&mut gateway).into_iter().map(|line| (0, line)));
    }
    let (_, last) = told.last().expect("a line");
    assert!(last.contains("reach Sentry again"), "{last}");
}

#[test]
fn an_end_is_no_failure() {
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.flush();
    gateway.worker.exporter().abandon();
    assert!(lines(&mut gateway).is_empty());
    // One that the host never answered is one.
    let mut gateway = Gateway::new("");
    gateway.request("/a");
    gateway.flush();
    pass(&mut gateway, 60);
    let told = lines(&mut gateway);
    assert!(
        told.len() == 1 && told[0].contains("no answer within"),
        "{told:?}"
    );
}
