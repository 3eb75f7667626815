//! What `/proc` and `/sys` tell about the board and about a host process. Every reader takes its root as an
//! argument, so that a folder of files can stand in for a board. It must not know cases or backends.

pub mod bandwidth;
pub mod board;
pub mod energy;
pub mod external;
pub mod listener;
pub mod memory;
pub mod phase;
pub mod process;
pub mod sampler;
pub mod sensors;
pub mod tick;
pub mod verdict;
