//! Architecture rules of `src/lib.rs`, checked on the source as text: imports between modules, places of `unsafe`,
//! lengths of files. [`inside`] holds the rules inside the modules.

mod graph;
mod inside;

use std::fs;
use std::path::{Path, PathBuf};

/// Modules that each module may use; everything may use [`GROUND`] and itself, and `cli` may use everything.
const DOWNWARDS: &[(&str, &[&str])] = &[
    (
        "daemon",
        &[
            "calibrate",
            "camera",
            "config",
            "detector",
            "frame",
            "kernel",
            "monitor",
            "preprocess",
            "publish",
            "quant",
            "rules",
            "tensor",
            "track",
            "web",
        ],
    ),
    ("monitor", &["calibrate", "detector", "draw", "frame", "measure", "preprocess", "quant", "tensor"]),
    ("evaluate", &["detector", "frame", "measure", "preprocess", "tensor"]),
    ("inspect", &["detector", "draw", "evaluate", "frame", "measure", "preprocess", "quant", "tensor"]),
    ("calibrate", &["detector", "frame", "kernel", "measure", "preprocess", "quant", "tensor"]),
    ("measure", &["detector", "frame", "preprocess", "quant", "tensor"]),
    ("web", &["detector", "draw", "frame"]),
    ("publish", &["config", "detector", "tensor"]),
    ("rules", &["config", "track"]),
    ("track", &["detector"]),
    ("draw", &["detector", "frame"]),
    ("detector", &["kernel", "quant", "tensor"]),
    ("preprocess", &["detector", "frame", "kernel", "tensor"]),
    ("camera", &["config", "frame", "kernel"]),
    ("frame", &["kernel", "tensor"]),
    ("config", &["kernel"]),
    ("quant", &["tensor"]),
    ("kernel", &["tensor"]),
    ("tensor", &[]),
    // The ground itself.
    ("backoff", &[]),
    ("clock", &[]),
    ("control", &[]),
    ("error", &[]),
    ("fault", &[]),
    ("message", &[]),
    ("metrics", &[]),
    ("precedence", &[]),
    ("quantile", &[]),
    ("random", &[]),
    ("rate_limit", &[]),
    ("redact", &[]),
    ("stop", &[]),
    ("suggest", &[]),
    ("sync", &[]),
];

/// Used by everything: errors, stopping, time, counting, the shapes of messages.
const GROUND: &[&str] = &[
    "backoff",
    "clock",
    "control",
    "error",
    "fault",
    "message",
    "metrics",
    "precedence",
    "quantile",
    "random",
    "rate_limit",
    "redact",
    "stop",
    "suggest",
    "sync",
];

/// Places where `unsafe` is allowed.
const UNSAFE: &[&str] = &["src/kernel/", "src/camera/v4l2", "src/tensor/mapped.rs"];

/// Longest source file without its tests, in lines.
const MOST_LINES: usize = 600;

/// Longest source file with the tests at its end, and longest file of `tests`.
const MOST_LINES_WITH_TESTS: usize = 800;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    path: String,
    line: usize,
    what: String,
}

/// Checks one source file, given its path from the crate root.
fn check(path: &str, source: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |line: usize, what: String| breaches.push(Breach { path: path.to_owned(), line, what });
    let module = path.strip_prefix("src/").unwrap_or(path).split(['/', '.']).next().unwrap_or_default();
    let free = ["cli", "main", "lib"].contains(&module);
    let allowed = DOWNWARDS.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
    if !free && allowed.is_none() {
        breach(1, format!("module {module} has no place in the order of modules"));
    }

    // Tests may look wherever they like.
    let code = source.find("#[cfg(test)]\nmod tests").or_else(|| source.find("#[cfg(test)]\npub(crate) mod tests"));
    let code = &source[..code.unwrap_or(source.len())];
    let code_lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let in_use = mark_uses(code);
    for (index, line) in code_lines.enumerate() {
        let used = line.split("crate::").skip(1).flat_map(names);
        let used = used.chain(if in_use[index] { grouped(line) } else { Vec::new() });
        for name in used {
            let known = name == module || GROUND.contains(&name.as_str());
            if !free && !known && !allowed.is_some_and(|allowed| allowed.contains(&name.as_str())) {
                breach(index + 1, format!("{module} may not use {name}"));
            }
        }
        let keyword = line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        if keyword && !UNSAFE.iter().any(|place| path.starts_with(place)) {
            breach(index + 1, "unsafe may not stand here".to_owned());
        }
    }

    let (total, before_tests) = (source.lines().count(), code.lines().count());
    if total > MOST_LINES_WITH_TESTS || before_tests > MOST_LINES {
        breach(total, format!("{total} lines, {before_tests} without tests; split it"));
    }
    breaches
}

