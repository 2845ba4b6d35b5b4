//! The request side: arbitrary headers, a handful of configurations, and what must hold for what
//! the upstream gets.
//!
//! ```text
//! byte 0    the configuration, as a printable character: 'a' is the first of CONFIGURATIONS
//! byte 1    the host's randomness: see Host::new
//! then      header lines; those whose name begins with @ are attributes of the request
//! ```

use std::sync::OnceLock;

use sentry_filter_codec::header_map;
use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::config::{EnvDefaults, FilterConfig};
use sentry_filter_core::export::callout::Callout;
use sentry_filter_core::export::delivery::CalloutResponse;
use sentry_filter_core::exporter::{Command, Event};
use sentry_filter_core::headers::{
    HeaderMutation, Headers, BAGGAGE, SENTRY_TRACE, TRACEPARENT, TRACESTATE,
};
use sentry_filter_core::rules::IncomingTrace;
use sentry_filter_core::span::{OpenSpan, StreamInfo};
use sentry_filter_core::trace::propagation::Format;
use sentry_filter_core::tracer::LiveRequest;
use sentry_filter_core::worker::Worker;

use super::host::Host;
use super::strict::conserved;
use super::{input, readers, strict};

/// When every request takes place.
pub(super) const NOW_NS: u64 = 1_787_306_400_123_456_789;

const DSN: &str = r#""dsn": "https://49d0f7386ad645858ae85020e393bef3@o1.ingest.sentry.io/42""#;

/// What a preflight asks to send.
const ASKS: &str = "access-control-request-headers";
/// What is configured besides the DSN, and whether there is one.
const CONFIGURATIONS: [(bool, &str); 15] = [
    (false, ""),
    (false, r#""propagate_traceparent": true"#),
    (true, ""),
    (true, r#""traces_sample_rate": 1"#),
    (
        true,
        r#""traces_sample_rate": 0.5, "strict_trace_continuation": true, "environment": "pro,duction;=\u00e9", "release": "shop@1.0+2""#,
    ),
    (
        true,
        r#""traces_sample_rate": 1, "incoming": {"trace": "restart"}"#,
    ),
    (
        true,
        r#""traces_sample_rate": 0.5, "incoming": {"sampled": "ignore"}, "propagate_traceparent": true"#,
    ),
    (
        true,
        r#""traces_sample_rate": 1, "propagate_traceparent": true, "max_traces_per_second": 1"#,
    ),
    (
        true,
        r#""traces_sample_rate": 1, "trace_propagation_targets": ["shop.example", {"regex": "^https://[a-z]+\\.internal/"}]"#,
    ),
    (
        true,
        r#""traces_sample_rate": 1, "propagate_traceparent": true, "rules": [
            {"match": {"path": "^/shops/(?P<shop>[^/]*)/(.*)"}, "transaction": "/shops/${shop}/$2"},
            {"match": {"path": "^/internal", "method": "^GET$"}, "propagate": false, "ignore": true},
            {"match": {"header": {"x-team": "web"}}, "incoming": {"trace": "restart", "sampled": "ignore"}},
            {"match": {"route": "^r", "cluster": "c"}, "traces_sample_rate": 0}]"#,
    ),
    (
        true,
        r#""incoming": {"sampled": "ignore"}, "propagate_traceparent": true, "debug": true"#,
    ),
    (
        true,
        r#""traces_sample_rate": 0, "continue_traceparent": false, "org_id": "7""#,
    ),
    (
        true,
        r#""traces_sample_rate": 1, "trace_propagation_targets": []"#,
    ),
    (false, r#""incoming": {"trace": "restart"}"#),
    (
        true,
        r#""incoming": {"trace": "restart"}, "propagate_traceparent": true, "trace_propagation_targets": ["shop"]"#,
    ),
];

/// A configuration from the table, read once.
pub fn configuration(byte: u8) -> &'static FilterConfig {
    static ALL: OnceLock<Vec<FilterConfig>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let read = |(has_dsn, more): &(bool, &str)| {
            let parts = [if *has_dsn { DSN } else { "" }, more];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let json = format!("{{{}}}", parts.join(", "));
            parse(&json)
        };
        CONFIGURATIONS.iter().map(read).collect()
    });
    &all[usize::from(byte.wrapping_sub(b'a')) % all.len()]
}

/// A configuration that must be right.
pub(super) fn parse(json: &str) -> FilterConfig {
    FilterConfig::parse(json.as_bytes(), &EnvDefaults::default())
        .unwrap_or_else(|problems| panic!("{json}: {problems:?}"))
}

