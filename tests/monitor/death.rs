//! A process killed at any moment: the folder of generations stays usable.

use std::process::{Command, Stdio};
use std::time::Duration;

use lookout::detector::checkpoint::Checkpoint;
use lookout::monitor::{Generations, LedgerEntry};
use lookout::quant::artifact::Artifact;
use lookout::tensor::digest::sha256;

use super::device::{artifact, between, narrow};

/// A ledger entry for generation `number`.
pub fn entry(number: u32, bytes: &[u8]) -> LedgerEntry {
    LedgerEntry {
        generation: number,
        sha256: sha256(bytes),
        at: "2026-01-01T00:00:00Z".into(),
        why: "asked".into(),
        rolled_back: None,
        numbers: serde_json::Value::Null,
    }
}

fn first(folder: &std::path::Path) -> Vec<u8> {
    artifact(&Checkpoint::open(&narrow(folder)).unwrap(), &between((8, 18))[..4])
}

const FOLDER: &str = "LOOKOUT_TEST_DEATH";

/// The process that is killed, not a test. Accepts and rolls back generations in a loop.
#[test]
#[ignore = "runs in the process that the_machine_killed_at_any_moment starts"]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    let bytes = std::fs::read(folder.join("first")).unwrap();
    let mut generations = Generations::open(&folder, &sha256(&bytes), 3).unwrap();
    generations.set_initial(&bytes, "2026-01-01T00:00:00Z").unwrap();
    generations.start("boot").unwrap();
    std::fs::write(folder.join("ready"), "").unwrap();
    loop {
        let number = generations.next();
        let serving = generations.current().unwrap();
        generations.accept(&bytes, entry(number, &bytes), "boot").unwrap();
        if number.is_multiple_of(3) {
            generations.roll_back(number, serving, "a test").unwrap();
        } else {
            generations.confirm().unwrap();
        }
    }
}

#[test]
fn the_machine_killed_at_any_moment_leaves_a_model_to_load() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = first(folder.path());
    std::fs::write(folder.path().join("first"), &bytes).unwrap();
    for round in 0..40u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "monitor::death::victim", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ready = folder.path().join("ready");
        while !ready.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended early");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::remove_file(ready).unwrap();
        // The kill may come at any time from here.
        std::thread::sleep(Duration::from_micros(round * 7919 % 40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut generations = Generations::open(folder.path(), &sha256(&bytes), 3).unwrap();
        generations.set_initial(&bytes, "2026-01-01T00:00:00Z").unwrap();
        let start = generations.start("boot").unwrap();
        Artifact::parse(&start.bytes).unwrap();
        assert_eq!(generations.current(), Some(start.generation));
    }
    let generations = Generations::open(folder.path(), &sha256(&bytes), 3).unwrap();
    assert!(generations.next() > 10, "the victims did their work: {}", generations.next());
}

#[test]
fn two_deaths_within_one_boot_lead_back_and_a_reboot_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = first(folder.path());
    let open = || Generations::open(folder.path(), &sha256(&bytes), 5).unwrap();
    let mut run = open();
    run.set_initial(&bytes, "2026-01-01T00:00:00Z").unwrap();
    run.start("boot 1").unwrap();
    run.accept(&bytes, entry(1, &bytes), "boot 1").unwrap();
    drop(run); // died once
    assert_eq!(open().start("boot 1").unwrap().generation, 1, "once is chance");
    // A second death, but in another boot.
    assert_eq!(open().start("boot 2").unwrap().generation, 1);
    // An orderly end is no death.
    let mut orderly = open();
    assert_eq!(orderly.start("boot 2").unwrap().generation, 1);
    orderly.end().unwrap();
    // Only the run before died in this boot; the next one does too.
    assert_eq!(open().start("boot 2").unwrap().generation, 1);
    let start = open().start("boot 2").unwrap();
    assert_eq!(start.generation, 0, "died twice in boot 2");
    assert!(start.rejected[0].reason.contains("died 2 times"), "{:?}", start.rejected);
    assert!(open().list()[1].entry.rolled_back.is_some());

    // A generation that passed its probation is not rolled back.
    let mut run = open();
    run.start("boot 2").unwrap();
    run.accept(&bytes, entry(2, &bytes), "boot 2").unwrap();
    run.confirm().unwrap();
    for _ in 0..5 {
        assert_eq!(open().start("boot 2").unwrap().generation, 2);
    }
}

#[test]
fn damaged_generations_are_skipped_and_another_lineage_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = first(folder.path());
    let mut run = Generations::open(folder.path(), &sha256(&bytes), 5).unwrap();
    run.set_initial(&bytes, "2026-01-01T00:00:00Z").unwrap();
    run.accept(&bytes, entry(1, &bytes), "boot").unwrap();
    run.confirm().unwrap();
    run.accept(&bytes, entry(2, &bytes), "boot").unwrap();
    let file = |number: u32| folder.path().join(format!("models/gen-{number:04}.lookout"));
    std::fs::write(file(2), &bytes[..bytes.len() / 2]).unwrap();
    let start = run.start("boot").unwrap();
    assert_eq!((start.generation, start.rejected[0].generation), (1, 2));
    std::fs::remove_file(file(1)).unwrap();
    std::fs::write(folder.path().join("models/ledger.json"), "{").unwrap();
    let mut fresh = Generations::open(folder.path(), &sha256(&bytes), 5).unwrap();
    fresh.set_initial(&bytes, "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(fresh.start("boot").unwrap().generation, 0);
    let aside = folder.path().join("models.unreadable-1");
    assert!(aside.join("gen-0000.lookout").exists() && aside.join("gen-0002.lookout").exists(), "nothing is lost");

    let mut other = Generations::open(folder.path(), &"0".repeat(64), 5).unwrap();
    assert!(!other.has_initial() && other.start("boot").is_err() && !file(0).exists());
}
