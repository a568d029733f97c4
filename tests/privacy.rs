//! Private regions and files: what is black for the camera is black in every output, and files are their owner's alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A service that ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The body of a successful answer.
fn get(port: u16, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    answer.starts_with(b"HTTP/1.1 200").then(|| answer.split_off(end))
}

fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "no {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// The largest value of any channel, in the left half and in the right half of a picture.
fn brightest(bytes: &[u8]) -> [u8; 2] {
    let picture = image::load_from_memory(bytes).unwrap().into_rgb8();
    let (width, middle) = (picture.width(), picture.width() / 2);
    let of = |from: u32, to: u32| {
        let pixels = picture.enumerate_pixels().filter(|(x, ..)| (from..to).contains(x));
        pixels.flat_map(|(.., pixel)| pixel.0).max().unwrap_or_default()
    };
    // A JPEG's blocks blur the border.
    [of(0, middle - 16), of(middle + 16, width)]
}

/// Reads one MQTT packet: its first byte and its content.
fn packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content)?;
    Ok((kind, content))
}

/// A broker of MQTT 3.1.1 that acknowledges everything. Returns its port, and the pictures that it receives.
fn broker() -> (u16, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, pictures) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            while let Ok((kind, content)) = packet(&mut stream) {
                let answer = match kind >> 4 {
                    1 => vec![0x20, 2, 0, 0],
                    3 => {
                        let length = usize::from(u16::from_be_bytes([content[0], content[1]]));
                        let (topic, rest) = content[2..].split_at(length);
                        let is_sure = kind & 6 != 0;
                        if topic.ends_with(b"/front/picture") {
                            let _ = sender.send(rest[if is_sure { 2 } else { 0 }..].to_vec());
                        }
                        if is_sure { vec![0x40, 2, rest[0], rest[1]] } else { Vec::new() }
                    }
                    8 => vec![0x90, 3, content[0], content[1], 0],
                    12 => vec![0xd0, 0],
                    _ => Vec::new(),
                };
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (port, pictures)
}

#[test]
fn a_private_region_is_black_in_every_output_and_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (broker, published) = broker();
    let config = format!(
        "[model]\nartifact = \"demo-int8\"\nreference = \"demo-fp32\"\n[monitor]\nenabled = true\nshare = 1.0\n\
         sample_interval = \"200ms\"\nkeep_frames = true\n[history]\nenabled = true\n[web]\nenabled = true\n\
         listen = \"127.0.0.1:{port}\"\n[[publish]]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = {broker}\n\
         protocol = 4\npictures = true\n\
         [[camera]]\nname = \"front\"\nkind = \"pattern\"\nseed = 7008\nfps = 4.0\n\
         masks = [{{ polygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]], private = true }}]\n"
    );
    let file = folder.path().join("lookout.toml");
    std::fs::write(&file, config).unwrap();
    let state = folder.path().join("state");
    // A wide umask must not open the files.
    let child = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" run --config \"$1\" --set device.state_dir=\"$2\""])
        .args([Path::new(env!("CARGO_BIN_EXE_lookout")), &file, &state])
        .env("RUNTIME_DIRECTORY", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _service = Service(child);
    let pictures = || files(&state.join("reservoir"));
    let events = until("object", || {
        let events = get(port, "/api/v1/events?event=object.new")?;
        let events: serde_json::Value = serde_json::from_slice(&events).ok()?;
        let key = events["events"].as_array()?.iter().find(|event| event["thumbnail"] == true)?["key"].as_u64()?;
        (pictures().iter().any(|path| path.extension().is_some_and(|end| end == "png"))).then_some(key)
    });
    assert!(get(port, &format!("/api/v1/events/{events}/thumbnail")).is_some());
    for path in ["/api/v1/cameras/front/picture", "/api/v1/cameras/front/picture?width=320"] {
        let [private, other] = brightest(&get(port, path).unwrap());
        assert!(private < 12 && other > 100, "{path}: {private} {other}");
    }
    for path in pictures().iter().filter(|path| path.extension().is_some_and(|end| end == "png")) {
        let [private, other] = brightest(&std::fs::read(path).unwrap());
        assert!(private == 0 && other > 100, "{}: {private} {other}", path.display());
    }
    // The boxes of objects at the border are drawn over the region.
    let picture = published.recv_timeout(Duration::from_secs(60)).expect("a picture for the broker");
    let picture = image::load_from_memory(&picture).unwrap().into_rgb8();
    let left = picture.enumerate_pixels().filter(|(x, ..)| *x < picture.width() / 2 - 16);
    let (black, other): (Vec<_>, Vec<_>) = left.partition(|(.., pixel)| pixel.0.iter().all(|&channel| channel < 24));
    assert!(other.len() * 20 < black.len(), "{} of {}", other.len(), black.len());
    assert!(picture.pixels().any(|pixel| pixel.0.iter().all(|&channel| channel > 100)));
    let private: Vec<PathBuf> = files(&state.join("history")).into_iter().chain(files(&state.join("spool"))).collect();
    assert!(private.len() >= 2, "{private:?}");
    for path in private.iter().chain(&pictures()) {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn files_that_are_not_ours_are_not_replaced_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/r18.safetensors");
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lookout")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let import = |out: &Path, force: bool| {
        let mut arguments = vec!["import".as_ref(), golden.as_ref(), "--out".as_ref(), out.as_os_str()];
        arguments.extend(["--min-size", "64", "--max-size", "96"].map(std::ffi::OsStr::new));
        arguments.extend(force.then_some(std::ffi::OsStr::new("--force")));
        run(&arguments)
    };
    std::fs::write(path("thesis.tex"), "years of work").unwrap();
    let copy = path("weights.safetensors");
    std::fs::copy(golden, &copy).unwrap();
    for other in [path("thesis.tex"), copy] {
        let before = std::fs::read(&other).unwrap();
        let (code, stderr) = import(&other, false);
        assert!(code == Some(73) && stderr.contains("--force"), "{code:?} {stderr}");
        assert_eq!(std::fs::read(&other).unwrap(), before);
    }
    let model = path("model.safetensors");
    assert_eq!(import(&model, false).0, Some(0));
    assert_eq!(import(&model, false).0, Some(0), "an earlier output is replaced");
    for taken in ["x.lookout", "y.lookout.calib", "z.lookout.json"] {
        std::fs::write(path(taken), "{\"notes\": \"mine\"}").unwrap();
        let out = path(&taken[..9]);
        let arguments: [&std::ffi::OsStr; 6] = [
            "quantize".as_ref(),
            model.as_os_str(),
            "--images".as_ref(),
            folder.path().as_os_str(),
            "--out".as_ref(),
            out.as_os_str(),
        ];
        let (code, stderr) = run(&arguments);
        assert!(code == Some(73) && stderr.contains(taken), "{code:?} {stderr}");
    }
    assert_eq!(import(&path("thesis.tex"), true).0, Some(0));
}
