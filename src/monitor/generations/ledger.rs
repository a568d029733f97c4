//! The models there have been, on disk, and which of them serves.
//!
//! In: artifacts that were accepted. Out: `models/gen-NNNN.lookout`, the link `models/current`, and `models/ledger.json`,
//! which says of each when and why it came and what became of it. Every change is one rename, in such an order that a
//! process killed at any moment leaves a link to a whole artifact. A model that has not stood its trial yet and dies
//! twice within one boot gives way to the one before it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::quant::artifact::{Artifact, save};
use crate::tensor::atomic_file;
use crate::tensor::digest::sha256;

/// Deaths on trial, within one boot, after which a generation is given up.
const DEATHS: u32 = 2;

/// The folder of models.
#[derive(Debug)]
pub struct Generations {
    folder: PathBuf,
    keep: usize,
    ledger: Ledger,
}

/// `ledger.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Ledger {
    /// What generation 0 is or is made of: another one begins another lineage.
    root: String,
    entries: Vec<Entry>,
    #[serde(default)]
    pinned: Option<u32>,
    #[serde(default)]
    trial: Option<Trial>,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub generation: u32,
    /// SHA-256 of its file.
    pub sha256: String,
    /// When it was accepted, RFC 3339.
    pub at: String,
    /// Why it was made: `first`, `drift`, `schedule`, `asked`.
    pub why: String,
    /// Whether it was taken back.
    #[serde(default)]
    pub rolled_back: Option<String>,
    /// The numbers behind the decision.
    #[serde(default)]
    pub numbers: Value,
}

/// The serving generation on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trial {
    generation: u32,
    previous: u32,
    boot_id: String,
    /// Lives of the process that began with it, within this boot, and have not ended in order.
    starts: u32,
}

/// What to serve.
#[derive(Debug)]
pub struct Start {
    /// The generation.
    pub generation: u32,
    /// Its artifact.
    pub bytes: Vec<u8>,
    /// What was given up for it, and why.
    pub gave_up: Vec<(u32, String)>,
}

impl Generations {
    /// The generations below `state`, of the lineage that begins with `root` (a SHA-256); those of another are removed,
    /// those of a ledger that cannot be read are set aside.
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

