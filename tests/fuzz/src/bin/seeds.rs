//! Writes the seeds: small, valid files of every kind the readers know. Run in this folder after a format changed.

use std::fs;
use std::io::Read;
use std::path::Path;

use lookout::calibrate::{RecordEdge, CalibrationRecord, HistogramBuilder};
use lookout::quant::artifact::{
    StoredAgreement, CalibrationHeader, EdgeHeader, FORMAT, Header, Precision, Provenance, MeanStd, RunBiasShift, StepHeader, StepResidual, StepTensors, WeightType, encode,
};
use lookout::quant::{Digits, QuantParams, FilterBank, Granularity, Range, PerturbationEffect, RoundingResidual, BiasShiftModel, ScaleRule, Scheme};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let artifacts = Path::new("corpus/artifact");
    let records = Path::new("corpus/record");
    fs::create_dir_all(artifacts)?;
    fs::create_dir_all(records)?;
    fs::write(artifacts.join("seed-int8"), artifact(Precision::Int8Static)?)?;
    fs::write(artifacts.join("seed-dynamic"), artifact(Precision::Int8Dynamic)?)?;
    fs::write(artifacts.join("seed-fp32"), artifact(Precision::Fp32)?)?;
    fs::write(records.join("seed-two"), record()?)?;
    for (target, name, content) in small_seeds()? {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{name}")), content)?;
    }
    // State dicts are committed once, with the tests that import them.
    fs::create_dir_all("corpus/safetensors")?;
    fs::copy("../golden/networks/resnet-3.safetensors", "corpus/safetensors/resnet-3")?;
    fs::create_dir_all("corpus/pickle")?;
    for name in ["zip", "zip-objects", "zip-parameters", "zip-two"] {
        let mut archive = zip::ZipArchive::new(fs::File::open(format!("../checkpoints/{name}.pth"))?)?;
        let pickle = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).find(|name| name.ends_with("data.pkl"));
        let mut content = Vec::new();
        archive.by_name(&pickle.ok_or("no pickle")?)?.read_to_end(&mut content)?;
        fs::write(format!("corpus/pickle/{name}"), content)?;
    }
    let imports = Path::new("corpus/import");
    fs::create_dir_all(imports)?;
    for name in ["legacy-objects-protocol1.pth", "zip-module.pth", "zip-objects.pth", "zip-two.pth"] {
        fs::copy(Path::new("../checkpoints").join(name), imports.join(name))?;
    }
    Ok(())
}

