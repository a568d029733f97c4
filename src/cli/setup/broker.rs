//! The broker of a set-up.

use std::path::{Path, PathBuf};

use super::dialogue::Dialogue;
use super::files::{Plan, PlannedFile};
use super::toml_text;
use crate::cli::unit;
use crate::config::defaults::publish;
use crate::error::{Error, Kind, Result};

/// Name of the credential and of the file with the password.
const PASSWORD: &str = "mqtt-password";

/// Answers about the broker that options give.
#[derive(Debug, Clone, Default)]
pub struct BrokerAnswers {
    /// Host, with a port if it is another one than 1883; `none` for no broker.
    pub broker: Option<String>,
    /// User.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    port: u16,
}

impl Host {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            let text = format!("{text:?} is no broker; write HOST, HOST:PORT or none");
            Error::new(Kind::Usage, text)
        };
        // An IPv6 address has its port behind brackets.
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, rest)) => (name, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            None if text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let is_name = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(wrong());
        }
        let default = u16::try_from(publish::PORT).unwrap_or(1883);
        let port = port.map_or(Ok(default), |port| port.parse().ok().filter(|&port| port > 0).ok_or_else(wrong))?;
        Ok(Self { name: name.to_owned(), port })
    }
}

/// Checks an answer about the broker.
///
/// # Errors
/// [`Kind::Usage`].
pub fn check(answer: &str) -> Result<()> {
    if answer == "none" { Ok(()) } else { Host::parse(answer).map(drop) }
}

/// Asks for the broker and adds its files to `plan`. The password is stored in a file of mode 0600 beside the
/// configuration. The unit's user cannot read that file, so systemd hands it to the unit as a credential.
///
/// # Errors
/// [`Kind::Usage`] for a missing or wrong answer.
pub fn ask(dialogue: &mut Dialogue, answers: BrokerAnswers, plan: &mut Plan) -> Result<()> {
    let question = "MQTT broker: HOST or HOST:PORT, or none";
    let mut given = answers.broker;
    let host = loop {
        let was_given = given.is_some();
        let answer = dialogue.text("--broker", given.take(), question, Some("none"))?;
        if answer == "none" {
            plan.clear_drop_in("broker");
            return Ok(());
        }
        match Host::parse(&answer) {
            Ok(host) => break host,
            Err(error) if dialogue.is_interactive() && !was_given => dialogue.say(error.message())?,
            Err(error) => return Err(error),
        }
    };
    let user = match answers.user {
        None if dialogue.is_interactive() => dialogue.text("--broker-user", None, "User at the broker", Some(""))?,
        user => user.unwrap_or_default(),
    };
    let mut password = None;
    if let Some(file) = &answers.password_file {
        std::fs::metadata(file).map_err(|source| Error::reading(file, source))?;
        password = Some(std::path::absolute(file).map_err(|source| Error::reading(file, source))?);
    } else if !user.is_empty()
        && let Some(secret) = dialogue.secret(&format!("Password of {user}, not shown; empty for none"))?
    {
        let path = plan.main().with_file_name(PASSWORD);
        plan.add(PlannedFile { path: path.clone(), text: secret, is_private: true });
        password = Some(path);
    }
    let is_of_unit = plan.is_of_unit() && unit::path().is_some();
    if let (Some(path), true) = (&password, is_of_unit) {
        let text = format!("[Service]\nLoadCredential={PASSWORD}:{}\n", path.display());
        plan.add(PlannedFile { path: unit::drop_in(PASSWORD), text, is_private: false });
    }
    plan.drop_in("broker", &section(&host, &user, password.as_deref(), is_of_unit), false);
    Ok(())
}

/// The `[[publish]]` section.
fn section(host: &Host, user: &str, password: Option<&Path>, is_of_unit: bool) -> String {
    let mut text = format!("[[publish]]\nkind = \"mqtt\"\nhost = {}\nport = {}\n", toml_text(&host.name), host.port);
    if !user.is_empty() {
        text.push_str(&format!("username = {}\n", toml_text(user)));
    }
    if let Some(path) = password {
        let file = if is_of_unit { format!("credential:{PASSWORD}") } else { path.display().to_string() };
        text.push_str(&format!("password_file = {}\n", toml_text(&file)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_port() {
        let host = |text: &str| Host::parse(text).map(|host| (host.name, host.port));
        assert_eq!(host("broker.example").unwrap(), ("broker.example".to_owned(), 1883));
        assert_eq!(host("10.0.0.2:8883").unwrap(), ("10.0.0.2".to_owned(), 8883));
        assert_eq!(host("fe80::1").unwrap(), ("fe80::1".to_owned(), 1883));
        assert_eq!(host("[fe80::1]:1884").unwrap(), ("fe80::1".to_owned(), 1884));
        for wrong in ["", "mqtt://broker", "broker:0", "broker:x", "a b", "[::1]x"] {
            assert_eq!(host(wrong).unwrap_err().kind(), Kind::Usage, "{wrong}");
        }
    }

    #[test]
    fn the_password_is_never_in_the_configuration() {
        let host = Host { name: "b".to_owned(), port: 1 };
        let path = Path::new("/etc/lookout/mqtt-password");
        let of = |is_of_unit| section(&host, "camera", Some(path), is_of_unit).parse::<toml::Table>().unwrap();
        let file = |table: &toml::Table| table["publish"][0]["password_file"].as_str().map(str::to_owned);
        assert_eq!(file(&of(true)).as_deref(), Some("credential:mqtt-password"));
        assert_eq!(file(&of(false)).as_deref(), Some("/etc/lookout/mqtt-password"));
    }
}
