//! The `lookout` program: parse the arguments, call one command, turn its error into one line and an exit code.

use std::process::ExitCode;

use lookout::cli;

fn main() -> ExitCode {
    let outcome = match cli::parse(std::env::args_os()) {
        Ok(command) => cli::execute(command),
        Err(exit) => return exit,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::console::complain(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}
