//! `lookout schema`: JSON Schema of what the daemon says, or of its configuration.

use super::console;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::message::Message;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what
    #[arg(value_enum, default_value = "message")]
    of: Of,
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// The messages that sinks get
    Message,
    /// The TOML configuration
    Config,
}

/// Prints the schema.
pub fn execute(args: Args) -> Result<()> {
    let schema = match args.of {
        Of::Message => schemars::schema_for!(Message).to_value(),
        Of::Config => config::schema(),
    };
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|source| Error::new(Kind::Internal, "the schema has no JSON form").because(source))?;
    console::print(text).map(drop)
}
