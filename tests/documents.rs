//! The documents: links resolve, commands parse, configurations are accepted, named files and items exist.
//!
//! Every `*.md` file of the repository is read. Code blocks marked `sh` hold commands and blocks marked `toml` hold
//! complete configuration files. Code spans are checked if they look like a command, a path or an item.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lookout");

/// Longest README, in lines.
const README_LINES: usize = 150;

/// Sections of `systemd/README.md` that `tests/vm/run.sh` executes: one `sh` block each.
const EXECUTED: [&str; 3] = ["Install", "Upgrade", "Remove"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A fenced code block.
struct Block {
    /// The word after the fence.
    language: String,
    /// The line of the fence, from 1.
    line: usize,
    text: String,
    /// The heading above it.
    heading: String,
}

/// A Markdown file.
struct Document {
    /// From the root of the repository.
    path: PathBuf,
    headings: Vec<String>,
    blocks: Vec<Block>,
    /// Code spans with their lines.
    spans: Vec<(usize, String)>,
    /// Targets of links with their lines.
    links: Vec<(usize, String)>,
}

impl Document {
    fn parse(path: &Path, text: &str) -> Self {
        let mut headings: Vec<String> = Vec::new();
        let mut blocks: Vec<Block> = Vec::new();
        let mut prose = String::new();
        let mut open = false;
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim_start();
            if let Some(language) = trimmed.strip_prefix("```") {
                open = !open;
                if open {
                    let language = language.split_whitespace().next().unwrap_or_default().to_owned();
                    let heading = headings.last().cloned().unwrap_or_default();
                    blocks.push(Block { language, line: index + 1, text: String::new(), heading });
                }
            } else if open {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            } else {
                if line.starts_with('#') {
                    headings.push(line.trim_start_matches('#').trim().to_owned());
                }
                prose.push_str(line);
            }
            prose.push('\n');
        }
        let (spans, links) = spans_and_links(&prose);
        Self { path: path.to_owned(), headings, blocks, spans, links }
    }

    fn anchors(&self) -> BTreeSet<String> {
        self.headings.iter().map(|heading| anchor(heading)).collect()
    }

    fn folder(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).to_owned()
    }
}

/// Texts with their line numbers.
type NumberedTexts = Vec<(usize, String)>;

/// Code spans, and targets of links outside of them.
fn spans_and_links(prose: &str) -> (NumberedTexts, NumberedTexts) {
    let (mut spans, mut links) = (Vec::new(), Vec::new());
    let mut line = 1;
    for (index, part) in prose.split('`').enumerate() {
        if index % 2 == 1 {
            spans.push((line, part.split_whitespace().collect::<Vec<_>>().join(" ")));
        } else {
            let mut from = 0;
            while let Some(at) = part[from..].find("](") {
                let begin = from + at + 2;
                let target = part[begin..].split(')').next().unwrap_or_default();
                links.push((line + part[..begin].matches('\n').count(), target.to_owned()));
                from = begin;
            }
        }
        line += part.matches('\n').count();
    }
    (spans, links)
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Every Markdown file below the root, build outputs and hidden folders other than `.github` left out.
fn documents() -> Vec<Document> {
    let mut files = Vec::new();
    collect(root(), &|name| name.ends_with(".md"), &mut files);
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        Document::parse(path.strip_prefix(root()).unwrap(), &text)
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, wanted: &dyn Fn(&str) -> bool, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = name == "target" || (name.starts_with('.') && name != ".github");
        if path.is_dir() && !skipped && !path.is_symlink() {
            collect(&path, wanted, files);
        } else if path.is_file() && wanted(&name) {
            files.push(path);
        }
    }
}

/// `path` without `.` and `..`; `None` if it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

/// Parts of the repository that the checks read.
struct Repository {
    /// All of `src`, with continued string literals on one line.
    source: String,
    /// Name and path of each test target.
    tests: Vec<(String, PathBuf)>,
    features: BTreeSet<String>,
}

