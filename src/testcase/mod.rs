//! Test cases: what a job comes to (`plan`), and running it: hosts started, records asked (`ask`, `scenario`),
//! timings summed (`timing`, `stats`), the board watched meanwhile (`telemetry`, `watch`), rows and samples written
//! (`case`, `figures`, `journal`, `trace`), all of it (`run`).

mod ask;
mod case;
mod figures;
mod journal;
pub mod lock;
mod manifest;
mod offline;
mod passes;
pub mod plan;
mod prefixes;
mod prepare;
mod progress;
mod resume;
pub mod run;
mod scenario;
pub mod show;
mod stats;
mod subjects;
mod sustained;
mod telemetry;
mod timing;
mod trace;
mod watch;
