//! What stands between every hook and Envoy: a panic must not cross the ABI.

use std::any::Any;
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{abi, host};

/// How many panics are told of in the log.
const MAX_LINES: u32 = 10;

static PANICS: AtomicU32 = AtomicU32::new(0);

/// How many panics were caught in this process.
pub fn panics() -> u32 {
    PANICS.load(Ordering::Relaxed)
}

/// Runs a hook. One that panics counts as one that did nothing: Envoy gets `otherwise`.
pub fn guard<T>(hook: &'static str, otherwise: T, act: impl FnOnce() -> T) -> T {
    let run = || {
        #[cfg(feature = "failpoints")]
        failpoints::pass(hook);
        act()
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => {
            let told = catch_unwind(AssertUnwindSafe(|| tell(hook, &*payload)));
            // What was thrown may panic when it is dropped; what that throws is left where it is.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
            mem::forget((told, dropped));
            otherwise
        }
    }
}

fn tell(hook: &str, payload: &(dyn Any + Send)) {
    if PANICS.fetch_add(1, Ordering::Relaxed) >= MAX_LINES {
        return;
    }
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no text");
    host::log(
        abi::level::ERROR,
        &format!("sentry: a panic in {hook} was caught, and the request goes on without the filter: {text}. Please report it"),
    );
}

/// Panics on demand, for tests.
#[cfg(feature = "failpoints")]
pub mod failpoints {
    use std::env;
    use std::sync::{Mutex, OnceLock, PoisonError};

    static ARMED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static FROM_ENVIRONMENT: OnceLock<()> = OnceLock::new();

    fn armed<T>(act: impl FnOnce(&mut Vec<String>) -> T) -> T {
        FROM_ENVIRONMENT.get_or_init(|| {
            let names = env::var_os("SENTRY_FILTER_PANIC_IN").unwrap_or_default();
            let names = names.to_string_lossy();
            let names = names.split(',').filter(|name| !name.is_empty());
            lock().extend(names.map(str::to_owned));
        });
        act(&mut lock())
    }

    fn lock() -> std::sync::MutexGuard<'static, Vec<String>> {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on a hook panics; `all` is every hook.
    pub fn arm(hook: &str) {
        armed(|names| names.push(hook.to_owned()));
    }

    /// From here on none does.
    pub fn disarm() {
        armed(Vec::clear);
    }

    /// A place where a test may have asked for a panic.
    #[allow(clippy::panic, reason = "what a test asks for")]
    pub(crate) fn pass(hook: &str) {
        if armed(|names| names.iter().any(|name| name == hook || name == "all")) {
            panic!("as a test has asked for, in {hook}");
        }
    }
}
