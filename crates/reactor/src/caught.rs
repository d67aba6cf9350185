//! Keeping users' panics where they belong.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The text of a panic, as far as it has one.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a value that is not text"
    }
}

/// Drops a user's value, whose destructor may panic.
pub(crate) fn drop_value<T>(value: T) -> Result<(), Payload> {
    if !mem::needs_drop::<T>() {
        return Ok(());
    }
    catch_unwind(AssertUnwindSafe(|| drop(value)))
}

/// Drops what a panic carried. If that panics too, the rest of it is left alone.
pub(crate) fn discard(payload: Payload) {
    if let Err(another) = drop_value(payload) {
        mem::forget(another);
    }
}
