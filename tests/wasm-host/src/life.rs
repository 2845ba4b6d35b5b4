//! The life of a worker, every callback in it, with good and bad turns.

use std::time::Duration;

use crate::error::Trap;
use crate::gateway::{config, Exchange};
use crate::host::{Answer, Host, CONTINUE};
use crate::maps::HeaderMap;
use crate::state::Cluster;

/// The life of a worker, every callback in it, with good and bad turns.
pub fn live(host: &mut Host) -> Result<(), Trap> {
    let (quiet, _) = host.plugin(config::PROPAGATE_ONLY)?;
    let (root, _) = host.plugin(config::SAMPLED)?;
    let (deferred, _) = host.plugin(config::DEFERRED)?;
    requests(host, root, ALL)?;
    requests(host, quiet, SOME)?;
    requests(host, deferred, SOME)?;
    half_streams(host, root)?;
    answers(host, root)?;
    strangers(host, root)?;
    clusters(host, root)?;

    host.shut_down(quiet)?;
    requests(host, root, SOME)?;
    Exchange::get("/last").run(host, root)?;
    host.shut_down(root)?;
    host.advance(Duration::from_secs(1));
    for token in host.outstanding() {
        host.answer(token, &Answer::status(200))?;
    }
    if host.has_context(root) {
        host.tick(root)?;
        host.delete(root)?;
    }
    let (next, _) = host.plugin(config::SAMPLED)?;
    requests(host, next, SOME)?;
    Exchange::get("/last").run(host, next)?;
    host.shut_down(next)?;
    for token in host.outstanding() {
        host.answer(token, &Answer::status(200))?;
    }
    Ok(())
}

const ALL: usize = usize::MAX;

const SOME: usize = 2;

fn requests(host: &mut Host, root: u32, how_many: usize) -> Result<(), Trap> {
    const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03-1cc4b26ab9094ef0";
    let baggage = "sentry-trace_id=d49d9bf66f13450b81f65bc51cf49c03,sentry-release=web@1,other=1";
    let exchanges = [
        Exchange::get("/sampled")
            .header("sentry-trace", format!("{TRACE}-1"))
            .header("baggage", baggage),
        Exchange::get("/bad")
            .header("sentry-trace", "nonsense")
            .header("baggage", baggage),
        Exchange::granted("/granted"),
        Exchange::get("/plain"),
        Exchange::get("/not")
            .header("sentry-trace", format!("{TRACE}-0"))
            .status(404),
        Exchange::get("/open")
            .header("sentry-trace", TRACE)
            .status(500),
        Exchange::get("/upper").header("sentry-trace", TRACE.to_uppercase()),
        Exchange::get("/two")
            .header("sentry-trace", format!("{TRACE}-1"))
            .header("sentry-trace", "x"),
        Exchange::method("OPTIONS", "/preflight").header("origin", "https://shop.example"),
        Exchange::method("POST", "/own").to("o42.ingest.sentry.example"),
    ];
    for exchange in exchanges.iter().take(how_many) {
        let served = exchange.run(host, root)?;
        served.assert_never_held();
        served.assert_only_our_headers_changed();
    }
    host.tick(root)
}

/// Streams that skip callbacks, end early, or are told everything.
fn half_streams(host: &mut Host, root: u32) -> Result<(), Trap> {
    let exchange = Exchange::get("/half");
    let empty = HeaderMap::new();
    let unborn = host.create_stream(root)?;
    host.finish(unborn)?;
    let cut = host.create_stream(root)?;
    assert_eq!(
        host.request_headers(cut, &exchange.request, false)?,
        CONTINUE
    );
    let whole = host.create_stream(root)?;
    assert_eq!(host.request_headers(whole, &empty, false)?, CONTINUE);
    assert_eq!(host.request_body(whole, b"body", false)?, CONTINUE);
    assert_eq!(host.request_trailers(whole, &empty)?, CONTINUE);
    host.finish(cut)?;
    assert_eq!(host.response_headers(whole, &empty, false)?, CONTINUE);
    assert_eq!(host.response_body(whole, b"", true)?, CONTINUE);
    assert_eq!(host.response_trailers(whole, &empty)?, CONTINUE);
    host.log(whole)?;
    host.log(whole)?;
    host.finish(whole)
}

fn answers(host: &mut Host, root: u32) -> Result<(), Trap> {
    let answers = [
        Answer::status(200),
        Answer::failed(),
        Answer::status(500),
        Answer::status(200).with("x-sentry-rate-limits", "5:transaction;error:key, x:y"),
        Answer::status(429).with("retry-after", "1"),
    ];
    for answer in answers {
        Exchange::get("/answered").run(host, root)?;
        host.advance(Duration::from_secs(2));
        host.tick(root)?;
        for token in host.outstanding() {
            host.answer(token, &answer)?;
            host.deliver(root, token, &answer)?;
        }
        host.tick(root)?;
    }
    host.advance(Duration::from_secs(90));
    host.tick(root)
}

/// Ids and tokens that were never given out, or are gone.
fn strangers(host: &mut Host, root: u32) -> Result<(), Trap> {
    for token in [0, 4_711, u32::MAX] {
        host.deliver(root, token, &Answer::status(200))?;
        host.deliver(999, token, &Answer::failed())?;
    }
    let gone = host.create_stream(root)?;
    host.finish(gone)?;
    for id in [gone, 999, 0, u32::MAX] {
        host.raw(id, "proxy_on_log", &[id])?;
        host.raw(id, "proxy_on_done", &[id])?;
        host.raw(id, "proxy_on_delete", &[id])?;
        host.raw(id, "proxy_on_tick", &[id])?;
        let held = host.raw(id, "proxy_on_request_headers", &[id, 3, 1])?;
        assert_eq!(held.unwrap_or(CONTINUE), CONTINUE);
        let held = host.raw(id, "proxy_on_response_headers", &[id, 3, 1])?;
        assert_eq!(held.unwrap_or(CONTINUE), CONTINUE);
    }
    Ok(())
}

fn clusters(host: &mut Host, root: u32) -> Result<(), Trap> {
    for cluster in [Some(Cluster::NoHealthyHost), None, Some(Cluster::Accepts)] {
        match cluster {
            Some(cluster) => host.set_cluster("sentry", cluster),
            None => host.remove_cluster("sentry"),
        }
        Exchange::get("/cluster").run(host, root)?;
        host.advance(Duration::from_secs(1));
        host.tick(root)?;
    }
    Ok(())
}
