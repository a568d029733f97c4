//! The `lookout` program.

fn main() {}
