//! The steps in flight: one task each, with its deadline and its cancellation.
//!
//! A task says how the attempt ended, and nothing more. Cancelling one only ends the waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use fail::fail_point;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::act::Hands;
use crate::plan::Planned;
use crate::plan::step::{Outcome, Target};

/// An attempt that ended.
#[derive(Debug)]
pub(super) struct Done {
    /// What it acted on.
    pub(super) target: Target,
    /// How it ended.
    pub(super) outcome: Outcome,
}

/// The tasks.
#[derive(Debug)]
pub(super) struct Steps {
    running: BTreeMap<Target, oneshot::Sender<()>>,
    sender: mpsc::UnboundedSender<Done>,
    receiver: mpsc::UnboundedReceiver<Done>,
    wake: Arc<Notify>,
}

impl Steps {
    /// No tasks yet. At most one a target runs, so the channel holds at most as many answers as there are targets.
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { running: BTreeMap::new(), sender, receiver, wake }
    }

    /// Starts one. The tracker sees to it that no other runs on its target.
    pub(super) fn start(&mut self, hands: &Arc<Hands>, planned: Planned) {
        let (cancel, cancelled) = oneshot::channel();
        let target = planned.step.target();
        self.running.insert(target.clone(), cancel);
        let hands = Arc::clone(hands);
        let sender = self.sender.clone();
        let wake = Arc::clone(&self.wake);
        tokio::spawn(async move {
            let limit = planned.limit;
            let work = tokio::spawn(async move { carry_out(&hands, &planned).await });
            let abort = work.abort_handle();
            let outcome = tokio::select! {
                ended = work => ended.unwrap_or_else(|error| Outcome::Failed { why: format!("its task ended: {error}") }),
                () = tokio::time::sleep(limit) => Outcome::DeadlinePassed,
                _ = cancelled => Outcome::Cancelled,
            };
            abort.abort();
            // Nobody listens any more only when the loop has ended.
            let _ = sender.send(Done { target, outcome });
            wake.notify_one();
        });
    }

    /// Stops waiting for the step on a target.
    pub(super) fn cancel(&mut self, target: &Target) {
        if let Some(cancel) = self.running.remove(target) {
            let _ = cancel.send(());
        }
    }

    /// The attempts that ended since it was asked last.
    pub(super) fn ended(&mut self) -> Vec<Done> {
        let mut ended = Vec::new();
        while let Ok(done) = self.receiver.try_recv() {
            self.running.remove(&done.target);
            ended.push(done);
        }
        ended
    }
}

/// Carries one step out, between the two failpoints at which the lab's tests kill the process.
async fn carry_out(hands: &Hands, planned: &Planned) -> Outcome {
    fail_point!(format!("before-{}", planned.step.name()).as_str(), |_| std::process::abort());
    let outcome = hands.perform(planned).await;
    fail_point!(format!("after-{}", planned.step.name()).as_str(), |_| std::process::abort());
    outcome
}
