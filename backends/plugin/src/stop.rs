//! Looks for stop strings in text that comes in pieces.
//! It owns the end of the output, as much of it as an unfinished stop string can take.
//! It must not know tokens or models.

/// Looks for stop strings across the borders of tokens.
pub struct StopStrings<'a> {
    strings: Vec<&'a [u8]>,
    /// The end of the output: as much as an unfinished stop string can take, and the latest piece.
    tail: Vec<u8>,
    longest: usize,
}

impl<'a> StopStrings<'a> {
    /// Looks for `strings`; empty ones never appear.
    pub fn new(strings: &[&'a [u8]]) -> Self {
        let strings: Vec<_> = strings.iter().copied().filter(|s| !s.is_empty()).collect();
        let longest = strings.iter().map(|s| s.len()).max().unwrap_or(0);
        StopStrings { strings, tail: Vec::with_capacity(longest + 256), longest }
    }

    /// Is a stop string complete after `piece`?
    pub fn appear(&mut self, piece: &[u8]) -> bool {
        if self.strings.is_empty() {
            return false;
        }
        self.tail.extend_from_slice(piece);
        if self.strings.iter().any(|stop| self.tail.windows(stop.len()).any(|window| window == *stop)) {
            return true;
        }
        let excess = self.tail.len().saturating_sub(self.longest - 1);
        self.tail.drain(..excess);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appear_after(stops: &[&str], pieces: &[&str]) -> Option<usize> {
        let stops: Vec<_> = stops.iter().map(|s| s.as_bytes()).collect();
        let mut stops = StopStrings::new(&stops);
        pieces.iter().position(|piece| stops.appear(piece.as_bytes()))
    }

    #[test]
    fn stop_strings_are_found_inside_and_across_pieces() {
        assert_eq!(appear_after(&["\n\n"], &["a", "b\n", "\nc", "d"]), Some(2));
        assert_eq!(appear_after(&["bc"], &["abcd"]), Some(0));
        assert_eq!(appear_after(&["long stop", "x"], &["lo", "ng", " ", "st", "op"]), Some(4));
        assert_eq!(appear_after(&["答案"], &["问", "答", "", "案"]), Some(3));
        assert_eq!(appear_after(&["aab"], &["a", "a", "a", "b"]), Some(3));
        assert_eq!(appear_after(&["x"], &["a", "b"]), None);
        assert_eq!(appear_after(&[], &["a"]), None);
        assert_eq!(appear_after(&[""], &["a", ""]), None);
    }
}
