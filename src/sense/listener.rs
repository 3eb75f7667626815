//! Which process listens on a port, as `/proc` tells. It must not know what the process is for.

use super::sensors::attribute::text;
use std::collections::BTreeMap;
use std::path::Path;

/// State LISTEN in `/proc/net/tcp` (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// Id and name of the process that listens on TCP port `port`: of several that share the socket the one that is no child
/// of another of them. `None`: there is none, or this user may not see whose it is.
pub fn listener(proc: &Path, port: u16) -> Option<(u32, String)> {
    let links: Vec<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .flat_map(|file| inodes(&text(proc.join(file)), port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if links.is_empty() {
        return None;
    }
    // Process → its parent.
    let mut owners = BTreeMap::new();
    for entry in std::fs::read_dir(proc).ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let descriptors = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|d| std::fs::read_link(d.path()).ok());
        if targets.any(|target| links.iter().any(|link| target.as_os_str() == link.as_str())) {
            let status = text(entry.path().join("status"));
            let value = |key| status.lines().find_map(|l| l.strip_prefix(key)).map(str::trim).unwrap_or_default();
            owners.insert(pid, (value("PPid:").parse::<u32>().unwrap_or(0), value("Name:").to_owned()));
        }
    }
    let first = owners.iter().find(|(_, (parent, _))| !owners.contains_key(parent));
    first.map(|(pid, (_, name))| (*pid, name.clone()))
}

/// Inodes of the sockets that listen on `port` (proc(5): 1 local address and port, 3 state, 9 inode).
fn inodes(table: &str, port: u16) -> Vec<String> {
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
        (local == port && *fields.get(3)? == LISTEN).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    table.lines().skip(1).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4711 1 0 100 0 0 10 0\n\
        1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000 0 4712 1 0 20 4 30 10 -1\n";

    #[test]
    fn the_parent_of_those_that_share_a_listening_socket_is_found() {
        let root = tempfile::tempdir().unwrap();
        let process = |pid: u32, parent: u32, socket: &str| {
            let folder = root.path().join(pid.to_string());
            std::fs::create_dir_all(folder.join("fd")).unwrap();
            std::fs::write(folder.join("status"), format!("Name:\tserver\nPPid:\t{parent}\n")).unwrap();
            symlink(format!("socket:[{socket}]"), folder.join("fd/7")).unwrap();
        };
        std::fs::create_dir(root.path().join("net")).unwrap();
        std::fs::write(root.path().join("net/tcp"), TABLE).unwrap();
        process(20, 1, "4712");
        process(31, 40, "4711");
        process(40, 1, "4711");
        assert_eq!(listener(root.path(), 8080), Some((40, "server".to_owned())));
        assert_eq!(listener(root.path(), 8081), None, "nobody listens there");
    }

    #[test]
    fn this_process_is_found_by_its_own_port() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(Path::new("/proc"), port).unwrap().0, std::process::id());
    }
}