/// Whether everything holds for one request.
pub fn check(data: &[u8]) {
    let mut bytes = input::Bytes(data);
    let config = configuration(bytes.byte());
    let mut host = Host::new(bytes.byte());
    let (attributes, pairs): (Vec<_>, Vec<_>) = input::headers(bytes.0)
        .into_iter()
        .partition(|(name, _)| name.starts_with(b"@"));
    (host.attributes, host.metadata) = read_attributes(&attributes);

    let before = Headers::from_pairs(pairs.iter().map(|(name, value)| (&name[..], &value[..])));
    let mut worker = Worker::alone(config.clone());
    let outcome = worker.on_request(&before, &mut host);
    let after = applied(&before, &outcome.mutations);
    let request = Request {
        config,
        before: &before,
        after: &after,
        mutations: &outcome.mutations,
        span: outcome.request.span.as_deref(),
    };
    request.check();

    // What leaves us is what a gateway behind us that only forwards leaves alone.
    let mut next = Worker::alone(configuration(b'a').clone());
    let forwarded = next.on_request(&after, &mut host);
    // It may read W3C Trace Context where the first one does not, and then has more names.
    let repairs = forwarded.mutations.iter();
    let repairs: Vec<_> = repairs.filter(|one| one.name() != ASKS).collect();
    assert!(
        repairs.is_empty(),
        "a second gateway repairs the first: {repairs:?}"
    );

    if outcome.request.span.is_some() {
        reported(&mut worker, outcome.request);
    }
}

/// Attributes by their bytes.
type Attributes = Vec<(Attribute, Vec<u8>)>;

/// The attributes that an input gives its request, and its route's metadata.
fn read_attributes(lines: &[(Vec<u8>, Vec<u8>)]) -> (Attributes, Option<Vec<u8>>) {
    let mut attributes = Vec::new();
    let (mut whole, mut metadata) = (None, Vec::new());
    for (name, value) in lines {
        match &name[..] {
            b"@route" => attributes.push((Attribute::RouteName, value.clone())),
            b"@cluster" => attributes.push((Attribute::ClusterName, value.clone())),
            b"@metadata" => whole = whole.or(Some(value.clone())),
            _ => {
                if let Some(key) = name.strip_prefix(b"@metadata.") {
                    metadata.push((key, value.as_slice()));
                }
            }
        }
    }
    if !metadata.is_empty() {
        whole = whole.or_else(|| Some(header_map::write(metadata.into_iter())));
    }
    (attributes, whole)
}

/// The headers as the upstream gets them.
fn applied(headers: &Headers, mutations: &[HeaderMutation]) -> Headers {
    let changed = |name: &[u8]| {
        mutations
            .iter()
            .any(|mutation| mutation.name().as_bytes().eq_ignore_ascii_case(name))
    };
    let kept = headers.iter().filter(|(name, _)| !changed(name));
    let written = mutations.iter().filter_map(|mutation| match mutation {
        HeaderMutation::Set { name, value } => Some((name.as_bytes(), value.as_slice())),
        HeaderMutation::Remove { .. } => None,
    });
    Headers::from_pairs(kept.chain(written))
}

/// One request as it came and as it goes.
struct Request<'a> {
    config: &'a FilterConfig,
    before: &'a Headers,
    after: &'a Headers,
    mutations: &'a [HeaderMutation],
    span: Option<&'a OpenSpan>,
}

