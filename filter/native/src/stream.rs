//! One request: its headers on the way in, those of its response on the way out, its end.

use std::sync::Arc;

use sentry_filter_core::filter_state::FilterState;
use sentry_filter_core::host::HostError;
use sentry_filter_core::tracer::StreamState;

use crate::abi::level;
use crate::call::Call;
use crate::host::{self, StreamHandle};
use crate::worker::{Redirect, Worker};

/// What the module has of a stream.
#[derive(Debug)]
pub struct Stream {
    worker: Arc<Worker>,
    state: StreamState,
    /// When it began, where Envoy cannot tell; 0 if it can.
    started_ns: u64,
    /// When its request was let go; 0 if nobody asks for that.
    let_go_ns: u64,
    /// What it may be the successor of.
    redirect: Option<Redirect>,
}

/// How many calls Envoy has refused.
#[derive(Default)]
struct Refused(u32);

impl Refused {
    fn count(&mut self, result: Result<(), HostError>) {
        self.0 = self.0.saturating_add(result.is_err().into());
    }

    fn tell(self, worker: &Worker) {
        if self.0 > 0 {
            worker.with_tracer(|tracer| {
                let recorded = tracer.recorded();
                recorded.refused = recorded.refused.saturating_add(self.0);
            });
        }
    }
}

impl Stream {
    /// A stream of a worker.
    pub fn new(worker: Arc<Worker>) -> Self {
        Self {
            redirect: worker.take_redirect(),
            worker,
            state: StreamState::Unseen,
            started_ns: 0,
            let_go_ns: 0,
        }
    }

    /// The request's headers have arrived.
    pub fn on_request_headers(&mut self, handle: StreamHandle<'_>) {
        // What was redirected has begun its next stream by now, or never will.
        self.worker.take_redirect();
        if !host::tells_times() {
            self.started_ns = host::now_ns();
        }
        let mut refused = Refused::default();
        let headers = handle.request_headers();
        // Without the headers nothing is known about the request, so nothing is done about it.
        let Ok(headers) = headers else {
            self.state = StreamState::Unread;
            refused.count(Err(HostError::Malformed));
            return refused.tell(&self.worker);
        };
        let mut call = Call::new(handle, self.started_ns, self.redirect.take());
        let outcome = self
            .worker
            .with_tracer(|tracer| tracer.on_request(&headers, &mut call));
        self.let_go_ns = call.last_ns();
        for mutation in &outcome.mutations {
            refused.count(handle.mutate_request_headers(mutation));
        }
        // Envoy has not, as it would in Wasm.
        if !outcome.mutations.is_empty() && self.worker.clears_route_cache() {
            handle.clear_route_cache();
        }
        if let Some(state) = outcome.context.map(FilterState::new) {
            for (name, value) in state.iter() {
                refused.count(handle.set_filter_state(name, value.as_bytes()));
            }
        }
        if let Some(line) = outcome.warning {
            host::log(level::WARN, line);
        }
        if let Some(line) = &outcome.log {
            host::log(level::INFO, line);
        }
        self.state = StreamState::Live(outcome.request);
        refused.tell(&self.worker);
    }

    /// The headers of its response have arrived.
    pub fn on_response_headers(&mut self, handle: StreamHandle<'_>) {
        let Self {
            worker,
            state,
            started_ns,
            ..
        } = self;
        if !matches!(state, StreamState::Live(_)) {
            return;
        }
        let mut call = Call::new(handle, *started_ns, None);
        let additions = worker.with_tracer(|tracer| tracer.on_response(state, &mut call));
        let mut refused = Refused::default();
        for addition in &additions {
            refused.count(handle.add_response_header(addition));
        }
        refused.tell(worker);
    }

    /// The stream has ended.
    pub fn on_end(&mut self, handle: StreamHandle<'_>) {
        let Self {
            worker,
            state,
            started_ns,
            let_go_ns,
            ..
        } = self;
        let mut call = Call::new(handle, *started_ns, None).let_go_at(*let_go_ns);
        let outcome = worker.end(|tracer| tracer.on_end(state, &mut call));
        if let Some(token) = outcome.redirect_token {
            if let Some(start_ns) = call.start_ns() {
                worker.set_redirect(Redirect { token, start_ns });
            }
        }
        if let Some(warning) = outcome.warning {
            host::log(level::WARN, warning);
        }
    }
}
