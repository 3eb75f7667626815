//! How records are scored: options under several rules, texts by windows.

use crate::common::{Bench, CHOICE, choices};
use std::fmt::Write;

const PERPLEXITY: &str = "[[task]]\nname = \"lm\"\ndataset = \"lm.jsonl\"\nmethod = \"perplexity\"\n";

fn scores(prediction: &serde_json::Value) -> Vec<f64> {
    prediction["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect()
}

fn largest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[test]
fn acc_norm_and_acc_mutual_info_are_made_of_the_same_scores() {
    let bench = Bench::new();
    let mut data = String::new();
    for i in 0..40 {
        let letter = ["A", "B", "C"][i % 3];
        writeln!(data, r#"{{"question":"q{i}","choices":["a","bcd","长长长"],"answer":"{letter}"}}"#).unwrap();
    }
    bench.write("pick.jsonl", data);
    let text = "options = \"text\"\nmetrics = [\"acc_norm\", \"acc_mutual_info\"]\n";
    bench.mock_job("", "seed = 5", &format!("{CHOICE}{text}"));
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/pick");
    let with_question: Vec<Vec<f64>> = bench.predictions().iter().map(scores).collect();

    // The options without their questions are those after an empty context: BOS.
    let empty = "[[task]]\nname = \"pick\"\ndataset = \"pick.jsonl\"\nmethod = \"choice\"\noptions = \"text\"\nprompt = { question = \"\" }\n";
    bench.mock_job("", "seed = 5", empty);
    std::fs::remove_dir_all(bench.path().join("out")).unwrap();
    assert_eq!(bench.run().0, 0);
    let alone = scores(&bench.predictions()[0]);

    let share = |right: &dyn Fn(usize, &Vec<f64>) -> bool| {
        let right = with_question.iter().enumerate().filter(|(i, s)| right(i % 3, s)).count();
        format!("{:.4}", right as f64 / with_question.len() as f64)
    };
    assert_eq!(row.get("acc"), share(&|gold, s| largest(s) == gold));
    assert_eq!(row.get("acc_norm"), share(&|gold, s| largest(&[s[0], s[1] / 3.0, s[2] / 9.0]) == gold));
    let gain = |s: &Vec<f64>| [s[0] - alone[0], s[1] - alone[1], s[2] - alone[2]];
    assert_eq!(row.get("acc_mutual_info"), share(&|gold, s| largest(&gain(s)) == gold));
    assert_ne!(row.get("acc_norm"), row.get("acc"), "else this test would not tell them apart");
    assert_ne!(row.get("acc_mutual_info"), row.get("acc"));
}

#[test]
fn white_space_at_a_contexts_end_goes_to_the_options() {
    // With one token per byte the cut makes no difference to the sum of both, but to the option's own share.
    let logprob = |question: &str, answer: &str| {
        let bench = Bench::new();
        bench.write("pick.jsonl", "{\"question\":\"q\",\"choices\":[\"x\"],\"answer\":\"A\"}\n");
        bench.mock_job("", "", &format!("{CHOICE}prompt = {{ question = \"{question}\", answer = \"{answer}\" }}\n"));
        assert_eq!(bench.run().0, 0);
        scores(&bench.predictions()[0])[0]
    };
    assert_eq!(logprob("Answer: ", "A"), logprob("Answer:", " A"));
    assert_eq!(logprob("Answer:\\n", "A"), logprob("Answer:", "\\nA"));
    assert_ne!(logprob("Answer:", "A"), logprob("Answer:", " A"));
}

#[test]
fn perplexity_is_of_all_tokens_whatever_the_windows() {
    let bench = Bench::new();
    let texts = ["the first text of three", "两个字", "and a third one\nwith two lines"];
    let data: String = texts.iter().map(|t| format!("{}\n", serde_json::json!({ "text": t }))).collect();
    bench.write("lm.jsonl", data);
    bench.mock_job("", "", PERPLEXITY);
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/lm");
    let predictions = bench.predictions();
    let sum = |key: &str| predictions.iter().map(|p| p[key].as_f64().unwrap()).sum::<f64>();
    let bytes: usize = texts.iter().map(|t| t.len()).sum();
    assert_eq!((sum("tokens"), sum("bytes"), sum("words")), (bytes as f64, bytes as f64, 5.0 + 1.0 + 7.0));
    let near = |column: &str, wanted: f64| {
        assert!((row.number(column).unwrap() - wanted).abs() < 1e-3 * wanted, "{column} {} {wanted}", row.get(column));
    };
    let loss = -sum("logprob");
    near("perplexity", (loss / bytes as f64).exp());
    near("byte_perplexity", (loss / bytes as f64).exp());
    near("bits_per_byte", loss / bytes as f64 / std::f64::consts::LN_2);
    near("word_perplexity", (loss / 13.0).exp());
    for empty in ["acc", "acc_lo", "acc_hi", "ttft_ms_p50", "decode_tok_s"] {
        assert_eq!(row.get(empty), "", "{empty}");
    }
    for measured in ["e2e_ms_p50", "prefill_tok_s", "records_s"] {
        assert_ne!(row.get(measured), "", "{measured}");
    }
    assert!(predictions.iter().all(|p| p.get("correct").is_none() && p["prediction"].is_null()));
    let samples = bench.rows("samples.csv");
    assert_eq!(samples[1].get("prompt_tokens"), texts[0].len().to_string(), "BOS, and all but the last token");
    assert_eq!(samples[1].get("correct"), "");
}

/// The log-likelihood, token count and evaluated tokens of one text under `windows`.
fn windowed(windows: &str, text: &str) -> (f64, u64, u64) {
    let bench = Bench::new();
    bench.write("lm.txt", text);
    let task = PERPLEXITY.replace("lm.jsonl", "lm.txt");
    bench.mock_job("warmup = 0", "", &format!("{task}windows = {windows}\n"));
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let prediction = &bench.predictions()[0];
    let evaluated = bench.rows("samples.csv")[0].get("prompt_tokens").parse().unwrap();
    (prediction["logprob"].as_f64().unwrap(), prediction["tokens"].as_u64().unwrap(), evaluated)
}

#[test]
fn windows_cut_a_text_as_lm_eval_and_llama_perplexity_do() {
    let text = "abcdefghijklmnopqrstuvwxyz"; // 26 tokens
    let whole = windowed("{ size = 26 }", text);
    assert_eq!((whole.1, whole.2), (26, 26));
    assert_eq!(windowed("{}", text), whole, "it fits the context");
    let disjoint = windowed("{ size = 10 }", text);
    assert_eq!((disjoint.1, disjoint.2), (26, 30), "the last window has as much context as fits");
    let stride = windowed("{ size = 10, stride = 4 }", text);
    assert_eq!((stride.1, stride.2), (26, 10 + 4 * 10), "10, then 4 new ones at a time");
    assert_ne!(disjoint.0, whole.0);
    assert_ne!(stride.0, disjoint.0);
    // The newline at the end of a file is not read; BOS is the first of 27 tokens, of which three windows of 8 are whole.
    let llama = windowed("{ style = \"llama.cpp\", size = 8 }", &format!("{text}\n"));
    assert_eq!((llama.1, llama.2), (3 * 3, 3 * 7));
}

#[test]
fn a_text_file_is_one_record_and_what_is_wrong_with_it_is_told() {
    for (bytes, told) in [(&b"a\nb\xff\n"[..], "lm.txt:2: the text is not UTF-8"), (b" \n", "lm.txt: no text")] {
        let bench = Bench::new();
        bench.write("lm.txt", bytes);
        bench.mock_job("", "", &PERPLEXITY.replace("lm.jsonl", "lm.txt"));
        let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2));
        assert!(stderr.contains(told), "{stderr}");
    }
}

