//! Requests in parallel: threads work, the calling thread listens to all of them, as the ABI wants its sink called there.
//! It owns the threads, and how an abort gets out of them. It must not know what the work is.

use crate::failure::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How soon an abort is seen.
const TICK: Duration = Duration::from_millis(20);

/// Where a job's messages go.
pub struct Outlet<M> {
    index: usize,
    sender: Sender<(usize, Option<M>)>,
    cancelled: Arc<AtomicBool>,
}

impl<M> Outlet<M> {
    /// `false`: nobody listens any more.
    pub fn say(&self, message: M) -> bool {
        !self.cancelled.load(Ordering::Relaxed) && self.sender.send((self.index, Some(message))).is_ok()
    }

    pub fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }
}

impl<M> Drop for Outlet<M> {
    /// Also when the work has panicked.
    fn drop(&mut self) {
        let _ = self.sender.send((self.index, None));
    }
}

/// Does `work` for each of `jobs`, at most `width` at a time, in their order. `listen` gets a job's messages, and `None` after
/// its last; it says whether the job is settled, after which it hears no more of it. Returns when all are settled.
/// Threads that wait for something then go on until it comes, without anyone listening.
///
/// # Errors
/// `EB_ERR_ABORTED`, when `abort` was set meanwhile.
pub fn run<J: Send + Sync + 'static, M: Send + 'static>(
    jobs: Vec<J>,
    width: usize,
    abort: &AtomicBool,
    work: impl Fn(&J, &Outlet<M>) + Send + Sync + 'static,
    mut listen: impl FnMut(usize, Option<M>) -> bool,
) -> Result<(), Failure> {
    let n = jobs.len();
    let cancelled: Vec<Arc<AtomicBool>> = (0..n).map(|_| Arc::default()).collect();
    let shared = Arc::new((jobs, AtomicUsize::new(0), cancelled.clone(), work));
    let (sender, receiver) = channel();
    for _ in 0..width.min(n) {
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        let thread = std::thread::Builder::new().name("request".into()).spawn(move || {
            let (jobs, next, cancelled, work) = &*shared;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let (Some(job), Some(flag)) = (jobs.get(index), cancelled.get(index)) else { break };
                if !flag.load(Ordering::Relaxed) {
                    work(job, &Outlet { index, sender: sender.clone(), cancelled: Arc::clone(flag) });
                }
            }
        });
        thread.map_err(|e| Failure::internal(format!("no thread for a request: {e}; lower concurrency")))?;
    }
    drop(sender);
    let mut settled = vec![false; n];
    let mut left = n;
    while left > 0 {
        if abort.load(Ordering::Relaxed) {
            cancelled.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
            return Err(Failure::aborted());
        }
        let (index, message) = match receiver.recv_timeout(TICK) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::internal("the threads of this call are gone: a bug of this backend"));
            }
        };
        if !settled[index] && listen(index, message) {
            settled[index] = true;
            cancelled[index].store(true, Ordering::Relaxed);
            left -= 1;
        }
    }
    Ok(())
}
