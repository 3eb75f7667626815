//! Starting a program that lies inside this one: from memory, else from a file in a folder that allows it, else
//! through the dynamic loader. It must not know which program is the right one.

use super::{EMBEDDED, Embedded, Source};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

/// Environment variable with a command that hosts are started through: `qemu-aarch64-static -L ROOT`.
pub(super) const RUNNER: &str = "EDGEBENCH_HOST_RUNNER";
/// Environment variable with a folder for hosts that cannot be started from memory.
const FOLDER: &str = "EDGEBENCH_TMPDIR";
/// Environment variable in which a packed program tells the one inside where its file is.
const ITSELF: &str = "EDGEBENCH_ITSELF";
/// Tried in turn after the folder of this program.
const FOLDERS: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run", "/data/local/tmp"];
/// How often a file that the kernel still holds as written to is tried.
const BUSY_TRIES: u32 = 20;

/// How a host was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A file of its own: this program, or one that the user named.
    Program,
    /// From memory.
    Memory,
    /// A file in this folder, gone again by now.
    File(PathBuf),
    /// From memory through the dynamic loader at this path.
    Loader(PathBuf),
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Way::Program => f.write_str("directly"),
            Way::Memory => f.write_str("from memory"),
            Way::File(folder) => write!(f, "from a file in {}", folder.display()),
            Way::Loader(loader) => write!(f, "through {}", loader.display()),
        }
    }
}

/// Starts `source`, and says how. `prepare` fills in arguments and descriptors, once for each way that is tried.
///
/// # Errors
/// No way works: what each of them said.
pub fn spawn(source: &Source, mut prepare: impl FnMut(&mut Command) -> io::Result<()>) -> io::Result<(Child, Way)> {
    let mut start = |mut command: Command| {
        prepare(&mut command)?;
        command.spawn()
    };
    match source {
        Source::Itself => Ok((start(through_runner(&itself()))?, Way::Program)),
        Source::Given(path) => Ok((start(through_runner(path))?, Way::Program)),
        Source::Embedded(embedded) => ladder(embedded, &mut start),
    }
}

/// Turns this process into the one program inside it, with the same arguments. Returns only when no way works.
pub fn become_packed() -> io::Error {
    let [embedded] = EMBEDDED else { return io::Error::other("there is not one program inside") };
    let mut become_it = |mut command: Command| -> io::Result<Infallible> {
        let mut arguments = std::env::args_os();
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        Err(command.args(arguments).env(ITSELF, itself()).exec())
    };
    match ladder(embedded, &mut become_it) {
        Ok((never, _)) => match never {},
        Err(e) => e,
    }
}

/// The file that the user started.
pub fn itself() -> PathBuf {
    let outer = std::env::var_os(ITSELF).map(PathBuf::from);
    outer.or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// Tries one way after the other with `start`.
fn ladder<T>(embedded: &'static Embedded, start: &mut impl FnMut(Command) -> io::Result<T>) -> io::Result<(T, Way)> {
    if let Some(loader) = embedded.missing_loader() {
        // The kernel would say "no such file" of a program that is there.
        let message = format!("the host {} needs {}, which this board does not have", embedded.name, loader.display());
        return Err(io::Error::other(message));
    }
    let mut refusals = Vec::new();
    let mut memory = None;
    match in_memory(embedded).and_then(|file| start(through_runner(&path_of(memory.insert(file))))) {
        Ok(started) => return Ok((started, Way::Memory)),
        Err(e) => refusals.push(format!("from memory: {e}")),
    }
    for folder in folders() {
        match in_folder(embedded, &folder).and_then(|file| start_file(&file, start)) {
            Ok(started) => return Ok((started, Way::File(folder))),
            Err(e) => refusals.push(format!("{}: {e}", folder.display())),
        }
    }
    if let (Some(file), Some(loader)) = (memory, embedded.loader().filter(|l| l.exists())) {
        let mut command = Command::new(&loader);
        command.arg(path_of(file));
        match keep_open(file).and_then(|()| start(command)) {
            Ok(started) => return Ok((started, Way::Loader(loader))),
            Err(e) => refusals.push(format!("{}: {e}", loader.display())),
        }
    }
    Err(io::Error::other(format!(
        "{} cannot be started ({}); set {FOLDER} to a folder from which programs may be started",
        embedded.name,
        refusals.join("; ")
    )))
}

/// `program`, or the runner with the program as its last argument.
fn through_runner(program: &Path) -> Command {
    let runner = std::env::var(RUNNER).unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(program),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
    }
}

/// A memory file with the program in it. It is made once and kept for the life of this process.
fn in_memory(embedded: &'static Embedded) -> io::Result<&'static OwnedFd> {
    static FILES: Mutex<BTreeMap<&str, &OwnedFd>> = Mutex::new(BTreeMap::new());
    let mut files = FILES.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(file) = files.get(embedded.name) {
        return Ok(file);
    }
    let create = |more| memfd_create("edgebench-host", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | more);
    let file = match create(MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag, and always allow it.
        Err(Errno::INVAL) => create(MemfdFlags::empty()),
        // Memory may not be executed here (vm.memfd_noexec); a loader may still map it.
        Err(Errno::ACCESS) => create(MemfdFlags::NOEXEC_SEAL),
        other => other,
    }?;
    let mut file = File::from(file);
    io::copy(&mut embedded.unpack()?, &mut file)?;
    // What is started later is what was written now.
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    open_for_runner(&file)?;
    let file: &'static OwnedFd = Box::leak(Box::new(OwnedFd::from(file)));
    files.insert(embedded.name, file);
    Ok(file)
}

fn open_for_runner(file: impl AsFd) -> io::Result<()> {
    if std::env::var_os(RUNNER).is_some() { keep_open(file) } else { Ok(()) }
}

/// Lets a runner or loader, which is another program, find the descriptor open.
fn keep_open(file: impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(file, FdFlags::empty())?)
}

fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The user's folder alone, or those that may be there.
fn folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER).filter(|f| !f.is_empty()) {
        return vec![PathBuf::from(folder)];
    }
    let own = itself().parent().map(Path::to_path_buf);
    own.into_iter().chain(FOLDERS.iter().map(PathBuf::from)).filter(|f| f.is_dir()).collect()
}

/// A file in `folder` with the program in it, whose name is gone again: nothing is left behind, whatever happens.
fn in_folder(embedded: &Embedded, folder: &Path) -> io::Result<OwnedFd> {
    let mut name = OsString::from(format!(".edgebench-{}-", std::process::id()));
    name.push(embedded.name);
    let path = folder.join(name);
    // Left by a process of the same number that was killed; the name is nobody else's.
    let _ = std::fs::remove_file(&path);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(rustix::fs::open(&path, flags, Mode::RWXU)?);
    let written = embedded.unpack().and_then(|mut program| io::copy(&mut program, &mut file));
    // A program that is open for writing cannot be executed.
    let reopened = written.and_then(|_| Ok(OwnedFd::from(File::open(&path)?)));
    std::fs::remove_file(&path)?;
    let file = reopened?;
    open_for_runner(&file)?;
    Ok(file)
}

fn start_file<T>(file: &OwnedFd, start: &mut impl FnMut(Command) -> io::Result<T>) -> io::Result<T> {
    for _ in 0..BUSY_TRIES {
        match start(through_runner(&path_of(file))) {
            // Another thread forked while the file was open for writing, and has not called exec yet.
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    Err(io::Error::from(io::ErrorKind::ExecutableFileBusy))
}
