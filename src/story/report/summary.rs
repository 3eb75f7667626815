//! The report in words: which object instance this board should use, why, what else there is, and what speaks against
//! believing it. It must not know how the page is laid out.

use super::language::Text;
use super::numbers::{figure, interval, percent};
use crate::story::boards::{Board, Ranked, figures, interval as interval_of, overlap, value};
use crate::story::rank::Place;
use serde::Serialize;

/// Speeds nearer to the fastest than this share are as good; energy and memory decide.
const AS_FAST: f64 = 0.05;
/// Accuracies nearer to the best than this may be as good, if their intervals overlap too: a wide interval alone would
/// make anything as good as the best.
const AS_GOOD: f64 = 0.03;
/// An interval of accuracy wider than this says little.
const WIDE: f64 = 0.10;
/// Doubts of one kind that are listed one by one.
const LISTED: usize = 4;

/// What to do.
#[derive(Debug, Default, Serialize)]
pub struct Advice {
    /// The place in the leaderboard, from 0; there is none when no object can be recommended.
    pub place: Option<usize>,
    pub name: String,
    /// Name, value and remark of its main figures.
    pub tiles: Vec<[String; 3]>,
    pub why: Vec<String>,
    pub others: Vec<String>,
    pub doubts: Vec<String>,
}

/// A place with what is asked of it again and again.
struct Candidate<'b> {
    index: usize,
    place: &'b Place,
    name: &'b str,
}

impl Candidate<'_> {
    fn number(&self, column: &str) -> f64 {
        self.place.number(column).unwrap_or(f64::NAN)
    }
}

/// Which place of `board` to use; `names` are those of its places.
pub fn advice(board: &Board, names: &[String], text: &Text) -> Advice {
    let candidates = |fits: fn(&Ranked) -> bool| -> Vec<Candidate> {
        let places = board.places.iter().zip(names).enumerate().filter(|(_, (p, _))| fits(p));
        places.map(|(index, (p, name))| Candidate { index, place: &p.place, name }).collect()
    };
    let ended = |p: &Ranked| p.place.failed() == 0;
    let mut candidates_now = candidates(|p| p.place.failed() == 0 && value(p, "valid") != "no");
    if candidates_now.is_empty() {
        candidates_now = candidates(ended);
    }
    let mut advice = Advice { doubts: doubts(board, names, text), ..Advice::default() };
    let places: Vec<&Place> = candidates_now.iter().map(|c| c.place).collect();
    let figures = figures(&places);
    let has = |column: &str| figures.iter().any(|(c, _)| *c == column);
    let find = |columns: [&'static str; 2]| columns.into_iter().find(|c| has(c));
    let (speed, energy, memory) = (
        find(["decode_tok_s", "records_s"]),
        find(["energy_j_per_token", "energy_j_per_record"]),
        has("rss_peak_mib").then_some("rss_peak_mib"),
    );
    let quality = has("acc");
    let Some(best) = most(&candidates_now, if quality { "acc" } else { speed.unwrap_or("acc") }, true) else {
        return advice;
    };
    let tied: Vec<&Candidate> = if quality {
        let near = |c: &Candidate| best.number("acc") - c.number("acc") <= AS_GOOD && overlap(best.place, c.place);
        candidates_now.iter().filter(|c| c.index == best.index || near(c)).collect()
    } else {
        candidates_now.iter().collect()
    };
    let chosen = choose(&tied, best, speed, energy, memory);
    advice.place = Some(chosen.index);
    advice.name = chosen.name.to_owned();
    advice.tiles = tiles(chosen, [speed, energy, memory], text);
    advice.why = why(chosen, best, &tied, &candidates_now, quality, [speed, energy, memory], text);
    advice.others = others(chosen, &candidates_now, quality, [speed, energy, memory], text);
    if let Some((lo, hi)) = interval_of(chosen.place).filter(|(lo, hi)| hi - lo > WIDE) {
        let width = figure((hi - lo) * 100.0);
        advice.doubts.insert(0, text.fill("doubt.wide", &[&width, &records(chosen.place)]));
    }
    advice
}

/// The candidate with the largest (or smallest) value; the first of equals.
fn most<'c, 'b>(from: &'c [Candidate<'b>], column: &str, up: bool) -> Option<&'c Candidate<'b>> {
    let worth = |c: &Candidate| if up { c.number(column) } else { -c.number(column) };
    let known = from.iter().filter(|c| !worth(c).is_nan());
    known.reduce(|best, c| if worth(c) > worth(best) { c } else { best })
}

