use super::*;

fn open(path: &Path, applied: u64) -> (Journal, Vec<u64>) {
    let (journal, records) = Journal::open(path, applied).unwrap();
    assert!(records.iter().all(|record| record.payload == payload(record.number)));
    (journal, records.iter().map(|record| record.number).collect())
}

fn payload(number: u64) -> Vec<u8> {
    vec![number as u8; 300 + number as usize % 97]
}

/// Appends up to record `last`. Returns the number of the last record that fitted.
fn fill(journal: &mut Journal, last: u64) -> u64 {
    while journal.last() < last && journal.append(&payload(journal.last() + 1)).unwrap() {}
    journal.last()
}

#[test]
fn records_are_found_again_until_they_are_in_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let (mut journal, found) = open(&path, 0);
    assert!(found.is_empty() && journal.is_empty());
    fill(&mut journal, 10);
    // What was written is there without any sync: a copy is what a killed process leaves.
    std::fs::copy(&path, folder.path().join("k")).unwrap();
    assert_eq!(open(&folder.path().join("k"), 0).1, (1..=10).collect::<Vec<_>>());
    drop(journal);
    assert_eq!(open(&path, 7).1, [8, 9, 10]);
    let (mut journal, found) = open(&path, 10);
    assert!(found.is_empty() && journal.last() == 10);
    // Records of before stay behind the new ones and are not taken for new ones.
    fill(&mut journal, 12);
    drop(journal);
    assert_eq!(open(&path, 10).1, [11, 12]);
    let (mut journal, _) = open(&path, 10);
    let last = fill(&mut journal, 10_000);
    assert!((600..900).contains(&last), "{last}");
    assert!(!journal.append(&payload(last + 1)).unwrap(), "it is full");
    journal.reset(last);
    assert_eq!(fill(&mut journal, last + 3), last + 3);
    drop(journal);
    assert_eq!(open(&path, last).1, [last + 1, last + 2, last + 3]);
    assert!(std::fs::metadata(&path).unwrap().len() <= CAPACITY + GROWTH as u64);
}

#[test]
fn torn_and_damaged_records_are_left_out_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let (mut journal, _) = open(&path, 0);
    fill(&mut journal, 20);
    let end = journal.end as usize;
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for cut in (0..end).step_by(7) {
        let mut torn = whole[..cut].to_vec();
        torn.resize(if cut % 2 == 0 { cut } else { whole.len() }, 0);
        std::fs::write(&path, torn).unwrap();
        let (mut journal, found) = open(&path, 0);
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
        assert!(found.len() >= (cut / 420).saturating_sub(1), "cut at {cut}: {}", found.len());
        fill(&mut journal, found.len() as u64 + 1);
        drop(journal);
        assert_eq!(open(&path, 0).1.len(), found.len() + 1, "cut at {cut}");
    }
    let mut damaged = whole;
    damaged[HEAD + 400] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(open(&path, 0).1, (1..=20).filter(|&number| number != 2).collect::<Vec<_>>());
}

/// A disk with a cache: a power cut leaves what the last sync wrote.
#[derive(Debug, Default)]
pub struct CachedDisk {
    pub cached: Mutex<Vec<u8>>,
    pub durable: Mutex<Vec<u8>>,
}

impl JournalFile for Arc<CachedDisk> {
    fn write(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        let (mut cached, offset) = (self.cached.lock().unwrap(), offset as usize);
        let size = cached.len().max(offset + bytes.len());
        cached.resize(size, 0);
        cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        let cached = self.cached.lock().unwrap().clone();
        *self.durable.lock().unwrap() = cached;
        Ok(())
    }
}

#[test]
fn a_power_cut_loses_five_seconds_at_most() {
    let disk = Arc::new(CachedDisk::default());
    let (mut journal, _) = Journal::on(Box::new(disk.clone()), Path::new("j"), &[], 0).unwrap();
    let begin = Instant::now();
    let (mut written, mut synced) = (Vec::new(), 0);
    while begin.elapsed() < 2 * SYNC + Duration::from_millis(500) {
        // One pause is longer than the rest of the test: the last record needs no later one to become durable.
        if begin.elapsed() < SYNC + Duration::from_millis(500) {
            assert!(journal.append(&payload(journal.last() + 1)).unwrap());
            written.push(Instant::now());
        }
        let records = replay(&disk.durable.lock().unwrap(), 0).records.len();
        let lost = written.get(records).map_or(Duration::ZERO, |at| at.elapsed());
        assert!(lost < Duration::from_secs(5), "{lost:?}");
        synced += usize::from(records > 0);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(replay(&disk.durable.lock().unwrap(), 0).records.len(), written.len());
    assert!(synced > 10);
}

#[test]
fn a_failed_sync_is_told_by_the_next_append() {
    #[derive(Debug)]
    struct Failing;
    impl JournalFile for Failing {
        fn write(&self, _: &[u8], _: u64) -> std::io::Result<()> {
            Ok(())
        }
        fn sync(&self) -> std::io::Result<()> {
            Err(std::io::Error::other("worn out"))
        }
    }
    let (mut journal, _) = Journal::on(Box::new(Failing), Path::new("j"), &[], 0).unwrap();
    assert!(journal.append(b"one").unwrap());
    journal.shared.state().due = Some(Instant::now());
    journal.shared.changed.notify_all();
    while journal.shared.state().failure.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(journal.append(b"two").unwrap_err().chain().contains("worn out"));
}
