//! Search for the detector's state dict among all tensors of a file.
//!
//! In: a [`Tree`] of every named tensor and the keys that lead to it. Out: the tensors of one state dict under
//! torchvision's names, with notes of where they were. A candidate is a place and a prefix below which names
//! `backbone.…`, `rpn.…` and `roi_heads.…` all stand; wrappers and prefixes are whatever leads there. Several candidates
//! with different weights are an error that lists them, unless the caller names one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use super::names::{self, CurrentName, OtherNetwork};
use super::state_dict::{RawTensor, check_total};
use crate::error::{Error, Kind, Result};

/// The longest name of a tensor or key that is looked into, in bytes.
pub(super) const MAX_NAME: usize = 512;

/// The most tensors of one state dict; a ResNet-101's has 700.
const MAX_TENSORS: usize = 1 << 14;

/// The most state dicts that `--key` chooses from.
const MAX_CANDIDATES: usize = 256;

/// The most state dicts that are compared and listed.
const MAX_LISTED: usize = 16;

/// The most occurrences of a part's name in one name.
const MAX_OCCURRENCES: usize = 8;

/// The longest name in a message, in characters.
const MAX_SHOWN: usize = 120;

/// Modules of torchvision's `GeneralizedRCNN` that hold weights.
const PARTS: [&str; 3] = ["backbone", "rpn", "roi_heads"];

/// Every part found.
const ALL_PARTS: u8 = (1 << PARTS.len()) - 1;

/// Leads from one place to the next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    /// A string key or an attribute.
    Name(&'a str),
    /// An index or an integer key.
    Number(i128),
    /// Any other key.
    Other,
}

/// A dict, list or object that may hold tensors.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The place that holds it; parents come before their children.
    pub(super) parent: Option<usize>,
    /// Its key there.
    pub(super) key: Key<'a>,
    /// True for a pickled `torch.nn.Module`.
    pub(super) is_module: bool,
}

/// Kind of the value under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A tensor.
    Tensor,
    /// A tensor that cannot be read.
    Unusable,
    /// Any other value under a name that [`can_be_weight`].
    Other,
}

/// A named value of a place.
#[derive(Debug)]
pub(super) struct Entry<'a, T> {
    pub(super) place: usize,
    pub(super) name: &'a str,
    pub(super) kind: EntryKind,
    /// Identity of the value, for the caller.
    pub(super) value: T,
}

/// All places and named tensors of a file, in its order.
#[derive(Debug)]
pub(super) struct Tree<'a, T> {
    pub(super) places: Vec<Place<'a>>,
    pub(super) entries: Vec<Entry<'a, T>>,
    /// Number of tensors without a name.
    pub(super) unnamed: usize,
    /// The program that wrote the file, if it left a sign.
    pub(super) program: Option<OtherNetwork>,
}

/// A chosen state dict.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) tensors: BTreeMap<String, RawTensor>,
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// A state dict: the names of one place that start with a prefix.
#[derive(Debug)]
struct Candidate<'a> {
    place: usize,
    prefix: &'a str,
    /// Keys that lead to the place, joined by dots.
    path: String,
    /// Path and prefix.
    full: String,
    /// The name that messages show and `--key` takes.
    name: String,
}

/// Tensors of a candidate, by name without prefix.
struct Members {
    /// Name and index of the entry.
    entries: Vec<(String, usize)>,
    /// Entries with the prefix that belong to no part of the network.
    unused: Vec<usize>,
}

/// True if a value of this name could be a weight, so that its absence matters.
pub(super) fn can_be_weight(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    matches!(last, "weight" | "bias" | "running_mean" | "running_var") || !parts(name, false).is_empty()
}

