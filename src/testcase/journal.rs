//! The run folder while it grows: samples and predictions appended record by record, case rows when they are
//! complete, the manifest at both ends. It owns durability; it must not know how anything is measured.

use super::load::Trial;
use super::lock::shortage;
use super::sustained::Sustained;
use super::syncer::Syncer;
use super::timing::Sample;
use super::trace::Trace;
use crate::results::{
    CASES, CaseRow, LOAD, LOAD_COLUMNS, MANIFEST, PREDICTIONS, SAMPLE_COLUMNS, SAMPLES, STEP_COLUMNS, STEPS, SUBJECTS,
    SUSTAINED, SUSTAINED_COLUMNS, TELEMETRY, TRACE, case_columns, subject_columns, write_whole,
};
use crate::testenv::metric::Language;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Records that are lost at the most when the power goes: those of so long.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Writing into the run folder failed: the path and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct JournalError {
    pub path: PathBuf,
    #[source]
    pub error: io::Error,
}

type Result<T> = std::result::Result<T, JournalError>;

/// One line of predictions.jsonl.
#[derive(Debug, Serialize)]
pub struct Prediction<'a> {
    pub case: &'a str,
    pub id: &'a str,
    /// The letter of an option, or the extracted text; `null` when the record failed or had no answer in its output.
    pub prediction: Option<&'a str>,
    /// The right one; not there where nothing is right or wrong (`perplexity`), nor is `correct`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gold: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correct: Option<bool>,
    /// All that was written (`generate`), where it is not the prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<&'a str>,
    /// `perplexity`: `logprob`, `tokens`, `bytes` and `words` of the text.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Log-likelihood of each option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<&'a [f64]>,
    /// Why there is no prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}

/// One line of samples.csv. Times in ms.
#[derive(Debug, Default)]
pub struct SampleRow<'a> {
    pub case: &'a str,
    pub id: &'a str,
    pub subject: &'a str,
    pub pass: u32,
    pub status: &'a str,
    pub correct: Option<bool>,
    pub score: Option<f64>,
    pub prompt_tokens: Option<u32>,
    pub cached_tokens: Option<u32>,
    pub output_tokens: Option<u32>,
    pub queue_ms: Option<f64>,
    pub ttft_ms: Option<f64>,
    pub decode_ms: Option<f64>,
    pub e2e_ms: Option<f64>,
    pub itl_p50_ms: Option<f64>,
    pub itl_max_ms: Option<f64>,
    pub retries: Option<u32>,
}

/// One line of steps.csv. Losses in nats per token.
#[derive(Debug)]
pub struct StepRow<'a> {
    pub case: &'a str,
    /// From 1; of a validation that of the step before it.
    pub step: u64,
    pub epoch: u32,
    pub loss: Option<f64>,
    pub validation: Option<f64>,
    /// Learned from up to now.
    pub tokens: u64,
    /// Since the training was begun.
    pub t_ms: f64,
}

/// A file that is appended to.
pub(super) struct Appender {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Appender {
    /// A new file that begins with `header`, or one that is there and goes on.
    pub(super) fn open(path: PathBuf, header: &[u8]) -> Result<Appender> {
        let error = |error| JournalError { path: path.clone(), error };
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(error)?;
        let empty = file.metadata().map_err(error)?.len() == 0;
        let mut appender = Appender { path, out: BufWriter::new(file) };
        if empty {
            appender.write(|out| out.write_all(header))?;
        }
        Ok(appender)
    }

    pub(super) fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
        write(&mut self.out).map_err(|error| JournalError { path: self.path.clone(), error })
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.write(|out| {
            out.flush()?;
            out.get_ref().sync_data()
        })
    }

    /// Gives what was written to the kernel; the file, for whoever brings it to the disk.
    pub(super) fn flush(&mut self) -> Result<(PathBuf, File)> {
        let flushed = self.out.flush().and_then(|()| self.out.get_ref().try_clone());
        flushed.map(|file| (self.path.clone(), file)).map_err(|error| JournalError { path: self.path.clone(), error })
    }
}

/// An open run folder.
pub struct Journal {
    folder: PathBuf,
    case_columns: Vec<&'static str>,
    samples: Appender,
    predictions: Appender,
    telemetry: Appender,
    sustained: Option<Appender>,
    subjects: Option<Appender>,
    load: Option<Appender>,
    steps: Option<Appender>,
    subject_columns: Vec<&'static str>,
    cases: Appender,
    trace: Option<Trace>,
    syncer: Syncer,
    synced: Instant,
}

