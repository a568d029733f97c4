//! The network, written once as data, and what runs it.

pub mod architecture;
pub mod detection;
pub mod settings;