/// Chooses the detector's state dict and reads its tensors' descriptions with `locate`. `key` names one of several.
/// Without any candidate the result is the largest dict of tensors, so that the caller can say what it is instead.
///
/// # Errors
/// [`Kind::Data`] if several state dicts differ and `key` is none, if a tensor is none or occurs twice, or if the file
/// is another program's; [`Kind::Usage`] if `key` names no state dict; what `locate` returns.
pub(super) fn choose<T: Copy + Eq + Hash>(
    tree: &Tree<'_, T>,
    file: &[u8],
    key: Option<&str>,
    mut locate: impl FnMut(T) -> Result<RawTensor>,
) -> Result<Chosen> {
    let candidates = find(tree);
    let Some(first) = candidates.first() else { return largest(tree, locate) };
    let mut notes = Vec::new();
    let chosen = match key {
        Some(key) => named(&candidates, key)?,
        None if candidates.len() == 1 => first,
        None => {
            compare(tree, &candidates, file, &mut locate)?;
            let names: Vec<String> = candidates.iter().map(|other| quote(&other.name)).collect();
            notes.push(format!("{} hold the same weights; {} was taken", names.join(" and "), names[0]));
            first
        }
    };
    let members = members(tree, chosen, &candidates)?;
    let tensors = tensors(tree, &members, locate)?;
    if !chosen.path.is_empty() {
        notes.push(format!("the state dict was taken from key {}", quote(&chosen.path)));
    }
    if tree.places[chosen.place].is_module {
        notes.push("it is a pickled module: its weights were read, its code and its settings were not".to_owned());
    }
    if !chosen.prefix.is_empty() {
        notes.push(format!("the prefix {} was stripped from every name", quote(chosen.prefix)));
    }
    let used: HashSet<T> = members
        .entries
        .iter()
        .map(|&(_, entry)| entry)
        .chain(members.unused.iter().copied())
        .map(|entry| tree.entries[entry].value)
        .collect();
    let mut counted = HashSet::new();
    let is_left = |entry: &&Entry<'_, T>| entry.kind != EntryKind::Other && !used.contains(&entry.value);
    let left: Vec<_> = tree.entries.iter().filter(is_left).filter(|entry| counted.insert(entry.value)).collect();
    let count = left.len() + tree.unnamed;
    if count > 0 {
        let example = left.first().map(|entry| full_name(tree, entry));
        let example = example.map_or(String::new(), |name| format!(", such as {}", quote(&name)));
        notes.push(format!("{} left out{example}", count_of(count, "the state dict")));
    }
    let mut warnings = Vec::new();
    if let Some(&unused_entry) = members.unused.first() {
        warnings.push(format!(
            "{} left out, such as {}; if the network computes with it, detections will differ",
            count_of(members.unused.len(), "backbone, rpn and roi_heads"),
            quote(tree.entries[unused_entry].name)
        ));
    }
    Ok(Chosen { tensors, notes, warnings })
}

/// The other program or network whose names the file has, as an error.
pub(super) fn other_network<T: Copy>(tree: &Tree<'_, T>) -> Option<Error> {
    let (place, _) = largest_place(tree)?;
    let names = flat(tree, place);
    let text = match names::foreign(|| names.iter().map(|(name, _)| name.as_str())) {
        Some((network, name)) => format!("{}, as tensor {} shows; {}", network.what, shown(name), network.expected()),
        None => {
            let network = tree.program?;
            format!("{}, as its keys show; {}", network.what, network.expected())
        }
    };
    Some(Error::new(Kind::Data, text))
}

/// Prefixes in `name` before a part of the network, and the part's bit. A key of a place may end with the part.
fn parts(name: &str, is_key: bool) -> Vec<(&str, u8)> {
    let mut found = Vec::new();
    if name.len() > MAX_NAME {
        return found;
    }
    let mut start = 0;
    for segment in name.split('.') {
        let end = start + segment.len();
        if (is_key || end < name.len())
            && let Some(part) = PARTS.iter().position(|&part| part == segment)
            && found.len() < MAX_OCCURRENCES
        {
            found.push((&name[..start], 1 << part));
        }
        start = end + 1;
    }
    found
}

/// All candidates, in the file's order.
fn find<'a, T: Copy>(tree: &Tree<'a, T>) -> Vec<Candidate<'a>> {
    let masks = masks(tree);
    let mut found: Vec<(usize, usize, &'a str)> = masks
        .into_iter()
        .filter(|&(_, (mask, _))| mask == ALL_PARTS)
        .map(|((place, prefix), (_, order))| (order, place, prefix))
        .collect();
    found.sort_unstable();
    let mut candidates: Vec<Candidate<'a>> = found
        .iter()
        .take(MAX_CANDIDATES)
        .map(|&(_, place, prefix)| {
            let path = path(tree, place);
            let full = join(&path, prefix.trim_end_matches('.'));
            let is_alone = found.iter().filter(|&&(_, other, _)| other == place).count() == 1;
            let name = if is_alone && !path.is_empty() { path.clone() } else { full.clone() };
            let name = if name.is_empty() { ".".to_owned() } else { name };
            Candidate { place, prefix, path, full, name }
        })
        .collect();
    // Keys with dots in them may give two candidates one name.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for candidate in &mut candidates {
        let count = seen.entry(candidate.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            candidate.name = format!("{}#{count}", candidate.name);
            candidate.full.clone_from(&candidate.name);
        }
    }
    candidates
}

