//! One worker's VM: life cycle, callbacks, and what a test may set.

use std::time::Duration;

use wasmi::{Instance, Store, Val};

use crate::builder::Builder;
use crate::error::{HostError, Trap};
use crate::maps::HeaderMap;
use crate::state::{map, path_key, status, Cluster, Context, Record, Refusal, State, Twist, When};

mod inspect;

/// The only answer that a filter which never holds a request may give.
pub const CONTINUE: u32 = 0;

/// More than any callback may burn: an endless loop becomes a trap, not a test that hangs.
pub(crate) const FUEL: u64 = 500_000_000;

const PLUGIN_CONFIGURATION: u32 = 7;
const CALL_RESPONSE_BODY: u32 = 4;
const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;

/// The answer to a callout.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Response headers, `:status` included. None at all is how Envoy says that the call failed.
    pub headers: HeaderMap,
    /// Response body.
    pub body: Vec<u8>,
    /// Response trailers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// An answer with that status, as a Sentry gives it.
    pub fn status(code: u16) -> Self {
        Self {
            headers: HeaderMap::new()
                .with(":status", code.to_string())
                .with("content-type", "application/json"),
            body: b"{}".to_vec(),
            trailers: HeaderMap::new(),
        }
    }

    /// The connection broke, or the timeout passed without a reply of Envoy's own.
    pub fn failed() -> Self {
        Self::default()
    }

    /// The same answer with one more header.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }
}

/// One VM with the module in it.
pub struct Host {
    store: Store<State>,
    instance: Instance,
    next_context: u32,
    dead: Option<Trap>,
}

impl Host {
    /// A host to configure.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A host as Envoy is.
    pub fn start() -> Result<Self, HostError> {
        Self::builder().start()
    }
}

// === Roots ===

impl Host {
    /// Makes a root context and configures it, as Envoy does with each plugin. Answers the root,
    /// and whether the configuration was accepted.
    pub fn plugin(&mut self, configuration: impl AsRef<[u8]>) -> Result<(u32, bool), Trap> {
        let root = self.create_root()?;
        let started = self.vm_start(root)?;
        let configured = self.configure(root, configuration)?;
        Ok((root, started && configured))
    }

    /// A new root context.
    pub fn create_root(&mut self) -> Result<u32, Trap> {
        self.create(None)
    }

    /// `proxy_on_vm_start`.
    pub fn vm_start(&mut self, root: u32) -> Result<bool, Trap> {
        let len = size(self.state().vm_configuration.len());
        Ok(self
            .call(root, "proxy_on_vm_start", &[root, len])?
            .unwrap_or(1)
            != 0)
    }

    /// `proxy_on_configure`.
    pub fn configure(&mut self, root: u32, configuration: impl AsRef<[u8]>) -> Result<bool, Trap> {
        let configuration = configuration.as_ref();
        let len = size(configuration.len());
        self.state().configuring = true;
        self.lend(root, PLUGIN_CONFIGURATION, configuration);
        let accepted = self.call(root, "proxy_on_configure", &[root, len])?;
        self.take_back(root, PLUGIN_CONFIGURATION);
        self.state().configuring = false;
        self.state().configured = true;
        Ok(accepted.unwrap_or(1) != 0)
    }

    /// `proxy_on_tick`.
    pub fn tick(&mut self, root: u32) -> Result<(), Trap> {
        self.call(root, "proxy_on_tick", &[root]).map(drop)
    }

    /// Delivers the answer to a callout that the host accepted.
    pub fn answer(&mut self, token: u32, answer: &Answer) -> Result<(), Trap> {
        let callout = self
            .state()
            .callouts
            .iter_mut()
            .find(|callout| callout.token == token);
        let callout = callout.expect("a token that was given out");
        assert!(!callout.answered, "callout {token} is answered already");
        callout.answered = true;
        let root = callout.root;
        self.deliver(root, token, answer)
    }

