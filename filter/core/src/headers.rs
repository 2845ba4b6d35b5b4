//! Header lines as bytes, in the order the host gave them, and what is to be changed about them.
//!
//! A header value is not text: Envoy forwards `\xff\xfe` as it came, and so do we. Lists such as
//! `baggage` may come in several lines, so lookups give every line.

use std::ops::Range;

/// `sentry-trace`, sentry-protocol.md §1.
pub const SENTRY_TRACE: &str = "sentry-trace";
/// `baggage`, sentry-protocol.md §2.
pub const BAGGAGE: &str = "baggage";
/// `traceparent`, W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// `tracestate`, W3C Trace Context.
pub const TRACESTATE: &str = "tracestate";
/// The request method, as Envoy names it in the header map.
pub const METHOD: &str = ":method";
/// The request target with its query.
pub const PATH: &str = ":path";
/// The host the client asked for.
pub const AUTHORITY: &str = ":authority";
/// `http` or `https`.
pub const SCHEME: &str = ":scheme";
/// The status of a response.
pub const STATUS: &str = ":status";
/// The origin of the page that sent a request (Fetch).
pub const ORIGIN: &str = "origin";
/// The method that a preflight asks for (Fetch).
pub const ACCESS_CONTROL_REQUEST_METHOD: &str = "access-control-request-method";
/// The headers that a preflight asks for (Fetch).
pub const ACCESS_CONTROL_REQUEST_HEADERS: &str = "access-control-request-headers";
/// Which origin a response is for (Fetch).
pub const ACCESS_CONTROL_ALLOW_ORIGIN: &str = "access-control-allow-origin";
/// Whether a response is for requests with credentials, too (Fetch).
pub const ACCESS_CONTROL_ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
/// The headers that a request of another origin may have (Fetch).
pub const ACCESS_CONTROL_ALLOW_HEADERS: &str = "access-control-allow-headers";
/// The headers that a page of another origin may read (Fetch).
pub const ACCESS_CONTROL_EXPOSE_HEADERS: &str = "access-control-expose-headers";
/// Who asks (RFC 9110, §11.6.2).
pub const AUTHORIZATION: &str = "authorization";
/// What a response is (RFC 9110, §8.3).
pub const CONTENT_TYPE: &str = "content-type";
/// The protocol that a connection is to change to (RFC 9110, §7.8).
pub const UPGRADE: &str = "upgrade";
/// The client's program (RFC 9110, §10.1.5).
pub const USER_AGENT: &str = "user-agent";
/// When a proxy in front of a service got the request, for the service's time in queue
/// (sentry-protocol.md §12.4).
pub const X_REQUEST_START: &str = "x-request-start";
/// Who may keep a response (RFC 9111, §5.2).
pub const CACHE_CONTROL: &str = "cache-control";
/// How long (RFC 9111, §5.3).
pub const EXPIRES: &str = "expires";
/// A cookie for the client (RFC 6265).
pub const SET_COOKIE: &str = "set-cookie";
/// What the browser's navigation entry shows (W3C Server Timing).
pub const SERVER_TIMING: &str = "server-timing";

/// The header lines of one message, in the order the host gave them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Headers {
    buffer: Vec<u8>,
    lines: Vec<Line>,
    /// A bit for each kind of name that is there: most names that are asked for are not.
    kinds: u64,
}

/// The bit of a name among [`Headers::kinds`]: of its length and its first letter, without case.
fn kind(name: &[u8]) -> u64 {
    let first = usize::from(name.first().copied().unwrap_or_default() | 0x20);
    let place = name.len().wrapping_add(first.wrapping_mul(5)) & 63;
    1 << place
}

/// Where one line stands in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The place of its name.
    pub name: Range<usize>,
    /// The place of its value.
    pub value: Range<usize>,
}

impl Headers {
    /// Header lines as they stand in a buffer, in the order of their places. Nothing is copied. A
    /// line whose place is outside of the buffer is ignored.
    pub fn from_lines(buffer: Vec<u8>, lines: Vec<Line>) -> Self {
        let name = |line: &Line| buffer.get(line.name.clone()).map_or(0, kind);
        let kinds = lines.iter().fold(0, |kinds, line| kinds | name(line));
        Self {
            buffer,
            lines,
            kinds,
        }
    }

    /// Header lines from pairs.
    pub fn from_pairs<'a, P>(pairs: P) -> Self
    where
        P: IntoIterator<Item = (&'a [u8], &'a [u8]), IntoIter: Clone>,
    {
        let pairs = pairs.into_iter();
        let of_all = |(lines, bytes): (usize, usize), (name, value): (&[u8], &[u8])| {
            let bytes = bytes.saturating_add(name.len());
            (lines.saturating_add(1), bytes.saturating_add(value.len()))
        };
        let (lines, bytes) = pairs.clone().fold((0, 0), of_all);
        let mut headers = Self {
            buffer: Vec::with_capacity(bytes),
            lines: Vec::with_capacity(lines),
            kinds: 0,
        };
        for (name, value) in pairs {
            headers.kinds |= kind(name);
            let name = headers.append(name);
            let value = headers.append(value);
            headers.lines.push(Line { name, value });
        }
        headers
    }

