//! What is posted to Sentry, and what the responses mean for the next POST
//! (docs/spec/filter.md §8, docs/spec/sentry-protocol.md §11).

use std::sync::Arc;

use super::backoff::Backoff;
use super::callout::{Callout, HeaderLines};
use super::delivery::{CalloutResponse, Delivery};
use super::failure::Failure;
use super::in_flight::{CompletedCallout, InFlight};
use super::rate_limit::limit_s;
use crate::dsn::Dsn;
use crate::envelope::client_report::ClientReport;
use crate::envelope::{Category, EncodedSegment, Format, SDK_NAME, SDK_VERSION};
use crate::project::{Project, ProjectId};
use crate::quantity::Quantity;

const NS_PER_S: u64 = 1_000_000_000;

/// The `transport` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportOptions {
    /// The Envoy cluster that takes the callouts of projects that name no other.
    pub cluster: String,
    /// In which form spans are sent.
    pub format: Format,
    /// The path that they are posted to; `None` is the DSN's for that form.
    pub path: Option<String>,
    /// What else each of them has in its header, for a collector.
    pub headers: HeaderLines,
    /// How long one callout may take, in milliseconds.
    pub timeout_ms: u32,
    /// How often the queue is flushed, in milliseconds.
    pub flush_interval_ms: u32,
    /// How many bytes of encoded spans may wait, per worker.
    pub max_queue_bytes: usize,
    /// How many callouts may be under way at once, per worker.
    pub max_in_flight: usize,
    /// Whether Sentry is told what was lost.
    pub client_reports: bool,
}

/// Makes the callouts of a project and reads their responses.
#[derive(Debug)]
pub struct Transport {
    project: ProjectId,
    cluster: Arc<str>,
    headers: Arc<HeaderLines>,
    /// Those of an envelope, in whatever format spans go.
    envelope_headers: Arc<HeaderLines>,
    timeout_ms: u32,
    format: Format,
    in_flight: InFlight,
    /// What is sent.
    categories: &'static [Category],
    /// What the receiver wants to be spared, by category.
    limits: [Limit; Category::ALL.len()],
    backoff: Backoff,
}

/// How long nothing of a category is sent.
#[derive(Debug, Default, Clone, Copy)]
struct Limit {
    until_ns: u64,
    /// How many seconds the last response has closed it for, if that is yet to be told to the other
    /// workers.
    said_s: Option<u64>,
}

impl Transport {
    /// A transport to the receiver that a DSN names.
    pub fn new(
        id: ProjectId,
        project: &Project,
        options: &TransportOptions,
        sends_errors: bool,
    ) -> Self {
        let dsn = &*project.dsn;
        let format = options.format;
        let path = options.path.clone().unwrap_or_else(|| format.path(dsn));
        let headers = headers(dsn, path, format.content_type(), &options.headers);
        let envelope_headers = match format.carries_reports() {
            true => Arc::clone(&headers),
            false => {
                let content_type = Format::default().content_type();
                self::headers(dsn, dsn.envelope_path(), content_type, &options.headers)
            }
        };
        let categories = match sends_errors {
            true => Category::ALL.as_slice(),
            false => &[Category::Spans],
        };
        Self {
            project: id,
            cluster: Arc::clone(&project.cluster),
            headers,
            envelope_headers,
            timeout_ms: options.timeout_ms,
            format,
            in_flight: InFlight::default(),
            categories,
            limits: [Limit::default(); Category::ALL.len()],
            backoff: Backoff::new(options.flush_interval_ms),
        }
    }