/// Small valid inputs: target, name, content.
fn small_seeds() -> Result<Vec<(&'static str, &'static str, Vec<u8>)>, Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("lookout-seeds-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let values = (0..24 * 16 * 3).map(|at| (at * 37 % 251) as u8).collect();
    let picture = lookout::frame::Picture::new(24, 16, values)?;
    let file = |name: &str| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        picture.save(folder.join(name))?;
        Ok(fs::read(folder.join(name))?)
    };
    let (jpeg, png) = (file("a.jpg")?, file("a.png")?);
    fs::remove_dir_all(&folder)?;
    let part = [b"--frame\r\nContent-Type: image/jpeg\r\n\r\n", &jpeg[..], b"\r\n"].concat();
    let y4m = |colours: &str, bytes: usize| {
        let frame = [b"FRAME\n".to_vec(), vec![90; bytes]].concat();
        [format!("YUV4MPEG2 W8 H4 F10:1 {colours}\n").into_bytes(), frame.clone(), frame].concat()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let change = |at: u32, bytes: &[u8]| [&at.to_le_bytes()[..], &[0x80 | bytes.len() as u8], bytes].concat();
    let record = |payload: &[u8]| [&(payload.len() as u16).to_le_bytes()[..], payload].concat();
    let event = br#"{"schema":"lookout/1","type":"event","device":"d","event":"object.new","id":"1","at":"2026-11-23T10:00:00Z"}"#;
    let kept = [&0i64.to_le_bytes()[..], &crc32fast::hash(event).to_le_bytes(), event].concat();
    let kept = record(&[&(kept.len() as u32).to_le_bytes()[..], &kept, b"jpeg"].concat());
    let waiting = record(&[&[0; 56][..], &[1, 0, 0, 0], &[9; 8], &[0], &[7; 8], &[0; 24], &[3, 0, 0, 0], b"car"].concat());
    // Flags, size of the chunks, then a CONNACK, a PUBLISH packet of QoS 1 of 40 bytes and one of 333.
    let publish = |flags: u8, length: &[u8], payload: usize| {
        [&[0x32][..], length, &[0, 4], b"cmd/", &[0, flags], &vec![b'x'; payload]].concat()
    };
    let stream = |flags: u8| {
        [&[flags, 7, 0x20, 2, 0, 0][..], &publish(flags, &[38], 30), &publish(flags, &[0xca, 2], 322)].concat()
    };
    Ok(vec![
        ("packets", "mqtt-3", stream(0)),
        ("packets", "mqtt-5", stream(1)),
        ("picture", "jpeg", jpeg.clone()),
        ("picture", "png", png),
        ("mjpeg", "two", [&jpeg[..], &jpeg].concat()),
        ("mjpeg", "parts", [&part[..], &part].concat()),
        ("y4m", "420", y4m("C420jpeg XCOLORRANGE=FULL", 48)),
        ("y4m", "mono", y4m("Cmono", 32)),
        ("checkpoint", "change", change(900, b"2")),
        ("network", "change", change(900, b"2")),
        ("network", "weight", change(30_000, &[3])),
        ("database", "change", change(5000, &[1, 2, 3])),
        ("kitti", "two", text("Car 0.00 0 -1.57 10.5 4.0 40.2 30.1 1.5 1.6 3.9 1 2 30 -1.6\nDontCare -1 -1 -10 1 2 9 9 -1 -1 -1 -1000 -1000 -1000 -10\n")),
        ("coco", "two", text(r#"{"images":[{"id":1,"file_name":"000000.png","width":64,"height":48}],"annotations":[{"id":1,"image_id":1,"category_id":1,"bbox":[1,2,30,20],"area":600,"iscrowd":0,"segmentation":[[1,2,3,4,5,6]]}],"categories":[{"id":1,"name":"Person"}]}"#)),
        ("voc", "one", text("<annotation><filename>000000.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size><object><name>car</name><difficult>0</difficult><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>")),
        ("results", "two", text(r#"[{"image_id":1,"category_id":1,"bbox":[1,2,30,20],"score":0.9},{"image_id":"b","category_id":"Car","bbox":[4,4,9,9],"score":0.25}]"#)),
        ("class_map", "two", text("\"Van\" = \"Vehicle\"\n\"Misc\" = \"ignore\"\n")),
        ("config", "file", text("[model]\nartifact = \"demo-int8\"\n[[camera]]\nname = \"a\"\nkind = \"v4l2\"\ndevice = \"/dev/video0\"\nrotate = 90\nzones = { gate = [[0.1, 0.5], [0.9, 0.5], [0.5, 1.0]] }\nlimits = { Vehicle = { min_score = 0.6 }, \"*\" = { min_area = 0.1 } }\n[[publish]]\nkind = \"mqtt\"\nhost = \"h\"\nspool_age = \"1h30m\"\n[web]\nenabled = true\nlisten = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n")),
        ("setting", "lines", text("detector.threads=2\ncamera=[{ name = \"a\", kind = \"pattern\" }]\nWEB__LISTEN=0.0.0.0:1\n")),
        ("import_settings", "file", fs::read("../golden/networks/resnet-3.settings.toml")?),
        ("address", "rtsp", text("rtsp://user:p%40ss@[2001:db8::1]:554/a?token=b&c#d is refused")),
        ("request", "events", text(r#"{"verb": "events", "args": {"limit": 5, "before": 9, "camera": "front", "event": "object"}}"#)),
        ("order", "camera", text(r#"{"camera": "front", "enabled": false}"#)),
        ("http", "get", text("0GET /api/v1/events?limit=5&camera=front HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n")),
        ("http", "post", text("1POST /login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.4\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"token\":\"a\"}")),
        ("history", "record", kept),
        ("spool", "record", waiting),
        ("ledger", "two", text(r#"{"root":"root","entries":[{"generation":0,"sha256":"00","at":"2026-11-23T10:00:00Z","why":"first"},{"generation":1,"sha256":"11","at":"2026-11-23T10:00:00Z","why":"drift","numbers":{}}],"pinned":null,"trial":{"generation":1,"previous":0,"boot_id":"boot","starts":1}}"#)),
    ])
}

fn artifact(precision: Precision) -> lookout::error::Result<Vec<u8>> {
    let values: Vec<f32> = (0..2 * 4 * 3).map(|i| ((i * 37 % 19) as f32 - 9.0) / 9.0).collect();
    let bank = FilterBank { values: &values, out: 2, channels: 3 };
    let has_residual = precision == Precision::Int8Static;
    let weights = if precision != Precision::Fp32 {
        let weights = bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, Digits::One, &[])?;
        let residual =
            has_residual.then(|| Box::new(StepResidual { residual: RoundingResidual::of(&bank, &weights), input_moments: vec![0.5, 0.0, 2.0, 1.0, 0.0, 9.0] }));
        let effects = [(vec![1.0, -2.0, 0.5], vec![0.25, -0.5]), (vec![0.0, 1.0, 0.0], vec![0.125, 0.0])]
            .map(|(input_change, bias_shift)| PerturbationEffect { input_change, bias_shift });
        let model = BiasShiftModel::new(&effects).stored();
        let bias_shifts = if has_residual { vec![RunBiasShift { reference_means: vec![0.5, 2.0, 0.0], model }] } else { vec![] };
        StepTensors::Int8 { weights, bias: vec![1.0, -2.0], residual, bias_shifts }
    } else {
        StepTensors::Float { weights: values, bias: vec![1.0, -2.0] }
    };
    let mut builder = HistogramBuilder::new();
    builder.observe(&[0.0, 0.0, 0.001, 0.002])?;
    let (bins, counts) = builder.finish().stored().unwrap_or_else(|| unreachable!("values were counted"));
    let range = Range::new(-0.5, 1.0);
    let spread = MeanStd { mean: 0.25, std: 0.125 };
    let edge = |name: &str, qparams, histogram| EdgeHeader {
        name: name.into(),
        qparams,
        range,
        clipped: Some(spread),
        distance: Some(spread),
        power_db: vec![spread],
        histogram,
    };
    let header = Header {
        format: FORMAT.into(),
        plan: serde_json::json!({ "a": 1 }),
        labels: vec!["Person".into()],
        recipe: "lookout".into(),
        pair_safe: true,
        steps: vec![StepHeader {
            name: "s".into(),
            precision,
            weight: Some(if precision == Precision::Fp32 { WeightType::F32 } else { WeightType::S8 }),
            shape: [2, 2, 2, 3],
            groups: 1,
            runs: 1,
            sqnr_db: vec![spread],
            residual: has_residual,
            perturbations: if has_residual { 2 } else { 0 },
        }],
        edges: vec![
            edge("in", Some(QuantParams::covering(range, Scheme::Affine).into()), Some(bins)),
            edge("out", None, None),
        ],
        canvas: None,
        equalization: 3,
        calibration: CalibrationHeader {
            observer: "l2".into(),
            scheme: Scheme::Affine,
            pictures: 1,
            sha256: "0".repeat(64),
            unusable_reasons: vec!["p".into()],
            agreement: Some(StoredAgreement { pictures: 2, reference: 3, matched: 2, shifted: 1, vanished: 1, appeared: 0 }),
            power_profiles: vec![spread],
        },
        provenance: Provenance { source_sha256: "1".repeat(64), generation: 1, parent: Some("2".repeat(64)) },
    };
    encode(&header, &[weights], &[0.5, 1.0, 2.0], &[counts, vec![]])
}

fn record() -> lookout::error::Result<Vec<u8>> {
    let edges = ["a", "b"].map(|name| RecordEdge { name: name.into(), channels: 1 });
    let mut record = CalibrationRecord::new("3".repeat(64), edges.to_vec(), vec![0.5, 1.0, 2.0]);
    for (name, offset) in [("p", 0.0), ("q", -1.5)] {
        let mut builder = HistogramBuilder::new();
        builder.observe(&[0.0, offset, 0.3, 2.0])?;
        record.add(name, [7; 32], &[builder.take(), builder.finish()], vec![0.5, offset])?;
    }
    record.encode()
}
