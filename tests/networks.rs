//! Import of networks other than the ResNet-FPN: what is assumed, what is refused, and what says how.

use std::path::{Path, PathBuf};

use lookout::detector::checkpoint::{Checkpoint, DetectorBuilder, EpsReason, ImportOptions, ImportReport, import};
use lookout::detector::demo;
use lookout::error::{Kind, Result};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks").join(name)
}

/// Imports a golden network with options that `change` sets.
fn import_network(net: &str, change: impl Fn(&mut ImportOptions)) -> Result<(ImportReport, Checkpoint)> {
    let folder = tempfile::tempdir().unwrap();
    let mut options = ImportOptions::new(fixture(&format!("{net}.safetensors")), folder.path().join("out.lookout"));
    change(&mut options);
    let report = import(&options)?;
    let checkpoint = Checkpoint::open(&options.out)?;
    Ok((report, checkpoint))
}

#[test]
fn the_mobilenet_for_320_pixels_is_assumed_and_said() {
    let (report, checkpoint) = import_network("mobilenet-v3-large-320", |_| ()).unwrap();
    assert_eq!(report.builder, Some(DetectorBuilder::MobilenetV3Large320Fpn));
    let warned_of = |words: &str| report.warnings.iter().any(|warning| warning.contains(words));
    assert!(warned_of("fit fasterrcnn_mobilenet_v3_large_320_fpn as well as fasterrcnn_mobilenet_v3_large_fpn"));
    let settings = &checkpoint.header().settings;
    assert_eq!((&settings.transform.min_size[..], settings.transform.max_size), (&[320][..], 640));
    assert_eq!((settings.rpn.pre_nms_top_n, settings.rpn.score_threshold), (150, 0.05));
    assert!(report.assumed.iter().any(|name| name == "transform.min_size"), "{:?}", report.assumed);

    let large = |options: &mut ImportOptions| options.builder = Some(DetectorBuilder::MobilenetV3LargeFpn);
    let (report, checkpoint) = import_network("mobilenet-v3-large-320", large).unwrap();
    assert!(!report.warnings.iter().any(|warning| warning.contains("as well as")), "{:?}", report.warnings);
    let settings = &checkpoint.header().settings;
    assert_eq!((settings.transform.min_size[0], settings.rpn.pre_nms_top_n), (800, 1000));

    // With settings that decide every difference nothing of a builder is assumed.
    let given = |options: &mut ImportOptions| options.settings = Some(fixture("mobilenet-v3-large-320.settings.toml"));
    let (report, _) = import_network("mobilenet-v3-large-320", given).unwrap();
    assert!(!report.warnings.iter().any(|warning| warning.contains("as well as")), "{:?}", report.warnings);
}

#[test]
fn a_builder_that_does_not_fit_is_refused_with_what_fits() {
    let wrong = |options: &mut ImportOptions| options.builder = Some(DetectorBuilder::Resnet50Fpn);
    let error = import_network("resnet50-v2", wrong).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.message().ends_with("they fit fasterrcnn_resnet50_fpn_v2"), "{}", error.message());
}

#[test]
fn anchors_that_no_rule_tells_are_asked_for() {
    let error = import_network("mobilenet-v2-13", |_| ()).unwrap_err();
    let wanted = "none of torchvision's builders has 3 at a cell of 3 levels (0, 1, pool)";
    assert!(error.message().contains(wanted) && error.message().contains("--settings"), "{}", error.message());
    let given = |options: &mut ImportOptions| options.settings = Some(fixture("mobilenet-v2-13.settings.toml"));
    let (report, _) = import_network("mobilenet-v2-13", given).unwrap();
    assert!(!report.assumed.iter().any(|name| name.starts_with("anchors")), "{:?}", report.assumed);
}

#[test]
fn the_settings_file_has_the_last_word_on_epsilons_but_for_the_option() {
    let given = |options: &mut ImportOptions| options.settings = Some(fixture("resnet50-v2-eps.settings.toml"));
    let (report, checkpoint) = import_network("resnet50-v2-eps", given).unwrap();
    let eps = checkpoint.header().batch_norm_eps;
    assert_eq!((eps.body, eps.pyramid, eps.heads), (1e-3, 1e-4, 1e-2));
    assert_eq!(report.batch_norm_eps.reason, EpsReason::Settings);
    let (_, checkpoint) = import_network("resnet50-v2-eps", |_| ()).unwrap();
    assert_eq!(checkpoint.header().batch_norm_eps.heads, 1e-5);
}

#[test]
fn a_name_that_promises_another_content_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("fasterrcnn_resnet50_fpn_v2_coco-dd69338a.safetensors");
    std::fs::copy(fixture("resnet50-v2.safetensors"), &named).unwrap();
    let mut options = ImportOptions::new(&named, folder.path().join("out.lookout"));
    let error = import(&options).unwrap_err();
    assert!(error.message().contains("promises a SHA-256 that starts with dd69338a"), "{}", error.message());
    options.force = true;
    import(&options).unwrap();
}

#[test]
fn files_of_the_earlier_formats_are_read() {
    let checkpoint = Checkpoint::open(Path::new(demo::FP32)).unwrap();
    assert_eq!(checkpoint.header().architecture.features(), ["0", "1", "2", "3", "pool"]);
    assert_eq!(checkpoint.header().settings.roi.levels, ["0", "1", "2", "3"]);
}