impl Repository {
    fn read() -> Self {
        let manifest: toml::Table = toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
        let features = manifest.get("features").and_then(|features| features.as_table());
        let features = features.into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let named = manifest.get("test").and_then(|tests| tests.as_array()).into_iter().flatten();
        let mut tests: Vec<(String, PathBuf)> = named
            .filter_map(|test| Some((test.get("name")?.as_str()?.to_owned(), test.get("path")?.as_str()?.into())))
            .collect();
        for entry in fs::read_dir(root().join("tests")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let main = if path.is_dir() { path.join("main.rs") } else { path };
            if main.is_file() && main.extension().is_some_and(|extension| extension == "rs") {
                tests.push((name, main.strip_prefix(root()).unwrap().to_owned()));
            }
        }
        Self { source: joined(&sources(&root().join("src"))), tests, features }
    }

    /// Checks the arguments of `cargo`.
    fn cargo(&self, words: &[String], exact: bool) -> Result<(), String> {
        let own: Vec<&String> = words.iter().skip(1).take_while(|word| *word != "--").collect();
        let rest: Vec<String> = words.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
        let value = |option: &str| own.iter().position(|word| *word == option).and_then(|at| own.get(at + 1)).copied();
        for feature in value("--features").into_iter().flat_map(|features| features.split(',')) {
            if !self.features.contains(feature) {
                return Err(format!("there is no feature {feature}"));
            }
        }
        match own.first().map(|word| word.as_str()) {
            // Another program of the repository.
            Some("run") if value("--bin").is_some_and(|name| name != "lookout") => Ok(()),
            Some("run") if exact => lookout(&rest),
            Some("run") => options(&rest),
            Some("test") => {
                let tests = match value("--test") {
                    Some(name) => match self.tests.iter().find(|(test, _)| test == name) {
                        Some((_, path)) => modules(&root().join(path)),
                        None => return Err(format!("there is no test target {name}")),
                    },
                    None => sources(&root().join("src")),
                };
                let takes_value = ["--test", "--features", "--target"];
                let is_filter = |&(index, word): &(usize, &&String)| {
                    !word.starts_with('-') && !takes_value.contains(&own[index - 1].as_str())
                };
                let filter = own.iter().enumerate().skip(1).find(is_filter);
                match filter {
                    Some((_, filter)) if !names_a_test(&tests, filter) => Err(format!("no test matches {filter}")),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// The text of every Rust file at or below `path`, each after its module path.
fn sources(path: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    if path.is_dir() {
        collect(path, &|name| name.ends_with(".rs"), &mut files);
    } else {
        files.push(path.to_owned());
    }
    let read = |file: PathBuf| {
        let relative = file.strip_prefix(path).unwrap_or(&file).with_extension("");
        let names: Vec<String> = relative.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let module: Vec<String> = names.into_iter().filter(|name| name != "mod" && name != "main").collect();
        (module.join("::"), fs::read_to_string(file).unwrap())
    };
    files.into_iter().map(read).collect()
}

/// The sources with string literals that continue on the next line joined.
fn joined(sources: &[(String, String)]) -> String {
    let mut text = String::new();
    for line in sources.iter().flat_map(|(_, source)| source.lines()) {
        match line.strip_suffix('\\') {
            Some(begun) => text.push_str(begun),
            None if text.ends_with('\n') || text.is_empty() => text.push_str(line),
            None => text.push_str(line.trim_start()),
        }
        if !line.ends_with('\\') {
            text.push('\n');
        }
    }
    text
}

/// The main file of a test target and the modules that it declares, as [`sources`] gives them.
fn modules(main: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(main).unwrap();
    let folder = main.parent().unwrap();
    let declared = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let below = declared.flat_map(|name| {
        let folder_module = folder.join(name);
        let path = if folder_module.is_dir() { folder_module } else { folder.join(format!("{name}.rs")) };
        let under = |(module, text): (String, String)| {
            (if module.is_empty() { name.to_owned() } else { format!("{name}::{module}") }, text)
        };
        sources(&path).into_iter().map(under).collect::<Vec<_>>()
    });
    let below: Vec<(String, String)> = below.collect();
    std::iter::once((String::new(), text)).chain(below).collect()
}

/// True if the path of a test contains `filter`.
fn names_a_test(tests: &[(String, String)], filter: &str) -> bool {
    tests.iter().any(|(module, source)| {
        let functions = source.lines().filter_map(|line| line.trim_start().split("fn ").nth(1)?.split('(').next());
        let mut paths = functions.flat_map(|name| [format!("{module}::{name}"), format!("{module}::tests::{name}")]);
        paths.any(|path| path.trim_start_matches("::").contains(filter))
    })
}

/// Checks a command line of the program with the program's own parser.
fn lookout(arguments: &[String]) -> Result<(), String> {
    let words = std::iter::once("lookout".to_owned()).chain(arguments.iter().cloned());
    match lookout::cli::parse(words.map(OsString::from)) {
        Ok(_) => Ok(()),
        Err(code) if code == std::process::ExitCode::SUCCESS => Ok(()),
        Err(_) => Err("the command line does not parse; stderr has the reason".to_owned()),
    }
}

/// Checks that subcommands and options exist; values may be placeholders.
fn options(arguments: &[String]) -> Result<(), String> {
    let mut help = help(&[]).unwrap();
    let mut commands: Vec<&str> = Vec::new();
    for word in arguments {
        if let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) {
            let option = option.split('=').next().unwrap_or_default();
            let found =
                help.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == format!("--{option}"));
            if !found {
                return Err(format!("`lookout {}` has no option --{option}", commands.join(" ")));
            }
        } else if word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
            let listed =
                help.lines().any(|line| line.starts_with("  ") && line.trim_start().starts_with(&format!("{word} ")));
            if commands.is_empty() || listed {
                commands.push(word);
                help = self::help(&commands).ok_or_else(|| format!("there is no command {word}"))?;
            }
        }
    }
    Ok(())
}

/// The help text of a command; `None` if there is no such command.
fn help(commands: &[&str]) -> Option<String> {
    let output = Command::new(PROGRAM).args(commands).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The commands of a shell script, split into words; here-documents, pipes and redirections left out.
fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        while let Some(begun) = line.strip_suffix('\\') {
            line = format!("{begun}{}", lines.next().unwrap_or_default().trim());
        }
        if let Some((_, end)) = line.split_once("<<") {
            let end = end.trim_matches(['\'', '"', ' ']).to_owned();
            lines.by_ref().take_while(|line| line.trim() != end).for_each(drop);
        }
        let mut words: Vec<String> = Vec::new();
        let mut ends = |words: &mut Vec<String>| {
            let skip = words.iter().take_while(|word| is_assignment(word)).count();
            let command: Vec<String> = words.drain(..).skip(skip).take_while(|word| !word.contains('>')).collect();
            if !command.is_empty() {
                commands.push(command);
            }
        };
        for word in words_of(line.trim_start_matches('(').trim_end_matches(')')) {
            match word.as_str() {
                "&&" | "||" | "|" | ";" => ends(&mut words),
                _ => words.push(word),
            }
        }
        ends(&mut words);
    }
    commands
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
    })
}

