//! A worker of a host whose workers share nothing: tracer and exporter side by side, and what
//! happens as one configuration follows another.

use std::ops::DerefMut;
use std::sync::Arc;

use crate::config::FilterConfig;
use crate::exporter::{Event, Exporter};
use crate::headers::{HeaderAddition, Headers};
use crate::host::RequestHost;
use crate::tracer::{EndOutcome, RequestOutcome, StreamState, Tracer};

/// Which configuration a worker runs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name of the plugin and its `root_id`, as the host's configuration has them: what the
    /// generations of a configuration have in common.
    pub plugin: [Option<Vec<u8>>; 2],
    /// The plugin configuration as the host gave it.
    pub configuration: Vec<u8>,
    /// Whether the host is Envoy, which drops a VM with its last root context, and the callouts
    /// with it.
    pub drops_vm: bool,
}

/// One configuration on one worker.
#[derive(Debug)]
pub struct Worker {
    tracer: Tracer,
    exporter: Exporter,
    identity: Identity,
    is_ending: bool,
}

impl Worker {
    /// A worker that has seen nothing. `others` are those of the same VM, the oldest first; `seed`
    /// is a random number.
    pub fn new<'w>(
        config: FilterConfig,
        identity: Identity,
        others: impl Iterator<Item = &'w Self>,
        seed: u64,
    ) -> Self {
        let config = Arc::new(config);
        let older = others.filter(|other| other.identity.plugin == identity.plugin);
        let generations = older.last().map(|older| older.exporter.generations());
        let generations = generations.cloned().unwrap_or_default();
        Self {
            tracer: Tracer::new(Arc::clone(&config)),
            exporter: Exporter::new(config, &generations, seed),
            identity,
            is_ending: false,
        }
    }

    /// A worker that shares nothing with any other.
    pub fn alone(config: FilterConfig) -> Self {
        Self::new(config, Identity::default(), std::iter::empty(), 0)
    }

    /// Its exporter, whose commands the door carries out.
    pub fn exporter(&mut self) -> &mut Exporter {
        &mut self.exporter
    }

    /// Its tracer.
    pub fn tracer(&mut self) -> &mut Tracer {
        &mut self.tracer
    }

    /// Request headers have arrived.
    pub fn on_request(&mut self, headers: &Headers, host: &mut dyn RequestHost) -> RequestOutcome {
        self.tracer.on_request(headers, host)
    }

    /// Response headers have arrived.
    pub fn on_response(
        &mut self,
        state: &mut StreamState,
        host: &mut dyn RequestHost,
    ) -> Vec<HeaderAddition> {
        self.tracer.on_response(state, host)
    }

    /// A stream has ended.
    pub fn on_end(&mut self, state: &mut StreamState, host: &mut dyn RequestHost) -> EndOutcome {
        let outcome = self.tracer.on_end(state, host);
        self.exporter.collect_segments(self.tracer.recorded());
        outcome
    }

    /// Hands over what the tracer has recorded and counted.
    pub fn collect(&mut self) {
        self.exporter.collect(self.tracer.recorded());
    }

    /// Something has happened to the exporter: see [`Exporter::handle`].
    pub fn handle(&mut self, event: Event<'_>, host_ns: u64) {
        if matches!(event, Event::Tick) {
            self.tracer.on_tick(host_ns);
        }
        self.collect();
        self.exporter.handle(event, host_ns);
        self.tracer.set_can_send(self.exporter.can_send());
    }

    /// The configuration is being replaced. It sends what it holds and waits for the responses,
    /// unless it is the last one in a VM that is dropped with it: then `true` is returned, and
    /// nobody will be there for a response. To be followed by [`Self::shut_down`] when the commands
    /// have been carried out.
    pub fn begin_shutdown<W: DerefMut<Target = Self>>(
        &mut self,
        others: &[W],
        host_ns: u64,
    ) -> bool {
        self.is_ending = true;
        self.tracer.end();
        let is_last = self.identity.drops_vm && others.iter().all(|other| other.is_ending);
        let event = match is_last {
            true => Event::LastShutdown,
            false => Event::Shutdown,
        };
        self.handle(event, host_ns);
        is_last
    }

    /// Gives up what has no other time: that of the last one in a VM, and that of an older one with
    /// the same configuration, in whose place Envoy waits for this one now. Returns whether the
    /// configuration has ended; if not, [`crate::exporter::Command::Finished`] follows.
    pub fn shut_down<W: DerefMut<Target = Self>>(
        &mut self,
        others: &mut [W],
        is_last: bool,
        host_ns: u64,
    ) -> bool {
        for other in others {
            let is_displaced = other.identity == self.identity;
            if other.is_ending && (is_last || is_displaced) {
                other.handle(Event::Abandoned, host_ns);
            }
        }
        if is_last {
            self.handle(Event::Abandoned, host_ns);
        }
        let is_idle = self.exporter.is_idle();
        self.exporter.set_awaited(!is_idle);
        is_idle
    }
}