    /// Delivers an answer whether or not anybody asked.
    pub fn deliver(&mut self, root: u32, token: u32, answer: &Answer) -> Result<(), Trap> {
        let failed = answer.headers.is_empty();
        self.state().call_status = if failed {
            (status::BROKEN_CONNECTION, "reset")
        } else {
            (0, "")
        };
        self.lend_map(root, map::CALL_RESPONSE_HEADERS, &answer.headers);
        self.lend_map(root, map::CALL_RESPONSE_TRAILERS, &answer.trailers);
        self.lend(root, CALL_RESPONSE_BODY, &answer.body);
        let (headers, body) = (size(answer.headers.len()), size(answer.body.len()));
        let args = [root, token, headers, body, size(answer.trailers.len())];
        let done = self.call(root, "proxy_on_http_call_response", &args);
        self.take_back(root, CALL_RESPONSE_BODY);
        if let Some(context) = self.state().contexts.get_mut(&root) {
            context.maps.remove(&map::CALL_RESPONSE_HEADERS);
            context.maps.remove(&map::CALL_RESPONSE_TRAILERS);
        }
        done.map(drop)
    }

    /// The end of a configuration: `proxy_on_done`, and `proxy_on_delete` once the root is done,
    /// which may be now (true) or after it called `proxy_done` (false).
    pub fn shut_down(&mut self, root: u32) -> Result<bool, Trap> {
        let done = self.done(root)?;
        if done {
            self.delete(root)?;
        } else if let Some(context) = self.state().contexts.get_mut(&root) {
            context.done_pending = true;
        }
        Ok(done)
    }
}

// === Streams ===

impl Host {
    /// A new stream context of a root.
    pub fn create_stream(&mut self, root: u32) -> Result<u32, Trap> {
        self.create(Some(root))
    }

    /// `proxy_on_request_headers`; what the stream forwards is then in
    /// [`Host::request_headers_of`].
    pub fn request_headers(
        &mut self,
        stream: u32,
        headers: &HeaderMap,
        end: bool,
    ) -> Result<u32, Trap> {
        self.lend_map(stream, map::REQUEST_HEADERS, headers);
        let args = [stream, size(headers.len()), u32::from(end)];
        self.action(stream, "proxy_on_request_headers", &args)
    }

    /// `proxy_on_request_body`.
    pub fn request_body(&mut self, stream: u32, body: &[u8], end: bool) -> Result<u32, Trap> {
        self.body(stream, "proxy_on_request_body", REQUEST_BODY, body, end)
    }

    /// `proxy_on_request_trailers`.
    pub fn request_trailers(&mut self, stream: u32, trailers: &HeaderMap) -> Result<u32, Trap> {
        self.lend_map(stream, map::REQUEST_TRAILERS, trailers);
        let args = [stream, size(trailers.len())];
        self.action(stream, "proxy_on_request_trailers", &args)
    }

    /// `proxy_on_response_headers`; what the client gets is then in [`Host::response_headers_of`].
    pub fn response_headers(
        &mut self,
        stream: u32,
        headers: &HeaderMap,
        end: bool,
    ) -> Result<u32, Trap> {
        self.lend_map(stream, map::RESPONSE_HEADERS, headers);
        let args = [stream, size(headers.len()), u32::from(end)];
        self.action(stream, "proxy_on_response_headers", &args)
    }

    /// `proxy_on_response_body`.
    pub fn response_body(&mut self, stream: u32, body: &[u8], end: bool) -> Result<u32, Trap> {
        self.body(stream, "proxy_on_response_body", RESPONSE_BODY, body, end)
    }

    /// `proxy_on_response_trailers`.
    pub fn response_trailers(&mut self, stream: u32, trailers: &HeaderMap) -> Result<u32, Trap> {
        self.lend_map(stream, map::RESPONSE_TRAILERS, trailers);
        let args = [stream, size(trailers.len())];
        self.action(stream, "proxy_on_response_trailers", &args)
    }

    /// `proxy_on_log`.
    pub fn log(&mut self, context: u32) -> Result<(), Trap> {
        self.call(context, "proxy_on_log", &[context]).map(drop)
    }

