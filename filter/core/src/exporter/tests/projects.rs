//! Several projects: none keeps another from being sent to, and each has its own account.

use super::*;

/// A gateway of three teams: the requests of two are below paths of theirs.
fn teams(more: &str) -> Gateway {
    Gateway::new(&format!(
        r#""rules": [
            {{"match": {{"path": "^/shop/"}}, "dsn": "https://shop@o7.ingest.sentry.io/7"}},
            {{"match": {{"path": "^/blog/"}}, "dsn": "https://blog@o8.ingest.sentry.io/8", "transport": {{"cluster": "eu"}}}}],
            {more}"#
    ))
}

fn authority(callout: &Callout) -> String {
    let mut lines = callout.headers.iter();
    let line = lines.find(|(name, _)| *name == ":authority");
    line.unwrap().1.to_owned()
}

/// What may be posted now: for whom, and by which tokens.
fn posted(gateway: &mut Gateway) -> Vec<(String, u32)> {
    let mut posted = Vec::new();
    while let Some(callout) = gateway.next_callout() {
        let authority = authority(&callout);
        let body = String::from_utf8_lossy(&callout.body);
        assert!(body.contains(&authority), "the DSN in {body}");
        let is_eu = authority.starts_with("o8.");
        let cluster = if is_eu { "eu" } else { "sentry" };
        assert_eq!(&*callout.cluster, cluster);
        posted.push((authority, gateway.next_token));
        gateway.posted(callout, gateway.next_token);
        gateway.next_token += 1;
    }
    gateway.check();
    posted
}

fn names(posted: &[(String, u32)]) -> Vec<&str> {
    let mut names: Vec<_> = posted.iter().map(|(name, _)| &name[..2]).collect();
    names.sort_unstable();
    names
}

const OK: &[(&str, &str)] = &[(":status", "200")];

