//! Dependency graph of the source files, read as text: for every path in the code, the file that defines its item.
//!
//! Comments, literals and test modules are left out. A re-export is followed to the definition, and a module that
//! re-exports what its own folder defines does not depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Path of a module or an item from the crate's root, without `crate`.
pub type ItemPath = Vec<String>;

/// A path in the code of one file, and the file that defines its item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub line: usize,
    /// As written, from the crate's root; re-exports are not followed.
    pub written: ItemPath,
    /// Index of the defining file.
    pub target: usize,
}

/// One source file.
#[derive(Debug, Default)]
pub struct File {
    /// From the crate's root, such as `src/web/api.rs`.
    pub path: String,
    pub module: ItemPath,
    pub uses: Vec<Use>,
    paths: Vec<Written>,
    /// Names that other modules can reach here: of imports and re-exports, with their paths.
    imports: BTreeMap<String, ItemPath>,
    globs: Vec<ItemPath>,
    definitions: BTreeSet<String>,
    /// Children that are compiled for tests only.
    test_modules: Vec<String>,
}

/// A path before it is resolved.
#[derive(Debug)]
struct Written {
    line: usize,
    path: ItemPath,
    reexport: bool,
}

/// All source files and what they use.
#[derive(Debug)]
pub struct Graph {
    pub files: Vec<File>,
    by_module: BTreeMap<ItemPath, usize>,
}

impl Graph {
    /// Reads every `.rs` file below `src` in `root`.
    pub fn read(root: &Path) -> Self {
        let mut paths = Vec::new();
        super::sources(&root.join("src"), &mut paths);
        let sources = paths.iter().map(|path| {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        });
        Self::new(sources)
    }

    /// The graph of `sources`, pairs of path and text.
    pub fn new(sources: impl IntoIterator<Item = (String, String)>) -> Self {
        let sources: Vec<_> = sources.into_iter().collect();
        let modules: BTreeSet<ItemPath> = sources.iter().map(|(path, _)| module_of(path)).collect();
        let mut files: Vec<File> = sources.iter().map(|(path, text)| File::parse(path, text, &modules)).collect();
        // Files of tests only are no part of the product.
        let tests: BTreeSet<ItemPath> =
            files.iter().flat_map(|file| file.test_modules.iter().map(|name| child(&file.module, name))).collect();
        files.retain(|file| !tests.iter().any(|test| file.module.starts_with(test)));
        let by_module = files.iter().enumerate().map(|(index, file)| (file.module.clone(), index)).collect();
        let mut graph = Self { files, by_module };
        for index in 0..graph.files.len() {
            graph.files[index].uses = graph.resolve_file(index);
        }
        graph
    }

    fn resolve_file(&self, index: usize) -> Vec<Use> {
        let file = &self.files[index];
        let mut uses: Vec<Use> = Vec::new();
        for written in &file.paths {
            let Some(target) = self.resolve(&written.path, 0) else { continue };
            let own_face = written.reexport && self.files[target].module.starts_with(&file.module);
            let known = uses.iter().any(|other| other.target == target && other.written == written.path);
            if target != index && !own_face && !known {
                uses.push(Use { line: written.line, written: written.path.clone(), target });
            }
        }
        uses
    }

    /// The file that defines the item `path`; `None` for a module by itself and for what the tree does not hold.
    fn resolve(&self, path: &[String], depth: usize) -> Option<usize> {
        if depth > 8 {
            return None;
        }
        let modules = (0..=path.len()).rev().find(|&length| self.by_module.contains_key(&path[..length]))?;
        let index = self.by_module[&path[..modules]];
        let file = &self.files[index];
        let name = path.get(modules)?;
        if file.definitions.contains(name) {
            return Some(index);
        }
        if let Some(origin) = file.imports.get(name) {
            let origin: ItemPath = origin.iter().chain(&path[modules + 1..]).cloned().collect();
            return self.resolve(&origin, depth + 1);
        }
        for glob in &file.globs {
            let inside = child(glob, name);
            if let Some(found) = self.resolve(&inside, depth + 1).filter(|&found| self.defines(found, name)) {
                return Some(found);
            }
        }
        Some(index)
    }

