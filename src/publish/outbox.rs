//! Outbox: one short queue and one task for each sink.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Sink;
use crate::error::{Error, Result};
use crate::fault::FaultReporter;
use crate::message::{Message, MessageKind};
use crate::metrics::{MessageLabels, Metrics};
use crate::sync::IgnorePoison;

/// Queue length of a sink: a few seconds of reports.
const QUEUE: usize = 64;

/// A sink with its name and the accepted types of messages.
pub struct Outlet {
    /// Name in the log and in metrics.
    pub name: String,
    /// Accepted types of messages.
    pub messages: Vec<MessageKind>,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// True if the service runs for this sink: for one of `[[publish]]`, not for the page or the history.
    pub is_output: bool,
    /// Takes reports of failures.
    pub fault: FaultReporter,
}

/// Sending side of the outbox, for any thread.
#[derive(Debug, Clone)]
pub struct Outbox {
    queues: Arc<[Queue]>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Queue {
    name: String,
    messages: Vec<MessageKind>,
    /// `None` after the outbox was closed.
    sender: Mutex<Option<mpsc::Sender<Arc<Message>>>>,
    fault: FaultReporter,
    /// True after a message was dropped, until the queue is empty.
    is_dropping: Arc<AtomicBool>,
}

impl Outbox {
    /// Starts a task for each outlet on the current runtime. The tasks end when the outbox is closed and the queues are
    /// empty. A task whose sink fails permanently ends at once with the error.
    pub fn start(outlets: Vec<Outlet>, metrics: &Arc<Metrics>) -> (Self, Vec<JoinHandle<Result<()>>>) {
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for Outlet { name, messages, sink, fault, .. } in outlets {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let is_dropping = Arc::new(AtomicBool::new(false));
            let reports = Reports { name: name.clone(), fault: fault.clone(), is_dropping: is_dropping.clone() };
            tasks.push(tokio::spawn(send_queued(reports, sink, receiver, metrics.clone())));
            queues.push(Queue { name, messages, sender: Mutex::new(Some(sender)), fault, is_dropping });
        }
        (Self { queues: queues.into(), metrics: metrics.clone() }, tasks)
    }

    /// Passes `message` to every sink that accepts its type. Never blocks: if a queue is full, the message is dropped and
    /// counted.
    pub fn offer(&self, message: Message) {
        self.each(message, |sender, message| sender.try_send(message).is_ok());
    }

    /// Passes `message` to every sink, waiting for room in the queues: for lossless sources. Must not be called from a future.
    pub fn deliver(&self, message: Message) {
        self.each(message, |sender, message| sender.blocking_send(message).is_ok());
    }

    /// Closes the outbox for all clones, so that a thread that hangs in a driver does not delay the sinks' end.
    pub fn close(&self) {
        self.queues.iter().for_each(|queue| drop(queue.lock().take()));
    }

