//! Puts the programs that `cross/build.sh` has built into the next one: every file of the folder that EDGEBENCH_HOSTS
//! names; `NAME.zst` is a packed one. Without that variable the table is empty, and the program starts itself as a host.

use std::fmt::Write;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=EDGEBENCH_HOSTS");
    let mut table = String::from("pub const EMBEDDED: &[Embedded] = &[\n");
    if let Some(folder) = std::env::var_os("EDGEBENCH_HOSTS").map(PathBuf::from) {
        println!("cargo::rerun-if-changed={}", folder.display());
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("EDGEBENCH_HOSTS={}: {e}", folder.display()));
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files {
            println!("cargo::rerun-if-changed={}", file.display());
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let packed = file.extension().is_some_and(|e| e == "zst");
            let _ = writeln!(
                table,
                "    Embedded {{ name: {name:?}, packed: {packed}, bytes: include_bytes!({file:?}) }},"
            );
        }
    }
    table.push_str("];\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("embedded.rs");
    std::fs::write(&out, table).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
}
