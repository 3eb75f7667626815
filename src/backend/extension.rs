//! The extensions' tables by name, and those that need no session: `eb.device/1`, `eb.quantize/1`, and in `train` `eb.train/1`. It must not know
//! sessions or frames' bytes.

mod train;

use super::abi::*;
use super::session::{Backend, failure, on_log};
use super::wire::{Device, Failure, FailureKind, Quantize, Quantized};
pub(super) use train::train;

/// A table that `get_extension` hands out.
///
/// # Safety
/// The type is `repr(C)`, starts with `struct_size: u32`, and is what the header defines under `NAME`.
pub(super) unsafe trait Extension: Sized + 'static {
    const NAME: &'static str;
}

// SAFETY: the header's layout, held against it by tests/abi.rs; likewise all that follow.
unsafe impl Extension for EbScoreV1 {
    const NAME: &'static str = EB_EXT_SCORE;
}

// SAFETY: see above.
unsafe impl Extension for EbScoreTextV1 {
    const NAME: &'static str = EB_EXT_SCORE_TEXT;
}

// SAFETY: see above.
unsafe impl Extension for EbLoraV1 {
    const NAME: &'static str = EB_EXT_LORA;
}

// SAFETY: see above.
unsafe impl Extension for EbLogitsV1 {
    const NAME: &'static str = EB_EXT_LOGITS;
}

// SAFETY: see above.
unsafe impl Extension for EbQuantizeV1 {
    const NAME: &'static str = EB_EXT_QUANTIZE;
}

// SAFETY: see above.
unsafe impl Extension for EbTrainV1 {
    const NAME: &'static str = EB_EXT_TRAIN;
}

// SAFETY: see above.
unsafe impl Extension for EbDeviceV1 {
    const NAME: &'static str = EB_EXT_DEVICE;
}

// SAFETY: see above.
unsafe impl Extension for EbPowerV1 {
    const NAME: &'static str = EB_EXT_POWER;
}

/// The devices that `eb.device/1` describes, at most `count`; none where it is not offered.
pub(super) fn devices(backend: &Backend, count: u32) -> Vec<Device> {
    let Some(get) = backend.extension::<EbDeviceV1>().and_then(|table| table.get) else { return Vec::new() };
    let one = |index| {
        let mut device = EbDevice {
            struct_size: size_of::<EbDevice>() as u32,
            cores: 0,
            name: EbStr::EMPTY,
            driver: EbStr::EMPTY,
            memory_bytes: 0,
            memory_free_bytes: 0,
        };
        // SAFETY: both structs live for the call and carry their size.
        let status = unsafe { get(index, &mut device, &mut EbError::new()) };
        // SAFETY: strings of a device live until the process ends.
        let text = |s: EbStr| unsafe { s.to_string_lossy() };
        (status == EB_OK).then(|| Device {
            name: text(device.name),
            driver: text(device.driver),
            cores: device.cores,
            memory_bytes: device.memory_bytes,
            memory_free_bytes: device.memory_free_bytes,
        })
    };
    (0..count).map_while(one).collect()
}

/// Has `backend` make a smaller model.
///
/// # Errors
/// Its own; `Unsupported` where it does not offer `eb.quantize/1`.
pub(super) fn quantize(backend: &Backend, wanted: &Quantize) -> Result<Quantized, Failure> {
    let Some(quantize) = backend.extension::<EbQuantizeV1>().and_then(|table| table.quantize) else {
        let message = format!(
            "the backend `{}` cannot make models smaller (it has no {EB_EXT_QUANTIZE}): make them with its vendor's tool and list \
             them as `model`",
            backend.name()
        );
        return Err(Failure::new(FailureKind::Unsupported, message));
    };
    let request = EbQuantizeRequest {
        struct_size: size_of::<EbQuantizeRequest>() as u32,
        threads: wanted.threads,
        flags: if wanted.pure { EB_QUANTIZE_PURE } else { 0 },
        model: EbStr::new(&wanted.model),
        out: EbStr::new(&wanted.out),
        kind: EbStr::new(&wanted.kind),
        imatrix: EbStr::new(&wanted.imatrix),
        log: Some(on_log),
        log_user: std::ptr::null_mut(),
    };
    let size = size_of::<EbQuantized>() as u32;
    let mut made = EbQuantized { struct_size: size, n_fallback: 0, n_weights: 0, weights_bytes: 0 };
    let mut error = EbError::new();
    // SAFETY: everything passed lives for the call and carries its size; `on_log` uses no state.
    let status = unsafe { quantize(&request, &mut made, &mut error) };
    failure(status, &error)?;
    let EbQuantized { n_fallback, n_weights, weights_bytes, .. } = made;
    Ok(Quantized { n_fallback, n_weights, weights_bytes })
}
