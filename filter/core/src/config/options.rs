//! Every option: its key, its values, its default and what it does, once. [`FilterConfig`] is read
//! with these rows, `sentry-filter schema` and the table of docs/configuration.md are made of them.
//!
//! [`FilterConfig`]: super::FilterConfig

use super::option::{
    AboveZero, Collected, Flag, Group, Integer, List, OptionalFlag, Row, Setting, Share, Text,
    Values, Words,
};
use crate::envelope::Format;
use crate::failure::Origin;
use crate::headers::{BAGGAGE, SENTRY_TRACE, TRACEPARENT};
use crate::rules::{IncomingSampled, IncomingTrace};

/// How many headers may be recorded in each direction: more would not fit into a span
/// (sentry-protocol.md §9.1).
const MAX_HEADERS: usize = 32;
/// How many codes and ranges there may be; there are not more codes.
const MAX_STATUS_CODES: usize = 500;
/// How long the value of each may be, in bytes: longer than any token that is sent in a header.
pub(super) const MAX_POSTED_VALUE: usize = 4_096;
/// How many bytes may wait at most. A VM has about 1 GiB (V8 in Envoy 1.40 refuses more), for all
/// plugins and all their requests: with this bound and 64 MiB of live requests each, five plugins
/// can share one. The body of a POST is a second copy of what is under way, but it is Envoy's: the
/// VM has one at a time.
const LARGEST_QUEUE_BYTES: u64 = 128 * 1024 * 1024;

