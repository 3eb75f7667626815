//! What the loader makes of a plugin's file and table: other versions work, broken ones are refused in words.

use crate::common::{Bench, GENERATE, both_tasks, compile, mock_source, questions, root, workspace_library};
use crate::conform::passes_conform;

/// The mock backend with one piece of its source changed, as `name` in the bench's folder.
fn mock_with(bench: &Bench, name: &str, old: &str, new: &str, flags: &[&str]) {
    bench.write("variant.c", mock_source(old, new));
    compile(bench.path(), &[&["-w", "-o", name, "variant.c", "-lm", "-lpthread"], flags].concat());
}

/// Runs both tasks on `./plugin.so`; the status and reason of each case.
fn run(bench: &Bench) -> Vec<(String, String)> {
    let tasks = both_tasks(bench);
    bench.write("job.toml", format!("[[object]]\nname = \"x\"\nbackend = \"./plugin.so\"\n{tasks}"));
    bench.run();
    bench.cases().iter().map(|r| (r.get("status").to_owned(), r.get("reason").to_owned())).collect()
}

#[test]
fn a_plugin_of_a_newer_minor_version_works() {
    for (old, new) in [
        // A longer table of a later version, and longer events.
        ("sizeof(eb_backend), EB_ABI_MINOR,", "sizeof(eb_backend) + 64, 9,"),
        ("e.struct_size = sizeof e;", "e.struct_size = sizeof e + 16;"),
    ] {
        let bench = Bench::new();
        mock_with(&bench, "plugin.so", old, new, &[]);
        assert!(run(&bench).iter().all(|(status, _)| status == "ok"), "{new}");
    }
}

#[test]
fn a_broken_table_is_refused_with_what_is_wrong() {
    for (old, new, words) in [
        ("sizeof(eb_backend), EB_ABI_MINOR,", "64, 0,", "its table has 64 bytes"),
        ("mock_generate, mock_reset,", "mock_generate, 0,", "the function `reset` of the table is NULL"),
        ("mock_open,", "0,", "the function `open` of the table is NULL"),
        ("return &table;", "return 0;", "the plugin needs a newer edgebench"),
        ("*eb_backend_v1(", "*eb_backend_v2(", "the function eb_backend_v1 is missing"),
    ] {
        let bench = Bench::new();
        mock_with(&bench, "plugin.so", old, new, &[]);
        for (status, reason) in run(&bench) {
            assert_eq!(status, "unsupported", "{new}: {reason}");
            assert!(reason.contains(words), "{new}: {reason}");
        }
    }
}

#[test]
fn a_missing_library_is_named() {
    let bench = Bench::new();
    let stub = bench.write("stub.c", "int stub(void) { return 1; }\n");
    compile(bench.path(), &["-o", "libvendorsdk.so", stub.to_str().unwrap()]);
    let flags = ["-Wl,--no-as-needed", "-L.", "-lvendorsdk"];
    mock_with(&bench, "plugin.so", "(void)host_minor;", "(void)host_minor;", &flags);
    // Beside the plugin it is found, without any setting.
    assert!(run(&bench).iter().all(|(status, _)| status == "ok"));
    std::fs::remove_file(bench.path().join("libvendorsdk.so")).unwrap();
    std::fs::remove_dir_all(bench.path().join("out")).unwrap();
    for (status, reason) in run(&bench) {
        assert_eq!(status, "unsupported");
        assert!(reason.contains("libvendorsdk.so"), "{reason}");
    }
}

#[test]
fn a_plugin_for_another_machine_is_refused_before_anything_runs() {
    let bench = Bench::new();
    mock_with(&bench, "plugin.so", "(void)host_minor;", "(void)host_minor;", &[]);
    let mut bytes = std::fs::read(bench.path().join("plugin.so")).unwrap();
    // e_machine: RISC-V.
    bytes[18..20].copy_from_slice(&243u16.to_le_bytes());
    bench.write("plugin.so", &bytes);
    let tasks = both_tasks(&bench);
    bench.write("job.toml", format!("[[object]]\nname = \"x\"\nbackend = \"./plugin.so\"\n{tasks}"));
    let (code, stderr) = bench.run();
    assert_eq!(code, 2);
    assert!(stderr.contains("job.toml:3: the plugin \"./plugin.so\" is built for riscv64, this board is"), "{stderr}");
    bench.write("plugin.so", "hello");
    assert!(bench.run().1.contains("is not a shared library"));
}

#[test]
fn a_host_writes_nothing_where_the_kernel_sees_to_it() {
    let bench = Bench::new();
    let attempt = "fclose(fopen(\"written\", \"w\"));";
    mock_with(&bench, "plugin.so", "pause_us(m->load_us);", attempt, &[]);
    let statuses = run(&bench);
    let manifest: serde_json::Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    if manifest["instances"].as_object().unwrap().is_empty() {
        // fopen() gave NULL, and fclose(NULL) is a crash: nothing was written.
        assert!(statuses.iter().all(|(status, _)| status == "crashed"), "{statuses:?}");
        assert!(!bench.path().join("written").exists());
    } else {
        println!("skipped: no Landlock here ({})", manifest["instances"]["x"]["sandbox"]);
    }
    // With the sandbox off it may.
    std::fs::remove_dir_all(bench.path().join("out")).unwrap();
    let job = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    bench.write("job.toml", format!("[job]\nsandbox = \"off\"\n{job}"));
    assert_eq!(bench.run().0, 0);
    assert!(bench.path().join("written").exists());
    let manifest: serde_json::Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    assert_eq!(manifest["instances"]["x"]["sandbox"], "off: the job says so");
}

#[test]
fn the_templates_pass_conform_and_run_a_job() {
    let bench = Bench::new();
    let source = root().join("backends/template/template.c");
    compile(bench.path(), &["-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "plugin.so", source.to_str().unwrap()]);
    passes_conform(&bench, "./plugin.so");
    let statuses: Vec<String> = run(&bench).into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses, ["ok", "ok"]);
    // Log-likelihoods need eb.score/1, which the template does not have: the letter that it writes is judged.
    let scored_by: Vec<String> = bench.cases().iter().map(|row| row.get("scored_by").to_owned()).collect();
    assert_eq!(scored_by, ["", "generation"]);
    passes_conform(&bench, workspace_library("edgebench_template").to_str().unwrap());
}

#[test]
fn a_parameter_that_begins_with_a_dot_is_a_path_from_the_jobs_folder() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(1));
    for (written, passed) in [("./lib/x", "/./lib/x"), ("../x", "/../x")] {
        bench.mock_job("", &format!("text = \"{written}\""), &GENERATE.replace("= 8", "= 500"));
        // From elsewhere, so that only the job's own folder fits.
        let job = bench.path().join("job.toml");
        let out = bench.path().join("out");
        let elsewhere = Bench::new();
        elsewhere.edgebench(&["run", job.to_str().unwrap(), "--out", out.to_str().unwrap()]).assert().code(0);
        let expected = format!("{}{passed}", bench.path().display());
        assert_eq!(bench.predictions()[0]["prediction"], expected);
        assert_eq!(bench.cases()[0].get("params"), format!("text={written}"), "as written");
        std::fs::remove_dir_all(out).unwrap();
    }
}
