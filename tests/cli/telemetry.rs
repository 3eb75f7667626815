//! Heat, disturbance and energy of a run, on boards whose files change while it goes on.

use crate::board::Board;
use crate::common::{Bench, GENERATE, questions};
use edgebench::results::CaseRow;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

/// 8 tokens of 10 ms after a prompt of 40 ms: 120 ms a record.
const SLOW: &str = "text = \"12345678\", token_us = 10000, prefill_us = 2000";

/// A bench with `n` records of 120 ms or so.
fn bench(n: usize, head: &str, params: &str) -> Bench {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(n));
    bench.mock_job("", &format!("{SLOW}{params}"), &format!("{GENERATE}{head}"));
    bench
}

/// Runs on `board`; `change` is told every 5 ms how many seconds ago the run's folder appeared.
fn run(bench: &Bench, board: &Board, arguments: &[&str], mut change: impl FnMut(f64) + Send) -> i32 {
    let mut command = bench.edgebench(&["run", "job.toml", "--out", "out"]);
    command.args(arguments).env("EDGEBENCH_SYSROOT", board.path());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (folder, mut start) = (bench.path().join("out/telemetry.csv"), Instant::now());
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if !folder.exists() {
                    start = Instant::now();
                }
                change(start.elapsed().as_secs_f64());
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let out = command.output().unwrap();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        out.status.code().unwrap()
    })
}

/// Is there a host for this bench's case?
fn is_loading(bench: &Bench) -> bool {
    let host = |process: std::path::PathBuf| {
        let comm = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
        comm.trim() == "mock/gen" && std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == bench.path())
    };
    std::fs::read_dir("/proc").unwrap().flatten().any(|p| host(p.path()))
}

fn warnings(row: &CaseRow) -> BTreeSet<&str> {
    row.get("warnings").split(';').filter(|w| !w.is_empty()).collect()
}

/// What every quiet board in these tests is told of; the mock needs next to no processor.
fn quiet(board: &Board) {
    board.set("proc/stat", "cpu  1000 0 0 9000 0 0 0 0\n");
    board.set("proc/vmstat", "pswpin 0\npswpout 0\n");
}

fn timed_s(row: &CaseRow) -> f64 {
    row.number("n").unwrap() / row.number("records_s").unwrap()
}

fn near(row: &CaseRow, column: &str, expected: f64, percent: f64) {
    let value = row.number(column).unwrap_or_else(|| panic!("{column} is empty: {}", row.get("evidence")));
    let off = 100.0 * (value - expected).abs() / expected;
    assert!(off <= percent, "{column} is {value}, {expected} were expected");
}

#[test]
fn a_quiet_board_is_valid_and_its_rows_have_phases() {
    let board = Board::fixture("rk3588");
    quiet(&board);
    let bench = bench(20, "", ", load_us = 300000");
    assert_eq!(run(&bench, &board, &["--strict"], |_| ()), 0);
    let row = bench.case("mock/gen");
    assert_eq!((row.get("valid"), row.get("warnings"), row.get("evidence")), ("yes", "", ""));
    assert_eq!((row.get("temp_c_max"), row.get("freq_mhz_min")), ("44.4", "2400"));
    assert!(row.number("rss_avg_mib") > Some(1.0) && row.get("energy_j").is_empty());
    let rows = bench.rows("telemetry.csv");
    let phases: BTreeSet<&str> = rows.iter().map(|r| r.get("phase")).collect();
    for phase in ["load", "warmup", "prefill", "decode"] {
        assert!(phases.contains(phase), "{phase} in {phases:?}");
    }
    let times: Vec<f64> = rows.iter().map(|r| r.number("t_ms").unwrap()).collect();
    assert!(times.len() > 20 && times.is_sorted(), "10 a second for more than 2 s: {times:?}");
    assert_eq!(rows[9].get("temp_c:bigcore0-thermal"), "44.4");
    assert_eq!(rows[9].get("freq_mhz:policy6"), "2352");
    assert_eq!(rows[9].get("load_pct:npu"), "15");
}

#[test]
fn throttling_is_seen_with_its_clock_and_its_share() {
    let board = Board::fixture("rk3588");
    quiet(&board);
    let bench = bench(30, "", "");
    let code = run(&bench, &board, &["--strict"], |t| {
        if t > 2.0 {
            board.set("sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", "1500000");
        }
    });
    let row = bench.case("mock/gen");
    assert_eq!((code, row.get("status"), row.get("valid")), (1, "ok", "no"));
    assert!(warnings(&row).contains("throttled"), "{}", row.get("evidence"));
    assert!(row.get("evidence").starts_with("throttled: 1.5 GHz of 2.4 GHz for "), "{}", row.get("evidence"));
    assert_eq!(row.get("freq_mhz_min"), "1500");
}

