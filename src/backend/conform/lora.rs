//! Checks of the extension `eb.lora/1`, where it is offered. It must not know what an adapter's file holds.

use super::calls::PROMPTS;
use super::child::Bench;
use super::collect::Ask;
use super::extensions::table;
use super::raw::{Guarded, Refusal, Session, size, status_name};
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "lora-empty",
        "eb.lora/1 takes no adapters at all, and refuses a file that is not there; answers stay as they are",
        "n == 0: none; when it fails nothing has changed; EB_ERR_MODEL: the file is missing",
        none,
    ),
    Check::new(
        "lora-scale",
        "an adapter (--param lora=FILE) with scale 0 changes no answer, and leaves none when it is taken away",
        "answers are those of a session in which nothing else was ever set; with scale 0 those of the model alone",
        scale,
    ),
];

/// A session that takes adapters, and what it says without any.
struct Adapted<'a> {
    session: Session<'a>,
    set: EbLoraSetFn,
    alone: Vec<Vec<i32>>,
}

impl Adapted<'_> {
    fn new(b: &Bench) -> Result<Adapted<'_>, Outcome> {
        let session = b.open()?;
        let set = table::<EbLoraV1>(&b.plugin, EB_EXT_LORA)?.set;
        let set = set.ok_or_else(|| Outcome::failed("eb_lora_v1.set is NULL", "offer it whole or not at all"))?;
        let alone = answers(&session)?;
        Ok(Adapted { session, set, alone })
    }

    /// Sets one adapter, or none.
    fn set(&self, adapter: Option<(&str, f32)>) -> Result<Result<(), Refusal>, Outcome> {
        let newer = self.session.plugin.newer;
        let mut structs = adapter.map(|(path, scale)| {
            Guarded::new(EbLora { struct_size: size::<EbLora>(newer), scale, path: EbStr::new(path) }, newer)
        });
        let pointers: Vec<*const EbLora> = structs.iter_mut().map(|s| s.pointer().cast_const()).collect();
        let first = if pointers.is_empty() { std::ptr::null() } else { pointers.as_ptr() };
        // SAFETY: the session is open; adapter and error live for the call.
        let call = |error| unsafe { (self.set)(self.session.raw(), first, pointers.len(), error) };
        self.session.plugin.call("eb_lora_v1.set", call)
    }

    /// Is everything said as without adapters?
    fn unchanged(&self, when: &str) -> Checked {
        if answers(&self.session)? == self.alone {
            return Ok(());
        }
        let seen = format!("other answers {when}");
        Err(Outcome::failed(seen, "what is set last counts alone; a scale of 0 adds nothing"))
    }
}

fn answers(session: &Session) -> Result<Vec<Vec<i32>>, Outcome> {
    PROMPTS.iter().take(2).map(|prompt| Ok(session.well(&Ask::text(prompt, 8))?.tokens)).collect()
}

fn refused(answer: Result<(), Refusal>, wanted: EbStatus, what: &str) -> Checked {
    match answer {
        Err(refusal) if refusal.status == wanted => Ok(()),
        Err(refusal) => Err(Outcome::failed(format!("{what}: {refusal}"), &format!("give {}", status_name(wanted)))),
        Ok(()) => Err(Outcome::failed(format!("{what} was taken"), &format!("refuse it with {}", status_name(wanted)))),
    }
}

fn none(b: &Bench) -> Checked {
    let s = Adapted::new(b)?;
    s.set(None)?.map_err(|r| Outcome::failed(format!("no adapters at all: {r}"), "n == 0 takes them all away"))?;
    s.unchanged("after no adapters were set")?;
    refused(s.set(Some(("/no/such/adapter", 1.0)))?, EB_ERR_MODEL, "an adapter that is not there")?;
    s.unchanged("after an adapter was refused")
}

fn scale(b: &Bench) -> Checked {
    let s = Adapted::new(b)?;
    let Some(adapter) = &b.adapter else {
        return Err(Outcome::skipped("no adapter was given (--param lora=FILE)"));
    };
    let set = |scale| {
        let answer = s.set(Some((adapter, scale)))?;
        answer.map_err(|r| Outcome::failed(format!("the adapter with scale {scale}: {r}"), "give one for this model"))
    };
    refused(s.set(Some((adapter, f32::NAN)))?, EB_ERR_INVALID, "a scale that is not a number")?;
    set(0.0)?;
    s.unchanged("with an adapter of scale 0")?;
    set(1.0)?;
    let adapted = answers(&s.session)?;
    set(0.5)?;
    set(1.0)?;
    if answers(&s.session)? != adapted {
        return Err(Outcome::failed("other answers with the same adapter again", "let nothing of the one before stay"));
    }
    s.set(None)?.map_err(|r| Outcome::failed(format!("taking the adapter away: {r}"), "n == 0 takes them all away"))?;
    s.unchanged("after the adapter was taken away")
}
