//! What a route sets for this filter: `typed_per_filter_config`.

use sentry_filter_core::route_metadata::RouteMetadata;

/// The settings of one route, as its metadata would have them.
#[derive(Debug)]
pub struct RouteConfig(pub RouteMetadata);
