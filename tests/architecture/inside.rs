//! Rules inside the top-level modules: imports between the parts of a folder, users of the synthetic street, and
//! circles of files that are allowed.

use std::collections::BTreeSet;
use std::path::Path;

use super::graph::Graph;

/// Parts that one part of a folder may use of the folder's other parts. A part is a wing or a file directly in the
/// folder; a part without a row may use all.
struct Part {
    folder: &'static str,
    part: &'static str,
    may_use: &'static [&'static str],
}

const fn part(folder: &'static str, part: &'static str, may_use: &'static [&'static str]) -> Part {
    Part { folder, part, may_use }
}

const PARTS: &[Part] = &[
    part("monitor", "frames", &["options"]),
    part("monitor", "drift", &[]),
    part("monitor", "generations", &["drift", "host", "numbers"]),
    part("monitor", "recalibration", &["drift", "frames", "generations", "host", "memory", "numbers", "options"]),
    part("monitor", "cpu_budget", &[]),
    part("monitor", "host", &[]),
    part("monitor", "memory", &[]),
    part("monitor", "numbers", &[]),
    part("monitor", "options", &[]),
    part("monitor", "reporting", &["drift", "frames", "host", "numbers", "view"]),
    part("monitor", "view", &["drift", "numbers"]),
    part(
        "daemon",
        "service",
        &[
            "components",
            "identity",
            "output",
            "paths",
            "reload",
            "run",
            "runtime",
            "settings_check",
            "socket",
            "supervision",
        ],
    ),
    part("daemon", "run", &["cameras", "components", "detect", "output", "reload", "supervision"]),
    part(
        "daemon",
        "components",
        &["cameras", "identity", "model", "monitoring", "output", "reload", "settings_check", "supervision"],
    ),
    part("daemon", "reload", &["cameras", "logging", "model", "settings_check", "supervision"]),
    part("daemon", "detect", &["cameras", "identity", "model", "output", "supervision"]),
    part("daemon", "monitoring", &["cameras", "identity", "model", "output", "paths", "supervision"]),
    part("daemon", "cameras", &["output", "paths", "supervision"]),
    part("daemon", "output", &["identity", "model", "paths"]),
    part("daemon", "settings_check", &["model"]),
    part("daemon", "socket", &["paths"]),
    part("daemon", "model", &["paths", "supervision"]),
    part("daemon", "supervision", &["identity"]),
    part("daemon", "identity", &[]),
    part("daemon", "logging", &["redacting_log"]),
    part("daemon", "redacting_log", &[]),
    part("daemon", "paths", &[]),
    part("daemon", "runtime", &[]),
];

/// A module that only some files may use, by the beginnings of their paths.
struct Reserved {
    module: &'static str,
    users: &'static [&'static str],
    reason: &'static str,
}

const RESERVED: &[Reserved] = &[Reserved {
    module: "camera::pattern",
    users: &["src/camera/pattern/", "src/daemon/cameras/", "src/cli/pattern.rs"],
    reason: "the synthetic street is a fixture: only the camera source and `lookout pattern` show it",
}];

/// Files that use each other, directly or through the others. A folder's `mod.rs` may use its own parts.
struct Circle {
    files: &'static [&'static str],
    reason: &'static str,
}

/// Most circles that may be listed below.
const MOST_CIRCLES: usize = 3;

const CIRCLES: &[Circle] = &[Circle {
    files: &[
        "src/kernel/colour.rs",
        "src/kernel/pointwise_f32.rs",
        "src/kernel/pointwise_u8.rs",
        "src/kernel/pool_f32.rs",
        "src/kernel/pool_u8.rs",
        "src/kernel/resample.rs",
        "src/kernel/roi_align_f32.rs",
        "src/kernel/roi_align_u8.rs",
        "src/kernel/two_bytes.rs",
        "src/kernel/x86/avx2_plain.rs",
        "src/kernel/x86/avx2_resample.rs",
        "src/kernel/x86/avx512_plain.rs",
    ],
    reason: "an operation calls its own code, compiled again for an instruction set",
}];

/// Uses that [`PARTS`] and [`RESERVED`] forbid.
fn forbidden(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for file in &graph.files {
        for used in &file.uses {
            let target = &graph.files[used.target];
            let place = format!("{}:{}", file.path, used.line);
            if let ([folder, own, ..], [other_folder, other, ..]) = (&file.module[..], &target.module[..])
                && folder == other_folder
                && own != other
                && let Some(row) = PARTS.iter().find(|row| row.folder == folder && row.part == own)
                && !row.may_use.contains(&other.as_str())
            {
                found.push(format!(
                    "{place}: {folder}::{own} may not use {folder}::{other}: {}",
                    used.written.join("::")
                ));
            }
            let origin = target.module.join("::");
            for reserved in RESERVED {
                let inside = origin == reserved.module || origin.starts_with(&format!("{}::", reserved.module));
                if inside && !reserved.users.iter().any(|user| file.path.starts_with(user)) {
                    found.push(format!("{place}: may not use {}: {}", reserved.module, reserved.reason));
                }
            }
        }
    }
    found
}

