//! How much is collected of one category (develop.sentry.dev, data collection).

use super::names::has_part;

/// What leaves of the values that have names: cookies, headers, parameters of a query; the modes of
/// Sentry's SDKs of version 11. Names that say that they are a secret are filtered in every mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collection {
    /// `false`: nothing, not even names.
    Off,
    /// `true`: every value.
    On,
    /// `{"allow": […]}`: the values whose names have one of these parts, which are in lower case and
    /// have spaces between them; of the others the names.
    Allow(String),
    /// `{"deny": […]}`: the values whose names have none of these parts; of the others the names.
    Deny(String),
}

impl Collection {
    /// The names, and no value.
    pub const NAMES: Self = Self::Allow(String::new());

    /// Whether nothing leaves, not even a name.
    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }

    /// Whether the value with a name leaves, which is given in lower case.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Off => false,
            Self::On => true,
            Self::Allow(parts) => has_part(name, parts),
            Self::Deny(parts) => !has_part(name, parts),
        }
    }
}
