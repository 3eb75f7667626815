//! `edgebench import`: published layouts, with their oddities, become datasets that `check` finds sound and a job that
//! runs.

use crate::common::{Bench, mock};
use predicates::prelude::*;
use predicates::str::contains;
use std::io::Write;
use std::path::Path;

/// Writes a file and the folders that it is in.
fn put(bench: &Bench, name: &str, text: impl AsRef<[u8]>) {
    let path = bench.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The records of a written file.
fn records(bench: &Bench, name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(bench.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Imports `src` into `out`, which must succeed; stdout.
fn import(bench: &Bench, kind: &str, more: &[&str]) -> String {
    let out = bench.edgebench(&[&["import", kind, "src", "-o", "out"], more].concat()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Imports `src`, which must be refused without a trace; stderr.
fn refused(bench: &Bench, kind: &str, more: &[&str]) -> String {
    let out = bench.edgebench(&[&["import", kind, "src", "-o", "out"], more].concat()).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let left: Vec<_> = std::fs::read_dir(bench.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "src"), "nothing is left behind: {left:?}");
    String::from_utf8(out.stderr).unwrap()
}

/// The written job with the mock backend in the place of a model, without the style; `check` must find it sound.
fn check_job(bench: &Bench) {
    let path = bench.path().join("out/job.toml");
    let job = std::fs::read_to_string(&path).unwrap();
    let job = job.replace("\"llama\"", &format!("\"{}\"", mock().display()));
    let job: Vec<&str> = job.lines().filter(|l| !l.starts_with("model = ")).collect();
    std::fs::write(&path, job.join("\n")).unwrap();
    bench.edgebench(&["check", "out/job.toml"]).assert().code(0).stdout(contains("sound"));
}

fn mmlu(bench: &Bench) {
    put(bench, "src/data/dev/anatomy_dev.csv", "Dev?,a,b,c,d,A\n".repeat(5));
    put(bench, "src/data/dev/us_foreign_policy_dev.csv", "Dev?,a,b,c,d,A\n".repeat(5));
    put(
        bench,
        "src/data/test/anatomy_test.csv",
        "\u{feff}\"Two\nlines, \"\"quoted\"\"\",one,\"two, three\",3,4,B\r\nNext?,a,b,c,d,D\r\n",
    );
    put(bench, "src/data/test/us_foreign_policy_test.csv", "Why?,a,b,c,\"d\ne\",C\n");
    put(bench, "src/data/auxiliary_train/race.csv", "not,this\n");
    put(bench, "src/data/README.txt", "readme");
}

#[test]
fn mmlu_becomes_a_tree_of_subjects_with_groups_and_a_job() {
    let bench = Bench::new();
    mmlu(&bench);
    let told = import(&bench, "mmlu", &[]);
    assert!(told.contains("test: 3 records of 2 subjects") && told.contains("dev: 10 records"), "{told}");
    assert!(told.contains("55 subjects are not in SRC") && told.contains("hendrycks/test"), "{told}");
    let anatomy = records(&bench, "out/test/anatomy.jsonl");
    assert_eq!(anatomy[0]["question"], "Two\nlines, \"quoted\"");
    assert_eq!(anatomy[0]["choices"][1], "two, three");
    assert_eq!((&anatomy[0]["answer"], &anatomy[0]["subject"]), (&"B".into(), &"anatomy".into()));
    let groups = std::fs::read_to_string(bench.path().join("out/groups.toml")).unwrap();
    assert_eq!(groups, "\"social sciences\" = [\"us_foreign_policy\"]\n\"other\" = [\"anatomy\"]\n");
    check_job(&bench);
}

#[test]
fn tar_zip_and_gzip_are_read_as_the_folder_is() {
    let from_folder = |bench: &Bench| records(bench, "out/test/anatomy.jsonl");
    let bench = Bench::new();
    mmlu(&bench);
    import(&bench, "mmlu", &[]);
    let wanted = from_folder(&bench);
    let files = ["data/dev/anatomy_dev.csv", "data/test/anatomy_test.csv", "data/test/us_foreign_policy_test.csv"];
    let read = |name: &str| std::fs::read(bench.path().join("src").join(name)).unwrap();

    let mut tar = tar::Builder::new(Vec::new());
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(read(name).len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, read(name).as_slice()).unwrap();
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&read(name)).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar).unwrap();
    let archives = [("d.tar", tar), ("d.tar.gz", gz.finish().unwrap()), ("d.zip", zip.finish().unwrap().into_inner())];
    for (name, bytes) in archives {
        put(&bench, name, bytes);
        bench.edgebench(&["import", "mmlu", name, "-o", "out", "--force"]).assert().code(0);
        assert_eq!(from_folder(&bench), wanted, "{name}");
    }
    // A broken archive names itself and leaves what was there.
    put(&bench, "bad.zip", b"PK\x03\x04 and no more");
    bench
        .edgebench(&["import", "mmlu", "bad.zip", "-o", "out", "--force"])
        .assert()
        .code(2)
        .stderr(contains("bad.zip").and(contains("get it again")));
    assert_eq!(from_folder(&bench), wanted);
}

#[test]
fn every_bad_row_is_told_with_file_and_line() {
    let bench = Bench::new();
    let header = ",Question,A,B,C,D,Answer\n";
    let mut gbk = format!("{header}0,\"two\nlines\",1,2,3,4,A\n1,").into_bytes();
    gbk.extend(b"\xc4\xe3\xba\xc3"); // 你好 in GBK
    gbk.extend(b",1,2,3,4,B\n");
    put(&bench, "src/test/arts.csv", gbk);
    put(&bench, "src/test/law.csv", format!("{header}0,q,1,2,3,4,E\n1,q,1,2,3,4,\n2,q,1,2,3\n3,,1,2,3,4,A\n"));
    put(&bench, "src/test/virology.csv", "id,q\n1,2\n");
    let told = refused(&bench, "cmmlu", &[]);
    for (place, word) in [
        ("arts.csv:4: ", "looks like GBK; convert it: iconv -f GB18030 -t UTF-8"),
        ("law.csv:2: ", "\"answer\" is \"E\", but there are 4 choices"),
        ("law.csv:3: ", "\"answer\" is empty"),
        ("law.csv:4: ", "5 cells instead of 7"),
        ("law.csv:5: ", "\"question\" is empty"),
        ("virology.csv:1: ", "no column \"\""),
    ] {
        assert!(told.lines().any(|l| l.contains(place) && l.contains(word)), "{place}{word} in\n{told}");
    }
    assert!(told.contains("6 problems, nothing was written"), "{told}");
    // What is good can be had all the same.
    let told = import(&bench, "cmmlu", &["--skip-bad"]);
    assert!(told.contains("6 records were left out; the first: "), "{told}");
    assert_eq!(records(&bench, "out/test/arts.jsonl").len(), 1);
    assert!(!bench.path().join("out/test/law.jsonl").exists(), "no empty files");
}

#[test]
fn an_id_that_was_used_before_is_told_and_gets_another() {
    let bench = Bench::new();
    put(&bench, "src/test/arts.csv", ",Question,A,B,C,D,Answer\n7,p,1,2,3,4,A\n8,q,1,2,3,4,A\n7,r,1,2,3,\u{fffd},A\n");
    let told = import(&bench, "cmmlu", &[]);
    assert!(told.contains("1 records had an id that was used before") && told.contains("arts.csv:4"), "{told}");
    assert!(told.contains("1 records hold U+FFFD"), "{told}");
    let ids: Vec<_> = records(&bench, "out/test/arts.jsonl").iter().map(|r| r["id"].clone()).collect();
    assert_eq!(ids, ["7", "8", "7#3"]);
    check_job(&bench);
}

#[test]
fn nothing_is_written_over_but_an_earlier_import() {
    let bench = Bench::new();
    mmlu(&bench);
    import(&bench, "mmlu", &[]);
    let again = |more: &[&str]| bench.edgebench(&[&["import", "mmlu", "src", "-o", "out"], more].concat()).assert();
    again(&[]).code(2).stderr(contains("is there already"));
    put(&bench, "src/data/test/anatomy_test.csv", "New?,a,b,c,d,A\n");
    again(&["--force"]).code(0);
    assert_eq!(records(&bench, "out/test/anatomy.jsonl")[0]["question"], "New?");
    put(&bench, "mine/thesis.txt", "years");
    bench
        .edgebench(&["import", "mmlu", "src", "-o", "mine", "--force"])
        .assert()
        .code(2)
        .stderr(contains("was not made by an import"));
    assert!(bench.path().join("mine/thesis.txt").exists());
}

#[test]
fn a_source_without_the_data_says_where_it_is_had() {
    let bench = Bench::new();
    put(&bench, "src/readme.md", "nothing");
    for kind in ["mmlu", "gsm8k", "squad", "bbh", "truthfulqa"] {
        let told = refused(&bench, kind, &[]);
        assert!(told.contains(&format!("no files of {kind}")) && told.contains("it is had from https://"), "{told}");
    }
    put(&bench, "src/hellaswag_test.jsonl", "{}\n");
    assert!(refused(&bench, "hellaswag", &[]).contains("are not published"));
    bench.edgebench(&["import", "nope", "src", "-o", "out"]).assert().code(2).stderr(contains("there is mmlu, cmmlu"));
    bench.edgebench(&["import", "list"]).assert().code(0).stdout(contains("licence: MIT").and(contains("Parquet")));
}

/// Imports one file of a kind, checks the written job, and gives the records of a written file.
fn one(kind: &str, file: &str, text: &str, written: &str) -> Vec<serde_json::Value> {
    let bench = Bench::new();
    put(&bench, &Path::new("src").join(file).to_string_lossy(), text);
    import(&bench, kind, &[]);
    check_job(&bench);
    records(&bench, written)
}

#[test]
fn each_published_layout_is_read() {
    let r = one("ceval", "val/law_val.csv", "id,question,A,B,C,D,answer\n0,法?,甲,乙,丙,丁,C\n", "out/val/law.jsonl");
    assert_eq!((&r[0]["id"], &r[0]["answer"], &r[0]["choices"][2]), (&"0".into(), &"C".into(), &"丙".into()));

    let r = one("gsm8k", "test.jsonl", "{\"question\":\"1+1?\",\"answer\":\"It is 2.\\n#### 2\"}\n", "out/test.jsonl");
    assert_eq!(r[0]["answer"], "It is 2.\n#### 2", "the solution stays whole");

    let line = r#"{"ind":24,"activity_label":"Roof shingle removal","ctx_a":"A man is sitting on a roof.","ctx_b":"he","ctx":"A man is sitting on a roof. he","split":"val","endings":["starts [step] pulling.","b","c","d"],"label":3}"#;
    let r = one("hellaswag", "hellaswag_val.jsonl", line, "out/val.jsonl");
    assert_eq!(r[0]["question"], "Roof shingle removal: A man is sitting on a roof. He");
    assert_eq!((&r[0]["choices"][0], &r[0]["answer"]), (&"starts pulling.".into(), &"D".into()));

    let line = r#"{"id":"M1","question":{"stem":"Why?","choices":[{"text":"x","label":"1"},{"text":"y","label":"2"}]},"answerKey":"2"}"#;
    let r = one("arc", "ARC-Easy/ARC-Easy-Test.jsonl", line, "out/test/ARC-Easy.jsonl");
    assert_eq!((&r[0]["id"], &r[0]["answer"]), (&"M1".into(), &"B".into()));

    let text =
        "[\n  {\"question\": \"Is it?\",\n   \"mc1_targets\": {\"No\": 0, \"Yes\": 1},\n   \"mc2_targets\": {}}\n]\n";
    let r = one("truthfulqa", "mc_task.json", text, "out/test.jsonl");
    assert_eq!((&r[0]["choices"][0], &r[0]["answer"]), (&"No".into(), &"B".into()), "in the file's order");

    let line = r#"{"question":"is it so","title":"T","answer":true,"passage":"It is so."}"#;
    let r = one("boolq", "dev.jsonl", line, "out/dev.jsonl");
    assert_eq!((&r[0]["context"], &r[0]["answer"]), (&"It is so.".into(), &"B".into()));
    let line = r#"{"question":"is it so","passage":"No.","idx":3,"label":false}"#;
    let r = one("boolq", "BoolQ/val.jsonl", line, "out/val.jsonl");
    assert_eq!((&r[0]["id"], &r[0]["answer"]), (&"3".into(), &"A".into()), "SuperGLUE's");

    let line = r#"{"qID":"3X-1","sentence":"A _ b","option1":"x","option2":"y","answer":"2"}"#;
    let r = one("winogrande", "winogrande_1.1/dev.jsonl", line, "out/dev.jsonl");
    assert_eq!((&r[0]["id"], &r[0]["answer"]), (&"3X-1".into(), &"B".into()));

    let text = r#"{"version":"v2.0","data":[{"title":"t","paragraphs":[{"context":"Rome.","qas":[
        {"id":"a","question":" Where? ","answers":[{"text":"Rome","answer_start":0},{"text":"Rome","answer_start":0},{"text":"Rome.","answer_start":0}],"is_impossible":false},
        {"id":"b","question":"Who?","answers":[],"is_impossible":true}]}]}]}"#;
    let r = one("squad", "dev-v2.0.json", text, "out/dev-v2.0.jsonl");
    assert_eq!((&r[0]["question"], &r[0]["answer"]), (&"Where?".into(), &"Rome".into()));
    assert_eq!(r[0]["answers"], serde_json::json!(["Rome", "Rome."]));
    assert_eq!(r[1]["answer"], "unanswerable");
}

