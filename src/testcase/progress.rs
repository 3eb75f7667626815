//! What is said while a run goes on, on stderr: a bar on a terminal, else one line per case. It must not know
//! why anything happened.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// A bar on a terminal, else a line per case.
    Normal,
}

/// The run's progress over all records of all cases.
pub struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    /// `number` of `things` will be done in all.
    pub fn new(verbosity: Verbosity, number: u64, things: &str) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let target = match verbosity {
            Verbosity::Normal if terminal => ProgressDrawTarget::stderr_with_hz(5),
            _ => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(number), target);
        if let Ok(style) = ProgressStyle::with_template(&format!(
            "{{msg}} {{prefix}}[{{bar:30}}] {{pos}}/{{len}} {things}, {{eta}} left"
        )) {
            bar.set_style(style.progress_chars("=> "));
        }
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Progress { bar, lines: verbosity == Verbosity::Normal }
    }

    /// A case starts.
    pub fn case(&self, number: usize, of: usize, id: &str) {
        self.bar.set_message(format!("{number}/{of} {id}"));
        self.bar.set_prefix("");
    }

    /// A record was answered.
    pub fn record(&self) {
        self.bar.inc(1);
    }

    /// A step of a training was done.
    pub fn step(&self, step: u64, of: u64, loss: f64) {
        self.bar.set_prefix(format!("step {step}/{of}, loss {loss:.3} "));
    }

    /// The bar goes on behind so many records, after a case that ended early.
    pub fn jump_to(&self, records: u64) {
        self.bar.set_position(records);
    }

    /// Lets `write` write to the terminal without the bar in its way.
    pub fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        self.bar.suspend(write)
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        if self.lines {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
