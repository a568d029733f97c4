//! Walk from a pickle's root to all its tensors.
//!
//! In: a [`Pickle`]. Out: a [`Tree`]: every dict, list and object as a place with the key that leads to it, and every
//! tensor with its name there. Promises: the walk ends, however values contain each other. It visits a value at most
//! [`MAX_VISITS`] times, because one state dict may stand under several keys.

use std::collections::HashSet;

use super::super::candidates::{Entry, EntryKind, Key, MAX_NAME, Place, Tree, can_be_weight};
use super::super::names::OtherNetwork;
use super::machine::Pickle;
use super::node::{Node, NodeId};
use crate::error::{Error, Kind, Result};

/// The most keys under which the contents of one value are found.
const MAX_VISITS: u8 = 4;

/// The most keys on the way to a value.
const MAX_DEPTH: usize = 64;

/// The most places and tensors.
const MAX_FOUND: usize = 1 << 18;

/// Finds all tensors by the keys that lead to them.
///
/// # Errors
/// [`Kind::Data`] above the limit of places or tensors.
pub(super) fn tree<'p>(pickle: &'p Pickle<'_>) -> Result<Tree<'p, NodeId>> {
    let root = Place { parent: None, key: Key::Other, is_module: false };
    let mut walk = Walk {
        pickle,
        visits: vec![0; pickle.nodes.len()],
        nodes: vec![pickle.root],
        waiting: Vec::new(),
        tree: Tree { places: vec![root], entries: Vec::new(), unnamed: 0, program: program(pickle) },
    };
    let mut next = Some(Waiting { place: 0, depth: 0 });
    while let Some(Waiting { place, depth }) = next {
        let from = walk.waiting.len();
        walk.expand(place, depth);
        // The first value is walked first, so that state dicts come in the file's order.
        walk.waiting[from..].reverse();
        if walk.tree.places.len() > MAX_FOUND || walk.tree.entries.len() > MAX_FOUND {
            return Err(Error::new(Kind::Data, format!("more than {MAX_FOUND} dicts, lists and tensors")));
        }
        next = walk.waiting.pop();
    }
    Ok(walk.tree)
}

/// A place whose members were not looked at yet.
struct Waiting {
    place: usize,
    depth: usize,
}

struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    /// Visits of each value.
    visits: Vec<u8>,
    /// Value of each place.
    nodes: Vec<NodeId>,
    waiting: Vec<Waiting>,
    tree: Tree<'p, NodeId>,
}

