//! The order in which addresses are tried, and the staggered race between the attempts (RFC 8305).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Reorders `addresses` so that families alternate.
///
/// The families stand in the order of their first appearance; the first one contributes
/// `first_family_count - 1` extra entries at the front. With 0 nothing is reordered.
pub(crate) fn interleave<A, F: PartialEq>(
    addresses: Vec<A>,
    first_family_count: usize,
    family_of: impl Fn(&A) -> F,
) -> Vec<A> {
    let Some(extra) = first_family_count.checked_sub(1) else {
        return addresses;
    };
    let mut ordered = Vec::with_capacity(addresses.len());
    let mut families: Vec<(F, std::collections::VecDeque<A>)> = Vec::new();
    for address in addresses {
        let family = family_of(&address);
        match families.iter_mut().find(|(known, _)| *known == family) {
            Some((_, members)) => members.push_back(address),
            None => families.push((family, [address].into())),
        }
    }
    if let Some((_, first)) = families.first_mut() {
        ordered.extend(first.drain(..extra.min(first.len())));
    }
    while families.iter().any(|(_, members)| !members.is_empty()) {
        ordered.extend(families.iter_mut().filter_map(|(_, members)| members.pop_front()));
    }
    ordered
}

/// Runs `attempts` until one succeeds, and answers its result; the others are dropped then.
///
/// Attempt n+1 is polled for the first time when attempt n has failed, or when `pause(delay)` made at the
/// start of attempt n is over, whichever comes first. Without a delay only a failure starts the next one.
///
/// # Errors
///
/// When all have failed: their errors in the order of the attempts.
pub(crate) async fn staggered_race<A, T, E, P>(
    attempts: impl IntoIterator<Item = A>,
    delay: Option<Duration>,
    pause: impl FnMut(Duration) -> P,
) -> Result<T, Vec<E>>
where
    A: Future<Output = Result<T, E>>,
    P: Future,
{
    let waiting = attempts.into_iter().map(Box::pin).collect::<Vec<_>>().into_iter();
    let mut race =
        Race { waiting, running: Vec::new(), errors: Vec::new(), until_next: None, delay, pause };
    race.start_next();
    poll_fn(|context| race.poll(context)).await
}

struct Race<A, E, P, Pause> {
    /// Not yet started, and so not yet polled.
    waiting: std::vec::IntoIter<Pin<Box<A>>>,
    /// Started and undecided, with their numbers.
    running: Vec<(usize, Pin<Box<A>>)>,
    /// One entry for each that was started; filled when it fails.
    errors: Vec<Option<E>>,
    /// When this is over the next one starts.
    until_next: Option<Pin<Box<P>>>,
    delay: Option<Duration>,
    pause: Pause,
}

impl<A, T, E, P, Pause> Race<A, E, P, Pause>
where
    A: Future<Output = Result<T, E>>,
    P: Future,
    Pause: FnMut(Duration) -> P,
{
    fn start_next(&mut self) -> bool {
        self.until_next = None;
        let Some(attempt) = self.waiting.next() else {
            return false;
        };
        self.running.push((self.errors.len(), attempt));
        self.errors.push(None);
        if self.waiting.len() > 0 {
            self.until_next = self.delay.map(|delay| Box::pin((self.pause)(delay)));
        }
        true
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Vec<E>>> {
        loop {
            let mut start_another = false;
            let mut position = 0;
            while let Some((number, attempt)) = self.running.get_mut(position) {
                match attempt.as_mut().poll(context) {
                    Poll::Pending => position += 1,
                    Poll::Ready(Ok(success)) => {
                        // The losers' sockets are closed before anybody sees the winner's.
                        self.running.clear();
                        return Poll::Ready(Ok(success));
                    }
                    Poll::Ready(Err(error)) => {
                        // Only the newest attempt holds the next one back.
                        start_another |= *number + 1 == self.errors.len();
                        self.errors[*number] = Some(error);
                        drop(self.running.remove(position));
                    }
                }
            }
            if let Some(until_next) = &mut self.until_next {
                start_another |= until_next.as_mut().poll(context).is_ready();
            }
            if start_another && self.start_next() {
                continue;
            }
            if self.running.is_empty() {
                return Poll::Ready(Err(self.errors.drain(..).flatten().collect()));
            }
            return Poll::Pending;
        }
    }
}

#[cfg(test)]
mod tests;