    fn defines(&self, file: usize, name: &str) -> bool {
        self.files[file].definitions.contains(name)
    }

    /// Sets of more than one file that all use each other, directly or through the others; sorted by path.
    pub fn circles(&self) -> Vec<Vec<usize>> {
        let reached: Vec<BTreeSet<usize>> = (0..self.files.len()).map(|from| self.reachable(from)).collect();
        let mut placed = BTreeSet::new();
        let mut circles = Vec::new();
        for from in 0..self.files.len() {
            let circle: Vec<usize> = reached[from]
                .iter()
                .copied()
                .filter(|&to| reached[to].contains(&from) && !placed.contains(&to))
                .collect();
            if circle.len() > 1 && circle.contains(&from) {
                placed.extend(circle.iter().copied());
                circles.push(circle);
            }
        }
        circles
    }

    /// The files that `from` uses, directly or through others.
    fn reachable(&self, from: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            let targets =
                self.files[file].uses.iter().map(|one| one.target).filter(|&target| !self.is_part(target, file));
            open.extend(targets.filter(|&target| found.insert(target)));
        }
        found
    }

    /// True if `part` is in the folder whose `mod.rs` is `whole`.
    fn is_part(&self, part: usize, whole: usize) -> bool {
        part != whole && self.files[part].module.starts_with(&self.files[whole].module)
    }

    /// One line for each use between two of `files`.
    pub fn describe(&self, files: &[usize]) -> String {
        let mut lines = String::new();
        for &from in files {
            for used in self.files[from].uses.iter().filter(|used| files.contains(&used.target)) {
                let (path, to) = (&self.files[from].path, &self.files[used.target].path);
                lines += &format!("  {path}:{} uses {} of {to}\n", used.line, used.written.join("::"));
            }
        }
        lines
    }
}

impl File {
    fn parse(path: &str, text: &str, modules: &BTreeSet<ItemPath>) -> Self {
        let module = module_of(path);
        let mut file = Self { path: path.to_owned(), module: module.clone(), ..Self::default() };
        let tokens = tokens(&without_literals(text));
        let mut reader = Reader { tokens: &tokens, at: 0, scope: module, inline: Vec::new(), depth: 0, modules };
        while reader.at < tokens.len() {
            reader.step(&mut file);
        }
        file
    }
}

/// Walks over a file's tokens.
struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module that the current token stands in.
    scope: ItemPath,
    /// Inline modules that are open, by the depth of braces around each.
    inline: Vec<usize>,
    depth: usize,
    modules: &'a BTreeSet<ItemPath>,
}

impl<'a> Reader<'a> {
    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn step(&mut self, file: &mut File) {
        match self.text(self.at) {
            "#" if self.is_test_attribute() => self.skip_test_item(file),
            "use" => self.read_use(file),
            "mod" if self.text(self.at + 2) == "{" => {
                self.inline.push(self.depth);
                self.scope.push(self.text(self.at + 1).to_owned());
                self.depth += 1;
                self.at += 3;
            }
            "{" => {
                self.depth += 1;
                self.at += 1;
            }
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                if self.inline.last() == Some(&self.depth) {
                    self.inline.pop();
                    self.scope.pop();
                }
                self.at += 1;
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "macro_rules" => {
                let name = self.at + if self.text(self.at + 1) == "!" { 2 } else { 1 };
                if self.depth == 0 && is_name(self.text(name)) {
                    file.definitions.insert(self.text(name).to_owned());
                }
                self.at += 1;
            }
            text if is_name(text) && self.text(self.at + 1) == "::" => self.read_path(file),
            _ => self.at += 1,
        }
    }

    /// `#[cfg(test)]`.
    fn is_test_attribute(&self) -> bool {
        ["#", "[", "cfg", "(", "test", ")", "]"]
            .iter()
            .enumerate()
            .all(|(index, text)| self.text(self.at + index) == *text)
    }

