//! What a plugin's file is, read before it is loaded: class, machine, C library. A wrong file is told in words
//! instead of in dlopen's. It must not load anything.

use object::elf::{DT_NEEDED, EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64, ET_DYN};
use object::elf::{ELFCLASS32, ELFCLASS64, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The C library that a shared object was linked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libc {
    Glibc,
    Musl,
    /// Android's.
    Bionic,
    /// It names none: fits any.
    None,
}

impl Libc {
    fn name(self) -> &'static str {
        match self {
            Libc::Glibc => "glibc",
            Libc::Musl => "musl",
            Libc::Bionic => "bionic (Android)",
            Libc::None => "no libc",
        }
    }

    /// The one that this process was built for.
    pub const OWN: Libc = if cfg!(target_env = "musl") { Libc::Musl } else { Libc::Glibc };
}

/// A shared object's header, as far as loading depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    pub bits: u8,
    pub machine: u16,
    pub shared: bool,
    /// Names of the libraries that it needs.
    pub needed: Vec<String>,
}

/// Reads the header of `path`. The error is a sentence without the path.
pub fn read(path: &Path) -> Result<Elf, String> {
    let mut file = File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    let mut ident = [0; 5];
    if file.read_exact(&mut ident).is_err() || ident[..4] != *b"\x7fELF" {
        return Err("is not a shared library (no ELF file)".to_owned());
    }
    let data = ReadCache::new(file);
    let parsed = match object::elf::FileClass(ident[4]) {
        ELFCLASS32 => parse::<FileHeader32<Endianness>>(&data),
        ELFCLASS64 => parse::<FileHeader64<Endianness>>(&data),
        other => return Err(format!("is a damaged ELF file: class {}", other.0)),
    };
    parsed.map_err(|e| format!("is a damaged ELF file: {e}"))
}

fn parse<'d, H: FileHeader<Endian = Endianness>>(data: impl ReadRef<'d>) -> object::read::Result<Elf> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut needed = Vec::new();
    if let Some((entries, link)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        for entry in entries.iter().filter(|e| e.tag(endian) == DT_NEEDED) {
            needed.push(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned());
        }
    }
    Ok(Elf {
        bits: if header.is_type_64() { 64 } else { 32 },
        machine: header.e_machine(endian).0,
        shared: header.e_type(endian) == ET_DYN,
        needed,
    })
}

/// The dynamic loader that a program asks for (PT_INTERP); `None` for a static one, or what is no ELF file.
pub fn interpreter(bytes: &[u8]) -> Option<String> {
    fn of<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<String> {
        let header = H::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let segments = header.program_headers(endian, bytes).ok()?;
        let path = segments.iter().find_map(|s| s.interpreter(endian, bytes).ok().flatten())?;
        Some(String::from_utf8_lossy(path).into_owned())
    }
    match object::elf::FileClass(*bytes.get(4)?) {
        ELFCLASS32 => of::<FileHeader32<Endianness>>(bytes),
        ELFCLASS64 => of::<FileHeader64<Endianness>>(bytes),
        _ => None,
    }
}

impl Elf {
    pub fn libc(&self) -> Libc {
        let needs = |test: &dyn Fn(&str) -> bool| self.needed.iter().any(|n| test(n));
        if needs(&|n| n == "libc.so.6") {
            Libc::Glibc
        } else if needs(&|n| n.starts_with("libc.musl-")) {
            Libc::Musl
        } else if needs(&|n| n == "libc.so") {
            if needs(&|n| n == "liblog.so" || n == "libdl.so") { Libc::Bionic } else { Libc::Musl }
        } else {
            Libc::None
        }
    }

    fn architecture(&self) -> String {
        let name = match (object::elf::Machine(self.machine), self.bits) {
            (EM_X86_64, 64) => "x86-64",
            (EM_X86_64, _) => "x32",
            (EM_386, _) => "x86 (32 bit)",
            (EM_AARCH64, _) => "aarch64",
            (EM_ARM, _) => "arm (32 bit)",
            (EM_RISCV, 64) => "riscv64",
            (EM_RISCV, _) => "riscv32",
            (other, bits) => return format!("machine number {} ({bits} bit)", other.0),
        };
        name.to_owned()
    }
}

/// The name that [`Elf::architecture`] gives to files of this build's own kind.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86-64",
        "arm" => "arm (32 bit)",
        "x86" => "x86 (32 bit)",
        other => other,
    }
}

/// Can hosts for `libcs` load the plugin at `path`? The error says what the file is and what the board is.
pub fn check(path: &Path, libcs: &[Libc]) -> Result<(), String> {
    let elf = read(path)?;
    let (theirs, ours) = (elf.architecture(), own_architecture());
    if theirs != ours {
        return Err(format!("is built for {theirs}, this board is {ours}"));
    }
    if !elf.shared {
        return Err("is an ELF file, but not a shared library; link it with -shared".to_owned());
    }
    match elf.libc() {
        Libc::Bionic => Err("is built for Android, which is not supported yet".to_owned()),
        libc if libc != Libc::None && !libcs.contains(&libc) => {
            let ours: Vec<&str> = libcs.iter().map(|l| l.name()).collect();
            Err(format!("needs {}, and this edgebench has only a host for {}", libc.name(), ours.join(" and ")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(needed: &[&str]) -> Elf {
        let needed = needed.iter().map(|n| (*n).to_owned()).collect();
        Elf { bits: 64, machine: EM_X86_64.0, shared: true, needed }
    }

    #[test]
    fn the_c_library_is_told_by_what_is_needed() {
        assert_eq!(elf(&["libm.so.6", "libc.so.6"]).libc(), Libc::Glibc);
        assert_eq!(elf(&["libc.musl-x86_64.so.1"]).libc(), Libc::Musl);
        assert_eq!(elf(&["libc.so"]).libc(), Libc::Musl);
        assert_eq!(elf(&["liblog.so", "libc.so"]).libc(), Libc::Bionic);
        assert_eq!(elf(&[]).libc(), Libc::None);
    }

    #[test]
    fn this_very_program_is_read() {
        let own = read(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(own.architecture(), own_architecture());
        assert!(own.libc() == Libc::OWN || own.needed.is_empty(), "{:?}", own.needed);
    }

    #[test]
    fn what_is_no_library_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.so");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(check(&path, &[Libc::OWN]).unwrap_err(), "is not a shared library (no ELF file)");
        std::fs::write(&path, b"\x7fELF\x02\x01\x01").unwrap();
        assert!(check(&path, &[Libc::OWN]).unwrap_err().contains("damaged"));
    }
}
