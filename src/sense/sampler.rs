//! The thread that looks at the board and at the host at a steady pace. It owns the pace; it must not know what
//! the looks are used for.

use super::tick::Tick;
use crate::clock::{now_ns, sleep_until, wall_ns};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Fills the parts of a tick that are read from somewhere: for the host with this process id, if there is one.
pub trait Look: Send + 'static {
    fn look(&mut self, pid: Option<u32>, tick: &mut Tick);
}

/// A running sampler. Dropping it ends the thread.
pub struct Sampler {
    pid: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    ticks: mpsc::Receiver<Tick>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts to look `hz` times per second, at absolute deadlines: a late look does not move the next one.
    pub fn start(hz: u32, mut look: impl Look) -> io::Result<Sampler> {
        let (sender, ticks) = mpsc::channel();
        let (pid, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_pid, stopped) = (pid.clone(), stop.clone());
        let period = 1_000_000_000 / u64::from(hz.clamp(1, 100));
        let run = move || {
            let mut due = now_ns();
            while !stopped.load(Ordering::Relaxed) {
                sleep_until(due);
                let at_ns = now_ns();
                let mut tick = Tick {
                    at_ns,
                    late_ns: at_ns.saturating_sub(due),
                    wall_offset_ns: (i128::from(wall_ns()) - i128::from(at_ns)) as i64,
                    ..Tick::default()
                };
                let pid = its_pid.load(Ordering::Relaxed);
                look.look((pid != 0).then_some(pid), &mut tick);
                let end = now_ns();
                tick.took_ns = end - at_ns;
                if sender.send(tick).is_err() {
                    return;
                }
                // Deadlines that have gone by are left out rather than made up for.
                due += period * (end.saturating_sub(due) / period + 1);
            }
        };
        let thread = std::thread::Builder::new().name("sampler".into()).spawn(run)?;
        Ok(Sampler { pid, stop, ticks, thread: Some(thread) })
    }

    /// Whose use of memory and processor is told from now on.
    pub fn watch(&self, pid: Option<u32>) {
        self.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    /// Ticks since the last call.
    pub fn take(&self) -> impl Iterator<Item = Tick> {
        self.ticks.try_iter()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
