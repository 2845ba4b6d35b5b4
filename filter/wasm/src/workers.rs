//! The root contexts that share this VM: several plugins, and several generations of one. Envoy
//! makes each a context of its own and tells none of the others.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::root::Worker;

thread_local! {
    static WORKERS: RefCell<Vec<Weak<RefCell<Worker>>>> = const { RefCell::new(Vec::new()) };
}

/// Adds one, unless it is there.
pub fn add(worker: &Rc<RefCell<Worker>>) {
    if with(|workers| workers.iter().all(|known| !is_same(known, worker))) {
        with(|workers| workers.push(Rc::downgrade(worker)));
    }
}

/// All others that are still there, the oldest first.
pub fn others(worker: &Rc<RefCell<Worker>>) -> Vec<Rc<RefCell<Worker>>> {
    with(|workers| {
        workers.retain(|known| known.strong_count() > 0);
        let others = workers.iter().filter(|known| !is_same(known, worker));
        others.filter_map(Weak::upgrade).collect()
    })
}

fn is_same(known: &Weak<RefCell<Worker>>, worker: &Rc<RefCell<Worker>>) -> bool {
    std::ptr::eq(known.as_ptr(), Rc::as_ptr(worker))
}

fn with<T: Default>(act: impl FnOnce(&mut Vec<Weak<RefCell<Worker>>>) -> T) -> T {
    WORKERS.with(|workers| match workers.try_borrow_mut() {
        Ok(mut workers) => act(&mut workers),
        Err(_) => T::default(),
    })
}
