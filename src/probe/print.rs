//! A probe for people. It must not know how anything was found.

use super::Probe;
use crate::fit::Fit;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Widest line, in columns.
const WIDTH: u16 = 100;

pub fn probe(probe: &Probe) {
    let b = &probe.board;
    let name = |text: &str, or: &str| if text.is_empty() { or.to_owned() } else { text.to_owned() };
    println!("board    {}", name(&b.model, "unknown model"));
    println!("system   {}, kernel {}, {}", name(&b.os, "unknown"), name(&b.kernel, "unknown"), b.arch);
    println!("loaders  {}", name(&probe.loaders.join(", "), "none: only built-in backends run"));
    for (i, host) in probe.hosts.hosts.iter().enumerate() {
        let label = if i == 0 { "hosts" } else { "" };
        let how = if host.starts { format!("starts {}", host.how) } else { format!("does not start: {}", host.how) };
        println!("{label:8} {} ({}): {how}", host.name, host.serves);
    }
    match (&probe.hosts.llama_variant, probe.hosts.llama_reason.as_str()) {
        (Some(variant), reason) => println!("llama    variant {variant}: {reason}"),
        (None, "") => {}
        (None, reason) => println!("llama    {reason}"),
    }
    println!("cpu      {}, {} cores", name(&b.cpu, "unknown"), b.cores);
    println!("         {}", probe.cpu_features.join(" "));
    for c in &probe.clusters {
        let number = |n: Option<u32>| n.map_or("?".to_owned(), |n| n.to_string());
        let capacity = c.capacity.map_or(String::new(), |n| format!(", capacity {n}"));
        println!(
            "         {}: cores {}, {} of {} MHz, governor {}{capacity}",
            c.name,
            ranges(&c.cores),
            number(c.mhz),
            number(c.max_mhz),
            c.governor.as_deref().unwrap_or("?"),
        );
    }
    let mib = |v: Option<f64>| v.map_or("unknown".to_owned(), |v| format!("{v:.0} MiB"));
    let bandwidth =
        probe.bandwidth_gb_s.map_or("not measured".to_owned(), |b| format!("{b:.1} GB/s read by all cores"));
    println!(
        "memory   {} MiB, {} free, swap {} free; {bandwidth}",
        b.memory_mib,
        mib(probe.memory_free_mib),
        mib(probe.swap_free_mib)
    );
    if !probe.sensors.is_empty() {
        println!("\nSensors");
        println!("{}", sensors(probe));
    }
    if !probe.absent.is_empty() {
        println!("\nNot to be seen on this board");
        for a in &probe.absent {
            println!("  {}: {}\n      → {}", a.what, a.why, a.todo);
        }
    }
    if let Some(model) = &probe.model {
        println!("\n{}", fit(model));
    }
}

fn sensors(probe: &Probe) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    table.set_header(["kind", "name", "value", "unit", "note", "path"]);
    for s in &probe.sensors {
        let value =
            s.value.map_or("–".to_owned(), |v| if v.fract() == 0.0 { format!("{v:.0}") } else { format!("{v:.2}") });
        table.add_row([s.kind, &s.name, &value, s.unit, &s.note, &s.path]);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn fit(m: &Fit) -> String {
    let free = m.free_mib.map_or("unknown".to_owned(), |f| format!("{f:.0} MiB"));
    let verdict = if m.fits { "fits".to_owned() } else { format!("does not fit: {}", m.advice) };
    let draft = if m.draft_mib > 0.0 { format!(" + draft {:.0}", m.draft_mib) } else { String::new() };
    format!(
        "{}\n  weights {:.0} + KV {:.0} (n_ctx {}) + compute {:.0} + host {:.0}{draft} = {:.0} MiB; {free} free\n  {verdict}",
        m.model, m.weights_mib, m.kv_mib, m.n_ctx, m.compute_mib, m.host_mib, m.need_mib
    )
}

/// `0-3,6`
fn ranges(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, to)) if *to + 1 == core => *to = core,
            _ => parts.push((core, core)),
        }
    }
    let text = |(from, to): &(usize, usize)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(ranges(&[]), "");
    }
}
