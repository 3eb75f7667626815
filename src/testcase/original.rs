//! What the variants of a model are held against: the distributions of the original over a task's texts, which it leaves in a
//! file of the run's folder before its first variant is asked. It must not know what is made of them.
//!
//! The file is large (2 bytes a token of the text and entry of the vocabulary) and of no use later: a run that has ended
//! has none.

use super::ask::{AskError, Asker, need};
use super::base::Base;
use super::case::{Context, End, open, status_of_host};
use super::scenario::single_stream;
use super::smaller::NotMade;
use crate::backend::client::HostError;
use crate::backend::wire::{LogitsFile, Open};
use crate::fit;
use crate::job::{Instance, Task, Windows};
use crate::results::Status;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const END: &str = ".logits";
/// Name of the original's process.
const TITLE: &str = "original";
/// While it is written.
const PART: &str = ".logits.part";

/// The file of `instance`'s original; the original is asked now if that was not done yet.
///
/// # Errors
/// The original cannot be run.
pub fn logits(context: &mut Context, instance: &Instance, task: &Task, windows: &Windows) -> Result<LogitsFile, End> {
    let original = context.job.original(instance);
    let folder = std::path::absolute(context.journal.folder()).unwrap_or(context.journal.folder().to_path_buf());
    let file = |end: &str| folder.join(format!("{}.{}{end}", original.id, task.name));
    let (path, part) = (file(END), file(PART));
    if !path.exists() {
        File::create(&part).map_err(|e| failed(original, &e.to_string()))?;
        ask(context, original, task, windows, &part)?;
        std::fs::rename(&part, &path).map_err(|e| failed(original, &e.to_string()))?;
    }
    Ok(LogitsFile { path: path.to_string_lossy().into_owned(), write: false })
}

/// Removes what a run no longer needs.
pub fn forget(folder: &Path) -> io::Result<()> {
    let files = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let name = |path: &PathBuf| path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    let old = |path: &PathBuf| [END, PART].iter().any(|end| name(path).ends_with(end));
    files.filter(old).try_for_each(std::fs::remove_file)
}

/// Has the original evaluate all texts of `task` and write what it says into `part`.
fn ask(context: &mut Context, original: &Instance, task: &Task, windows: &Windows, part: &Path) -> Result<(), End> {
    let job = context.job;
    let told = |e: HostError| {
        let (status, why) = status_of_host(&e, false);
        End::NotMade(NotMade { status, reason: format!("its original, {}, cannot be asked: {why}", original.id) })
    };
    if let Some(why) = fit::shortage(job, original, task, context.sysroot) {
        return Err(End::DoesNotFit(format!("its original, {}, has to be asked first: {why}", original.id)));
    }
    let mut asker = Asker::new(task, job.timeout).map_err(End::Dataset)?;
    // Two models at once may be more than there is room for.
    *context.kept = None;
    let kept = LogitsFile { path: part.to_string_lossy().into_owned(), write: true };
    let mut base = Base::start(Open { logits: Some(kept), ..open(job, original, TITLE) }).map_err(told)?;
    let ready = base.ready(original, TITLE, job.load_timeout, context.proc_root).map_err(told)?;
    asker.meet(&ready.opened, &original.chat).map_err(|f| told(HostError::Failed(f)))?;
    let mut client = base.client;
    let flow = single_stream(task, context.records, need(&task.method), |item| {
        if let Err(end) = context.go_on() {
            return ControlFlow::Break(end);
        }
        match asker.divergence(&mut client, item.record, windows) {
            // A text that the original cannot take is one that its variants cannot be held against.
            Ok(_) | Err(AskError::Record(_)) => ControlFlow::Continue(()),
            Err(AskError::Host(e)) => ControlFlow::Break(told(e)),
        }
    });
    match flow.map_err(End::Dataset)? {
        ControlFlow::Break(end) => Err(end),
        ControlFlow::Continue(()) => client.close().map_err(told),
    }
}

fn failed(original: &Instance, why: &str) -> End {
    let reason = format!("what its original, {}, says cannot be kept: {why}", original.id);
    End::NotMade(NotMade { status: Status::Failed, reason })
}
