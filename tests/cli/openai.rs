//! Servers as test objects, on a stub that keeps to the interface, or does not.

use crate::common::{Bench, CHOICE, GENERATE, choices, questions};
use crate::stub::{ALL, Act, Offer, Stub};
use predicates::prelude::*;

/// A job on `url` with both tasks or one of them, three records each, one call of warm-up.
fn job(bench: &Bench, url: &str, params: &str, tasks: &str) {
    bench.write("gen.jsonl", questions(3));
    bench.write("pick.jsonl", choices(4));
    bench.write(
        "job.toml",
        format!(
            "[job]\nname = \"t\"\ntimeout = \"10s\"\n[[object]]\nname = \"s\"\nbackend = \"openai\"\n\
             url = \"{url}\"\nmodel = \"stub-model\"\n{params}\n{tasks}"
        ),
    );
}

fn both() -> String {
    format!("{GENERATE}{CHOICE}")
}

/// Statuses and errors of the records of `gen`, whose server acts so.
fn generated(retries: u32, act: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> (Bench, Stub) {
    let (bench, stub) = (Bench::new(), Stub::start(ALL, act));
    job(&bench, &stub.url(), &format!("params = {{ retries = {retries} }}"), GENERATE);
    bench.run();
    (bench, stub)
}

#[test]
fn a_server_is_asked_as_a_stream_and_its_counts_are_kept() {
    let (bench, stub) = (Bench::new(), Stub::sound(ALL));
    job(&bench, &stub.url(), "", &both());
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let row = bench.case("s/gen");
    assert_eq!(
        (row.get("acc"), row.get("n_failed"), row.get("scored_by"), row.get("retries")),
        ("1.0000", "0", "", "0")
    );
    assert_eq!((row.get("model"), row.get("params")), ("stub-model", format!("url={}", stub.url()).as_str()));
    let sample = &bench.rows("samples.csv")[1];
    assert!(sample.number("prompt_tokens").unwrap() > 5.0);
    assert_eq!((sample.get("cached_tokens"), sample.get("retries")), ("2", "0"));
    assert_ne!(sample.get("ttft_ms"), "");
    assert_eq!((bench.case("s/pick").get("scored_by"), row.get("load_ms")), ("echo", ""));
    assert_eq!(bench.case("s/pick").get("acc"), "0.2500", "the stub likes B");
    let scores = bench.predictions().last().unwrap()["scores"].clone();
    assert_eq!(scores, serde_json::json!([-2.0, -0.25, -4.0, -5.0]));
    let asked = stub.asked();
    let stream = asked.iter().find(|a| a.body["stream"] == true && a.body["max_tokens"] == 8).unwrap();
    assert_eq!((&stream.body["temperature"], &stream.body["stop"][0]), (&0.0.into(), &"\n".into()));
    let manifest = bench.out("manifest.json");
    assert!(manifest.contains("stub/1") && manifest.contains("stub-model"), "{manifest}");
}

#[test]
fn what_a_server_does_not_offer_is_done_otherwise_and_the_row_says_how() {
    let no = Offer { completions: true, echo: false, top: false, usage: false };
    for (offer, params, by, acc) in [
        (Offer { echo: false, ..ALL }, "", "top-logprobs", "0.2500"),
        (no, "", "generation", "0.2500"),
        (Offer { completions: false, ..ALL }, "api = \"chat\"", "top-logprobs", "0.2500"),
        (Offer { completions: false, ..no }, "api = \"chat\"", "generation", "0.2500"),
        (ALL, "choice = \"generation\"", "generation", "0.2500"),
    ] {
        let (bench, stub) = (Bench::new(), Stub::sound(offer));
        job(&bench, &stub.url(), &format!("params = {{ {params} }}"), &both());
        let (code, stderr) = bench.run();
        assert_eq!(code, 0, "{offer:?}: {stderr}");
        let row = bench.case("s/pick");
        assert_eq!((row.get("scored_by"), row.get("acc")), (by, acc), "{offer:?} {params}");
        assert_eq!(bench.case("s/gen").get("acc"), "1.0000");
        let counted = !bench.rows("samples.csv")[1].get("prompt_tokens").is_empty();
        assert_eq!(counted, offer.usage, "tokens are counted where the server tells them");
    }
}

#[test]
fn a_chat_is_sent_as_turns() {
    let (bench, stub) = (Bench::new(), Stub::sound(ALL));
    bench.write("dev.jsonl", "{\"question\":\"What is 7?\",\"answer\":\"7\"}\n");
    let task = format!("{GENERATE}shots = {{ n = 1, from = \"dev.jsonl\" }}\nprompt = {{ system = \"Be brief\" }}\n");
    job(&bench, &stub.url(), "chat = true\nparams = { api = \"chat\", body = '{\"top_k\": 1}' }", &task);
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    let asked = stub.asked();
    let last = &asked.last().unwrap().body;
    let roles: Vec<&str> = last["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert_eq!((&last["messages"][2]["content"], &last["top_k"]), (&"7".into(), &1.into()));
}

#[test]
fn what_cannot_be_asked_of_a_server_says_what_to_do() {
    let (bench, stub) = (Bench::new(), Stub::sound(ALL));
    bench.write("lm.jsonl", "{\"text\":\"some words\"}\n");
    let perplexity = "[[task]]\nname = \"lm\"\ndataset = \"lm.jsonl\"\nmethod = \"perplexity\"\n";
    job(&bench, &stub.url(), "chat = true", &format!("{GENERATE}{perplexity}"));
    assert_eq!(bench.run().0, 1);
    assert!(bench.case("s/gen").get("reason").contains("api = \"chat\""), "{}", bench.case("s/gen").get("reason"));
    assert_eq!(bench.case("s/lm").get("status"), "unsupported");
    assert!(bench.case("s/lm").get("reason").contains("token by token"), "{}", bench.case("s/lm").get("reason"));
}

#[test]
fn a_request_that_may_succeed_is_tried_again_and_that_is_told() {
    // Not the trials when the server is opened.
    let (bench, _stub) = generated(3, |prompt, n| match (prompt.contains("What is 1"), n) {
        (true, 0) => Act::Refuse(503, ""),
        (true, 1) => Act::Refuse(429, "0.1"),
        (true, 2) => Act::Hang,
        _ => Act::Answer,
    });
    let row = bench.case("s/gen");
    assert_eq!((row.get("status"), row.get("acc"), row.get("n_failed")), ("ok", "1.0000", "0"));
    assert_eq!((row.get("retries"), row.get("warnings").contains("retried")), ("3", true));
    assert!(row.get("evidence").contains("retried: 1 requests, 3 times"), "{}", row.get("evidence"));
    let samples = bench.rows("samples.csv");
    let again = samples.iter().find(|s| s.get("retries") == "3").unwrap();
    // 0.5 s before the second try, 0.1 s as the server asked, 2 s before the fourth.
    assert!(again.number("ttft_ms").unwrap() > 2500.0, "time counts from the first try: {}", again.get("ttft_ms"));
}

#[test]
fn what_goes_wrong_with_one_request_costs_its_record() {
    for (act, why) in [
        (Act::Cut(1), "the server's stream was cut after 1 parts"),
        (Act::BadJson, "no JSON"),
        (Act::Refuse(500, ""), "HTTP 500: not now (tried 2 times)"),
        (Act::Refuse(418, ""), "HTTP 418: not now"),
    ] {
        let retries = u32::from(act == Act::Refuse(500, ""));
        let (bench, stub) =
            generated(retries, move |prompt, _| if prompt.contains("What is 1") { act } else { Act::Answer });
        let row = bench.case("s/gen");
        assert_eq!((row.get("status"), row.get("n"), row.get("n_failed")), ("ok", "3", "1"), "{act:?}");
        let error = bench.predictions()[1]["error"].as_str().unwrap().to_owned();
        assert!(error.contains(why), "{act:?}: {error}");
        let tries =
            stub.asked().iter().filter(|a| a.body["prompt"].as_str().unwrap_or("").contains("What is 1")).count();
        assert_eq!(tries as u32, 1 + retries, "{act:?}");
    }
}

#[test]
fn streams_that_are_odd_but_whole_are_answers() {
    for (act, first_tokens) in [(Act::NoUsage, "1"), (Act::Chunks, "7"), (Act::Whole, "1"), (Act::Slow(300), "2")] {
        let bench = Bench::new();
        let stub = Stub::start(ALL, move |prompt, _| if prompt.contains("What") { act } else { Act::Answer });
        let task = GENERATE.to_owned() + if act == Act::Chunks { "stop = [\"##\"]\n" } else { "" };
        job(&bench, &stub.url(), "", &task);
        let (code, stderr) = bench.run();
        assert_eq!(code, 0, "{act:?}: {stderr}");
        let row = bench.case("s/gen");
        assert_eq!(row.get("n_failed"), "0", "{act:?}");
        let sample = &bench.rows("samples.csv")[1];
        match act {
            // Three parts of up to three tokens: the server counted them.
            Act::Chunks => assert_eq!(sample.get("output_tokens"), first_tokens),
            Act::Slow(ms) => assert!(sample.number("ttft_ms").unwrap() >= ms as f64),
            _ => assert_eq!(row.get("acc"), "1.0000", "{act:?}"),
        }
    }
}

#[test]
fn a_server_that_goes_on_for_ever_is_stopped() {
    let (bench, _stub) = generated(0, |prompt, _| if prompt.contains("What") { Act::Endless } else { Act::Answer });
    let row = bench.case("s/gen");
    assert_eq!((row.get("status"), row.get("n_failed")), ("ok", "0"));
    assert!(bench.rows("samples.csv").iter().all(|s| s.number("output_tokens").unwrap() <= 8.0));
}

#[test]
fn a_prompt_that_is_too_long_costs_its_record() {
    let (bench, stub) = (Bench::new(), Stub::sound(ALL));
    job(&bench, &stub.url(), "", GENERATE);
    bench.write(
        "gen.jsonl",
        "{\"question\":\"toolong 1?\",\"answer\":\"1\"}\n{\"question\":\"What is 2?\",\"answer\":\"2\"}\n",
    );
    assert_eq!(bench.run().0, 0);
    assert_eq!((bench.case("s/gen").get("n_failed"), bench.case("s/gen").get("acc")), ("1", "0.5000"));
    assert!(bench.predictions()[0]["error"].as_str().unwrap().contains("does not fit the server's context"));
}

#[test]
fn a_server_that_is_silent_ends_the_case_in_time() {
    let (bench, stub) =
        (Bench::new(), Stub::start(ALL, |p, _| if p.contains("What") { Act::Slow(60_000) } else { Act::Answer }));
    job(&bench, &stub.url(), "", GENERATE);
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap().replace("\"10s\"", "\"1s\"");
    bench.write("job.toml", text);
    assert_eq!(bench.run().0, 1);
    assert_eq!(bench.case("s/gen").get("status"), "timeout");
}

#[test]
fn a_server_that_is_not_there_is_told_by_check_and_fails_the_case() {
    let bench = Bench::new();
    // Nobody listens on it any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    job(&bench, &format!("http://127.0.0.1:{port}/v1"), "params = { retries = 0 }", GENERATE);
    let warned = predicate::str::contains("does not answer now").and(predicate::str::contains("start the server"));
    bench.edgebench(&["check", "job.toml"]).assert().code(0).stderr(warned);
    assert_eq!(bench.run().0, 1);
    let row = bench.case("s/gen");
    assert_eq!(row.get("status"), "failed");
    assert!(row.get("reason").contains("is the server running"), "{}", row.get("reason"));
    let stub = Stub::sound(ALL);
    job(&bench, &stub.url(), "", GENERATE);
    bench.edgebench(&["check", "job.toml"]).assert().code(0).stderr(predicate::str::is_empty());
}

#[test]
fn the_key_comes_from_the_environment_and_is_written_nowhere() {
    let (bench, stub) = (Bench::new(), Stub::start(ALL, |_, n| if n > 0 { Act::Tell } else { Act::Answer }));
    job(&bench, &stub.url(), "params = { key_env = \"STUB_KEY\" }", GENERATE);
    let out = bench.edgebench(&["run", "job.toml", "--out", "out"]).env("STUB_KEY", "sk-very-secret").output().unwrap();
    assert!(stub.asked().iter().all(|a| a.key == "sk-very-secret"), "{:?}", stub.asked());
    assert!(!String::from_utf8_lossy(&out.stderr).contains("very-secret"));
    let row = bench.case("s/gen");
    assert!(row.get("reason").contains("bad key …"), "{}", row.get("reason"));
    for file in std::fs::read_dir(bench.path().join("out")).unwrap().flatten() {
        let text = String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned();
        assert!(!text.contains("very-secret"), "{}", file.path().display());
    }
}

#[test]
fn the_servers_process_is_watched_where_it_can_be_seen() {
    let (bench, stub) = (Bench::new(), Stub::start(ALL, |_, _| Act::Slow(120)));
    job(&bench, &stub.url(), "", GENERATE);
    assert_eq!(bench.run().0, 0);
    let row = bench.case("s/gen");
    // The stub lives in this process, which is larger than any host.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own: f64 =
        own.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    let seen = row.number("rss_peak_mib").unwrap();
    assert!(seen <= own / 1024.0 + 0.1 && seen > own / 1024.0 / 2.0, "{seen} of {own} kB");
    assert_ne!(row.get("rss_avg_mib"), "");
    job(&bench, &stub.url(), "params = { pid = 4194305 }", GENERATE);
    std::fs::remove_dir_all(bench.path().join("out")).unwrap();
    assert_eq!(bench.run().0, 0);
    let row = bench.case("s/gen");
    assert!(row.get("warnings").contains("server-unseen"), "{}", row.get("warnings"));
    assert_eq!((row.get("rss_peak_mib"), row.get("rss_avg_mib")), ("", ""));
}

#[test]
fn mistakes_in_a_servers_object_are_found_before_anything_runs() {
    for (object, told) in
        [("", "say where the server is"), ("url = \"127.0.0.1:80\"", "`url` is no address of a server")]
    {
        let bench = Bench::new();
        bench.write("gen.jsonl", questions(1));
        bench.write("job.toml", format!("[[object]]\nname = \"s\"\nbackend = \"openai\"\n{object}\n{GENERATE}"));
        bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(predicate::str::contains(told));
    }
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(1));
    bench.mock_job("", "", GENERATE);
    let text = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", text.replace("params = ", "url = \"http://h\"\nparams = "));
    bench.edgebench(&["check", "job.toml"]).assert().code(2).stderr(predicate::str::contains("belongs to backend"));
}

