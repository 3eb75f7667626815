//! `check --show-prompt`: what a model will see for the first records of each task. Where a model is asked in a
//! chat, it is opened, as only it knows its template and its control tokens. Nothing is asked.

use super::ask::{Asker, Seen, need};
use super::case;
use super::plan::Plan;
use super::scenario::{Records, single_stream};
use crate::backend::client::{Client, HostError};
use crate::backend::wire::Opened;
use crate::job::{ChatTemplate, Instance, Task};
use crate::problem::Problem;
use serde::Serialize;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// One prompt as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    task: &'a str,
    /// The object instance whose chat template was used; without a chat all see the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    id: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error("{0}: {1}")]
    Host(String, HostError),
    #[error("{0}")]
    Problem(#[from] Problem),
    #[error("the prompts cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Writes the first `n` prompts of each task to `out`: as text with a line before each, or as lines of JSON.
///
/// # Errors
/// A model whose chat template is needed cannot be opened, or has none.
pub fn prompts(plan: &Plan, n: u64, json: bool, out: &mut impl Write) -> Result<(), ShowError> {
    let mut chats: Vec<(&Instance, Opened)> = Vec::new();
    let mut plain = false;
    for instance in &plan.job.instances {
        let same = |(other, _): &(&Instance, Opened)| {
            (&other.backend, &other.model_path, &other.chat)
                == (&instance.backend, &instance.model_path, &instance.chat)
        };
        if instance.chat.template == ChatTemplate::Off {
            plain = true;
        } else if !chats.iter().any(same) {
            eprintln!("opening {} for its chat template", instance.id);
            chats.push((instance, meet(plan, instance).map_err(|e| ShowError::Host(instance.id.clone(), e))?));
        }
    }
    for (task, records) in plan.job.tasks.iter().zip(&plan.records) {
        let mut asker = Asker::new(task, plan.job.timeout)?;
        if plain {
            show(&asker, task, records, None, n, json, out)?;
        }
        for (instance, opened) in &chats {
            let failed = |failure| ShowError::Host(instance.id.clone(), HostError::Failed(failure));
            asker.meet(opened, &instance.chat).map_err(failed)?;
            show(&asker, task, records, Some(&instance.id), n, json, out)?;
        }
    }
    Ok(())
}

/// Opens the model of `instance` and lets it go.
fn meet(plan: &Plan, instance: &Instance) -> Result<Opened, HostError> {
    let mut client = Client::start(&instance.backend)?;
    let opened = client.open(case::open(&plan.job, instance, &instance.id), plan.job.load_timeout)?;
    client.close()?;
    Ok(opened)
}

fn show(
    asker: &Asker,
    task: &Task,
    records: &Records,
    object: Option<&str>,
    n: u64,
    json: bool,
    out: &mut impl Write,
) -> Result<(), ShowError> {
    let mut number = 0;
    let end = single_stream(task, records, need(&task.method), |item| {
        if number == n {
            return ControlFlow::Break(Ok(()));
        }
        number += 1;
        let seen = match asker.seen(item) {
            Ok(seen) => seen,
            Err(e) => return ControlFlow::Break(Err(io::Error::other(format!("{}: {e}", item.id)))),
        };
        let written = match json {
            true => line(&task.name, object, &item.id, seen, out),
            false => text(&task.name, object, &item.id, number, &seen, out),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(Err(e)),
        }
    })?;
    match end {
        ControlFlow::Break(result) => Ok(result?),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn line(task: &str, object: Option<&str>, id: &str, seen: Seen, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line { task, object, id, prompt: &seen.text, options: seen.options })?;
    out.write_all(b"\n")
}

fn text(task: &str, object: Option<&str>, id: &str, n: u64, seen: &Seen, out: &mut impl Write) -> io::Result<()> {
    let object = object.map_or(String::new(), |o| format!(", chat of {o}"));
    writeln!(out, "──── {task}, record {n} (id {id}){object} ────")?;
    writeln!(out, "{}", seen.text)?;
    if !seen.options.is_empty() {
        writeln!(out, "──── options: {}", seen.options.iter().map(|o| format!("{o:?}")).collect::<Vec<_>>().join(" "))?;
    }
    Ok(())
}