/// Of those as good as the best: the fastest; of those nearly as fast the one with the least energy, else memory.
fn choose<'c, 'b>(
    tied: &[&'c Candidate<'b>],
    best: &'c Candidate<'b>,
    speed: Option<&str>,
    energy: Option<&str>,
    memory: Option<&str>,
) -> &'c Candidate<'b> {
    let Some(speed) = speed else { return best };
    let fastest = tied.iter().map(|c| c.number(speed)).fold(f64::MIN, f64::max);
    let fast = tied.iter().filter(|c| c.number(speed) >= fastest * (1.0 - AS_FAST));
    let cost = |c: &Candidate| energy.or(memory).map_or(-c.number(speed), |column| c.number(column));
    fast.copied().reduce(|a, b| if cost(b) < cost(a) { b } else { a }).unwrap_or(best)
}

fn records(place: &Place) -> String {
    format!("{:.0}", place.number("n").unwrap_or(0.0))
}

fn tiles(chosen: &Candidate, columns: [Option<&str>; 3], text: &Text) -> Vec<[String; 3]> {
    let mut tiles = Vec::new();
    if let Some(acc) = chosen.place.number("acc") {
        let range = interval_of(chosen.place).map_or(String::new(), |i| text.fill("tile.interval", &[&interval(i)]));
        tiles.push([text.of("col.acc").to_owned(), percent(acc), range]);
    }
    for column in columns.into_iter().flatten().chain(["ttft_ms_p50"]) {
        if let Some(number) = chosen.place.number(column) {
            let [name, unit] = text.column_parts(column);
            tiles.push([name, figure(number), unit]);
        }
    }
    tiles
}

#[allow(clippy::too_many_arguments)]
fn why(
    chosen: &Candidate,
    best: &Candidate,
    tied: &[&Candidate],
    all: &[Candidate],
    quality: bool,
    [speed, energy, memory]: [Option<&str>; 3],
    text: &Text,
) -> Vec<String> {
    if all.len() == 1 {
        return vec![text.of("why.only").to_owned()];
    }
    let mut why = Vec::new();
    if !quality {
        why.push(text.of("why.no-quality").to_owned());
    } else {
        let shown = |c: &Candidate| {
            let range = interval_of(c.place).map_or(String::new(), |i| format!(" ({})", interval(i)));
            format!("{}{range}", percent(c.number("acc")))
        };
        if tied.len() == 1 {
            why.push(text.fill("why.best", &[&shown(chosen)]));
        } else {
            let (k, n) = (tied.len().to_string(), all.len().to_string());
            why.push(text.fill("why.tied", &[&shown(chosen), &k, &n, &records(chosen.place)]));
        }
        let behind = best.number("acc") - chosen.number("acc");
        if behind > 0.005 {
            why.push(text.fill("why.behind", &[best.name, &figure(behind * 100.0)]));
        }
    }
    if let Some(speed) = speed.filter(|_| tied.len() > 1) {
        let fastest = tied.iter().map(|c| c.number(speed)).fold(f64::MIN, f64::max);
        let rest = tied.iter().filter(|c| c.index != chosen.index).map(|c| c.number(speed)).fold(f64::MIN, f64::max);
        let own = chosen.number(speed);
        let shown = text.amount(speed, own);
        if own >= fastest {
            why.push(text.fill("why.fastest", &[&shown, &figure(own / rest)]));
        } else {
            why.push(text.fill("why.as-fast", &[&shown, &text.amount(speed, fastest)]));
        }
    }
    let least = |column: &&str| {
        let least = tied.iter().map(|c| c.number(column)).fold(f64::MAX, f64::min);
        tied.len() > 1 && chosen.number(column) <= least
    };
    let least = [energy, memory].into_iter().flatten().filter(least);
    let least: Vec<String> = least.map(|c| text.amount(c, chosen.number(c))).collect();
    if !least.is_empty() {
        why.push(text.fill("why.least", &[&least.join(text.of("and"))]));
    }
    why
}

