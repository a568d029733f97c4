//! Files with secrets: given by path, or as a systemd credential.

use std::os::unix::fs::PermissionsExt;
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

/// The content of the file at a configured `path`, as [`credential`] resolves it. Some write the secret itself in place of
/// a path: an error about such a text does not repeat it.
///
/// # Errors
///
/// As [`credential`] and [`Error::reading`].
pub fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let resolved = credential(path)?;
    std::fs::read(&resolved).map_err(|error| {
        if is_path(path) {
            return Error::reading(&resolved, error);
        }
        Error::new(
            Kind::Config,
            "names no file; write the path of a file that holds the password or token, not its content",
        )
    })
}

/// As [`read_secret`], for a secret that lets others in: the file must not be readable by every user of the machine.
///
/// # Errors
///
/// As [`read_secret`]; [`Kind::Config`] if every user can read the file.
pub fn read_private_secret(path: &Path) -> Result<Vec<u8>> {
    let content = read_secret(path)?;
    let resolved = credential(path)?;
    let metadata = std::fs::metadata(&resolved).map_err(|error| Error::reading(&resolved, error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o004 != 0 {
        let name = resolved.display();
        let text = format!("{name}: every user of this machine can read it (mode {mode:o}); chmod 600 {name}");
        return Err(Error::new(Kind::Config, text));
    }
    Ok(content)
}

/// True if a value for a file with a secret is a path: it has a folder, names a credential, or is an existing file.
/// Otherwise it may be the secret itself.
pub(super) fn is_path(path: &Path) -> bool {
    path.to_str().is_none_or(|text| text.contains('/') || text.starts_with(PREFIX)) || path.exists()
}

/// The configured path of a file with a secret. A text that may be the secret itself is kept out of every message.
pub(super) fn secret_file(text: &Option<String>) -> Option<PathBuf> {
    let path = text.as_ref().filter(|text| !text.is_empty()).map(PathBuf::from)?;
    if !is_path(&path) {
        crate::redact::learn_secret(&path.to_string_lossy());
    }
    Some(path)
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
    fn a_secret_in_place_of_a_path_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hunter2").unwrap();
        assert_eq!(read_secret(&file).unwrap(), b"hunter2");
        let error = read_secret(&folder.path().join("gone")).unwrap_err();
        assert!(error.message().contains("gone"), "{error}");
        for secret in ["hunter", "op3n-sesame-77"] {
            let path = secret_file(&Some(secret.to_owned())).unwrap();
            let error = read_secret(&path).unwrap_err().chain();
            assert!(!error.contains(secret) && error.contains("not its content"), "{error}");
        }
        assert_eq!(crate::redact::redact("op3n-sesame-77 is refused"), "*** is refused");
        assert_eq!(secret_file(&Some(String::new())), None);
    }

    #[test]
    fn a_token_that_every_user_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "correct horse battery").unwrap();
        let with = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            read_private_secret(&file)
        };
        for mode in [0o600, 0o400, 0o640, 0o660] {
            assert_eq!(with(mode).unwrap(), b"correct horse battery", "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o444, 0o777] {
            let error = with(mode).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            let wanted = format!("(mode {mode:o}); chmod 600 {}", file.display());
            assert!(error.message().contains(&wanted) && !error.chain().contains("horse"), "{error}");
        }
    }

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
