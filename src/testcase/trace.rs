//! trace.json: cases, their phases, calls and tokens as spans, what the sampler saw as counters, as Perfetto and Chrome
//! read them (Trace Event Format, array form: it may end anywhere, so that a run that was cut short can be looked at). It
//! owns the format; it must not know how anything is measured. All of it is written between calls.

use super::journal::{Appender, JournalError, SampleRow};
use super::timing::Sample;
use crate::clock::now_ns;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// All events are of one process; cases and phases are its first track, calls the ones after it. Perfetto takes thread 0
/// for the kernel's and draws it into another.
const PROCESS: u32 = 1;
const CASES: usize = 1;
/// Kind of the last span of a case: what stands behind it belongs to the next one.
const CASE: &str = "case";

/// Columns of telemetry.csv that are counters, and their names there.
const COUNTERS: &[(&str, &str)] = &[
    ("rss_mib", "memory of the host"),
    ("cpu_pct", "processor time of the host"),
    ("freq_mhz", "clock"),
    ("temp_c", "temperature"),
    ("power_w", "power"),
];

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'a str,
    pid: u32,
    tid: usize,
    /// µs.
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    /// What a beginning and its end have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Value::is_null")]
    args: Value,
}

/// The trace of a run.
pub struct Trace {
    out: Appender,
    /// CLOCK_MONOTONIC of this process's first moment, ns, and where that stands in the trace.
    start_ns: u64,
    base_ns: u64,
    /// From when to when the last calls of each track were: calls that overlap stand on several.
    tracks: Vec<VecDeque<(u64, u64)>>,
    /// Calls that waited, until now.
    waited: u64,
}

/// Calls of a track that are remembered: they come in the order of the records, not of time, and as many at the most
/// are asked before they are written.
const REMEMBERED: usize = 256;

impl Trace {
    /// A new file for the run of `job`, or one that was cut to whole cases and goes on behind them.
    pub fn open(path: &Path, job: &str) -> Result<Trace, JournalError> {
        let base_ns = match path.exists() {
            true => kept(path, |_| true).map_err(|error| JournalError { path: path.to_path_buf(), error })?.end_ns,
            false => 0,
        };
        let names = [("process_name", CASES, json!({"name": job})), ("thread_name", CASES, json!({"name": "cases"}))];
        let metadata: Vec<String> = names.into_iter().map(|(name, tid, args)| metadata(name, tid, args)).collect();
        let header = format!("[\n{}", metadata.join(",\n"));
        let out = Appender::open(path.to_path_buf(), header.as_bytes())?;
        let mut trace = Trace { out, start_ns: now_ns(), base_ns, tracks: Vec::new(), waited: 0 };
        trace.track()?;
        Ok(trace)
    }

    /// A case that has ended: its last span.
    pub fn case(&mut self, name: &str, from_ns: u64, status: &str) -> Result<(), JournalError> {
        self.span(name, CASE, CASES, from_ns, now_ns(), json!({"status": status}))
    }

    /// What a case does, beside its calls.
    pub fn phase(&mut self, name: &str, from_ns: u64, to_ns: u64) -> Result<(), JournalError> {
        self.span(name, "phase", CASES, from_ns, to_ns, Value::Null)
    }

