//! Brings files to the disk on a thread of its own: a disk takes milliseconds or seconds for it, which no request that
//! arrives meanwhile is to wait for. It must not know what is in the files.

use super::journal::JournalError;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Files as they are to be synced, with their paths for messages.
pub type Files = Vec<(PathBuf, File)>;

/// A thread that syncs what it is given.
pub struct Syncer {
    work: Option<SyncSender<Files>>,
    failed: Receiver<JournalError>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// # Errors
    /// There can be no more threads.
    pub fn start() -> io::Result<Syncer> {
        let (work, files) = sync_channel::<Files>(1);
        let (tell, failed) = sync_channel(1);
        let run = move || {
            for (path, file) in files.into_iter().flatten() {
                if let Err(error) = file.sync_data() {
                    // One is enough: the run ends with it.
                    let _ = tell.try_send(JournalError { path, error });
                }
            }
        };
        let thread = std::thread::Builder::new().name("syncer".into()).spawn(run)?;
        Ok(Syncer { work: Some(work), failed, thread: Some(thread) })
    }

    /// Syncs `files` soon. Those that still wait are the same ones, and what was written until now is synced with them.
    ///
    /// # Errors
    /// That of an earlier sync.
    pub fn sync(&self, files: Files) -> Result<(), JournalError> {
        if let Ok(error) = self.failed.try_recv() {
            return Err(error);
        }
        if let Some(work) = &self.work {
            let _ = work.try_send(files);
        }
        Ok(())
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