/// The words of one line of shell, quotes removed, up to a comment.
fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Everything that is wrong with a document.
fn problems(document: &Document, repository: &Repository) -> Vec<String> {
    let mut problems = Vec::new();
    let place = |line: usize| format!("{}:{line}", document.path.display());
    for (line, target) in &document.links {
        if let Err(text) = link(document, target) {
            problems.push(format!("{}: link {target}: {text}", place(*line)));
        }
    }
    for block in &document.blocks {
        match block.language.as_str() {
            "sh" => {
                for words in commands(&block.text) {
                    if let Err(text) = command(&words, repository, true) {
                        problems.push(format!("{}: {}: {text}", place(block.line), words.join(" ")));
                    }
                }
            }
            "toml" => {
                if let Err(text) = configuration(&block.text) {
                    problems.push(format!("{}: {text}", place(block.line)));
                }
            }
            "" => problems.push(format!("{}: a code block without a language", place(block.line))),
            _ => {}
        }
    }
    for (line, span) in &document.spans {
        if let Err(text) = code_span(document, span, repository) {
            problems.push(format!("{}: `{span}`: {text}", place(*line)));
        }
    }
    problems
}

fn link(document: &Document, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, wanted) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let anchors = if file.is_empty() {
        document.anchors()
    } else {
        let path = normal(&document.folder().join(file)).ok_or("it leaves the repository")?;
        if !root().join(&path).exists() {
            return Err(format!("there is no {}", path.display()));
        }
        let Some(_) = wanted else { return Ok(()) };
        let text = fs::read_to_string(root().join(&path)).map_err(|error| error.to_string())?;
        Document::parse(&path, &text).anchors()
    };
    match wanted {
        Some(wanted) if !anchors.contains(wanted) => Err(format!("there is no heading #{wanted}")),
        _ => Ok(()),
    }
}