fn tree() -> Graph {
    Graph::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn parts_of_a_folder_use_what_they_may() {
    let found = forbidden(&tree());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_rules_name_what_is_there() {
    let graph = tree();
    let modules: BTreeSet<String> =
        graph.files.iter().flat_map(|file| (1..=file.module.len()).map(|end| file.module[..end].join("::"))).collect();
    for row in PARTS {
        for part in [row.part].iter().chain(row.may_use) {
            let module = format!("{}::{part}", row.folder);
            assert!(modules.contains(&module), "there is no {module}");
        }
    }
    for reserved in RESERVED {
        assert!(modules.contains(reserved.module), "there is no {}", reserved.module);
    }
}

#[test]
fn files_use_each_other_in_known_circles_only() {
    let graph = tree();
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for circle in graph.circles() {
        let paths: Vec<&str> = circle.iter().map(|&file| graph.files[file].path.as_str()).collect();
        match CIRCLES.iter().position(|known| paths.iter().all(|path| known.files.contains(path))) {
            Some(known) => _ = seen.insert(known),
            None => problems.push(format!("a circle of {} files:\n{}", paths.len(), graph.describe(&circle))),
        }
    }
    for (index, known) in CIRCLES.iter().enumerate().filter(|(index, _)| !seen.contains(index)) {
        problems.push(format!("circle {index} is open; take it from the list: {} ({})", known.files[0], known.reason));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(CIRCLES.len() <= MOST_CIRCLES);
}

/// A graph of made-up files.
fn graph(sources: &[(&str, &str)]) -> Graph {
    Graph::new(sources.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())))
}

#[test]
fn ways_back_are_found() {
    let drift = ("src/monitor/drift/verdict.rs", "pub struct Drift;");
    let face = ("src/monitor/mod.rs", "mod drift;\nmod frames;\npub use drift::verdict::Drift;");
    let drifts = ("src/monitor/drift/mod.rs", "pub mod verdict;");
    let look = |text: &'static str| forbidden(&graph(&[face, drifts, drift, ("src/monitor/frames/mod.rs", text)]));
    for text in [
        "use crate::monitor::drift::verdict::Drift;",
        "use super::drift::verdict::{self, Drift};",
        "use super::Drift;",
        "use crate::monitor::{Drift, Options};",
        "fn f() -> super::Drift { todo!() }",
        "use super::drift;\nfn f(one: drift::verdict::Drift) {}",
        "use super::drift::*;\nuse super::drift::verdict as other;\nfn f(one: other::Drift) {}",
        "mod inner { use super::super::drift::verdict::Drift; }",
    ] {
        assert_eq!(look(text).len(), 1, "{text}: {:?}", look(text));
    }
    for text in [
        "// use super::Drift;\nconst A: &str = \"super::Drift\"; /* super::Drift */ const B: char = '\"';",
        "#[cfg(test)]\nmod tests {\n    use super::super::Drift;\n}",
        "use super::drift;",
        "use other::Drift;\nuse ::monitor::drift::verdict::Drift;\nfn f<'a>(a: &'a str) {}",
    ] {
        assert_eq!(look(text), [""; 0], "{text}");
    }

    let pattern = ("src/camera/pattern/mod.rs", "pub struct Scene;");
    let use_it = "use crate::camera::pattern::Scene;";
    assert_eq!(forbidden(&graph(&[pattern, ("src/web/page.rs", use_it)])).len(), 1);
    assert_eq!(forbidden(&graph(&[pattern, ("src/camera/pattern/a.rs", use_it)])).len(), 0);
}

#[test]
fn circles_are_found() {
    let circles = |sources: &[(&str, &str)]| -> Vec<Vec<String>> {
        let graph = graph(sources);
        let paths = |circle: Vec<usize>| circle.into_iter().map(|file| graph.files[file].path.clone()).collect();
        graph.circles().into_iter().map(paths).collect()
    };
    let (a, b) = (("src/x/a.rs", "use super::b::B; struct A;"), ("src/x/b.rs", "use super::c::C; struct B;"));
    let back = ("src/x/c.rs", "struct C; fn f() { crate::x::A::new() }");
    let face = ("src/x/mod.rs", "pub use a::A;\nfn f(b: b::B) {}");
    assert_eq!(circles(&[face, a, b, back]), [["src/x/a.rs", "src/x/b.rs", "src/x/c.rs"]]);
    assert_eq!(circles(&[face, a, b, ("src/x/c.rs", "struct C;")]), [[""; 0]; 0]);
    // A folder's head may use its parts, and they what it holds.
    assert_eq!(
        circles(&[("src/x/mod.rs", "struct A; fn f() { b::f() }"), ("src/x/b.rs", "use super::A;")]),
        [[""; 0]; 0]
    );
    // But a part may not hold what its head needs by way of another folder.
    assert_eq!(
        circles(&[("src/x/mod.rs", "struct A; use crate::y::B;"), ("src/y.rs", "use crate::x::A; struct B;")]),
        [["src/x/mod.rs", "src/y.rs"]]
    );
}
