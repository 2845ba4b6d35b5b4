//! What a route sets for this filter: `typed_per_filter_config`.

use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::route_metadata::RouteMetadata;

use crate::abi::level;
use crate::host;

/// The settings of one route.
#[derive(Debug)]
pub struct RouteConfig(RouteMetadata);

impl RouteConfig {
    /// Reads the configuration of a route. One that is wrong is refused, each problem on a line.
    pub fn new(text: &[u8]) -> Option<Self> {
        match FilterConfig::parse_route(text) {
            Ok(settings) => Some(Self(settings)),
            Err(problems) => {
                for problem in problems {
                    host::log(
                        level::ERROR,
                        &format!("sentry: configuration of a route refused: {problem}"),
                    );
                }
                None
            }
        }
    }

    /// What it sets, as a route's metadata would.
    pub fn metadata(&self) -> &RouteMetadata {
        &self.0
    }
}
