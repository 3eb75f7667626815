//! What is a record, what is not, and what is said about it.

mod random;

use super::check::check_source;
use super::*;
use std::fmt::Write as _;

/// What is wrong with the only line of a file, as `what; todo`, or `ok` and the record.
fn told(need: Need, line: &str) -> String {
    let mut reader = Reader::new(line.as_bytes(), Path::new("d"), need);
    match reader.next() {
        Ok(Some(record)) => format!("ok {record:?}"),
        Ok(None) => "nothing".to_string(),
        Err(problem) => problem.to_string().trim_start_matches("d:1: ").to_string(),
    }
}

#[track_caller]
fn assert_told(need: Need, line: &str, expected: &str) {
    assert_eq!(told(need, line), expected, "for {line}");
}

#[track_caller]
fn gold(choices: &str, answer: &str) -> Option<usize> {
    let line = format!(r#"{{"question":"q","choices":{choices},"answer":{answer}}}"#);
    let mut reader = Reader::new(line.as_bytes(), Path::new("d"), Need::Choice);
    reader.next().unwrap().unwrap().gold
}

#[test]
fn a_record_has_all_its_fields() {
    let line = r#" {"id": "x-1", "question": "a\n\"b\" \ud83d\ude00", "context": "c", "subject": "s\u00e9",
        "choices": ["1", "\u0032"], "answer": "B", "more": {"a": [1e400, null, {"b": "\\"}]}} "#
        .replace('\n', " ");
    let mut reader = Reader::new(line.as_bytes(), Path::new("d"), Need::Choice);
    let record = reader.next().unwrap().unwrap();
    assert_eq!((record.line, record.id, record.question), (1, "x-1", "a\n\"b\" 😀"));
    assert_eq!((record.context, record.subject, record.answer), ("c", "sé", "B"));
    assert_eq!((record.choices.get(0), record.choices.get(1), record.choices.get(2)), (Some("1"), Some("2"), None));
    assert_eq!((record.choices.len(), record.gold), (2, Some(1)));
    assert_eq!(reader.next(), Ok(None));
}

