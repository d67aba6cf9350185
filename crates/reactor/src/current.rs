//! The loop that runs in this thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::budget;
use crate::parts::Core;
use crate::remote::Mail;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// The running loop, if there is one. In a thread that is ending there is none.
pub(crate) fn get() -> Option<Rc<Core>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// The running loop, if it is the one with that mailbox.
pub(crate) fn home_of(mail: &Arc<Mail>) -> Option<Rc<Core>> {
    CURRENT
        .try_with(|current| match &*current.borrow() {
            Some(core) if Arc::ptr_eq(&core.mail, mail) => Some(Rc::clone(core)),
            _ => None,
        })
        .ok()
        .flatten()
}

/// Makes a loop the running one until it is dropped, by a return or by unwinding.
pub(crate) struct Entered {
    outer: Option<Rc<Core>>,
}

impl Entered {
    pub(crate) fn new(core: &Rc<Core>) -> Entered {
        Entered { outer: replace(Some(Rc::clone(core))) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        budget::suspend();
        drop(replace(self.outer.take()));
    }
}

fn replace(core: Option<Rc<Core>>) -> Option<Rc<Core>> {
    CURRENT.try_with(|current| current.replace(core)).ok().flatten()
}
