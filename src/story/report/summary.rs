//! The report in words: which object instance this board should use, why, what else there is, and what speaks against
//! believing it. It must not know how the page is laid out.

use super::language::Text;
use super::numbers::{figure, interval, percent};
use crate::story::boards::{Board, QUALITY, Ranked, figures, interval as interval_of, overlap, value};
use crate::story::rank::Place;
use serde::Serialize;

/// Speeds nearer to the fastest than this share are as good; energy and memory decide.
const AS_FAST: f64 = 0.05;
/// Accuracies nearer to the best than this may be as good, if their intervals overlap too: a wide interval alone would
/// make anything as good as the best.
const AS_GOOD: f64 = 0.03;
/// Perplexities nearer to the best than this share are as good.
const AS_FLUENT: f64 = 0.01;
/// An interval of accuracy wider than this says little.
const WIDE: f64 = 0.10;
/// Differences of accuracy that are worth a word.
const NOTICED: f64 = 0.005;
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

/// The columns that decide; each is one that all candidates have.
struct Deciding {
    /// And whether more of it is better.
    quality: Option<(&'static str, bool)>,
    speed: Option<&'static str>,
    energy: Option<&'static str>,
    memory: Option<&'static str>,
}

impl Deciding {
    fn of(candidates: &[Candidate]) -> Deciding {
        let places: Vec<&Place> = candidates.iter().map(|c| c.place).collect();
        let figures = figures(&places);
        let find = |columns: &[&str]| figures.iter().map(|f| f.0).find(|c| columns.contains(c));
        Deciding {
            quality: figures.iter().copied().find(|f| QUALITY.contains(f)),
            speed: find(&["decode_tok_s", "records_s"]),
            energy: find(&["energy_j_per_token", "energy_j_per_record"]),
            memory: find(&["rss_peak_mib"]),
        }
    }

