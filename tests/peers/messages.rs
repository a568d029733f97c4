//! Everything the daemon says against the schema that it prints, and a camera switched off and on by an order.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::until;
use super::daemon::Daemon;

/// Reads a schema and JSON lines, and says which line is wrong.
const VALIDATE: &str = "
import json, sys, jsonschema_rs
lines = sys.stdin.read().splitlines()
validator = jsonschema_rs.validator_for(json.loads(lines[0]))
for line in lines[1:]:
    for error in validator.iter_errors(json.loads(line)):
        sys.exit(f'{error.message}: {line}')
print(len(lines) - 1)
";

#[test]
#[ignore = "takes half a minute, and schemathesis for its validator: run tests/peers.sh"]
fn everything_said_is_as_the_schema_has_it() {
    let daemon = Daemon::start("");
    let state =
        |daemon: &Daemon| -> Value { daemon.ask("status", Value::Null)["result"]["cameras"]["demo"]["state"].take() };
    let off = daemon.ask("camera", json!({ "camera": "demo", "enabled": false }));
    assert_eq!(off["result"], json!({ "camera": "demo", "enabled": false, "kept": true }));
    assert_eq!(state(&daemon), "disabled");
    std::thread::sleep(Duration::from_secs(1));
    let before = daemon.frames();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(daemon.frames(), before, "nobody looks at its frames");
    assert!(std::fs::read_to_string(daemon.folder.path().join("state/overrides.toml")).unwrap().contains("demo"));
    daemon.ask("camera", json!({ "camera": "demo", "enabled": true }));
    until("frames are looked at again", || daemon.frames() > before + 5.0);
    until("objects come and go", || {
        let page = daemon.ask("events", json!({ "event": "object.end", "limit": 5 }));
        page["result"]["events"].as_array().is_some_and(|events| events.len() == 5)
    });
    let messages = std::fs::read_to_string(daemon.folder.path().join("messages.jsonl")).unwrap();
    daemon.stop();
    for kind in ["report", "event", "status"] {
        assert!(messages.contains(&format!("\"type\":\"{kind}\"")), "no message of {kind}");
    }

    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis/bin/python");
    if !python.exists() {
        eprintln!("SKIPPED: there is no validator of JSON Schema; tests/peers.sh installs one");
        return;
    }
    let schema = Command::new(env!("CARGO_BIN_EXE_lookout")).args(["schema", "message"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    let validate = |text: &str| {
        let mut child = Command::new(&python)
            .args(["-c", VALIDATE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(format!("{schema}\n{text}").as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = validate(&messages);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{} messages are as the schema has them", String::from_utf8_lossy(&output.stdout).trim());
    let wrong = messages.lines().next().unwrap().replace("\"schema\":\"lookout/1\"", "\"schema\":\"lookout/0\"");
    assert!(!validate(&wrong).status.success(), "a wrong message is noticed");
}
