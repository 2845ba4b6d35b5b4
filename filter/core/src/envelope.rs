//! What is posted, in three formats (filter.md §7). A finished segment is encoded when its stream
//! ends, so that what waits costs what it weighs; what belongs to the POST as a whole is written
//! when it leaves.
//!
//! | format | one POST carries |
//! |---|---|
//! | [`transaction`] | one segment, as an event |
//! | [`span_v2`] | the spans of one trace |
//! | [`otlp`] | spans of any traces, as protobuf |
//!
//! Error events ([`event`]) go as envelopes in all of them.

pub mod client_report;
pub mod event;
pub mod otlp;
pub mod span_v2;
pub mod transaction;

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::date::date;
use crate::decimal;
use crate::dsn::Dsn;
use crate::id::{EventId, TraceId};
use crate::project::ProjectId;
use crate::quantity::Quantity;
use crate::route::Naming;
use crate::span::catalogue::ProtocolAttribute as A;
use crate::span::{Segment, Span, SpanKind, SpanStatus};
use crate::trace::dsc::Dsc;
use client_report::ClientReport;

/// `sdk.name` of everything this filter sends.
pub const SDK_NAME: &str = "sentry-filter.rust.proxy-wasm";
/// `sdk.version` of everything this filter sends.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Who recorded a span (sentry-protocol.md §13).
pub(crate) const ORIGIN: &str = "auto.http.envoy";
/// What the spans are about, in Sentry's words.
pub(crate) const PLATFORM: &str = "other";
/// What a context that arrived and was not continued is to the trace that began in its place
/// (sentry-protocol.md §10.3).
const LINK_TYPE: &str = "follows_from";

/// What everything that is sent says of its sender (OpenTelemetry's word).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Where it goes; absent if nothing is sent.
    pub dsn: Option<Arc<Dsn>>,
    /// The environment that spans belong to.
    pub environment: Arc<str>,
    /// The release, if known.
    pub release: Option<Arc<str>>,
    /// The gateway's own name.
    pub server_name: Option<String>,
}

/// The form in which spans are sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One event for each segment: every Sentry takes it.
    #[default]
    Transaction,
    /// Streamed spans.
    SpanV2,
    /// OpenTelemetry's protobuf.
    Otlp,
}

/// Which segments may go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchScope {
    /// Each goes alone.
    Segment,
    /// Those of one trace.
    Trace,
    /// All.
    Any,
}

/// What a receiver limits by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Spans, in whatever format.
    Spans,
    /// Error events.
    Errors,
}

impl Category {
    /// Every category, each at its place.
    pub const ALL: [Self; 2] = [Self::Spans, Self::Errors];
}

/// What one segment, or one error event, adds to a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedSegment {
    /// The project that it goes to.
    project: ProjectId,
    /// Its trace.
    trace_id: TraceId,
    /// The envelope's header without its closing brace; empty where the format has none.
    header: Vec<u8>,
    /// The spans, encoded.
    spans: Vec<u8>,
    /// How many they are; an error event has none.
    count: u32,
    category: Category,
}

/// Where segments are written: for each of them the same memory, of which a segment gets as much as
/// it takes.
#[derive(Debug, Default)]
pub struct EncodeBuffers {
    header: Vec<u8>,
    spans: Vec<u8>,
}

/// How many bytes of it are kept from one segment to the next.
const MAX_KEPT_BUFFER: usize = 16 * 1_024;

