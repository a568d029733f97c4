//! Reload of the configuration while the service runs.

use super::*;

/// A folder with a configuration and two folders of pictures.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, width) in [("a", 10), ("b", 20), ("c", 30)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let picture = image::RgbImage::from_pixel(width, 8, image::Rgb([0; 3]));
        picture.save(folder.path().join(name).join("0.png")).unwrap();
    }
    folder
}

#[test]
fn a_reload_applies_changes_and_refuses_wrong_settings() {
    let site = site();
    let file = site.path().join("lookout.toml");
    let write = |cameras: &[(&str, &str)]| {
        let one = |(name, more): &(&str, &str)| {
            let path = site.path().join(name);
            format!(
                "[[camera]]\nname = \"{name}\"\nkind = \"replay\"\nrate = 0\nloop = true\npath = {path:?}\n{more}\n"
            )
        };
        let cameras: String = cameras.iter().map(one).collect();
        std::fs::write(&file, format!("[model]\ncheckpoint = \"m\"\n{cameras}")).unwrap();
    };
    write(&[("a", ""), ("b", "")]);
    let inputs = Inputs { file: Some(file.clone()), ..Inputs::default() };
    let settings = config::load(&inputs).unwrap();
    let mut bench = Bench::new(FakeEngine::default());
    for name in ["a", "b"] {
        let (path, clock) = (site.path().join(name), bench.clock.clone());
        let open = move || Ok(Box::new(Replay::open(&path, None, true, clock.clone())?) as Box<dyn Source>);
        bench.components.cameras.push(Camera::new(name, open));
    }
    let (trigger, stop) = stop::pair();
    let requests = ReloadRequests::new(inputs, &settings, stop.clone());
    let (control, kept) = (bench.components.control.clone(), bench.kept.clone());
    requests.register(&control);
    bench.components.reload = Some(requests);
    let daemon = std::thread::spawn(move || bench.run(&stop).0);
    let begin = Instant::now();
    let until = |condition: &dyn Fn() -> bool| {
        while !condition() {
            assert!(begin.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
    };
    let reload = || control.call("reload", serde_json::Value::Null);
    let reported = |width: usize| kept.reports().iter().filter(|report| report.width == width).count();
    until(&|| reported(10) > 2 && reported(20) > 2);
    assert_eq!(reload().unwrap()["changed"], serde_json::json!([]));

    // One camera is removed, one is added, one gets another rule.
    write(&[("a", "limits = { Vehicle = { min_score = 0.9 } }"), ("c", "")]);
    assert_eq!(reload().unwrap()["changed"], serde_json::json!(["camera"]));
    until(&|| reported(30) > 2);
    until(&|| kept.reports().last().is_some_and(|report| report.width == 10 && report.detections.is_empty()));
    let gone = reported(20);
    let status = control.call("status", serde_json::Value::Null).unwrap();
    let names: Vec<&str> = status["cameras"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((names, status["state"].as_str()), (vec!["a", "c"], Some("ok")));

    // Invalid settings, then valid settings with a missing folder: the previous ones stay in force.
    std::fs::write(&file, "[[camera]]\nnaem = \"a\"\n").unwrap();
    let error = reload().unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.message().contains("lookout.toml:2") && error.message().contains("did you mean \"name\""), "{error}");
    write(&[("a", ""), ("d", "")]);
    assert_eq!(reload().unwrap_err().kind(), Kind::NoInput);
    let status = control.call("status", serde_json::Value::Null).unwrap();
    assert_eq!(status["state"], "degraded");
    assert!(status["reasons"][0].as_str().unwrap().contains("the new configuration is refused"), "{status}");
    assert!(kept.events().contains(&EventName::ConfigRefused));
    let before = reported(30);
    until(&|| reported(30) > before + 2);

    write(&[("a", ""), ("c", "")]);
    reload().unwrap();
    let status = control.call("status", serde_json::Value::Null).unwrap();
    assert_eq!(status["state"], "ok", "{status}");
    until(&|| kept.reports().last().is_some_and(|report| report.width == 10 && report.detections.len() == 1));
    assert!(reported(20) <= gone + 1, "nothing more of a camera that was taken away");
    trigger.stop();
    daemon.join().unwrap().unwrap();
    assert_eq!(reload().unwrap_err().kind(), Kind::Unavailable, "nobody reloads after the end");
}
