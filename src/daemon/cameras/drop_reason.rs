//! Reasons why a captured frame was not processed: label values of `lookout_frames_dropped_total` and of the status.

/// Reason why a captured frame was not processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// A newer frame of the camera replaced it while the detector was busy.
    Busy,
    /// The picture could not be decoded.
    Corrupt,
    /// The camera is disabled.
    Disabled,
    /// A newer frame of the camera replaced it while the detector was throttled because of the temperature.
    Hot,
    /// The camera's rate cap.
    Rate,
    /// The source had a newer frame.
    Stale,
    /// Nothing moved since the last frame that was processed.
    Still,
    /// The camera or the service stopped.
    Stopped,
    /// The detector refused the picture.
    Unfit,
}

impl DropReason {
    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Corrupt => "corrupt",
            Self::Disabled => "disabled",
            Self::Hot => "hot",
            Self::Rate => "rate",
            Self::Stale => "stale",
            Self::Still => "still",
            Self::Stopped => "stopped",
            Self::Unfit => "unfit",
        }
    }
}
