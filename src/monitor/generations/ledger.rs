//! Ledger: the generations of the model on disk, and which of them serves.
//!
//! In: accepted artifacts. Out: `models/gen-NNNN.lookout`, the link `models/current`, and `models/ledger.json` with time,
//! cause and fate of each. Every change is one rename, in such an order that a process killed at any moment leaves a link
//! to a whole artifact. A generation on probation during which the process dies twice within one boot is rolled back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::quant::artifact::{Artifact, save};
use crate::tensor::atomic_file;
use crate::tensor::digest::sha256;

/// Deaths of the process within one boot after which a generation on probation is rolled back. One may be chance.
const MAX_DEATHS: u32 = 2;

/// The folder of generations.
#[derive(Debug)]
pub struct Generations {
    folder: PathBuf,
    keep: usize,
    ledger: Ledger,
}

/// `ledger.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Ledger {
    /// SHA-256 of the artifact or checkpoint that generation 0 is or is made of. Another root is another lineage.
    root: String,
    entries: Vec<LedgerEntry>,
    #[serde(default)]
    pinned: Option<u32>,
    #[serde(default, rename = "trial")]
    probation: Option<ProbationEntry>,
}

/// One generation in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its number.
    pub generation: u32,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Time of acceptance, RFC 3339.
    pub at: String,
    /// Cause: `first`, `drift`, `schedule` or `asked`. Free text, so that causes of a newer version do not make the ledger
    /// unreadable.
    pub why: String,
    /// Reason of the rollback, if it was rolled back.
    #[serde(default)]
    pub rolled_back: Option<String>,
    /// The numbers behind the decision.
    #[serde(default)]
    pub numbers: Value,
}

/// The serving generation on probation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProbationEntry {
    generation: u32,
    previous: u32,
    boot_id: String,
    /// Starts of the process with it, within this boot, without an orderly end.
    starts: u32,
}

/// The generation that a new run of the process serves.
#[derive(Debug)]
pub struct StartGeneration {
    /// The generation.
    pub generation: u32,
    /// Its artifact.
    pub bytes: Vec<u8>,
    /// Generations that could not serve or were rolled back, each with the reason.
    pub rejected: Vec<RejectedGeneration>,
}

/// A generation that cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedGeneration {
    /// Its number.
    pub generation: u32,
    /// Reason of the rejection.
    pub reason: String,
}

/// A generation in the answer to `lookout generations list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerationStatus {
    /// The ledger's entry.
    #[serde(flatten)]
    pub entry: LedgerEntry,
    /// True if it serves.
    pub serving: bool,
    /// True if it is on probation.
    #[serde(rename = "on_trial")]
    pub on_probation: bool,
    /// True if the owner pinned it.
    pub pinned: bool,
    /// True if its artifact is still on disk.
    pub on_disk: bool,
}

