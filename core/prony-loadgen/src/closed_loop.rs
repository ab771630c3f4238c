//! The closed loop: a fixed number of requests in flight; the next is sent when
//! one ends.

use crate::Exchange;
use crate::http::{Client, Prepared, Target};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

/// What to send.
#[derive(Debug)]
pub struct Plan {
    /// Where.
    pub target: Target,
    /// The requests, in order; equal ones can share their bytes.
    pub requests: Vec<Arc<Prepared>>,
    /// How many at a time.
    pub concurrency: u32,
    /// Limit of each.
    pub timeout: Duration,
}

/// A request that ended.
#[derive(Debug)]
pub struct Done {
    /// Its index in [`Plan::requests`].
    pub index: u32,
    /// What came back.
    pub exchange: Exchange,
    /// With one request in flight: the next is sent when this is dropped, so
    /// that nothing the receiver does overlaps a measurement.
    pub resume: Option<oneshot::Sender<()>>,
}

/// Starts the loop on a thread of its own, with a runtime of its own. It ends
/// when all requests are done, when `stop` turns true, or when the receiver is
/// dropped.
pub fn start(
    plan: Plan,
    stop: watch::Receiver<bool>,
) -> std::io::Result<mpsc::UnboundedReceiver<Done>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("loadgen".to_owned())
        .spawn(move || runtime.block_on(run(plan, stop, sender)))?;
    Ok(receiver)
}

async fn run(plan: Plan, mut stop: watch::Receiver<bool>, sender: mpsc::UnboundedSender<Done>) {
    let next = Rc::new(Cell::new(0));
    let lanes = (plan.concurrency as usize).min(plan.requests.len());
    let plan = Rc::new(plan);
    let tasks = LocalSet::new();
    for _ in 0..lanes {
        tasks.spawn_local(lane(plan.clone(), next.clone(), sender.clone()));
    }
    drop(sender);
    tokio::select! {
        () = tasks => {}
        // An error means that nobody is left to say stop.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn lane(plan: Rc<Plan>, next: Rc<Cell<usize>>, sender: mpsc::UnboundedSender<Done>) {
    let mut client = Client::new(plan.target.clone());
    loop {
        let index = next.get();
        let Some(request) = plan.requests.get(index) else {
            return;
        };
        next.set(index + 1);
        let exchange = client.send(request, plan.timeout).await;
        let (resume, resumed) = oneshot::channel();
        let alone = plan.concurrency == 1;
        let done = Done {
            index: index as u32,
            exchange,
            resume: alone.then_some(resume),
        };
        if sender.send(done).is_err() {
            return;
        }
        if alone {
            // The sender is dropped, never used.
            let _ = resumed.await;
        }
    }
}