#[test]
fn swapping_pressure_and_a_trip_point_make_a_row_invalid_but_no_failure() {
    let board = Board::fixture("rk3588");
    quiet(&board);
    let bench = bench(20, "", "");
    let code = run(&bench, &board, &[], |t| {
        board.set("proc/vmstat", &format!("pswpin {}\npswpout 0\n", if t > 1.5 { (t * 1e4) as u64 } else { 15_000 }));
        let total = (t * 200_000.0) as u64;
        board.set("proc/pressure/memory", &format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n"));
        if t > 1.5 {
            board.set("sys/class/thermal/thermal_zone0/temp", "76000");
        }
    });
    let row = bench.case("mock/gen");
    assert_eq!((code, row.get("valid")), (0, "no"));
    let evidence = row.get("evidence");
    assert_eq!(warnings(&row), BTreeSet::from(["memory-pressure", "swapped", "thermal-trip"]), "{evidence}");
    assert!(evidence.contains("thermal-trip: soc-thermal at 76.0 °C, its trip point is 75.0 °C"), "{evidence}");
    assert!(evidence.contains("memory-pressure: 20 % of the time") || evidence.contains("19 %"), "{evidence}");
}

#[test]
fn foreign_load_is_what_neither_the_host_nor_edgebench_used() {
    let board = Board::fixture("vm");
    let bench = bench(20, "", "");
    let code = run(&bench, &board, &[], |t| {
        // One of two cores is busy with something else.
        let busy = (t * 100.0) as u64;
        board.set("proc/stat", &format!("cpu  {busy} 0 0 9000 0 0 0 0\n"));
    });
    let row = bench.case("mock/gen");
    assert_eq!((code, row.get("valid")), (0, "no"));
    assert_eq!(warnings(&row), BTreeSet::from(["foreign-load", "heat-unseen"]));
    let percent: f64 =
        row.get("evidence").split("foreign-load: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((40.0..=51.0).contains(&percent), "{}", row.get("evidence"));
}

#[test]
fn a_rails_energy_is_power_times_time_less_the_idle_power() {
    let board = Board::fixture("jetson-orin");
    quiet(&board);
    let bench = bench(48, "[power]\nidle = \"2s\"\n", ", load_us = 500000");
    board.set("sys/class/hwmon/hwmon1/curr1_input", "600");
    run(&bench, &board, &[], |_| {
        // 3 W at rest, 5 W from the load on.
        if is_loading(&bench) {
            board.set("sys/class/hwmon/hwmon1/curr1_input", "1000");
        }
    });
    let row = bench.case("mock/gen");
    assert_eq!(row.get("energy_rail"), "VDD_IN");
    near(&row, "energy_j", 5.0 * timed_s(&row), 1.0);
    near(&row, "power_w_idle", 3.0, 2.0);
    near(&row, "power_w_avg", 5.0, 1.0);
    let net = row.number("energy_j").unwrap() - row.number("power_w_idle").unwrap() * timed_s(&row);
    near(&row, "energy_j_net", net, 1.0);
    near(&row, "energy_j_per_record", 5.0 * timed_s(&row) / 48.0, 1.0);
    near(&row, "energy_j_per_token", 5.0 * timed_s(&row) / (48.0 * 8.0), 1.0);
    let (prefill, decode) = (row.number("energy_prefill_j").unwrap(), row.number("energy_decode_j").unwrap());
    let sum: f64 =
        bench.rows("samples.csv").iter().filter(|r| r.get("pass") == "1").filter_map(|r| r.number("e2e_ms")).sum();
    assert!((prefill + decode - 5.0 * sum / 1e3).abs() < 0.02 * 5.0 * sum / 1e3, "{prefill} + {decode} J in {sum} ms");
    assert!(prefill > 0.0 && decode > prefill);
    assert!(!warnings(&row).contains("short-energy-window"), "{}", row.get("evidence"));
    assert!(row.number("energy_j_err") < Some(0.05 * row.number("energy_j").unwrap()));
    let rows = bench.rows("telemetry.csv");
    assert_eq!(rows.last().unwrap().get("power_w"), "5.000");
    assert!(rows.iter().any(|r| r.get("phase") == "idle" && r.get("power_w") == "3.000"));
}

#[test]
fn an_energy_counter_may_wrap() {
    let board = Board::fixture("intel-laptop");
    quiet(&board);
    for file in ["sys/class/powercap/intel-rapl:1/energy_uj", "sys/class/powercap/intel-rapl:1/max_energy_range_uj"] {
        board.set(file, "30000000");
    }
    let bench = bench(30, "[power]\nidle = \"1s\"\n", "");
    run(&bench, &board, &[], |t| {
        let joules = (10.0 + 6.0 * t) % 30.0;
        board.set("sys/class/powercap/intel-rapl:1/energy_uj", &format!("{:.0}", joules * 1e6));
    });
    let row = bench.case("mock/gen");
    assert_eq!(row.get("energy_rail"), "psys");
    // The file is written every 5 ms or later, which adds to what a counter's own steps do.
    near(&row, "energy_j", 6.0 * timed_s(&row), 3.0);
    assert!(warnings(&row).contains("governor"), "powersave is told");
}

#[test]
fn a_rail_that_vanishes_leaves_the_fields_empty_and_says_so() {
    let board = Board::fixture("jetson-orin");
    quiet(&board);
    let bench = bench(25, "[power]\nidle = \"1s\"\n", "");
    let code = run(&bench, &board, &[], |t| match t {
        t if t > 3.0 => board.set("sys/class/hwmon/hwmon1/curr1_input", ""),
        t if t > 2.8 => board.set("sys/class/hwmon/hwmon1/curr1_input", "garbage"),
        _ => {}
    });
    let row = bench.case("mock/gen");
    assert_eq!((code, row.get("status"), row.get("energy_j")), (0, "ok", ""));
    assert!(row.get("evidence").contains("sensor-silent: VDD_IN gave no value for"), "{}", row.get("evidence"));
    assert_eq!(row.get("energy_rail"), "VDD_IN");
}

#[test]
fn a_sensor_that_never_answers_holds_up_nothing() {
    let board = Board::fixture("jetson-orin");
    quiet(&board);
    let fifo = board.file("sys/class/thermal/thermal_zone1/temp");
    std::fs::remove_file(&fifo).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let bench = bench(15, "[power]\nidle = \"1s\"\n", "");
    assert_eq!(run(&bench, &board, &[], |_| ()), 0);
    let row = bench.case("mock/gen");
    assert_eq!(row.get("temp_c_max"), "");
    assert!(row.get("evidence").contains("sensor-silent: thermal gave no value"), "{}", row.get("evidence"));
    near(&row, "power_w_avg", 6.0, 1.0);
    let late = bench.rows("telemetry.csv").iter().filter_map(|r| r.number("late_ms")).fold(0.0, f64::max);
    assert!(late < 1500.0, "a look was {late} ms late");
}

#[test]
fn a_backends_own_rails_are_integrated_like_the_boards() {
    let board = Board::fixture("vm");
    quiet(&board);
    let bench = bench(45, "[power]\nidle = \"1s\"\n", ", power = \"NPU:2.5,DDR:0.5\"");
    run(&bench, &board, &[], |_| ());
    let row = bench.case("mock/gen");
    assert_eq!((row.get("energy_rail"), row.get("power_w_peak")), ("NPU", "2.500"));
    near(&row, "energy_j", 2.5 * timed_s(&row), 1.0);
    near(&row, "power_w_idle", 2.5, 1.0);
    let rows = bench.rows("telemetry.csv");
    assert_eq!(rows.last().unwrap().get("plugin_power_w"), "NPU=2.500;DDR=0.500");
    assert_eq!(rows.last().unwrap().get("power_w"), "2.500");
}

#[test]
fn a_rail_can_be_named_and_one_that_is_not_there_is_told() {
    let board = Board::fixture("jetson-orin");
    quiet(&board);
    let bench = bench(12, "[power]\nidle = \"1s\"\nrail = \"VDD_SOC\"\n", "");
    run(&bench, &board, &[], |_| ());
    let row = bench.case("mock/gen");
    assert_eq!(row.get("energy_rail"), "VDD_SOC");
    near(&row, "power_w_avg", 1.6, 1.0);
    assert!(warnings(&row).contains("short-energy-window"), "1.5 s are short: {}", row.get("evidence"));

    let absent = self::bench(12, "[power]\nidle = \"1s\"\nrail = \"VDD_X\"\n", "");
    run(&absent, &board, &[], |_| ());
    let row = absent.case("mock/gen");
    assert!(row.get("evidence").contains("the rail VDD_X, which this board does not have"), "{}", row.get("evidence"));
    assert_eq!(row.get("energy_j"), "");
}

#[test]
fn an_external_meter_is_a_command_or_a_socket() {
    let board = Board::fixture("vm");
    quiet(&board);
    let meter = "exec: while :; do read up _ < /proc/uptime; echo \\\"$up,3.0\\\"; sleep 0.05; done";
    let bench = bench(12, &format!("[power]\nidle = \"1s\"\nsource = \"{meter}\"\n"), "");
    run(&bench, &board, &[], |_| ());
    near(&bench.case("mock/gen"), "energy_j", 3.0 * timed_s(&bench.case("mock/gen")), 2.0);
    assert!(bench.case("mock/gen").get("energy_rail").starts_with("exec: while"));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let start = Instant::now();
        while writeln!(socket, "{:.3},4.0", start.elapsed().as_secs_f64()).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let bench = self::bench(12, &format!("[power]\nidle = \"1s\"\nsource = \"tcp://{address}\"\n"), "");
    run(&bench, &board, &[], |_| ());
    near(&bench.case("mock/gen"), "energy_j", 4.0 * timed_s(&bench.case("mock/gen")), 2.0);

    let nobody = self::bench(2, "[power]\nsource = \"tcp://127.0.0.1:1\"\n", "");
    assert_eq!(run(&nobody, &board, &[], |_| ()), 3, "a meter that is not there is the machine's refusal");
}

#[test]
fn a_hot_board_is_waited_for_but_not_for_ever() {
    let board = Board::fixture("raspberry-pi-5");
    quiet(&board);
    board.set("sys/class/thermal/thermal_zone0/temp", "81000");
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(3));
    bench.mock_job("cooldown = { below_c = 60, max_wait = \"20s\" }", SLOW, GENERATE);
    run(&bench, &board, &[], |t| {
        board.set("sys/class/thermal/thermal_zone0/temp", if t > 1.5 { "55000" } else { "81000" });
    });
    let row = bench.case("mock/gen");
    assert!(!warnings(&row).contains("hot-start") && row.number("wall_s") > Some(1.4), "{}", row.get("wall_s"));
    assert!(bench.rows("telemetry.csv").iter().any(|r| r.get("phase") == "cooldown"));

    board.set("sys/class/thermal/thermal_zone0/temp", "81000");
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(3));
    bench.mock_job("cooldown = { below_c = 60, max_wait = \"1s\" }", SLOW, GENERATE);
    run(&bench, &board, &[], |_| ());
    assert!(
        bench.case("mock/gen").get("evidence").contains("hot-start: 81.0 °C"),
        "{}",
        bench.case("mock/gen").get("evidence")
    );
}

