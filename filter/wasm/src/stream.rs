//! One request: its headers on the way in, those of its response on the way out, its end.

use log::{info, warn};
use sentry_filter_codec::attributes::{self, PrefetchedAttributes};
use sentry_filter_codec::{route_metadata, shared_number};
use sentry_filter_core::attribute::Attribute;
use sentry_filter_core::filter_state::FilterState;
use sentry_filter_core::headers::Headers;
use sentry_filter_core::host::{HostError, RequestHost};
use sentry_filter_core::route_metadata::RouteMetadata;
use sentry_filter_core::tracer::StreamState;

use crate::host;
use crate::root::{Configured, SharedRoot};

/// The stream context.
pub struct Stream {
    id: u32,
    root: SharedRoot,
    state: StreamState,
}

impl Stream {
    /// A stream of a root context, which the host calls by a number.
    pub fn new(id: u32, root: SharedRoot) -> Self {
        Self {
            id,
            root,
            state: StreamState::default(),
        }
    }

    /// The request's headers have arrived.
    pub fn on_request_headers(&mut self) {
        // Whatever an earlier call left belongs to no request any more.
        self.state = StreamState::Unread;
        let Ok(mut root) = self.root.try_borrow_mut() else {
            return;
        };
        if let Some(configured) = &mut root.configured {
            self.state = configured.on_request_headers();
        }
    }

    /// The headers of its response have arrived.
    pub fn on_response_headers(&mut self) {
        let Ok(mut root) = self.root.try_borrow_mut() else {
            return;
        };
        if let Some(configured) = &mut root.configured {
            configured.on_response_headers(&mut self.state);
        }
    }

    /// The stream has ended.
    pub fn on_log(&mut self) {
        let Ok(mut root) = self.root.try_borrow_mut() else {
            return;
        };
        if let Some(configured) = &mut root.configured {
            configured.on_stream_end(&mut self.state);
            configured.flush_full_batch(self.id);
        }
        self.state = StreamState::Unread;
    }
}

impl Configured {
    fn on_request_headers(&mut self) -> StreamState {
        // Without the headers nothing is known about the request, so nothing is done about it.
        let headers = host::request_headers();
        let Some(headers) = self.accept(headers) else {
            return StreamState::Unread;
        };
        let mut host = StreamHost::new(&self.redirect_state);
        let outcome = self.worker.on_request(&headers, &mut host);
        if let Some(line) = outcome.warning {
            warn!("{line}");
        }
        if let Some(line) = &outcome.log {
            info!("{line}");
        }
        for mutation in &outcome.mutations {
            self.accept(host::mutate_request_headers(mutation));
        }
        if let Some(state) = outcome.context.map(FilterState::new) {
            for (name, value) in state.iter() {
                self.accept(host::set_filter_state(name, value.as_bytes()));
            }
        }
        StreamState::Live(outcome.request)
    }

    fn on_response_headers(&mut self, state: &mut StreamState) {
        let mut host = StreamHost::new(&self.redirect_state);
        let additions = self.worker.on_response(state, &mut host);
        for addition in &additions {
            self.accept(host::add_response_header(addition));
        }
    }

    fn on_stream_end(&mut self, state: &mut StreamState) {
        let mut host = StreamHost {
            // For a single attribute it would cost more than that.
            expression: self.expression.as_ref().filter(|_| state.is_recorded()),
            ..StreamHost::new(&self.redirect_state)
        };
        let outcome = self.worker.on_end(state, &mut host);
        if let Some(token) = outcome.redirect_token {
            let token = shared_number::write(token);
            self.accept(host::set_filter_state(&self.redirect_state, &token));
        }
        if let Some(warning) = outcome.warning {
            warn!("{warning}");
        }
    }
}

/// The host of the current stream.
struct StreamHost<'a> {
    redirect_state: &'a str,
    /// What gives many attributes at once; gone once it was evaluated.
    expression: Option<&'a host::Expression>,
    prefetched: PrefetchedAttributes,
}

impl<'a> StreamHost<'a> {
    fn new(redirect_state: &'a str) -> Self {
        Self {
            redirect_state,
            expression: None,
            prefetched: PrefetchedAttributes::default(),
        }
    }

    /// The bytes of an attribute.
    fn attribute<T>(
        &mut self,
        attribute: Attribute,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, HostError> {
        if PrefetchedAttributes::includes(attribute) {
            if let Some(expression) = self.expression.take() {
                let list = expression.evaluate();
                self.prefetched = list.map(PrefetchedAttributes::read).unwrap_or_default();
            }
        }
        if let Some(bytes) = self.prefetched.get(attribute) {
            return Ok(Some(read(bytes)));
        }
        let bytes = host::property(attributes::path(attribute))?;
        Ok(bytes.map(|bytes| read(&bytes)))
    }
}

impl RequestHost for StreamHost<'_> {
    fn now_ns(&mut self) -> Result<u64, HostError> {
        host::now_ns()
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), HostError> {
        host::fill_random(buffer)
    }

    fn number(&mut self, attribute: Attribute) -> Result<Option<i64>, HostError> {
        Ok(self.attribute(attribute, attributes::number)?.flatten())
    }

    fn text(&mut self, attribute: Attribute) -> Result<Option<Vec<u8>>, HostError> {
        self.attribute(attribute, <[u8]>::to_vec)
    }

    fn route_metadata(&mut self) -> Result<RouteMetadata, HostError> {
        let metadata = host::property(attributes::ROUTE_METADATA)?;
        Ok(metadata.map(route_metadata::read).unwrap_or_default())
    }

    fn redirect_token(&mut self) -> Result<Option<u64>, HostError> {
        let token = host::property(self.redirect_state.as_bytes())?;
        Ok(token.and_then(|token| shared_number::read(&token)))
    }

    fn request_headers(&mut self) -> Result<Option<Headers>, HostError> {
        host::request_headers().map(Some)
    }

    fn response_headers(&mut self) -> Result<Option<Headers>, HostError> {
        host::response_headers()
    }

    fn has_response_header(&mut self, name: &'static str) -> Result<bool, HostError> {
        host::has_response_header(name)
    }
}
