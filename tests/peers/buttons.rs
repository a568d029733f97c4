//! The page over a made-up daemon: what the monitor tells, and its buttons pressed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lookout::control::Control;
use lookout::error::{Error, Kind};
use lookout::metrics::Metrics;
use lookout::web::{Live, Server, WebConfig};
use serde_json::{Value, json};

use super::browser::Browser;

/// Number of roll-backs requested.
type RolledBack = Arc<AtomicUsize>;

fn daemon() -> (Control, RolledBack) {
    let control = Control::default();
    let rolled_back = RolledBack::default();
    control.register("status", |_| {
        Ok(json!({
            "schema": "lookout/1", "type": "status", "device": "gate", "state": "degraded",
            "reasons": ["camera rear is lost", "<img src=x onerror=\"document.title='taken'\">"],
            "cameras": { "rear": { "state": "backoff", "fps": 0.0, "dropped": {} } },
            "model": { "name": "road", "precision": "int8", "generation": 2, "sha256": "00" },
            "drift": { "verdict": "drifting", "worst": "backbone.body.layer4.2.conv3", "deviations": 6.21, "agreement": 0.81 },
        }))
    });
    control.register("drift", |_| {
        let row = |step: &str, deviations: f64| {
            json!({ "step": step, "sqnr_db": 21.5, "calibrated_db": 27.25, "clipped": 0.0021, "deviations": deviations })
        };
        Ok(json!([row("backbone.body.conv1", 0.4), row("backbone.body.layer4.2.conv3", 6.21), row("rpn.head.conv.0.0@P3", 1.5)]))
    });
    let count = rolled_back.clone();
    control.register("generations", move |args| {
        let back = if args["do"] == "rollback" { count.fetch_add(1, Ordering::SeqCst) + 1 } else { count.load(Ordering::SeqCst) };
        let entry = |generation: usize, why: &str| {
            json!({ "generation": generation, "at": "2026-11-23T10:00:00Z", "why": why, "serving": generation + back == 2, "rolled_back": generation + back > 2 })
        };
        Ok(json!([entry(0, "quantized"), entry(1, "interval"), entry(2, "drift")]))
    });
    control.register("recalibrate", |_| Err(Error::new(Kind::Unavailable, "generation 1 is pinned: free it first")));
    (control, rolled_back)
}

/// A chequered PNG.
fn map() -> Vec<u8> {
    let picture = image::RgbImage::from_fn(160, 90, |x, y| image::Rgb([(x * 3 / 2) as u8, (y * 2) as u8, 90]));
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/peers.sh"]
async fn drift_maps_and_generations_are_shown_and_the_buttons_do_what_they_say() {
    let (control, rolled_back) = daemon();
    let png = map();
    let setup = WebConfig {
        cameras: vec!["rear".into()],
        pictures: true,
        token: None,
        control,
        metrics: Arc::new(Metrics::new()),
        live: Live::new(),
        latest: Arc::new(|_| None),
        events: None,
        thumbnail: None,
        maps: Some(Arc::new(move || ["P2", "P3", "P4"].map(|name| (name.to_owned(), png.clone())).into())),
        proxy: Default::default(),
        on_listening: None,
        fault: lookout::fault::FaultReporter::ignored(),
    };
    let server = Server::listen(([127, 0, 0, 1], 0).into(), setup).unwrap();
    let url = format!("http://{}/", server.address().unwrap());
    let _serving = tokio::spawn(server.serve());
    let pressed = tokio::task::spawn_blocking(move || {
        for (name, width, height, phone) in super::page::SCREENS {
            let Some(browser) = Browser::open(width, height, phone) else { return false };
            browser.visit(&format!("{url}#model"));
            browser.wait("document.querySelectorAll('#generation-list tr').length === 3");
            browser.wait("document.querySelectorAll('#drift-steps tr').length === 3");
            browser.wait(
                "[...document.querySelectorAll('#maps img')].filter((img) => img.naturalWidth === 160).length === 3",
            );
            browser.wait("document.getElementById('reasons').children.length === 2");
            let worst = browser.run("return document.querySelector('#drift-steps td').textContent");
            assert_eq!(worst, "backbone.body.layer4.2.conv3");
            assert_eq!(browser.run("return document.title"), "lookout", "nothing is taken as HTML");
            assert_eq!(browser.run("return document.documentElement.scrollWidth <= window.innerWidth"), true, "{name}");
            browser.picture(&super::page::shots().join(format!("monitor-{name}.png")));

            let before = browser.run("return document.getElementById('generation-list').textContent");
            browser.click("#rollback");
            assert!(browser.agree().contains("Go back"));
            browser.wait("document.getElementById('command-result').textContent === 'done'");
            let before: Value = before;
            browser.wait(&format!("document.getElementById('generation-list').textContent !== {before}"));
            browser.click("#recalibrate");
            browser.agree();
            browser.wait("document.getElementById('command-result').textContent.includes('generation 1 is pinned')");
            assert_eq!(browser.console_errors(), Vec::<String>::new());
        }
        true
    });
    if pressed.await.unwrap() {
        assert_eq!(rolled_back.load(Ordering::SeqCst), 2, "once on each screen");
    }
}
