//! One request: its headers on the way in, its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use log::info;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::metrics::Metric;
use sentry_filter_core::span::{OpenSpan, StreamEnd};
use sentry_filter_core::trace::Sources;

use crate::host;
use crate::root::Worker;

/// The stream context.
pub struct Stream {
    worker: Rc<RefCell<Worker>>,
    span: Option<Box<OpenSpan>>,
}

impl Stream {
    /// A stream of a worker.
    pub fn new(worker: Rc<RefCell<Worker>>) -> Self {
        Self { worker, span: None }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if let Ok(mut worker) = self.worker.try_borrow_mut() {
            // Whatever an earlier call left belongs to no request any more.
            self.span = worker.on_request_headers();
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if let (Some(span), Ok(mut worker)) = (self.span.take(), self.worker.try_borrow_mut()) {
            worker.on_stream_end(*span);
        }
    }
}

impl Worker {
    fn on_request_headers(&mut self) -> Option<Box<OpenSpan>> {
        // Without the headers nothing is known about the request, so nothing is done about it.
        let headers = host::request_headers();
        let headers = self.accept(headers)?;
        let Self {
            pipeline, entropy, ..
        } = self;
        let refused = Cell::new(0_i64);
        let count = |is_refused: bool| refused.set(refused.get().saturating_add(is_refused.into()));
        let mut sources = Sources {
            entropy: &mut |bytes| {
                let filled = entropy.fill(bytes);
                count(!filled);
                filled
            },
            now_ns: &mut || {
                let now = host::now_ns();
                count(now.is_err());
                now.unwrap_or_default()
            },
            attribute: &mut |attribute| {
                let value = host::property(attribute);
                count(value.is_err());
                value.ok()?
            },
        };
        let pipeline = pipeline.as_mut()?;
        let outcome = pipeline.on_request_headers(&headers, &mut sources);
        pipeline
            .metrics()
            .add(Metric::HostCallsRefused, refused.get());
        if let Some(line) = outcome.log {
            info!("{line}");
        }
        for mutation in &outcome.mutations {
            let result = host::mutate_request_headers(mutation);
            self.accept(result);
        }
        outcome.span
    }

    fn on_stream_end(&mut self, span: OpenSpan) {
        let end = StreamEnd {
            start_ns: self.number(Attribute::RequestTime),
            duration_ns: self.number(Attribute::RequestDuration),
            // Envoy says 0 where the client got no answer.
            response_code: self
                .number(Attribute::ResponseCode)
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| *code > 0),
            response_code_details: self.text(Attribute::ResponseCodeDetails),
            response_size: self.number(Attribute::ResponseSize),
            protocol: self.text(Attribute::RequestProtocol),
            route_name: self.bytes(Attribute::RouteName),
            cluster_name: self.text(Attribute::ClusterName),
        };
        let needs_clock = end.start_ns.is_none() || end.duration_ns.is_none();
        let now_ns = if needs_clock { self.now_ns() } else { 0 };
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.on_stream_end(span, end, now_ns);
        }
    }

    fn bytes(&mut self, attribute: Attribute) -> Option<Vec<u8>> {
        let value = host::property(attribute);
        self.accept(value)?
    }

    fn text(&mut self, attribute: Attribute) -> Option<String> {
        let bytes = self.bytes(attribute)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Envoy's integers, times and durations: 8 bytes, little-endian (envoy-wasm.md, "Attributes, seen"). A negative one means that it is not known.
    fn number(&mut self, attribute: Attribute) -> Option<u64> {
        let bytes = self.bytes(attribute)?;
        let number = i64::from_le_bytes(bytes.try_into().ok()?);
        u64::try_from(number).ok()
    }
}
