//! `probe` on boards of all sorts: which sensors are found, with their exact values, and what is said to be missing.

use crate::board::Board;
use crate::common::Bench;
use predicates::prelude::*;
use serde_json::Value;

fn probe(board: &Board) -> Value {
    let out = Bench::new().edgebench(&["probe", "--json"]).env("EDGEBENCH_SYSROOT", board.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// `kind name value unit note` of every sensor.
fn sensors(probe: &Value) -> Vec<String> {
    let text = |s: &Value, key: &str| match &s[key] {
        Value::String(text) => text.clone(),
        Value::Null => "–".into(),
        number => number.to_string(),
    };
    let line = |s: &Value| ["kind", "name", "value", "unit", "note"].map(|k| text(s, k)).join("|");
    probe["sensors"].as_array().unwrap().iter().map(line).collect()
}

/// `name cores mhz/max governor capacity` of every cluster.
fn clusters(probe: &Value) -> Vec<String> {
    let line = |c: &Value| {
        format!("{} {} {}/{} {} {}", c["name"], c["cores"], c["mhz"], c["max_mhz"], c["governor"], c["capacity"])
    };
    probe["clusters"].as_array().unwrap().iter().map(|c| line(c).replace('"', "")).collect()
}

fn absent(probe: &Value) -> Vec<&str> {
    probe["absent"].as_array().unwrap().iter().map(|a| a["what"].as_str().unwrap()).collect()
}

#[test]
fn a_raspberry_pi_5() {
    let probe = probe(&Board::fixture("raspberry-pi-5"));
    assert_eq!(probe["board"]["model"], "Raspberry Pi 5 Model B Rev 1.0");
    assert_eq!(clusters(&probe), ["policy0 [0,1,2,3] 1500/2400 ondemand null"]);
    assert_eq!(probe["cpu_features"], serde_json::json!(["asimd", "fphp", "asimdhp", "asimddp"]));
    assert_eq!(
        sensors(&probe),
        [
            "temperature|cpu-thermal|52.35|°C|processor; trips at 85 °C",
            "cooling|pwm-fan|1.0|state|",
            "throttling|events|–||not throttled now",
        ]
    );
    assert_eq!(probe["memory_free_mib"], 6144.0);
    assert_eq!(absent(&probe), ["power"], "the Pi's own power chip is behind the firmware");
    assert!(probe["absent"][0]["todo"].as_str().unwrap().contains("vcgencmd pmic_read_adc"));
}

#[test]
fn a_jetson_orin() {
    let probe = probe(&Board::fixture("jetson-orin"));
    assert_eq!(
        clusters(&probe),
        ["policy0 [0,1,2,3] 1984/1984 schedutil null", "policy4 [4,5,6,7] 729/1984 schedutil null"]
    );
    assert_eq!(
        sensors(&probe),
        [
            "temperature|cpu-thermal|48.781|°C|processor; trips at 99 °C",
            "temperature|gpu-thermal|47.125|°C|",
            "temperature|tj-thermal|48.781|°C|",
            "power|VDD_IN|6.0|W|energy columns are about this rail",
            "power|VDD_CPU_GPU_CV|2.0|W|",
            "power|VDD_SOC|1.6|W|",
            "cooling|cpufreq-cpu0|0.0|state|slows the processor down when above 0",
            "cooling|pwm-fan|2.0|state|",
            "load|17000000.gpu|12.5|%|306 MHz",
        ]
    );
    assert_eq!(absent(&probe), ["memory pressure"]);
}

#[test]
fn an_rk3588() {
    let probe = probe(&Board::fixture("rk3588"));
    assert_eq!(
        clusters(&probe),
        [
            "policy0 [0,1,2,3] 1008/1800 performance 530",
            "policy4 [4,5] 2400/2400 performance 1024",
            "policy6 [6,7] 2352/2400 performance 1024",
        ]
    );
    assert_eq!(
        sensors(&probe),
        [
            "temperature|soc-thermal|43.461|°C|processor; trips at 75 °C",
            "temperature|bigcore0-thermal|44.384|°C|processor",
            "temperature|gpu-thermal|42.538|°C|",
            "temperature|npu-thermal|42.538|°C|",
            "cooling|thermal-cpufreq-0|0.0|state|slows the processor down when above 0",
            "cooling|thermal-devfreq-0|0.0|state|",
            "load|fb000000.gpu|0.0|%|300 MHz",
            "load|fdab0000.npu|0.0|%|1000 MHz",
            "load|npu|15.0|%|",
        ]
    );
}

#[test]
fn a_laptop() {
    let board = Board::fixture("intel-laptop");
    let probe = probe(&board);
    assert_eq!(clusters(&probe)[0], "policy0 [0] 2800/4200 powersave null");
    assert_eq!(
        sensors(&probe),
        [
            "temperature|acpitz|27.8|°C|",
            "temperature|x86_pkg_temp|61.0|°C|processor",
            "temperature|coretemp Package id 0|61.0|°C|processor; trips at 100 °C",
            "temperature|coretemp Core 0|58.0|°C|processor; trips at 100 °C",
            "power|package-0|0.0|W|energy counter, wraps at 262143 J",
            "power|core|0.0|W|energy counter, wraps at 262143 J",
            "power|psys|0.0|W|energy columns are about this rail; energy counter, wraps at 262143 J",
            "power|BAT0|8.35|W|",
            "cooling|Processor|0.0|state|slows the processor down when above 0",
            "throttling|events|14.0||not throttled now",
        ]
    );
}

#[test]
fn a_phone() {
    let probe = probe(&Board::fixture("android-phone"));
    assert_eq!(
        sensors(&probe),
        [
            "temperature|cpu-1-0-usr|41.2|°C|processor",
            "temperature|gpuss-0-usr|38.0|°C|",
            "temperature|modem-skin-usr|–|°C|",
            "temperature|battery|31.5|°C|",
            "power|battery|1.8|W|energy columns are about this rail",
            "cooling|cpufreq-cpu7|4.0|state|slows the processor down when above 0",
            "load|gpu|12.0|%|680 MHz",
        ]
    );
}

#[test]
fn a_jetson_agx_orin_has_no_rail_for_the_whole_module() {
    let board = Board::fixture("jetson-orin");
    for (channel, label, milliamps) in [(1, "VDD_GPU_SOC", 1000), (2, "VDD_CPU_CV", 500), (3, "VIN_SYS_5V0", 800)] {
        board.set(&format!("sys/class/hwmon/hwmon1/in{channel}_label"), label);
        board.set(&format!("sys/class/hwmon/hwmon1/curr{channel}_input"), &milliamps.to_string());
    }
    // Its second chip has one channel in use.
    for (file, content) in [
        ("name", "ina3221"),
        ("in1_label", "NC"),
        ("in1_input", "0"),
        ("curr1_input", "0"),
        ("in2_label", "VDDQ_VDD2_1V8AO"),
        ("in2_input", "5000"),
        ("curr2_input", "200"),
    ] {
        board.set(&format!("sys/class/hwmon/hwmon2/{file}"), content);
    }
    let rails: Vec<_> = sensors(&probe(&board)).into_iter().filter(|s| s.starts_with("power|")).collect();
    assert_eq!(
        rails,
        [
            "power|VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0|11.5|W|energy columns are about this rail",
            "power|VDD_GPU_SOC|5.0|W|",
            "power|VDD_CPU_CV|2.5|W|",
            "power|VIN_SYS_5V0|4.0|W|",
            "power|VDDQ_VDD2_1V8AO|1.0|W|",
        ]
    );
}

#[test]
fn a_pi_whose_kernel_lacks_the_firmwares_word_still_tells_of_under_voltage() {
    let board = Board::fixture("raspberry-pi-5");
    std::fs::remove_dir_all(board.file("sys/devices/platform")).unwrap();
    board.set("sys/class/hwmon/hwmon2/in0_lcrit_alarm", "1");
    let found = sensors(&probe(&board));
    assert!(found.contains(&"throttling|events|–||firmware: under-voltage".to_owned()), "{found:?}");
}

#[test]
fn a_virtual_machine_says_what_it_lacks_and_how_to_get_it() {
    let board = Board::fixture("vm");
    let found = probe(&board);
    assert!(sensors(&found).is_empty());
    assert_eq!(absent(&found), ["clock", "temperature", "power", "memory pressure"]);
    Bench::new().edgebench(&["probe"]).env("EDGEBENCH_SYSROOT", board.path()).assert().code(0).stdout(
        predicate::str::contains("a virtual machine has no cpufreq").and(predicate::str::contains("external meter")),
    );
}

#[test]
fn a_counter_that_only_root_may_read_is_named_with_the_way_out() {
    let board = Board::fixture("intel-laptop");
    for folder in ["intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"] {
        // A folder in its place cannot be read by anybody, root included.
        let file = board.file(&format!("sys/class/powercap/{folder}/energy_uj"));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
    }
    let probe = probe(&board);
    assert_eq!(sensors(&probe).iter().filter(|s| s.starts_with("power|")).count(), 1, "the battery is left");
    let refused = probe["absent"].as_array().unwrap().iter().filter(|a| a["what"] == "power").count();
    assert_eq!(refused, 3);
    assert!(probe["absent"][0]["todo"].as_str().unwrap().contains("chmod"));
}

#[test]
fn memory_is_measured() {
    let gb_s = probe(&Board::fixture("vm"))["bandwidth_gb_s"].as_f64().expect("a bandwidth");
    assert!((0.05..2000.0).contains(&gb_s), "{gb_s}");
}
