//! The test environment: where questions come from, how they are put, and how answers are judged.
//! Nothing here starts processes or knows of backends.

pub mod average;
pub mod choice;
pub mod cloze;
pub mod dataset;
pub mod extract;
pub mod import;
mod json_line;
mod json_text;
pub mod judge;
pub mod metric;
pub mod prompt;
pub mod selection;
pub mod turn;
pub mod windows;
