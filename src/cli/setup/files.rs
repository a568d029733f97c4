//! The files of a set-up: planned, checked together, then written.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::dialogue::Dialogue;
use crate::cli::{ConfigArgs, check_config, machine};
use crate::config::{Inputs, defaults};
use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;

/// The documented default file, written where there is no configuration yet.
const DEFAULT_FILE: &str = include_str!("../../../config/lookout.toml");
/// First line of every file.
const HEAD: &str = "# Written by lookout setup.\n\n";

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Path.
    pub path: PathBuf,
    /// Content.
    pub text: String,
    /// True if its owner alone may read it.
    pub is_private: bool,
}

/// The files of a set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The main configuration file.
    main: PathBuf,
    /// The files, in the order in which they are written.
    files: Vec<PlannedFile>,
}

impl Plan {
    /// A plan for the configuration in `folder`, with the documented default file if there is none.
    pub fn new(folder: &Path) -> Self {
        let main = folder.join("lookout.toml");
        let mut plan = Self { files: Vec::new(), main };
        if !plan.main.exists() {
            let path = plan.main.clone();
            plan.files.push(PlannedFile { path, text: DEFAULT_FILE.to_owned(), is_private: false });
        }
        plan
    }

    /// The main configuration file.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// True if the installed unit runs this configuration.
    pub fn is_of_unit(&self) -> bool {
        self.main == Path::new(defaults::FILE)
    }

    /// Adds the drop-in `setup-NAME.toml`. One that `has_secret` is private, unless the unit's user must read it.
    pub fn drop_in(&mut self, name: &str, text: &str, has_secret: bool) {
        let path = self.main.with_file_name("conf.d").join(format!("setup-{name}.toml"));
        let is_private = has_secret && !self.is_of_unit();
        self.files.push(PlannedFile { path, text: format!("{HEAD}{text}"), is_private });
    }

    /// Empties the drop-in `setup-NAME.toml` of an earlier set-up, if there is one.
    pub fn clear_drop_in(&mut self, name: &str) {
        if self.main.with_file_name("conf.d").join(format!("setup-{name}.toml")).exists() {
            self.drop_in(name, "# Nothing is set.\n", false);
        }
    }

    /// Adds another file.
    pub fn add(&mut self, file: PlannedFile) {
        self.files.push(file);
    }

    /// The inputs of the configuration as it will be.
    pub fn inputs(&self) -> Inputs {
        let toml = self.files.iter().filter(|file| file.is_toml());
        let planned = toml.map(|file| (file.path.clone(), file.text.clone())).collect();
        Inputs { planned, ..Inputs::of_process(Some(self.main.clone()), Vec::new()) }
    }

    /// Checks the configuration as it will be, as `check-config` does. The check reads the password, so its file is written
    /// for it, and is as before if it fails.
    ///
    /// # Errors
    /// [`Kind::Config`]; as [`Error::writing`].
    pub fn check(&self) -> Result<()> {
        let private = || self.files.iter().filter(|file| file.is_private && !file.is_toml());
        let before: Vec<Option<Vec<u8>>> = private().map(|file| std::fs::read(&file.path).ok()).collect();
        let config = Some(self.main.clone()).filter(|_| !self.is_of_unit());
        let checked = private()
            .try_for_each(|file| file.write(self.is_of_unit()))
            .and_then(|()| check_config::check(&self.inputs(), &ConfigArgs { config, set: Vec::new() }, false));
        if checked.is_err() {
            // The error of the check is the one to report.
            for (PlannedFile { path, .. }, before) in private().zip(before) {
                let _ = match before {
                    Some(bytes) => atomic_file::write_private(path, |out| out.write_all(&bytes)),
                    None => std::fs::remove_file(path).map_err(|source| Error::writing(path, source)),
                };
            }
        }
        checked
    }

    /// Asks before files are replaced that are there with another content.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] if one may not be replaced.
    pub fn confirm(&self, dialogue: &mut Dialogue, force: bool) -> Result<()> {
        for PlannedFile { path, text, .. } in &self.files {
            may_replace(dialogue, path, text.as_bytes(), force)?;
        }
        Ok(())
    }

