//! Checks of loading, probing, opening and closing. It must not know generate or score.

use super::child::Bench;
use super::raw::status_name;
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

/// A parameter that no plugin has.
const NONSENSE: &str = "no_such_parameter_5f2c";

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "table",
        "the symbol, the table's size, its functions, name and version",
        "eb_backend_v1() returns a table with struct_size, every function, and a name in lower case without spaces",
        table,
    ),
    Check::new(
        "probe",
        "probe() says what the plugin would run on here",
        "EB_OK with device_count 0 means: no, and note says why; runtime names the SDK and its version",
        probe,
    ),
    Check::new(
        "extension-unknown",
        "an extension that does not exist is NULL",
        "get_extension() gives a table of the extension called `name` (ptr + len, no NUL), or NULL",
        extension_unknown,
    ),
    Check::new("close-null", "close(NULL) does nothing", "close(): NULL is allowed and does nothing", close_null),
    Check::new(
        "open-close",
        "a session can be opened and closed three times",
        "open/close may be repeated in one process",
        open_close,
    ),
    Check::new(
        "open-unknown-param",
        "a parameter that does not exist is refused by name",
        "refuse a key that you do not know: EB_ERR_INVALID, name it; on failure *out is NULL and nothing is kept",
        open_unknown_param,
    ),
    Check::new(
        "open-missing-model",
        "a model that does not exist is refused",
        "EB_ERR_MODEL: the model is missing, malformed or of a kind that is not known; *out is NULL",
        open_missing_model,
    ),
    Check::new(
        "open-malformed-model",
        "a text file, an empty file and noise are refused as models, without a crash",
        "EB_ERR_MODEL: the model is missing, malformed or of a kind that is not known; *out is NULL",
        open_malformed_model,
    ),
    Check::new(
        "open-truncated-model",
        "the first part of the model's file is refused as a model, without a crash",
        "EB_ERR_MODEL: the model is missing, malformed or of a kind that is not known; *out is NULL",
        open_truncated_model,
    ),
];

fn table(b: &Bench) -> Checked {
    let table = b.plugin.table();
    // SAFETY: strings of the table live until the process ends.
    let (name, version) = unsafe { (table.name.bytes(), table.version.bytes()) };
    let sane = |text: &[u8]| !text.is_empty() && text.len() <= 64 && text.iter().all(|c| c.is_ascii_graphic());
    if !sane(name) || name.iter().any(u8::is_ascii_uppercase) {
        let seen = format!("the table's name is {:?}", String::from_utf8_lossy(name));
        return Err(Outcome::failed(seen, "lower case, no spaces, at most 64 characters: \"rkllm\""));
    }
    if version.is_empty() || version.len() > 64 || std::str::from_utf8(version).is_err() {
        let seen = format!("the table's version is {:?}", String::from_utf8_lossy(version));
        return Err(Outcome::failed(seen, "give the plugin a short version: \"1.2.0\""));
    }
    if table.struct_size > 1 << 20 {
        let seen = format!("the table's struct_size is {}", table.struct_size);
        return Err(Outcome::failed(seen, "set it to sizeof(eb_backend)"));
    }
    if table.abi_minor > EB_ABI_MINOR + 1000 {
        let seen = format!("the table's abi_minor is {}", table.abi_minor);
        return Err(Outcome::failed(seen, "set it to EB_ABI_MINOR"));
    }
    Ok(())
}

fn probe(b: &Bench) -> Checked {
    for _ in 0..2 {
        let probed = b.plugin.probe()?.map_err(|refusal| {
            Outcome::failed(format!("probe() failed: {refusal}"), "see what the plugin misses here")
        })?;
        for (field, text) in &probed.texts {
            if std::str::from_utf8(text).is_err() {
                let seen = format!("eb_probe.{field} is not UTF-8: {:?}", String::from_utf8_lossy(text));
                return Err(Outcome::failed(seen, "convert the text of the SDK to UTF-8"));
            }
        }
        let text = |i: usize| String::from_utf8_lossy(&probed.texts[i].1).into_owned();
        if probed.device_count == 0 && text(2).trim().is_empty() {
            return Err(Outcome::failed(
                "device_count is 0 and note is empty",
                "say in note what is missing and how to get it",
            ));
        }
        if probed.device_count == 0 {
            return Err(Outcome::warning(format!("it cannot run on this machine: {}", text(2)), ""));
        }
        if text(0).trim().is_empty() {
            let todo = "name the SDK and its version, so that results can be told apart";
            return Err(Outcome::warning("eb_probe.runtime is empty", todo));
        }
        if !probed.struct_size_kept {
            return Err(Outcome::warning(
                "probe() changed the struct_size that the host had set",
                "fill the other fields only: a later host reads by this size",
            ));
        }
    }
    Ok(())
}

fn extension_unknown(b: &Bench) -> Checked {
    // The last two are a real name, cut and prolonged: a plugin that takes names for C strings falls for them.
    for name in ["eb.no-such-extension/1", "", "eb.score/999", &EB_EXT_SCORE[..8], "eb.score/1x"] {
        if !b.plugin.extension(name.as_bytes())?.is_null() {
            let seen = format!("get_extension(\"{name}\") is not NULL");
            return Err(Outcome::failed(seen, "compare the whole name; eb_str_eq() does"));
        }
    }
    Ok(())
}

