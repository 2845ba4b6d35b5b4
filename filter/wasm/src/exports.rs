//! The callbacks of proxy-wasm's ABI 0.2.1 that this module exports, and the contexts that they
//! name.
//!
//! The SDK has exports of its own, which a feature leaves out: they panic, and a panic ends the
//! worker's VM, when the host names a context that is not there, refuses to change the effective
//! context, or answers a callout that the SDK has not made itself. Here a callback for an unknown
//! context does nothing and lets the traffic go on. Callbacks that the filter has no use for
//! (bodies, trailers, connections, queues, gRPC) are not exported, so a host does not call into the
//! module for each chunk of a body.
#![allow(unsafe_code, reason = "exported names")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::root::{self, Root, SharedRoot};
use crate::stream::Stream;

/// The ABI's `Action::Continue`: no callback ever holds a stream.
const CONTINUE: u32 = 0;

#[derive(Clone)]
enum Context {
    Root(SharedRoot),
    Stream(Rc<RefCell<Stream>>),
}

thread_local! {
    /// By the numbers that the host has given them. A VM has one thread.
    static CONTEXTS: RefCell<BTreeMap<u32, Context>> = const { RefCell::new(BTreeMap::new()) };
}

/// Acts on the contexts. They are never borrowed while a context is at work: the host may call
/// back.
fn contexts<T>(act: impl FnOnce(&mut BTreeMap<u32, Context>) -> T) -> Option<T> {
    CONTEXTS.with(|contexts| contexts.try_borrow_mut().ok().map(|mut all| act(&mut all)))
}

fn context(id: u32) -> Option<Context> {
    contexts(|all| all.get(&id).cloned()).flatten()
}

fn root(id: u32) -> Option<SharedRoot> {
    match context(id)? {
        Context::Root(root) => Some(root),
        Context::Stream(_) => None,
    }
}

/// All other root contexts, the oldest first: several plugins, and several generations of one, may
/// share a VM. The host makes each a context of its own and tells none of the others.
fn other_roots(root: &SharedRoot) -> Vec<SharedRoot> {
    let others = contexts(|all| {
        let roots = all.values().filter_map(|context| match context {
            Context::Root(root) => Some(root),
            Context::Stream(_) => None,
        });
        roots
            .filter(|other| !Rc::ptr_eq(other, root))
            .cloned()
            .collect()
    });
    others.unwrap_or_default()
}

/// Lets a stream act, unless it is at work already.
fn on_stream(id: u32, act: impl FnOnce(&mut Stream)) {
    if let Some(Context::Stream(stream)) = context(id) {
        if let Ok(mut stream) = stream.try_borrow_mut() {
            act(&mut stream);
        }
    }
}

/// A context begins: without a root it is one itself. A number that was in use is that of the
/// newer.
#[no_mangle]
extern "C" fn proxy_on_context_create(id: u32, root_id: u32) {
    let context = match (root_id, root(root_id)) {
        (0, _) => Context::Root(Rc::new(RefCell::new(Root::new(id)))),
        (_, Some(root)) => Context::Stream(Rc::new(RefCell::new(Stream::new(id, root)))),
        (_, None) => return,
    };
    let replaced = contexts(|all| all.insert(id, context));
    drop(replaced);
}

#[no_mangle]
extern "C" fn proxy_on_vm_start(_root_id: u32, _size: usize) -> bool {
    true
}

#[no_mangle]
extern "C" fn proxy_on_configure(root_id: u32, _size: usize) -> bool {
    root(root_id).is_some_and(|root| root::on_configure(&root, &other_roots(&root)))
}

#[no_mangle]
extern "C" fn proxy_on_tick(root_id: u32) {
    if let Some(root) = root(root_id) {
        root::on_tick(&root);
    }
}

#[no_mangle]
extern "C" fn proxy_on_http_call_response(
    root_id: u32,
    token: u32,
    _headers: usize,
    _body: usize,
    _trailers: usize,
) {
    if let Some(root) = root(root_id) {
        root::on_http_call_response(&root, token);
    }
}

#[no_mangle]
extern "C" fn proxy_on_request_headers(id: u32, _headers: usize, _end_of_stream: bool) -> u32 {
    on_stream(id, Stream::on_request_headers);
    CONTINUE
}

#[no_mangle]
extern "C" fn proxy_on_response_headers(id: u32, _headers: usize, _end_of_stream: bool) -> u32 {
    on_stream(id, Stream::on_response_headers);
    CONTINUE
}

#[no_mangle]
extern "C" fn proxy_on_log(id: u32) {
    on_stream(id, Stream::on_log);
}

/// Whether the context has ended. One that has not says so with `proxy_done`.
#[no_mangle]
extern "C" fn proxy_on_done(id: u32) -> bool {
    root(id).is_none_or(|root| root::on_done(&root, &other_roots(&root)))
}

#[no_mangle]
extern "C" fn proxy_on_delete(id: u32) {
    let deleted = contexts(|all| all.remove(&id));
    // Outside of the borrow: what it drops may be much.
    drop(deleted);
}