    /// Makes `bytes` generation 0, if there is none yet.
    ///
    /// # Errors
    /// As [`save`].
    pub fn found(&mut self, bytes: &[u8], at: &str) -> Result<()> {
        let sum = sha256(bytes);
        let known = self.ledger.entries.iter().any(|entry| entry.generation == 0 && entry.sha256 == sum);
        if known && self.load(0).is_ok() {
            return Ok(());
        }
        save(&self.path(0), bytes)?;
        self.ledger.entries.retain(|entry| entry.generation != 0);
        let entry = Entry {
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

    /// Whether generation 0 is there.
    pub fn has_first(&self) -> bool {
        self.load(0).is_ok()
    }

    /// What a life of the process that begins now in boot `boot_id` serves: the pinned generation, else the current one
    /// unless it died too often on trial; where that one is damaged, the newest that is whole.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if no generation is whole.
    pub fn start(&mut self, boot_id: &str) -> Result<Start> {
        let mut gave_up = Vec::new();
        let current = self.current();
        // A kill between ledger and link leaves a trial of what never served.
        self.ledger.trial = self.ledger.trial.take().filter(|trial| Some(trial.generation) == current);
        if let Some(trial) = &mut self.ledger.trial {
            if trial.boot_id != boot_id {
                // The power failed, or the board was restarted: not the model's fault.
                (trial.boot_id, trial.starts) = (boot_id.to_owned(), 0);
            }
            if trial.starts >= DEATHS {
                let (from, to) = (trial.generation, trial.previous);
                let why = format!("the process died {DEATHS} times soon after generation {from} took over");
                self.take_back(from, to, &why)?;
                gave_up.push((from, why));
            } else {
                trial.starts += 1;
            }
        }
        let mut wanted: Vec<u32> = self.ledger.pinned.into_iter().chain(self.current()).collect();
        wanted.extend(self.ledger.entries.iter().rev().filter(|e| e.rolled_back.is_none()).map(|e| e.generation));
        wanted.push(0);
        let mut tried = Vec::new();
        for number in wanted {
            if tried.contains(&number) {
                continue;
            }
            tried.push(number);
            match self.load(number) {
                Ok(bytes) => {
                    if self.current() != Some(number) {
                        self.point(number)?;
                        self.ledger.trial = None;
                    }
                    self.write()?;
                    return Ok(Start { generation: number, bytes, gave_up });
                }
                Err(error) => gave_up.push((number, error.chain())),
            }
        }
        Err(Error::new(Kind::NoInput, format!("no model in {} is whole", self.folder.display())))
    }

    /// The life that [`Generations::start`] began ends in order: it did not die.
    ///
    /// # Errors
    /// As [`atomic_file::write`].
    pub fn end(&mut self) -> Result<()> {
        match &mut self.ledger.trial {
            Some(trial) if trial.starts > 0 => {
                trial.starts -= 1;
                self.write()
            }
            _ => Ok(()),
        }
    }

    /// The number that the next generation gets.
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

    /// The generation that the serving one took over from, while it is on trial.
    pub fn on_trial_after(&self) -> Option<u32> {
        self.ledger.trial.as_ref().map(|trial| trial.previous)
    }

    /// The generations, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.ledger.entries
    }

    /// The artifact of generation `number`, whole.
    ///
    /// # Errors
    /// As [`Error::reading`]; [`Kind::Data`] if it is damaged or not what was written.
    pub fn load(&self, number: u32) -> Result<Vec<u8>> {
        let path = self.path(number);
        let bytes = fs::read(&path).map_err(|source| Error::reading(&path, source))?;
        Artifact::parse(&bytes).map_err(|error| error.at(path.display()))?;
        let known = self.ledger.entries.iter().find(|entry| entry.generation == number);
        if known.is_some_and(|entry| entry.sha256 != sha256(&bytes)) {
            return Err(Error::new(Kind::Data, format!("{} is not what was written", path.display())));
        }
        Ok(bytes)
    }

    /// Takes in the next generation, which serves from now on, on trial.
    ///
    /// # Errors
    /// As [`save`].
    pub fn accept(&mut self, bytes: &[u8], entry: Entry, boot_id: &str) -> Result<()> {
        let number = entry.generation;
        let previous = self.current().unwrap_or(0);
        save(&self.path(number), bytes)?;
        self.ledger.entries.push(entry);
        self.ledger.trial = Some(Trial { generation: number, previous, boot_id: boot_id.to_owned(), starts: 1 });
        self.write()?;
        self.point(number)?;
        self.prune();
        Ok(())
    }

    /// The serving generation stood its trial.
    ///
    /// # Errors
    /// As [`atomic_file::write`].
    pub fn confirm(&mut self) -> Result<()> {
        self.ledger.trial = None;
        self.write()
    }

    /// Takes generation `from` back for `why`; `to` serves again.
    ///
    /// # Errors
    /// As [`save`]; [`Kind::Data`] if `to` is not whole.
    pub fn take_back(&mut self, from: u32, to: u32, why: &str) -> Result<()> {
        self.load(to)?;
        self.point(to)?;
        let entry = self.ledger.entries.iter_mut().find(|entry| entry.generation == from);
        entry.into_iter().for_each(|entry| entry.rolled_back = Some(why.to_owned()));
        self.ledger.trial = None;
        self.ledger.pinned = self.ledger.pinned.filter(|&pinned| pinned != from);
        self.write()
    }

    /// Makes `number` serve and stay; `None` frees the choice again.
    ///
    /// # Errors
    /// As [`Generations::load`].
    pub fn pin(&mut self, number: Option<u32>) -> Result<()> {
        if let Some(number) = number {
            self.load(number)?;
            self.point(number)?;
            self.ledger.trial = None;
        }
        self.ledger.pinned = number;
        self.write()
    }

    /// The one before the serving one that was not taken back.
    pub fn before(&self, number: u32) -> Option<u32> {
        let earlier = self.ledger.entries.iter().filter(|e| e.generation < number && e.rolled_back.is_none());
        earlier.map(|entry| entry.generation).filter(|&number| self.path(number).exists()).max()
    }

    /// The list as an answer.
    pub fn list(&self) -> Value {
        let current = self.current();
        let entry = |entry: &Entry| {
            json!({
                "generation": entry.generation,
                "sha256": entry.sha256,
                "at": entry.at,
                "why": entry.why,
                "serving": current == Some(entry.generation),
                "on_trial": self.ledger.trial.as_ref().is_some_and(|trial| trial.generation == entry.generation),
                "pinned": self.ledger.pinned == Some(entry.generation),
                "rolled_back": entry.rolled_back,
                "on_disk": self.path(entry.generation).exists(),
                "numbers": entry.numbers,
            })
        };
        self.ledger.entries.iter().map(entry).collect()
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
        // As for any file whose rename must last; refused by some file systems, which order it themselves.
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

    /// Removes the oldest files beyond those to keep; never the first, the serving one, the one before, the pinned one.
    fn prune(&self) {
        let current = self.current();
        let needed = [Some(0), current, self.on_trial_after(), self.ledger.pinned];
        let mut numbers = self.on_disk();
        let mut at = 0;
        while numbers.len() > self.keep && at < numbers.len() {
            if needed.contains(&Some(numbers[at])) {
                at += 1;
            } else {
                // What cannot be removed now is met again next time.
                let _ = fs::remove_file(self.path(numbers.remove(at)));
            }
        }
    }
}

/// Gives the folder of models a name that nothing has yet.
fn set_aside(state: &Path, folder: &Path) -> Result<PathBuf> {
    let name = |number: u32| state.join(format!("models.unreadable-{number}"));
    let free = (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    fs::rename(folder, &free).map_err(|source| Error::writing(&free, source))?;
    Ok(free)
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix("gen-")?.strip_suffix(".lookout")?.parse().ok()
}
