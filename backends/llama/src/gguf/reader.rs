//! A cursor over a file that never reads or allocates past the file's end.
//! It owns the position; every failure is a sentence about the file.
//! It must not know GGUF beyond its number formats (little-endian, sized).

use std::io::{BufReader, Read, Seek, SeekFrom};

pub struct Reader<R> {
    file: BufReader<R>,
    position: u64,
    len: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// From the start of `file`.
    pub fn new(mut file: R) -> Result<Self, String> {
        let len = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        Ok(Reader { file: BufReader::with_capacity(64 << 10, file), position: 0, len })
    }

    /// Size of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes read or skipped so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes behind the cursor.
    pub fn remaining(&self) -> u64 {
        self.len - self.position
    }

    fn advance(&mut self, n: u64) -> Result<(), String> {
        if n > self.remaining() {
            return Err(format!(
                "the file is truncated: it ends inside its header, at byte {}; copy or download it again",
                self.len
            ));
        }
        self.position += n;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer or boolean of the GGUF type `kind`, which takes `size` bytes. An u64 beyond i64 saturates.
    pub fn integer(&mut self, kind: u32, size: u64) -> Result<i64, String> {
        let signed = matches!(kind, 1 | 3 | 5 | 11);
        Ok(match (size, signed) {
            (1, true) => i64::from(i8::from_le_bytes(self.array()?)),
            (1, false) => i64::from(u8::from_le_bytes(self.array()?)),
            (2, true) => i64::from(i16::from_le_bytes(self.array()?)),
            (2, false) => i64::from(u16::from_le_bytes(self.array()?)),
            (4, true) => i64::from(i32::from_le_bytes(self.array()?)),
            (4, false) => i64::from(u32::from_le_bytes(self.array()?)),
            (_, true) => i64::from_le_bytes(self.array()?),
            (_, false) => i64::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(i64::MAX),
        })
    }

    /// The next `n` bytes. The caller has bounded `n`; the file's size bounds it again before anything is allocated.
    pub fn bytes(&mut self, n: u64) -> Result<Vec<u8>, String> {
        self.advance(n)?;
        let mut bytes = vec![0; usize::try_from(n).map_err(|_| "the file is too large for this machine")?];
        self.file.read_exact(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// As [`Reader::bytes`], with U+FFFD for what is not UTF-8.
    pub fn text(&mut self, n: u64) -> Result<String, String> {
        let bytes = self.bytes(n)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// Moves on by `n` bytes.
    pub fn skip(&mut self, n: u64) -> Result<(), String> {
        self.advance(n)?;
        let n = i64::try_from(n).map_err(|_| "the file is too large for this machine")?;
        self.file.seek_relative(n).map_err(unreadable)
    }
}

fn unreadable(e: std::io::Error) -> String {
    format!("cannot read the file: {e}")
}