impl EncodeBuffers {
    /// What is in them would stay.
    fn clear(&mut self) {
        for buffer in [&mut self.header, &mut self.spans] {
            buffer.clear();
            buffer.shrink_to(MAX_KEPT_BUFFER);
        }
    }
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Transaction, Self::SpanV2, Self::Otlp];

    /// Their names in the configuration.
    pub const WORDS: [&'static str; 3] = [
        Self::Transaction.as_str(),
        Self::SpanV2.as_str(),
        Self::Otlp.as_str(),
    ];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::SpanV2 => "span_v2",
            Self::Otlp => "otlp",
        }
    }

    /// The media type of a POST.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Transaction | Self::SpanV2 => "application/x-sentry-envelope",
            Self::Otlp => "application/x-protobuf",
        }
    }

    /// Where the receiver that a DSN names takes it.
    pub fn path(self, dsn: &Dsn) -> String {
        match self {
            Self::Transaction | Self::SpanV2 => dsn.envelope_path(),
            Self::Otlp => dsn.otlp_path(),
        }
    }

    /// What the receiver limits its spans as (filter.md §11).
    pub fn category(self) -> &'static str {
        self.category_of(Category::Spans)
    }

    /// What the receiver limits a category as.
    pub fn category_of(self, category: Category) -> &'static str {
        match (category, self) {
            (Category::Errors, _) => "error",
            (Category::Spans, Self::Transaction) => "transaction",
            (Category::Spans, Self::SpanV2 | Self::Otlp) => "span",
        }
    }

    /// How spans are called.
    pub fn naming(self) -> Naming {
        match self {
            Self::Transaction => Naming::Transactions,
            Self::SpanV2 | Self::Otlp => Naming::Conventions,
        }
    }

    /// What may go together.
    pub fn batch_scope(self) -> BatchScope {
        match self {
            Self::Transaction => BatchScope::Segment,
            Self::SpanV2 => BatchScope::Trace,
            Self::Otlp => BatchScope::Any,
        }
    }

    /// Encodes a segment. `None` if it cannot be written.
    pub fn encode(
        self,
        segment: &Segment<'_>,
        resource: &Resource,
        buffers: &mut EncodeBuffers,
    ) -> Option<EncodedSegment> {
        let EncodeBuffers { header, spans } = buffers;
        header.clear();
        spans.clear();
        match self {
            Self::Transaction => transaction::write(segment, resource, header, spans)?,
            Self::SpanV2 => span_v2::write(segment, resource, header, spans)?,
            Self::Otlp => otlp::write(segment, spans),
        }
        let segment = EncodedSegment {
            project: segment.context.project,
            trace_id: segment.context.trace_id,
            header: header.clone(),
            spans: spans.clone(),
            count: segment.quantity().spans,
            category: Category::Spans,
        };
        buffers.clear();
        Some(segment)
    }

    /// The body of the POST that carries these, and a report of what was lost if the format has a
    /// place for it. `now_ns` is now, in nanoseconds since the epoch.
    pub fn body(
        self,
        segments: &[EncodedSegment],
        report: Option<&ClientReport>,
        resource: &Resource,
        now_ns: u64,
    ) -> Vec<u8> {
        let is_event = segments.first().is_some_and(EncodedSegment::is_event);
        let mut body = match self {
            _ if segments.is_empty() && report.is_some() => {
                let mut body = Vec::new();
                write_header(resource, None, None, &mut body);
                body.extend_from_slice(sent_at(now_ns).as_bytes());
                body
            }
            _ if is_event => alone(event::ITEM_TYPE, segments, now_ns),
            Self::Transaction => alone(transaction::ITEM_TYPE, segments, now_ns),
            Self::SpanV2 => span_v2::body(segments, now_ns),
            Self::Otlp => return otlp::body(segments, resource),
        };
        if let Some(report) = report {
            report.write_item(now_ns, &mut body);
        }
        body
    }

    /// How many spans the receiver refused although it took the POST; `body` reads the beginning of
    /// its answer, and is asked only where that can be.
    pub fn rejected(self, body: impl FnOnce() -> Vec<u8>) -> u32 {
        match self {
            Self::Transaction | Self::SpanV2 => 0,
            Self::Otlp => otlp::rejected(&body()),
        }
    }

    /// Whether a POST has a place for a report of what was lost.
    pub fn carries_reports(self) -> bool {
        self != Self::Otlp
    }
}

impl EncodedSegment {
    /// The trace that it is part of.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The project that it goes to.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// How much is lost if it is.
    pub fn quantity(&self) -> Quantity {
        let is_event = u32::from(self.is_event());
        Quantity {
            segments: 1_u32.saturating_sub(is_event),
            spans: self.count,
            events: is_event,
        }
    }

    /// What the receiver limits it as.
    pub fn category(&self) -> Category {
        self.category
    }

    /// Whether it is an error event, which goes alone.
    pub fn is_event(&self) -> bool {
        self.category == Category::Errors
    }

    /// How many bytes its spans are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The memory it holds, in bytes.
    pub fn weight(&self) -> usize {
        self.header
            .capacity()
            .saturating_add(self.spans.capacity())
            .saturating_add(size_of::<Self>())
    }
}

/// What the formats without places of their own for it say as attributes of every span
/// (sentry-protocol.md §10.4).
fn protocol_attributes<'a>(
    span: &'a Span<'_>,
    segment: &'a Segment<'_>,
) -> impl Iterator<Item = (A, Cow<'a, str>)> {
    let source = segment.transaction.source.as_str();
    let status = span.status;
    let all = [
        (A::Op, Some(span.kind.op().into())),
        (A::Origin, Some(ORIGIN.into())),
        (
            A::SegmentId,
            Some(segment.server.span_id.hex().as_str().to_owned().into()),
        ),
        (A::SegmentName, Some(segment.server.name.as_ref().into())),
        (
            A::SegmentNameSource,
            (span.kind == SpanKind::Server).then(|| source.into()),
        ),
        (
            A::StatusMessage,
            (status != SpanStatus::Ok).then(|| status.as_str().into()),
        ),
    ];
    all.into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
}

/// The `sdk` object.
#[derive(Debug, Serialize)]
pub(crate) struct Sdk {
    name: &'static str,
    version: &'static str,
}