/// The ends of the scale, where they are not the choice.
fn others(
    chosen: &Candidate,
    all: &[Candidate],
    quality: bool,
    [speed, energy, memory]: [Option<&str>; 3],
    text: &Text,
) -> Vec<String> {
    let mut others = Vec::new();
    let mut add = |key: &str, column: &str, up: bool| {
        let Some(c) = most(all, column, up).filter(|c| c.index != chosen.index) else { return };
        let (theirs, own) = (c.number(column), chosen.number(column));
        // What nobody would notice is no reason to look elsewhere.
        let worth_it = if column == "acc" { theirs - own > 0.005 } else { (theirs - own).abs() > 0.02 * own.abs() };
        if worth_it {
            let shown = |column: &str, v: f64| if column == "acc" { percent(v) } else { text.amount(column, v) };
            let mut line = text.fill(key, &[c.name, &shown(column, theirs), &shown(column, own)]);
            if quality && column != "acc" {
                let points = (c.number("acc") - chosen.number("acc")) * 100.0;
                line += &text.fill("other.points", &[&format!("{points:+.1}")]);
            }
            others.push(line);
        }
    };
    if quality {
        add("other.best", "acc", true);
    }
    for (key, column, up) in
        [("other.fast", speed, true), ("other.energy", energy, false), ("other.memory", memory, false)]
    {
        if let Some(column) = column {
            add(key, column, up);
        }
    }
    others
}

/// Why the figures of a leaderboard may not be what they seem.
fn doubts(board: &Board, names: &[String], text: &Text) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut list = |key: &str, found: Vec<String>| {
        let n = found.len();
        doubts.extend(found.into_iter().take(LISTED));
        if n > LISTED {
            doubts.push(text.fill(key, &[&(n - LISTED).to_string()]));
        }
    };
    let cases = || board.places.iter().zip(names).flat_map(|(p, name)| p.place.rows.iter().map(move |r| (r, name)));
    let failed = cases().filter(|(r, _)| r.get("status") != "ok");
    let told =
        failed.map(|(r, name)| text.fill("doubt.failed", &[name, r.get("task"), r.get("status"), r.get("reason")]));
    list("doubt.failed-more", told.collect());
    let invalid = cases().filter(|(r, _)| r.get("status") == "ok" && r.get("valid") == "no");
    let told = invalid.map(|(r, name)| text.fill("doubt.invalid", &[name, r.get("task"), r.get("evidence")]));
    list("doubt.invalid-more", told.collect());
    let unknown = cases().filter(|(r, _)| r.get("status") == "ok" && r.get("valid") == "unknown").count();
    if unknown > 0 {
        let all = cases().count();
        doubts.push(text.fill("doubt.unknown", &[&unknown.to_string(), &all.to_string()]));
    }
    let tasks = |p: &Place| p.rows.iter().map(|r| r.get("task").to_owned()).collect::<std::collections::BTreeSet<_>>();
    if board.places.windows(2).any(|w| tasks(&w[0].place) != tasks(&w[1].place)) {
        doubts.push(text.of("doubt.tasks").to_owned());
    }
    doubts
}
