//! Which variant of a model to ship: quantisations, and types of the KV cache, each against the original, over the same
//! records. It owns which object instances are variants of one, and the rule that picks one; it must not know how a table
//! is drawn.

mod print;

pub use print::{Format, HEAD, cells, print};

use super::boards::interval;
use super::compare::statistics::{Flips, holm, paired_change};
use super::names::file_name;
use super::rank::Place;
use super::run_folder::{Loaded, Run, Sample};
use crate::job::{Gate, variant_and_setting};
use crate::results::{CaseRow, Status};
use std::collections::BTreeMap;

/// The variants of one model in one setting, the original first.
#[derive(Debug)]
pub struct Variants {
    /// Object, backend, and the parameters that all have.
    pub title: String,
    pub rows: Vec<Variant>,
    /// Which of them to ship; `None`: it cannot be said.
    pub ship: Option<usize>,
    /// How much of the quality may be lost, percentage points, negative: `[gate] acc` of the job.
    pub margin: f64,
}

/// One variant over all its tasks.
#[derive(Debug)]
pub struct Variant {
    pub name: String,
    pub place: Place,
    /// Of the KV cache, as opened.
    pub kv_bytes: Option<u64>,
    /// Against the original, where records are right or wrong.
    pub flips: Option<Flips>,
    /// McNemar's, after Holm's correction over the variants.
    pub p: Option<f64>,
    /// Time of a record against the original's, %, with its 95 % interval.
    pub time: Option<(f64, f64, f64)>,
}

impl Variant {
    /// Mean and 95 % interval of a metric over the tasks that have it.
    pub fn metric(&self, column: &str) -> Option<(f64, Option<(f64, f64)>)> {
        let rows: Vec<CaseRow> = self.place.rows.iter().filter(|r| r.number(column).is_some()).cloned().collect();
        let place = Place { rows };
        Some((place.number(column)?, interval(&place, column)))
    }

    /// Share of right answers over the records that the original has too, with Wilson's interval.
    pub fn quality(&self) -> Option<(f64, (f64, f64))> {
        let flips = self.flips.filter(|f| f.n > 0)?;
        Some((flips.new_right as f64 / flips.n as f64, wilson(flips.new_right, flips.n)))
    }

    /// File and KV cache together, bytes: what a board has to keep.
    fn bytes(&self) -> Option<f64> {
        Some(self.place.number("model_bytes")? + self.kv_bytes.unwrap_or(0) as f64)
    }

    fn is_ok(&self) -> bool {
        self.place.rows.iter().all(|r| r.get("status") == Status::Ok.name())
    }
}

/// Wilson's 95 % interval of `right` of `n`.
pub fn wilson(right: u64, n: u64) -> (f64, f64) {
    crate::testenv::metric::wilson(right as f64 / n.max(1) as f64, n as f64).unwrap_or((0.0, 1.0))
}

/// All models of `run` of which there are variants.
///
/// # Errors
/// A file of the run that cannot be read.
pub fn variants(run: &Run) -> Result<Vec<Variants>, String> {
    let groups = groups(run);
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let samples = run.samples()?;
    let margin = Gate::of_job(&run.manifest.job_text).threshold("acc");
    Ok(groups.into_iter().map(|(title, places)| compared(run, title, places, &samples, margin)).collect())
}

/// What the places of a group have in common: object, backend, and parameters that are not about how a model is kept.
type Key = [String; 3];

/// Object instances that are variants of one model, in the order of the run.
fn groups(run: &Run) -> Vec<(String, Vec<Place>)> {
    let mut groups: Vec<(Key, Vec<Place>)> = Vec::new();
    for row in &run.rows {
        let (_, setting) = variant_and_setting(row.get("params"));
        let key = [row.get("object").to_owned(), row.get("backend").to_owned(), setting];
        let of_model = |place: &Place| place.rows.first().is_some_and(|first| same_model(run, first, row));
        let Some((_, places)) = groups.iter_mut().find(|(k, places)| *k == key && places.iter().any(of_model)) else {
            groups.push((key, vec![Place { rows: vec![row.clone()] }]));
            continue;
        };
        match places.iter_mut().find(|p| ["model", "params"].iter().all(|c| p.text(c) == row.get(c))) {
            Some(place) => place.rows.push(row.clone()),
            None => places.push(Place { rows: vec![row.clone()] }),
        }
    }
    let title = |[object, backend, setting]: Key| {
        let parts = [object, file_name(&backend).to_owned(), setting];
        parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", ")
    };
    groups.into_iter().filter(|(_, places)| places.len() > 1).map(|(key, places)| (title(key), places)).collect()
}

