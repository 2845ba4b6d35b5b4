//! Which formats a receiver takes, by sending it a test span in each.

use sentry_filter_core::config::FilterConfig;
use sentry_filter_core::envelope::Format;
use serde::Serialize;
use ureq::tls::RootCerts;

use crate::send_test::{send_test, Test};

/// What a receiver that collects no spans asks for: the longest pause that is obeyed.
const A_DAY_S: u64 = 24 * 60 * 60;

/// What became of the test span in one format.
#[derive(Debug, Serialize)]
pub struct FormatTest {
    /// The format, as in `transport.format`.
    pub format: &'static str,
    /// Whether it is the one that is configured.
    pub is_configured: bool,
    /// Whether the receiver takes it.
    pub verdict: Verdict,
    /// The answer.
    #[serde(flatten)]
    pub test: Test,
}

/// Whether a receiver takes a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It answered with success, and asked for no pause.
    Accepted,
    /// It has no such place, did not understand, or wants none of it for a day.
    Refused,
    /// It said something that is not about the format (a key that it does not know, a pause, a
    /// failure), or nothing at all.
    Unknown,
}

impl Verdict {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    fn of(test: &Test) -> Self {
        match (test.status, test.pause_s) {
            (Some(200..=299), Some(A_DAY_S..)) => Self::Refused,
            (Some(200..=299), Some(_)) => Self::Unknown,
            (Some(200..=299), None) if test.accepted => Self::Accepted,
            (Some(200..=299), None) => Self::Refused,
            // It has no such place, or cannot read the body.
            (Some(400 | 404 | 405 | 406 | 410 | 411 | 413 | 415 | 422 | 501), _) => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// Posts a test span in each format, one after the other. `transport.path` is where the configured
/// one goes; the others go where the DSN says.
pub fn try_formats(config: &FilterConfig, authorities: &RootCerts) -> Vec<FormatTest> {
    let configured = config.transport.format;
    let one = |format: Format| {
        let mut config = config.clone();
        if format != configured {
            config.transport.format = format;
            config.transport.path = None;
            config.trace.naming = format.naming();
        }
        let test = send_test(&config, authorities);
        FormatTest {
            format: format.as_str(),
            is_configured: format == configured,
            verdict: Verdict::of(&test),
            test,
        }
    };
    Format::ALL.into_iter().map(one).collect()
}