impl<'p> Walk<'p, '_> {
    /// Counts a visit; false once there were enough.
    fn enter(&mut self, id: NodeId) -> bool {
        match self.visits.get_mut(id) {
            Some(visits) if *visits < MAX_VISITS => {
                *visits += 1;
                true
            }
            _ => false,
        }
    }

    /// Finds the members of a place.
    fn expand(&mut self, place: usize, depth: usize) {
        match self.pickle.node(self.nodes[place]) {
            Node::Dict(items) => self.items(items, place, depth),
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => self.elements(items, place, depth),
            Node::Object(object) => {
                self.items(&object.items, place, depth);
                self.elements(&object.elements, place, depth);
                if let Node::Tuple(arguments) = self.pickle.node(object.arguments)
                    && self.enter(object.arguments)
                {
                    self.elements(arguments, place, depth);
                }
                for &state in &object.states {
                    self.state(state, place, depth);
                }
            }
            _ => {}
        }
    }

    /// The attributes of an object, which may be a dict, or a tuple with a dict in it for classes with slots.
    fn state(&mut self, state: NodeId, place: usize, depth: usize) {
        if !self.enter(state) {
            return;
        }
        match self.pickle.node(state) {
            Node::Dict(attributes) => {
                if !self.module(state, place, depth) {
                    self.items(attributes, place, depth);
                }
            }
            Node::Tuple(parts) => {
                for &part in parts {
                    match self.pickle.node(part) {
                        Node::Dict(attributes) if self.enter(part) => self.items(attributes, place, depth),
                        _ => self.member(Key::Other, part, place, depth),
                    }
                }
            }
            _ => self.member(Key::Other, state, place, depth),
        }
    }

    /// Tensors of a `torch.nn.Module` under the names that `Module.state_dict` gives them. Returns false if the
    /// attributes are not a module's.
    fn module(&mut self, attributes: NodeId, place: usize, depth: usize) -> bool {
        let pickle = self.pickle;
        let dict = |name: &str| {
            let id = pickle.entry(attributes, name)?;
            match pickle.node(id) {
                Node::Dict(items) => Some((id, items)),
                _ => None,
            }
        };
        let (Some(parameters), Some(buffers), Some(modules)) =
            (dict("_parameters"), dict("_buffers"), dict("_modules"))
        else {
            return false;
        };
        self.tree.places[place].is_module = true;
        let mut transient = HashSet::new();
        if let Some(id) = pickle.entry(attributes, "_non_persistent_buffers_set")
            && let Node::Set(names) = pickle.node(id)
            && self.enter(id)
        {
            transient.extend(names.iter().filter_map(|&id| pickle.text(id)));
        }
        for (id, items) in [parameters, buffers, modules] {
            if self.enter(id) {
                let kept = |key: NodeId| id != buffers.0 || pickle.text(key).is_none_or(|key| !transient.contains(key));
                for &(key, value) in items.iter().filter(|&&(key, _)| kept(key)) {
                    // A parameter that a module was made without, such as a bias.
                    if !matches!(pickle.node(value), Node::None) {
                        self.member(self.key(key), value, place, depth);
                    }
                }
            }
        }
        // Other attributes, such as a second network in a list.
        let Node::Dict(all) = pickle.node(attributes) else { return true };
        for &(key, value) in all {
            if !matches!(pickle.text(key), Some("_parameters" | "_buffers" | "_modules")) {
                self.member(self.key(key), value, place, depth);
            }
        }
        true
    }

    fn items(&mut self, items: &'p [(NodeId, NodeId)], place: usize, depth: usize) {
        for &(key, value) in items {
            self.member(self.key(key), value, place, depth);
        }
    }

    fn elements(&mut self, items: &[NodeId], place: usize, depth: usize) {
        for (&item, index) in items.iter().zip(0..) {
            self.member(Key::Number(index), item, place, depth);
        }
    }

    fn key(&self, id: NodeId) -> Key<'p> {
        match self.pickle.node(id) {
            Node::Str(name) => Key::Name(name),
            Node::Int(value) => Key::Number(*value),
            _ => Key::Other,
        }
    }

    /// One member of a place: a tensor, or a value that may hold some.
    fn member(&mut self, key: Key<'p>, value: NodeId, place: usize, depth: usize) {
        let kind = match self.pickle.node(value) {
            Node::Tensor(_) => EntryKind::Tensor,
            Node::Unusable(_) => EntryKind::Unusable,
            Node::Object(_) => {
                self.descend(key, value, place, depth);
                EntryKind::Other
            }
            Node::Dict(_) | Node::List(_) | Node::Tuple(_) | Node::Set(_) => {
                return self.descend(key, value, place, depth);
            }
            _ => EntryKind::Other,
        };
        if self.tree.entries.len() > MAX_FOUND {
            return;
        }
        match key {
            // Of other values only those matter that stand where weights are expected.
            Key::Name(name) if kind != EntryKind::Other || can_be_weight(name) => {
                self.tree.entries.push(Entry { place, name, kind, value });
            }
            _ => self.tree.unnamed += usize::from(kind == EntryKind::Tensor),
        }
    }

    /// Adds a place for a value that may hold tensors.
    fn descend(&mut self, key: Key<'p>, value: NodeId, place: usize, depth: usize) {
        let is_long = matches!(key, Key::Name(name) if name.len() > MAX_NAME);
        let new = self.tree.places.len();
        // The walk ends in an error above the limit, so what one place adds is limited too.
        if depth >= MAX_DEPTH || is_long || new > MAX_FOUND || self.is_inside_itself(value, place) || !self.enter(value)
        {
            return;
        }
        self.tree.places.push(Place { parent: Some(place), key, is_module: false });
        self.nodes.push(value);
        self.waiting.push(Waiting { place: new, depth: depth + 1 });
    }

    fn is_inside_itself(&self, value: NodeId, place: usize) -> bool {
        let mut above = Some(place);
        while let Some(place) = above {
            if self.nodes[place] == value {
                return true;
            }
            above = self.tree.places[place].parent;
        }
        false
    }
}

/// The program that wrote a training checkpoint, by keys that it leaves.
fn program(pickle: &Pickle<'_>) -> Option<OtherNetwork> {
    let has = |id: NodeId, key: &str| pickle.entry(id, key).is_some();
    let meta = pickle.entry(pickle.root, "meta");
    if meta.is_some_and(|meta| has(meta, "mmdet_version") || has(meta, "mmengine_version") || has(meta, "mmcv_version"))
    {
        return Some(OtherNetwork::MMDETECTION);
    }
    (has(pickle.root, "matching_heuristics") || has(pickle.root, "__author__")).then_some(OtherNetwork::DETECTRON2)
}

/// A function of the pickle that no checkpoint needs and that a program could be attacked with, if there is one.
pub(super) fn dangerous_name(pickle: &Pickle<'_>) -> Option<String> {
    pickle.nodes.iter().find_map(|node| match node {
        Node::Unknown(global) => {
            let is_dangerous = match &*global.module {
                "posix" | "nt" | "subprocess" | "pty" | "runpy" | "socket" | "ctypes" => true,
                "os" => ["system", "popen", "exec", "spawn", "remove", "unlink"]
                    .iter()
                    .any(|name| global.name.starts_with(name)),
                "builtins" | "__builtin__" => {
                    matches!(&*global.name, "eval" | "exec" | "execfile" | "compile" | "__import__" | "open")
                }
                _ => false,
            };
            let shown: String = format!("{}.{}", global.module, global.name).chars().take(120).collect();
            is_dangerous.then(|| shown.escape_debug().to_string())
        }
        _ => None,
    })
}