/// The one there is.
pub(crate) const SDK: Sdk = Sdk {
    name: SDK_NAME,
    version: SDK_VERSION,
};

/// The first line of an envelope (sentry-protocol.md §8.2).
#[derive(Serialize)]
struct Header<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsn: Option<&'a str>,
    sdk: Sdk,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a Dsc>,
}

/// The line before an item (sentry-protocol.md §8.3).
#[derive(Serialize)]
struct ItemHeader {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    length: usize,
}

impl ItemHeader {
    fn write(&self, bytes: &mut Vec<u8>) {
        // Words and numbers of ours: it cannot fail.
        let _ = write_json(self, bytes);
    }
}

/// More bytes than an item's header has.
const MAX_ITEM_HEADER: usize = 128;

/// Writes a value as JSON behind what is in a buffer. `None` if it cannot be written.
fn write_json(value: &impl Serialize, buffer: &mut Vec<u8>) -> Option<()> {
    let mut serializer = serde_json::Serializer::with_formatter(Page(buffer), Plain);
    value.serialize(&mut serializer).ok()
}

/// JSON without white space, and with numbers as [`decimal::text`] has them.
struct Plain;

impl Formatter for Plain {
    fn write_f64<W: Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let mut text = decimal::text(value);
        // A reader may tell whole numbers from others.
        if !text.contains('.') {
            text.push_str(".0");
        }
        writer.write_all(text.as_bytes())
    }
}

/// Where JSON is written. Half of what serde_json writes is single bytes, which are not worth the
/// copying of slices.
struct Page<'b>(&'b mut Vec<u8>);

impl Write for Page<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match bytes {
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an envelope's header without its closing brace: `sent_at` is written when it leaves.
fn write_header(
    resource: &Resource,
    event_id: Option<EventId>,
    trace: Option<&Dsc>,
    header: &mut Vec<u8>,
) -> Option<()> {
    let dsn = resource.dsn.as_deref().map(Dsn::as_str);
    let all = Header {
        event_id,
        dsn,
        sdk: SDK,
        trace,
    };
    write_json(&all, header)?;
    header.pop();
    Some(())
}

/// An envelope of one item:
///
/// ```text
/// {"event_id":"…","dsn":"…","sdk":{…},"trace":{…},"sent_at":"…"}    one line: the envelope header
/// {"type":"transaction","length":512}                              one line: the item header
/// {"type":"transaction",…}                                         512 bytes
/// ```
fn envelope(header: &[u8], item: &ItemHeader, payload: &[&[u8]], now_ns: u64) -> Vec<u8> {
    let sent_at = sent_at(now_ns);
    let parts = [
        header.len(),
        sent_at.len(),
        MAX_ITEM_HEADER,
        item_len(payload.iter().copied()),
        2,
    ];
    let mut bytes = Vec::with_capacity(parts.into_iter().fold(0, usize::saturating_add));
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(sent_at.as_bytes());
    item.write(&mut bytes);
    bytes.push(b'\n');
    for part in payload {
        bytes.extend_from_slice(part);
    }
    bytes.push(b'\n');
    bytes
}

/// The end of an envelope's header.
fn sent_at(now_ns: u64) -> String {
    format!(",\"sent_at\":\"{}\"}}\n", timestamp(now_ns))
}

/// An envelope for the one event that it may hold.
fn alone(item_type: &'static str, segments: &[EncodedSegment], now_ns: u64) -> Vec<u8> {
    let Some(segment) = segments.first() else {
        return Vec::new();
    };
    let item = ItemHeader {
        r#type: item_type,
        item_count: None,
        content_type: None,
        length: segment.spans.len(),
    };
    envelope(&segment.header, &item, &[&segment.spans], now_ns)
}

fn item_len<'p>(parts: impl Iterator<Item = &'p [u8]>) -> usize {
    parts.fold(0, |sum: usize, part| sum.saturating_add(part.len()))
}

/// Nanoseconds since the epoch as RFC 3339 text with microseconds: the one form of time that every
/// reader takes (the Rust SDK's types take no number in an event's `timestamp`).
pub(crate) fn timestamp(ns: u64) -> String {
    const DAY_S: u64 = 86_400;
    let (seconds, us) = (ns / 1_000_000_000, ns / 1_000 % 1_000_000);
    let [year, month, day] = date(u32::try_from(seconds / DAY_S).unwrap_or_default());
    let [second, us] = [seconds % DAY_S, us].map(|part| u32::try_from(part).unwrap_or_default());
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (end, mut number) in [
        (3, year),
        (6, month),
        (9, day),
        (12, second / 3_600),
        (15, second / 60 % 60),
        (18, second % 60),
        (25, us),
    ] {
        let digits = text.get_mut(..=end).unwrap_or_default().iter_mut().rev();
        for digit in digits.take_while(|digit| digit.is_ascii_digit()) {
            *digit = b'0'.wrapping_add((number % 10) as u8);
            number /= 10;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests;