    fn each(&self, message: Message, send: impl Fn(&mpsc::Sender<Arc<Message>>, Arc<Message>) -> bool) {
        let kind = message.kind();
        let message = Arc::new(message);
        for queue in self.queues.iter().filter(|queue| queue.messages.contains(&kind)) {
            // The sender is cloned, so that the lock is not held while waiting for room.
            let sender = queue.lock().clone();
            if !sender.is_some_and(|sender| send(&sender, message.clone())) {
                // The error of a sink that was lost was reported.
                if !queue.is_closed() && !queue.is_dropping.swap(true, Ordering::Relaxed) {
                    queue.fault.set(format!("output {}: it takes messages too slowly; some are dropped", queue.name));
                }
                self.metrics
                    .publish
                    .get_or_create(&MessageLabels { sink: queue.name.clone(), result: "dropped" })
                    .inc();
            }
        }
    }
}

impl Queue {
    /// True if the outbox was closed, or the sink's task has ended.
    fn is_closed(&self) -> bool {
        self.lock().as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Arc<Message>>>> {
        self.sender.lock().ignore_poison()
    }
}

/// What the task of a sink reports to.
struct Reports {
    name: String,
    fault: FaultReporter,
    is_dropping: Arc<AtomicBool>,
}

/// Sends messages until the queue is closed. Failures are logged and reported at their begin and end.
async fn send_queued(
    reports: Reports,
    mut sink: Box<dyn Sink>,
    mut receiver: mpsc::Receiver<Arc<Message>>,
    metrics: Arc<Metrics>,
) -> Result<()> {
    let Reports { name, fault, is_dropping } = reports;
    let count = |result| metrics.publish.get_or_create(&MessageLabels { sink: name.clone(), result }).inc();
    let mut failing = false;
    // A fault may have been reported when the sink was built.
    let mut has_fault = true;
    loop {
        let message = match sink.retry_at() {
            None => receiver.recv().await,
            Some(at) => tokio::select! {
                message = receiver.recv() => message,
                () = tokio::time::sleep_until(at) => {
                    match sink.retry() {
                        Ok(()) => {
                            fault.clear();
                            tracing::info!(sink = name, "the output is open now");
                        }
                        Err(error) => fault.set(format!("output {name}: {}", error.chain())),
                    }
                    continue;
                }
            },
        };
        let Some(message) = message else { break };
        let is_delivered = sink.delivers(&message);
        match sink.send(&message).await {
            Ok(()) if !is_delivered => {}
            Ok(()) => {
                count("ok");
                let has_caught_up = receiver.is_empty() && is_dropping.swap(false, Ordering::Relaxed);
                if std::mem::take(&mut has_fault) || has_caught_up {
                    fault.clear();
                }
                if std::mem::take(&mut failing) {
                    tracing::info!(sink = name, "messages are delivered again");
                }
            }
            Err(error) => {
                count("failed");
                has_fault = true;
                fault.set(format!("output {name}: {}", error.chain()));
                if sink.is_closed() {
                    return Err(error);
                }
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(sink = name, error = error.chain(), "messages cannot be delivered");
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
    use crate::publish::{Files, Reopening, SinkFuture, Stdout};

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

    /// Never delivers anything.
    struct Stuck;

    impl Sink for Stuck {
        fn send<'a>(&'a mut self, _: &'a Message) -> SinkFuture<'a> {
            Box::pin(std::future::pending())
        }
    }

    fn outlet(name: &str, messages: &[MessageKind], sink: impl Sink + 'static) -> Outlet {
        let (name, sink, fault) = (name.into(), Box::new(sink), FaultReporter::ignored());
        Outlet { name, messages: messages.to_vec(), sink, is_output: true, fault }
    }

    #[tokio::test]
    async fn a_stuck_sink_costs_its_own_messages_only() {
        let metrics = Arc::new(Metrics::new());
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let list = reports.clone();
        let fault = FaultReporter::new(move |report| list.lock().ignore_poison().push(report));
        let outlets = vec![
            Outlet { fault, ..outlet("stuck", &[MessageKind::Event], Stuck) },
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
        let dropped =
            |sink: &str| metrics.publish.get_or_create(&MessageLabels { sink: sink.into(), result: "dropped" }).get();
        assert!((134..=136).contains(&dropped("stuck")), "{}", dropped("stuck"));
        assert_eq!((dropped("lines"), dropped("reports")), (0, 0));
        let slow = Some("output stuck: it takes messages too slowly; some are dropped".to_owned());
        assert_eq!(*reports.lock().ignore_poison(), [slow]);
    }

    #[tokio::test]
    async fn a_failure_is_reported_until_messages_are_delivered_again() {
        /// Fails for the first two messages.
        struct Failing(u32);
        impl Sink for Failing {
            fn send<'a>(&'a mut self, _: &'a Message) -> SinkFuture<'a> {
                self.0 += 1;
                let full = || Error::new(crate::error::Kind::Io, "the disk is full");
                Box::pin(std::future::ready(if self.0 <= 2 { Err(full()) } else { Ok(()) }))
            }
        }
        let reports = Arc::new(Mutex::new(Vec::new()));
        let list = reports.clone();
        let mut outlet = outlet("file", &[MessageKind::Event], Failing(0));
        outlet.fault = FaultReporter::new(move |report| list.lock().ignore_poison().push(report));
        let (outbox, mut tasks) = Outbox::start(vec![outlet], &Arc::new(Metrics::new()));
        (0..4).for_each(|id| outbox.offer(event(id)));
        outbox.close();
        tasks.remove(0).await.unwrap().unwrap();
        let full = Some("output file: the disk is full".to_owned());
        assert_eq!(*reports.lock().ignore_poison(), [full.clone(), full, None]);
    }

    #[tokio::test]
    async fn a_sink_that_cannot_be_opened_is_opened_later_and_before_the_next_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/lines.jsonl");
        // A file in place of the folder.
        std::fs::write(folder.path().join("gone"), "").unwrap();
        let opened = path.clone();
        let (sink, outcome) = Reopening::new(Box::new(move || Ok(Box::new(Files::open(&opened, 1000, 2)?))));
        assert!(outcome.is_err());
        let (sender, mut reports) = mpsc::unbounded_channel();
        let mut outlet = outlet("file", &[MessageKind::Event], sink);
        outlet.fault = FaultReporter::new(move |report| drop(sender.send(report)));
        let metrics = Arc::new(Metrics::new());
        let (outbox, mut tasks) = Outbox::start(vec![outlet], &metrics);
        outbox.offer(event(1));
        assert!(reports.recv().await.unwrap().unwrap().contains("gone"));
        std::fs::remove_file(folder.path().join("gone")).unwrap();
        while reports.recv().await.unwrap().is_some() {}
        assert!(path.exists());
        outbox.offer(event(2));
        outbox.close();
        tasks.remove(0).await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
        let count = |result| metrics.publish.get_or_create(&MessageLabels { sink: "file".into(), result }).get();
        assert_eq!((count("failed"), count("ok")), (1, 1));
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
