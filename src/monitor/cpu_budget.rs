//! How much of the processor the monitor takes, and that it gets it.
//!
//! In: work. Out: the same work, done on one thread, with pauses that keep it to its share. The work is tried on a
//! thread of the idle class first, which also gives way to every detection ([`Precedence`]) and so works between two
//! frames. Where detection leaves no time between its frames that thread would starve: then the work begins anew on a
//! second thread, which gives way to nobody and whose niceness gives it just its share against a busy one.

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
/// Work that got less than its share over so long is starved.
const STARVED_AFTER: Duration = Duration::from_secs(3);

/// Two threads, of which one works at a time.
pub struct CpuBudget {
    idle: rayon::ThreadPool,
    entitled: rayon::ThreadPool,
    share: f64,
    stop: Stop,
    hot: ThrottleCheck,
}

/// Says whether the board is hot.
pub type ThrottleCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// Lets work pause: given to it, asked between two steps of it.
pub struct BudgetedTask {
    share: f64,
    begin: Instant,
    begin_cpu: Duration,
    /// Of this piece of work.
    rested: Duration,
    most_rest: Duration,
    gives_up: bool,
    stop: Stop,
    hot: ThrottleCheck,
}

/// How a piece of work ends early.
const STARVED: &str = "the idle class gets no time";

impl CpuBudget {
    /// Starts both threads. All work stops while it is `hot`, and gives way to `detection`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the system gives no threads.
    pub fn new(share: f64, stop: Stop, hot: ThrottleCheck, detection: Arc<Precedence>) -> Result<Self> {
        let idle = pool("monitor-idle", move || {
            go_idle();
            precedence::yield_to(Arc::clone(&detection));
        })?;
        let entitled = pool("monitor", move || be_nice(share))?;
        Ok(Self { idle, entitled, share, stop, hot })
    }

    /// Does `work`, which must be able to begin anew. `patience` bounds the pauses: share or not, it shall be done about
    /// then.
    ///
    /// # Errors
    /// What `work` returns; [`Kind::Unavailable`] if stopped.
    pub fn run<T: Send>(
        &self,
        patience: Duration,
        work: &mut (dyn FnMut(&mut BudgetedTask) -> Result<T> + Send),
    ) -> Result<T> {
        let first = self.idle.install(|| work(&mut self.task(patience, true)));
        match first {
            Err(error) if error.message() == STARVED => self.entitled.install(|| work(&mut self.task(patience, false))),
            outcome => outcome,
        }
    }

    fn task(&self, patience: Duration, gives_up: bool) -> BudgetedTask {
        precedence::limit_waiting(STARVED_AFTER);
        BudgetedTask {
            share: self.share,
            begin: Instant::now(),
            begin_cpu: thread_time(),
            rested: Duration::ZERO,
            most_rest: patience,
            gives_up,
            stop: self.stop.clone(),
            hot: Arc::clone(&self.hot),
        }
    }
}

impl BudgetedTask {
    /// Pauses until the work is within its share again, and for as long as the board is hot.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if stopped, or starved.
    pub fn pause_if_due(&mut self) -> Result<()> {
        let stopped = |_| Error::new(Kind::Unavailable, "the service stops");
        self.stop.check().map_err(stopped)?;
        precedence::limit_waiting(STARVED_AFTER);
        while (self.hot)() {
            self.stop.wait_for(Duration::from_secs(1)).map_err(stopped)?;
            self.rested += Duration::from_secs(1);
        }
        let cpu = thread_time().saturating_sub(self.begin_cpu);
        let wall = self.begin.elapsed();
        let running = wall.saturating_sub(self.rested);
        if self.gives_up && running > STARVED_AFTER && cpu.as_secs_f64() < self.share * running.as_secs_f64() {
            return Err(Error::new(Kind::Unavailable, STARVED));
        }
        let due = Duration::from_secs_f64(cpu.as_secs_f64() / self.share).min(self.most_rest);
        let pause = due.saturating_sub(wall);
        if pause > BURST.div_f64(self.share).saturating_sub(BURST) {
            let before = Instant::now();
            self.stop.wait_for(pause).map_err(stopped)?;
            self.rested += before.elapsed();
        }
        Ok(())
    }

    /// CPU time of the work so far.
    pub fn cpu_time(&self) -> Duration {
        thread_time().saturating_sub(self.begin_cpu)
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

/// CPU time of this thread.
fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Only what nobody else wants. Refused in some sandboxes; then the niceness below must do.
fn go_idle() {
    let _ = rustix::process::setpriority_process(None, 19);
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), thread_priority::ThreadPriority::Min, policy);
}

/// The niceness at which a thread gets `share` of a core that another one wants whole: each step is a factor of 1.25 in
/// weight, so w / (w + 1) = share gives log₁.₂₅((1 − share) / share).
fn niceness(share: f64) -> i32 {
    (((1.0 - share) / share).ln() / 1.25f64.ln()).floor().clamp(0.0, 19.0) as i32
}

fn be_nice(share: f64) {
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
    fn work_rests_and_is_cut_short_by_the_stop() {
        let (trigger, stop) = stop::pair();
        let pace = CpuBudget::new(0.25, stop, Arc::new(|| false), Arc::default()).unwrap();
        let mut spent = Duration::ZERO;
        let begin = Instant::now();
        pace.run(Duration::from_secs(60), &mut |task| {
            while task.cpu_time() < Duration::from_millis(100) {
                std::hint::black_box((0..10_000u64).sum::<u64>());
                task.pause_if_due()?;
            }
            spent = task.cpu_time();
            Ok(())
        })
        .unwrap();
        // It paused; how long the machine took beyond that is not ours.
        assert!(begin.elapsed() >= spent.mul_f64(2.5), "{:?} {spent:?}", begin.elapsed());
        trigger.stop();
        let error = pace.run(Duration::from_secs(60), &mut |task| task.pause_if_due()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}
