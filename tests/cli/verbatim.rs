//! Records that are prompts already, as another harness made them: conversations, and options that are whole texts.

use crate::common::{Bench, mock};
use predicates::prelude::*;

/// The prompts of `check --show-prompt 9 --json`.
fn prompts(bench: &Bench) -> Vec<String> {
    let out = bench.edgebench(&["check", "job.toml", "--show-prompt", "9", "--json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout).unwrap();
    let prompt = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["prompt"].as_str().unwrap().to_owned();
    lines.lines().map(prompt).collect()
}

const TASK: &str =
    "[[task]]\nname = \"gen\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nprompt = \"{{ question }}\"\n";

#[test]
fn a_conversation_goes_through_the_chat_template_as_it_stands() {
    let bench = Bench::new();
    bench.write("t.jinja", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<go>");
    let plain = serde_json::json!({"question": " Plain\n\ntext ", "answer": "x"});
    let turns = serde_json::json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1? \"quoted\" é\n"},
        {"role": "assistant", "content": " 2"},
        {"role": "user", "content": "2 + 2?"},
    ]);
    let chat = serde_json::json!({"question": "1 + 1? 2\n2 + 2?", "messages": turns, "answer": "4"});
    // Escapes in the line, as Python writes them.
    let escaped = chat.to_string().replace('é', "\\u00e9");
    bench.write("gen.jsonl", format!("{plain}\n{escaped}\n"));
    let object = format!("[[object]]\nname = \"mock\"\nbackend = \"{}\"\n", mock().display());
    bench.write("job.toml", format!("{object}chat = \"t.jinja\"\n{TASK}"));
    assert_eq!(
        prompts(&bench),
        ["<user> Plain\n\ntext <go>", "<system>Be brief.<user>1 + 1? \"quoted\" é\n<assistant> 2<user>2 + 2?<go>"]
    );
    bench.write("job.toml", format!("{object}{TASK}"));
    assert_eq!(prompts(&bench), [" Plain\n\ntext ", "1 + 1? 2\n2 + 2?"], "without a chat the question counts");
}

#[test]
fn what_is_no_conversation_is_told_with_its_line() {
    let refused = [
        ("[]", "\"messages\": there are none"),
        ("\"hi\"", "\"messages\" is a string"),
        (
            "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]",
            "the last one is not the user's",
        ),
        ("[{\"role\": \"tool\", \"content\": \"a\"}]", "unknown variant `tool`"),
        ("[{\"role\": \"user\"}]", "missing field `content`"),
    ];
    for (messages, words) in refused {
        let bench = Bench::new();
        let sound = "{\"question\":\"q\",\"answer\":\"x\",\"messages\":null}";
        bench.write("gen.jsonl", format!("{sound}\n{{\"question\":\"q\",\"answer\":\"x\",\"messages\":{messages}}}\n"));
        bench.mock_job("", "", TASK);
        let told = predicate::str::contains("gen.jsonl:2: ").and(predicate::str::contains(words));
        bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(told);
    }
}

#[test]
fn of_whole_texts_the_one_that_is_likeliest_per_token_is_chosen() {
    let bench = Bench::new();
    let options = ["Is it so? 答案是: A", "Is it so? 答案是: B, or perhaps not", "Was it?", "I"];
    let record = serde_json::json!({"question": "Is it so?", "choices": options, "answer": "B"});
    bench.write("pick.jsonl", format!("{record}\n"));
    let texts: String = options.iter().map(|text| format!("{}\n", serde_json::json!({"text": text}))).collect();
    bench.write("lm.jsonl", texts);
    bench.mock_job(
        "",
        "",
        "[[task]]\nname = \"pick\"\ndataset = \"pick.jsonl\"\nmethod = \"choice\"\noptions = \"whole\"\n\
         [[task]]\nname = \"lm\"\ndataset = \"lm.jsonl\"\nmethod = \"perplexity\"\n",
    );
    assert_eq!(bench.run().0, 0);
    let predictions = bench.predictions();
    let scores: Vec<f64> = predictions[0]["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    // `perplexity` sums over the same tokens, after BOS, which counts as a token here.
    for (score, text) in scores.iter().zip(&predictions[1..]) {
        let mean = text["logprob"].as_f64().unwrap() / (text["tokens"].as_f64().unwrap() + 1.0);
        assert!((score - mean).abs() < 2e-6, "{score} {mean}");
    }
    let best = (0..4).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
    assert_eq!(predictions[0]["prediction"], ["A", "B", "C", "D"][best]);
    assert_eq!(predictions[0]["correct"], best == 1);
    let sample = &bench.rows("samples.csv")[1];
    assert!(sample.number("e2e_ms").is_some() && sample.number("prompt_tokens").unwrap() > 50.0);
}

#[test]
fn figures_that_need_a_question_are_refused_with_whole_texts() {
    let bench = Bench::new();
    bench.write("pick.jsonl", "{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":\"A\"}\n");
    let task = "[[task]]\nname = \"pick\"\ndataset = \"pick.jsonl\"\nmethod = \"choice\"\noptions = \"whole\"\nmetrics = [\"acc_norm\"]\n";
    bench.mock_job("", "", task);
    let words = "acc_norm needs options that follow a question";
    bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(predicate::str::contains(words));
}

#[test]
fn options_in_the_question_are_told_apart_by_what_follows_them() {
    let bench = Bench::new();
    let (sentence, options) = ("The cup did not fit into the bag as the _ was too big. Or _ so.", ["cup", "bag"]);
    bench.write(
        "w.jsonl",
        format!("{}\n", serde_json::json!({"question": sentence, "choices": options, "answer": "A"})),
    );
    // What follows, as the one continuation of each question.
    let after = " was too big. Or _ so.";
    let each = options.map(|o| serde_json::json!({"question": format!("The cup did not fit into the bag as the {o}"), "choices": [after, "x"], "answer": "A"}));
    bench.write("each.jsonl", format!("{}\n{}\n", each[0], each[1]));
    bench.mock_job(
        "",
        "",
        "[[task]]\nname = \"winogrande\"\ndataset = \"w.jsonl\"\nmethod = \"choice\"\nstyle = \"lm-eval\"\n\
         [[task]]\nname = \"each\"\ndataset = \"each.jsonl\"\nmethod = \"choice\"\noptions = \"text\"\nprompt = { question = \"{{ question }}\", answer = \"{{ text }}\" }\n",
    );
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let predictions = bench.predictions();
    let scores = [&predictions[1]["scores"][0], &predictions[2]["scores"][0]];
    assert_eq!([&predictions[0]["scores"][0], &predictions[0]["scores"][1]], scores);
    let first = scores[0].as_f64() > scores[1].as_f64();
    assert_eq!(predictions[0]["prediction"], if first { "A" } else { "B" });
}
