//! Training: the one call whose host tells how it gets on before it answers.

use super::{Client, GRACE, HostError};
use crate::backend::wire::{FromHost, ToHost, Train, TrainStep, Trained, encode};
use std::ops::ControlFlow;
use std::time::Duration;

const DURING: &str = "training";

/// How a training ended that the host came to the end of.
pub enum Ended<B> {
    Trained(Trained),
    /// `each` broke; the host is gone.
    Broken(B),
}

impl Client {
    /// Has a model trained; no model is open then. `each` gets every step as it comes, and ends it all by breaking.
    /// `gap` is the longest time without a sign: until the first step, between two, and until the model is written.
    ///
    /// # Errors
    /// As the host tells, or [`HostError::Timeout`].
    pub fn train<B>(
        &mut self,
        wanted: Train,
        gap: Duration,
        mut each: impl FnMut(&mut Client, TrainStep) -> ControlFlow<B>,
    ) -> Result<Ended<B>, HostError> {
        let mut answer = self.call(&ToHost::Train(Box::new(wanted)), gap, DURING)?;
        loop {
            match answer {
                FromHost::Step(step) => {
                    if let ControlFlow::Break(value) = each(self, step) {
                        self.kill();
                        return Ok(Ended::Broken(value));
                    }
                }
                FromHost::Trained(trained) => return Ok(Ended::Trained(trained)),
                FromHost::Failed(failure) => return Err(HostError::Failed(failure)),
                FromHost::Violation(text) => return Err(HostError::Violation(text)),
                other => return Err(self.nonsense(&other)),
            }
            answer = match self.receive(gap, DURING) {
                Err(HostError::Timeout { .. }) => return Err(self.end_training(gap)),
                other => other?,
            };
        }
    }

    /// After a timeout: asks the host to stop with the step that it is at, and kills it if it does not.
    fn end_training(&mut self, after: Duration) -> HostError {
        use std::io::Write;
        let asked = encode(&ToHost::Abort, &mut self.frame).is_ok() && self.socket.write_all(&self.frame).is_ok();
        let mut killed = !asked;
        while !killed {
            match self.receive(GRACE, DURING) {
                Ok(FromHost::Step(_)) => {}
                answer => {
                    killed = answer.is_err();
                    break;
                }
            }
        }
        if killed {
            self.kill();
        }
        HostError::Timeout { during: DURING, after, killed }
    }
}