#[test]
fn each_request_goes_to_its_project() {
    for format in ["transaction", "span_v2", "otlp"] {
        let more = format!(r#""transport": {{"format": "{format}"}},"#);
        let mut gateway = teams(&more);
        for path in ["/a", "/shop/1", "/blog/1", "/shop/2"] {
            gateway.request(path);
        }
        gateway.worker.collect();
        let mut segments = 0;
        while let Some(callout) = gateway.next_callout() {
            let of_one = |segment: &EncodedSegment| segment.project() == callout.project;
            assert!(callout.segments.iter().all(of_one), "{format}");
            segments += callout.segments.len();
        }
        assert_eq!(segments, 4, "{format}");
    }
}

#[test]
fn a_limit_is_one_projects() {
    let mut gateway = teams("");
    gateway.request("/shop/1");
    let sent = posted(&mut gateway);
    gateway.answer(sent[0].1, LIMIT);
    for path in ["/a", "/shop/2", "/blog/1"] {
        gateway.request(path);
    }
    let sent = posted(&mut gateway);
    assert_eq!(names(&sent), ["o1", "o8"]);
    assert_eq!(gateway.stat("spans_discarded.ratelimit_backoff"), 2);
    for (_, token) in sent {
        gateway.answer(token, OK);
    }
    // Its report tells what its own pause has cost, and goes to itself when that is over.
    gateway.now_ns += 61 * NS_PER_S;
    gateway.tick_at(gateway.now_ns);
    gateway.request("/shop/3");
    gateway.request("/a");
    let mut reports = Vec::new();
    while let Some(callout) = gateway.next_callout() {
        if callout.report.is_some() {
            reports.push(authority(&callout));
        }
    }
    assert_eq!(reports, ["o7.ingest.sentry.io"]);
}

/// A limit that other workers tell is about a receiver, a key and a kind of data.
#[test]
fn limits_are_shared_by_project() {
    let mut gateway = teams("");
    let limits = gateway.worker.exporter().limit_names().to_vec();
    let mut texts: Vec<_> = limits.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(texts.len(), 3);
    texts.dedup();
    assert_eq!(texts.len(), 3, "no two are the same");
    let (shop, _) = limits[1].clone();
    let limit = SharedLimit::new(gateway.now_ns, 60);
    gateway
        .worker
        .handle(Event::SharedLimit(shop, limit.number()), gateway.now_ns);
    gateway.request("/shop/1");
    gateway.request("/a");
    assert_eq!(names(&posted(&mut gateway)), ["o1"]);
}

#[test]
fn a_receiver_that_hangs_leaves_a_place_for_others() {
    let mut gateway = teams(r#""transport": {"max_in_flight": 2},"#);
    for _ in 0..4 {
        gateway.request("/shop/1");
    }
    assert_eq!(names(&posted(&mut gateway)), ["o7", "o7"]);
    for path in ["/a", "/a", "/blog/1"] {
        gateway.request(path);
    }
    let sent = posted(&mut gateway);
    assert_eq!(names(&sent), ["o1", "o8"], "one each");
    let own = sent.iter().find(|(name, _)| name.starts_with("o1."));
    gateway.answer(own.unwrap().1, OK);
    assert_eq!(
        names(&posted(&mut gateway)),
        ["o1"],
        "and the next one after it"
    );
}

#[test]
fn a_receiver_that_is_down_stops_its_own_project() {
    let mut gateway = teams("");
    gateway.request("/shop/1");
    gateway.request("/a");
    while let Some(callout) = gateway.next_callout() {
        match authority(&callout).starts_with("o7.") {
            true => gateway.not_posted(callout),
            false => gateway.posted(callout, 7),
        }
    }
    gateway.answer(7, OK);
    for _ in 0..3 {
        gateway.request("/shop/1");
        gateway.request("/a");
    }
    assert_eq!(names(&posted(&mut gateway)), ["o1", "o1", "o1"]);
}

/// The bounds are shared, and who fills them pays.
#[test]
fn a_full_queue_takes_from_the_project_of_which_most_waits() {
    let mut gateway = teams(r#""transport": {"max_queue_bytes": 20000, "max_in_flight": 1},"#);
    gateway.request("/a");
    for _ in 0..200 {
        gateway.request("/shop/1");
    }
    gateway.request("/blog/1");
    gateway.check();
    assert!(gateway.stat("spans_discarded.queue_overflow") > 100);
    let exporter = gateway.worker.exporter();
    let waits = exporter.destinations.iter().map(|one| one.queue.is_empty());
    assert_eq!(waits.collect::<Vec<_>>(), [false, false, false]);
    let mut reports = exporter.destinations.iter_mut();
    let reported = reports.next().unwrap().report.take();
    assert_eq!(reported, None, "the first has lost nothing");
}

/// A host that gives a token again has forgotten the callout that had it, whosever it was.
#[test]
fn a_token_is_one_callouts() {
    let mut gateway = teams("");
    gateway.request("/shop/1");
    let callout = gateway.next_callout().unwrap();
    gateway.posted(callout, 5);
    gateway.request("/a");
    let callout = gateway.next_callout().unwrap();
    gateway.posted(callout, 5);
    gateway.check();
    assert_eq!(gateway.stat("spans_discarded.network_error"), 1);
    gateway.answer(5, OK);
    assert_eq!(gateway.stat("spans_sent"), 1);
    assert!(gateway.worker.exporter().is_idle());
}

#[test]
fn every_project_is_sent_to_at_the_end() {
    let mut gateway = teams("");
    for path in ["/a", "/shop/1", "/blog/1"] {
        gateway.request(path);
    }
    gateway.end();
    let sent = posted(&mut gateway);
    assert_eq!(names(&sent), ["o1", "o7", "o8"]);
    assert!(!gateway.worker.exporter().is_idle());
    for (_, token) in sent {
        gateway.answer(token, OK);
    }
    assert!(gateway.worker.exporter().is_idle());
}

#[test]
fn the_log_says_which_project_it_is_about() {
    let mut gateway = teams("");
    gateway.request("/shop/1");
    for (_, token) in posted(&mut gateway) {
        gateway.answer(token, &[(":status", "403")]);
    }
    let mut lines = Vec::new();
    gateway.worker.exporter().gather();
    while let Some(Command::Log(_, line)) = gateway.worker.exporter().poll(gateway.now_ns) {
        lines.push(line.into_owned());
    }
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].ends_with("; this is about https://shop@o7.ingest.sentry.io/7"),
        "{lines:?}"
    );
}