/// The first name, or the names in braces, behind `crate::`.
fn names(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    match rest.strip_prefix('{') {
        Some(group) => grouped(group),
        None => word(rest).into_iter().collect(),
    }
}

/// The first name of each path in a group, nested groups left out.
fn grouped(line: &str) -> Vec<String> {
    let mut depth = 0;
    let mut found = Vec::new();
    let mut path = String::new();
    for character in line.chars().chain([',']) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth <= 0 => found.extend(word(std::mem::take(&mut path).trim())),
            _ if depth == 0 => path.push(character),
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    found.extend(word(path.trim()));
    found
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(text[..end].to_owned()).filter(|name| !name.is_empty() && name.starts_with(char::is_lowercase))
}

/// For each line, whether it stands within a `use crate::{` group that began on an earlier one, at its first level.
fn mark_uses(code: &str) -> Vec<bool> {
    let mut depth = 0i32;
    let mut marks = Vec::new();
    for line in code.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        marks.push(depth == 1);
        if depth == 0 && line.trim_end().ends_with("use crate::{") {
            depth = 1;
        } else if depth > 0 {
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
        }
    }
    marks
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            // The fuzz targets are a workspace of their own, with its build output.
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_source_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    assert!(found.len() > 20);
    let mut breaches = Vec::new();
    for path in found {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        breaches.extend(check(&name, &fs::read_to_string(&path).unwrap()));
    }
    let list: Vec<String> =
        breaches.iter().map(|breach| format!("{}:{}: {}", breach.path, breach.line, breach.what)).collect();
    assert!(list.is_empty(), "\n{}", list.join("\n"));
}

#[test]
fn every_test_file_is_short_and_linked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let mut problems = Vec::new();
    let suite = fs::read_to_string(root.join("suite.rs")).unwrap();
    for path in found {
        let name = path.strip_prefix(&root).unwrap().with_extension("").to_string_lossy().into_owned();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > MOST_LINES_WITH_TESTS {
            problems.push(format!("tests/{name}.rs has {lines} lines; split it"));
        }
        let module = name.strip_suffix("/mod").unwrap_or(&name);
        if !module.contains('/') && module != "suite" && !suite.contains(&format!("\nmod {module};\n")) {
            problems.push(format!("tests/suite.rs does not declare {module}"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn no_module_uses_one_that_uses_it() {
    fn reaches(from: &str, to: &str) -> bool {
        let below = DOWNWARDS.iter().find(|(name, _)| *name == from).map_or(&[][..], |(_, below)| *below);
        below.iter().any(|name| *name == to || reaches(name, to))
    }
    for (module, _) in DOWNWARDS {
        assert!(!reaches(module, module), "{module}");
    }
}

#[test]
fn breaches_are_found() {
    let what = |path: &str, source: &str| -> Vec<(usize, String)> {
        check(path, source).into_iter().map(|breach| (breach.line, breach.what)).collect()
    };
    let upwards = vec![(2, "kernel may not use detector".to_owned())];
    assert_eq!(what("src/kernel/x.rs", "use crate::error::Kind;\nuse crate::detector::Plan;\n"), upwards);
    assert_eq!(what("src/kernel/x.rs", "\nlet x = 1 + crate::detector::count();\n"), upwards);
    assert_eq!(what("src/kernel/x.rs", "\nuse crate::{error::{Kind, Error}, detector::{plan, nms}};\n"), upwards);
    assert_eq!(what("src/kernel/x.rs", "use crate::{\n    detector::{plan, nms},\n    error::Kind,\n};\n"), upwards);
    assert_eq!(what("src/kernel.rs", "\npub use crate::detector;\n"), upwards);
    assert_eq!(what("src/novelty/x.rs", ""), [(1, "module novelty has no place in the order of modules".to_owned())]);
    assert_eq!(what("src/frame/x.rs", "fn f() { unsafe { g() } }\n"), [(1, "unsafe may not stand here".to_owned())]);
    assert_eq!(what("src/frame/x.rs", &"\n".repeat(601)).len(), 1);
    assert_eq!(
        what("src/frame/x.rs", &format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(590), "\n".repeat(209)))
            .len(),
        1
    );

    assert!(what("src/frame/x.rs", "// unsafe is what crate::daemon is not\nuse crate::kernel::isa;\n").is_empty());
    assert!(what("src/kernel/x.rs", "unsafe fn f() {}\n").is_empty());
    assert!(what("src/cli/x.rs", "use crate::{daemon, kernel};\n").is_empty());
    assert!(what("src/frame/x.rs", "#[cfg(test)]\nmod tests {\n    use crate::daemon::x;\n}\n").is_empty());
}
