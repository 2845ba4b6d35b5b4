//! One request: its headers on the way in, those of its answer on the way out, its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use log::{info, warn};
use sentry_filter_core::attribute::{Attribute, PrefetchedAttributes};
use sentry_filter_core::cors::filter_order::FilterOrder;
use sentry_filter_core::filter_state::FilterState;
use sentry_filter_core::pipeline::{LiveRequest, RequestOutcome};
use sentry_filter_core::response::{Answer, PendingResponse};
use sentry_filter_core::span::StreamInfo;
use sentry_filter_core::trace::Sources;

use crate::host;
use crate::root::Worker;

/// The stream context.
pub struct Stream {
    id: u32,
    worker: Rc<RefCell<Worker>>,
    request: Option<LiveRequest>,
    /// Whether the request's headers came here: a filter in front of this one may have answered.
    saw_request: bool,
}

impl Stream {
    /// A stream of a worker, which the host calls by a number.
    pub fn new(id: u32, worker: Rc<RefCell<Worker>>) -> Self {
        Self {
            id,
            worker,
            request: None,
            saw_request: false,
        }
    }

    /// The request's headers have arrived.
    pub fn on_request_headers(&mut self) {
        self.saw_request = true;
        if let Ok(mut worker) = self.worker.try_borrow_mut() {
            let outcome = worker.on_request_headers();
            // Whatever an earlier call left belongs to no request any more.
            self.request = outcome.map(|outcome| outcome.request);
        }
    }

    /// The headers of its answer have arrived.
    pub fn on_response_headers(&mut self) {
        let Ok(mut worker) = self.worker.try_borrow_mut() else {
            return;
        };
        let Some(request) = &mut self.request else {
            return;
        };
        request.set_answered();
        if let Some(response) = &request.response {
            worker.on_response_headers(response);
        }
        if let Some(span) = &mut request.span {
            span.answered_ns = span.sent_ns.map(|_| worker.now_ns());
            if span.wants_passing_code() {
                span.passing_code = worker.response_code();
            }
        }
    }

    /// The stream has ended.
    pub fn on_log(&mut self) {
        let Ok(mut worker) = self.worker.try_borrow_mut() else {
            return;
        };
        let request = self.request.take();
        let response = request.as_ref().and_then(|one| one.response.as_deref());
        if response.is_some() || !self.saw_request {
            worker.check_filter_order(response);
        }
        let Some(request) = request else {
            return;
        };
        let is_recorded = request.span.is_some();
        if is_recorded || request.may_be_redirected() {
            worker.on_stream_end(request);
        }
        if is_recorded {
            worker.flush_full_batch(self.id);
        }
    }
}

impl Worker {
    fn on_request_headers(&mut self) -> Option<RequestOutcome> {
        // Without the headers nothing is known about the request, so nothing is done about it.
        let headers = host::request_headers();
        let headers = self.accept(headers)?;
        let Self {
            pipeline,
            entropy,
            redirect_state,
            ..
        } = self;
        let refused = Refusals::default();
        let mut sources = Sources {
            entropy: &mut |bytes| {
                let filled = entropy.fill(bytes);
                refused.count(!filled);
                filled
            },
            now_ns: &mut || refused.accept(host::now_ns()).unwrap_or_default(),
            attribute: &mut |attribute| refused.accept(host::property(attribute))?,
            redirect_token: &mut || {
                let token = refused.accept(host::filter_state(redirect_state))??;
                Some(u64::from_le_bytes(token.try_into().ok()?))
            },
        };
        let pipeline = pipeline.as_mut()?;
        let outcome = pipeline.on_request_headers(&headers, &mut sources);
        refused.tell(self);
        if let Some(line) = &outcome.log {
            info!("{line}");
        }
        for mutation in &outcome.mutations {
            let result = host::mutate_request_headers(mutation);
            self.accept(result);
        }
        if let Some(state) = outcome.context.map(FilterState::new) {
            for (name, value) in state.iter() {
                let result = host::set_filter_state(name, value.as_bytes());
                self.accept(result);
            }
        }
        Some(outcome)
    }

    fn on_response_headers(&mut self, response: &PendingResponse) {
        let Some(pipeline) = &self.pipeline else {
            return;
        };
        let refused = Refusals::default();
        // What cannot be read is there, for all we know: nothing of ours is put beside it.
        let mut has = |name| {
            refused
                .accept(host::has_response_header(name))
                .unwrap_or(true)
        };
        let mut read = || {
            refused
                .accept(host::response_headers())
                .flatten()
                .unwrap_or_default()
        };
        let additions =
            pipeline.on_response_headers(response, &mut Answer::new(&mut has, &mut read));
        refused.tell(self);
        for addition in &additions {
            let result = host::add_response_header(addition);
            self.accept(result);
        }
    }

    /// The code of the answer as it is now.
    fn response_code(&mut self) -> Option<u16> {
        let code = host::property(Attribute::ResponseCode);
        let code = i64::from_le_bytes(self.accept(code)??.try_into().ok()?);
        u16::try_from(code).ok()
    }

    /// `response` is `None` if the request's headers never came here.
    fn check_filter_order(&mut self, response: Option<&PendingResponse>) {
        let Some(pipeline) = &mut self.pipeline else {
            return;
        };
        let refused = Refusals::default();
        let is_wrong = pipeline.is_out_of_order(
            response.map(|response| &response.cors),
            || refused.accept(host::request_headers()),
            || refused.accept(host::response_headers())?,
        );
        refused.tell(self);
        if is_wrong {
            warn!("{}", FilterOrder::WARNING);
        }
    }

    fn on_stream_end(&mut self, request: LiveRequest) {
        let Some(pipeline) = &mut self.pipeline else {
            return;
        };
        let refused = Refusals::default();
        let mut attribute = |attribute| refused.accept(host::property(attribute))?;
        let mut now_ns = || refused.accept(host::now_ns()).unwrap_or_default();
        let Some(span) = &request.span else {
            let details = attribute(Attribute::ResponseCodeDetails);
            let token = pipeline.on_unrecorded_end(request, details.as_deref(), now_ns());
            refused.tell(self);
            return self.mark_redirected(token);
        };
        let told = self.at_end.as_ref().and_then(host::Expression::evaluate);
        let end = StreamInfo::read(
            span,
            pipeline.config().data.send_default_pii,
            &told.map(PrefetchedAttributes::read).unwrap_or_default(),
            &mut attribute,
            &mut now_ns,
        );
        let answer = || refused.accept(host::response_headers())?;
        let token = pipeline.on_stream_end(request, end, answer);
        refused.tell(self);
        self.mark_redirected(token);
    }

    /// Leaves a token with a request that Envoy redirects, where only this filter can have put it.
    fn mark_redirected(&mut self, token: Option<u64>) {
        if let Some(token) = token {
            let set = host::set_filter_state(&self.redirect_state, &token.to_le_bytes());
            self.accept(set);
        }
    }
}

/// Counts host calls that were refused while the pipeline is busy and cannot be told.
#[derive(Default)]
struct Refusals(Cell<i64>);

impl Refusals {
    fn accept<T>(&self, result: Result<T, host::HostError>) -> Option<T> {
        self.count(result.is_err());
        result.ok()
    }

    fn count(&self, is_refused: bool) {
        self.0.set(self.0.get().saturating_add(is_refused.into()));
    }

    fn tell(&self, worker: &mut Worker) {
        worker.count_refused(self.0.get());
    }
}
