//! `method = "finetune"` of a task: how a model is trained further, and by which other task it is judged before and
//! after. It must not know how anything is trained.

use super::read::only_for;
use super::toml::{Source, Table, Value, did_you_mean};
use super::{Instance, Method, Task};
use crate::problem::Problem;

/// Learning rate where the job names none: what suits the whole of a model, not an adapter.
const LEARNING_RATE: f64 = 5e-5;

/// How a model is trained further.
#[derive(Debug, Clone, PartialEq)]
pub struct Finetune {
    /// How often each text is learned from, at least 1.
    pub epochs: u32,
    /// AdamW's, constant.
    pub learning_rate: f32,
    /// Tokens of one step; 0: as the backend thinks best.
    pub n_ctx: u32,
    /// This part of the texts, the last, is not learned from but evaluated after each epoch; 0 to 0.9.
    pub validation: f32,
    /// The task by which the model is judged before and after.
    pub quality: Option<String>,
    /// Where the job says so.
    quality_line: u64,
    /// The trained model stays in the run's folder.
    pub keep: bool,
}

/// The keys of a task that are about training, taken from its table.
pub struct Keys<'a>([Option<Value<'a>>; 6]);

impl<'a> Keys<'a> {
    pub fn take(table: &mut Table<'a>) -> Keys<'a> {
        Keys(["epochs", "learning_rate", "n_ctx", "validation", "quality", "keep"].map(|key| table.get(key)))
    }

    /// Of a task with another method: none of them may be there.
    pub fn refuse(self) {
        self.0.into_iter().for_each(|value| only_for("finetune", value));
    }

    /// What they say.
    pub fn read(self, source: &Source) -> Finetune {
        let [epochs, rate, n_ctx, validation, quality, keep] = self.0;
        let count = |value: Option<Value>, max: u64| value.and_then(|v| v.integer(1, max)).map(|n| n as u32);
        let rate = rate.and_then(|value| {
            let rate = value.number(0.0, 1.0)?;
            if rate == 0.0 {
                value.problem("a learning rate of 0 learns nothing", "give one like 5e-5");
            }
            Some(rate)
        });
        Finetune {
            epochs: count(epochs, 100_000).unwrap_or(1),
            learning_rate: rate.unwrap_or(LEARNING_RATE) as f32,
            n_ctx: count(n_ctx, 1 << 20).unwrap_or(0),
            validation: validation.and_then(|v| v.number(0.0, 0.9)).unwrap_or(0.0) as f32,
            quality_line: quality.as_ref().map_or(0, |v| source.line(v.offset())),
            quality: quality.and_then(|v| v.name()).map(str::to_owned),
            keep: keep.and_then(|v| v.boolean()).unwrap_or(false),
        }
    }
}

/// What cannot be seen in a task alone: is the one that judges there, and does each object have a model to train?
pub fn check(source: &Source, instances: &[Instance], tasks: &[Task]) {
    let problem = |line, what: String, todo: &str| {
        source.problems.borrow_mut().push(Problem::new(&source.path, line, what, todo));
    };
    for task in tasks {
        let Method::Finetune(training) = &task.method else { continue };
        if let Some(name) = &training.quality {
            match tasks.iter().find(|t| t.name == *name) {
                None => {
                    let others = tasks.iter().map(|t| t.name.as_str()).filter(|other| *other != task.name);
                    let todo = did_you_mean(name, others, "give a task of this job");
                    problem(training.quality_line, format!("no task is called \"{name}\""), &todo);
                }
                Some(other) if !other.method.is_right_or_wrong() => {
                    let what = format!(
                        "by the task \"{name}\", of method = \"{}\", no answer is right or wrong",
                        other.method.name()
                    );
                    let todo = "name a task of method = \"choice\", \"generate\" or \"cloze\"; `validation` tells the loss of held-out texts";
                    problem(training.quality_line, what, todo);
                }
                Some(_) => {}
            }
        }
        let mut told: Vec<&str> = Vec::new();
        for instance in instances {
            let (what, todo) = if instance.model_path.is_none() && !instance.is_checkpoint() {
                ("no model's file", "set its `model`, or put it into another job")
            } else if instance.lora.iter().flatten().next().is_some() {
                ("adapters, which are not trained", "leave `lora` out: the model itself is trained")
            } else {
                continue;
            };
            if !told.contains(&instance.object.as_str()) {
                let what =
                    format!("the task \"{}\" trains, and the object \"{}\" has {what}", task.name, instance.object);
                problem(task.line, what, todo);
                told.push(&instance.object);
            }
        }
    }
}
