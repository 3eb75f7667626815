//! What a model sees: examples, styles, chat templates; all through `check --show-prompt`.

use crate::common::{Bench, CHOICE, choices, mock, root};
use predicates::prelude::*;

/// The prompts of `check --show-prompt 99 --json`.
fn prompts(bench: &Bench) -> Vec<serde_json::Value> {
    let out = bench.edgebench(&["check", "job.toml", "--show-prompt", "99", "--json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn texts(bench: &Bench) -> Vec<String> {
    prompts(bench).iter().map(|p| p["prompt"].as_str().unwrap().to_owned()).collect()
}

/// One line of a dataset with subjects.
fn record(subject: &str, question: &str, answer: &str) -> String {
    let value = serde_json::json!({"question": question, "subject": subject, "choices": ["u", "v", "w", "x"],
        "answer": answer});
    format!("{value}\n")
}

#[test]
fn the_prompt_is_shown_as_it_is_asked() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(2));
    bench.mock_job("", "", CHOICE);
    bench
        .edgebench(&["check", "job.toml", "--show-prompt", "1"])
        .assert()
        .code(0)
        .stdout("──── pick, record 1 (id q0) ────\nWhat is 0?\nA. w\nB. x\nC. y\nD. z\nAnswer:\n──── options: \" A\" \" B\" \" C\" \" D\"\n");
}

#[test]
fn lm_evals_cmmlu_is_byte_for_byte_what_lm_eval_asks() {
    let bench = Bench::new();
    bench.write("law.jsonl", record("college_law", " 问题三 ", "C"));
    bench.write(
        "dev.jsonl",
        record("agronomy", "别的", "A") + &record("college_law", "问题一", "A") + &record("college_law", "问题二", "B"),
    );
    bench.mock_job(
        "",
        "",
        "[[task]]\nname = \"cmmlu-law\"\ndataset = \"law.jsonl\"\nmethod = \"choice\"\nstyle = \"lm-eval\"\nshots = { n = 2, from = \"dev.jsonl\" }\n",
    );
    let options = "A. u\nB. v\nC. w\nD. x\n";
    let expected = format!(
        "以下是关于大学法律的单项选择题，请直接给出正确答案的选项。\n\n问题一\n{options}答案： A\n\n问题二\n{options}答案： B\n\n问题三\n{options}答案："
    );
    let shown = prompts(&bench);
    assert_eq!(shown[0]["prompt"], expected);
    assert_eq!(shown[0]["options"], serde_json::json!([" A", " B", " C", " D"]));
}