/// Parts found below each place and prefix, as bits, and the order of the first.
fn masks<'a, T: Copy>(tree: &Tree<'a, T>) -> HashMap<(usize, &'a str), (u8, usize)> {
    let mut masks: HashMap<(usize, &str), (u8, usize)> = HashMap::new();
    let mut add = |place: usize, prefix, bit| {
        let order = masks.len();
        masks.entry((place, prefix)).or_insert((0, order)).0 |= bit;
    };
    let mut holds_weights = vec![false; tree.places.len()];
    for entry in &tree.entries {
        if entry.kind != EntryKind::Other {
            holds_weights[entry.place] = true;
            for (prefix, bit) in parts(entry.name, false) {
                add(entry.place, prefix, bit);
            }
        }
    }
    for (index, place) in tree.places.iter().enumerate().rev() {
        if let (true, Some(parent)) = (holds_weights[index], place.parent) {
            holds_weights[parent] = true;
        }
    }
    for (index, place) in tree.places.iter().enumerate() {
        if let (true, Some(parent), Key::Name(key)) = (holds_weights[index], place.parent, place.key) {
            for (prefix, bit) in parts(key, true) {
                add(parent, prefix, bit);
            }
        }
    }
    masks
}

/// The candidate that `--key` names.
fn named<'c, 'a>(candidates: &'c [Candidate<'a>], key: &str) -> Result<&'c Candidate<'a>> {
    let mut found = candidates.iter().filter(|candidate| candidate.name == key || shown(&candidate.name) == key);
    let found = found.next().or_else(|| candidates.iter().find(|candidate| candidate.full == key));
    found.ok_or_else(|| {
        let names: Vec<String> = candidates.iter().take(MAX_LISTED).map(|other| quote(&other.name)).collect();
        let more = if candidates.len() > MAX_LISTED { ", …" } else { "" };
        let text = format!("--key {key:?} names no state dict of the file; it has {}{more}", names.join(", "));
        Error::new(Kind::Usage, text)
    })
}

/// Checks that all candidates hold the same weights.
///
/// # Errors
/// [`Kind::Data`], which lists them, if they do not.
fn compare<T: Copy>(
    tree: &Tree<'_, T>,
    candidates: &[Candidate<'_>],
    file: &[u8],
    mut locate: impl FnMut(T) -> Result<RawTensor>,
) -> Result<()> {
    let first = &candidates[0];
    let mut read = |candidate: &Candidate<'_>| -> Result<(usize, Result<BTreeMap<String, RawTensor>>)> {
        let members = members(tree, candidate, candidates)?;
        let tensors = tensors(tree, &members, &mut locate).and_then(|mut tensors| {
            tensors.retain(|name, _| names::current(name) != CurrentName::Ignored);
            check_total(&tensors, file.len())?;
            Ok(tensors)
        });
        Ok((members.entries.len(), tensors))
    };
    let (count, reference) = read(first)?;
    let mut lines = vec![describe(first, count, "")];
    let mut are_equal = reference.is_ok() && candidates.len() <= MAX_LISTED;
    for candidate in candidates.iter().take(MAX_LISTED).skip(1) {
        let (count, tensors) = read(candidate)?;
        let difference = match (&reference, &tensors) {
            (Ok(reference), Ok(tensors)) => difference(reference, tensors, file, &first.name)?,
            (_, Err(error)) => Some(format!("cannot be read: {}", error.message())),
            (Err(_), _) => Some("other tensors".to_owned()),
        };
        are_equal &= difference.is_none();
        lines.push(describe(candidate, count, difference.as_deref().unwrap_or("the same weights")));
    }
    if are_equal {
        return Ok(());
    }
    if let Err(error) = &reference {
        lines[0] = describe(first, count, &format!("cannot be read: {}", error.message()));
    }
    let total = candidates.len();
    let more = if total > MAX_LISTED { "; …" } else { "" };
    let text = format!("it holds {total} state dicts; choose one with --key: {}{more}", lines.join("; "));
    Err(Error::new(Kind::Data, text))
}

/// A candidate in a list: its name, prefix, number of tensors, and what differs.
fn describe(candidate: &Candidate<'_>, count: usize, difference: &str) -> String {
    let is_named = candidate.prefix.is_empty() || candidate.name != candidate.path;
    let prefix = if is_named { String::new() } else { format!(", prefix {}", quote(candidate.prefix)) };
    let difference = if difference.is_empty() { String::new() } else { format!(", {difference}") };
    format!("{} ({count} tensors{prefix}{difference})", shown(&candidate.name))
}

