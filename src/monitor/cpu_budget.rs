//! CPU budget: runs the monitor's work on one thread at a time, within its share of a core.
//!
//! In: work in small parts. Out: the same work, with pauses that keep it within its share. It starts on a thread of the
//! idle scheduling class, which also yields to every detection ([`Precedence`]) and so runs between two frames. If
//! detection leaves no time between its frames, that thread starves. The work is then restarted on a second thread,
//! which yields to nobody. Its niceness gives it about its share against a busy thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use crate::error::{Error, Kind, Result};
use crate::precedence::{self, Precedence};
use crate::stop::Stop;

/// CPU time between two pauses.
const BURST: Duration = Duration::from_millis(20);
/// A task that gets less than its share for this long is starved.
const STARVED_AFTER: Duration = Duration::from_secs(3);
/// Time between two checks while the board is throttled.
const THROTTLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Returns true while the board is throttled because it is too hot.
pub type ThrottleCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// Two threads, of which one works at a time.
pub struct CpuBudget {
    idle: rayon::ThreadPool,
    nice: rayon::ThreadPool,
    /// Share of a core, above 0, at most 1.
    share: f64,
    stop: Stop,
    is_throttled: ThrottleCheck,
}

/// Work in progress. It calls [`BudgetedTask::pause_if_due`] between two parts of the work.
pub struct BudgetedTask {
    share: f64,
    started: Instant,
    /// CPU time of the thread at the start.
    started_cpu: Duration,
    /// Wall time in pauses.
    paused: Duration,
    /// Wall time beyond which the task no longer pauses for its share.
    patience: Duration,
    /// Set if the task may be starved; it then ends with an error, to be restarted.
    ends_if_starved: bool,
    is_starved: bool,
    stop: Stop,
    is_throttled: ThrottleCheck,
}

impl CpuBudget {
    /// Starts both threads. All work pauses while the board is throttled, and yields to `detection`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the system starts no threads.
    pub fn new(share: f64, stop: Stop, is_throttled: ThrottleCheck, detection: Arc<Precedence>) -> Result<Self> {
        let idle = pool("monitor-idle", move || {
            use_idle_class();
            precedence::yield_to(Arc::clone(&detection));
        })?;
        let nice = pool("monitor", move || use_niceness(share))?;
        Ok(Self { idle, nice, share, stop, is_throttled })
    }

    /// Runs `work`, which must tolerate a restart. After `patience`, it no longer pauses for its share.
    ///
    /// # Errors
    /// Errors of `work`; [`Kind::Unavailable`] if stopped.
    pub fn run<T: Send>(
        &self,
        patience: Duration,
        work: &mut (dyn FnMut(&mut BudgetedTask) -> Result<T> + Send),
    ) -> Result<T> {
        let (outcome, is_starved) = self.idle.install(|| {
            let mut task = self.task(patience, true);
            let outcome = work(&mut task);
            (outcome, task.is_starved)
        });
        match outcome {
            Err(_) if is_starved => self.nice.install(|| work(&mut self.task(patience, false))),
            outcome => outcome,
        }
    }

    fn task(&self, patience: Duration, ends_if_starved: bool) -> BudgetedTask {
        precedence::limit_waiting(STARVED_AFTER);
        BudgetedTask {
            share: self.share,
            started: Instant::now(),
            started_cpu: thread_time(),
            paused: Duration::ZERO,
            patience,
            ends_if_starved,
            is_starved: false,
            stop: self.stop.clone(),
            is_throttled: Arc::clone(&self.is_throttled),
        }
    }
}

impl BudgetedTask {
    /// Pauses until the task is within its share again, and while the board is throttled.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if stopped or starved.
    pub fn pause_if_due(&mut self) -> Result<()> {
        let stopped = |_| Error::new(Kind::Unavailable, "the service stops");
        self.stop.check().map_err(stopped)?;
        precedence::limit_waiting(STARVED_AFTER);
        while (self.is_throttled)() {
            self.stop.wait_for(THROTTLE_CHECK_INTERVAL).map_err(stopped)?;
            self.paused += THROTTLE_CHECK_INTERVAL;
        }
        // Starved: outside of its own pauses, the task got less CPU time than its share.
        let cpu = self.cpu_time();
        let elapsed = self.started.elapsed();
        let runnable = elapsed.saturating_sub(self.paused);
        let is_short = cpu.as_secs_f64() < self.share * runnable.as_secs_f64();
        if self.ends_if_starved && runnable > STARVED_AFTER && is_short {
            self.is_starved = true;
            return Err(Error::new(Kind::Unavailable, "the idle class gets no CPU time"));
        }
        // A pause shorter than the one after a burst is postponed, because each pause costs a context switch.
        let budgeted = Duration::from_secs_f64(cpu.as_secs_f64() / self.share).min(self.patience);
        let pause = budgeted.saturating_sub(elapsed);
        if pause > BURST.div_f64(self.share).saturating_sub(BURST) {
            let before = Instant::now();
            self.stop.wait_for(pause).map_err(stopped)?;
            self.paused += before.elapsed();
        }
        Ok(())
    }

    /// CPU time of the task so far.
    pub fn cpu_time(&self) -> Duration {
        thread_time().saturating_sub(self.started_cpu)
    }
}

fn pool(name: &'static str, start: impl Fn() + Send + Sync + 'static) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(move |_| name.to_owned())
        .start_handler(move |_| start())
        .build()
        .map_err(|source| Error::new(Kind::Unavailable, "cannot start the monitor's threads").because(source))
}

/// CPU time of the current thread.
fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Selects the idle scheduling class. Some sandboxes refuse it; the niceness then has to suffice.
fn use_idle_class() {
    let _ = rustix::process::setpriority_process(None, 19);
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), thread_priority::ThreadPriority::Min, policy);
}

/// Niceness at which a thread gets `share` of a core against a thread of niceness 0. Each step is a factor of 1.25 in the
/// scheduler's weight, so w / (w + 1) = share gives log₁.₂₅((1 − share) / share).
fn niceness(share: f64) -> i32 {
    (((1.0 - share) / share).ln() / 1.25f64.ln()).floor().clamp(0.0, 19.0) as i32
}

fn use_niceness(share: f64) {
    let _ = rustix::process::setpriority_process(None, niceness(share));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop;

    #[test]
    fn niceness_follows_the_share() {
        assert_eq!([0.5, 0.1, 0.01, 1.0].map(niceness), [0, 9, 19, 0]);
    }

    #[test]
    fn work_pauses_and_ends_with_the_service() {
        let (trigger, stop) = stop::pair();
        let budget = CpuBudget::new(0.25, stop, Arc::new(|| false), Arc::default()).unwrap();
        let mut spent = Duration::ZERO;
        let begin = Instant::now();
        budget
            .run(Duration::from_secs(60), &mut |task| {
                while task.cpu_time() < Duration::from_millis(100) {
                    std::hint::black_box((0..10_000u64).sum::<u64>());
                    task.pause_if_due()?;
                }
                spent = task.cpu_time();
                Ok(())
            })
            .unwrap();
        // It paused. A busy machine may take longer.
        assert!(begin.elapsed() >= spent.mul_f64(2.5), "{:?} {spent:?}", begin.elapsed());
        trigger.stop();
        let error = budget.run(Duration::from_secs(60), &mut |task| task.pause_if_due()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}
