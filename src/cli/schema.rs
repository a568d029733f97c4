//! `lookout schema`: print the JSON Schema of the messages or of the configuration.

use super::console;
use crate::config;
use crate::error::Result;
use crate::message::Message;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Schema to print
    #[arg(value_enum, default_value = "message", value_name = "OF")]
    subject: SchemaSubject,
}

/// The subject of a schema.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SchemaSubject {
    /// Messages to the sinks
    Message,
    /// Configuration file (TOML)
    Config,
}

/// Prints the schema.
pub fn execute(args: Args) -> Result<()> {
    let schema = match args.subject {
        SchemaSubject::Message => schemars::schema_for!(Message).to_value(),
        SchemaSubject::Config => config::schema(),
    };
    console::print(console::pretty_json(&schema)?).map(drop)
}