/// The difference of `tensors` from `reference`, in a few words; `None` if they are the same.
fn difference(
    reference: &BTreeMap<String, RawTensor>,
    tensors: &BTreeMap<String, RawTensor>,
    file: &[u8],
    name: &str,
) -> Result<Option<String>> {
    let missing = |a: &BTreeMap<String, RawTensor>, b: &BTreeMap<String, RawTensor>| {
        a.keys().find(|name| !b.contains_key(*name)).map(|name| quote(name))
    };
    if let Some(tensor) = missing(reference, tensors) {
        return Ok(Some(format!("without {tensor}")));
    }
    if let Some(tensor) = missing(tensors, reference) {
        return Ok(Some(format!("{} lacks its {tensor}", shown(name))));
    }
    let (mut values, mut types) = (0, 0);
    for (tensor, other) in reference.iter().zip(tensors.values()) {
        let ((tensor, reference), other) = (tensor, other);
        if reference.shape != other.shape {
            return Ok(Some(format!("{} is {:?} instead of {:?}", quote(tensor), other.shape, reference.shape)));
        }
        if reference.element != other.element {
            types += 1;
        } else if !reference.has_same_values(other, file)? {
            values += 1;
        }
    }
    Ok(match (types, values) {
        (0, 0) => None,
        (0, values) => Some(format!("other values than {} in {values}", shown(name))),
        (types, _) => Some(format!("other element types than {} in {types}", shown(name))),
    })
}

/// The tensors of a candidate, without those of another candidate below the same prefix.
///
/// # Errors
/// [`Kind::Data`] above [`MAX_TENSORS`].
fn members<T: Copy>(tree: &Tree<'_, T>, own: &Candidate<'_>, all: &[Candidate<'_>]) -> Result<Members> {
    let longer: Vec<&str> = all
        .iter()
        .filter(|other| other.place == own.place && other.prefix.len() > own.prefix.len())
        .map(|other| other.prefix)
        .filter(|other| other.starts_with(own.prefix))
        .collect();
    let below = below(tree, own);
    let mut members = Members { entries: Vec::new(), unused: Vec::new() };
    for (index, entry) in tree.entries.iter().enumerate() {
        let name = if entry.place == own.place {
            let Some(name) = entry.name.strip_prefix(own.prefix) else { continue };
            if longer.iter().any(|prefix| entry.name.starts_with(prefix)) {
                continue;
            }
            let part = name.split_once('.').map(|(part, _)| part);
            if !part.is_some_and(|part| PARTS.contains(&part)) {
                if entry.kind != EntryKind::Other {
                    members.unused.push(index);
                }
                continue;
            }
            name.to_owned()
        } else {
            let Some(path) = below.get(&entry.place) else { continue };
            join(path, entry.name)
        };
        members.entries.push((name, index));
        if members.entries.len() > MAX_TENSORS {
            return Err(Error::new(Kind::Data, format!("a state dict of more than {MAX_TENSORS} tensors")));
        }
    }
    Ok(members)
}

/// Names of the places below a candidate whose keys are its parts: a module's, or those of a dict for each part.
fn below<T>(tree: &Tree<'_, T>, own: &Candidate<'_>) -> HashMap<usize, String> {
    let mut below: HashMap<usize, String> = HashMap::new();
    for (index, place) in tree.places.iter().enumerate().skip(own.place + 1) {
        let Some(parent) = place.parent else { continue };
        let name = if parent == own.place {
            let Key::Name(key) = place.key else { continue };
            key.strip_prefix(own.prefix).map(str::to_owned).filter(|name| {
                let part = name.split('.').next().unwrap_or_default();
                PARTS.contains(&part)
            })
        } else {
            // Attributes of a module that are no submodules are not below it by name, but a detector's parts have none.
            below.get(&parent).map(|path| join(path, &key_text(place.key)))
        };
        if let Some(name) = name.filter(|name| name.len() <= MAX_NAME)
            && below.len() < MAX_TENSORS
        {
            below.insert(index, name);
        }
    }
    below
}

/// Views of all members.
fn tensors<T: Copy>(
    tree: &Tree<'_, T>,
    members: &Members,
    mut locate: impl FnMut(T) -> Result<RawTensor>,
) -> Result<BTreeMap<String, RawTensor>> {
    let mut tensors = BTreeMap::new();
    for (name, index) in &members.entries {
        let raw = locate(tree.entries[*index].value).map_err(|e| e.at(format!("tensor {}", shown(name))))?;
        if tensors.insert(name.clone(), raw).is_some() {
            return Err(Error::new(Kind::Data, format!("tensor {} occurs twice", shown(name))));
        }
    }
    Ok(tensors)
}

/// The largest dict of tensors, for a file without a detector; the caller finds out what is missing.
fn largest<T: Copy + Eq + Hash>(tree: &Tree<'_, T>, locate: impl FnMut(T) -> Result<RawTensor>) -> Result<Chosen> {
    // The caller recognizes other networks by their shapes; where values are no tensors, names alone must do.
    if (tree.program.is_some() || tree.entries.iter().any(|entry| entry.kind != EntryKind::Tensor))
        && let Some(error) = other_network(tree)
    {
        return Err(error);
    }
    let mut members = Members { entries: Vec::new(), unused: Vec::new() };
    if let Some((place, prefix)) = largest_place(tree) {
        members.entries = flat(tree, place);
        if members.entries.iter().all(|(name, _)| name.starts_with(prefix)) {
            members.entries.iter_mut().for_each(|(name, _)| *name = name.split_off(prefix.len()));
        }
    }
    Ok(Chosen { tensors: tensors(tree, &members, locate)?, notes: Vec::new(), warnings: Vec::new() })
}

/// The place with the most tensors, and the prefix below which it has most parts. Of a module its outermost one.
fn largest_place<'a, T: Copy>(tree: &Tree<'a, T>) -> Option<(usize, &'a str)> {
    let mut counts = vec![0usize; tree.places.len()];
    tree.entries.iter().for_each(|entry| counts[entry.place] += 1);
    let (index, _) =
        counts.iter().enumerate().rev().max_by_key(|&(_, count)| count).filter(|&(_, &count)| count > 0)?;
    let mut place = index;
    while tree.places[place].is_module
        && let Some(parent) = tree.places[place].parent
        && tree.places[parent].is_module
    {
        place = parent;
    }
    let masks = masks(tree);
    let prefixes: BTreeSet<(u32, usize, &str)> = masks
        .into_iter()
        .filter(|((other, _), _)| *other == place)
        .map(|((_, prefix), (mask, order))| (mask.count_ones(), usize::MAX - order, prefix))
        .collect();
    Some((place, prefixes.last().map_or("", |&(.., prefix)| prefix)))
}

