//! What kind of learning a test case stands for. It owns the words and what they default to; it must not know how a model
//! was made.

use super::{Instance, Method, Task};

/// How a model came to what it can do, or how it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paradigm {
    /// As it was published.
    Pretrained,
    /// Trained further for a task: with a LoRA adapter, or as a whole.
    Finetuned,
    /// Judged by raw text alone: nobody wrote answers to it.
    SelfSupervised,
    /// Trained for several tasks at once.
    Multitask,
}

impl Paradigm {
    /// All of them by their words in the job file and in cases.csv.
    pub const ALL: &[(&str, Paradigm)] = &[
        ("pretrained", Paradigm::Pretrained),
        ("finetuned", Paradigm::Finetuned),
        ("self-supervised", Paradigm::SelfSupervised),
        ("multitask", Paradigm::Multitask),
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        Paradigm::ALL.iter().find(|(_, p)| *p == self).map_or("", |(name, _)| name)
    }

    /// That of a case: what its object says, or its task; else an adapter is a fine-tuning, as is training, and raw text is
    /// self-supervised.
    pub fn of(instance: &Instance, task: &Task) -> Paradigm {
        let adapted = instance.lora.iter().flatten().any(|a| a.scale != 0.0);
        instance.paradigm.or(task.paradigm).unwrap_or(if adapted || matches!(task.method, Method::Finetune(_)) {
            Paradigm::Finetuned
        } else if task.method.is_of_raw_text() {
            Paradigm::SelfSupervised
        } else {
            Paradigm::Pretrained
        })
    }
}
