//! What comes before the records of a case: a board that is cool enough, its idle power, a load from cold storage.
//! It must not know records or results.

use super::case::{Context, End};
use super::telemetry::Eyes;
use crate::backend::client::Client;
use crate::backend::wire::Open;
use crate::clock::now_ns;
use crate::job::Cooldown;
use crate::sense::phase::Phase;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a wait looks up.
const STEP: Duration = Duration::from_millis(100);
/// How late a reading may be on a board that is busy.
const LATE: Duration = Duration::from_secs(1);

/// Waits until the board is cool. °C if it still was too hot when the wait ended.
pub fn cool_down(context: &mut Context, eyes: &mut Eyes, wanted: &Cooldown) -> Result<Option<f64>, End> {
    let mut temperature = None;
    wait(context, eyes, None, Phase::Cooldown, wanted.max_wait, |eyes| {
        temperature = eyes.watch.temperature();
        temperature.is_some_and(|t| t < wanted.below_c)
    })?;
    Ok(temperature.filter(|t| *t >= wanted.below_c))
}

/// Lets the board idle for `length`, to know the power that is not the host's. A backend's own rails can be read
/// only once a `client` has loaded it: then the idle power is that of a loaded model at rest.
pub fn idle(context: &mut Context, eyes: &mut Eyes, client: Option<&mut Client>, length: Duration) -> Result<(), End> {
    wait(context, eyes, client, Phase::Idle, length, |_| false)
}

/// Lets the sampler go on until rail number `rail` has been read after what was done up to now: the energy between
/// two readings is known only with the second. A rail that has gone silent is not waited for much longer than that takes.
pub fn linger(context: &mut Context, eyes: &mut Eyes, client: &mut Client, rail: usize) -> Result<(), End> {
    let done_ns = now_ns();
    let at_most = Duration::from_secs(2) / context.job.measure.hz + LATE;
    wait(context, eyes, Some(client), Phase::Other, at_most, |eyes| eyes.watch.settled_ns(rail) >= done_ns)
}

fn wait(
    context: &mut Context,
    eyes: &mut Eyes,
    mut client: Option<&mut Client>,
    phase: Phase,
    at_most: Duration,
    mut enough: impl FnMut(&Eyes) -> bool,
) -> Result<(), End> {
    let end = Instant::now() + at_most;
    let start = now_ns();
    while !enough(eyes) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        context.go_on()?;
        let step = left.min(STEP);
        let readings = match &mut client {
            Some(client) => client.idle(step).map(|()| client.take_power()).map_err(End::Host)?,
            None => {
                std::thread::sleep(step);
                Vec::new()
            }
        };
        eyes.watch.mark(phase, start, now_ns());
        eyes.pump(context, readings).map_err(End::Journal)?;
    }
    match context.journal.trace() {
        Some(trace) => trace.phase(phase.name(), start, now_ns()).map_err(End::Journal),
        None => Ok(()),
    }
}

/// Loads the model with the page cache emptied of it, and closes it again: ns that open() took.
pub fn cold_load(open: Open, model: Option<&Path>, timeout: Duration) -> Result<u64, End> {
    if let Some(model) = model {
        // What cannot be emptied stays warm, which the figure then shows.
        let _ = empty_cache(model);
    }
    let mut client = Client::start(&open.backend).map_err(End::Host)?;
    let opened = client.open(Open { power_hz: 0, ..open }, timeout).map_err(End::Host)?;
    client.close().map_err(End::Host)?;
    Ok(opened.load_ns)
}

/// Asks the kernel to forget the pages of a file, or of all files in a folder.
fn empty_cache(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            empty_cache(&entry?.path())?;
        }
        return Ok(());
    }
    let file = File::open(path)?;
    // Dirty pages are not dropped.
    let _ = file.sync_data();
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}