/// Names of all tensors of a place, and, if it is a module, of its submodules.
fn flat<T: Copy>(tree: &Tree<'_, T>, from: usize) -> Vec<(String, usize)> {
    let mut names: HashMap<usize, String> = HashMap::from([(from, String::new())]);
    for (index, place) in tree.places.iter().enumerate().skip(from + 1) {
        if place.is_module
            && names.len() < MAX_TENSORS
            && let Some(path) = place.parent.and_then(|parent| names.get(&parent))
        {
            let name = join(path, &key_text(place.key));
            if name.len() <= MAX_NAME {
                names.insert(index, name);
            }
        }
    }
    let name = |(index, entry): (usize, &Entry<'_, T>)| {
        let path = names.get(&entry.place)?;
        (entry.name.len() <= MAX_NAME).then(|| (join(path, entry.name), index))
    };
    tree.entries.iter().enumerate().filter_map(name).take(MAX_TENSORS).collect()
}

/// Keys from the root to a place, joined by dots.
fn path<T>(tree: &Tree<'_, T>, place: usize) -> String {
    let mut keys = Vec::new();
    let mut at = place;
    while let Some(parent) = tree.places[at].parent {
        keys.push(key_text(tree.places[at].key));
        at = parent;
    }
    keys.reverse();
    keys.join(".")
}

fn full_name<T>(tree: &Tree<'_, T>, entry: &Entry<'_, T>) -> String {
    join(&path(tree, entry.place), entry.name)
}

fn key_text(key: Key<'_>) -> String {
    match key {
        Key::Name(name) => name.to_owned(),
        Key::Number(number) => number.to_string(),
        Key::Other => "?".to_owned(),
    }
}

fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

/// A name for messages: of limited length and without control characters.
fn shown(name: &str) -> String {
    let clipped: String = name.chars().take(MAX_SHOWN).collect();
    let more = if clipped.len() < name.len() { "…" } else { "" };
    format!("{}{more}", clipped.escape_debug())
}

fn quote(name: &str) -> String {
    format!("\"{}\"", shown(name))
}

fn count_of(count: usize, beside: &str) -> String {
    match count {
        1 => format!("1 tensor beside {beside} was"),
        _ => format!("{count} tensors beside {beside} were"),
    }
}
