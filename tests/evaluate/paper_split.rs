//! The paper's split on KITTI's own labels.

use std::process::Command;

use lookout::evaluate::{Dataset, Split};

use crate::golden;

#[test]
fn the_papers_first_batch_has_231_boxes() {
    let Some(archive) = golden::shared("data/kitti-labels-7481.tar.gz") else { return };
    let folder = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(unpacked.success());
    let labels = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let root = labels.filter(|path| path.join("label_2").is_dir()).last().unwrap_or(folder.path().to_owned());
    let source = format!("kitti:{}", root.display()).parse().unwrap();
    let whole = Dataset::read(&source, None).unwrap();
    assert_eq!(whole.pictures.len(), 7481);
    let boxes = |split: Split| {
        let mut dataset = whole.clone();
        split.apply(&mut dataset).unwrap();
        let all: Vec<_> = dataset.pictures.iter().flat_map(|labelled| &labelled.labels).collect();
        (dataset.pictures.len(), all.len(), all.iter().filter(|label| label.class == "DontCare").count())
    };
    assert_eq!(boxes(Split::PaperBatch), (32, 231, 57));
    assert_eq!(boxes(Split::Paper), (1497, 10_701, 2_240));
    assert_eq!(boxes(Split::All), (7481, 51_865, 11_295));
}
