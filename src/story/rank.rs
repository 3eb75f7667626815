//! The leaderboard: cases of one object instance put together, and instances put in order. It must not know
//! how a table is drawn.

use crate::job::SortKey;
use crate::results::{CaseRow, Status};

/// One place of the leaderboard: an object instance over all its tasks.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its cases, in the order of the run.
    pub rows: Vec<CaseRow>,
}

impl Place {
    /// A column over all cases: the largest for peaks, the sum for whole amounts, else the mean. `None` when no
    /// case has it.
    pub fn number(&self, column: &str) -> Option<f64> {
        let values: Vec<f64> = self.rows.iter().filter_map(|r| r.number(column)).collect();
        if values.is_empty() {
            return None;
        }
        let largest = column.contains("peak") || column.ends_with("_max");
        let sum = matches!(column, "energy_j" | "energy_j_net" | "wall_s" | "n" | "n_failed");
        Some(if largest {
            values.iter().copied().fold(f64::MIN, f64::max)
        } else if sum {
            values.iter().sum()
        } else {
            values.iter().sum::<f64>() / values.len() as f64
        })
    }

    /// A text column that is the same for all cases.
    pub fn text(&self, column: &str) -> &str {
        self.rows.first().map_or("", |r| r.get(column))
    }

    /// What its cases have in a text column, each value once: `pretrained, self-supervised`.
    pub fn texts(&self, column: &str) -> String {
        let mut texts: Vec<&str> = Vec::new();
        for text in self.rows.iter().map(|r| r.get(column)).filter(|t| !t.is_empty()) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts.join(", ")
    }

    /// Cases that did not end well.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|r| r.get("status") != Status::Ok.name()).count()
    }
}

/// The order when the job gives none: the best first, the faster of equals.
pub fn default_keys() -> Vec<SortKey> {
    let key = |column: &str, descending| SortKey { column: column.to_owned(), descending };
    vec![key("acc", true), key("decode_tok_s", true), key("e2e_ms_p50", false)]
}

/// `acc desc` and so on, as on the command line.
pub fn keys(words: &[&str]) -> Result<Vec<SortKey>, String> {
    let key = |text: &&str| {
        let (column, order) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        match order.trim() {
            "asc" | "desc" => Ok(SortKey { column: column.to_owned(), descending: order.trim() == "desc" }),
            _ => Err(format!("--by {text}: write it like \"{column} desc\" or \"{column} asc\"")),
        }
    };
    words.iter().map(key).collect()
}

/// Instances in order. Whoever failed more cases comes later; a missing value comes last.
pub fn leaderboard(rows: &[CaseRow], keys: &[SortKey]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for row in rows {
        match places.iter_mut().find(|p| p.rows.first().is_some_and(|r| identity(r) == identity(row))) {
            Some(place) => place.rows.push(row.clone()),
            None => places.push(Place { rows: vec![row.clone()] }),
        }
    }
    places.sort_by(|a, b| order(a, b, keys));
    places
}

/// What tells object instances apart.
pub fn identity(row: &CaseRow) -> [&str; 4] {
    ["object", "backend", "model", "params"].map(|c| row.get(c))
}

/// Which of two places comes first.
pub fn order(a: &Place, b: &Place, keys: &[SortKey]) -> std::cmp::Ordering {
    keys.iter().map(|key| compare(a, b, key)).fold(a.failed().cmp(&b.failed()), std::cmp::Ordering::then)
}

fn compare(a: &Place, b: &Place, key: &SortKey) -> std::cmp::Ordering {
    match (a.number(&key.column), b.number(&key.column)) {
        (Some(a), Some(b)) if key.descending => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (None, None) => {
            let (a, b) = (a.text(&key.column), b.text(&key.column));
            if key.descending { b.cmp(a) } else { a.cmp(b) }
        }
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(object: &str, acc: &str, decode: &str, status: &str) -> CaseRow {
        let mut row = CaseRow::default();
        for (column, value) in [("object", object), ("acc", acc), ("decode_tok_s", decode), ("status", status)] {
            if !value.is_empty() {
                row.set(column, value);
            }
        }
        row
    }

    #[test]
    fn the_best_comes_first_and_the_failed_last() {
        let rows = [
            row("a", "0.9", "", "ok"),
            row("b", "0.5", "20", "ok"),
            row("a", "0.7", "10", "ok"),
            row("c", "1.0", "99", "crashed"),
            row("d", "0.8", "", "ok"),
        ];
        let places = leaderboard(&rows, &default_keys());
        let order: Vec<&str> = places.iter().map(|p| p.text("object")).collect();
        assert_eq!(order, ["a", "d", "b", "c"], "a: mean 0.8 with a speed, d: 0.8 without one");
        assert_eq!(places[0].number("acc"), Some(0.8));
        assert_eq!(places[0].number("decode_tok_s"), Some(10.0));
    }
}