fn command(words: &[String], repository: &Repository, exact: bool) -> Result<(), String> {
    match words[0].as_str() {
        "cargo" => repository.cargo(words, exact),
        program if program.ends_with("/lookout") || program == "lookout" => {
            if exact {
                lookout(&words[1..])
            } else {
                options(&words[1..])
            }
        }
        // A script or program of the repository.
        program if program.contains('/') && !program.starts_with(['/', '.']) && !program.starts_with("target") => {
            if root().join(program).is_file() {
                Ok(())
            } else {
                Err(format!("there is no {program}"))
            }
        }
        _ => Ok(()),
    }
}

fn configuration(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lookout.toml");
    fs::write(&file, text).unwrap();
    let mut program = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOOKOUT__")) {
        program.env_remove(name);
    }
    let output = program.args(["check-config", "--offline"]).arg(&file).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn code_span(document: &Document, span: &str, repository: &Repository) -> Result<(), String> {
    let words: Vec<String> =
        words_of(&span.replace(['[', ']'], " ")).into_iter().skip_while(|word| is_assignment(word)).collect();
    let Some(first) = words.first() else { return Ok(()) };
    if (first == "lookout" || first == "cargo") && words.len() > 1 {
        return command(&words, repository, false);
    }
    let first = first.trim_end_matches('/');
    let placeholder = |c: char| matches!(c, '*' | '<' | '{' | '$' | '~' | '…' | '"' | '(' | '=');
    if first.contains(placeholder) || first.contains("..") || first.contains("NNNN") || first.contains("HOST") {
        return Ok(());
    }
    if first.contains("::") {
        return item(first, repository);
    }
    // A path of the repository begins with something that is in its root or beside the document.
    let Some(top) = first.split('/').next().filter(|top| !top.is_empty() && *top != "target") else { return Ok(()) };
    let is_path = first.contains('/') || [".rs", ".md", ".py", ".sh"].iter().any(|end| first.ends_with(end));
    let folders = [PathBuf::new(), document.folder()];
    let mut bases =
        folders.iter().filter(|base| root().join(base).join(top).exists() && first.contains('/')).peekable();
    if !is_path || (bases.peek().is_none() && first.contains('/')) {
        return Ok(());
    }
    let found = bases.any(|base| root().join(base).join(first).exists())
        || folders.iter().any(|base| root().join(base).join(first).exists());
    if found { Ok(()) } else { Err("there is no such file".to_owned()) }
}