impl Journal {
    /// Opens the files of `folder`, which must be there; those that are new or empty get their headers. `metrics` are
    /// the columns of the tasks' own metrics.
    pub fn open(folder: &Path, metrics: &[&'static str], telemetry_columns: &[String]) -> Result<Journal> {
        let (case_columns, subject_columns) = (case_columns(metrics), subject_columns(metrics));
        let open = |name: &str, header: &[u8]| Appender::open(folder.join(name), header);
        let telemetry_header = csv_line(telemetry_columns.iter().map(String::as_str));
        let mut journal = Journal {
            samples: open(SAMPLES, &csv_line(SAMPLE_COLUMNS.iter().copied()))?,
            predictions: open(PREDICTIONS, b"")?,
            telemetry: open(TELEMETRY, &telemetry_header)?,
            cases: open(CASES, &csv_line(case_columns.iter().copied()))?,
            sustained: None,
            subjects: None,
            load: None,
            steps: None,
            trace: None,
            syncer: Syncer::start().map_err(|error| JournalError { path: folder.to_path_buf(), error })?,
            subject_columns,
            folder: folder.to_path_buf(),
            case_columns,
            synced: Instant::now(),
        };
        journal.sync()?;
        Ok(journal)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a trace from now on; one that is there goes on in any case.
    pub fn trace_if(&mut self, wanted: bool, job: &str) -> Result<()> {
        let path = self.folder.join(TRACE);
        if wanted || path.exists() {
            self.trace = Some(Trace::open(&path, job)?);
        }
        Ok(())
    }

    /// The trace, if there is one.
    pub fn trace(&mut self) -> Option<&mut Trace> {
        self.trace.as_mut()
    }

    /// An answered record; without a sample when it failed.
    pub fn sample(&mut self, row: &SampleRow, sample: Option<&Sample>) -> Result<()> {
        if let Some(trace) = &mut self.trace {
            trace.call(row, sample)?;
        }
        let whole = |v: Option<u32>| v.map_or(String::new(), |v| v.to_string());
        let ms = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.3}"));
        let correct = row.correct.map_or("", |c| if c { "1" } else { "0" });
        let score = row.score.map_or(String::new(), |s| format!("{s:.6}"));
        let pass = row.pass.to_string();
        let (prompt, cached, output) = (whole(row.prompt_tokens), whole(row.cached_tokens), whole(row.output_tokens));
        let times = [row.queue_ms, row.ttft_ms, row.decode_ms, row.e2e_ms, row.itl_p50_ms, row.itl_max_ms].map(ms);
        let head = [row.case, row.id, row.subject, &pass, row.status, correct, &score, &prompt, &cached, &output];
        let retries = whole(row.retries);
        let line = csv_line(head.into_iter().chain(times.iter().chain([&retries]).map(String::as_str)));
        self.samples.write(|out| out.write_all(&line))?;
        self.sync_if_due()
    }

    pub fn prediction(&mut self, prediction: &Prediction) -> Result<()> {
        self.predictions.write(|out| {
            serde_json::to_writer(&mut *out, prediction)?;
            out.write_all(b"\n")
        })?;
        self.sync_if_due()
    }

    /// One row of telemetry.csv, its fields as they are written.
    pub fn telemetry(&mut self, fields: &[String]) -> Result<()> {
        let line = csv_line(fields.iter().map(String::as_str));
        self.telemetry.write(|out| out.write_all(&line))?;
        // Rows of records wait for nothing but this while a case waits.
        self.sync_if_due()
    }

    /// The windows of a sustained case; the file is there only when a job has one.
    pub fn sustained(&mut self, case: &str, sustained: &Sustained) -> Result<()> {
        let number = |v: Option<f64>, decimals: usize| v.map_or(String::new(), |v| format!("{v:.decimals$}"));
        let file = table(&mut self.sustained, &self.folder, SUSTAINED, SUSTAINED_COLUMNS)?;
        for (i, window) in sustained.windows.iter().enumerate() {
            let fields = [
                case.to_owned(),
                (i + 1).to_string(),
                number(Some(window.at_s), 1),
                window.records.to_string(),
                number(window.records_s(), 3),
                number(window.prefill_tok_s(), 2),
                number(window.decode_tok_s(), 2),
                number(window.sight.temp_c, 1),
                number(window.sight.freq_mhz.map(f64::from), 0),
            ];
            file.write(|out| out.write_all(&csv_line(fields.iter().map(String::as_str))))?;
        }
        file.sync()
    }

    /// The passes of a case under load; the file is there only when a job has one.
    pub fn load(&mut self, case: &str, trials: &[Trial]) -> Result<()> {
        if trials.is_empty() {
            return Ok(());
        }
        let number = |v: Option<f64>, decimals: usize| v.map_or(String::new(), |v| format!("{v:.decimals$}"));
        let file = table(&mut self.load, &self.folder, LOAD, LOAD_COLUMNS)?;
        for trial in trials {
            let at = &trial.latencies;
            let fields = [
                case.to_owned(),
                trial.pass.to_string(),
                trial.concurrency.to_string(),
                number(trial.rate_s, 4),
                trial.records.to_string(),
                trial.failed.to_string(),
                number(Some(trial.records_s), 3),
                number(at.queue_ms, 3),
                number(at.ttft_ms, 3),
                number(at.itl_ms, 3),
                number(at.e2e_ms, 3),
                trial.held.map_or("", |held| if held { "yes" } else { "no" }).to_owned(),
            ];
            file.write(|out| out.write_all(&csv_line(fields.iter().map(String::as_str))))?;
        }
        file.sync()
    }

    /// A step of a training, in the file as soon as it is done; the file is there only when a job has one.
    pub fn step(&mut self, row: &StepRow) -> Result<()> {
        let loss = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.6}"));
        let fields = [
            row.case.to_owned(),
            row.step.to_string(),
            row.epoch.to_string(),
            loss(row.loss),
            row.tokens.to_string(),
            format!("{:.1}", row.t_ms),
            loss(row.validation),
        ];
        let file = table(&mut self.steps, &self.folder, STEPS, STEP_COLUMNS)?;
        file.write(|out| {
            out.write_all(&csv_line(fields.iter().map(String::as_str)))?;
            out.flush()
        })?;
        self.sync_if_due()
    }

