//! Objects that are servers: whether they answer, asked by `check`, and which process to watch while they are asked. It must
//! not know what they are asked, nor hosts.

use crate::job::{Address, Instance, Job};
use crate::problem::Problem;
use crate::sense::listener::listener;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// How long a server gets to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// Listens in the place of a server in a container.
const PROXY: &str = "docker-proxy";

/// The process whose memory and processor are those of an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Watched {
    /// Its host's.
    Host,
    /// A server of this machine.
    Server(u32),
    /// A server elsewhere: this machine does not see it.
    Remote,
    /// A server of this machine that cannot be seen, and why.
    Unseen(String),
}

/// Whom to watch while `instance` is asked; `proc` is the root of `/proc`.
pub fn watched(instance: &Instance, proc: &Path) -> Watched {
    let Some(address) = instance.address() else { return Watched::Host };
    let pid = instance.params.iter().find(|(key, _)| key == "pid").and_then(|(_, value)| value.parse().ok());
    if let Some(pid) = pid {
        return if proc.join(format!("{pid}/stat")).exists() {
            Watched::Server(pid)
        } else {
            Watched::Unseen(format!("there is no process {pid}, which `pid` names"))
        };
    }
    if !address.is_local() {
        return Watched::Remote;
    }
    match listener(proc, address.port) {
        Some((_, name)) if name == PROXY => {
            Watched::Unseen(format!("{PROXY} listens on port {}; name the server's process in `pid`", address.port))
        }
        Some((pid, _)) => Watched::Server(pid),
        None => {
            let port = address.port;
            Watched::Unseen(format!("whose port {port} is cannot be seen; name the server's process in `pid`"))
        }
    }
}

/// Servers of a job, whose file is `shown` to the user, that do not answer now. They may be started later, so these are
/// no errors.
pub fn warnings(job: &Job, shown: &Path) -> Vec<Problem> {
    let mut asked: Vec<Address> = Vec::new();
    let mut warnings = Vec::new();
    for instance in &job.instances {
        let Some(address) = instance.address().filter(|a| !asked.contains(a)) else { continue };
        if let Err(e) = knock(&address) {
            let what = format!("object \"{}\": {} does not answer now: {e}", instance.object, address.url);
            warnings.push(Problem::new(shown, 0, what, "start the server before the run, or correct the url"));
        }
        asked.push(address);
    }
    warnings
}

/// Is there anyone? Nothing is asked.
fn knock(address: &Address) -> std::io::Result<()> {
    let mut result = Err(std::io::Error::other("the name has no address"));
    for socket in (address.host.as_str(), address.port).to_socket_addrs()? {
        result = TcpStream::connect_timeout(&socket, PATIENCE).map(drop);
        if result.is_ok() {
            break;
        }
    }
    result
}