/// Checks a path of modules and items whose first name is a module of the library.
fn item(path: &str, repository: &Repository) -> Result<(), String> {
    let names: Vec<&str> = path.trim_start_matches("lookout::").split("::").collect();
    let (first, last) = (names[0], names[names.len() - 1].trim_end_matches("()"));
    let source = root().join("src");
    if !source.join(first).exists() && !source.join(first).with_extension("rs").exists() {
        return Ok(());
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut before = vec!["fn ", "struct ", "enum ", "trait ", "const ", "static ", "mod ", "type "];
    if last.starts_with(char::is_uppercase) {
        // A variant.
        before.push("    ");
    }
    let defined = before.iter().any(|before| {
        let text = format!("{before}{last}");
        let mut found = repository.source.match_indices(&text);
        found.any(|(at, _)| !repository.source[at + text.len()..].starts_with(is_name))
    });
    if last.is_empty() || defined { Ok(()) } else { Err(format!("the library has no {last}")) }
}

/// Messages in the second column of the table of troubleshooting that no source file holds.
fn unknown_messages(document: &Document, text: &str, repository: &Repository) -> Vec<String> {
    let section =
        text.split("\n## Troubleshooting").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let messages = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    let unknown = messages.filter(|message| {
        let mut pieces = message.split('…').map(str::trim).filter(|piece| piece.len() > 2);
        pieces.any(|piece| !repository.source.contains(piece))
    });
    unknown.map(|message| format!("{}: no source file says `{message}`", document.path.display())).collect()
}

#[test]
fn every_document_is_right() {
    let repository = Repository::read();
    let documents = documents();
    assert!(documents.len() >= 10, "{} documents were found", documents.len());
    let found: Vec<String> = documents.iter().flat_map(|document| problems(document, &repository)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines; at most {README_LINES} are allowed");
}

#[test]
fn the_commands_that_the_virtual_machine_executes_are_one_block_each() {
    let path = Path::new("systemd/README.md");
    let text = fs::read_to_string(root().join(path)).unwrap();
    let document = Document::parse(path, &text);
    for section in EXECUTED {
        let blocks = document.blocks.iter().filter(|block| block.language == "sh" && block.heading == section);
        assert_eq!(blocks.count(), 1, "section {section} of {}", path.display());
    }
    let unknown = unknown_messages(&document, &text, &Repository::read());
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

#[test]
fn every_section_with_commands_is_listed_with_its_last_run() {
    let listed: BTreeSet<String> = {
        let path = Path::new("tests/README.md");
        let document = Document::parse(path, &fs::read_to_string(root().join(path)).unwrap());
        let targets = document.links.iter().map(|(_, target)| document.folder().join(target));
        targets.filter_map(|target| Some(normal(&target)?.display().to_string())).collect()
    };
    for document in documents().iter().filter(|document| document.path != Path::new("tests/README.md")) {
        for block in document.blocks.iter().filter(|block| block.language == "sh") {
            let section = format!("{}#{}", document.path.display(), anchor(&block.heading));
            assert!(listed.contains(&section), "tests/README.md does not say when the commands of {section} were run");
        }
    }
}

#[test]
fn what_is_wrong_is_found() {
    let text = "\
# A heading

[gone](gone.md), [no anchor](README.md#no-such-heading), [here](#a-heading), `src/gone.rs`, `cli::gone`, `src/lib.rs`,
`cli::parse`, `lookout detect --gone`, `lookout gone`, `lookout detect --model FILE`, `cargo test --test gone`

```sh
lookout detect --gone
cargo run --release -- detect --model demo-int8 picture.png | head
cargo run --features gone -- run --demo
tests/gone.sh
```

```toml
[camera]
gone = true
```

```
no language
```
";
    let document = Document::parse(Path::new("broken.md"), text);
    let found = problems(&document, &Repository::read());
    let lines: Vec<&str> = found.iter().filter_map(|text| text.strip_prefix("broken.md:")?.split(':').next()).collect();
    assert_eq!(lines, ["3", "3", "6", "6", "6", "13", "18", "3", "3", "4", "4", "4"], "\n{}", found.join("\n"));
}