/// Do two cases run one model? Files of one shape do.
fn same_model(run: &Run, a: &CaseRow, b: &CaseRow) -> bool {
    let shape = |row| loaded(run, row).map(|l| (&l.architecture, l.n_weights)).filter(|(_, n)| *n > 0);
    a.get("model") == b.get("model") || shape(a).is_some_and(|shape_of_a| shape(b) == Some(shape_of_a))
}

/// What the backend said of the instance that a case belongs to. A variant that was never loaded is told by its like.
fn loaded<'r>(run: &'r Run, row: &CaseRow) -> Option<&'r Loaded> {
    let instance = |row: &CaseRow| row.get("case").rsplit_once('/').map(|(instance, _)| instance.to_owned());
    let own = |row: &CaseRow| run.manifest.instances.get(&instance(row)?);
    own(row).or_else(|| run.rows.iter().filter(|r| r.get("model") == row.get("model")).find_map(own))
}

type Samples = BTreeMap<String, BTreeMap<String, Sample>>;

fn compared(run: &Run, title: String, places: Vec<Place>, samples: &Samples, margin: f64) -> Variants {
    let models = places.iter().any(|p| p.text("model") != places[0].text("model"));
    let original = places[0].clone();
    let mut rows: Vec<Variant> = places
        .into_iter()
        .map(|place| {
            let pairs = pairs(&original, &place, samples);
            let judged = pairs.iter().filter(|(judged, ..)| *judged);
            let flips = Flips::of(judged.filter_map(|(_, a, b)| Some((a.correct?, b.correct?))));
            let times: Vec<(f64, f64)> = pairs.iter().filter_map(|(_, a, b)| Some((a.e2e_ms?, b.e2e_ms?))).collect();
            Variant {
                name: name(&place, models),
                kv_bytes: place.rows.first().and_then(|r| loaded(run, r)).map(|l| l.kv_bytes).filter(|b| *b > 0),
                flips: Some(flips).filter(|f| f.n > 0),
                p: None,
                time: paired_change(&times).map(|c| (c.percent, c.lo, c.hi)),
                place,
            }
        })
        .collect();
    let (base, others) = rows.split_first_mut().map_or((None, &mut [][..]), |(base, others)| (Some(base), others));
    base.into_iter().for_each(|base| base.time = None);
    let p: Vec<f64> = others.iter().filter_map(|v| v.flips.map(|f| f.p())).collect();
    let with = others.iter_mut().filter(|v| v.flips.is_some());
    with.zip(holm(&p)).for_each(|(variant, p)| variant.p = Some(p));
    Variants { ship: ship(&rows, margin), title, rows, margin }
}

/// Samples of the records that both have; first whether they were judged at all.
fn pairs<'s>(a: &Place, b: &Place, samples: &'s Samples) -> Vec<(bool, &'s Sample, &'s Sample)> {
    let mut pairs = Vec::new();
    for new in &b.rows {
        let Some(base) = a.rows.iter().find(|r| r.get("task") == new.get("task")) else { continue };
        let judged = base.number("acc").is_some() && base.get("scored_by") == new.get("scored_by");
        if let (Some(a), Some(b)) = (samples.get(base.get("case")), samples.get(new.get("case"))) {
            pairs.extend(a.iter().filter_map(|(id, a)| Some((judged, a, b.get(id)?))));
        }
    }
    pairs
}

/// `Q4_0`, `type_k=q8_0`; the file's name where files differ, and for an original.
fn name(place: &Place, models: bool) -> String {
    let (kept, _) = variant_and_setting(place.text("params"));
    let kind = |pair: &str| pair.strip_prefix("quantize=").unwrap_or(pair).to_owned();
    let kept: Vec<String> = kept.split(' ').map(kind).filter(|kept| !kept.is_empty() && kept != "none").collect();
    let model = file_name(place.text("model")).to_owned();
    let model = Some(model).filter(|_| models || kept.is_empty());
    model.into_iter().chain(kept).collect::<Vec<_>>().join(" ")
}

/// The smallest that, with 95 % confidence, loses no more than the margin.
fn ship(rows: &[Variant], margin: f64) -> Option<usize> {
    let good = |v: &Variant| v.is_ok() && v.flips.is_some_and(|f| f.interval().0 >= margin);
    let smaller = rows.iter().enumerate().skip(1).filter(|(_, v)| good(v));
    let smallest = smaller.filter_map(|(i, v)| Some((i, v.bytes()?))).min_by(|a, b| a.1.total_cmp(&b.1))?;
    (smallest.1 < rows[0].bytes()?).then_some(smallest.0)
}