#[test]
fn a_sustained_task_goes_on_and_shows_its_first_and_last_part() {
    let board = Board::fixture("rk3588");
    quiet(&board);
    let bench = bench(5, "sustained = \"4s\"\n", "");
    assert_eq!(run(&bench, &board, &[], |_| ()), 0);
    let row = bench.case("mock/gen");
    assert_eq!((row.get("n"), row.get("valid")), ("5", "yes"), "quality is the first pass's: {}", row.get("evidence"));
    let windows = bench.rows("sustained.csv");
    assert!((15..=20).contains(&windows.len()), "{} windows of 0.2 s", windows.len());
    assert!(row.number("sustained_first") > Some(20.0) && row.number("sustained_last") > Some(20.0));
    assert_eq!(windows[3].get("temp_c"), "44.4");
    let records: f64 = windows.iter().filter_map(|w| w.number("records")).sum();
    assert_eq!(bench.rows("samples.csv").len() as f64, records + 1.0, "and the warm-up");
    assert_eq!(bench.predictions().len(), 5);
}

#[test]
fn a_cold_load_is_measured_beside_the_warm_one() {
    let bench = Bench::new();
    bench.write("gen.jsonl", questions(2));
    bench.mock_job("cold_load = true", "load_us = 50000", GENERATE);
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/gen");
    assert!(row.number("load_ms") >= Some(50.0) && row.number("load_cold_ms") >= Some(50.0));
}