    /// `proxy_on_done`.
    pub fn done(&mut self, context: u32) -> Result<bool, Trap> {
        Ok(self
            .call(context, "proxy_on_done", &[context])?
            .unwrap_or(1)
            != 0)
    }

    /// `proxy_on_delete`. Callouts of a deleted root are cancelled.
    pub fn delete(&mut self, context: u32) -> Result<(), Trap> {
        let deleted = self.call(context, "proxy_on_delete", &[context]).map(drop);
        self.state().contexts.remove(&context);
        self.state()
            .callouts
            .retain(|callout| callout.answered || callout.root != context);
        deleted
    }

    /// The end of a stream: log, done, delete.
    pub fn finish(&mut self, stream: u32) -> Result<(), Trap> {
        self.log(stream)?;
        self.done(stream)?;
        self.delete(stream)
    }

    /// Any export with any arguments, for orders that no host makes.
    pub fn raw(&mut self, context: u32, callback: &str, args: &[u32]) -> Result<Option<u32>, Trap> {
        self.call(context, callback, args)
    }
}

// === What a test sets ===

impl Host {
    /// Refuses an import from now on.
    pub fn refuse(&mut self, import: &str, status: u32, when: When) {
        self.state()
            .refusals
            .push(Refusal::new(import, status, when));
    }

    /// Takes all refusals and twists back.
    pub fn behave(&mut self) {
        self.state().refusals.clear();
        self.state().twists.clear();
    }

    /// Twists what an import returns from now on.
    pub fn twist(&mut self, import: &str, when: When, twist: Twist) {
        self.state().twists.push((import.to_owned(), when, twist));
    }

    /// Sets an attribute of one context, in the bytes that the ABI gives it: integers are 8 bytes
    /// little-endian.
    pub fn set_property(&mut self, context: u32, path: &[&str], value: impl Into<Vec<u8>>) {
        if let Some(context) = self.state().contexts.get_mut(&context) {
            context.properties.insert(path_key(path), value.into());
        }
    }

    /// Replaces the headers of a stream, as filters nearer to the client do behind the module's
    /// back.
    pub fn replace_headers(&mut self, stream: u32, request: &HeaderMap, response: &HeaderMap) {
        self.lend_map(stream, map::REQUEST_HEADERS, request);
        self.lend_map(stream, map::RESPONSE_HEADERS, response);
    }

    /// Adds a cluster, or changes how the host treats callouts to it.
    pub fn set_cluster(&mut self, name: &str, cluster: Cluster) {
        self.state().clusters.insert(name.to_owned(), cluster);
    }

    /// Removes a cluster: callouts to it are a `BadArgument`.
    pub fn remove_cluster(&mut self, name: &str) {
        self.state().clusters.remove(name);
    }

    /// Moves the clock.
    pub fn advance(&mut self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).expect("some hundred years");
        let now = self.now_ns();
        self.state().clock_ns = now.saturating_add(by);
    }

    /// Sets the clock, to any time.
    pub fn set_clock(&mut self, now_ns: u64) {
        self.state().clock_ns = now_ns;
    }

    /// Forgets log lines and answered callouts, so that long runs stay small.
    pub fn forget(&mut self) {
        self.state().logs.clear();
        self.state().callouts.retain(|callout| !callout.answered);
    }
}

// === The machinery ===

impl Host {
    /// Starts the instance: `_initialize`, or `_start`.
    pub(crate) fn boot(mut store: Store<State>, instance: Instance) -> Result<Self, HostError> {
        store.data_mut().allocate = ["malloc", "proxy_on_memory_allocate"]
            .into_iter()
            .find_map(|name| instance.get_typed_func::<u32, u32>(&store, name).ok());
        let mut host = Self {
            store,
            instance,
            next_context: 1,
            dead: None,
        };
        let mut entries = ["_initialize", "_start"].into_iter();
        if let Some(entry) = entries.find(|name| host.exports(name)) {
            host.call(0, entry, &[]).map_err(HostError::Trapped)?;
        }
        host.state().starting = false;
        Ok(host)
    }

    fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    fn create(&mut self, parent: Option<u32>) -> Result<u32, Trap> {
        let id = self.next_context;
        self.next_context += 1;
        let context = Context {
            parent,
            ..Context::default()
        };
        self.state().contexts.insert(id, context);
        self.call(id, "proxy_on_context_create", &[id, parent.unwrap_or(0)])?;
        Ok(id)
    }

    fn action(&mut self, stream: u32, callback: &str, args: &[u32]) -> Result<u32, Trap> {
        Ok(self.call(stream, callback, args)?.unwrap_or(CONTINUE))
    }

    fn body(
        &mut self,
        stream: u32,
        callback: &str,
        buffer: u32,
        body: &[u8],
        end: bool,
    ) -> Result<u32, Trap> {
        self.lend(stream, buffer, body);
        let args = [stream, size(body.len()), u32::from(end)];
        let action = self.action(stream, callback, &args);
        self.take_back(stream, buffer);
        action
    }

    /// One callback, and after it the deletions that it asked for.
    fn call(&mut self, context: u32, callback: &str, args: &[u32]) -> Result<Option<u32>, Trap> {
        let result = self.call_once(context, callback, args);
        let record = self.state().record.clone();
        while let Some(root) = self.state().deletions.pop() {
            self.delete(root)?;
        }
        self.state().record = record;
        result
    }

    fn call_once(
        &mut self,
        context: u32,
        callback: &str,
        args: &[u32],
    ) -> Result<Option<u32>, Trap> {
        if let Some(trap) = &self.dead {
            return Err(trap.clone());
        }
        self.state().record = Record {
            callback: known_name(callback),
            context,
            ..Record::default()
        };
        let Some(function) = self.instance.get_func(&self.store, callback) else {
            return Ok(None);
        };
        let said_before = self.state().logs.len();
        self.state().current = context;
        self.state().effective = 0;
        self.store.set_fuel(FUEL).expect("fuel is on");
        let args: Vec<Val> = args.iter().map(|arg| Val::I32(arg.cast_signed())).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let outcome = function.call(&mut self.store, &args, &mut results);
        let left = self.store.get_fuel().expect("fuel is on");
        self.state().record.fuel = FUEL - left;
        self.state().current = 0;
        match outcome {
            Ok(()) => Ok(match results[..] {
                [Val::I32(result)] => Some(result.cast_unsigned()),
                _ => None,
            }),
            Err(error) => {
                let said = self.state().logs.split_off(said_before);
                let trap = Trap {
                    callback: callback.to_owned(),
                    cause: error.to_string(),
                    last_words: said.into_iter().map(|line| line.message).collect(),
                };
                self.dead = Some(trap.clone());
                Err(trap)
            }
        }
    }

    fn lend_map(&mut self, context: u32, number: u32, headers: &HeaderMap) {
        if let Some(context) = self.state().contexts.get_mut(&context) {
            context.maps.insert(number, headers.clone());
        }
    }

    fn lend(&mut self, context: u32, number: u32, bytes: &[u8]) {
        if let Some(context) = self.state().contexts.get_mut(&context) {
            context.buffers.insert(number, bytes.to_vec());
        }
    }

    fn take_back(&mut self, context: u32, number: u32) {
        if let Some(context) = self.state().contexts.get_mut(&context) {
            context.buffers.remove(&number);
        }
    }
}

/// The callbacks whose name decides what the host allows; any other has no header map.
fn known_name(callback: &str) -> &'static str {
    const NAMES: [&str; 16] = [
        "_initialize",
        "_start",
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_tick",
        "proxy_on_http_call_response",
        "proxy_on_request_headers",
        "proxy_on_request_body",
        "proxy_on_request_trailers",
        "proxy_on_response_headers",
        "proxy_on_response_body",
        "proxy_on_response_trailers",
        "proxy_on_log",
        "proxy_on_done",
        "proxy_on_delete",
    ];
    NAMES
        .into_iter()
        .find(|name| *name == callback)
        .unwrap_or("another callback")
}

fn size(len: usize) -> u32 {
    u32::try_from(len).expect("a size below 4 GiB")
}
