//! One request: its headers on the way in, those of its answer on the way out, its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use log::{info, warn};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use sentry_filter_core::attribute::AtEnd;
use sentry_filter_core::cors::filter_order::FilterOrder;
use sentry_filter_core::filter_state::FilterState;
use sentry_filter_core::pipeline::RequestOutcome;
use sentry_filter_core::response::{Answer, PendingResponse};
use sentry_filter_core::span::{OpenSpan, StreamEnd};
use sentry_filter_core::trace::Sources;

use crate::host;
use crate::root::Worker;

/// The stream context.
pub struct Stream {
    id: u32,
    worker: Rc<RefCell<Worker>>,
    span: Option<Box<OpenSpan>>,
    response: Option<Box<PendingResponse>>,
    /// Whether the request's headers came here: a filter in front of this one may have answered.
    saw_request: bool,
}

impl Stream {
    /// A stream of a worker, which the host calls by a number.
    pub fn new(id: u32, worker: Rc<RefCell<Worker>>) -> Self {
        Self {
            id,
            worker,
            span: None,
            response: None,
            saw_request: false,
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.saw_request = true;
        if let Ok(mut worker) = self.worker.try_borrow_mut() {
            let outcome = worker.on_request_headers();
            // Whatever an earlier call left belongs to no request any more.
            (self.span, self.response) = match outcome {
                Some(outcome) => (outcome.span, outcome.response),
                None => (None, None),
            };
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let Ok(mut worker) = self.worker.try_borrow_mut() else {
            return Action::Continue;
        };
        if let Some(response) = &self.response {
            worker.on_response_headers(response);
        }
        if let Some(span) = &mut self.span {
            span.answered_ns = span.sent_ns.map(|_| worker.now_ns());
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        let Ok(mut worker) = self.worker.try_borrow_mut() else {
            return;
        };
        if self.response.is_some() || !self.saw_request {
            worker.check_filter_order(self.response.as_deref());
        }
        if let Some(span) = self.span.take() {
            worker.on_stream_end(*span);
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
            pipeline, entropy, ..
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
        if let Some(state) = outcome.context.map(FilterState::of) {
            for (name, value) in state.iter() {
                let result = host::set_filter_state(name, value);
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
        let mut read = || refused.accept(host::response_headers()).unwrap_or_default();
        let additions =
            pipeline.on_response_headers(response, &mut Answer::new(&mut has, &mut read));
        refused.tell(self);
        for addition in &additions {
            let result = host::add_response_header(addition);
            self.accept(result);
        }
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
            || refused.accept(host::response_headers()),
        );
        refused.tell(self);
        if is_wrong {
            warn!("{}", FilterOrder::WARNING);
        }
    }

    fn on_stream_end(&mut self, span: OpenSpan) {
        let Some(pipeline) = &mut self.pipeline else {
            return;
        };
        let refused = Refusals::default();
        let told = self.at_end.as_ref().and_then(host::Expression::evaluate);
        let end = StreamEnd::read(
            &span,
            pipeline.config().data.send_default_pii,
            &told.map(AtEnd::read).unwrap_or_default(),
            &mut |attribute| refused.accept(host::property(attribute))?,
            &mut || refused.accept(host::now_ns()).unwrap_or_default(),
        );
        pipeline.on_stream_end(span, end, || refused.accept(host::response_headers()));
        refused.tell(self);
    }
}

/// Counts host calls that were refused while the pipeline is busy and cannot be told.
#[derive(Default)]
struct Refusals(Cell<i64>);

impl Refusals {
    fn accept<T>(&self, result: Result<T, host::Refused>) -> Option<T> {
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