/// What `scripts/peer-openai EDGEBENCH --then cargo test …` sets.
#[test]
#[cfg(feature = "llama")]
fn a_real_server_answers_as_llama_cpp_linked_in() {
    let (Ok(url), Ok(model)) = (std::env::var("EDGEBENCH_OPENAI_URL"), std::env::var("EDGEBENCH_OPENAI_GGUF")) else {
        println!("skipped: no EDGEBENCH_OPENAI_URL (scripts/peer-openai)");
        return;
    };
    let bench = Bench::new();
    let demo = crate::common::root().join("datasets/demo");
    let task = |name: &str, method: &str| {
        let data = demo.join(name);
        let data = data.display();
        format!(
            "[[task]]\nname = \"{name}\"\ndataset = \"{data}.jsonl\"\nmethod = \"{method}\"\nlimit = 20\n\
             shots = {{ n = 2, from = \"{data}.dev.jsonl\" }}\n"
        )
    };
    let tasks = [task("compare", "choice"), task("alphabet", "choice"), task("addition", "generate")].concat();
    bench.write(
        "job.toml",
        format!(
            "[[object]]\nname = \"linked\"\nbackend = \"llama\"\nmodel = \"{model}\"\nparams = {{ threads = 1, n_ctx = 1024 }}\n\
             [[object]]\nname = \"served\"\nbackend = \"openai\"\nurl = \"{url}\"\nparams = {{ concurrency = 1 }}\n{tasks}"
        ),
    );
    let (code, stderr) = bench.run();
    assert_eq!(code, 0, "{stderr}");
    for task in ["compare", "alphabet", "addition"] {
        let (linked, served) = (bench.case(&format!("linked/{task}")), bench.case(&format!("served/{task}")));
        assert_eq!((linked.get("acc"), served.get("n_failed")), (served.get("acc"), "0"), "{task}");
        assert_ne!(served.get("rss_peak_mib"), "", "{task}: the server is on this machine");
    }
    assert_eq!(bench.case("served/compare").get("scored_by"), "echo");
}
