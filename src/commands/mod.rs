//! Commands with their arguments, one file each.

pub mod watch;
