//! COCO's figures against those of `pycocotools` on the same truth and detections (`make.py`).

use std::path::{Path, PathBuf};

use lookout::detector::DetectorOptions;
use lookout::evaluate::{
    ClassMap, DatasetSource, DontCare, EvaluateOptions, Evaluation, ExifMode, FIGURES, NamedFile, RunOptions, Split,
    evaluate,
};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evaluate/coco").join(name)
}

fn judged(case: &str) -> Evaluation {
    let source = format!("coco:{}", fixture(&format!("{case}.truth.json")).display());
    let options = EvaluateOptions {
        source: source.parse::<DatasetSource>().unwrap(),
        images: None,
        split: Split::All,
        class_map: ClassMap::default(),
        dont_care: DontCare::Auto,
        models: vec![],
        detections: vec![NamedFile { name: "found".to_owned(), path: fixture(&format!("{case}.results.json")) }],
        score: 0.5,
        resamples: 20,
        seed: 0,
        exif: ExifMode::Auto,
        run: RunOptions {
            detector: DetectorOptions::default(),
            cache: std::env::temp_dir(),
            fresh: false,
            strict: false,
            cpu: String::new(),
        },
    };
    evaluate(&options, &mut |_, _| {}, &mut |_| {}).unwrap()
}

fn expected(case: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture(&format!("{case}.figures.json"))).unwrap()).unwrap()
}

#[test]
fn figures_are_those_of_pycocotools() {
    for case in ["mixed", "crowded", "id-zero", "sparse", "bounds"] {
        let (outcome, expected) = (judged(case), expected(case));
        let model = &outcome.report.models[0];
        let mut compared = 0;
        for figure in FIGURES.iter().filter_map(|figure| figure.strip_prefix("coco.")) {
            let wanted = expected[figure].as_f64().unwrap();
            let found = model.figures[format!("coco.{figure}").as_str()].value;
            // pycocotools says −1 where nothing is to be found.
            assert!((found.unwrap_or(-1.0) - wanted).abs() < 1e-9, "{case} {figure}: {found:?}, expected {wanted}");
            compared += 1;
        }
        assert_eq!(compared, 12);
        for class in &model.classes {
            let wanted = &expected["classes"][&class.class];
            for (at, found) in [class.ap, class.ap50, class.ap75].into_iter().enumerate() {
                match (found, wanted[at].as_f64()) {
                    (None, None) => {}
                    (Some(found), Some(wanted)) => assert!((found - wanted).abs() < 1e-9, "{case} {}", class.class),
                    other => panic!("{case} {}: {other:?}", class.class),
                }
            }
        }
    }
}

#[test]
fn intervals_hold_their_value_and_come_again() {
    let (one, two) = (judged("mixed").report, judged("mixed").report);
    for (figure, estimate) in &one.models[0].figures {
        assert_eq!(Some(estimate), two.models[0].figures.get(figure), "{figure}");
        let (Some(low), Some(high)) = (estimate.low, estimate.high) else { continue };
        assert!(low <= high, "{figure}");
    }
}

#[test]
fn what_was_written_is_read_back_to_the_same_figures() {
    let root = tempfile::tempdir().unwrap();
    let before = judged("mixed");
    let (truth, results) = (root.path().join("annotations.json"), root.path().join("found.json"));
    let Evaluation { dataset, classes, truths, predictions, .. } = &before;
    lookout::evaluate::write_coco_annotations(&truth, dataset, classes, truths).unwrap();
    lookout::evaluate::write_coco_results(&results, dataset, classes, &predictions[0].pictures).unwrap();
    let options = EvaluateOptions {
        source: format!("coco:{}", truth.display()).parse().unwrap(),
        images: None,
        split: Split::All,
        class_map: ClassMap::default(),
        dont_care: DontCare::Auto,
        models: vec![],
        detections: vec![NamedFile { name: "found".to_owned(), path: results }],
        score: 0.5,
        resamples: 0,
        seed: 0,
        exif: ExifMode::Auto,
        run: RunOptions {
            detector: DetectorOptions::default(),
            cache: root.path().to_owned(),
            fresh: false,
            strict: true,
            cpu: String::new(),
        },
    };
    let after = evaluate(&options, &mut |_, _| {}, &mut |_| {}).unwrap();
    for figure in FIGURES {
        assert_eq!(
            before.report.models[0].figures[figure].value, after.report.models[0].figures[figure].value,
            "{figure}"
        );
    }
}