/// Declares options, each with its key, its kind and, where the kind alone does not say it, what it
/// may be; and a list of them in their order.
macro_rules! options {
    (
        $(#[doc = $list:literal])+ $all:ident;
        $($(#[doc = $about:literal])+
        $name:ident: $kind:ty = $key:literal, $value:expr $(=> $method:ident($shown:expr))?;)+
    ) => {
        $(
            $(#[doc = $about])+
            pub const $name: Setting<$kind> = Setting { key: $key, kind: $value };
        )+

        $(#[doc = $list])+
        pub const $all: &[Row] = &[$(Row {
            key: $key,
            about: &[$($about),+],
            values: options!(@values $name $(, $method, $shown)?),
            default: || $name.kind.default(),
        }),+];
    };
    (@values $name:ident) => { $name.kind.values() };
    (@values $name:ident, $method:ident, $shown:expr) => { $name.kind.$method($shown) };
}

const ANY_TEXT: Values = Text::ANY.values();
/// A token of RFC 9110, §5.6.2.
const HEADER_NAME: Values = Text::ANY.like(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$");
/// A code of RFC 9110, §15.
const STATUS_CODE: Values = Values::Integer(100, 599);
/// A code, or a range of them, both ends included.
const STATUS_CODES: Values = Values::OneOf(&[STATUS_CODE, Values::Pair(&STATUS_CODE)]);
/// A text that a URL contains, or a regular expression.
const TARGET: Values = Values::OneOf(&[ANY_TEXT, Values::Object("regex", &ANY_TEXT)]);
const RESPONSE_HEADER: Values = Values::Words(&[SENTRY_TRACE, BAGGAGE, TRACEPARENT]);
/// The value of a header that is posted.
const POSTED_VALUE: Values = Text {
    max_bytes: Some(MAX_POSTED_VALUE),
    ..Text::ANY
}
.like(r"^\s*[!-~]([ -~]*[!-~])?\s*$");
/// A DSN, or none.
const PROJECT: &str = r"^\s*([Hh][Tt][Tt][Pp][Ss]?://.+@.+)?\s*$";
const RULE: Values = Values::Group(rule::ALL);

options! {
    /// The options at the top level.
    ALL;

    /// Where spans go. Without one the filter validates, repairs and forwards headers, and starts,
    /// records and sends nothing. Unset: `SENTRY_DSN`.
    DSN: Text = "dsn", Text::ANY => like(PROJECT);

    /// The environment of spans and new traces, without slash, backslash, space or control
    /// character, and not `.`, `..` or `None`. Unset: `SENTRY_ENVIRONMENT`, else `production`.
    ENVIRONMENT: Text = "environment", Text { max_bytes: Some(64), ..Text::ANY } => like(r"^(?!\s*(\.{1,2}|[Nn][Oo][Nn][Ee])\s*$)\s*[^/\\ \x00-\x1f\x7f]+\s*$");

    /// The release of spans and new traces, without slash, backslash or control character, and not
    /// `.`, `..` or `latest`. Unset: `SENTRY_RELEASE`.
    RELEASE: Text = "release", Text { max_bytes: Some(200), ..Text::ANY } => like(r"^(?!\s*(\.{1,2}|[Ll][Aa][Tt][Ee][Ss][Tt])\s*$)\s*[^/\\\s\x00-\x1f\x7f]([^/\\\x00-\x1f\x7f]*[^/\\\s\x00-\x1f\x7f])?\s*$");

    /// The gateway's own name, without control characters. Unset: Envoy's node id.
    SERVER_NAME: Text = "server_name", Text { max_bytes: Some(256), ..Text::ANY } => like(r"^\s*([^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?)?\s*$");

    /// The organisation's digits, as a text. A trace of another organisation is not continued.
    /// Unset: the `o<digits>.` of the DSN's host.
    ORG_ID: Text = "org_id", Text::ANY => like(r"^\s*[0-9]*\s*$");

    /// The share of new traces that is sampled. A decision that arrives with a request is kept,
    /// also at 0. Without a rate (deferred mode) traces are started and passed on without a
    /// decision, and nothing is recorded. Unset: `SENTRY_TRACES_SAMPLE_RATE`, else no rate.
    TRACES_SAMPLE_RATE: Share = "traces_sample_rate", Share;

    /// Also start a new trace where only one side knows its organisation.
    STRICT_TRACE_CONTINUATION: Flag = "strict_trace_continuation", Flag(false);

    /// What outside callers may decide.
    INCOMING: Group = "incoming", Group => of(incoming::ALL);

    /// What is recorded at most, per worker. Over it a new trace is `-0`, and a decision that
    /// arrived goes on without our span. Unset: no limit.
    MAX_TRACES_PER_SECOND: AboveZero = "max_traces_per_second", AboveZero;

    /// Where no valid `sentry-trace` arrives, continue a valid `traceparent`: its sampled bit is
    /// inherited if set, and leaves the decision to us if not.
    CONTINUE_TRACEPARENT: Flag = "continue_traceparent", Flag(true);

    /// Also write `traceparent`, to agree with `sentry-trace`; a valid `tracestate` stays beside
    /// its own trace. Otherwise both are left alone.
    PROPAGATE_TRACEPARENT: Flag = "propagate_traceparent", Flag(false);

    /// The URLs whose upstream gets the trace: texts that the URL contains, and `{"regex": "…"}`,
    /// [without its query](#propagation-targets). To any other URL `sentry-trace` and `sentry-`
    /// members are removed, the rest stays. An empty list is none. Unset: all.
    TRACE_PROPAGATION_TARGETS: List = "trace_propagation_targets", List { most: None, default: None } => of(&TARGET);

    /// [What differs](#rules) from request to request. For each field the first rule counts that
    /// matches and sets it.
    RULES: List = "rules", List { most: None, default: Some(&[]) } => of(&RULE);

    /// Which lists of CORS answers the trace headers are added to.
    CORS: Group = "cors", Group => of(cors::ALL);

    /// Which trace headers the client gets; of `baggage` only the `sentry-` members, which tell
    /// release, environment and organisation.
    RESPONSE_HEADERS: List = "response_headers", List { most: None, default: Some(&[SENTRY_TRACE]) } => of(&RESPONSE_HEADER);

    /// Tell [page loads](cors.md#page-loads) their trace, by `Server-Timing`.
    SERVER_TIMING: Flag = "server_timing", Flag(false);

    /// Write `X-Request-Start: t=<seconds>` where none arrived, so that SDKs can tell how long a
    /// request waited for them. Where `incoming` trusts no caller, one that arrived is replaced.
    REQUEST_START_HEADER: Flag = "request_start_header", Flag(false);

    /// Match the route again after a change to a request's headers, for routes that match on what
    /// the filter writes. For the [dynamic module](doors.md) only: in Wasm Envoy does so anyway.
    CLEAR_ROUTE_CACHE: Flag = "clear_route_cache", Flag(false);

    /// Record the call to the upstream as a span of its own.
    UPSTREAM_SPANS: Flag = "upstream_spans", Flag(true);

    /// Codes and ranges, both ends included, as `[404, [300, 399]]`, whose spans are not sent. What
    /// services record below such a span lacks its parent.
    TRACE_IGNORE_STATUS_CODES: List = "trace_ignore_status_codes", List { most: Some(MAX_STATUS_CODES), default: Some(&[]) } => of(&STATUS_CODES);

    /// Which [failures](failures.md) become error events in Sentry, whatever is sampled. Without this
    /// section, none.
    CAPTURE_FAILURES: Group = "capture_failures", Group => optional(capture_failures::ALL);

    /// [What is collected](privacy.md) of what may tell of a person, by category.
    DATA_COLLECTION: Group = "data_collection", Group => of(data_collection::ALL);

    /// The older word for it: `true` is every category on, `false` the defaults of
    /// `data_collection`. Not beside it. Unset: `false`.
    SEND_DEFAULT_PII: OptionalFlag = "send_default_pii", OptionalFlag;

    /// Names of request headers to record, [whatever is collected else](privacy.md#headers).
    CAPTURE_REQUEST_HEADERS: List = "capture_request_headers", List { most: Some(MAX_HEADERS), default: Some(&[]) } => of(&HEADER_NAME);

    /// Names of response headers to record, likewise.
    CAPTURE_RESPONSE_HEADERS: List = "capture_response_headers", List { most: Some(MAX_HEADERS), default: Some(&[]) } => of(&HEADER_NAME);

    /// Tell Sentry [what was lost](delivery.md#client-reports), with the next envelope.
    CLIENT_REPORTS: Flag = "client_reports", Flag(true);

    /// One log line for each decision, at level info.
    DEBUG: Flag = "debug", Flag(false);

    /// How many bytes all requests that are under way may keep together, per worker, whatever their
    /// callers send. Over it a request goes on without a span, and `requests_over_budget` counts
    /// it.
    MAX_LIVE_BYTES: Integer = "max_live_bytes", Integer { least: 1_024, most: 256 * 1024 * 1024, default: 64 * 1024 * 1024 };

    /// How spans get to Sentry.
    TRANSPORT: Group = "transport", Group => of(transport::ALL);
}

/// What is collected of what may tell of a person.
pub mod data_collection {
    use super::*;

    options! {
        /// The options of `data_collection`.
        ALL;

        /// Who the client is: its address, its user agent, and headers that tell of it.
        USER_INFO: Flag = "user_info", Flag(false);

        /// Cookies of requests and responses, by the names of the cookies.
        COOKIES: Collected = "cookies", Collected(false);

        /// All other headers.
        HTTP_HEADERS: Group = "http_headers", Group => of(http_headers::ALL);

        /// The parameters of queries, by name. With `false` no query leaves; by default their names do.
        URL_QUERY_PARAMS: Collected = "url_query_params", Collected(true);
    }
}

/// What is collected of headers.
pub mod http_headers {
    use super::*;

    options! {
        /// The options of `data_collection.http_headers`.
        ALL;

        /// Headers of requests but for `cookie`, by name.
        REQUEST: Collected = "request", Collected(false);

        /// Headers of responses but for `set-cookie`, by name.
        RESPONSE: Collected = "response", Collected(false);
    }
}

/// What outside callers may decide.
pub mod incoming {
    use super::*;

    options! {
        /// The options of `incoming`.
        ALL;

        /// With `restart` outside callers never decide the trace id; every request begins a trace (for
        /// a public edge). Their `traceparent` and `tracestate` are removed, too, and what begins no
        /// trace (`OPTIONS`) goes on without any.
        TRACE: Words<IncomingTrace> = "trace", trace_words(true);

        /// With `ignore` outside callers never decide sampling, whatever the request; the flag and
        /// `sentry-sampled`, `sentry-sample_rate`, `sentry-sample_rand` become ours (to protect a
        /// quota).
        SAMPLED: Words<IncomingSampled> = "sampled", sampled_words(true);
    }
}

/// Which failures become error events.
pub mod capture_failures {
    use super::*;

    options! {
        /// The options of `capture_failures`.
        ALL;

        /// Codes and ranges, as in `trace_ignore_status_codes`: what the client got, or for gRPC what
        /// the call's status is in HTTP. Without `capture_failures` [nothing is captured](failures.md).
        /// Unset: `[[500, 599]]`.
        STATUS_CODES: List = "status_codes", List { most: Some(MAX_STATUS_CODES), default: None } => of(&super::STATUS_CODES);

        /// `gateway`: responses of Envoy's own, and of an upstream that broke, which no service can
        /// report. `any`: also those of services, and those that Envoy was told to give.
        ORIGIN: Words<Origin> = "origin", Words { words: &["gateway", "any"], meanings: &[Origin::Gateway, Origin::Any], has_default: true };

        /// How many events there are in a minute of the same failure, cluster and route, per worker.
        /// The others are counted.
        MAX_PER_MINUTE: Integer = "max_per_minute", Integer { least: 1, most: 10_000, default: 30 };
    }
}

/// What is different for some requests.
pub mod rule {
    use super::*;

    options! {
        /// The options of a rule.
        ALL;

        /// The requests it is about. Without one: all.
        MATCH: Group = "match", Group => of(matching::ALL);

        /// The share of new traces that is sampled, instead of the top level's.
        TRACES_SAMPLE_RATE: Share = "traces_sample_rate", Share;

        /// The transaction's name, with `$1` or `${name}` for groups of `match.path`.
        TRANSACTION: Text = "transaction", Text { is_filled: true, ..Text::ANY };

        /// Record no span; a trace that begins with such a request is not sampled.
        IGNORE: OptionalFlag = "ignore", OptionalFlag;

        /// What outside callers may decide: `trace` and `sampled`, as at the top level.
        INCOMING: Group = "incoming", Group => of(rule_incoming::ALL);

        /// With `false` the upstream gets no trace.
        PROPAGATE: OptionalFlag = "propagate", OptionalFlag;

        /// Whether page loads are told their trace, instead of the top level's.
        SERVER_TIMING: OptionalFlag = "server_timing", OptionalFlag;

        /// Another project that spans and failures go to, instead of the top level's. An empty
        /// text: nothing is recorded.
        DSN: Text = "dsn", Text::ANY => like(PROJECT);

        /// The way to that project: `cluster`, as at the top level.
        TRANSPORT: Group = "transport", Group => of(rule_transport::ALL);
    }
}

/// The way to a project of a rule.
pub mod rule_transport {
    use super::*;

    options! {
        /// The options of a rule's `transport`.
        ALL;

        /// The Envoy cluster that takes its callouts, instead of the top level's.
        CLUSTER: Text = "cluster", Text { is_filled: true, ..Text::ANY };
    }
}

/// What outside callers may decide about the requests of a rule.
pub mod rule_incoming {
    use super::*;

    options! {
        /// The options of a rule's `incoming`.
        ALL;

        /// Whether they decide the trace id.
        TRACE: Words<IncomingTrace> = "trace", trace_words(false);

        /// Whether they decide sampling.
        SAMPLED: Words<IncomingSampled> = "sampled", sampled_words(false);
    }
}

/// Regular expressions, all of which a request has to match.
pub mod matching {
    use super::*;

    options! {
        /// The options of a rule's `match`.
        ALL;

        /// The method.
        METHOD: Text = "method", Text::ANY;

        /// The host that the request names, without case, port and final dot.
        HOST: Text = "host", Text::ANY;

        /// The path without its query, as Envoy's `normalize_path` would have it.
        PATH: Text = "path", Text::ANY;

        /// The name of Envoy's route.
        ROUTE: Text = "route", Text::ANY;

        /// The name of Envoy's cluster.
        CLUSTER: Text = "cluster", Text::ANY;

        /// Headers by name.
        HEADER: Group = "header", Group => map(&ANY_TEXT);
    }
}

/// Which lists of CORS responses the trace headers are added to.
pub mod cors {
    use super::*;

    options! {
        /// The options of `cors`.
        ALL;

        /// Add `sentry-trace, baggage` (and `traceparent, tracestate`, if we read or write them) to
        /// `Access-Control-Allow-Headers` of [preflight answers](cors.md), and do not ask the service
        /// about them.
        ALLOW_HEADERS: Flag = "allow_headers", Flag(true);

        /// Add `sentry-trace, baggage` (and `traceparent, tracestate`, if we write them) to
        /// `Access-Control-Expose-Headers` of all other answers.
        EXPOSE_HEADERS: Flag = "expose_headers", Flag(true);
    }
}

/// How spans get to Sentry.
pub mod transport {
    use super::*;

    options! {
        /// The options of `transport`.
        ALL;

        /// The Envoy cluster that takes the spans.
        CLUSTER: Text = "cluster", Text { is_filled: true, default: Some("sentry"), ..Text::ANY };

        /// [In which form](spans.md#formats) spans are sent.
        FORMAT: Words<Format> = "format", Words { words: &Format::WORDS, meanings: &Format::ALL, has_default: true };

        /// Another path, for a proxy or a collector. Unset: from the DSN and the format.
        PATH: Text = "path", Text::ANY => like("^/[!-~]*$");

        /// [More headers](delivery.md#a-collector) of every POST, by name: what a collector asks for.
        /// Their values are shown nowhere. Unset: none.
        HEADERS: Group = "headers", Group => headers(&POSTED_VALUE);

        /// How long one POST may take.
        TIMEOUT_MS: Integer = "timeout_ms", Integer { least: 1, most: 600_000, default: 5_000 };

        /// How often waiting spans are sent.
        FLUSH_INTERVAL_MS: Integer = "flush_interval_ms", Integer { least: 10, most: 60_000, default: 1_000 };

        /// What may wait or be under way, per worker, old generations of the configuration included.
        /// When it is full, the oldest traces go, whole, a sixteenth of it at a time.
        MAX_QUEUE_BYTES: Integer = "max_queue_bytes", Integer { least: 1_024, most: LARGEST_QUEUE_BYTES, default: 4 * 1024 * 1024 };

        /// POSTs under way at once, per worker; as many again for those of old generations of the
        /// configuration.
        MAX_IN_FLIGHT: Integer = "max_in_flight", Integer { least: 1, most: 1_024, default: 16 };
    }
}

const fn trace_words(has_default: bool) -> Words<IncomingTrace> {
    Words {
        words: &["continue", "restart"],
        meanings: &[IncomingTrace::Continue, IncomingTrace::Restart],
        has_default,
    }
}

const fn sampled_words(has_default: bool) -> Words<IncomingSampled> {
    Words {
        words: &["inherit", "ignore"],
        meanings: &[IncomingSampled::Inherit, IncomingSampled::Ignore],
        has_default,
    }
}
