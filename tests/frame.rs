//! Pictures of every kind against what PIL reads in them, and files that must be refused.

use lookout::error::Kind;
use lookout::frame::Picture;

use crate::golden::{self, Golden};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden::folder().join("pictures").join(name)).unwrap()
}

/// Largest difference between `picture` and `expected`, in levels.
fn difference(picture: &Picture, expected: &[u8]) -> u8 {
    picture.data.iter().zip(expected).map(|(&a, &b)| a.abs_diff(b)).max().unwrap_or(0)
}

#[test]
fn every_kind_of_file_reads_as_pil_reads_it() {
    let golden = Golden::committed("pictures.safetensors");
    let mut failures = Vec::new();
    for name in golden.names() {
        let picture = Picture::open(golden::folder().join("pictures").join(&name)).unwrap();
        let (shape, expected) = golden.bytes(&name);
        assert_eq!([picture.height, picture.width], shape[..2], "{name}");
        let worst = difference(&picture, &expected);
        if worst > 0 {
            failures.push(format!("{name}: {worst} levels"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    for name in ["orientation_1.jpg", "optimized.jpg", "progressive.jpg", "restarts.jpg", "rgb.png", "palette.png"] {
        let whole = file(name);
        // A PNG shows its picture once the last IDAT is there; what follows is twelve bytes of IEND and a checksum.
        let last = if name.ends_with("png") { whole.len() - 24 } else { whole.len() };
        for length in (0..last).step_by(7).chain([last - 1]) {
            let error = Picture::decode(&whole[..length]).expect_err(&format!("{name}: {length} of {}", whole.len()));
            assert_eq!(error.kind(), Kind::Data, "{name}: {length} bytes: {}", error.chain());
        }
    }
}

#[test]
fn data_missing_from_the_middle_is_refused() {
    // A frame that lost packets has its start and end. Sometimes the codes behind a hole happen to fit, which cannot be
    // detected.
    let whole = file("optimized.jpg");
    let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    for percent in [30, 60, 95] {
        let hole = scan + (whole.len() - scan) * percent / 100;
        for length in [40, 100] {
            let mut cut = whole[..hole].to_vec();
            cut.extend(&whole[(hole + length).min(whole.len() - 2)..]);
            assert_eq!(Picture::decode(&cut).unwrap_err().kind(), Kind::Data, "{length} bytes at {percent} %");
        }
    }
}

#[test]
fn a_jpeg_without_huffman_tables_gets_the_standard_ones() {
    // PIL writes the standard tables unless asked to optimize; taking them out makes the frame of a cheap camera.
    let whole = file("subsampled.jpg");
    let mut stripped = whole[..2].to_vec();
    let mut at = 2;
    while whole[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
        if whole[at + 1] != 0xc4 {
            stripped.extend(&whole[at..end]);
        }
        at = end;
    }
    stripped.extend(&whole[at..]);
    assert!(stripped.len() <= whole.len() - 420);
    assert_eq!(Picture::decode(&stripped).unwrap(), Picture::decode(&whole).unwrap());
}

#[test]
fn bytes_behind_the_end_do_not_matter() {
    let whole = file("subsampled.jpg");
    let mut padded = whole.clone();
    padded.resize(whole.len() + 1000, 0);
    assert_eq!(Picture::decode(&padded).unwrap(), Picture::decode(&whole).unwrap());
}

#[test]
fn a_declared_size_is_refused_before_anything_is_allocated() {
    let mut png = file("rgb.png");
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    assert_eq!(Picture::decode(&png).unwrap_err().kind(), Kind::Data);
    let mut jpeg = file("grey.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    let error = Picture::decode(&jpeg).unwrap_err();
    assert!(error.message().contains("65535×65535"), "{}", error.chain());
}

#[test]
fn a_png_with_too_long_a_side_is_not_called_damaged() {
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(70_000, 1).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let error = Picture::decode(&png.into_inner()).unwrap_err();
    assert!(error.message().contains("more than 65535 pixels a side"), "{}", error.message());
}

#[test]
fn errors_name_the_file_on_one_line() {
    let missing = Picture::open("/nonexistent/a.png").unwrap_err();
    assert_eq!(missing.kind(), Kind::NoInput);
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("empty.png", &b""[..]), ("text.jpg", b"hello"), ("short.jpg", &[0xff, 0xd8, 0xff])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Picture::open(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{name}");
        assert!(error.chain().contains(name) && !error.chain().contains('\n'), "{}", error.chain());
    }
    assert!(Picture::open(folder.path()).is_err(), "a folder is no picture");
}

#[test]
fn what_is_saved_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let picture = Picture::decode(&file("rgb.png")).unwrap();
    for (name, limit) in [("a.png", 0), ("b.jpg", 24)] {
        let path = folder.path().join(name);
        picture.save(&path).unwrap();
        let again = Picture::open(&path).unwrap();
        assert!(difference(&picture, &again.data) <= limit, "{name}: {}", difference(&picture, &again.data));
    }
    assert_eq!(picture.save("/nonexistent/c.png").unwrap_err().kind(), Kind::CannotCreate);
}

#[test]
fn noise_is_never_a_panic() {
    let seeds = [
        "orientation_6.jpg",
        "optimized.jpg",
        "progressive_odd.jpg",
        "restarts.jpg",
        "cmyk.jpg",
        "rgb.png",
        "palette.png",
        "grey_16.png",
    ];
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for name in seeds {
        let whole = file(name);
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next() % 8 {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }
            // Either answer is right; taking the picture down is not.
            let _ = Picture::decode(&bytes);
        }
    }
}
