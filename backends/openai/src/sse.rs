//! Server-sent events: the data of each event out of a stream of lines (the `text/event-stream` of WHATWG's HTML).
//! It must not know what the data mean.

use std::io::{self, BufRead};

/// Longest line that is accepted, bytes: what is longer is nonsense.
const MAX_LINE: usize = 16 << 20;

/// Reads events. Comments, ids and names of events are passed over.
pub struct Events<R> {
    lines: R,
    line: Vec<u8>,
    data: Vec<u8>,
}

impl<R: BufRead> Events<R> {
    pub fn new(lines: R) -> Events<R> {
        Events { lines, line: Vec::new(), data: Vec::new() }
    }

    /// What follows the last event.
    pub fn into_lines(self) -> R {
        self.lines
    }

    /// The data of the next event; `None` at the stream's end, where an event without its empty line counts too.
    ///
    /// # Errors
    /// Those of the stream, and a line that never ends.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.data.clear();
        let mut any = false;
        loop {
            self.line.clear();
            if self.read_line()? == 0 {
                return Ok(any.then_some(&self.data));
            }
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if any {
                    return Ok(Some(&self.data));
                }
                continue;
            }
            let Some(value) = line.strip_prefix(b"data:") else { continue };
            if any {
                self.data.push(b'\n');
            }
            any = true;
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            // Servers of this kind put one event on one line, and some forget the empty line behind it.
            if matches!(self.data.as_slice(), [b'{', .., b'}'] | b"[DONE]") {
                return Ok(Some(&self.data));
            }
        }
    }

    fn read_line(&mut self) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let available = match self.lines.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let end = available.iter().position(|&b| b == b'\n').map(|i| i + 1);
            let n = end.unwrap_or(available.len());
            self.line.extend_from_slice(&available[..n]);
            self.lines.consume(n);
            total += n;
            if n == 0 || end.is_some() {
                return Ok(total);
            }
            if total > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        // Small pieces, as a network gives them.
        let mut events = Events::new(io::BufReader::with_capacity(3, text.as_bytes()));
        let mut found = Vec::new();
        while let Some(data) = events.next().unwrap() {
            found.push(String::from_utf8(data.to_vec()).unwrap());
        }
        found
    }

    #[test]
    fn data_are_found_among_comments_names_and_line_ends() {
        let text = ": ping\r\n\r\ndata: {\"a\":1}\r\n\r\nevent: x\nid: 4\ndata:{\"b\":\"你\"}\n\ndata: [DONE]\n\n";
        assert_eq!(all(text), ["{\"a\":1}", "{\"b\":\"你\"}", "[DONE]"]);
        assert_eq!(all("data: {\ndata: }\n\n"), ["{\n}"], "several lines are one event");
        assert_eq!(all("data: {}\ndata: {}\n"), ["{}", "{}"], "no empty lines between");
        assert_eq!(all("data: {\"a\":"), ["{\"a\":"], "cut");
        assert!(all("").is_empty() && all("\n\n: x\n").is_empty());
    }
}