    /// What is sent through it.
    pub fn categories(&self) -> &'static [Category] {
        self.categories
    }

    /// Whether another callout may be made now, as far as the receiver is concerned.
    pub fn is_ready(&self, now_ns: u64) -> bool {
        let mut categories = self.categories.iter();
        categories.any(|category| !self.is_closed(*category, now_ns))
            && self.backoff.is_over(now_ns)
    }

    /// How many callouts are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the receiver asked for a pause of a category that is not over.
    pub fn is_closed(&self, category: Category, now_ns: u64) -> bool {
        let limit = self.limits.get(category as usize);
        limit.is_some_and(|limit| now_ns < limit.until_ns)
    }

    /// For how many seconds the last response has closed a category, once.
    pub fn take_said_s(&mut self) -> Option<(Category, u64)> {
        let mut categories = self.categories.iter().zip(&mut self.limits);
        categories.find_map(|(category, limit)| Some((*category, limit.said_s.take()?)))
    }

    /// Another worker has learned of a pause. The longer one counts.
    pub fn close_until(&mut self, category: Category, until_ns: u64) {
        if let Some(limit) = self.limits.get_mut(category as usize) {
            limit.until_ns = limit.until_ns.max(until_ns);
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight() == 0
    }

    /// The callout that posts a body made of these.
    pub fn callout(
        &self,
        segments: Vec<EncodedSegment>,
        report: Option<ClientReport>,
        body: Vec<u8>,
    ) -> Callout {
        Callout {
            project: self.project,
            cluster: Arc::clone(&self.cluster),
            headers: Arc::clone(match segments.first() {
                Some(segment) if !segment.is_event() => &self.headers,
                _ => &self.envelope_headers,
            }),
            body,
            timeout_ms: self.timeout_ms,
            segments,
            report,
        }
    }

    /// Notes that the host took a callout and named it `token`. One that had the same name will not
    /// be answered any more, and is returned.
    pub fn posted(&mut self, token: u32, callout: Callout, now_ns: u64) -> Vec<CompletedCallout> {
        self.in_flight.add(token, callout, now_ns)
    }

    /// Whether the response to that callout is waited for.
    pub fn awaits(&self, token: u32) -> bool {
        self.in_flight.has(token)
    }

    /// One that will not be answered any more, since the host has given its name to another
    /// project's.
    pub fn replaced(&mut self, token: u32) -> Option<CompletedCallout> {
        self.in_flight.take(token)
    }

    /// What failed before says nothing about the next try.
    pub fn forget_failures(&mut self) {
        self.backoff.forget();
    }

    /// The host did not take a callout. `random` spreads the workers' next tries.
    pub fn not_posted(&mut self, now_ns: u64, random: u64) {
        self.backoff.failed(now_ns, random);
    }

    /// Reads a response. `None` for a token that is not under way. `host_ns` is what the host's
    /// clock shows, for dates.
    pub fn completed(
        &mut self,
        token: u32,
        response: &mut CalloutResponse<'_>,
        host_ns: u64,
        now_ns: u64,
        random: u64,
    ) -> Option<CompletedCallout> {
        let mut completed = self.in_flight.take(token)?;
        let status = response.status();
        let host_s = host_ns.checked_div(NS_PER_S).unwrap_or_default();
        for (category, limit) in self.categories.iter().zip(&mut self.limits) {
            let name = self.format.category_of(*category);
            if let Some(seconds) = limit_s(response.headers, status, name, host_s) {
                // No time at all is no limit, unless a limit is why this POST was refused.
                let seconds = seconds.max(u64::from(status == Some(429)));
                let until_ns = now_ns.saturating_add(seconds.saturating_mul(NS_PER_S));
                if until_ns > limit.until_ns.max(now_ns) {
                    limit.until_ns = until_ns;
                    limit.said_s = Some(seconds);
                }
            }
        }
        completed.delivery = response.delivery();
        completed.failure = Failure::new(completed.delivery, response);
        match completed.delivery {
            Delivery::NotArrived | Delivery::NotTaken => self.backoff.failed(now_ns, random),
            Delivery::Accepted => {
                let rejected = self.format.rejected(&mut *response.body);
                let spans = completed.segments.iter().map(EncodedSegment::quantity);
                completed.rejected = rejected.min(spans.sum::<Quantity>().spans);
                self.backoff.accepted();
            }
            Delivery::RateLimited => self.backoff.limited(now_ns),
            Delivery::Refused | Delivery::Lost => self.backoff.refused(now_ns),
        }
        Some(completed)
    }

    /// Gives up on callouts that the host should have answered long ago.
    pub fn expire(&mut self, now_ns: u64) -> Vec<CompletedCallout> {
        self.in_flight.expire(now_ns)
    }

    /// All of them are lost: nothing will be answered any more.
    pub fn abandon(&mut self) -> Vec<CompletedCallout> {
        self.in_flight.abandon()
    }

    /// The clock was set forward, or stood still for the worker: callouts had no time to be
    /// answered in.
    pub fn delay_expiry(&mut self, by_ns: u64) {
        self.in_flight.delay_expiry(by_ns);
    }
}

/// The header of every POST to a path. `more` are the operator's.
#[inline(never)]
fn headers(dsn: &Dsn, path: String, content_type: &str, more: &HeaderLines) -> Arc<HeaderLines> {
    let client = [SDK_NAME, "/", SDK_VERSION].concat();
    let auth = dsn.auth(&client);
    let lines = [
        (":method", "POST"),
        (":scheme", dsn.scheme()),
        (":authority", dsn.authority()),
        (":path", &path),
        ("content-type", content_type),
        ("x-sentry-auth", &auth),
        ("user-agent", &client),
    ];
    let mut headers = HeaderLines::default();
    headers.add(&mut lines.into_iter());
    headers.add(&mut more.iter());
    Arc::new(headers)
}

#[cfg(test)]
mod tests;