    /// Skips the item behind `#[cfg(test)]`; notes the file where it is a module of its own.
    fn skip_test_item(&mut self, file: &mut File) {
        self.at += 7;
        let mut depth = 0;
        while self.at < self.tokens.len() {
            let text = self.text(self.at);
            if depth == 0 && text == "mod" && self.text(self.at + 2) == ";" {
                file.test_modules.push(self.text(self.at + 1).to_owned());
            }
            match text {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && (text == "}" || text == ";") {
                return;
            }
        }
    }

    fn read_use(&mut self, file: &mut File) {
        let reexport = self.at > 0 && matches!(self.text(self.at - 1), "pub" | ")");
        self.at += 1;
        // A leading `::` names another crate.
        if self.text(self.at) == "::" {
            return;
        }
        self.read_tree(&Vec::new(), reexport, file);
    }

    /// A use tree behind `prefix`, up to the `,`, `}` or `;` that ends it.
    fn read_tree(&mut self, prefix: &ItemPath, reexport: bool, file: &mut File) {
        let line = self.tokens[self.at].line;
        let mut path = prefix.clone();
        loop {
            match self.text(self.at) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(self.at), "}" | "") {
                        self.read_tree(&path, reexport, file);
                        if self.text(self.at) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => {
                    self.at += 1;
                    if let Some(path) = self.absolute(&path) {
                        file.globs.push(path);
                    }
                    return;
                }
                "::" => self.at += 1,
                "as" => {
                    let alias = self.text(self.at + 1).to_owned();
                    self.at += 2;
                    return self.import(path, alias, line, reexport, file);
                }
                text if is_name(text) => {
                    path.push(text.to_owned());
                    self.at += 1;
                }
                _ => {
                    if path.last().is_some_and(|last| last == "self") {
                        path.pop();
                    }
                    let alias = path.last().cloned().unwrap_or_default();
                    return self.import(path, alias, line, reexport, file);
                }
            }
        }
    }

    fn import(&self, path: ItemPath, alias: String, line: usize, reexport: bool, file: &mut File) {
        let Some(path) = self.absolute(&path) else { return };
        if self.inline.is_empty() {
            file.imports.insert(alias, path.clone());
        }
        file.paths.push(Written { line, path, reexport });
    }

    /// A path in an expression or a type.
    fn read_path(&mut self, file: &mut File) {
        let line = self.tokens[self.at].line;
        let external = self.at > 0 && matches!(self.text(self.at - 1), "::");
        let mut path = Vec::new();
        while is_name(self.text(self.at)) {
            path.push(self.text(self.at).to_owned());
            self.at += 1;
            if self.text(self.at) != "::" {
                break;
            }
            self.at += 1;
        }
        let imported = file.imports.get(&path[0]).map(|origin| origin.iter().chain(&path[1..]).cloned().collect());
        if let Some(path) = imported.or_else(|| self.absolute(&path)).filter(|_| !external) {
            file.paths.push(Written { line, path, reexport: false });
        }
    }

    /// `path` from the crate's root; `None` for another crate's.
    fn absolute(&self, path: &[String]) -> Option<ItemPath> {
        let mut scope = self.scope.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                scope.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {}
            name if self.modules.contains(&child(&scope, name)) => {}
            _ => return None,
        }
        while rest.first().is_some_and(|name| name == "super") {
            scope.pop()?;
            rest = &rest[1..];
        }
        scope.extend(rest.iter().cloned());
        Some(scope)
    }
}

fn child(module: &[String], name: &str) -> ItemPath {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// The module that the file at `path` is.
fn module_of(path: &str) -> ItemPath {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}

#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && !["use", "mod", "as", "fn"].contains(&text)
}

/// Words, `::`, and every other character that is not a space.
fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push(Token { line: index + 1, text: rest[..length].to_owned() });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// `text` with comments, strings and characters cut out, and its line breaks kept.
fn without_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let previous = code.chars().next_back().unwrap_or(' ');
        let in_word = previous.is_alphanumeric() || previous == '_';
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#\"")) => {
                let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
                let start = end.len() + 1;
                rest[start..].find(end).map_or(rest.len(), |found| start + found + end.len())
            }
            '"' => string_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|&c| c == '\n'));
            code.push(' ');
            rest = &rest[length..];
        }
    }
    code
}

/// Length of the string literal that `rest` begins with.
fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the character literal that `rest` begins with; 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(rest.len(), |end| end + 4),
        Some(_) => characters.next().filter(|(_, c)| *c == '\'').map_or(0, |(index, _)| index + 1),
        None => 0,
    }
}
