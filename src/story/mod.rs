//! The story: what is made of results. It reads rows of cases.csv and does no process work.

pub mod boards;
pub mod compare;
pub mod history;
mod names;
pub mod prom;
pub mod rank;
pub mod report;
pub mod run_folder;
pub mod suite;
pub mod table;
pub mod training;
pub mod variants;
