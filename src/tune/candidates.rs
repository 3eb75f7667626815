//! What `tune` tries: the values that are given, and for llama.cpp those that usually matter. It must not know how anything
//! is measured.

use super::Goal;

/// `key = value` pairs, in the order of their keys.
pub type Params = Vec<(String, String)>;

/// Settings of llama.cpp that cannot go together.
fn is_possible(params: &Params) -> bool {
    let value = |key: &str| params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let number = |key: &str| value(key).and_then(|v| v.parse::<u64>().ok());
    let quantised = |v: &str| v.starts_with('q') || v.starts_with("iq");
    let fused = matches!(value("flash_attn"), Some("on" | "auto" | "1" | "true" | "yes"));
    let fits = number("n_batch").zip(number("n_ubatch")).is_none_or(|(batch, ubatch)| ubatch <= batch);
    fits && (fused || !value("type_v").is_some_and(quantised))
}

/// Every combination of `given` (lists that the user named) and, for llama.cpp on `cores`, of the usual values of what is not
/// given. The first is what the backend does by itself, with the values that leave no choice.
pub fn candidates(given: &[(String, Vec<String>)], llama: bool, goal: Goal, cores: usize) -> Vec<Params> {
    let fixed = given.iter().filter(|(_, values)| values.len() == 1).map(|(k, v)| (k.clone(), v[0].clone())).collect();
    let mut axes = given.to_vec();
    let is_given = |key: &str| given.iter().any(|(k, _)| k == key);
    let one_kv_type = !is_given("type_k") && !is_given("type_v");
    if llama {
        for (key, values) in usual(goal, cores) {
            if !is_given(key) {
                axes.push((key.to_owned(), values));
            }
        }
    }
    let mut all: Vec<Params> = vec![Vec::new()];
    for (key, values) in &axes {
        let with = |params: &Params| {
            let params = params.clone();
            values.iter().map(move |v| [&params[..], &[(key.clone(), v.clone())]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    let kv_alike = |params: &Params| {
        let value = |key: &str| params.iter().find(|(k, _)| k == key).map(|(_, v)| v);
        !one_kv_type || value("type_k") == value("type_v")
    };
    all.retain(|params| is_possible(params) && kv_alike(params));
    let mut candidates: Vec<Params> = vec![fixed];
    for params in all {
        if !candidates.contains(&params) {
            candidates.push(params);
        }
    }
    candidates
}

/// What usually makes a difference for `goal`.
fn usual(goal: Goal, cores: usize) -> Vec<(&'static str, Vec<String>)> {
    let mut threads: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < cores).collect();
    threads.extend([cores / 2, cores].into_iter().filter(|n| *n > 0));
    threads.sort_unstable();
    threads.dedup();
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    let mut axes = vec![("threads", threads.iter().map(usize::to_string).collect())];
    if goal != Goal::Decode {
        // A token at a time is a batch of one, however large it might be.
        axes.push(("n_batch", words(&["512", "2048"])));
        axes.push(("n_ubatch", words(&["128", "512", "1024"])));
    }
    axes.push(("flash_attn", words(&["off", "on"])));
    axes.push(("type_k", words(&["f16", "q8_0"])));
    axes.push(("type_v", words(&["f16", "q8_0"])));
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(params: &Params) -> String {
        params.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn llama_has_its_usual_values_and_no_impossible_ones() {
        let all: Vec<String> = candidates(&[], true, Goal::Decode, 4).iter().map(text).collect();
        assert_eq!(all[0], "", "as it is");
        // Threads 1, 2, 4; without flash attention f16 alone, with it both types.
        assert_eq!(all.len(), 1 + 3 * 3);
        assert!(all.contains(&"threads=2 flash_attn=on type_k=q8_0 type_v=q8_0".to_owned()));
        assert!(all.iter().all(|c| !(c.contains("flash_attn=off") && c.contains("q8_0"))));
        let prefill = candidates(&[], true, Goal::Prefill, 2);
        assert!(prefill.iter().all(|c| !text(c).contains("n_batch=512 n_ubatch=1024")));
    }

    #[test]
    fn what_is_given_is_what_is_tried() {
        let list = |key: &str, values: &[&str]| (key.to_owned(), values.iter().map(|v| (*v).to_owned()).collect());
        let given = [list("threads", &["3"]), list("type_k", &["f16", "q4_0"]), list("flash_attn", &["off"])];
        let all: Vec<String> = candidates(&given, true, Goal::Decode, 8).iter().map(text).collect();
        assert_eq!(all[0], "threads=3 flash_attn=off");
        assert!(all.contains(&"threads=3 type_k=q4_0 flash_attn=off type_v=f16".to_owned()), "{all:?}");
        let plain = candidates(&[list("speed", &["1", "2"])], false, Goal::Energy, 8);
        assert_eq!(plain.iter().map(text).collect::<Vec<_>>(), ["", "speed=1", "speed=2"]);
    }
}
