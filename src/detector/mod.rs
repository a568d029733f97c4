//! The network, written once as data, and what runs it.

pub mod detection;
