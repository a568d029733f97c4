//! The installed systemd unit: what its user may write and read, and the credentials that it loads.
//!
//! Commands run as root, the service as the unit's user in the unit's sandbox. A path that root can write may be closed to
//! the service.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::defaults;

/// Possible paths of the unit.
const FILES: &[&str] = &[
    "/etc/systemd/system/lookout.service",
    "/usr/lib/systemd/system/lookout.service",
    "/lib/systemd/system/lookout.service",
];
/// Folder of its drop-ins.
const DROP_INS: &str = "/etc/systemd/system/lookout.service.d";
/// Directories that a unit owns, and the folders that they are in.
const DIRECTORIES: &[(&str, &str)] = &[
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
    ("RuntimeDirectory", "/run"),
];

/// The path of the installed unit.
pub fn path() -> Option<&'static str> {
    FILES.iter().copied().find(|path| Path::new(path).exists())
}

/// The path of a drop-in of the unit.
pub fn drop_in(name: &str) -> PathBuf {
    Path::new(DROP_INS).join(format!("{name}.conf"))
}

/// A unit: its assignments in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    assignments: Vec<(String, String)>,
}

impl Unit {
    /// The installed unit with its drop-ins.
    pub fn installed() -> Option<Self> {
        let mut text = std::fs::read_to_string(path()?).ok()?;
        let mut drop_ins: Vec<PathBuf> =
            std::fs::read_dir(DROP_INS).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        drop_ins.sort();
        for path in drop_ins.iter().filter(|path| path.extension().is_some_and(|extension| extension == "conf")) {
            text.push('\n');
            text.push_str(&std::fs::read_to_string(path).unwrap_or_default());
        }
        Some(Self::parse(&text))
    }

    /// The installed unit, if this process is root and `config` is the unit's configuration. Other users and files are
    /// not the unit's.
    pub fn to_check(config: Option<&Path>) -> Option<Self> {
        let is_its_file = config.is_none_or(|path| path == Path::new(defaults::FILE));
        (is_its_file && rustix::process::geteuid().is_root()).then(Self::installed).flatten()
    }

