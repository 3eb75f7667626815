//! Raw calls of the tokenizer, with guard bytes behind the caller's buffers. It owns the rules for capacity,
//! which hold for every call. It must not know which texts a check tries.

use super::raw::{Answered, Session, missing};
use super::{Checked, Outcome};
use crate::backend::abi::*;
use std::ptr;

/// What a buffer holds where nothing was stored, and behind its end.
const GUARD_TOKEN: i32 = 0x5c5c_5c5c;
const GUARD_BYTE: u8 = 0xC5;
/// Entries behind a buffer's end.
const TAIL: usize = 64;

/// What one call stored: the count that it told, and the entries that fit.
pub struct Stored<T> {
    pub status: EbStatus,
    pub count: usize,
    pub items: Vec<T>,
}

impl Session<'_> {
    /// One call of `tokenize()` with a buffer of `capacity`; for 0 the buffer is NULL.
    pub fn tokenize_into(&self, text: &[u8], flags: u64, capacity: usize) -> Answered<Stored<i32>> {
        let Some(tokenize) = self.plugin.table().tokenize else { return Err(missing("tokenize")) };
        let mut buffer = vec![GUARD_TOKEN; capacity + TAIL];
        let pointer = if capacity == 0 { ptr::null_mut() } else { buffer.as_mut_ptr() };
        let mut count = usize::MAX;
        let answer = self.plugin.call("tokenize", |error| {
            // SAFETY: the session is open, the buffer has the capacity that is told and more.
            unsafe { tokenize(self.raw(), EbStr::from_bytes(text), flags, pointer, capacity, &mut count, error) }
        })?;
        stored("tokenize", "token", answer, buffer, GUARD_TOKEN, capacity, count)
    }

    /// One call of `detokenize()`; the same rules.
    pub fn detokenize_into(&self, tokens: &[i32], capacity: usize) -> Answered<Stored<u8>> {
        let Some(detokenize) = self.plugin.table().detokenize else { return Err(missing("detokenize")) };
        let mut buffer = vec![GUARD_BYTE; capacity + TAIL];
        let pointer = if capacity == 0 { ptr::null_mut() } else { buffer.as_mut_ptr() };
        let mut count = usize::MAX;
        let (list, n) = (if tokens.is_empty() { ptr::null() } else { tokens.as_ptr() }, tokens.len());
        let answer = self.plugin.call("detokenize", |error| {
            // SAFETY: as above.
            unsafe { detokenize(self.raw(), list, n, pointer.cast(), capacity, &mut count, error) }
        })?;
        stored("detokenize", "byte", answer, buffer, GUARD_BYTE, capacity, count)
    }

    /// All tokens of `text`.
    pub fn tokenize(&self, text: &str, flags: u64) -> Result<Vec<i32>, Outcome> {
        complete("tokenize", text.len() + 16, |capacity| self.tokenize_into(text.as_bytes(), flags, capacity))
    }

    /// The text of `tokens`.
    pub fn detokenize(&self, tokens: &[i32]) -> Result<Vec<u8>, Outcome> {
        complete("detokenize", tokens.len() * 8 + 16, |capacity| self.detokenize_into(tokens, capacity))
    }
}

/// What holds for each call: EB_OK when all of it fitted, EB_ERR_BUFFER and the needed count when it did not.
fn stored<T: Copy + PartialEq>(
    function: &str,
    unit: &str,
    answer: Result<(), super::raw::Refusal>,
    mut buffer: Vec<T>,
    guard: T,
    capacity: usize,
    count: usize,
) -> Answered<Stored<T>> {
    behind_is_intact(function, &buffer[capacity..], guard)?;
    let status = match answer {
        Ok(()) => EB_OK,
        Err(refusal) if refusal.status == EB_ERR_BUFFER => EB_ERR_BUFFER,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if count == usize::MAX {
        return Err(Outcome::failed(
            format!("{function}() did not store the count of {unit}s"),
            "store the full count whenever the status is EB_OK or EB_ERR_BUFFER",
        ));
    }
    if (status == EB_OK) != (count <= capacity) {
        let (said, wanted) = if status == EB_OK { ("EB_OK", "EB_ERR_BUFFER") } else { ("EB_ERR_BUFFER", "EB_OK") };
        return Err(Outcome::failed(
            format!("{function}() returned {said} for {count} {unit}s in a buffer of {capacity}"),
            &format!("return {wanted} here"),
        ));
    }
    buffer.truncate(count.min(capacity));
    Ok(Ok(Stored { status, count, items: buffer }))
}

fn behind_is_intact<T: PartialEq>(function: &str, tail: &[T], guard: T) -> Checked {
    if tail.iter().all(|t| *t == guard) {
        return Ok(());
    }
    Err(Outcome::failed(
        format!("{function}() wrote behind the end of the caller's buffer"),
        "store at most `capacity` entries",
    ))
}

/// Calls again with the count that was asked for, as a host does.
fn complete<T>(
    function: &str,
    capacity: usize,
    call: impl Fn(usize) -> Answered<Stored<T>>,
) -> Result<Vec<T>, Outcome> {
    let failed = |refusal| Outcome::failed(format!("{function}() failed: {refusal}"), "");
    let first = call(capacity)?.map_err(failed)?;
    if first.status == EB_OK {
        return Ok(first.items);
    }
    let second = call(first.count)?.map_err(failed)?;
    if second.status != EB_OK {
        let seen = format!("{function}() asked for room for {}, got it, and asked for {}", first.count, second.count);
        return Err(Outcome::failed(seen, "store the full count, whatever the capacity is"));
    }
    Ok(second.items)
}