    /// The rows of a case by subject; the file is there only when records have subjects.
    pub fn subjects(&mut self, rows: &[CaseRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let file = table(&mut self.subjects, &self.folder, SUBJECTS, &self.subject_columns)?;
        for row in rows {
            let line = csv_line(row.fields(&self.subject_columns));
            file.write(|out| out.write_all(&line))?;
        }
        file.sync()
    }

    /// A case is complete: everything of it is on disk before its row is.
    pub fn case(&mut self, row: &CaseRow) -> Result<()> {
        self.samples.sync()?;
        self.predictions.sync()?;
        self.telemetry.sync()?;
        self.steps.as_mut().map_or(Ok(()), Appender::sync)?;
        self.trace.as_mut().map_or(Ok(()), Trace::sync)?;
        debug_assert!(row.columns().all(|c| self.case_columns.contains(&c)), "a column that cases.csv does not have");
        let line = csv_line(row.fields(&self.case_columns));
        self.cases.write(|out| out.write_all(&line))?;
        self.cases.sync()
    }

    /// The run has come to its end, or to one for now.
    pub fn finish(&mut self) -> Result<()> {
        self.trace.as_mut().map_or(Ok(()), Trace::finish)
    }

    fn sync_if_due(&mut self) -> Result<()> {
        if self.synced.elapsed() < SYNC_EVERY {
            return Ok(());
        }
        self.check_room()?;
        let mut files = vec![self.samples.flush()?, self.predictions.flush()?, self.telemetry.flush()?];
        files.extend(self.trace.as_mut().map(Trace::flush).transpose()?);
        self.synced = Instant::now();
        self.syncer.sync(files)
    }

    fn check_room(&self) -> Result<()> {
        shortage(&self.folder).map_or(Ok(()), |error| Err(JournalError { path: self.folder.clone(), error }))
    }

    fn sync(&mut self) -> Result<()> {
        self.synced = Instant::now();
        self.check_room()?;
        self.samples.sync()?;
        self.predictions.sync()?;
        self.telemetry.sync()?;
        self.trace.as_mut().map_or(Ok(()), Trace::sync)?;
        self.cases.sync()
    }
}

/// A file that is opened when there is something to write into it.
fn table<'a>(slot: &'a mut Option<Appender>, folder: &Path, name: &str, columns: &[&str]) -> Result<&'a mut Appender> {
    match slot {
        Some(file) => Ok(file),
        None => Ok(slot.insert(Appender::open(folder.join(name), &csv_line(columns.iter().copied()))?)),
    }
}

/// Writes manifest.json anew, whole or not at all.
pub fn write_manifest(folder: &Path, manifest: &impl Serialize) -> Result<()> {
    let path = folder.join(MANIFEST);
    let write = || -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        write_whole(&path, &text)
    };
    write().map_err(|error| JournalError { path, error })
}

/// `fields` as one line of CSV with its newline.
fn csv_line<'f>(fields: impl Iterator<Item = &'f str>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().buffer_capacity(512).from_writer(Vec::with_capacity(256));
    // Writing to memory fails only for rows of unequal length, and this writer sees one row.
    let _ = writer.write_record(fields);
    writer.into_inner().unwrap_or_default()
}