    /// Every value of a header, in order. Names are compared without case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.of_kind(name)
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The first value of a header.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.of_kind(name)
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The name of the line at a place.
    pub fn name_at(&self, place: usize) -> Option<&[u8]> {
        let line = self.lines.get(place)?;
        self.buffer.get(line.name.clone())
    }

    /// Gives a header the value of another one, if both are there.
    pub(crate) fn copy_value(&mut self, from: &str, to: &str) {
        let place = |name: &str| {
            let mut names = self.iter().map(|(found, _)| found);
            names.position(|found| found.eq_ignore_ascii_case(name.as_bytes()))
        };
        if let Some((from, to)) = place(from).zip(place(to)) {
            let value = self.lines.get(from).map(|line| line.value.clone());
            if let Some((line, value)) = self.lines.get_mut(to).zip(value) {
                line.value = value;
            }
        }
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Every line as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.pairs(&self.lines)
    }

    /// Every line, if there is one whose name may be this one.
    fn of_kind(&self, name: &str) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.pairs(match self.kinds & kind(name.as_bytes()) {
            0 => &[],
            _ => &self.lines,
        })
    }

    fn pairs<'a>(
        &'a self,
        lines: &'a [Line],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        lines.iter().filter_map(|line| {
            let name = self.buffer.get(line.name.clone())?;
            let value = self.buffer.get(line.value.clone())?;
            Some((name, value))
        })
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }
}

/// One change to a request's headers. Only what differs is changed, since each change of a request
/// header makes Envoy match the route again (envoy-wasm.md §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderMutation {
    /// All lines of this name are replaced by one.
    Set {
        /// Lower-case header name.
        name: &'static str,
        /// The new value.
        value: Vec<u8>,
    },
    /// All lines of this name go.
    Remove {
        /// Lower-case header name.
        name: &'static str,
    },
}

impl HeaderMutation {
    /// The header that changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Set { name, .. } | Self::Remove { name } => name,
        }
    }
}

/// A line that is added to a response, behind those of its name. Responses are changed in no other
/// way: whatever a service says itself stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderAddition {
    /// Lower-case header name.
    pub name: &'static str,
    /// The value of the new line.
    pub value: Vec<u8>,
}

/// Removes the white space that HTTP allows around a field value: spaces and tabs.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a line of a list whose elements may have quoted texts in them (RFC 9110, §5.6).
/// Empty ones are elements as well.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    rest: Option<&'a [u8]>,
    ended_in_quotes: bool,
}

impl<'a> Elements<'a> {
    /// Of one line.
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self {
            rest: Some(line),
            ended_in_quotes: false,
        }
    }

    /// Whether the last element, if it has been read, ends inside a quoted text.
    pub(crate) fn ended_in_quotes(&self) -> bool {
        self.ended_in_quotes
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = line.iter().position(|byte| {
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                b',' => return !is_quoted,
                b'\\' => is_escaped = is_quoted && !was_escaped,
                b'"' if !was_escaped => is_quoted = !is_quoted,
                _ => {}
            }
            false
        });
        let (element, rest) = match end {
            Some(at) => (line.get(..at), line.get(at.saturating_add(1)..)),
            None => (Some(line), None),
        };
        self.rest = rest;
        self.ended_in_quotes = is_quoted;
        element.map(trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&[u8], &[u8]); 3] = [
        (b"baggage", b"a=b"),
        (b"x-bytes", b"\xff\xfe"),
        (b"Baggage", b""),
    ];

    #[test]
    fn lines_are_found_by_name_whatever_its_case() {
        let headers = Headers::from_pairs(PAIRS);
        assert_eq!(headers.iter().collect::<Vec<_>>(), PAIRS);
        assert_eq!(
            headers.values(BAGGAGE).collect::<Vec<_>>(),
            [b"a=b".as_slice(), b""]
        );
        assert_eq!(headers.value("x-bytes"), Some(b"\xff\xfe".as_slice()));
        assert_eq!(headers.value("x-other"), None);
        assert_eq!(headers.value("x-BYTES"), Some(b"\xff\xfe".as_slice()));
        assert_eq!(headers.value(""), None);
    }

    #[test]
    fn a_line_outside_of_its_buffer_is_ignored() {
        let line = |value| Line { name: 0..1, value };
        let lines = vec![line(1..2), line(1..9)];
        let headers = Headers::from_lines(b"ab".to_vec(), lines);
        let found: Vec<_> = headers.iter().collect();
        assert_eq!(found, [(b"a".as_slice(), b"b".as_slice())]);
    }
}