impl Request<'_> {
    fn check(&self) {
        self.changes_are_few();
        self.asks_for_others_only();
        let context = self.sentry_trace();
        self.baggage(context.as_ref());
        self.w3c(context.as_ref());
        if self.restarts() {
            self.nothing_of_the_callers();
        }
        if let Some(span) = self.span {
            self.names_its_span(span, context.as_ref());
        }
        if self.config.trace.projects.is_empty() && !self.restarts() {
            self.only_forwards(context.as_ref());
        }
    }

    /// One change a header, none that changes nothing, none of a header that is not ours.
    fn changes_are_few(&self) {
        for (index, mutation) in self.mutations.iter().enumerate() {
            let name = mutation.name();
            let ours = [SENTRY_TRACE, BAGGAGE, TRACEPARENT, TRACESTATE];
            let is_merging = ["sentry_trace", "sentry.trace"].contains(&name);
            assert!(ours.contains(&name) || is_merging || name == ASKS);
            assert!(self.mutations[..index].iter().all(|m| m.name() != name));
            let arrived = self.before.values(name);
            match mutation {
                HeaderMutation::Set { value, .. } => {
                    assert!(
                        !arrived.eq([value.as_slice()]),
                        "{name} is written as it was"
                    );
                }
                HeaderMutation::Remove { .. } => assert!(arrived.count() > 0, "no {name}"),
            }
        }
        if self.config.trace.projects.is_empty() {
            assert!(self.span.is_none(), "a span for nobody");
        }
    }

    /// A preflight asks for the names of others, all of them and in their order; nothing else is
    /// asked otherwise.
    fn asks_for_others_only(&self) {
        let asked = |headers: &Headers| -> Vec<Vec<u8>> {
            let lines = headers.values(ASKS);
            let names = lines.flat_map(|line| line.split(|byte| *byte == b','));
            let names = names.map(|name| {
                let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
                let start = name.iter().position(|byte| !is_blank(byte));
                let end = name.iter().rposition(|byte| !is_blank(byte));
                start
                    .zip(end)
                    .map_or(Vec::new(), |(start, end)| name[start..=end].to_vec())
            });
            names.filter(|name| !name.is_empty()).collect()
        };
        let origins: Vec<_> = self.before.values("origin").collect();
        let is_preflight = self.before.value(":method") == Some(b"OPTIONS")
            && self.before.value("access-control-request-method").is_some()
            && origins.len() == 1
            && origins[0].len() <= 1_024
            && !origins[0].contains(&b',');
        let trace = &self.config.trace;
        let ours: &[&str] = match trace.continued.contain(Format::Traceparent)
            || trace.propagated.contain(Format::Traceparent)
        {
            _ if !is_preflight || !self.config.response.cors.allow_headers => &[],
            true => &[SENTRY_TRACE, BAGGAGE, TRACEPARENT, TRACESTATE],
            false => &[SENTRY_TRACE, BAGGAGE],
        };
        let mut expected = asked(self.before);
        let all = expected.len();
        expected.retain(|name| {
            !ours
                .iter()
                .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
        });
        assert_eq!(asked(self.after), expected);
        assert_eq!(self.is_written(ASKS), expected.len() < all);
        assert!(!self.is_written(ASKS) || self.after.value(ASKS).is_none() == expected.is_empty());
    }

    fn restarts(&self) -> bool {
        self.config.trace.incoming_trace == IncomingTrace::Restart
    }

    /// Where callers decide about no trace, no header of theirs that names one goes on, whatever
    /// the request is.
    fn nothing_of_the_callers(&self) {
        for name in [SENTRY_TRACE, TRACEPARENT, TRACESTATE] {
            let arrived = self.before.values(name).count() > 0;
            assert!(!arrived || self.is_written(name), "{name} of the caller's");
        }
        let ids = |headers: &Headers| -> Vec<String> {
            let members = strict::members(headers.values(BAGGAGE));
            let ids = members
                .iter()
                .filter_map(|one| one.sentry_value("trace_id"));
            ids.map(|id| id.to_string()).collect()
        };
        let arrived = ids(self.before);
        assert!(!ids(self.after).iter().any(|id| arrived.contains(id)));
    }

    fn is_written(&self, name: &str) -> bool {
        self.mutations
            .iter()
            .any(|mutation| mutation.name() == name)
    }

    /// At most one value, in the form that every SDK reads.
    fn sentry_trace(&self) -> Option<strict::SentryTrace> {
        for merging in ["sentry_trace", "sentry.trace"] {
            assert_eq!(self.after.value(merging), None);
        }
        let values: Vec<&[u8]> = self.after.values(SENTRY_TRACE).collect();
        assert!(values.len() <= 1, "{} values", values.len());
        let value = values.first()?;
        let context = strict::SentryTrace::parse(value);
        Some(context.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(value))))
    }

    /// Members of others are conserved, and ours belong to the context.
    fn baggage(&self, context: Option<&strict::SentryTrace>) {
        let before = strict::members(self.before.values(BAGGAGE));
        let after = strict::members(self.after.values(BAGGAGE));
        let usable: Vec<_> = before
            .iter()
            .filter(|m| m.pair.is_some())
            .copied()
            .collect();
        assert!(strict::fits(
            &after
                .iter()
                .filter(|m| m.pair.is_some())
                .copied()
                .collect::<Vec<_>>()
        ));
        if self.is_written(BAGGAGE) {
            let value = self.after.value(BAGGAGE).unwrap_or_default();
            assert!(value.len() <= strict::MAX_BYTES, "{} bytes", value.len());
            conserved(&usable, value);
        }
        let lines: Vec<&[u8]> = self.after.values(BAGGAGE).collect();
        if let Err(differ) = readers::agreed(&lines) {
            panic!("{differ}: {after:?}");
        }
        for member in after.iter().filter(|member| member.is_sentry()) {
            let context = context.expect("members of no trace");
            if let Some(trace_id) = member.sentry_value("trace_id").filter(|id| !id.is_empty()) {
                assert_eq!(trace_id.to_ascii_lowercase(), context.trace_id);
            }
            let is_old = before.iter().any(|old| old.raw == member.raw);
            let value = member.pair.map(|(_, value)| value).unwrap_or_default();
            assert!(is_old || strict::is_percent_encoded(value), "{member:?}");
        }
    }

    /// `traceparent` agrees with `sentry-trace` where it is ours, and is nobody's business where it
    /// is not.
    fn w3c(&self, context: Option<&strict::SentryTrace>) {
        let touched = self.is_written(TRACEPARENT) || self.is_written(TRACESTATE);
        if self.restarts() && !self.config.trace.propagated.contain(Format::Traceparent) {
            return;
        }
        if !self.config.trace.propagated.contain(Format::Traceparent) {
            // A rule may say what the configuration does not.
            assert!(!touched || !self.config.trace.rules.is_empty());
            return;
        }
        let states = self.after.values(TRACESTATE);
        assert!(self.is_written(TRACESTATE) || states.eq(self.before.values(TRACESTATE)));
        let Some(context) = context else {
            assert!(!touched || self.restarts() || !self.config.trace.rules.is_empty());
            return;
        };
        let values: Vec<&[u8]> = self.after.values(TRACEPARENT).collect();
        let [value] = values[..] else {
            panic!("{} values", values.len());
        };
        let traceparent = strict::traceparent(value).expect("strict");
        assert_eq!(
            (&traceparent.trace_id, &traceparent.span_id),
            (&context.trace_id, &context.span_id)
        );
        assert_eq!(traceparent.sampled, Some(context.sampled == Some(true)));
        if self.after.value(TRACESTATE).is_some() {
            let arrived = self.before.value(TRACEPARENT).unwrap_or_default();
            let trace_id = context.trace_id.as_bytes();
            assert!(
                arrived.windows(trace_id.len()).any(|part| part == trace_id),
                "a tracestate of another trace"
            );
        }
    }

    /// The upstream, if it gets the trace at all, continues our span.
    fn names_its_span(&self, span: &OpenSpan, context: Option<&strict::SentryTrace>) {
        let gets_every_trace = self.config.trace.trace_propagation_targets.is_none()
            && self.config.trace.rules.is_empty();
        assert!(context.is_some() || !gets_every_trace, "the trace is lost");
        let expected = strict::SentryTrace {
            trace_id: span.context.trace_id.to_string(),
            span_id: span.context.upstream_parent().to_string(),
            sampled: Some(true),
        };
        assert!(context.is_none_or(|context| *context == expected));
    }

    /// Without a DSN nothing begins, and what is in order goes on byte for byte.
    fn only_forwards(&self, context: Option<&strict::SentryTrace>) {
        let arrived: Vec<&[u8]> = self.before.values(SENTRY_TRACE).collect();
        let is_in_order =
            matches!(arrived[..], [value] if strict::SentryTrace::parse(value).is_some());
        if is_in_order {
            assert!(!self.is_written(SENTRY_TRACE));
        }
        let Some(context) = context else { return };
        let value = self.after.value(SENTRY_TRACE).unwrap_or_default();
        let repaired = arrived.iter().any(|line| {
            line.to_ascii_lowercase()
                .windows(value.len())
                .any(|part| part == value)
        });
        assert!(repaired, "{context:?} is from nowhere");
    }
}

