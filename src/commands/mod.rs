//! Commands with their arguments, one file each.

pub mod history;
pub mod report;