    fn parse(text: &str) -> Self {
        let mut assignments: Vec<(String, String)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '['])) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            if value.is_empty() {
                // An empty assignment resets a list.
                assignments.retain(|(other, _)| *other != key);
            } else {
                assignments.push((key, value));
            }
        }
        Self { assignments }
    }

    fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        let of_key = self.assignments.iter().filter(move |(other, _)| other == key);
        of_key.flat_map(|(_, value)| value.split_whitespace())
    }

    /// The last value of `key`.
    fn value(&self, key: &str) -> Option<&str> {
        self.assignments.iter().rev().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    fn is_set(&self, key: &str) -> bool {
        matches!(self.value(key), Some("yes" | "true" | "on" | "1"))
    }

    /// True if the service runs as root.
    fn is_root(&self) -> bool {
        !self.is_set("DynamicUser") && matches!(self.value("User"), None | Some("root" | "0"))
    }

    /// Folders that the unit creates for its user.
    fn own_folders(&self) -> Vec<PathBuf> {
        let of = |(key, parent): &(&'static str, &'static str)| {
            // `name:link` gives a directory a second name.
            let name = |word: &str| Path::new(parent).join(word.split(':').next().unwrap_or(word));
            self.words(key).map(name).collect::<Vec<_>>()
        };
        DIRECTORIES.iter().flat_map(of).collect()
    }

    /// Why the service may not write at `path`, absolute; `None` if it may, as far as the unit tells.
    pub fn write_problem(&self, path: &Path) -> Option<String> {
        let own = self.own_folders();
        let is_below = |folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
        if is_below(&own) || path.starts_with("/dev") {
            return None;
        }
        if let Some(problem) = self.hidden_problem(path) {
            return Some(problem);
        }
        let listed: Vec<PathBuf> =
            self.words("ReadWritePaths").map(|word| word.trim_start_matches(['-', '+']).into()).collect();
        let temporary = ["/tmp", "/var/tmp"].map(PathBuf::from);
        let is_strict = self.value("ProtectSystem") == Some("strict");
        if is_strict && !is_below(&listed) && !is_below(&temporary) {
            let own: Vec<String> = own.iter().map(|folder| folder.display().to_string()).collect();
            return Some(format!("the unit may not write there; it may in {}", own.join(", ")));
        }
        None
    }

    /// Why the service may not read the file at `path`, absolute, which exists.
    pub fn read_problem(&self, path: &Path) -> Option<String> {
        if let Some(problem) = self.hidden_problem(path) {
            return Some(problem);
        }
        if self.is_root() || self.own_folders().iter().any(|folder| path.starts_with(folder)) {
            return None;
        }
        let mode = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
        if mode(path).is_ok_and(|mode| mode & 0o004 == 0) {
            return Some(format!("the unit's user cannot read it: chmod o+r {}", path.display()));
        }
        let closed = path.ancestors().skip(1).find(|folder| mode(folder).is_ok_and(|mode| mode & 0o001 == 0))?;
        Some(format!("the unit's user cannot enter {0}: chmod o+x {0}", closed.display()))
    }

    /// Why a path is hidden from the service by the unit.
    fn hidden_problem(&self, path: &Path) -> Option<String> {
        let is_home = ["/home", "/root", "/run/user"].iter().any(|home| path.starts_with(home));
        let hides = self.value("ProtectHome").is_some_and(|value| !matches!(value, "no" | "false" | "off" | "0"));
        (is_home && hides).then(|| "the unit has no access to home folders (ProtectHome=)".to_owned())
    }

    /// True if systemd creates the state directory of the unit.
    pub fn has_state_directory(&self) -> bool {
        self.words("StateDirectory").next().is_some()
    }

    /// The file that `LoadCredential=` hands over as `name`.
    pub fn credential(&self, name: &str) -> Option<PathBuf> {
        let of = |value: &str| value.strip_prefix(name)?.strip_prefix(':').map(PathBuf::from);
        self.words("LoadCredential").find_map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        let shipped = include_str!("../../systemd/lookout.service");
        Unit::parse(&format!(
            "{shipped}\n[Service]\nLoadCredential=mqtt:/etc/lookout/secrets/mqtt\nReadWritePaths=-/srv/out\n"
        ))
    }

    #[test]
    fn the_units_own_folders_and_listed_ones_are_writable_and_no_others() {
        let unit = unit();
        for path in
            ["/var/lib/lookout/x", "/run/lookout/reports.sock", "/var/log/lookout/x.jsonl", "/srv/out/x", "/tmp/x"]
        {
            assert_eq!(unit.write_problem(Path::new(path)), None, "{path}");
        }
        for path in ["/var/lib/other/x", "/etc/lookout/x", "/var/log/x.jsonl", "/srv/x"] {
            let problem = unit.write_problem(Path::new(path)).unwrap();
            assert!(problem.contains("/var/log/lookout"), "{problem}");
        }
        assert!(unit.write_problem(Path::new("/root/x")).unwrap().contains("ProtectHome"));
        assert_eq!(Unit::default().write_problem(Path::new("/srv/x")), None);
    }

    #[test]
    fn a_file_must_be_readable_by_others_and_its_folders_open() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model");
        std::fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        mode(folder.path(), 0o755);
        mode(&file, 0o640);
        let unit = unit();
        assert!(unit.read_problem(&file).unwrap().contains("chmod o+r"));
        mode(&file, 0o644);
        assert_eq!(unit.read_problem(&file), None);
        mode(folder.path(), 0o700);
        assert!(unit.read_problem(&file).unwrap().contains("chmod o+x"));
        assert_eq!(Unit::default().read_problem(&file), None, "root reads it");
        assert!(unit.read_problem(Path::new("/home/me/model")).unwrap().contains("ProtectHome"));
    }

    #[test]
    fn credentials_and_resets_are_read() {
        assert_eq!(unit().credential("mqtt"), Some("/etc/lookout/secrets/mqtt".into()));
        assert_eq!(unit().credential("other"), None);
        let unit = Unit::parse("StateDirectory=a b\nStateDirectory=\nStateDirectory=c\n#StateDirectory=d");
        assert_eq!(unit.own_folders(), [PathBuf::from("/var/lib/c")]);
        assert!(unit.has_state_directory() && !Unit::default().has_state_directory());
    }
}
