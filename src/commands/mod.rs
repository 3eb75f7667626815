//! Commands with their arguments, one file each.

pub mod bench;
pub mod watch;