#[test]
fn a_text_that_fills_no_window_and_a_backend_without_scores_are_told() {
    let bench = Bench::new();
    bench.write("lm.jsonl", "{\"text\":\"short\"}\n");
    bench.mock_job(
        "",
        "score = [true, false]",
        &format!("{PERPLEXITY}windows = {{ style = \"llama.cpp\", size = 64 }}\n"),
    );
    assert_eq!(bench.run().0, 1);
    let row = bench.case("mock.1/lm");
    assert_eq!(row.get("status"), "failed");
    assert!(row.get("reason").contains("shorter than one window"), "{}", row.get("reason"));
    bench.mock_job("", "score = false", PERPLEXITY);
    std::fs::remove_dir_all(bench.path().join("out")).unwrap();
    assert_eq!(bench.run().0, 1);
    assert_eq!(bench.case("mock/lm").get("status"), "unsupported");
}

#[test]
fn choices_without_own_metrics_ask_nothing_twice() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(4));
    // Four records are four calls of score(): the fifth, which fails, is not made.
    bench.mock_job("warmup = 0", "fault = \"error\", fault_at = 5", CHOICE);
    assert_eq!(bench.run().0, 0);
}

#[test]
fn a_last_word_is_right_if_the_model_would_say_it() {
    // What the model says after a context: of those answers that are a blank and a letter, words can be made.
    let bench = Bench::new();
    let contexts: Vec<String> = (0..400).map(|i| format!("the text {i}")).collect();
    let records: String =
        contexts.iter().map(|c| format!("{}\n", serde_json::json!({ "question": c, "answer": "x" }))).collect();
    bench.write("gen.jsonl", records);
    let generate = "[[task]]\nname = \"gen\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nmax_tokens = 2\n\
                    stop = [\"~\"]\nprompt = { question = \"{{ question }}\" }\n";
    bench.mock_job("warmup = 0", "", generate);
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let said = |p: &serde_json::Value| p["output"].as_str().or(p["prediction"].as_str()).unwrap_or_default().to_owned();
    let outputs: Vec<String> = bench.predictions().iter().map(said).collect();
    let is_word = |o: &&(&String, &String)| matches!(o.1.as_bytes(), [b' ', b'a'..=b'z']);
    let words: Vec<(&String, &String)> = contexts.iter().zip(&outputs).filter(|o| is_word(&o)).collect();
    assert!(words.len() >= 4, "{} of {outputs:?}", words.len());

    let mut texts = String::new();
    for (i, (context, word)) in words.iter().enumerate() {
        // Each fourth has another last word than the model would say.
        let other = if word.ends_with('q') { " x" } else { " q" };
        let text = format!("{context}{}", if i % 4 == 0 { other } else { word.as_str() });
        writeln!(texts, "{}", serde_json::json!({ "text": text })).unwrap();
    }
    bench.write("lm.jsonl", texts);
    bench.mock_job("warmup = 0", "", &PERPLEXITY.replace("perplexity", "cloze"));
    std::fs::remove_dir_all(bench.path().join("out")).unwrap();
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let (row, predictions) = (bench.case("mock/lm"), bench.predictions());
    let wrong = words.len().div_ceil(4);
    let right: Vec<bool> = predictions.iter().map(|p| p["correct"].as_bool().unwrap()).collect();
    assert_eq!(right, (0..words.len()).map(|i| i % 4 != 0).collect::<Vec<_>>());
    assert_eq!(row.get("acc"), format!("{:.4}", (words.len() - wrong) as f64 / words.len() as f64));
    let loss = -predictions.iter().map(|p| p["logprob"].as_f64().unwrap()).sum::<f64>() / words.len() as f64;
    assert!((row.number("target_perplexity").unwrap() - loss.exp()).abs() < 1e-3 * loss.exp());
    assert_eq!((row.get("scored_by"), row.get("paradigm"), row.get("perplexity")), ("logits", "self-supervised", ""));
    assert_ne!(row.get("target_perplexity_lo"), "");
}

#[test]
fn a_text_of_one_word_and_a_backend_without_scores_have_no_last_word() {
    let cloze = PERPLEXITY.replace("perplexity", "cloze");
    let bench = Bench::new();
    bench.write("lm.jsonl", "{\"text\":\"two words\"}\n{\"text\":\"one\"}\n");
    bench.mock_job("", "score = [true, false]", &cloze);
    assert_eq!(bench.run().0, 1);
    let (row, without) = (bench.case("mock.1/lm"), bench.case("mock.2/lm"));
    assert_eq!((row.get("status"), row.get("n"), row.get("n_failed")), ("ok", "2", "1"));
    assert!(row.get("reason").contains("no word before its last one"), "{}", row.get("reason"));
    assert_eq!(without.get("status"), "unsupported");
    bench.mock_job("", "", &format!("{cloze}metrics = [\"exact_match\"]\nshots = {{ n = 1, from = \"lm.jsonl\" }}\n"));
    let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr.contains("exact_match is not measured by method = \"cloze\""), "{stderr}");
    assert!(stderr.contains("this key belongs to method = \"choice\" or \"generate\""), "{stderr}");
}