    /// A call with what it is made of; `None`: it failed, and nothing but that is known.
    pub fn call(&mut self, row: &SampleRow, sample: Option<&Sample>) -> Result<(), JournalError> {
        let args = json!({
            "case": row.case, "id": row.id, "pass": row.pass, "status": row.status, "correct": row.correct,
            "queue_ms": row.queue_ms, "prompt_tokens": row.prompt_tokens, "cached_tokens": row.cached_tokens, "output_tokens": row.output_tokens,
        });
        let Some(sample) = sample else {
            let now = now_ns();
            return self.span("call", "call", CASES + 1, now, now, args);
        };
        let (start, end) = (sample.start_ns, sample.start_ns + sample.done_ns);
        let free = |calls: &VecDeque<(u64, u64)>| calls.iter().all(|&(from, to)| end <= from || to <= start);
        let lane = match self.tracks.iter().position(free) {
            Some(lane) => lane,
            None => self.track()?,
        };
        self.tracks[lane].truncate(REMEMBERED - 1);
        self.tracks[lane].push_front((start, end));
        let track = CASES + 1 + lane;
        self.span("call", "call", track, start, end, args)?;
        if sample.queue_ns > 0 {
            // Any number of calls waits at once: not a span of a track.
            self.waited += 1;
            self.event("b", "queue", "queue", track, (start.saturating_sub(sample.queue_ns), None), Value::Null)?;
            self.event("e", "queue", "queue", track, (start, None), Value::Null)?;
        }
        // Without a prefill of its own nothing is known of the call but its tokens.
        for (phase, from, to) in sample.phases().filter(|(_, from, to)| sample.prefill_ns.is_some() && from < to) {
            self.span(phase.name(), "call", track, from, to, Value::Null)?;
        }
        let mut from = start + sample.prefill_ns.unwrap_or(0);
        for (number, token) in sample.tokens_ns().enumerate() {
            self.span("token", "token", track, from, start + token, json!({"number": number + 1}))?;
            from = start + token;
        }
        Ok(())
    }