#[test]
fn an_answer_is_the_text_of_a_choice_before_a_letter_before_an_index() {
    let fruit = r#"["pear", "plum", "fig", "lime"]"#;
    assert_eq!(gold(fruit, r#""fig""#), Some(2));
    assert_eq!(gold(fruit, r#""D""#), Some(3));
    assert_eq!(gold(fruit, r#""d""#), Some(3));
    assert_eq!(gold(fruit, "0"), Some(0));
    assert_eq!(gold(fruit, r#""3""#), Some(3));
    assert_eq!(gold(r#"["B", "A", "C"]"#, r#""A""#), Some(1));
    assert_eq!(gold(r#"["3", "5"]"#, "1"), Some(1));
    assert_eq!(gold(r#"["3", "1"]"#, r#""3""#), Some(0));
    assert_eq!(gold(r#"["3", "5"]"#, r#""1""#), Some(1));
    assert_eq!(gold(r#"["false", "true"]"#, "true"), Some(1));
    assert_eq!(gold(r#"["same", "same", "x"]"#, r#""c""#), Some(2));
    let letters: Vec<String> = (0..26).map(|i| format!("choice {i}")).collect();
    assert_eq!(gold(&format!("{letters:?}"), r#""z""#), Some(25));
    assert_eq!(gold(&format!("{letters:?}"), "25"), Some(25));
}

#[test]
fn an_answer_that_names_no_choice_is_told_with_what_would() {
    let line = |answer: &str| format!(r#"{{"question":"q","choices":["w","x","y","z z"],"answer":{answer}}}"#);
    let todo = "use A to D, an index from 0 to 3, or the text of a choice";
    for answer in [r#""E""#, "4", "-1", "1.0", "1e0", r#""Z z""#, r#""""#, r#""01""#, "99999999999999999999", "true"] {
        let shown = if answer == "true" { r#""true""# } else { answer };
        let expected = match answer {
            r#""""# => r#""answer" is empty; give the text that is expected, or remove the line"#.to_string(),
            _ => format!(r#""answer" is {shown}, but there are 4 choices; {todo}"#),
        };
        assert_told(Need::Choice, &line(answer), &expected);
    }
    assert_told(
        Need::Choice,
        r#"{"question":"q","choices":["same","x","same"],"answer":"same"}"#,
        r#""answer" is "same", the text of both A and C; answer with the letter, or make the choices differ"#,
    );
    assert_told(
        Need::Choice,
        r#"{"question":"q","choices":["x"],"answer":"B"}"#,
        r#""answer" is "B", but there is 1 choice; use A, the index 0, or the text of the choice"#,
    );
}

#[test]
fn any_of_several_answers_is_one() {
    let answers = |fields: &str| {
        let line = format!(r#"{{"question":"q",{fields}}}"#);
        let mut reader = Reader::new(line.as_bytes(), Path::new("d"), Need::Text);
        reader.next().map(|r| r.unwrap().answers().map(str::to_owned).collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    assert_eq!(answers(r#""answers":["a","\u0062"]"#).unwrap(), ["a", "b"]);
    assert_eq!(answers(r#""answer":"b","answers":["a","b"]"#).unwrap(), ["b", "a"]);
    assert_eq!(answers(r#""answer":"b","answers":[]"#).unwrap(), ["b"]);
    assert_eq!(
        answers(r#""answers":"a""#).unwrap_err(),
        r#"d:1: "answers" is a string; make it an array of strings: ["…", "…"]"#
    );
    assert_eq!(answers(r#""answers":["a",1]"#).unwrap_err(), "d:1: answer 2 is a number; make it a string");
    assert_eq!(
        answers(r#""answers":[""]"#).unwrap_err(),
        "d:1: answer 1 is empty; give the text that is expected, or remove it"
    );
}

#[test]
fn choices_have_to_be_a_list_of_texts() {
    let line = |choices: &str| format!(r#"{{"question":"q","choices":{choices},"answer":"A"}}"#);
    let told = |choices: &str| told(Need::Choice, &line(choices));
    assert_eq!(told("[]"), r#""choices" is empty; give the options, or remove the line"#);
    assert_eq!(told("null"), r#""choices" is null; give it a value, or remove the line"#);
    assert_eq!(told(r#"{"A":"x"}"#), r#""choices" is an object; make it an array of strings: ["…", "…"]"#);
    assert_eq!(told(r#"["a", 2]"#), "choice 2 is a number; make it a string");
    assert_eq!(told(r#"[["a"], "b"]"#), "choice 1 is an array; make it a string");
    assert_eq!(told(r#"["a", ""]"#), "choice B is empty; write its text, or remove it");
    let many: Vec<String> = (0..27).map(|i| i.to_string()).collect();
    assert_eq!(told(&format!("{many:?}")), "there are 27 choices; 26, A to Z, is the most");
    assert_told(
        Need::Choice,
        r#"{"question":"q","answer":"A","options":[]}"#,
        r#""choices" is missing, the line has "question", "answer", "options"; add it, or rename the key that holds it"#,
    );
}

#[test]
fn what_is_missing_empty_or_of_another_kind_is_told_with_the_keys_that_are_there() {
    let told = |line: &str| told(Need::Text, line);
    let rename = "add it, or rename the key that holds it";
    assert_eq!(
        told(r#"{"q":1,"answer":2}"#),
        format!(r#""question" is missing, the line has "q", "answer"; {rename}"#)
    );
    assert_eq!(told(r#"{"question":"q"}"#), format!(r#""answer" is missing, the line has "question"; {rename}"#));
    assert_eq!(told("{}"), r#""question" is missing, the line is {}; add it, or remove the line"#);
    assert_eq!(told(r#"{"question":""}"#), r#""question" is empty; write the text, or remove the line"#);
    assert_eq!(told(r#"{"question":null}"#), r#""question" is null; give it a value, or remove the line"#);
    assert_eq!(told(r#"{"question":7}"#), r#""question" is a number; make it a string"#);
    let with = |field: &str| told(&format!(r#"{{"question":"q","answer":"a",{field}}}"#));
    assert_eq!(with(r#""id":true"#), r#""id" is a boolean; make it a string or a number"#);
    assert_eq!(with(r#""subject":["s"]"#), r#""subject" is an array; make it a string"#);
    assert_eq!(with(r#""context":{}"#), r#""context" is an object; make it a string"#);
    let answer = |answer: &str| told(&format!(r#"{{"question":"q","answer":{answer}}}"#));
    assert_eq!(answer(r#""""#), r#""answer" is empty; give the text that is expected, or remove the line"#);
    assert_eq!(
        answer("[1]"),
        r#""answer" is an array; make it a string, or call it "answers" if any of them is right"#
    );
    let many: String = (0..40).fold(String::new(), |mut s, i| {
        let _ = write!(s, r#""k{i}":0,"#);
        s
    });
    let told = told(&format!(r#"{{{many}"end":0}}"#));
    assert!(told.contains(r#""k0", "k1", "#) && told.contains(", …; ") && !told.contains("k16"), "{told}");
}

#[test]
fn an_answer_is_its_text_as_written() {
    for (json, text) in [("12.50", "12.50"), ("-3", "-3"), ("1e400", "1e400"), ("false", "false"), (r#""x""#, "x")] {
        let line = format!(r#"{{"question":"q","answer":{json}}}"#);
        let mut reader = Reader::new(line.as_bytes(), Path::new("d"), Need::Text);
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.answer, record.gold), (text, None));
    }
    let line = r#"{"question":"q","answer":"b","choices":["a","b"]}"#;
    assert_eq!(Reader::new(line.as_bytes(), Path::new("d"), Need::Text).next().unwrap().unwrap().gold, Some(1));
    let line = r#"{"question":"q","answer":"the b","choices":["a","b"]}"#;
    assert_eq!(Reader::new(line.as_bytes(), Path::new("d"), Need::Text).next().unwrap().unwrap().gold, None);
}

#[test]
fn a_language_model_needs_only_text() {
    let of = |line: &str| {
        let mut reader = Reader::new(line.as_bytes(), Path::new("d"), Need::Lm);
        reader.next().map(|record| record.map(|record| record.question.to_string()))
    };
    assert_eq!(of(r#"{"text":"t","choices":{},"answer":[]}"#), Ok(Some("t".to_string())));
    assert_eq!(of(r#"{"question":"t"}"#), Ok(Some("t".to_string())));
    let both = r#""question" and "text" are both there; keep the one that is to be scored"#;
    assert_told(Need::Lm, r#"{"question":"q","text":"t"}"#, both);
    assert_told(Need::Lm, r#"{"text":""}"#, r#""text" is empty; write the text, or remove the line"#);
    assert!(told(Need::Text, r#"{"text":"t","question":"q","answer":"a"}"#).starts_with("ok"));
}

#[test]
fn ids_are_texts_numbers_or_the_line_number() {
    let text = "\n{\"question\":\"q\",\"answer\":\"a\"}\n{\"question\":\"q\",\"answer\":\"a\",\"id\":0012}\n\
        {\"question\":\"q\",\"answer\":\"a\",\"id\":12}\n{\"question\":\"q\",\"answer\":\"a\",\"id\":\"\\u0078\"}\n\
        {\"question\":\"q\",\"answer\":\"a\",\"id\":null}";
    let mut reader = Reader::new(text.as_bytes(), Path::new("d"), Need::Text);
    assert_eq!(reader.next().unwrap().unwrap().id, "2");
    assert!(reader.next().is_err());
    assert_eq!(reader.next().unwrap().unwrap().id, "12");
    assert_eq!(reader.next().unwrap().unwrap().id, "x");
    assert_eq!(reader.next().unwrap().unwrap().id, "6");
    assert_eq!(reader.next(), Ok(None));
    assert_eq!(reader.next(), Ok(None));
}

#[test]
fn keys_may_be_escaped() {
    assert!(told(Need::Text, r#"{"\u0071uestion":"q","answe\u0072":"a","\"":1}"#).starts_with("ok"));
    assert_told(
        Need::Text,
        r#"{"question":"q","answer":"a","\u0071uestion":"r"}"#,
        r#"not JSON at column 30: the key "\u0071uestion" is there twice; remove one of them"#,
    );
}

#[test]
fn ten_defects_are_ten_problems_at_their_lines() {
    let good = r#"{"question":"q","choices":["x","y"],"answer":"A"}"#;
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(127), "]".repeat(127));
    let bad = [
        (r#"{"question":"a"b","answer":"A"}"#, "column 16: expected , or }"),
        (r#"{"question":"q","answer":"A",}"#, "column 30: a comma before }"),
        (r#"{"question":"q","x":01}"#, "column 21: 01 is not a JSON value"),
        (r#"{"question":"q","x":["\x"]}"#, "column 23: a backslash before"),
        ("{\"question\":\"a\tb\"}", "column 15: control character 0x09 inside a string"),
        (r#"{"question":"\ud800"}"#, "column 14: half of a surrogate pair"),
        (r#"{"question":"q"} {}"#, "column 18: more text after the object"),
        (r#"{"question":"q","answer":"A"#, "column 26: a string without an end"),
        (r#"[{"question":"q"}]"#, "column 1: an array, not an object"),
        (deep.as_str(), "column 132: nested deeper than 127 levels"),
        (r#"{"question":"q","choices":["x"],"answer":"B"}"#, "but there is 1 choice"),
        (r#"{"question":"q","x":[,1 2]}"#, "column 22: expected a value"),
        (r#"{"question":"q","x":[1,]}"#, "column 24: a comma before ]"),
        (r#"{"question":"q","x":}"#, "column 21: expected a value"),
        (r#"{"question":"q","x":nul}"#, "column 21: nul is not a JSON value"),
        (r#"{"question" "q"}"#, "column 13: expected : after a key"),
        (r#"{question:"q"}"#, "column 2: expected a key between double quotes"),
        (r#"{"question":"q","#, "column 17: the line ends too early"),
        ("x", "column 1: not an object"),
        ("\u{feff}{}", "column 1: a byte order mark inside the file"),
    ];
    let mut text = String::new();
    for (line, _) in bad {
        let _ = write!(text, "{good}\n\n{line}\n");
    }
    for threads in 1..=3 {
        let summary = check_source(text.as_bytes(), Path::new("d.jsonl"), Need::Choice, threads);
        assert_eq!((summary.records, summary.n_problems), (bad.len() as u64, bad.len() as u64));
        for ((problem, (line, what)), number) in summary.problems.iter().zip(bad).zip(1..) {
            assert_eq!(problem.line, 3 * number, "{problem} for {line}");
            assert!(problem.what.contains(what), "{problem} for {line}");
        }
    }
    let invalid = check_source(b"{\"a\":\"\xff\"}".as_slice(), Path::new("d"), Need::Lm, 1);
    assert_eq!(invalid.problems[0].to_string(), "d:1: not JSON at column 7: not UTF-8; save the file as UTF-8");
}

#[test]
fn byte_order_mark_crlf_and_a_last_line_without_end_are_fine() {
    let text = "\u{feff}{\"question\":\"q\",\"answer\":1}\r\n  \t\r\n\r\n{\"question\":\"r\",\"answer\":2}";
    let mut reader = Reader::new(text.as_bytes(), Path::new("d"), Need::Text);
    let first = reader.next().unwrap().unwrap();
    assert_eq!((first.line, first.question), (1, "q"));
    let second = reader.next().unwrap().unwrap();
    assert_eq!((second.line, second.question), (4, "r"));
    assert_eq!(reader.next(), Ok(None));
}

#[test]
fn a_line_may_have_a_mebibyte_and_not_more() {
    let line = |len: usize| {
        let frame = r#"{"question":"","answer":1}"#.len();
        format!(r#"{{"question":"{}","answer":1}}"#, "q".repeat(len - frame))
    };
    for end in ["\n", "\r\n"] {
        let parts = [MAX_LINE, MAX_LINE + 1, 100, 5 * MAX_LINE + 1, MAX_LINE + 300_000, 100, MAX_LINE, MAX_LINE + 1];
        let text = parts.map(line).join(end);
        let mut reader = Reader::new(text.as_bytes(), Path::new("d"), Need::Text);
        for (len, number) in parts.into_iter().zip(1..) {
            match reader.next() {
                Ok(record) => {
                    let record = record.unwrap();
                    assert!(len <= MAX_LINE && record.question.len() == len - 26 && record.line == number);
                }
                Err(problem) => {
                    assert!(len > MAX_LINE && problem.line == number, "{problem}");
                    assert!(problem.what.ends_with("bytes, more than 1048576"), "{problem}");
                }
            }
        }
        assert_eq!(reader.next(), Ok(None));
        let summary = check_source(text.as_bytes(), Path::new("d"), Need::Text, 2);
        assert_eq!((summary.records, summary.n_problems, summary.bytes), (4, 4, text.len() as u64));
        assert_eq!(summary.problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 4, 5, 8]);
    }
}

#[test]
fn files_that_give_nothing_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let told = |path: &Path| {
        let summary = check(path, Need::Text, false);
        assert_eq!((summary.records, summary.n_problems, summary.problems.len()), (0, 1, 1));
        assert_eq!(summary.problems[0].line, 0);
        summary.problems[0].what.clone()
    };
    assert_eq!(told(&file), "no such file");
    assert_eq!(told(folder.path()), "is a directory");
    std::fs::write(&file, "").unwrap();
    assert_eq!(told(&file), "no records");
    std::fs::write(&file, "\n \r\n\u{c}").unwrap();
    assert_eq!(told(&file), "no records");
    assert_eq!(Reader::open(&file, Need::Lm).unwrap().next(), Ok(None));
    assert!(Reader::open(&folder.path().join("none"), Need::Lm).is_err());
}

#[test]
fn a_source_that_fails_is_told_and_ends() {
    struct Fails(u32);
    impl Read for Fails {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 3 {
                return Err(std::io::Error::other("the card was pulled"));
            }
            out[..10].copy_from_slice(b"{\"text\":1}");
            Ok(10)
        }
    }
    let mut reader = Reader::new(Fails(0), Path::new("d"), Need::Lm);
    assert_eq!(reader.next().unwrap_err().what, "cannot be read: the card was pulled");
    assert_eq!(reader.next(), Ok(None));
    let summary = check_source(Fails(0), Path::new("d"), Need::Lm, 2);
    assert_eq!((summary.n_problems, summary.records), (1, 0));
}

#[test]
fn all_problems_are_counted_and_the_first_are_kept() {
    let text = "{\n".repeat(300_000);
    for threads in [1, 4] {
        let summary = check_source(text.as_bytes(), Path::new("d"), Need::Text, threads);
        assert_eq!(summary.n_problems, 300_000);
        assert!(summary.problems.iter().map(|p| p.line).eq(1..=KEPT as u64));
    }
}

#[test]
fn the_demo_datasets_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            let summary = check(&path, Need::Lm, false);
            assert_eq!(summary.problems, [], "{}", path.display());
        }
    }
}
