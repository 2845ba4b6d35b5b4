//! One request: its headers on the way in, its end.

use std::cell::RefCell;
use std::rc::Rc;

use log::info;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use sentry_filter_core::span::{OpenSpan, StreamEnd};

use crate::host::{self, Property};
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
        let mut route_name = || host::property(Property::RouteName).ok()?;
        let outcome = pipeline.as_mut()?.on_request_headers(
            &headers,
            &mut |bytes| entropy.fill(bytes),
            &mut route_name,
        );
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
            start_ns: self.number(Property::RequestTime),
            duration_ns: self.number(Property::RequestDuration),
            // Envoy says 0 where the client got no answer.
            response_code: self
                .number(Property::ResponseCode)
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| *code > 0),
            response_code_details: self.text(Property::ResponseCodeDetails),
            response_size: self.number(Property::ResponseSize),
            protocol: self.text(Property::RequestProtocol),
            route_name: self.bytes(Property::RouteName),
            cluster_name: self.text(Property::ClusterName),
        };
        let needs_clock = end.start_ns.is_none() || end.duration_ns.is_none();
        let now_ns = if needs_clock { self.now_ns() } else { 0 };
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.on_stream_end(span, end, now_ns);
        }
    }

    fn bytes(&mut self, property: Property) -> Option<Vec<u8>> {
        let value = host::property(property);
        self.accept(value)?
    }

    fn text(&mut self, property: Property) -> Option<String> {
        let bytes = self.bytes(property)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Envoy's integers, times and durations: 8 bytes, little-endian (envoy-wasm.md, "Attributes, seen"). A negative one means that it is not known.
    fn number(&mut self, property: Property) -> Option<u64> {
        let bytes = self.bytes(property)?;
        let number = i64::from_le_bytes(bytes.try_into().ok()?);
        u64::try_from(number).ok()
    }
}
