//! The way to Sentry: every recorded span is accounted for, whatever the receiver does, and no
//! request notices.

use std::time::Duration;

use e2e::{
    envoy::cluster_at, eventually, Answer, Gateway, MiniSentry, Reply, Request, Upstream, SPANS,
};
use mini_sentry::Certificate;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;
use tokio::task::JoinSet;

#[tokio::test]
async fn every_request_of_a_burst_becomes_exactly_one_transaction() {
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .concurrency(2)
        .start()
        .await;
    gateway.burst(200).await;
    let transactions = gateway.sentry.wait_for(200).await;
    let mut names: Vec<_> = transactions
        .iter()
        .map(|transaction| transaction.name().to_owned())
        .collect();
    let mut expected: Vec<_> = (0..200).map(|index| format!("/burst/{index}")).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);

    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent == 200 * SPANS)
        .await;
    assert_eq!(account.recorded, 200 * SPANS);
    assert!(account.discarded.is_empty(), "{account}");
    // And nothing comes after them.
    assert_eq!(gateway.sentry.requests().len(), 200);
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_nobodys_problem() {
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .with_sentry_down()
        .start()
        .await;
    gateway.burst(20).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.recorded == 20 * SPANS && account.in_flight == 0)
        .await;
    // Nothing left, so nothing was answered either: what is not waiting for another try was lost on
    // the network.
    assert_eq!(
        (account.sent, account.discarded_for("send_error")),
        (0, 0),
        "{account}"
    );
    gateway.burst(1).await;
}

#[tokio::test]
async fn an_unknown_cluster_is_nobodys_problem() {
    let gateway = Gateway::start(json!({"transport": {"cluster": "nowhere"}})).await;
    gateway.burst(20).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.recorded == 20 * SPANS)
        .await;
    assert_eq!(account.sent, 0, "{account}");
    gateway.burst(1).await;
}

/// And Envoy's log, in which every message of the filter ends, tells none of the values.
#[tokio::test]
async fn a_collector_gets_the_headers_that_it_asks_for() {
    for format in ["transaction", "span_v2", "otlp"] {
        let headers = json!({"Authorization": " Bearer hush", "x-scope-orgid": "edge"});
        let transport = json!({"format": format, "headers": headers});
        let gateway = Gateway::start(json!({"transport": transport, "debug": true})).await;
        gateway.sentry.expect_header("authorization", "Bearer hush");
        gateway.sentry.expect_header("x-scope-orgid", "edge");
        gateway.pass(&Request::get("/tenant")).await;
        gateway.sentry.only_segment().await;
        let log = gateway.envoy.log();
        assert!(log.contains("sentry: ") && !log.contains("hush"), "{log}");
    }
}

#[tokio::test]
async fn what_sentry_fails_on_is_counted_and_not_sent_again() {
    let gateway = Gateway::start(json!({})).await;
    gateway.sentry.answer(Answer::status(500));
    gateway.burst(10).await;
    gateway.sentry.wait_for_requests(10).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.discarded_for("send_error") == 10 * SPANS)
        .await;
    assert_eq!(
        (account.recorded, account.sent),
        (10 * SPANS, 0),
        "{account}"
    );

    // It recovers; mini_sentry itself would refuse an envelope that it has seen before.
    gateway.sentry.answer(Answer::status(200));
    gateway.pass(&Request::get("/after")).await;
    assert_eq!(gateway.sentry.only_transaction().await.name(), "/after");
    gateway
        .envoy
        .wait_for_account(|account| account.sent == SPANS)
        .await;
}

#[tokio::test]
async fn a_rate_limit_is_obeyed() {
    let gateway = Gateway::start(json!({})).await;
    gateway
        .sentry
        .answer(Answer::with_headers(429, &[("retry-after", "60")]));
    gateway.pass(&Request::get("/first")).await;
    gateway.sentry.wait_for_requests(1).await;
    gateway
        .envoy
        .wait_for_account(|account| {
            account.recorded == SPANS && account.in_flight + account.queued == 0
        })
        .await;

    gateway.burst(10).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.discarded_for("ratelimit_backoff") >= 10 * SPANS)
        .await;
    assert_eq!(
        (account.recorded, account.sent),
        (11 * SPANS, 0),
        "{account}"
    );
    assert_eq!(gateway.sentry.requests().len(), 1);
}

