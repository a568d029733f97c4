//! Reports of faults: why a part of the service does not do its work.
//!
//! An output, a store or the web server reports to a [`FaultReporter`], and the health of the device follows. The parts
//! know nothing of health.

use std::fmt;
use std::sync::Arc;

/// Takes the reports of one part. Clones report for the same part.
#[derive(Clone)]
pub struct FaultReporter(Arc<dyn Fn(Option<String>) + Send + Sync>);

/// Function that returns the reporter of an output, by the output's name.
pub type FaultReporters = Arc<dyn Fn(&str) -> FaultReporter + Send + Sync>;

impl FaultReporter {
    /// A reporter that passes the reason of a fault to `report`, and `None` once there is none.
    pub fn new(report: impl Fn(Option<String>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// A reporter whose reports nobody reads.
    pub fn ignored() -> Self {
        Self::new(|_| {})
    }

    /// Reports a fault: one sentence without a full stop.
    pub fn set(&self, reason: impl Into<String>) {
        (self.0)(Some(reason.into()));
    }

    /// Reports that there is no fault any more.
    pub fn clear(&self) {
        (self.0)(None);
    }
}

impl fmt::Debug for FaultReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultReporter")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn clones_report_for_the_same_part() {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let list = reports.clone();
        let reporter = FaultReporter::new(move |report| list.lock().unwrap().push(report));
        reporter.clone().set("the disk is full");
        reporter.clear();
        assert_eq!(*reports.lock().unwrap(), [Some("the disk is full".to_owned()), None]);
    }
}
