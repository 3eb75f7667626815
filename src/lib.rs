//! edgebench: which LLM, quantisation, backend and setting should this board run?
//!
//! The map of the modules; a module uses only those below it:
//!
//! | module | owns |
//! |---|---|
//! | `story` | what is made of results: ranking, tables |
//! | `tune` | the command of that name: the best settings for a model, by means of `bench` |
//! | `bench` | the command of that name: speed of synthetic prompts and outputs |
//! | `checkpoints` | the command `watch`: a training run followed from beside |
//! | `conform` | the command of that name: a plugin's checks, each in a child |
//! | `probe` | the command of that name: what a board is and shows |
//! | `testcase` | a run: plan, hosts started and watched, samples written |
//! | `fit` | whether a model fits into memory, before anything is started |
//! | `server` | which objects are servers, whether they answer, which process they are |
//! | `testenv` | datasets, prompts, extraction, metrics; no process work |
//! | `backend` | the C ABI, the host process and its client; the only `unsafe` |
//! | `sense` | what `/proc` and `/sys` tell |
//! | `job` | `job.toml` → objects × tasks |
//! | `results` | files and columns of a run folder |
//! | `pattern` | names on the command line |
//! | `random` | the same random numbers everywhere |
//! | `clock` | the one clock of every measurement |
//! | `problem` | the sentence in which every defect of the input is told |

pub mod backend;
pub mod bench;
pub mod checkpoints;
pub mod clock;
pub mod conform;
pub mod fit;
pub mod job;
mod pattern;
pub mod probe;
pub mod problem;
pub mod random;
pub mod results;
pub mod sense;
pub mod server;
pub mod story;
pub mod testcase;
pub mod testenv;
pub mod tune;
