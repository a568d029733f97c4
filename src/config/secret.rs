//! Files with secrets: given by path, or as a systemd credential.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// Prefix of a path that names a credential.
const PREFIX: &str = "credential:";

/// Resolves a configured `path`: `credential:NAME` is NAME in `$CREDENTIALS_DIRECTORY`, which systemd sets for a unit with
/// `LoadCredential=`. Any other path is returned as it is.
///
/// # Errors
///
/// [`Kind::Config`] if there is no credentials directory, or the name is invalid.
pub fn credential(path: &Path) -> Result<PathBuf> {
    resolved(path, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from))
}

fn resolved(path: &Path, folder: Option<PathBuf>) -> Result<PathBuf> {
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix(PREFIX)) else { return Ok(path.to_owned()) };
    let wrong = |text: String| Err(Error::new(Kind::Config, text));
    if name.is_empty() || name.contains('/') || name == ".." || name == "." {
        return wrong(format!("\"{PREFIX}{name}\" is no name of a credential; write \"{PREFIX}mqtt-password\""));
    }
    match folder {
        Some(folder) => Ok(folder.join(name)),
        None => wrong(format!(
            "\"{PREFIX}{name}\" names a credential, and systemd handed over none: add LoadCredential={name}:… to the unit"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_where_systemd_puts_it() {
        let folder = || Some(PathBuf::from("/run/credentials/lookout.service"));
        let find = |path: &str, folder| resolved(Path::new(path), folder).map_err(|error| error.kind());
        assert_eq!(find("/etc/password", None), Ok("/etc/password".into()));
        assert_eq!(find("credential:mqtt", folder()), Ok("/run/credentials/lookout.service/mqtt".into()));
        assert_eq!(find("credential:mqtt", None), Err(Kind::Config));
        assert_eq!(find("credential:../x", folder()), Err(Kind::Config));
    }
}