#[test]
fn few_shot_prompts_of_opencompass_are_its_own() {
    let options = |shot: usize| {
        let texts = &["abcd", "efgh", "ijkl"][shot];
        texts.chars().zip('A'..).map(|(c, letter)| format!("{letter}. {c}\n")).collect::<String>()
    };
    let record = |subject: &str, shot: usize, question: &str, answer: &str| {
        let choices: Vec<String> = ["abcd", "efgh", "ijkl"][shot].chars().map(String::from).collect();
        let value = serde_json::json!({"question": question, "subject": subject, "choices": choices, "answer": answer});
        format!("{value}\n")
    };
    let [one, two, three] = [options(0), options(1), options(2)];
    let hint = "以下是关于农学的单项选择题，请直接给出正确答案的选项。\n";
    let exam = "以下是中国关于计算机网络考试的单项选择题，请选出其中的正确答案。\n";
    let topic =
        "There is a single choice question about college biology. Answer the question by replying A, B, C or D.\n";
    // What its PromptTemplate, FixKRetriever and LMTemplateParser make of the configs that the style files name, less
    // the answer's own text at the end where labels are scored.
    let cases = [
        (
            "cmmlu",
            "choice",
            "agronomy",
            format!("{hint}题目：问一\n{one}答案是: B\n\n题目：问二\n{two}答案是: D\n\n题目：问三\n{three}答案是:"),
        ),
        (
            "cmmlu",
            "generate",
            "agronomy",
            format!(
                "{hint}题目：问一\n{one}答案是: B\n{hint}题目：问二\n{two}答案是: D\n{hint}题目：问三\n{three}答案是: "
            ),
        ),
        (
            "ceval",
            "choice",
            "computer_network",
            format!("{exam}问一\n{one}答案: \nB\n\n\n{exam}问二\n{two}答案: \nD\n\n\n\n\n{exam}问三\n{three}答案: "),
        ),
        (
            "ceval",
            "generate",
            "computer_network",
            format!("{exam}问一\n{one}答案: \nB\n{exam}问二\n{two}答案: \nD\n{exam}问三\n{three}答案: "),
        ),
        (
            "mmlu",
            "choice",
            "college_biology",
            format!(
                "The following are multiple choice questions (with answers) about  college biology.\n\n问一\n{one}Answer: B\n\n问二\n{two}Answer: D\n\n问三\n{three}Answer:"
            ),
        ),
        (
            "mmlu",
            "generate",
            "college_biology",
            format!(
                "{topic}Question: 问一\n{one}Answer: \nB\n\n{topic}Question: 问二\n{two}Answer: \nD\n\n{topic}Question: 问三\n{three}Answer: "
            ),
        ),
    ];
    let bench = Bench::new();
    let mut tasks = String::new();
    for (i, (benchmark, method, subject, _)) in cases.iter().enumerate() {
        bench.write(&format!("dev{i}.jsonl"), record(subject, 0, "问一", "B") + &record(subject, 1, "问二", "D"));
        bench.write(&format!("test{i}.jsonl"), record(subject, 2, "问三", "A"));
        tasks += &format!(
            "[[task]]\nname = \"t{i}\"\ndataset = \"test{i}.jsonl\"\nmethod = \"{method}\"\nstyle = \"opencompass:{benchmark}\"\nshots = {{ n = 2, from = \"dev{i}.jsonl\" }}\n"
        );
    }
    bench.mock_job("", "", &tasks);
    for (text, (benchmark, method, _, expected)) in texts(&bench).iter().zip(&cases) {
        assert_eq!(text, expected, "{benchmark} {method}");
    }
}

#[test]
fn every_built_in_style_renders_and_ends_where_the_answer_begins() {
    let cases = [
        (
            "lm-eval:mmlu",
            "choice",
            "The following are multiple choice questions (with answers) about high school law.\n\nQ",
            "Answer:",
        ),
        ("lm-eval:ceval", "choice", "以下是中国关于", "答案："),
        ("lm-eval:arc", "choice", "Question: Q\nAnswer: v\n\nQuestion: Q1", "Answer:"),
        ("lm-eval:boolq", "choice", "P\nQuestion: Q?\nAnswer: v\n\nP", "Answer:"),
        ("lm-eval:hellaswag", "choice", "Q v\n\nQ1", "Q1"),
        ("lm-eval:truthfulqa", "choice", "Q: What is human life expectancy", "\n\nQ: Q1\nA:"),
        ("lm-eval:gsm8k", "generate", "Question: Q\nAnswer: B\n\nQuestion: Q1", "\nAnswer:"),
        ("lm-eval:bbh", "generate", "Q: Q\nA: B\n\nQ: Q1", "\nA:"),
        (
            "opencompass:mmlu",
            "choice",
            "The following are multiple choice questions (with answers) about  high",
            "Answer:",
        ),
        ("opencompass:mmlu", "generate", "There is a single choice question about high school law.", "\nAnswer: "),
        ("opencompass:cmmlu", "choice", "以下是关于", "答案是:"),
        ("opencompass:cmmlu", "generate", "以下是关于", "答案是: "),
        ("opencompass:ceval", "choice", "以下是中国关于", "答案: "),
        ("opencompass:ceval", "generate", "以下是中国关于", "答案: "),
        ("opencompass:gsm8k", "generate", "Q\nPlease reason step by step", "\\boxed{}."),
        ("opencompass:arc", "choice", "Question: Q\nAnswer: \nv\nQuestion: Q1", "Answer: "),
        ("opencompass:arc", "generate", "Question: Q\nA. u", "Answer:"),
        ("opencompass:boolq", "choice", "Passage: P\nQuestion: Q?\nAnswer: V\nPassage", "Q1?"),
        ("opencompass:boolq", "generate", "P\nQuestion: Q\nA. Yes\nB. No\nAnswer:\nB\nP", "Answer:"),
        ("opencompass:hellaswag", "choice", "Q\nv\nQ1", "Q1"),
        ("opencompass:hellaswag", "generate", "Q\nQuestion: Which ending", "Answer:"),
        ("opencompass:winogrande", "generate", "Question: Q\nA. u", "Answer:"),
    ];
    let bench = Bench::new();
    let line = |question: &str| {
        let record = record("high_school_law", question, "B");
        record.replacen('{', "{\"context\":\"P\",", 1)
    };
    bench.write("dev.jsonl", line("Q"));
    bench.write("data.jsonl", line("Q1"));
    let tasks: String = cases
        .iter()
        .enumerate()
        .map(|(i, (style, method, _, _))| {
            format!(
                "[[task]]\nname = \"t{i}\"\ndataset = \"data.jsonl\"\nmethod = \"{method}\"\nstyle = \"{style}\"\nshots = {{ n = 1, from = \"dev.jsonl\" }}\n"
            )
        })
        .collect();
    bench.mock_job("", "", &tasks);
    for (text, (style, method, start, end)) in texts(&bench).iter().zip(cases) {
        assert!(text.starts_with(start) && text.ends_with(end), "{style} {method}: {text}");
    }
}