/// No time at all is a pause, too, or each request would be a POST.
#[tokio::test]
async fn a_429_is_never_followed_by_a_post_at_once() {
    for limit in [
        ("retry-after", "0"),
        ("x-sentry-rate-limits", "0:transaction:key"),
    ] {
        let gateway = Gateway::start(json!({})).await;
        gateway.sentry.answer(Answer::with_headers(429, &[limit]));
        for _ in 0..40 {
            gateway.pass(&Request::get("/")).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let posts = gateway.sentry.requests().len();
        println!("{limit:?}: {posts} POSTs for 40 requests in two seconds");
        assert!((1..=4).contains(&posts), "{posts}");
        gateway.sentry.answer(Answer::status(200));
        let sent = eventually(async || {
            gateway.pass(&Request::get("/")).await;
            (gateway.envoy.account().await.sent > 0).then_some(())
        });
        sent.await.expect("it goes on");
    }
}

#[tokio::test]
async fn a_429_for_other_categories_limits_nothing() {
    let gateway = Gateway::start(json!({})).await;
    let limit = [("x-sentry-rate-limits", "60:foo;bar:organization")];
    gateway.sentry.answer(Answer::with_headers(429, &limit));
    gateway.pass(&Request::get("/first")).await;
    gateway.sentry.wait_for_requests(1).await;
    gateway.sentry.answer(Answer::status(200));
    gateway.burst(5).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent == 5 * SPANS)
        .await;
    let refused = account.discarded_for("ratelimit_backoff");
    assert_eq!(refused, SPANS, "only what Sentry refused: {account}");
    assert_eq!(gateway.envoy.stat("workers_rate_limited").await, 0);
}

#[tokio::test]
async fn a_rate_limit_on_a_success_counts_as_well() {
    let gateway = Gateway::start(json!({})).await;
    gateway.sentry.answer(Answer::with_headers(
        200,
        &[("x-sentry-rate-limits", "60:transaction:key, 1:error:key")],
    ));
    gateway.pass(&Request::get("/first")).await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent == SPANS)
        .await;
    gateway.burst(5).await;
    gateway
        .envoy
        .wait_for_account(|account| account.discarded_for("ratelimit_backoff") == 5 * SPANS)
        .await;
    assert_eq!(gateway.sentry.requests().len(), 1);
}

#[tokio::test]
async fn a_limit_of_other_things_is_not_ours() {
    let gateway = Gateway::start(json!({})).await;
    gateway.sentry.answer(Answer::with_headers(
        200,
        &[("x-sentry-rate-limits", "60:error;replay:key")],
    ));
    gateway.pass(&Request::get("/first")).await;
    gateway.sentry.wait_for(1).await;
    gateway.burst(5).await;
    gateway.sentry.wait_for(6).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_up_is_counted_and_not_asked_again() {
    let gateway = Gateway::start(json!({})).await;
    gateway.sentry.answer(Answer::Reset);
    gateway.burst(5).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.discarded_for("network_error") == 5 * SPANS)
        .await;
    assert_eq!(
        (account.recorded, account.sent),
        (5 * SPANS, 0),
        "{account}"
    );
}

#[tokio::test]
async fn a_receiver_that_is_slow_holds_up_nobody() {
    let gateway = Gateway::start(json!({"transport": {"max_in_flight": 2}})).await;
    gateway.sentry.answer(Answer::after(Duration::from_secs(3)));
    gateway.burst(5).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.recorded == 5 * SPANS && account.in_flight == 2 * SPANS)
        .await;
    assert_eq!(account.queued, 3 * SPANS, "{account}");
    gateway.sentry.answer(Answer::status(200));
    gateway
        .envoy
        .wait_for_account(|account| account.sent == 5 * SPANS)
        .await;
    assert_eq!(gateway.sentry.wait_for(5).await.len(), 5);
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up() {
    let gateway = Gateway::start(json!({"transport": {"timeout_ms": 200}})).await;
    gateway
        .sentry
        .answer(Answer::after(Duration::from_secs(60)));
    gateway.burst(5).await;
    gateway
        .envoy
        .wait_for_account(|account| account.discarded_for("network_error") == 5 * SPANS)
        .await;
}

#[tokio::test]
async fn sentry_is_told_what_was_lost_and_the_numbers_are_those_of_the_stats() {
    let config = json!({"rules": [{"match": {"path": "^/quiet/"}, "traces_sample_rate": 0}]});
    let gateway = Gateway::start(config).await;
    gateway.sentry.answer(Answer::status(500));
    gateway.burst(3).await;
    gateway
        .envoy
        .wait_for_account(|account| account.discarded_for("send_error") == 3 * SPANS)
        .await;
    gateway.pass(&Request::get("/quiet/1")).await;
    gateway.pass(&Request::get("/quiet/2")).await;
    gateway.sentry.answer(Answer::status(200));
    gateway.pass(&Request::get("/afterwards")).await;
    gateway.sentry.wait_for(1).await;
    let rows = [
        ("send_error", "transaction", 3),
        ("send_error", "span", 3 * SPANS),
        ("sample_rate", "transaction", 2),
        ("network_error", "transaction", 0),
    ];
    for (reason, category, count) in rows {
        assert_eq!(
            gateway.sentry.discarded(reason, category),
            count,
            "{reason} {category}"
        );
    }
    gateway.pass(&Request::get("/once/more")).await;
    gateway.sentry.wait_for(2).await;
    assert_eq!(
        gateway.sentry.discarded("send_error", "transaction"),
        3,
        "told once"
    );
}