    /// One row of telemetry.csv, by column, as counters.
    pub fn look<'f>(
        &mut self,
        at_ns: u64,
        row: impl Iterator<Item = (&'f str, &'f String)>,
    ) -> Result<(), JournalError> {
        for (column, value) in row {
            let counter = COUNTERS.iter().find(|(of, _)| *of == column);
            if let (Some((_, name)), Ok(value)) = (counter, value.parse::<f64>()) {
                self.event("C", name, "telemetry", CASES, (at_ns, None), json!({ column: value }))?;
            }
        }
        Ok(())
    }

    /// Closes the array. What comes after it would not be read.
    pub fn finish(&mut self) -> Result<(), JournalError> {
        self.out.write(|out| out.write_all(b"\n]\n"))?;
        self.sync()
    }

    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.out.sync()
    }

    /// As [`Appender::flush`].
    pub fn flush(&mut self) -> Result<(PathBuf, File), JournalError> {
        self.out.flush()
    }

    /// One more track for calls.
    fn track(&mut self) -> Result<usize, JournalError> {
        self.tracks.push(VecDeque::new());
        let number = self.tracks.len();
        let name = if number == 1 { "calls".to_owned() } else { format!("calls {number}") };
        self.append(&metadata("thread_name", CASES + number, json!({ "name": name })))?;
        Ok(number - 1)
    }

    fn span(
        &mut self,
        name: &str,
        cat: &str,
        track: usize,
        from_ns: u64,
        to_ns: u64,
        args: Value,
    ) -> Result<(), JournalError> {
        self.event("X", name, cat, track, (from_ns, Some(to_ns.saturating_sub(from_ns))), args)
    }

    fn event(
        &mut self,
        ph: &str,
        name: &str,
        cat: &str,
        tid: usize,
        (at_ns, length_ns): (u64, Option<u64>),
        args: Value,
    ) -> Result<(), JournalError> {
        let ts = us(self.base_ns + at_ns.saturating_sub(self.start_ns));
        let id = matches!(ph, "b" | "e").then_some(self.waited);
        let event = Event { name, cat, ph, pid: PROCESS, tid, ts, dur: length_ns.map(us), id, args };
        self.append(&line(&event))
    }

    fn append(&mut self, event: &str) -> Result<(), JournalError> {
        self.out.write(|out| write!(out, ",\n{event}"))
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn metadata(name: &str, tid: usize, args: Value) -> String {
    line(&Event { name, cat: "", ph: "M", pid: PROCESS, tid, ts: 0.0, dur: None, id: None, args })
}

fn line(event: &Event) -> String {
    // Strings and numbers only: it cannot fail.
    serde_json::to_string(event).unwrap_or_default()
}

/// What a trace holds of whole cases.
#[derive(Debug, PartialEq)]
pub struct Kept {
    /// Length of the file up to there.
    pub bytes: u64,
    /// End of the last span, ns in the trace.
    pub end_ns: u64,
}

/// What is to be kept of the trace at `path`: everything up to the last of the cases that are `wanted`.
pub fn kept(path: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Kept> {
    #[derive(serde::Deserialize)]
    struct Line<'l> {
        #[serde(borrow)]
        name: std::borrow::Cow<'l, str>,
        cat: &'l str,
        ts: f64,
        #[serde(default)]
        dur: f64,
    }
    let mut reader = BufReader::new(File::open(path)?);
    let (mut text, mut read, mut kept) = (Vec::new(), 0, Kept { bytes: 0, end_ns: 0 });
    loop {
        text.clear();
        let length = reader.read_until(b'\n', &mut text)?;
        if length == 0 {
            return Ok(kept);
        }
        let event = text.trim_ascii_end();
        let event = event.strip_suffix(b",").unwrap_or(event);
        let case = serde_json::from_slice::<Line>(event).ok().filter(|l| l.cat == CASE && wanted(&l.name));
        if let Some(case) = case {
            kept = Kept { bytes: read + event.len() as u64, end_ns: ((case.ts + case.dur) * 1e3) as u64 };
        }
        read += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(start_ns: u64) -> Sample {
        Sample {
            start_ns,
            output_tokens: Some(3),
            prefill_ns: Some(400),
            first_ns: Some(500),
            last_ns: Some(900),
            queue_ns: 5000,
            done_ns: 1000,
            gaps_ns: vec![100, 300],
            ..Sample::default()
        }
    }

    fn events(path: &Path) -> Vec<Value> {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn named<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
        events.iter().filter(|e| e["name"] == name).collect()
    }

    #[test]
    fn calls_that_overlap_have_tracks_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let mut trace = Trace::open(&path, "a \"job\"").unwrap();
        let start = trace.start_ns;
        let row = SampleRow { case: "a/t", id: "q1", ..SampleRow::default() };
        for at in [12000, 12500, 13000, 11000] {
            trace.call(&row, Some(&call(start + at))).unwrap();
        }
        trace.finish().unwrap();
        let events = events(&path);
        let tracks: Vec<_> = named(&events, "call").iter().map(|e| e["tid"].as_u64().unwrap()).collect();
        assert_eq!(tracks, [2, 3, 2, 2], "whatever the order in which they are told");
        let queue = named(&events, "queue");
        assert_eq!((queue[2]["id"].as_u64(), queue[3]["id"].as_u64()), (Some(2), Some(2)));
        assert!((queue[1]["ts"].as_f64().unwrap() - queue[0]["ts"].as_f64().unwrap() - 5.0).abs() < 1e-3);
        let tokens: Vec<f64> = named(&events, "token")[..3].iter().map(|e| e["dur"].as_f64().unwrap()).collect();
        assert_eq!(tokens, [0.1, 0.1, 0.3], "from the end of the prefill, then from token to token");
        assert_eq!(named(&events, "decode")[0]["dur"], 0.6);
        assert_eq!(events[0]["args"]["name"], "a \"job\"");
    }

    #[test]
    fn what_was_torn_off_behind_a_whole_case_is_cut_and_it_goes_on_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let mut trace = Trace::open(&path, "job").unwrap();
        trace.case("a/\u{5b57}", trace.start_ns, "ok").unwrap();
        trace.sync().unwrap();
        let whole = std::fs::read(&path).unwrap();
        trace.phase("load", trace.start_ns, now_ns()).unwrap();
        trace.case("b/t", trace.start_ns, "interrupted").unwrap();
        trace.finish().unwrap();
        let all = std::fs::read(&path).unwrap();
        for length in (0..all.len()).step_by(7) {
            std::fs::write(&path, &all[..length]).unwrap();
            let kept = kept(&path, |case| case != "b/t").unwrap();
            assert_eq!(kept.bytes as usize, if length < whole.len() { 0 } else { whole.len() });
        }
        std::fs::write(&path, &whole).unwrap();
        let before = kept(&path, |_| true).unwrap().end_ns;
        let mut trace = Trace::open(&path, "job").unwrap();
        trace.case("b/t", trace.start_ns, "ok").unwrap();
        trace.finish().unwrap();
        let events = events(&path);
        assert_eq!(events.iter().filter(|e| e["ph"] == "X").count(), 2);
        assert!(named(&events, "b/t")[0]["ts"].as_f64().unwrap() * 1e3 >= before as f64 - 1.0);
    }
}
