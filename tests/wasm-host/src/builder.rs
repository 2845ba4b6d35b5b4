//! What is set before the module's first instruction, and how it starts.

use wasmi::{Linker, Store};

use crate::error::HostError;
use crate::host::{Host, FUEL};
use crate::imports;
use crate::module;
use crate::state::{path_key, Refusal, Rng, State, Twist, When};

/// What is set before the module's first instruction.
pub struct Builder {
    module: Option<Vec<u8>>,
    state: State,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            module: None,
            state: State::new(),
        }
    }

    /// Another module than the one under test, as Wasm or text.
    pub fn module(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.module = Some(bytes.into());
        self
    }

    /// An environment variable of the VM.
    pub fn env(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.state.environment.push((name.into(), value.into()));
        self
    }

    /// The VM configuration.
    pub fn vm_configuration(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.state.vm_configuration = bytes.into();
        self
    }

    /// The seed of `random_get`.
    pub fn seed(mut self, seed: u64) -> Self {
        self.state.random = Rng::new(seed);
        self
    }

    /// An attribute that every context sees, such as the node id.
    pub fn property(mut self, path: &[&str], value: impl Into<Vec<u8>>) -> Self {
        self.state.properties.insert(path_key(path), value.into());
        self
    }

    /// Refuses an import, from the first instruction on if need be.
    pub fn refuse(mut self, import: &str, status: u32, when: When) -> Self {
        self.state.refusals.push(Refusal::new(import, status, when));
        self
    }

    /// Twists what an import returns.
    pub fn twist(mut self, import: &str, when: When, twist: Twist) -> Self {
        self.state.twists.push((import.to_owned(), when, twist));
        self
    }

    /// Loads the module and runs `_initialize` or `_start`.
    pub fn start(self) -> Result<Host, HostError> {
        let invalid = |error: wasmi::Error| HostError::Invalid(error.to_string());
        let module = match &self.module {
            Some(bytes) => module::compile(bytes)?,
            None => module::shared()?,
        };
        let mut store = Store::new(module.engine(), self.state);
        store.set_fuel(FUEL).map_err(invalid)?;
        let mut linker = Linker::new(module.engine());
        imports::link(&mut linker).map_err(invalid)?;
        let instance = linker
            .instantiate_and_start(&mut store, &module)
            .map_err(invalid)?;
        Host::boot(store, instance)
    }
}