#[test]
fn a_style_file_is_a_style_and_the_prompt_comes_on_top() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(1));
    bench.write(
        "own.toml",
        "subjects = { law = \"Law\" }\n[choice]\noptions = \"text\"\nquestion = \"Q: {{ question }}\"\nanswer = \" = {{ text }}\"\n[generate]\nquestion = \"?\"\nstop = []\n",
    );
    bench.mock_job("", "", &format!("{CHOICE}style = \"own.toml\"\nprompt = {{ system = \"Hear.\" }}\n"));
    let shown = prompts(&bench);
    assert_eq!(shown[0]["prompt"], "Hear.\n\nQ: What is 0?");
    assert_eq!(shown[0]["options"], serde_json::json!([" = w", " = x", " = y", " = z"]));

    bench.write("own.toml", "[choice]\nquestoin = \"Q\"\n[generate]\nmax_tokens = 0\n");
    let refused = bench.edgebench(&["check", "job.toml"]).assert().code(2);
    refused.stderr(
        predicate::str::contains("own.toml:2: unknown key `questoin`")
            .and(predicate::str::contains("did you mean `question`"))
            .and(predicate::str::contains("own.toml:4: `max_tokens` is 0")),
    );
}

#[test]
fn contradicting_keys_are_refused_with_their_lines() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(3));
    bench.write("bad.jinja", "{% for m in messages %}");
    let job = format!(
        r#"[[object]]
name = "a"
backend = "{}"
chat = "bad.jinja"
[[task]]
name = "t"
dataset = "pick.jsonl"
method = "choice"
style = "lm-eval"
shots = {{ n = 1, from = "pick.jsonl", pick = "first", seed = 3 }}
metrics = ["perplexity"]
[[task]]
name = "u"
dataset = "pick.jsonl"
method = "choice"
style = "lm-eval:gsm8k"
windows = {{ size = 8 }}
[[task]]
name = "v"
dataset = "pick.jsonl"
method = "perplexity"
windows = {{ style = "llama.cpp", stride = 2 }}
prompt = "x"
metrics = ["acc_norm"]
[[task]]
name = "w"
dataset = "pick.jsonl"
method = "choice"
style = "lm-eval:mmul"
[[task]]
name = "x"
dataset = "pick.jsonl"
method = "generate"
metrics = ["acc_norm"]
style = "helm"
"#,
        mock().display()
    );
    bench.write("job.toml", job);
    let out = bench.edgebench(&["check", "job.toml"]).output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    for (line, word) in [
        (4, "is no chat template"),
        (9, "not that of a benchmark of lm-eval"),
        (10, "the first examples need no seed"),
        (11, "perplexity needs whole texts to score; use method = \"perplexity\""),
        (16, "no prompt for method = \"choice\""),
        (17, "belongs to method = \"perplexity\" or \"divergence\""),
        (22, "llama.cpp's windows have no stride"),
        (23, "belongs to method = \"choice\" or \"generate\""),
        (24, "acc_norm is not measured by method = \"perplexity\""),
        (29, "did you mean \"lm-eval:mmlu\"?"),
        (34, "acc_norm needs the log-likelihoods of options; use method = \"choice\""),
        (35, "no style is called \"helm\""),
    ] {
        let place = format!("job.toml:{line}: ");
        assert!(stderr.lines().any(|l| l.starts_with(&place) && l.contains(word)), "{place}{word} in\n{stderr}");
    }
    assert_eq!(stderr.lines().count(), 13, "{stderr}");
}