#[tokio::test]
async fn a_limit_that_one_worker_is_told_of_stops_the_others() {
    let gateway = Gateway::builder()
        .await
        .config(json!({}))
        .concurrency(2)
        .start()
        .await;
    // Connections go to both.
    gateway.burst(40).await;
    gateway
        .envoy
        .wait_for_account(|account| account.sent == 40 * SPANS)
        .await;
    let limit = [("x-sentry-rate-limits", "60:transaction:key")];
    gateway.sentry.answer(Answer::with_headers(429, &limit));
    gateway.pass(&Request::get("/first")).await;
    gateway.envoy.wait_for_stat("workers_rate_limited", 2).await;
    gateway.sentry.answer(Answer::status(200));
    gateway.burst(40).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.recorded == 81 * SPANS)
        .await;
    let lost = account.discarded_for("ratelimit_backoff");
    assert_eq!(lost, 41 * SPANS, "{account}");
    assert_eq!(gateway.sentry.requests().len(), 41, "nobody else asked");
}

#[tokio::test]
async fn what_never_left_arrives_when_the_receiver_is_back() {
    // A port that nobody listens on yet.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = port.local_addr().expect("its address");
    drop(port);
    let builder = Gateway::builder().await;
    let dsn = builder.dsn();
    let later = cluster_at("later", Some(address));
    let gateway = builder
        .config(json!({"dsn": dsn, "transport": {"cluster": "later"}}))
        .cluster(later)
        .start()
        .await;
    gateway.burst(5).await;
    gateway
        .envoy
        .wait_for_account(|account| account.recorded == 5 * SPANS && account.queued == 5 * SPANS)
        .await;
    assert!(gateway.envoy.stat("callouts.not_arrived").await > 0);

    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("the port again");
    let sentry = gateway.sentry.address();
    let forwarding = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(sentry).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent == 5 * SPANS)
        .await;
    assert!(account.discarded.is_empty(), "{account}");
    assert_eq!(gateway.sentry.wait_for(5).await.len(), 5);
    forwarding.abort();
}

/// A long interval ends as soon as a tick finds that no request ended since the one before it, so
/// there is traffic all the while: what leaves then is a full batch, and before that nothing does.
#[tokio::test]
async fn a_full_batch_does_not_wait_for_a_tick() {
    for (format, few, more) in [
        ("transaction", 40, 30),
        ("span_v2", 400, 120),
        ("otlp", 400, 120),
    ] {
        let transport = json!({"flush_interval_ms": 60_000, "format": format});
        let gateway = Gateway::start(json!({"transport": transport})).await;
        let address = gateway.envoy.address();
        // The first tick of a worker is always one for a flush.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut traffic = JoinSet::new();
        traffic.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            loop {
                pace.tick().await;
                let response = Request::get("/traffic").send(address).await;
                assert_eq!(response.expect("a response").status, 200);
            }
        });
        gateway.burst(few).await;
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let account = gateway.envoy.account().await;
        let waits = account.queued == account.recorded && account.queued >= few as u64 * SPANS;
        assert!(waits, "{format}: {account}");
        assert!(gateway.sentry.requests().is_empty(), "{format}: {account}");

        gateway.burst(more).await;
        gateway
            .envoy
            .wait_for_account(|account| account.sent > few as u64 * SPANS)
            .await;
    }
}

#[tokio::test]
async fn spans_that_a_collector_refuses_are_not_counted_as_sent() {
    let collector = Upstream::start().await;
    let answer = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "a span without a name".to_owned(),
        }),
    };
    let reply = Reply::status(200).body("application/x-protobuf", answer.encode_to_vec());
    collector.reply("POST", "/v1/traces", reply);
    let transport = json!({"cluster": "collector", "format": "otlp", "path": "/v1/traces"});
    let gateway = Gateway::builder()
        .await
        .config(json!({"transport": transport}))
        .cluster(cluster_at("collector", Some(collector.address())))
        .start()
        .await;
    gateway.pass(&Request::get("/api/1")).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.sent == SPANS - 1)
        .await;
    assert_eq!(account.discarded_for("send_error"), 1, "{account}");
}

/// A receiver whose certificate nobody vouches for gets nothing, and nothing is lost to it.
#[tokio::test]
async fn a_handshake_that_fails_has_sent_nothing() {
    let receiver = MiniSentry::start_with_tls(&Certificate::for_name("receiver.test")).await;
    let mut cluster = cluster_at("secure", Some(receiver.address()));
    cluster["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context": {
                "trusted_ca": {"inline_string": Certificate::for_name("other.test").authority_pem()},
            }},
        },
    });
    let gateway = Gateway::builder()
        .await
        .config(json!({"transport": {"cluster": "secure"}}))
        .cluster(cluster)
        .start()
        .await;
    gateway.burst(2).await;
    let account = gateway
        .envoy
        .wait_for_account(|account| account.recorded == 2 * SPANS && account.in_flight == 0)
        .await;
    assert_eq!(account.queued, 2 * SPANS, "{account}");
    assert!(gateway.envoy.stat("callouts.not_arrived").await > 0);
}