    /// Is `other` as good as `best`, as far as can be told?
    fn as_good(&self, best: &Candidate, other: &Candidate) -> bool {
        match self.quality {
            None => true,
            Some(("acc", _)) => best.number("acc") - other.number("acc") <= AS_GOOD && overlap(best.place, other.place),
            Some((column, _)) => other.number(column) <= best.number(column) * (1.0 + AS_FLUENT),
        }
    }
}

/// Which place of `board` to use; `names` are those of its places.
pub fn advice(board: &Board, names: &[String], text: &Text) -> Advice {
    let fitting = |fits: fn(&Ranked) -> bool| -> Vec<Candidate> {
        let places = board.places.iter().zip(names).enumerate().filter(|(_, (p, _))| fits(p));
        places.map(|(index, (p, name))| Candidate { index, place: &p.place, name }).collect()
    };
    let mut all = fitting(|p| p.place.failed() == 0 && value(p, "valid") != "no");
    if all.is_empty() {
        all = fitting(|p| p.place.failed() == 0);
    }
    let mut advice = Advice { doubts: doubts(board, names, text), ..Advice::default() };
    let by = Deciding::of(&all);
    let first = by.quality.or(by.speed.map(|c| (c, true))).unwrap_or(("n", true));
    let Some(best) = most(&all, first.0, first.1) else { return advice };
    let tied: Vec<&Candidate> = all.iter().filter(|c| c.index == best.index || by.as_good(best, c)).collect();
    let chosen = choose(&tied, best, &by);
    advice.place = Some(chosen.index);
    advice.name = chosen.name.to_owned();
    advice.tiles = tiles(chosen, &by, text);
    advice.why = why(chosen, best, &tied, &all, &by, text);
    advice.others = others(chosen, &all, &by, text);
    if let Some((lo, hi)) = interval_of(chosen.place, "acc").filter(|(lo, hi)| hi - lo > WIDE) {
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
fn choose<'c, 'b>(tied: &[&'c Candidate<'b>], best: &'c Candidate<'b>, by: &Deciding) -> &'c Candidate<'b> {
    let Some(speed) = by.speed else { return best };
    let fastest = tied.iter().map(|c| c.number(speed)).fold(f64::MIN, f64::max);
    let fast = tied.iter().filter(|c| c.number(speed) >= fastest * (1.0 - AS_FAST));
    let cost = |c: &Candidate| by.energy.or(by.memory).map_or(-c.number(speed), |column| c.number(column));
    fast.copied().reduce(|a, b| if cost(b) < cost(a) { b } else { a }).unwrap_or(best)
}

fn records(place: &Place) -> String {
    format!("{:.0}", place.number("n").unwrap_or(0.0))
}

/// A figure with its unit; accuracy in percent.
fn amount(c: &Candidate, column: &str, text: &Text) -> String {
    let number = c.number(column);
    if column == "acc" { percent(number) } else { text.amount(column, number) }
}

fn tiles(chosen: &Candidate, by: &Deciding, text: &Text) -> Vec<[String; 3]> {
    let columns =
        [by.quality.map(|q| q.0), by.speed, by.energy, by.memory].into_iter().flatten().chain(["ttft_ms_p50"]);
    let tile = |column: &str| {
        let number = chosen.place.number(column)?;
        let [name, unit] = text.column_parts(column);
        if column != "acc" {
            return Some([name, figure(number), unit]);
        }
        let range = interval_of(chosen.place, "acc").map(|i| text.fill("tile.interval", &[&interval(i)]));
        Some([name, percent(number), range.unwrap_or_default()])
    };
    columns.filter_map(tile).collect()
}

fn why(
    chosen: &Candidate,
    best: &Candidate,
    tied: &[&Candidate],
    all: &[Candidate],
    by: &Deciding,
    text: &Text,
) -> Vec<String> {
    if all.len() == 1 {
        return vec![text.of("why.only").to_owned()];
    }
    let mut why = Vec::new();
    let (k, n) = (tied.len().to_string(), all.len().to_string());
    match by.quality {
        None => why.push(text.of("why.no-quality").to_owned()),
        Some(("acc", _)) => {
            let range = interval_of(chosen.place, "acc").map_or(String::new(), |i| format!(" ({})", interval(i)));
            let shown = percent(chosen.number("acc")) + &range;
            why.push(match tied.len() {
                1 => text.fill("why.best", &[&shown]),
                _ => text.fill("why.tied", &[&shown, &k, &n, &records(chosen.place)]),
            });
            let behind = best.number("acc") - chosen.number("acc");
            if behind > NOTICED {
                why.push(text.fill("why.behind", &[best.name, &figure(behind * 100.0)]));
            }
        }
        Some((column, _)) => {
            let name = &text.column_parts(column)[0];
            let key = if tied.len() == 1 { "why.fluent" } else { "why.as-fluent" };
            why.push(text.fill(key, &[name, &figure(chosen.number(column)), &k, &n]));
        }
    }
    if let Some(speed) = by.speed.filter(|_| tied.len() > 1) {
        let fastest = tied.iter().copied().reduce(|a, b| if b.number(speed) > a.number(speed) { b } else { a });
        let rest = tied.iter().filter(|c| c.index != chosen.index).map(|c| c.number(speed)).fold(f64::MIN, f64::max);
        let (own, shown) = (chosen.number(speed), amount(chosen, speed, text));
        match fastest {
            Some(fastest) if fastest.number(speed) > own => {
                why.push(text.fill("why.as-fast", &[&shown, &amount(fastest, speed, text)]));
            }
            _ => why.push(text.fill("why.fastest", &[&shown, &figure(own / rest)])),
        }
    }
    let least = |column: &&str| tied.len() > 1 && tied.iter().all(|c| c.number(column) >= chosen.number(column));
    let least: Vec<String> =
        [by.energy, by.memory].into_iter().flatten().filter(least).map(|c| amount(chosen, c, text)).collect();
    if !least.is_empty() {
        why.push(text.fill("why.least", &[&least.join(text.of("and"))]));
    }
    why
}

/// The ends of the scale, where they are not the choice.
fn others(chosen: &Candidate, all: &[Candidate], by: &Deciding, text: &Text) -> Vec<String> {
    let ends = [
        ("other.best", by.quality),
        ("other.fast", by.speed.map(|c| (c, true))),
        ("other.energy", by.energy.map(|c| (c, false))),
        ("other.memory", by.memory.map(|c| (c, false))),
    ];
    let line = |(key, column): (&str, Option<(&str, bool)>)| {
        let (column, up) = column?;
        let other = most(all, column, up).filter(|c| c.index != chosen.index)?;
        let (theirs, own) = (other.number(column), chosen.number(column));
        // What nobody would notice is no reason to look elsewhere.
        let noticed = if column == "acc" { theirs - own > NOTICED } else { (theirs - own).abs() > 0.02 * own.abs() };
        let mut line = text.fill(key, &[other.name, &amount(other, column, text), &amount(chosen, column, text)]);
        if key != "other.best" && by.quality.is_some_and(|q| q.0 == "acc") {
            let points = (other.number("acc") - chosen.number("acc")) * 100.0;
            line += &text.fill("other.points", &[&format!("{points:+.1}")]);
        }
        noticed.then_some(line)
    };
    ends.into_iter().filter_map(line).collect()
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

#[cfg(test)]
mod tests {
    use super::super::language::Language;
    use super::*;
    use crate::results::CaseRow;

    /// Places in the order given, each of one case, with these fields.
    fn advice_for(places: &[&[(&str, &str)]]) -> Advice {
        let place = |(i, fields): (usize, &&[(&str, &str)])| {
            let mut row = CaseRow::default();
            for (column, value) in [("status", "ok"), ("valid", "yes"), ("n", "500")].iter().chain(*fields) {
                row.set(column, *value);
            }
            Ranked {
                place: Place { rows: vec![row] },
                run: String::new(),
                folder: Default::default(),
                start: String::new(),
                run_number: 0,
                board: String::new(),
                rank: i + 1,
                pareto: false,
            }
        };
        let board = Board { title: String::new(), places: places.iter().enumerate().map(place).collect() };
        let names: Vec<String> = (0..places.len()).map(|i| format!("o{i}")).collect();
        advice(&board, &names, &Text::new(Language::En))
    }

    #[test]
    fn the_fastest_of_those_as_good_as_the_best_is_recommended() {
        let best = [("acc", "0.80"), ("acc_lo", "0.76"), ("acc_hi", "0.84"), ("decode_tok_s", "10")];
        let near = [("acc", "0.79"), ("acc_lo", "0.75"), ("acc_hi", "0.83"), ("decode_tok_s", "30")];
        let far = [("acc", "0.70"), ("acc_lo", "0.60"), ("acc_hi", "0.77"), ("decode_tok_s", "90")];
        let found = advice_for(&[&best, &near, &far]);
        assert_eq!(found.name, "o1", "o2 overlaps too, but is 10 points behind");
        assert!(found.why[0].contains("2 of 3 objects") && found.why[2].contains("3.00 times"), "{:?}", found.why);
        assert!(found.others.iter().any(|o| o.starts_with("Fastest: o2") && o.contains("-9.0 points")), "{found:?}");
        assert!(found.doubts.is_empty());
    }

    #[test]
    fn of_equally_fast_ones_the_most_frugal_and_never_one_that_failed_or_is_not_valid() {
        let place = |watts: &'static str, status: &'static str, valid: &'static str| {
            [
                ("acc", "0.80"),
                ("acc_lo", "0.78"),
                ("acc_hi", "0.82"),
                ("decode_tok_s", "30"),
                ("energy_j_per_token", watts),
                ("status", status),
                ("valid", valid),
                ("evidence", "throttled"),
            ]
        };
        let all = [
            place("2", "ok", "yes"),
            place("1.5", "ok", "yes"),
            place("1", "ok", "no"),
            place("0.5", "crashed", "yes"),
        ];
        let found = advice_for(&all.iter().map(|p| &p[..]).collect::<Vec<_>>());
        assert_eq!(found.name, "o1");
        assert!(
            found.doubts.iter().any(|d| d.contains("o2") && d.contains("not valid: throttled")),
            "{:?}",
            found.doubts
        );
        assert!(found.doubts.iter().any(|d| d.contains("o3") && d.contains("crashed")), "{:?}", found.doubts);
        assert_eq!(advice_for(&[&[("status", "crashed")]]).place, None);
    }

    #[test]
    fn perplexity_decides_where_there_is_no_accuracy() {
        let place = |perplexity: &'static str, speed: &'static str| {
            [("perplexity", perplexity), ("prefill_tok_s", "9"), ("records_s", speed)]
        };
        let all = [place("10.0", "1"), place("10.05", "2"), place("12", "9")];
        let found = advice_for(&all.iter().map(|p| &p[..]).collect::<Vec<_>>());
        assert_eq!(found.name, "o1", "{found:?}");
        assert!(found.why[0].contains("2 of 3 objects are within 1 %"), "{:?}", found.why);
    }
}