#[test]
fn a_subject_without_examples_is_found_before_anything_runs() {
    let bench = Bench::new();
    bench.write("law.jsonl", record("law", "q", "A"));
    bench.write("dev.jsonl", record("art", "q", "A"));
    bench.mock_job("", "", "[[task]]\nname = \"t\"\ndataset = \"law.jsonl\"\nmethod = \"choice\"\nshots = { n = 1, from = \"dev.jsonl\" }\n");
    bench
        .edgebench(&["check", "job.toml"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("1 examples of the subject \"law\" are wanted, the file has 0"));
}

#[test]
fn files_are_subjects_and_so_are_those_of_the_examples() {
    let bench = Bench::new();
    for subject in ["law", "art"] {
        bench.write(&format!("{subject}.jsonl"), record("", &format!("{subject}?"), "A"));
        std::fs::create_dir_all(bench.path().join("dev")).unwrap();
        bench.write(&format!("dev/{subject}.jsonl"), record("", &format!("{subject}!"), "A"));
    }
    bench.mock_job(
        "",
        "",
        "[[task]]\nname = \"t\"\ndataset = [\"law.jsonl\", \"art.jsonl\"]\nmethod = \"choice\"\noptions = \"text\"\nshots = { n = 1, from = [\"dev/art.jsonl\", \"dev/law.jsonl\"] }\n",
    );
    assert_eq!(texts(&bench), ["law!\nAnswer: u\n\nlaw?\nAnswer:", "art!\nAnswer: u\n\nart?\nAnswer:"]);
}

#[test]
fn random_examples_are_the_same_in_every_run_and_others_with_another_seed() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(3));
    bench.write("dev.jsonl", choices(60));
    let shown = |pick: &str, seed: u32| {
        bench.mock_job(
            "",
            "",
            &format!("{CHOICE}shots = {{ n = 3, from = \"dev.jsonl\", pick = \"{pick}\", seed = {seed} }}\n"),
        );
        texts(&bench)
    };
    let head = |text: &str| text.rsplit_once("\n\n").unwrap().0.to_owned();
    let fixed = shown("random", 1);
    assert_eq!(fixed, shown("random", 1));
    assert_ne!(head(&fixed[0]), head(&shown("random", 2)[0]));
    assert_eq!(head(&fixed[0]), head(&fixed[1]));
    let each = shown("random-per-record", 1);
    assert_ne!(head(&each[0]), head(&each[1]));
    for text in fixed.iter().chain(&each) {
        let question = text.rsplit_once("\n\n").unwrap().1.lines().next().unwrap();
        assert_eq!(text.matches(&format!("{question}\n")).count(), 1, "no question is its own example: {text}");
    }
}

#[test]
fn chat_templates_render_as_in_python() {
    let bench = Bench::new();
    let folder = root().join("tests/chat");
    let expected: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    assert!(expected.len() >= 8);
    let folder = folder.display();
    let objects: String = expected
        .keys()
        .map(|name| {
            format!(
                "[[object]]\nname = \"{name}\"\nbackend = \"{}\"\nchat = \"{folder}/{name}.jinja\"\n",
                mock().display()
            )
        })
        .collect();
    bench.write(
        "job.toml",
        format!(
            "{objects}[[task]]\nname = \"t\"\ndataset = \"{folder}/questions.jsonl\"\nmethod = \"generate\"\nprompt = {{ system = \"Be brief.\" }}\nshots = {{ n = 2, from = \"{folder}/dev.jsonl\" }}\n"
        ),
    );
    let shown = prompts(&bench);
    for (name, wanted) in &expected {
        let got: Vec<&serde_json::Value> =
            shown.iter().filter(|p| p["object"] == **name).map(|p| &p["prompt"]).collect();
        assert_eq!(got, wanted.as_array().unwrap().iter().collect::<Vec<_>>(), "{name}");
    }
}