impl Generations {
    /// The generations below the folder `state`, of the lineage that begins with `root` (a SHA-256). Those of another
    /// lineage are removed; those of an unreadable ledger are set aside.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn open(state: &Path, root: &str, keep: usize) -> Result<Self> {
        let folder = state.join("models");
        let read = fs::read(folder.join("ledger.json")).ok();
        let ledger = match read.map(|bytes| serde_json::from_slice::<Ledger>(&bytes)).transpose() {
            Ok(ledger) => ledger,
            Err(error) => {
                let aside = set_aside(state, &folder)?;
                let (ledger, aside, error) = (folder.join("ledger.json"), aside.display(), error.to_string());
                tracing::warn!(ledger = %ledger.display(), error, %aside, "the ledger of generations cannot be read; \
                    they are set aside, and generation 0 begins anew");
                None
            }
        };
        fs::create_dir_all(&folder).map_err(|source| Error::writing(&folder, source))?;
        let ledger = ledger.filter(|ledger| ledger.root == root);
        let known = ledger.is_some();
        let fresh = Ledger { root: root.to_owned(), ..Ledger::default() };
        let generations = Self { folder, keep: keep.max(2), ledger: ledger.unwrap_or(fresh) };
        if !known {
            let _ = fs::remove_file(generations.link());
            for number in generations.on_disk() {
                let _ = fs::remove_file(generations.path(number));
            }
        }
        Ok(generations)
    }

    /// Makes the artifact `bytes` generation 0, unless it is generation 0 already.
    ///
    /// # Errors
    /// As [`save`].
    pub fn set_initial(&mut self, bytes: &[u8], at: &str) -> Result<()> {
        let sum = sha256(bytes);
        let known = self.ledger.entries.iter().any(|entry| entry.generation == 0 && entry.sha256 == sum);
        if known && self.load(0).is_ok() {
            return Ok(());
        }
        save(&self.path(0), bytes)?;
        self.ledger.entries.retain(|entry| entry.generation != 0);
        let entry = LedgerEntry {
            generation: 0,
            sha256: sum,
            at: at.to_owned(),
            why: "first".into(),
            rolled_back: None,
            numbers: Value::Null,
        };
        self.ledger.entries.insert(0, entry);
        self.write()?;
        if self.current().is_none() {
            self.point(0)?;
        }
        Ok(())
    }

    /// True if generation 0 exists and is whole.
    pub fn has_initial(&self) -> bool {
        self.load(0).is_ok()
    }

    /// The generation that a process starting now in boot `boot_id` serves: the pinned one, else the current one.
    /// If the process died too often during its probation, the previous one. Where that one is damaged, the newest
    /// whole one.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if no generation is whole.
    pub fn start(&mut self, boot_id: &str) -> Result<StartGeneration> {
        let mut rejected = Vec::new();
        let current = self.current();
        // A kill between ledger and link leaves a generation on probation that never served.
        self.ledger.probation = self.ledger.probation.take().filter(|entry| Some(entry.generation) == current);
        if let Some(probation) = &mut self.ledger.probation {
            if probation.boot_id != boot_id {
                // The power failed or the board was restarted, which is not the model's fault.
                (probation.boot_id, probation.starts) = (boot_id.to_owned(), 0);
            }
            if probation.starts >= MAX_DEATHS {
                let (generation, to) = (probation.generation, probation.previous);
                let reason =
                    format!("the process died {MAX_DEATHS} times soon after generation {generation} took over");
                self.roll_back(generation, to, &reason)?;
                rejected.push(RejectedGeneration { generation, reason });
            } else {
                probation.starts += 1;
            }
        }
        let mut preferred: Vec<u32> = self.ledger.pinned.into_iter().chain(self.current()).collect();
        preferred.extend(self.ledger.entries.iter().rev().filter(|e| e.rolled_back.is_none()).map(|e| e.generation));
        preferred.push(0);
        let mut tried = Vec::new();
        for generation in preferred {
            if tried.contains(&generation) {
                continue;
            }
            tried.push(generation);
            match self.load(generation) {
                Ok(bytes) => {
                    if self.current() != Some(generation) {
                        self.point(generation)?;
                        self.ledger.probation = None;
                    }
                    self.write()?;
                    return Ok(StartGeneration { generation, bytes, rejected });
                }
                Err(error) => rejected.push(RejectedGeneration { generation, reason: error.chain() }),
            }
        }
        Err(Error::new(Kind::NoInput, format!("no model in {} is whole", self.folder.display())))
    }

    /// The run that [`Generations::start`] began ends in order: the process did not die.
    ///
    /// # Errors
    /// As [`atomic_file::write`].
    pub fn end(&mut self) -> Result<()> {
        match &mut self.ledger.probation {
            Some(probation) if probation.starts > 0 => {
                probation.starts -= 1;
                self.write()
            }
            _ => Ok(()),
        }
    }

    /// Number of the next generation.
    pub fn next(&self) -> u32 {
        self.ledger.entries.iter().map(|entry| entry.generation + 1).max().unwrap_or(0)
    }

    /// The generation that the link names.
    pub fn current(&self) -> Option<u32> {
        let target = fs::read_link(self.link()).ok()?;
        number_of(&target.to_string_lossy())
    }

    /// The generation that the owner pinned.
    pub fn pinned(&self) -> Option<u32> {
        self.ledger.pinned
    }

    /// The generation before the serving one, while that one is on probation.
    pub fn on_probation_after(&self) -> Option<u32> {
        self.ledger.probation.as_ref().map(|entry| entry.previous)
    }

    /// The generations, oldest first.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.ledger.entries
    }

    /// The artifact of generation `number`.
    ///
    /// # Errors
    /// As [`Error::reading`]; [`Kind::Data`] if it is damaged or has another digest than the ledger.
    pub fn load(&self, number: u32) -> Result<Vec<u8>> {
        let path = self.path(number);
        let bytes = fs::read(&path).map_err(|source| Error::reading(&path, source))?;
        Artifact::parse(&bytes).map_err(|error| error.at(path.display()))?;
        let known = self.ledger.entries.iter().find(|entry| entry.generation == number);
        if known.is_some_and(|entry| entry.sha256 != sha256(&bytes)) {
            return Err(Error::new(Kind::Data, format!("{} has another SHA-256 than the ledger", path.display())));
        }
        Ok(bytes)
    }

    /// Adds the next generation, which serves from now on, on probation.
    ///
    /// # Errors
    /// As [`save`].
    pub fn accept(&mut self, bytes: &[u8], entry: LedgerEntry, boot_id: &str) -> Result<()> {
        let number = entry.generation;
        let previous = self.current().unwrap_or(0);
        save(&self.path(number), bytes)?;
        self.ledger.entries.push(entry);
        let boot_id = boot_id.to_owned();
        self.ledger.probation = Some(ProbationEntry { generation: number, previous, boot_id, starts: 1 });
        self.write()?;
        self.point(number)?;
        self.prune();
        Ok(())
    }

    /// The serving generation passed its probation.
    ///
    /// # Errors
    /// As [`atomic_file::write`].
    pub fn confirm(&mut self) -> Result<()> {
        self.ledger.probation = None;
        self.write()
    }

    /// Rolls generation `from` back for `why`; `to` serves again.
    ///
    /// # Errors
    /// As [`save`]; [`Kind::Data`] if `to` is not whole.
    pub fn roll_back(&mut self, from: u32, to: u32, why: &str) -> Result<()> {
        self.load(to)?;
        self.point(to)?;
        let entry = self.ledger.entries.iter_mut().find(|entry| entry.generation == from);
        entry.into_iter().for_each(|entry| entry.rolled_back = Some(why.to_owned()));
        self.ledger.probation = None;
        self.ledger.pinned = self.ledger.pinned.filter(|&pinned| pinned != from);
        self.write()
    }

    /// Makes generation `number` serve and stay; `None` removes the pin.
    ///
    /// # Errors
    /// As [`Generations::load`].
    pub fn pin(&mut self, number: Option<u32>) -> Result<()> {
        if let Some(number) = number {
            self.load(number)?;
            self.point(number)?;
            self.ledger.probation = None;
        }
        self.ledger.pinned = number;
        self.write()
    }

    /// The newest generation before `number` that was not rolled back and is on disk.
    pub fn before(&self, number: u32) -> Option<u32> {
        let earlier = self.ledger.entries.iter().filter(|e| e.generation < number && e.rolled_back.is_none());
        earlier.map(|entry| entry.generation).filter(|&number| self.path(number).exists()).max()
    }

    /// Status of every generation, oldest first.
    pub fn list(&self) -> Vec<GenerationStatus> {
        let current = self.current();
        let probation = self.ledger.probation.as_ref().map(|entry| entry.generation);
        let status = |entry: &LedgerEntry| GenerationStatus {
            serving: current == Some(entry.generation),
            on_probation: probation == Some(entry.generation),
            pinned: self.ledger.pinned == Some(entry.generation),
            on_disk: self.path(entry.generation).exists(),
            entry: entry.clone(),
        };
        self.ledger.entries.iter().map(status).collect()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("gen-{number:04}.lookout"))
    }

    fn link(&self) -> PathBuf {
        self.folder.join("current")
    }

    /// Points the link at `number` in one step.
    fn point(&self, number: u32) -> Result<()> {
        let part = self.folder.join(".current.part");
        let _ = fs::remove_file(&part);
        let done = symlink(format!("gen-{number:04}.lookout"), &part).and_then(|()| fs::rename(&part, self.link()));
        done.map_err(|source| Error::writing(self.link(), source))?;
        // The rename must survive a power failure. Some file systems refuse this and order renames themselves.
        let _ = fs::File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(())
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.ledger)
            .map_err(|source| Error::new(Kind::Internal, "the ledger is no JSON").because(source))?;
        atomic_file::write(&self.folder.join("ledger.json"), |out| writeln!(out, "{text}"))
    }

    fn on_disk(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let numbers = entries.flatten().filter_map(|entry| number_of(&entry.file_name().to_string_lossy()));
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// Removes the oldest files beyond those to keep; never generation 0, the serving one, its predecessor on probation or
    /// the pinned one.
    fn prune(&self) {
        let current = self.current();
        let needed = [Some(0), current, self.on_probation_after(), self.ledger.pinned];
        let mut numbers = self.on_disk();
        let mut at = 0;
        while numbers.len() > self.keep && at < numbers.len() {
            if needed.contains(&Some(numbers[at])) {
                at += 1;
            } else {
                // A file that cannot be removed now is tried again next time.
                let _ = fs::remove_file(self.path(numbers.remove(at)));
            }
        }
    }
}

/// Renames the folder of models to an unused name.
fn set_aside(state: &Path, folder: &Path) -> Result<PathBuf> {
    let name = |number: u32| state.join(format!("models.unreadable-{number}"));
    let free = (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    fs::rename(folder, &free).map_err(|source| Error::writing(&free, source))?;
    Ok(free)
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix("gen-")?.strip_suffix(".lookout")?.parse().ok()
}
