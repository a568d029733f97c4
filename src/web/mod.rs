//! HTTP: the live page, its API, metrics and health.

pub mod picture;