#[test]
fn bbh_has_its_worked_examples_as_the_split_dev() {
    let bench = Bench::new();
    put(&bench, "src/bbh/navigate.json", r#"{"canary":"c","examples":[{"input":"Turn.\nWhere?","target":"No"}]}"#);
    let prompt = "canary\n-----\nFollow the steps.\n\nQ: One?\nOptions:\n- Yes\nA: Let's think step by step.\nSo Yes.\n\n\
                  Q: Two?\nA: Let's think.\nSo No.\n\nQ: Three?\nA: Let's.\nSo No.\n";
    put(&bench, "src/cot-prompts/navigate.txt", prompt);
    import(&bench, "bbh", &[]);
    assert_eq!(records(&bench, "out/test/navigate.jsonl")[0]["question"], "Turn.\nWhere?");
    let dev = records(&bench, "out/dev/navigate.jsonl");
    assert_eq!(dev.len(), 3);
    assert_eq!(dev[0]["question"], "One?\nOptions:\n- Yes");
    assert_eq!(dev[0]["answer"], "Let's think step by step.\nSo Yes.");
    check_job(&bench);
}

#[test]
fn a_dataset_of_ianvs_is_read_in_both_forms() {
    let bench = Bench::new();
    put(&bench, "src/train_data/data.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\n\n");
    put(&bench, "src/test_data/metadata.json", "{\"dataset\":\"d\"}");
    put(
        &bench,
        "src/test_data/data.jsonl",
        "{\"query\":\"q\",\"response\":\"r\",\"level_3_dim\":\"x\",\"level_4_dim\":\"y\",\"judge_prompt\":\"j\"}\n",
    );
    import(&bench, "ianvs", &[]);
    let r = records(&bench, "out/test_data.jsonl");
    assert_eq!((&r[0]["question"], &r[0]["answer"], &r[0]["subject"]), (&"q".into(), &"r".into(), &"y".into()));
    assert_eq!(records(&bench, "out/train_data.jsonl").len(), 1);
    check_job(&bench);
}

#[test]
fn any_csv_or_jsonl_is_read_with_a_map() {
    let bench = Bench::new();
    put(&bench, "src/a.csv", "n,prompt,label,w,x\n1,\"Say, \"\"hi\"\"\",2,left,right\n");
    let map = ["--map", "id=n,question=prompt", "--map", "answer=label,choices=w+x", "--index-from", "1"];
    import(&bench, "csv", &map);
    let r = records(&bench, "out/test/a.jsonl");
    assert_eq!((&r[0]["id"], &r[0]["question"], &r[0]["answer"]), (&"1".into(), &"Say, \"hi\"".into(), &"B".into()));
    check_job(&bench);

    let bench = Bench::new();
    put(&bench, "b.jsonl", "{\"data\":{\"q\":\"x?\"},\"gold\":1,\"options\":[\"no\",\"yes\"]}\n");
    let map = "question=data.q,answer=gold,choices=options";
    bench.edgebench(&["import", "jsonl", "b.jsonl", "-o", "c.jsonl", "--map", map]).assert().code(0);
    let r = records(&bench, "c.jsonl");
    assert_eq!((&r[0]["question"], &r[0]["answer"]), (&"x?".into(), &"B".into()));
    // A name that is not there is told with those that are.
    bench
        .edgebench(&["import", "jsonl", "b.jsonl", "-o", "d.jsonl", "--map", "question=q"])
        .assert()
        .code(2)
        .stderr(contains("b.jsonl:1: \"q\" is missing; the line has data, gold, options"));
    bench
        .edgebench(&["import", "mmlu", "b.jsonl", "-o", "d", "--map", map])
        .assert()
        .code(2)
        .stderr(contains("--map and --index-from are for csv and jsonl"));
}

#[test]
fn a_name_in_an_archive_does_not_lead_out_of_the_folder() {
    let bench = Bench::new();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in ["test/..\\..\\evil.csv", "../../test/evil.csv", "test/a:b.csv"] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b",Question,A,B,C,D,Answer\n0,q,1,2,3,4,A\n").unwrap();
    }
    put(&bench, "deep/x.zip", zip.finish().unwrap().into_inner());
    bench.edgebench(&["import", "cmmlu", "deep/x.zip", "-o", "deep/out"]).assert().code(0);
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(bench.path().join(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!((names("."), names("deep")), (vec!["deep".to_owned()], vec!["out".to_owned(), "x.zip".to_owned()]));
    assert!(names("deep/out/test").contains(&"a_b.jsonl".to_owned()));
}
