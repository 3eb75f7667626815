//! The files of a run as charts need them: by case, times as numbers. A file that is not there, or is torn, is told and
//! leaves its charts out. It must not know what is drawn.

use super::losses::Losses;
use crate::results::{CaseRow, SAMPLES, STEPS, SUBJECTS, SUSTAINED, TELEMETRY};
use std::collections::BTreeMap;
use std::path::Path;

/// How many of a case's slowest records are kept.
const SLOWEST: usize = 8;

/// What one case's run left behind, beside its row.
#[derive(Debug, Default)]
pub struct CaseFiles {
    pub samples: Samples,
    pub telemetry: Telemetry,
    /// Rows of subjects.csv.
    pub subjects: Vec<CaseRow>,
    /// Rows of sustained.csv.
    pub windows: Vec<CaseRow>,
    /// Of a training.
    pub losses: Losses,
}

/// Latencies of the timed passes in ms, sorted.
#[derive(Debug, Default)]
pub struct Samples {
    pub ttft: Vec<f64>,
    /// The median gap of each record.
    pub itl: Vec<f64>,
    pub e2e: Vec<f64>,
    /// Slowest first.
    pub slowest: Vec<Slow>,
}

/// Where the time of one record went, in ms, all from its arrival.
#[derive(Debug, Clone)]
pub struct Slow {
    pub id: String,
    pub pass: String,
    /// To the hand-over.
    pub queue: f64,
    /// To the first token; all of it where there is none.
    pub first: f64,
    pub e2e: f64,
    pub prompt_tokens: String,
    pub cached_tokens: String,
    pub output_tokens: String,
}

/// Looks at the board while a case ran.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Time in seconds from the case's first look, and the phase.
    pub phases: Vec<(f64, String)>,
    /// Time and value of each column of [`TRACKS`].
    pub tracks: [Vec<(f64, f64)>; TRACKS.len()],
}

/// Columns of telemetry.csv that are drawn, and their units.
pub const TRACKS: [(&str, &str); 5] =
    [("temp_c", "°C"), ("freq_mhz", "MHz"), ("power_w", "W"), ("rss_mib", "MiB"), ("cpu_pct", "% CPU")];

/// One row of a file, without a map of its own: these files have one row per record or look.
struct Fields<'r> {
    columns: &'r csv::StringRecord,
    record: &'r csv::StringRecord,
}

impl Fields<'_> {
    fn get(&self, column: &str) -> &str {
        let place = self.columns.iter().position(|c| c == column);
        place.and_then(|i| self.record.get(i)).unwrap_or_default()
    }

    fn number(&self, column: &str) -> Option<f64> {
        self.get(column).parse().ok()
    }

    fn row(&self) -> CaseRow {
        let mut row = CaseRow::default();
        self.columns.iter().zip(self.record).filter(|(_, v)| !v.is_empty()).for_each(|(c, v)| row.set(c, v));
        row
    }
}

/// Reads all of a run's files. The second are the defects that were met.
pub fn read(folder: &Path) -> (BTreeMap<String, CaseFiles>, Vec<String>) {
    let (mut cases, mut defects) = (BTreeMap::new(), Vec::new());
    let mut file = |name: &str, add: fn(&mut CaseFiles, &Fields)| {
        let path = folder.join(name);
        if path.exists()
            && let Err(e) = rows(&path, &mut cases, add)
        {
            defects.push(format!("{name}: {e}"));
        }
    };
    file(SAMPLES, |case, row| case.samples.add(row));
    file(TELEMETRY, |case, row| case.telemetry.add(row));
    file(SUBJECTS, |case, row| case.subjects.push(row.row()));
    file(SUSTAINED, |case, row| case.windows.push(row.row()));
    file(STEPS, |case, row| {
        let Some(step) = row.number("step") else { return };
        case.losses.learned.extend(row.number("loss").map(|loss| (step, loss)));
        case.losses.validation.extend(row.number("val_loss").map(|loss| (step, loss)));
    });
    for case in cases.values_mut() {
        case.samples.sort();
    }
    (cases, defects)
}

/// Calls `add` with every row and its case, up to the first row that is torn.
fn rows(
    path: &Path,
    cases: &mut BTreeMap<String, CaseFiles>,
    add: fn(&mut CaseFiles, &Fields),
) -> Result<(), csv::Error> {
    let mut reader = csv::Reader::from_path(path)?;
    let columns = reader.headers()?.clone();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        let fields = Fields { columns: &columns, record: &record };
        let name = fields.get("case");
        if !cases.contains_key(name) {
            cases.insert(name.to_owned(), CaseFiles::default());
        }
        if let Some(case) = cases.get_mut(name) {
            add(case, &fields);
        }
    }
    Ok(())
}

impl Samples {
    fn add(&mut self, row: &Fields) {
        if row.get("pass") == "0" || row.get("status") != "ok" {
            return;
        }
        for (list, column) in [(&mut self.ttft, "ttft_ms"), (&mut self.itl, "itl_p50_ms"), (&mut self.e2e, "e2e_ms")] {
            list.extend(row.number(column));
        }
        let Some(e2e) = row.number("e2e_ms") else { return };
        let place = self.slowest.partition_point(|s| s.e2e >= e2e);
        if place < SLOWEST {
            let text = |column: &str| row.get(column).to_owned();
            // A log-likelihood has no first token, only a prompt that was evaluated.
            let first = row.number("ttft_ms").or_else(|| Some(e2e - row.number("decode_ms")?)).unwrap_or(e2e);
            let slow = Slow {
                id: text("id"),
                pass: text("pass"),
                queue: row.number("queue_ms").unwrap_or(0.0),
                first: first.min(e2e),
                e2e,
                prompt_tokens: text("prompt_tokens"),
                cached_tokens: text("cached_tokens"),
                output_tokens: text("output_tokens"),
            };
            self.slowest.insert(place, slow);
            self.slowest.truncate(SLOWEST);
        }
    }

    fn sort(&mut self) {
        for list in [&mut self.ttft, &mut self.itl, &mut self.e2e] {
            list.sort_unstable_by(f64::total_cmp);
        }
    }
}

impl Telemetry {
    fn add(&mut self, row: &Fields) {
        let Some(t) = row.number("t_ms").map(|ms| ms / 1e3) else { return };
        self.phases.push((t, row.get("phase").to_owned()));
        for (track, (column, _)) in self.tracks.iter_mut().zip(TRACKS) {
            track.extend(row.number(column).map(|v| (t, v)));
        }
    }
}
