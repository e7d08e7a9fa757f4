//! The server's own threads.
//!
//! Each has a runtime of its own and keeps its connections: one runtime over all threads would wake the next thread at
//! every pause of a long transfer, which cost a third of the processor time of a single client when it was measured.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinSet,
};

/// The threads; they end, and everything on them, when this is dropped.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) pool: Arc<Pool>,
    _stops: Vec<oneshot::Sender<()>>,
}

/// Where connections go.
#[derive(Debug)]
pub(crate) struct Pool(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    handle: Handle,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let mut workers = Vec::new();
        let mut stops = Vec::new();
        for _ in 0..threads.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.push(Worker { handle: runtime.handle().clone(), connections: Arc::default() });
            let (stop, stopped) = oneshot::channel();
            stops.push(stop);
            let work = move || {
                // Nothing is ever sent: the sender's end is the sign.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            };
            thread::Builder::new().name("boot-http".into()).spawn(work)?;
        }
        Ok(Self { pool: Arc::new(Pool(workers)), _stops: stops })
    }

    /// A task of the server itself, on the first thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        set: &mut JoinSet<T>,
        task: impl Future<Output = T> + Send + 'static,
    ) {
        if let Some(first) = self.pool.0.first() {
            set.spawn_on(task, &first.handle);
        }
    }
}

impl Pool {
    /// One connection, on the thread that has the fewest.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.0.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed))
        else {
            return;
        };
        let counted = Counted::new(&worker.connections);
        worker.handle.spawn(async move {
            let _counted = counted;
            connection.await;
        });
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
