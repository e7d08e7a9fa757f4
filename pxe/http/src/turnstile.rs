//! The queue between tasks: who waits is woken when its turn comes, and whoever drops its pass makes room.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::queue::{Arrival, Queue, Seat};

#[derive(Debug)]
pub(crate) struct Turnstile(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Queue,
    waiting: HashMap<Seat, oneshot::Sender<()>>,
}

/// A place, or a place in the line.
#[derive(Debug)]
pub(crate) struct Pass {
    turnstile: Arc<Turnstile>,
    seat: Seat,
    /// `None` once it may run.
    turn: Option<oneshot::Receiver<()>>,
    /// How many waited when it came; 0 if it did not wait.
    pub(crate) place: usize,
}

impl Turnstile {
    pub(crate) fn new(queue: Queue) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { queue, waiting: HashMap::new() })))
    }

    /// `None`: too many wait.
    pub(crate) fn arrive(self: &Arc<Self>, address: IpAddr) -> Option<Pass> {
        let mut inner = self.inner();
        let (seat, turn, place) = match inner.queue.arrive(address) {
            Arrival::Runs(seat) => (seat, None, 0),
            Arrival::Waits(seat, place) => {
                let (sender, receiver) = oneshot::channel();
                inner.waiting.insert(seat, sender);
                (seat, Some(receiver), place)
            }
            Arrival::Full => return None,
        };
        Some(Pass { turnstile: Arc::clone(self), seat, turn, place })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    pub(crate) fn waits(&self) -> bool {
        self.turn.is_some()
    }

    /// Ready when it may run.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(turn) = &mut self.turn else { return Poll::Ready(()) };
        // The sender lives in the turnstile until it is used, so an error does not happen; it would mean "run".
        Pin::new(turn).poll(cx).map(|_| self.turn = None)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inner = self.turnstile.inner();
        inner.waiting.remove(&self.seat);
        for next in inner.queue.leave(self.seat) {
            if let Some(sender) = inner.waiting.remove(&next) {
                // Should it just have left, its own drop makes room again.
                let _ = sender.send(());
            }
        }
    }
}
