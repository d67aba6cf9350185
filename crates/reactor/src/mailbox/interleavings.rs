//! The mailbox in every order in which threads can meet there.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p tidegate-reactor --lib mailbox`.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// A bell as the system makes them: level-triggered, until it is silenced.
#[derive(Clone)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Ring for Bell {
    fn ring(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_one();
    }
}

impl Bell {
    fn new() -> Bell {
        Bell(Arc::new((Mutex::new(false), Condvar::new())))
    }

    /// Waits until it rings, and silences it.
    fn wait(&self) {
        let mut rings = self.0.0.lock().unwrap();
        while !*rings {
            rings = self.0.1.wait(rings).unwrap();
        }
        *rings = false;
    }
}

/// Three changes between threads where none had to give way find what there is to find, in seconds.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_loop_that_sleeps_hears_of_every_letter() {
    // L-28
    check(|| {
        let bell = Bell::new();
        let mailbox = Arc::new(Mailbox::new(bell.clone()));
        let writers: Vec<_> = (0..2)
            .map(|letter| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.post(Kind::Call, letter).unwrap())
            })
            .collect();

        // A letter that nobody rang for leaves the loop asleep for ever, which loom finds.
        let mut letters = Vec::new();
        while letters.len() < 2 {
            if mailbox.fall_asleep() {
                bell.wait();
                mailbox.wake_up();
            }
            mailbox.take(&mut letters);
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn a_letter_is_either_delivered_or_given_back() {
    // L-29, L-50
    check(|| {
        let mailbox = Arc::new(Mailbox::new(Bell::new()));
        let writer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.post(Kind::Wake, 1).is_ok())
        };
        mailbox.close(Door::WakesOnly);
        drop(mailbox.close(Door::Shut));
        let mut letters = Vec::new();
        mailbox.take(&mut letters);
        assert_eq!(writer.join().unwrap(), !letters.is_empty());
    });
}

#[test]
fn a_closing_loop_can_wait_for_a_letter_that_is_on_its_way() {
    // L-50
    check(|| {
        let mailbox = Arc::new(Mailbox::new(Bell::new()));
        let writer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.post(Kind::Wake, 1).unwrap())
        };
        mailbox.close(Door::WakesOnly);
        mailbox.wait();
        let mut letters = Vec::new();
        mailbox.take(&mut letters);
        assert_eq!(letters, [1]);
        writer.join().unwrap();
    });
}
