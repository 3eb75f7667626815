//! Cuts a byte stream into blocks of whole lines, numbered, in constant memory. It owns line ends, the byte order
//! mark and the limit on a line's length.
//! It must not know what is in a line.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// The longest line that is read, in bytes, without its line end.
pub const MAX_LINE: usize = 1 << 20;
/// How much is read at a time: large enough for the kernel, small enough for the second-level cache.
pub(super) const BLOCK: usize = 256 << 10;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What [`Lines::next_block`] put into the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Whole lines with their ends (the file's last line may have none); the number of the first, from 1, and where
    /// in the file it begins.
    Lines { first: u64, offset: u64 },
    /// A line that is longer than a block and than [`MAX_LINE`], of which the buffer has only a part: its number
    /// and its length in bytes.
    TooLong { line: u64, len: u64 },
}

/// A source of lines.
pub(super) struct Lines<R> {
    source: R,
    /// What is read but not handed out: the beginning of a line, or, after a line that was too long, whole lines.
    carry: Vec<u8>,
    /// Number of the next line, from 1.
    line: u64,
    /// Bytes read.
    bytes: u64,
    done: bool,
    hasher: Option<Sha256>,
}

impl<R: Read> Lines<R> {
    /// The lines of `source`.
    pub fn new(source: R) -> Lines<R> {
        Lines { source, carry: Vec::new(), line: 1, bytes: 0, done: false, hasher: None }
    }

    /// The same, which also hashes all that is read.
    pub fn hashed(source: R) -> Lines<R> {
        Lines { hasher: Some(Sha256::new()), ..Lines::new(source) }
    }

    /// SHA-256 of what was read, if it was hashed.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.hasher.clone().map(|hasher| hasher.finalize().into())
    }

    /// How many bytes were read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Replaces what is in `block` by the next lines; `None` at the end of the source.
    ///
    /// # Errors
    /// Those of the source; afterwards it counts as ended.
    pub fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<Option<Block>> {
        block.clear();
        block.extend_from_slice(&self.carry);
        self.carry.clear();
        let (first, offset) = (self.line, self.bytes - block.len() as u64);
        let mut searched = 0;
        loop {
            self.fill(block)?;
            if let Some(i) = block[searched..].iter().rposition(|&b| b == b'\n') {
                let end = searched + i + 1;
                self.carry.extend_from_slice(&block[end..]);
                block.truncate(end);
                self.line += count_newlines(&block[searched..]);
                return Ok(Some(Block::Lines { first, offset }));
            }
            if self.done {
                self.line += 1;
                return Ok((!block.is_empty()).then_some(Block::Lines { first, offset }));
            }
            searched = block.len();
            if searched > MAX_LINE + 1 {
                return self.skip_line(block).map(Some);
            }
        }
    }

    /// Appends up to `BLOCK` bytes.
    fn fill(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        if self.done {
            return Ok(());
        }
        // Exact, so that the memory does not depend on how a Vec grows. The surplus keeps `read_to_end` from growing
        // it to look for more.
        block.reserve_exact(BLOCK + 64);
        let wanted = BLOCK as u64;
        let result = self.source.by_ref().take(wanted).read_to_end(block);
        self.done = !matches!(result, Ok(BLOCK));
        let n = result? as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&block[block.len() - n as usize..]);
        }
        if self.bytes == 0 && block.starts_with(BOM) {
            block.drain(..BOM.len());
        }
        self.bytes += n;
        Ok(())
    }

    /// Reads on to the end of the line of which `block` is the beginning.
    fn skip_line(&mut self, block: &mut Vec<u8>) -> io::Result<Block> {
        let (mut len, mut cr) = (0, false);
        loop {
            let newline = find_newline(block);
            let part = &block[..newline.unwrap_or(block.len())];
            len += part.len() as u64;
            cr = part.last().map_or(cr, |&b| b == b'\r');
            if newline.is_some() || self.done {
                self.carry.extend_from_slice(&block[newline.map_or(block.len(), |i| i + 1)..]);
                self.line += 1;
                return Ok(Block::TooLong { line: self.line - 1, len: len - u64::from(cr) });
            }
            block.clear();
            self.fill(block)?;
        }
    }
}

impl Lines<File> {
    /// Goes on at `offset`, where line number `line` begins. It must be behind the first line.
    pub fn seek(&mut self, offset: u64, line: u64) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(offset))?;
        self.carry.clear();
        (self.bytes, self.line, self.done) = (offset, line, false);
        Ok(())
    }
}

/// The first line of `block` without its line end, and the number of bytes that it takes with it.
pub(super) fn split_line(block: &[u8]) -> (&[u8], usize) {
    match find_newline(block) {
        Some(i) => (block[..i].strip_suffix(b"\r").unwrap_or(&block[..i]), i + 1),
        None => (block.strip_suffix(b"\r").unwrap_or(block), block.len()),
    }
}

/// Like `memchr`, by the compiler's vector instructions.
fn find_newline(text: &[u8]) -> Option<usize> {
    const STEP: usize = 32;
    let is_newline = |&b: &u8| b == b'\n';
    let (steps, _) = text.as_chunks::<STEP>();
    let skipped = steps.iter().take_while(|step| !step.iter().fold(false, |any, b| any | is_newline(b))).count() * STEP;
    text[skipped..].iter().position(is_newline).map(|i| skipped + i)
}

/// How many line ends are in `text`. Counts in bytes, which makes it several times as fast as in words.
fn count_newlines(text: &[u8]) -> u64 {
    let chunks = text.chunks(255); // so no count overflows
    chunks.map(|chunk| u64::from(chunk.iter().map(|&b| u8::from(b == b'\n')).sum::<u8>())).sum()
}