fn close_null(b: &Bench) -> Checked {
    b.plugin.close_null()
}

fn open_close(b: &Bench) -> Checked {
    for i in 1..=3 {
        let session = b.plugin.open(&b.model, &b.params)?.map_err(|refusal| match b.model.is_empty() {
            true if i == 1 => Outcome::skipped(format!("open() without a model: {refusal}; give one with --model")),
            _ => Outcome::failed(
                format!("open() number {i} failed: {refusal}"),
                if i == 1 { "" } else { "close() has to free what open() took" },
            ),
        })?;
        drop(session);
    }
    Ok(())
}

fn open_unknown_param(b: &Bench) -> Checked {
    b.open()?;
    let mut params = b.params.clone();
    params.push((NONSENSE.to_owned(), "1".to_owned()));
    let refusal = match b.plugin.open(&b.model, &params)? {
        Ok(_) => {
            let seen = format!("open() took the parameter `{NONSENSE} = 1`");
            return Err(Outcome::failed(seen, "refuse what you do not know: a typing error must not go unseen"));
        }
        Err(refusal) => refusal,
    };
    if refusal.status != EB_ERR_INVALID {
        let seen = format!("an unknown parameter gave {refusal}");
        return Err(Outcome::failed(seen, "return EB_ERR_INVALID"));
    }
    if !refusal.message.contains(NONSENSE) {
        let seen = format!("the message does not name the unknown parameter: {:?}", refusal.message);
        return Err(Outcome::failed(seen, "say which key it was, and where the known ones are listed"));
    }
    if b.plugin.open(&b.model, &b.params)?.is_err() {
        return Err(Outcome::failed("after a refused open() the next one fails", "a failed open() must keep nothing"));
    }
    Ok(())
}

/// `Err(Skipped)` for a plugin that opens without any model.
fn needs_model(b: &Bench) -> Checked {
    match b.plugin.open("", &b.params)? {
        Ok(_) => Err(Outcome::skipped("this plugin opens without a model")),
        Err(_) => Ok(()),
    }
}

/// Opens `path`, which is no model: it has to be refused as one.
fn refused_as_model(b: &Bench, path: &str, what: &str) -> Checked {
    match b.plugin.open(path, &b.params)? {
        Ok(_) => {
            let seen = format!("open() took {what} for a model");
            Err(Outcome::failed(seen, "check the file before you use it; return EB_ERR_MODEL"))
        }
        Err(refusal) if refusal.status != EB_ERR_MODEL => {
            let seen = format!("{what} as model gave {}: {:?}", status_name(refusal.status), refusal.message);
            Err(Outcome::failed(seen, "return EB_ERR_MODEL"))
        }
        Err(refusal) if refusal.message.trim().is_empty() => {
            let seen = format!("{what} as model was refused without a message");
            Err(Outcome::failed(seen, "say what is wrong with it: the text ends up in front of the user"))
        }
        Err(_) => Ok(()),
    }
}

fn open_missing_model(b: &Bench) -> Checked {
    needs_model(b)?;
    refused_as_model(b, "/no-such-folder-5f2c/model.bin", "a path that does not exist")?;
    b.open().map(drop)
}

/// A file in memory with this content: it leaves nothing behind, however the process ends.
fn memory_file(content: &[u8]) -> Result<(File, String), Outcome> {
    let file = rustix::fs::memfd_create("model", rustix::fs::MemfdFlags::empty())
        .map_err(std::io::Error::from)
        .and_then(|fd| {
            let mut file = File::from(fd);
            file.write_all(content).map(|()| file)
        })
        .map_err(|e| Outcome::skipped(format!("no file in memory could be made: {e}")))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((file, path))
}

fn open_malformed_model(b: &Bench) -> Checked {
    needs_model(b)?;
    let noise: Vec<u8> = (0..100_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let text = "This is not a model.\n".repeat(500);
    for (content, what) in [(text.as_bytes(), "a text file"), (b"", "an empty file"), (&noise, "100 kB of noise")] {
        let (_file, path) = memory_file(content)?;
        refused_as_model(b, &path, what)?;
    }
    b.open().map(drop)
}

fn open_truncated_model(b: &Bench) -> Checked {
    needs_model(b)?;
    let length = match std::fs::metadata(&b.model) {
        Ok(m) if m.is_file() => m.len(),
        _ => return Err(Outcome::skipped("the model is not one file")),
    };
    for keep in [length / 2, 4096, 64] {
        let keep = keep.min(length / 2).min(1 << 20);
        let mut content = Vec::new();
        let read = File::open(&b.model).and_then(|f| f.take(keep).read_to_end(&mut content));
        read.map_err(|e| Outcome::skipped(format!("the model cannot be read: {e}")))?;
        let (_file, path) = memory_file(&content)?;
        refused_as_model(b, &path, &format!("the first {keep} bytes of the model"))?;
    }
    b.open().map(drop)
}
