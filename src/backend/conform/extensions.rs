//! Checks of the extensions `eb.device/1` and `eb.power/1`, where they are offered. It must not know other extensions.

use super::calls::PROMPTS;
use super::child::Bench;
use super::collect::Ask;
use super::raw::{Guarded, Plugin, Session, size, status_name};
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Reading a rail may take so long, in ms.
const READ_MS: f64 = 1.0;
/// A call of this length, in ms, shows whether a reading waits for its end.
const LONG_MS: f64 = 100.0;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "device",
        "eb.device/1 describes each device",
        "device `index`, from 0; EB_ERR_INVALID past the last (eb_probe.device_count of them)",
        device,
    ),
    Check::new(
        "power",
        "eb.power/1 reads each rail, from another thread while generate() runs too",
        "[any] thread; power in watts, no longer than 1 ms, never waiting for generate() to end; empty past the last",
        power,
    ),
];

/// The table of an extension, if it is offered and at least as large as `T`.
pub(super) fn table<T>(plugin: &Plugin, name: &str) -> Result<&'static T, Outcome> {
    let table = plugin.extension(name.as_bytes())?;
    if table.is_null() {
        return Err(Outcome::skipped(format!("{name} is not offered")));
    }
    // SAFETY: not NULL; every table starts with struct_size.
    let size = unsafe { *table.cast::<u32>() } as usize;
    if size < size_of::<T>() {
        let seen = format!("the table of {name} has struct_size {size}, version 1 has {}", size_of::<T>());
        return Err(Outcome::failed(seen, "set it to its sizeof"));
    }
    // SAFETY: as large as `T`, and it lives until the process ends.
    Ok(unsafe { &*table.cast::<T>() })
}

fn device(b: &Bench) -> Checked {
    let get = table::<EbDeviceV1>(&b.plugin, EB_EXT_DEVICE)?.get;
    let get = get.ok_or_else(|| Outcome::failed("eb_device_v1.get is NULL", "offer it whole or not at all"))?;
    let count = b.plugin.probe()?.map_or(0, |p| p.device_count);
    for newer in [false, true] {
        for index in 0..=count {
            let empty = EbDevice {
                struct_size: size::<EbDevice>(newer),
                cores: 0,
                name: EbStr::EMPTY,
                driver: EbStr::EMPTY,
                memory_bytes: 0,
                memory_free_bytes: 0,
            };
            let mut out = Guarded::new(empty, newer);
            // SAFETY: both structs live for the call and carry their size.
            let answer = b.plugin.call("eb_device_v1.get", |error| unsafe { get(index, out.pointer(), error) })?;
            out.intact("eb_device", newer)?;
            match answer {
                Ok(()) if index == count => {
                    let seen = format!("device {index} is described, probe() tells {count}");
                    return Err(Outcome::failed(seen, "EB_ERR_INVALID past the last"));
                }
                Err(r) if index < count || r.status != EB_ERR_INVALID => {
                    let seen = format!("device {index} of {count}: {r}");
                    return Err(Outcome::failed(seen, "describe each device; EB_ERR_INVALID past the last"));
                }
                _ => {}
            }
            let device = out.value();
            // SAFETY: strings of a device live until the process ends.
            let (name, driver) = unsafe { (device.name.bytes(), device.driver.bytes()) };
            if index < count && (name.is_empty() || [name, driver].iter().any(|t| std::str::from_utf8(t).is_err())) {
                let seen = format!("device {index} has no name, or one that is not UTF-8");
                return Err(Outcome::failed(seen, "name it: \"RK3588 NPU\""));
            }
            if device.memory_bytes > 0 && device.memory_free_bytes > device.memory_bytes {
                let seen = format!("device {index} has more free memory than memory");
                return Err(Outcome::failed(seen, "both are bytes"));
            }
        }
    }
    Ok(())
}

