//! The `lookout` program: parses the arguments, executes one command, and converts its error to one line and an exit code.

use std::process::ExitCode;

use lookout::cli;

fn main() -> ExitCode {
    lookout::redact::redact_panics();
    let result = match cli::parse(std::env::args_os()) {
        Ok(command) => cli::execute(command),
        Err(exit) => return exit,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::console::print_error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}
