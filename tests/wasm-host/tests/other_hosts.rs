//! Hosts that have less than Envoy (envoy-wasm.md §7).

use wasm_host::{config, only, read_spans, Exchange, Gateway, Host, When};

const TRACE: &str = "d49d9bf66f13450b81f65bc51cf49c03";
const PARENT: &str = "1cc4b26ab9094ef0";

/// Other hosts have less than Envoy (envoy-wasm.md §7). Trace headers are what every one of them
/// can do.
#[test]
fn a_host_without_a_timer_or_callouts_is_one_for_trace_headers() {
    for import in ["proxy_set_tick_period_milliseconds", "proxy_http_call"] {
        let builder = Host::builder().refuse(import, 12, When::Always);
        let mut gateway = Gateway::with(builder, config::SAMPLED);
        // The first request may still be recorded: that callouts are refused is known when one is
        // made.
        gateway.serve(&Exchange::get("/"));
        gateway.flush();
        let incoming = format!("{}-{PARENT}-1", TRACE.to_uppercase());
        let served = gateway.serve(&Exchange::get("/").header("sentry-trace", incoming));
        let trace = served.sentry_trace();
        assert_eq!(
            (trace.trace_id.as_str(), trace.span_id.as_str()),
            (TRACE, PARENT),
            "{import}"
        );
        let served = gateway.serve(&Exchange::get("/"));
        assert!(
            served.forwarded.values("sentry-trace").is_empty(),
            "{import}: nothing is started"
        );
        gateway.flush();
        gateway.assert_every_span_is_accounted_for();
        assert_eq!(gateway.metric("spans_queued"), 0);
        let said = |part: &str| {
            let logs = gateway.host.logs().iter();
            logs.filter(|line| format!("{line:?}").contains(part))
                .count()
        };
        assert_eq!(said("nothing is started, recorded or sent"), 1, "{import}");
        assert_eq!(said("a host call failed"), 1, "{import}");
    }
}

/// Without metrics, shared data or attributes spans are sent all the same, with what is known.
#[test]
fn a_host_without_metrics_shared_data_or_attributes_still_sends() {
    for import in [
        "proxy_define_metric",
        "proxy_get_shared_data",
        "proxy_get_property",
    ] {
        let builder = Host::builder().refuse(import, 12, When::Always);
        let mut gateway = Gateway::with(builder, config::SAMPLED);
        gateway.serve(&Exchange::get("/orders"));
        let callouts = gateway.flush();
        assert!(read_spans(only(&callouts)) > 0, "{import}");
        let logs = gateway.host.logs().iter();
        let said = logs.filter(|line| format!("{line:?}").contains("a host call failed"));
        assert_eq!(said.count(), 1, "{import}");
    }
}