fn power(b: &Bench) -> Checked {
    // With a model loaded, as in a run: some SDKs know their rails only then.
    let session = b.open()?;
    let power = table::<EbPowerV1>(&b.plugin, EB_EXT_POWER)?;
    let (Some(name), Some(read)) = (power.name, power.read) else {
        return Err(Outcome::failed("a function of eb_power_v1 is NULL", "offer it whole or not at all"));
    };
    // SAFETY: the argument is a number; the name lives until the process ends.
    let name_of = |rail| unsafe { name(rail).bytes() };
    if !name_of(power.n_rails).is_empty() {
        return Err(Outcome::failed("a rail past the last has a name", "give the empty string"));
    }
    for rail in 0..power.n_rails {
        if name_of(rail).is_empty() || std::str::from_utf8(name_of(rail)).is_err() {
            return Err(Outcome::failed(
                format!("rail {rail} has no name, or one that is not UTF-8"),
                "name it: \"NPU\"",
            ));
        }
    }
    let mut ms = Vec::new();
    for rail in (0..power.n_rails).cycle().take(20 * power.n_rails as usize) {
        let mut watts = f64::NAN;
        let start = Instant::now();
        // SAFETY: the number and the error live for the call.
        let answer = b.plugin.call("eb_power_v1.read", |error| unsafe { read(rail, &mut watts, error) })?;
        ms.push(start.elapsed().as_secs_f64() * 1e3);
        answer.map_err(|r| Outcome::failed(format!("rail {rail}: {r}"), "offer only rails that can be read"))?;
        sane(rail, watts)?;
    }
    while_it_runs(&session, power.n_rails, read)?;
    ms.sort_by(f64::total_cmp);
    // The median, since a busy machine delays single calls.
    match ms.get(ms.len() / 2) {
        Some(&ms) if ms > READ_MS => {
            let todo = "no longer than 1 ms: it is read at up to 100 Hz while the model runs";
            Err(Outcome::warning(format!("reading a rail takes {ms:.1} ms"), todo))
        }
        _ => Ok(()),
    }
}

fn sane(rail: u32, watts: f64) -> Checked {
    if (0.0..=10_000.0).contains(&watts) {
        return Ok(());
    }
    Err(Outcome::failed(format!("rail {rail} reads {watts} W"), "watts, not milliwatts, and never below 0"))
}

/// Reads the rails from another thread while `generate()` runs, as a run does.
fn while_it_runs(session: &Session, n_rails: u32, read: EbPowerReadFn) -> Checked {
    for max_new in [16, 64, 256] {
        let running = AtomicBool::new(true);
        let (call, readings) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut readings = Vec::new();
                while running.load(Ordering::Acquire) {
                    for rail in 0..n_rails {
                        let (mut watts, start) = (f64::NAN, Instant::now());
                        // SAFETY: [any] thread; both out parameters live for the call.
                        let status = unsafe { read(rail, &mut watts, &mut EbError::new()) };
                        readings.push((rail, status, watts, start.elapsed().as_secs_f64() * 1e3));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                readings
            });
            let call = session.all_well(&[Ask::text(PROMPTS[1], max_new).ignore_eos()]);
            running.store(false, Ordering::Release);
            (call, reader.join().unwrap_or_default())
        });
        let ms = call?.ms;
        for (rail, status, watts, took) in readings {
            if status != EB_OK {
                let seen = format!("rail {rail} gives {} while generate() runs", status_name(status));
                return Err(Outcome::failed(seen, "read() may be called from any thread at any time"));
            }
            sane(rail, watts)?;
            if took > ms / 2.0 && took > LONG_MS / 2.0 {
                let seen = format!("reading rail {rail} took {took:.0} ms of the {ms:.0} ms that generate() ran");
                return Err(Outcome::failed(seen, "never wait for generate() to end"));
            }
        }
        if ms >= LONG_MS {
            break;
        }
    }
    Ok(())
}
