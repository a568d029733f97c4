//! Dialogue: answers to questions, from options, from proposals, or from the terminal.
//!
//! Questions and answers are plain lines, so that the dialogue works over any connection. A secret is read without echo.

use std::io::{BufRead, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::error::{Error, Kind, Result};

/// Source of the answers that no option gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// The user at the terminal.
    Terminal,
    /// The proposals.
    Proposed,
    /// None: every answer is an option.
    Options,
}

/// Asks questions.
pub struct Dialogue {
    answers: Answers,
    input: Box<dyn BufRead>,
    output: Box<dyn Write>,
}

impl Dialogue {
    /// A dialogue on stdin and stdout.
    pub fn new(answers: Answers) -> Self {
        Self { answers, input: Box::new(std::io::stdin().lock()), output: Box::new(std::io::stdout()) }
    }

    /// True if a person answers.
    pub fn is_interactive(&self) -> bool {
        self.answers == Answers::Terminal
    }

    /// Prints a line.
    ///
    /// # Errors
    /// [`Kind::Io`] if the output cannot be written.
    pub fn say(&mut self, text: impl std::fmt::Display) -> Result<()> {
        let text = crate::redact::redact(&text.to_string());
        writeln!(self.output, "{text}").and_then(|()| self.output.flush()).map_err(unwritable)
    }

    /// The answer `given` by an option, or else to `question`. An empty line means the `proposal`.
    ///
    /// # Errors
    /// [`Kind::Usage`] naming `option` if there is no answer and none can be asked for.
    pub fn text(
        &mut self,
        option: &str,
        given: Option<String>,
        question: &str,
        proposal: Option<&str>,
    ) -> Result<String> {
        match (given, self.answers, proposal) {
            (Some(given), ..) => Ok(given),
            (None, Answers::Proposed, Some(proposal)) => Ok(proposal.to_owned()),
            (None, Answers::Terminal, _) => {
                let shown = proposal.filter(|proposal| !proposal.is_empty());
                let shown = shown.map(|proposal| format!(" [{proposal}]")).unwrap_or_default();
                loop {
                    let line = self.line(&format!("{question}{shown}: "))?;
                    match (line.as_str(), proposal) {
                        ("", Some(proposal)) => return Ok(proposal.to_owned()),
                        ("", None) => {}
                        _ => return Ok(line),
                    }
                }
            }
            _ => Err(Error::new(Kind::Usage, format!("there is no answer to \"{question}\": give {option}"))),
        }
    }

    /// As [`Dialogue::text`] for yes or no.
    ///
    /// # Errors
    /// As [`Dialogue::text`].
    pub fn yes_no(&mut self, option: &str, given: Option<bool>, question: &str, proposal: bool) -> Result<bool> {
        let given = given.map(|given| if given { "yes" } else { "no" }.to_owned());
        let proposed = if proposal { "yes" } else { "no" };
        let mut given = given;
        loop {
            match self.text(option, given.take(), question, Some(proposed))?.to_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.say("Please answer yes or no.")?,
            }
        }
    }

    /// A secret that the user types without echo; `None` for an empty line.
    ///
    /// # Errors
    /// As [`Dialogue::text`]; [`Kind::Usage`] if the user interrupts.
    pub fn secret(&mut self, question: &str) -> Result<Option<String>> {
        if !self.is_interactive() {
            return Ok(None);
        }
        write!(self.output, "{question}: ").and_then(|()| self.output.flush()).map_err(unwritable)?;
        let secret = read_without_echo(&mut self.input);
        writeln!(self.output).map_err(unwritable)?;
        let secret = secret?;
        crate::redact::learn_secret(&secret);
        Ok(Some(secret).filter(|secret| !secret.is_empty()))
    }

    fn line(&mut self, question: &str) -> Result<String> {
        write!(self.output, "{question}").and_then(|()| self.output.flush()).map_err(unwritable)?;
        let mut line = String::new();
        let read = self.input.read_line(&mut line);
        let read = read.map_err(|source| Error::new(Kind::Io, "cannot read the answer").because(source))?;
        if read == 0 {
            return Err(Error::new(Kind::Usage, format!("the input ended at \"{}\"", question.trim_end())));
        }
        Ok(line.trim().to_owned())
    }
}

fn unwritable(source: std::io::Error) -> Error {
    Error::new(Kind::Io, "cannot write to stdout").because(source)
}

/// The terminal in a mode without echo, lines and signals; the former mode returns at the end, also after an error.
struct SilentTerminal(Option<Termios>);

impl SilentTerminal {
    fn new() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(stdin.as_fd()) else { return Self(None) };
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        match tcsetattr(stdin.as_fd(), OptionalActions::Now, &silent) {
            Ok(()) => Self(Some(before)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for SilentTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, before);
        }
    }
}

/// Reads a line of bytes. Backspace removes the last character, Ctrl-U all, Ctrl-C interrupts.
fn read_without_echo(input: &mut dyn BufRead) -> Result<String> {
    let _silent = SilentTerminal::new();
    let mut bytes: Vec<u8> = Vec::new();
    for byte in input.bytes() {
        match byte.map_err(|source| Error::new(Kind::Io, "cannot read the secret").because(source))? {
            b'\n' | b'\r' => break,
            0x03 | 0x04 => return Err(Error::new(Kind::Usage, "interrupted")),
            0x7f | 0x08 => {
                // A character of several bytes as a whole.
                while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            0x15 => bytes.clear(),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::new(Kind::Usage, "the secret is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(answers: Answers, input: &'static str) -> Dialogue {
        Dialogue { answers, input: Box::new(input.as_bytes()), output: Box::new(Vec::new()) }
    }

    #[test]
    fn answers_come_from_options_then_from_the_terminal() {
        let mut terminal = dialogue(Answers::Terminal, "\nback\nmaybe\nYES\n");
        let mut ask = |given: Option<&str>, proposal| {
            terminal.text("--name", given.map(str::to_owned), "Name", proposal).unwrap()
        };
        assert_eq!(ask(Some("gate"), None), "gate");
        assert_eq!(ask(None, Some("front")), "front");
        assert_eq!(ask(None, Some("front")), "back");
        assert!(terminal.yes_no("--page", None, "Page", false).unwrap());
        let error = terminal.text("--name", None, "Name", Some("front")).unwrap_err();
        assert!(error.kind() == Kind::Usage && error.message().contains("ended"), "{error}");
    }

    #[test]
    fn without_a_terminal_a_missing_answer_names_its_option() {
        let mut proposed = dialogue(Answers::Proposed, "");
        assert_eq!(proposed.text("--name", None, "Name", Some("front")).unwrap(), "front");
        for error in [
            proposed.text("--camera", None, "Camera", None).unwrap_err(),
            dialogue(Answers::Options, "").text("--camera", None, "Camera", Some("x")).unwrap_err(),
        ] {
            assert!(error.kind() == Kind::Usage && error.message().contains("give --camera"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_edited_like_a_line() {
        let read = |text: &str| read_without_echo(&mut text.as_bytes());
        assert_eq!(read("geheim\nrest").unwrap(), "geheim");
        assert_eq!(read("ab\u{e9}\x7fc\r").unwrap(), "abc");
        assert_eq!(read("wrong\x15right\n").unwrap(), "right");
        assert_eq!(read("secr\x03").unwrap_err().kind(), Kind::Usage);
    }
}
