//! The outbox: one short queue and one task a sink.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Sink;
use crate::error::{Error, Result};
use crate::message::{Message, MessageKind};
use crate::metrics::{Metrics, Said};
use crate::sync::IgnorePoison;

/// Messages that may wait for one sink: a few seconds of reports.
const QUEUE: usize = 64;

/// A sink with its name and what it takes.
pub struct Outlet {
    /// Its name in the log and in metrics.
    pub name: String,
    /// The messages it takes.
    pub messages: Vec<MessageKind>,
    /// Where they go.
    pub sink: Box<dyn Sink>,
}

/// The side that threads put messages in.
#[derive(Debug, Clone)]
pub struct Outbox {
    queues: Arc<[Queue]>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Queue {
    name: String,
    messages: Vec<MessageKind>,
    /// `None` once the outbox is closed.
    sender: Mutex<Option<mpsc::Sender<Arc<Message>>>>,
}

impl Outbox {
    /// Starts a task for each outlet, on the runtime this is called in. The tasks end when the outbox is closed and the
    /// queues are empty; one whose sink is gone for good ends at once with its error.
    pub fn start(outlets: Vec<Outlet>, metrics: &Arc<Metrics>) -> (Self, Vec<JoinHandle<Result<()>>>) {
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for Outlet { name, messages, sink } in outlets {
            let (sender, receiver) = mpsc::channel(QUEUE);
            tasks.push(tokio::spawn(serve(name.clone(), sink, receiver, metrics.clone())));
            queues.push(Queue { name, messages, sender: Mutex::new(Some(sender)) });
        }
        (Self { queues: queues.into(), metrics: metrics.clone() }, tasks)
    }

    /// Hands `message` to every sink that takes it and has room; never blocks. Where there is no room it is dropped and
    /// counted.
    pub fn offer(&self, message: Message) {
        self.each(message, |sender, message| sender.try_send(message).is_ok());
    }

    /// The same, waiting for room: for reports of which none may be lost. Not to be called from a future.
    pub fn deliver(&self, message: Message) {
        self.each(message, |sender, message| sender.blocking_send(message).is_ok());
    }

    /// Takes nothing more, whoever still holds a clone: a thread that hangs in a driver must not keep sinks waiting.
    pub fn close(&self) {
        self.queues.iter().for_each(|queue| drop(queue.lock().take()));
    }

    fn each(&self, message: Message, send: impl Fn(&mpsc::Sender<Arc<Message>>, Arc<Message>) -> bool) {
        let kind = message.kind();
        let message = Arc::new(message);
        for queue in self.queues.iter().filter(|queue| queue.messages.contains(&kind)) {
            // A copy of the sender: waiting for room must not hold the lock.
            let sender = queue.lock().clone();
            if !sender.is_some_and(|sender| send(&sender, message.clone())) {
                self.metrics.publish.get_or_create(&Said { sink: queue.name.clone(), result: "dropped" }).inc();
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Arc<Message>>>> {
        self.sender.lock().ignore_poison()
    }
}

/// Sends what comes until nothing will come any more. Failure is logged when it begins and when it is over.
async fn serve(
    name: String,
    mut sink: Box<dyn Sink>,
    mut receiver: mpsc::Receiver<Arc<Message>>,
    metrics: Arc<Metrics>,
) -> Result<()> {
    let count = |result| metrics.publish.get_or_create(&Said { sink: name.clone(), result }).inc();
    let mut failing = false;
    while let Some(message) = receiver.recv().await {
        match sink.send(&message).await {
            Ok(()) => {
                count("ok");
                if std::mem::take(&mut failing) {
                    tracing::info!(sink = name, "messages get through again");
                }
            }
            Err(error) => {
                count("failed");
                if sink.is_gone() {
                    return Err(error);
                }
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(sink = name, error = error.chain(), "messages do not get through");
                }
            }
        }
    }
    sink.flush().await.map_err(|error: Error| error.at(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Event, EventName, Moment, Schema};
    use crate::publish::{Sending, Stdout};

    fn event(id: usize) -> Message {
        Message::Event(Event {
            schema: Schema::V1,
            device: "d".into(),
            event: EventName::CameraLost,
            id: id.to_string(),
            at: Moment(jiff::Timestamp::UNIX_EPOCH),
            camera: None,
            details: Default::default(),
        })
    }

    /// Never gets anything through.
    struct Stuck;

    impl Sink for Stuck {
        fn send<'a>(&'a mut self, _: &'a Message) -> Sending<'a> {
            Box::pin(std::future::pending())
        }
    }

    fn outlet(name: &str, messages: &[MessageKind], sink: impl Sink + 'static) -> Outlet {
        Outlet { name: name.into(), messages: messages.to_vec(), sink: Box::new(sink) }
    }

    #[tokio::test]
    async fn a_stuck_sink_costs_its_own_messages_only() {
        let metrics = Arc::new(Metrics::new());
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let outlets = vec![
            outlet("stuck", &[MessageKind::Event], Stuck),
            outlet("lines", &[MessageKind::Event], Stdout::on(ours)),
            outlet("reports", &[MessageKind::Report], Stuck),
        ];
        let (outbox, mut tasks) = Outbox::start(outlets, &metrics);
        for id in 0..200 {
            outbox.offer(event(id));
            tokio::task::yield_now().await;
        }
        outbox.close();
        tasks.swap_remove(1).await.unwrap().unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut theirs, &mut text).await.unwrap();
        assert_eq!(text.lines().count(), 200);
        let dropped = |sink: &str| metrics.publish.get_or_create(&Said { sink: sink.into(), result: "dropped" }).get();
        assert!((134..=136).contains(&dropped("stuck")), "{}", dropped("stuck"));
        assert_eq!((dropped("lines"), dropped("reports")), (0, 0));
    }

    #[tokio::test]
    async fn a_reader_gone_away_ends_the_sink() {
        let (ours, theirs) = tokio::io::duplex(64);
        drop(theirs);
        let metrics = Arc::new(Metrics::new());
        let (outbox, mut tasks) =
            Outbox::start(vec![outlet("lines", &[MessageKind::Event], Stdout::on(ours))], &metrics);
        outbox.offer(event(1));
        let error = tasks.remove(0).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Io);
    }
}