    /// Writes the files and prints their names.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn write(&self, dialogue: &mut Dialogue) -> Result<()> {
        for file in &self.files {
            file.write(self.is_of_unit())?;
            dialogue.say(format_args!("wrote {}", file.path.display()))?;
        }
        Ok(())
    }
}

impl PlannedFile {
    fn is_toml(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "toml")
    }

    /// Writes the file, and creates its folder. With `is_open` other users, as the unit's, can read what is not private,
    /// whatever the umask of this process.
    fn write(&self, is_open: bool) -> Result<()> {
        let Self { path, text, is_private } = self;
        let open = |path: &Path, mode: u32| match is_open {
            true => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .map_err(|source| Error::writing(path, source)),
            false => Ok(()),
        };
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            std::fs::create_dir(folder).map_err(|source| Error::writing(folder, source))?;
            open(folder, 0o755)?;
        }
        let contents = |out: &mut dyn Write| out.write_all(text.as_bytes());
        if *is_private {
            return atomic_file::write_private(path, contents);
        }
        atomic_file::write(path, contents)?;
        open(path, 0o644)
    }
}

/// Asks before the file at `path` is replaced, if it is there with another content.
///
/// # Errors
/// [`Kind::CannotCreate`] if it may not be replaced.
pub fn may_replace(dialogue: &mut Dialogue, path: &Path, content: &[u8], force: bool) -> Result<()> {
    if force || !path.exists() || std::fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let question = format!("{} exists. Replace it?", path.display());
    if dialogue.is_interactive() && dialogue.yes_no("--force", None, &question, false)? {
        return Ok(());
    }
    Err(Error::new(Kind::CannotCreate, format!("{} exists; --force replaces it. Nothing was changed", path.display())))
}

/// Checks that files can be created in `folder` or in the folder where it will be created.
///
/// # Errors
/// [`Kind::Permission`], or as [`Error::writing`].
pub fn check_writable(folder: &Path) -> Result<()> {
    let failed = |source: std::io::Error| Error::writing(folder, source);
    let existing = machine::nearest_folder(folder)
        .map_err(|file| Error::new(Kind::CannotCreate, format!("{} is no folder", file.display())))?;
    machine::check_writable(existing).map_err(|source| {
        let error = failed(source.into());
        match error.kind() {
            Kind::Permission => {
                let text = format!("{} is not writable: run this as root, or name --config-dir", folder.display());
                Error::new(Kind::Permission, text).because(error)
            }
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn planned_files_count_as_if_they_were_there() {
        let folder = tempfile::tempdir().unwrap();
        let drop_ins = folder.path().join("conf.d");
        std::fs::create_dir(&drop_ins).unwrap();
        std::fs::write(drop_ins.join("a.toml"), "[[camera]]\nname = \"old\"\nkind = \"pattern\"\n").unwrap();
        let mut plan = Plan::new(folder.path());
        plan.drop_in("camera", "[[camera]]\nname = \"new\"\nkind = \"pattern\"\n", false);
        let settings = config::load(&plan.inputs()).unwrap();
        assert_eq!(settings.cameras.iter().map(|camera| camera.name.as_str()).collect::<Vec<_>>(), ["new"]);
        // Errors name the file that will be written.
        plan.drop_in("model", "[model]\nartefact = \"x\"\n", false);
        let refusal = config::load(&plan.inputs()).unwrap_err().to_string();
        let wanted = format!("{}:4", drop_ins.join("setup-model.toml").display());
        assert!(refusal.contains(&wanted) && refusal.contains("artifact"), "{refusal}");
        assert!(!folder.path().join("lookout.toml").exists());
    }

    #[test]
    fn the_unit_s_user_can_read_what_is_not_private() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (is_private, file_mode) in [(false, 0o644), (true, 0o600)] {
            let path = folder.path().join(format!("etc-{is_private}/conf.d/file"));
            PlannedFile { path: path.clone(), text: String::new(), is_private }.write(true).unwrap();
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (file_mode, 0o755));
        }
    }
}