/// The rest of the line: the span becomes an envelope that names it.
fn reported(worker: &mut Worker, request: LiveRequest) {
    let span = request.span.as_ref().expect("a recorded span");
    let context = span.context.clone();
    let end = StreamInfo {
        start_ns: Some(NOW_NS),
        duration_ns: Some(31_000_000),
        response_code: Some(200),
        ..StreamInfo::default()
    };
    let tracer = worker.tracer();
    tracer.on_stream_info(request, end, || None);
    let callout = next_callout(worker, NOW_NS).expect("a span to send");
    let (header, event) = strict::envelope(&callout.body);
    let trace = &event["contexts"]["trace"];
    assert_eq!(trace["trace_id"], context.trace_id.to_string());
    assert_eq!(trace["span_id"], context.span_id.to_string());
    if let Some(parent) = context.parent_span_id {
        assert_eq!(trace["parent_span_id"], parent.to_string());
    }
    if let Some(trace_id) = header["trace"]["trace_id"].as_str() {
        assert_eq!(trace_id.to_ascii_lowercase(), context.trace_id.to_string());
    }
    worker.handle(Event::Posted(callout, 1), NOW_NS);
    let response = Headers::from_pairs([(b":status".as_slice(), b"200".as_slice())]);
    let mut body = Vec::new;
    let response = CalloutResponse::new(&response, &mut body);
    worker.handle(Event::Response(1, response), NOW_NS);
    assert!(worker.exporter().is_idle());
}

/// What is posted next, if anything is at a tick.
pub fn next_callout(worker: &mut Worker, now_ns: u64) -> Option<Callout> {
    worker.collect();
    worker.exporter().flush();
    loop {
        match worker.exporter().poll(now_ns)? {
            Command::Post(callout) => return Some(callout),
            _ => continue,
        }
    }
}
