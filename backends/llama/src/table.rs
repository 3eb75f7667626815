//! Where the backend's table is to be had: by name for a host that links this crate, by symbol for a loader. It must
//! not know what is in it.

use crate::session::Session;
use edgebench_abi::EbBackend;
use edgebench_plugin::entry::Tables;

/// The backend's table, for a host that links this crate instead of loading the plugin.
pub fn table() -> &'static EbBackend {
    Session::TABLE
}

/// The plugin's one symbol. It needs nothing newer than ABI 1.0, so every host of major version 1 gets the table.
///
/// A host that links the rlib carries this symbol too. Nothing clashes: nobody refers to it by name (the host calls
/// [`table`]), and a loader asks for it with the handle of one library.
#[unsafe(no_mangle)]
pub extern "C" fn eb_backend_v1(_host_minor: u32) -> *const EbBackend {
    Session::TABLE
}
