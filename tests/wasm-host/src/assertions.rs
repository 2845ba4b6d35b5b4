//! What holds of every request and everything that is sent, whatever came in.

use crate::envelope::read_spans;
use crate::gateway::{config, Exchange, Gateway};
use crate::maps::HeaderMap;

impl Gateway {
    /// Runs a test with a gateway of each configuration.
    pub fn with_each_configuration(test: impl Fn(&mut Self)) {
        for configuration in config::ALL {
            test(&mut Self::start(configuration));
        }
    }

    /// Serves, looks at every header, and reads what is sent; what the upstream got.
    pub fn assert_serves(&mut self, exchange: &Exchange) -> HeaderMap {
        let served = self.serve(exchange);
        served.assert_only_our_headers_changed();
        self.assert_sends_valid_envelopes();
        served.forwarded
    }

    /// Flushes, and reads what is sent.
    pub fn assert_sends_valid_envelopes(&mut self) {
        for callout in self.flush() {
            read_spans(&callout);
            let ends_line = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
            for (name, value) in callout.headers.lines() {
                assert!(
                    !name.iter().chain(value).any(ends_line),
                    "{:?}",
                    callout.headers
                );
            }
        }
        self.answer_all(200);
        self.host.forget();
        assert_eq!(self.host.called_out_of_place(), [""; 0]);
    }
}
