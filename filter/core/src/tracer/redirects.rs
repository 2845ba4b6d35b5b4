//! The requests that are on their way back from an internal redirect: see
//! [`crate::trace::redirect`].

use crate::live::LiveBytes;
use crate::span::{OpenSpan, StreamInfo};
use crate::trace::redirect::Carried;
use crate::trace::SpanContext;

/// How many requests may be on their way back from a redirect.
const MAX_WAITING: usize = 64;
/// How long one may take, in nanoseconds: Envoy runs the filters for it at once, unless one in
/// front holds it up.
const MAX_HELD_NS: u64 = 5_000_000_000;

/// A request whose stream was redirected.
#[derive(Debug)]
pub struct Redirected {
    /// What was decided about it.
    pub carried: Carried,
    /// Its span, and how the stream ended that was redirected.
    pub span: Option<(Box<OpenSpan>, StreamInfo)>,
    /// Its share of the memory of live requests.
    pub bytes: LiveBytes,
    token: u64,
    ended_ns: u64,
}

impl Redirected {
    /// The place of its span.
    pub fn span_context(&self) -> Option<&SpanContext> {
        self.span.as_ref().map(|(span, _)| &span.context)
    }

    /// Whether it does not come back any more. A clock that was set back ends the wait.
    fn is_over(&self, now_ns: u64) -> bool {
        now_ns
            .checked_sub(self.ended_ns)
            .is_none_or(|held_ns| held_ns >= MAX_HELD_NS)
    }
}

/// The requests of a worker that are on their way back from a redirect.
#[derive(Debug, Default)]
pub struct Redirects {
    waiting: Vec<Redirected>,
    last_token: u64,
}

impl Redirects {
    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether another one can be waited for.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Waits for a request whose stream ended at `ended_ns`, and returns the token to leave with
    /// it.
    pub fn wait(
        &mut self,
        carried: Carried,
        span: Option<(Box<OpenSpan>, StreamInfo)>,
        bytes: LiveBytes,
        ended_ns: u64,
    ) -> u64 {
        self.last_token = self.last_token.wrapping_add(1);
        self.waiting.push(Redirected {
            carried,
            span,
            bytes,
            token: self.last_token,
            ended_ns,
        });
        self.last_token
    }

    /// The request that has come back with a token.
    pub fn take(&mut self, token: u64) -> Option<Redirected> {
        let is_it = |one: &mut Redirected| one.token == token;
        self.waiting.extract_if(.., is_it).next()
    }

    /// Those that do not come back: a filter in front has answered, or the route has no filter.
    pub fn take_over(&mut self, now_ns: u64) -> Vec<Redirected> {
        self.waiting
            .extract_if(.., |one| one.is_over(now_ns))
            .collect()
    }

    /// All of them.
    pub fn take_all(&mut self) -> Vec<Redirected> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_once_and_by_its_own_token() {
        let mut redirects = Redirects::default();
        let mut wait =
            |ended_ns| redirects.wait(Carried::default(), None, LiveBytes::default(), ended_ns);
        let (first, second) = (wait(1), wait(2));
        assert_ne!(first, second);
        assert!(redirects.take(second).is_some());
        assert!(redirects.take(second).is_none());
        assert!(redirects.take(first).is_some() && redirects.is_empty());
    }

    #[test]
    fn what_does_not_come_back_is_given_up_also_when_the_clock_is_set_back() {
        let mut redirects = Redirects::default();
        redirects.wait(Carried::default(), None, LiveBytes::default(), MAX_HELD_NS);
        assert!(redirects.take_over(MAX_HELD_NS * 2 - 1).is_empty());
        assert_eq!(redirects.take_over(MAX_HELD_NS * 2).len(), 1);
        redirects.wait(Carried::default(), None, LiveBytes::default(), MAX_HELD_NS);
        assert_eq!(redirects.take_over(0).len(), 1);
    }
}
