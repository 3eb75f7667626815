//! The best of each kind of learning, task by task, where a leaderboard has more than one kind. It must not know how a
//! table looks.

use super::language::Text;
use super::leaderboard::{is_share, less_is_better};
use super::numbers::{figure, interval, percent};
use crate::results::CaseRow;
use crate::story::boards::{Board, QUALITY, interval as interval_of};
use crate::story::rank::Place;
use serde::Serialize;

/// The best case of one task among those of one paradigm.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Empty where the line before has the same.
    pub paradigm: String,
    pub task: String,
    /// How many objects were tried.
    pub tried: usize,
    pub name: String,
    /// What is told: `Accuracy`, `Perplexity`.
    pub metric: String,
    pub value: String,
    /// Its 95 % interval, or empty.
    pub range: String,
}

/// Lines, by paradigm and task; none where all cases are of one paradigm.
pub fn lines(board: &Board, names: &[String], text: &Text) -> Vec<Line> {
    let rows: Vec<(&CaseRow, &str)> = board
        .places
        .iter()
        .zip(names)
        .flat_map(|(p, name)| p.place.rows.iter().map(move |r| (r, name.as_str())))
        .collect();
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for (row, _) in rows.iter().filter(|(r, _)| !r.get("paradigm").is_empty()) {
        let kind = (row.get("paradigm"), row.get("task"));
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.iter().all(|kind| kind.0 == kinds[0].0) {
        return Vec::new();
    }
    kinds.sort_by_key(|(paradigm, _)| rows.iter().position(|(r, _)| r.get("paradigm") == *paradigm));
    let mut lines: Vec<Line> = Vec::new();
    let mut before = "";
    for (paradigm, task) in kinds {
        let of_kind = rows.iter().filter(|(r, _)| (r.get("paradigm"), r.get("task")) == (paradigm, task));
        let Some(line) = best(&of_kind.copied().collect::<Vec<_>>(), text) else { continue };
        let shown = if before == paradigm { String::new() } else { text.word(&format!("paradigm.{paradigm}")) };
        lines.push(Line { paradigm: shown, task: task.to_owned(), ..line });
        before = paradigm;
    }
    lines
}

fn best(rows: &[(&CaseRow, &str)], text: &Text) -> Option<Line> {
    let (column, _) = QUALITY.iter().find(|(c, _)| rows.iter().any(|(r, _)| r.number(c).is_some()))?;
    let worth = |row: &CaseRow| row.number(column).map(|v| if less_is_better(column) { -v } else { v });
    let mut known: Vec<_> = rows.iter().filter_map(|(row, name)| Some((worth(row)?, row, name))).collect();
    // Of equals the first, which is the one that has the better place.
    known.reverse();
    let (_, row, name) = known.into_iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let value = row.number(column)?;
    let share = is_share(column);
    let range = interval_of(&Place { rows: vec![(*row).clone()] }, column);
    let shown = |(lo, hi)| if share { interval((lo, hi)) } else { format!("{}–{}", figure(lo), figure(hi)) };
    Some(Line {
        paradigm: String::new(),
        task: String::new(),
        tried: rows.len(),
        name: (*name).to_owned(),
        metric: text.column(column),
        value: if share { percent(value) } else { figure(value) },
        range: range.map_or(String::new(), shown),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::boards::Ranked;
    use crate::story::report::Language;

    fn place(rows: &[[&str; 4]]) -> Ranked {
        let row = |[paradigm, task, column, value]: &[&str; 4]| {
            let mut row = CaseRow::default();
            [("paradigm", paradigm), ("task", task), (column, value)].iter().for_each(|(c, v)| row.set(c, **v));
            row
        };
        let place = Place { rows: rows.iter().map(row).collect() };
        let (run, folder, start, board) = Default::default();
        Ranked { place, run, folder, start, run_number: 0, board, rank: 1, pareto: false }
    }

    #[test]
    fn each_kind_has_its_best_and_one_kind_alone_has_no_table() {
        let base = place(&[["pretrained", "t", "acc", "0.6"], ["self-supervised", "lm", "perplexity", "1.5"]]);
        let poor = place(&[["pretrained", "t", "acc", "0.5"], ["self-supervised", "lm", "perplexity", "1.7"]]);
        let tuned = place(&[["finetuned", "t", "acc", "0.9"]]);
        let names = ["tuned", "poor", "base"].map(str::to_owned);
        let board = Board { title: String::new(), places: vec![tuned, poor, base] };
        let text = Text::new(Language::En);
        let got = lines(&board, &names, &text);
        let got: Vec<_> =
            got.iter().map(|l| (l.paradigm.as_str(), l.name.as_str(), l.value.as_str(), l.tried)).collect();
        assert_eq!(
            got,
            [
                ("Fine-tuned", "tuned", "90.0 %", 1),
                ("Pretrained", "base", "60.0 %", 2),
                ("Self-supervised", "base", "1.50", 2)
            ]
        );
        let board = Board { title: String::new(), places: vec![place(&[["finetuned", "t", "acc", "0.9"]])] };
        assert!(lines(&board, &names[..1], &text).is_empty());
    }
}
