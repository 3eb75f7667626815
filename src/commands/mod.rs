//! Commands with their arguments, one file each.

pub mod bench;
pub mod history;
pub mod report;
pub mod tune;
pub mod watch;
