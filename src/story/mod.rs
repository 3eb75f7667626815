//! The story: what is made of results. It reads rows of cases.csv and does no process work.

pub mod rank;
pub mod table;
