//! What kind of learning a case stands for: a column, what it defaults to, and what is made of it.

use crate::common::{Bench, CHOICE, choices, mock};

const LM: &str = "[[task]]\nname = \"lm\"\ndataset = \"lm.jsonl\"\nmethod = \"perplexity\"\n";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("a.lora", "mock-lora a");
    bench.write("pick.jsonl", choices(6));
    bench.write("lm.jsonl", "{\"text\":\"some text\"}\n");
    bench
}

#[test]
fn an_adapter_is_a_fine_tuning_and_raw_text_is_self_supervised_unless_the_job_says_otherwise() {
    let bench = bench();
    let mock = mock().display();
    let said = format!(
        "[[object]]\nname = \"several\"\nbackend = \"{mock}\"\nparadigm = \"multitask\"\nparams = {{ lora = \"a.lora\" }}\n"
    );
    let other = CHOICE.replace("pick\"\nd", "own\"\nparadigm = \"finetuned\"\nd");
    let lora = "lora = [\"none\", \"a.lora\", { path = \"a.lora\", scale = 0 }]";
    bench.mock_job("", lora, &format!("{CHOICE}{other}{LM}{said}"));
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    for (case, paradigm) in [
        ("mock.1/pick", "pretrained"),
        ("mock.1/own", "finetuned"),
        ("mock.1/lm", "self-supervised"),
        ("mock.2/pick", "finetuned"),
        ("mock.2/lm", "finetuned"),
        ("mock.3/pick", "pretrained"),
        ("several/pick", "multitask"),
        ("several/own", "multitask"),
    ] {
        assert_eq!(bench.case(case).get("paradigm"), paradigm, "{case}");
    }

    let rank = |arguments: &[&str]| {
        let out = bench.edgebench(&[&["rank", "out", "--format", "csv"], arguments].concat()).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let tuned = rank(&["--filter", "paradigm=finetuned", "--column", "object", "--column", "params", "--column", "n"]);
    assert_eq!(tuned.lines().count(), 1 + 3, "own of mock.1 and mock.3, all of mock.2: {tuned}");
    let all = rank(&[]);
    assert!(all.lines().next().unwrap().contains(",paradigm,"), "{all}");
    assert!(all.contains("\"pretrained, finetuned, self-supervised\""), "{all}");
    let page = bench.out("report.html");
    for told in ["The best of each paradigm", "Fine-tuned", "Self-supervised", "Multi-task"] {
        assert!(page.contains(told), "{told}");
    }
}

#[test]
fn one_paradigm_is_not_worth_a_column() {
    let bench = bench();
    bench.mock_job("", "seed = [1, 2]", CHOICE);
    assert_eq!(bench.run().0, 0);
    assert!(!bench.out("report.html").contains("The best of each paradigm"));
    let out = bench.edgebench(&["rank", "out"]).output().unwrap();
    assert!(!String::from_utf8(out.stdout).unwrap().contains("paradigm"));
}

#[test]
fn a_paradigm_that_is_none_is_told() {
    let bench = bench();
    bench.mock_job("", "", &CHOICE.replace("method", "paradigm = \"fine-tuned\"\nmethod"));
    let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("did you mean \"finetuned\"?"), "{out:?}");
}
