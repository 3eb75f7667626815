//! An external power meter: a command's output or a TCP connection that gives lines `t_s,watts`. It owns the
//! process or socket and the meter's clock; it must not know what the readings are used for.

use crate::clock::now_ns;
use crate::job::PowerSource;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longest line that is looked at, in bytes.
const LINE: u64 = 256;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A running meter. Dropping it ends the command or the connection.
pub struct External {
    name: String,
    end: End,
    readings: mpsc::Receiver<(u64, f64)>,
}

enum End {
    Process(Child),
    Socket(TcpStream),
}

impl External {
    /// Starts the meter of `source`; `None` when that is no external one.
    pub fn start(source: &PowerSource) -> Option<io::Result<External>> {
        match source {
            PowerSource::Board | PowerSource::Off => None,
            PowerSource::Exec(command) => Some(External::exec(command)),
            PowerSource::Tcp(address) => Some(External::tcp(address)),
        }
    }

    fn exec(command: &str) -> io::Result<External> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A group of its own, so that what the shell starts ends with it.
            .process_group(0)
            .spawn()?;
        let out = child.stdout.take().ok_or_else(|| io::Error::other("its output cannot be read"))?;
        Ok(External { name: format!("exec: {command}"), end: End::Process(child), readings: listen(out)? })
    }

    fn tcp(address: &str) -> io::Result<External> {
        let mut last = io::Error::other("the address has no meaning here");
        for candidate in std::net::ToSocketAddrs::to_socket_addrs(address)? {
            match TcpStream::connect_timeout(&candidate, CONNECT) {
                Ok(socket) => {
                    let readings = listen(socket.try_clone()?)?;
                    return Ok(External { name: format!("tcp://{address}"), end: End::Socket(socket), readings });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// What it is, as the job file has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Readings since the last call: CLOCK_MONOTONIC in ns, watts.
    pub fn take(&self) -> impl Iterator<Item = (u64, f64)> {
        self.readings.try_iter()
    }
}

impl Drop for External {
    fn drop(&mut self) {
        match &mut self.end {
            End::Process(child) => {
                if let Some(group) = Pid::from_raw(child.id() as i32) {
                    let _ = kill_process_group(group, Signal::TERM);
                }
                let _ = child.kill();
                let _ = child.wait();
            }
            End::Socket(socket) => {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }
}

fn listen(input: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<(u64, f64)>> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut reader = BufReader::new(input);
        let mut clock = MeterClock::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let Some((t_s, watts)) = parse(&line) else { continue };
            if sender.send((clock.here(t_s, now_ns()), watts)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("meter".into()).spawn(read)?;
    Ok(receiver)
}

/// `t_s,watts`; other lines (a heading, a comment) are no readings.
fn parse(line: &[u8]) -> Option<(f64, f64)> {
    let (t, watts) = std::str::from_utf8(line).ok()?.trim().split_once([',', ';', '\t'])?;
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    Some((number(t)?, number(watts)?))
}

/// Puts a meter's time on ours. A line can only arrive late, so the smallest delay seen so far is the best
/// estimate of how far the two clocks are apart.
#[derive(Default)]
struct MeterClock {
    offset_s: Option<f64>,
}

impl MeterClock {
    fn here(&mut self, t_s: f64, arrived_ns: u64) -> u64 {
        let seen = arrived_ns as f64 / 1e9 - t_s;
        let offset = self.offset_s.map_or(seen, |o| o.min(seen));
        self.offset_s = Some(offset);
        ((t_s + offset).max(0.0) * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_readings_and_others_are_left_out() {
        assert_eq!(parse(b"1.5,2.25\n"), Some((1.5, 2.25)));
        assert_eq!(parse(b" 1e3 , 2\r\n"), Some((1000.0, 2.0)));
        for other in [&b"t_s,watts"[..], b"", b"1.5", b"1,NaN", b"# 1,2", b"\xff,1"] {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn a_meters_own_time_is_kept_whatever_the_delay_of_its_lines() {
        let mut clock = MeterClock::default();
        // Lines 0.1 s apart on the meter; the second arrives 50 ms late, the first 10 ms.
        let at = [(100.0, 7_010), (100.1, 7_150), (100.2, 7_210), (100.3, 7_300)]
            .map(|(t, ms)| (clock.here(t, ms * 1_000_000) + 500_000) / 1_000_000);
        assert_eq!(at, [7010, 7110, 7210, 7300]);
    }

    #[test]
    fn a_command_is_read_and_ended() {
        let source = PowerSource::Exec("echo t,w; echo 0,3.5; echo 0.1,4.5; sleep 100".into());
        let meter = External::start(&source).unwrap().unwrap();
        let mut got = Vec::new();
        for _ in 0..500 {
            got.extend(meter.take());
            if got.len() == 2 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(got.iter().map(|r| r.1).collect::<Vec<_>>(), [3.5, 4.5]);
        drop(meter);
    }
}
