//! The extensions' tables by name, and the one that is only asked once: `eb.device/1`. It must not know
//! sessions or frames' bytes.

use super::abi::*;
use super::session::Backend;
use super::wire::Device;

/// A table that `get_extension` hands out.
///
/// # Safety
/// The type is `repr(C)`, starts with `struct_size: u32`, and is what the header defines under `NAME`.
pub(super) unsafe trait Extension: Sized + 'static {
    const NAME: &'static str;
}

// SAFETY: the header's layout, held against it by tests/abi.rs; likewise the next four.
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
