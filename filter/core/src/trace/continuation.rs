//! Whether a trace that arrived may be continued: the organisation check of sentry-protocol.md §4.

/// Why a trace begins although one arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartReason {
    /// `sentry-trace` was refused.
    Refused,
    /// The trace is another organisation's, or `strict_trace_continuation` cannot tell.
    Organisation,
    /// `incoming.trace` is `restart`.
    Configured,
}

impl RestartReason {
    /// Every reason there is.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Organisation, Self::Configured];

    /// The stable name of the reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Organisation => "organisation",
            Self::Configured => "configured",
        }
    }
}

/// Whether a trace that names `incoming` as its organisation is continued by a gateway of the
/// organisation `own`.
///
/// Two that differ never continue each other's traces; `strict` also refuses when only one of them
/// is known.
pub fn continues(incoming: Option<&str>, own: Option<&str>, strict: bool) -> bool {
    match (incoming, own) {
        (Some(incoming), Some(own)) => incoming == own,
        (None, None) => true,
        _ => !strict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_protocol_holds() {
        let rows = [
            (Some("1"), Some("1"), false, true),
            (Some("1"), Some("1"), true, true),
            (Some("1"), Some("2"), false, false),
            (Some("1"), Some("2"), true, false),
            (None, Some("1"), false, true),
            (None, Some("1"), true, false),
            (Some("1"), None, false, true),
            (Some("1"), None, true, false),
            (None, None, false, true),
            (None, None, true, true),
        ];
        for (incoming, own, strict, expected) in rows {
            assert_eq!(
                continues(incoming, own, strict),
                expected,
                "{incoming:?} {own:?} {strict}"
            );
        }
    }
}
