//! Why there is no VM, or none any more.

use std::fmt;
use std::path::PathBuf;

use crate::module::MODULE_VARIABLE;

/// Why there is no running VM.
#[derive(Clone, Debug)]
pub enum HostError {
    /// The file is not there.
    Missing(PathBuf),
    /// Not a module that wasmi compiles.
    Invalid(String),
    /// It asks for an import that Envoy does not offer.
    UnknownImport(String),
    /// It does not say that it is made for ABI 0.2.1.
    NoAbiVersion,
    /// It trapped while it started.
    Trapped(Trap),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(
                f,
                "no module at {}: build it with `make wasm`, or name another one in {MODULE_VARIABLE}",
                path.display()
            ),
            Self::Invalid(reason) => write!(f, "not a module: {reason}"),
            Self::UnknownImport(name) => {
                write!(f, "the module imports {name}, which Envoy does not offer")
            }
            Self::NoAbiVersion => write!(f, "the module does not export proxy_abi_version_0_2_1"),
            Self::Trapped(trap) => trap.fmt(f),
        }
    }
}

impl std::error::Error for HostError {}

/// The module trapped: in Envoy, the VM is dead.
#[derive(Clone)]
pub struct Trap {
    pub(crate) callback: String,
    pub(crate) cause: String,
    pub(crate) last_words: Vec<String>,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the module trapped in {}: {}", self.callback, self.cause)?;
        for line in &self.last_words {
            write!(f, "\n  it said: {line}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Trap {}