const CHATML: &str = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}<s>assistant:";

#[test]
fn a_models_own_template_is_used_and_its_control_tokens_are_tokens() {
    let bench = Bench::new();
    bench.write("gen.jsonl", "{\"question\":\"hi\",\"answer\":\"x\"}\n");
    let task = "[[task]]\nname = \"gen\"\ndataset = \"gen.jsonl\"\nmethod = \"generate\"\nmax_tokens = 2\nprompt = \"{{ question }}\"\n";
    let tokens = |chat: &str, template: &str| {
        let mock = mock().display();
        bench.write(
            "job.toml",
            format!("[job]\nwarmup = 0\n[[object]]\nname = \"m\"\nbackend = \"{mock}\"\nchat = {chat}\nparams = {{ chat_template = '{template}' }}\n{task}"),
        );
        std::fs::remove_dir_all(bench.path().join("out")).ok();
        let (code, stderr) = bench.run();
        assert_eq!(code, 0, "{stderr}");
        bench.rows("samples.csv")[0].get("prompt_tokens").parse::<usize>().unwrap()
    };
    assert_eq!(tokens("false", CHATML), 3, "BOS and two bytes");
    // <s>user: hi</s><s>assistant: has 3 control tokens, the first of which is BOS already.
    assert_eq!(tokens("true", CHATML), "user: hi".len() + "assistant:".len() + 3);
    // Without one in the text BOS is added.
    assert_eq!(tokens("true", "{{ messages[0].content }}!"), 1 + 3);
    assert_eq!(tokens("{ variables = { mark = \"??\" } }", "{{ mark }}{{ messages[0].content }}"), 1 + 4);
    let row = bench.case("m/gen");
    assert!(row.get("params").ends_with("chat=true mark=??"), "{}", row.get("params"));
}

#[test]
fn in_a_chat_options_are_scored_after_the_assistants_mark() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(2));
    bench.write("dev.jsonl", "{\"question\":\"a\",\"choices\":[\"s\",\"t\"],\"answer\":\"B\"}\n");
    let mock = mock().display();
    let job = |turns: bool| {
        format!(
            "[[object]]\nname = \"m\"\nbackend = \"{mock}\"\nchat = true\nparams = {{ chat_template = '{CHATML}' }}\n{CHOICE}prompt = {{ question = \"{{{{ question }}}}\", answer = \" {{{{ letter }}}}\" }}\nshots = {{ n = 1, from = \"dev.jsonl\", turns = {turns} }}\n"
        )
    };
    bench.write("job.toml", job(true));
    let shown = prompts(&bench);
    assert_eq!(shown[0]["prompt"], "<s>user: a</s><s>assistant: B</s><s>user: What is 0?</s><s>assistant:");
    assert_eq!(shown[0]["options"], serde_json::json!(["A", "B", "C", "D"]));
    assert_eq!(shown[0]["object"], "m");
    bench.write("job.toml", job(false));
    assert_eq!(texts(&bench)[0], "<s>user: a B\n\nWhat is 0?</s><s>assistant:");
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_chat_without_a_template_is_unsupported_and_says_what_to_do() {
    let bench = Bench::new();
    bench.write("pick.jsonl", choices(1));
    bench.write(
        "job.toml",
        format!("[[object]]\nname = \"m\"\nbackend = \"{}\"\nchat = [true, false]\n{CHOICE}", mock().display()),
    );
    assert_eq!(bench.run().0, 1);
    let row = bench.case("m.1/pick");
    assert_eq!(row.get("status"), "unsupported");
    assert!(row.get("reason").contains("no chat template"), "{}", row.get("reason"));
    assert_eq!(bench.case("m.2/pick").get("status"), "ok");
    let shown = bench.edgebench(&["check", "job.toml", "--show-prompt", "1"]).assert().code(1);
    shown.stderr(predicate::str::contains("m.1: the model has no chat template"));
}