#[test]
fn decoding_is_held_against_the_memorys_speed() {
    let bench = bench(3, "", ", weights_bytes = 1000000, kv_bytes = 4096, n_ctx = 4096");
    assert_eq!(bench.run().0, 0);
    let row = bench.case("mock/gen");
    let manifest: serde_json::Value = serde_json::from_str(&bench.out("manifest.json")).unwrap();
    let bandwidth = manifest["bandwidth_gb_s"].as_f64().expect("measured, since it was needed") * 1e9;
    let expected = 1e6 * row.number("decode_tok_s").unwrap() / bandwidth;
    assert!((row.number("bandwidth_util").unwrap() - expected).abs() < 2e-4 + 0.02 * expected);
}

#[test]
fn limits_are_the_jobs() {
    let board = Board::fixture("vm");
    quiet(&board);
    let bench = bench(4, "[verdict]\nfew_samples = 2\nforeign_load_pct = 100\n", "");
    run(&bench, &board, &[], |_| ());
    assert_eq!(warnings(&bench.case("mock/gen")), BTreeSet::from(["heat-unseen"]));

    let wrong = self::bench(4, "[verdict]\nforeign_load = 3\nclock_pct = 101\n[power]\nsource = \"battery\"\n", "");
    let out = wrong.edgebench(&["check", "job.toml"]).output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    for part in
        ["unknown key `foreign_load` in [verdict]", "`clock_pct` is out of range", "no power comes from \"battery\""]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}
