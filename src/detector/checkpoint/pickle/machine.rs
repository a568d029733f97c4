//! Pickle machine that builds only plain data, tensor descriptions and objects without behaviour.
//!
//! In: a pickle of protocol 0 to 5. Out: a [`Pickle`], an arena of nodes with a root. Promises: nothing is ever called
//! or imported. The result of a function that is not in the list of [`Global`] is a [`Node::Object`]. No opcode
//! allocates more than the bytes it was given; no input causes a panic or a recursion.
//!
//! The opcodes are those of Python's `pickletools`. Only those of `copyreg`'s extension registry are refused: their
//! meaning is not in the file.

use std::borrow::Cow;
use std::collections::HashMap;

use super::node::{Global, GlobalName, Node, NodeId};
use super::reader::{Reader, Step};
use super::{reduce, text};
use crate::error::{Error, Kind, Result};

/// The most values a pickle may stack or remember: a training checkpoint with optimizer state has some ten thousand.
const MAX_STACK: usize = 1 << 18;

/// The most values a pickle may build; lists of all pictures' numbers are among them.
const MAX_NODES: usize = 1 << 19;

/// The most members of all its containers together.
const MAX_MEMBERS: usize = 1 << 22;

/// The values that a pickle built.
#[derive(Debug)]
pub(in super::super) struct Pickle<'a> {
    pub(in super::super) nodes: Vec<Node<'a>>,
    pub(in super::super) root: NodeId,
    /// Length of the pickle in bytes, its STOP included.
    pub(in super::super) length: usize,
}

impl<'a> Pickle<'a> {
    /// Runs the pickle at the start of `bytes`; the bytes after its STOP are not read.
    ///
    /// # Errors
    /// [`Kind::Data`], with the byte offset and the opcode that was refused.
    pub(in super::super) fn load(bytes: &'a [u8]) -> Result<Self> {
        let mut machine = Machine::new(bytes);
        let root = machine
            .run()
            .map_err(|text| Error::new(Kind::Data, format!("pickle byte {}: {text}", machine.opcode_at)))?;
        Ok(Self { root, length: machine.input.position, nodes: machine.nodes })
    }

    /// The value with this index.
    pub(in super::super) fn node(&self, id: NodeId) -> &Node<'a> {
        self.nodes.get(id).unwrap_or(&Node::None)
    }

    /// The string with this index.
    pub(in super::super) fn text(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The value of key `wanted`, if the node with this index is a dict that has it.
    pub(in super::super) fn entry(&self, id: NodeId, wanted: &str) -> Option<NodeId> {
        let Node::Dict(items) = self.node(id) else { return None };
        items.iter().rev().find(|&&(key, _)| self.text(key) == Some(wanted)).map(|&(_, value)| value)
    }
}

/// The machine: its stack, marks and memo, and the values built so far.
struct Machine<'a> {
    input: Reader<'a>,
    opcode_at: usize,
    nodes: Vec<Node<'a>>,
    members: usize,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
    /// Nodes of values that are stored once, by opcode and, for small integers, value.
    constants: HashMap<(u8, u8), NodeId>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            input: Reader::new(bytes),
            opcode_at: 0,
            nodes: Vec::new(),
            members: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            constants: HashMap::new(),
        }
    }

    fn run(&mut self) -> Step<NodeId> {
        loop {
            self.opcode_at = self.input.position;
            let opcode = self.input.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    /// Executes one opcode, in groups: constants, text, containers, the memo, globals and calls.
    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            0x80 => match self.input.byte()? {
                0..=5 => Ok(()),
                protocol => Err(format!("pickle protocol {protocol}; expected 0 to 5")),
            },
            // FRAME gives a length, which is not needed.
            0x95 => self.input.array::<8>().map(drop),
            b'N' | 0x88 | 0x89 | b'K' | b'M' | b'J' | b'I' | b'L' | b'F' | 0x8a | 0x8b | b'G' => self.number(opcode),
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'V' | b'S' | b'C' | b'B' | 0x8e | 0x96 | 0x97 => self.text(opcode),
            // A buffer beside the pickle stays what it is when it becomes read-only.
            0x98 => self.top().map(drop),
            b'(' | b')' | 0x85 | 0x86 | 0x87 | b't' | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => self.container(opcode),
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(opcode),
            b'q' | b'r' | b'p' | b'h' | b'j' | b'g' | 0x94 | b'0' | b'1' | b'2' => self.memory(opcode),
            b'c' | 0x93 | b'Q' | b'P' => self.reference(opcode),
            b'R' | 0x81 | 0x92 | b'i' | b'o' => self.call(opcode),
            b'b' => self.build(),
            0x82..=0x84 => Err(format!("opcode 0x{opcode:02x}: a class by its number, unknown outside its writer")),
            _ => Err(format!("opcode 0x{opcode:02x}, which no pickle has")),
        }
    }

    /// `None`, booleans, integers and floats.
    fn number(&mut self, opcode: u8) -> Step<()> {
        let node = match opcode {
            b'N' => return self.push_constant(opcode, 0, Node::None),
            0x88 => return self.push_constant(opcode, 0, Node::Bool(true)),
            0x89 => return self.push_constant(opcode, 0, Node::Bool(false)),
            b'K' => {
                let value = self.input.byte()?;
                return self.push_constant(opcode, value, Node::Int(value.into()));
            }
            b'M' => Node::Int(u16::from_le_bytes(self.input.array()?).into()),
            b'J' => Node::Int(i32::from_le_bytes(self.input.array()?).into()),
            b'I' | b'L' => match self.input.line()? {
                "00" if opcode == b'I' => Node::Bool(false),
                "01" if opcode == b'I' => Node::Bool(true),
                digits if opcode == b'L' => text::decimal(digits.strip_suffix('L').unwrap_or(digits))?,
                digits => text::decimal(digits)?,
            },
            b'F' => {
                let text = self.input.line()?;
                let shown = || format!("a float written as {:?}", text.chars().take(40).collect::<String>());
                text.trim().parse::<f64>().map_err(|_| shown())?;
                return self.push_constant(b'G', 0, Node::Float);
            }
            b'G' => {
                self.input.array::<8>()?;
                return self.push_constant(opcode, 0, Node::Float);
            }
            _ => {
                let length = self.input.length(if opcode == 0x8a { 1 } else { 4 })?;
                text::signed(self.input.take(length)?)
            }
        };
        self.push(node)
    }

    /// Strings and bytes.
    fn text(&mut self, opcode: u8) -> Step<()> {
        let width = match opcode {
            b'V' => {
                let node = text::raw_unicode_escape(self.input.line_bytes()?);
                return self.push(node);
            }
            b'S' => {
                let node = text::literal(self.input.line_bytes()?)?;
                return self.push(node);
            }
            // NEXT_BUFFER takes its bytes from beside the pickle.
            0x97 => return self.push_constant(b'B', 0, Node::Bytes),
            0x8c | b'U' | b'C' => 1,
            b'X' | b'T' | b'B' => 4,
            _ => 8,
        };
        let length = self.input.length(width)?;
        let bytes = self.input.take(length)?;
        match opcode {
            b'C' | b'B' | 0x8e | 0x96 => self.push_constant(b'B', 0, Node::Bytes),
            _ => self.push(text::utf8(bytes)),
        }
    }

    /// Marks, tuples, lists, dicts and sets.
    fn container(&mut self, opcode: u8) -> Step<()> {
        let node = match opcode {
            b'(' => {
                self.marks.push(self.stack.len());
                return within(self.marks.len(), MAX_STACK);
            }
            b')' => Node::Tuple(Vec::new()),
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor());
                Node::Tuple(self.stack.split_off(from.ok_or("a tuple of more values than there are")?))
            }
            b't' => Node::Tuple(self.pop_mark()?),
            b']' => Node::List(Vec::new()),
            b'l' => Node::List(self.pop_mark()?),
            b'}' => Node::Dict(Vec::new()),
            b'd' => Node::Dict(pairs(&self.pop_mark()?)?),
            0x8f => Node::Set(Vec::new()),
            _ => Node::Set(self.pop_mark()?),
        };
        self.push(node)
    }

    /// Members added to the container on the stack.
    fn extend(&mut self, opcode: u8) -> Step<()> {
        let values = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        self.count_members(values.len())?;
        let is_dict = matches!(opcode, b's' | b'u');
        match self.top_mut()? {
            Node::Dict(items) if is_dict => items.extend(pairs(&values)?),
            Node::Object(object) if is_dict => object.items.extend(pairs(&values)?),
            Node::Unusable(_) => {}
            other if is_dict => return Err(format!("an item set on {}", other.kind())),
            Node::List(list) if opcode != 0x90 => list.extend(values),
            Node::Set(set) if opcode == 0x90 => set.extend(values),
            Node::Object(object) => object.elements.extend(values),
            other => return Err(format!("an append to {}", other.kind())),
        }
        Ok(())
    }

    /// The memo and the stack.
    fn memory(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            // Protocol 0 also removes a mark so.
            b'0' if self.stack.len() <= self.floor() && !self.marks.is_empty() => return self.pop_mark().map(drop),
            b'0' => return self.pop().map(drop),
            b'1' => return self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                return self.push_id(top);
            }
            _ => {}
        }
        let slot = match opcode {
            b'q' | b'h' => self.input.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.input.array()?).into(),
            0x94 => self.memo.len() as u64,
            _ => {
                let text = self.input.line()?;
                let shown = || format!("memo slot {:?}", text.chars().take(40).collect::<String>());
                text.parse().map_err(|_| shown())?
            }
        };
        if matches!(opcode, b'h' | b'j' | b'g') {
            let id = *self.memo.get(&slot).ok_or_else(|| format!("memo slot {slot}, which was never filled"))?;
            return self.push_id(id);
        }
        let top = self.top()?;
        self.memo.insert(slot, top);
        within(self.memo.len(), MAX_STACK)
    }

    /// Globals and persistent ids.
    fn reference(&mut self, opcode: u8) -> Step<()> {
        let node = match opcode {
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.global(module.into(), name.into())
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module], &self.nodes[name]) {
                    (Node::Str(module), Node::Str(name)) => self.global(module.clone(), name.clone()),
                    _ => return Err("a global whose name is no string".into()),
                }
            }
            b'P' => {
                self.input.line_bytes()?;
                reduce::unusable("a storage of pickle protocol 0, which no one can read; save with protocol 2".into())
            }
            _ => {
                let id = self.pop()?;
                reduce::persistent(&self.nodes, id)
            }
        };
        self.push(node)
    }

    fn global(&self, module: Cow<'a, str>, name: Cow<'a, str>) -> Node<'a> {
        match Global::find(&module, &name) {
            Some(global) => Node::Global(global),
            None => Node::Unknown(Box::new(GlobalName { module, name, at: self.opcode_at })),
        }
    }

    /// Calls of functions and classes, none of which takes place.
    fn call(&mut self, opcode: u8) -> Step<()> {
        let (function, arguments, keywords) = match opcode {
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                (self.pop()?, arguments, None)
            }
            0x92 => {
                let keywords = self.pop()?;
                let arguments = self.pop()?;
                (self.pop()?, arguments, Some(keywords))
            }
            b'i' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let class = self.global(module.into(), name.into());
                let arguments = self.pop_mark()?;
                (self.add(class)?, self.add(Node::Tuple(arguments))?, None)
            }
            _ => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return Err("an object without a class".into());
                }
                let class = items.remove(0);
                (class, self.add(Node::Tuple(items))?, None)
            }
        };
        let mut node = reduce::call(&self.nodes, function, arguments)?;
        if let Node::Object(object) = &mut node {
            object.states.extend(keywords);
        }
        self.push(node)
    }

    /// State that an object receives after its making.
    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        self.count_members(1)?;
        let node = self.top_mut()?;
        match node {
            // Attributes of an OrderedDict: `_metadata`, the modules' versions. They are dropped.
            Node::Dict(_) | Node::Unusable(_) => {}
            Node::Object(object) => object.states.push(state),
            // `Tensor.__setstate__` may replace its values.
            Node::Tensor(_) | Node::Storage(_) => {
                let kind = node.kind();
                *node = reduce::unusable(format!("{kind} with a state of its own"));
            }
            other => return Err(format!("state set on {}", other.kind())),
        }
        Ok(())
    }

    /// A value that the stack does not hold yet.
    fn add(&mut self, node: Node<'a>) -> Step<NodeId> {
        self.count_members(match &node {
            Node::Tuple(items) | Node::List(items) | Node::Set(items) => items.len(),
            Node::Dict(items) => items.len(),
            _ => 0,
        })?;
        self.nodes.push(node);
        within(self.nodes.len(), MAX_NODES)?;
        Ok(self.nodes.len() - 1)
    }

    fn push(&mut self, node: Node<'a>) -> Step<()> {
        let id = self.add(node)?;
        self.push_id(id)
    }

    /// Pushes a value that never changes, and so is stored once.
    fn push_constant(&mut self, opcode: u8, value: u8, node: Node<'a>) -> Step<()> {
        let id = match self.constants.get(&(opcode, value)) {
            Some(&id) => id,
            None => {
                let id = self.add(node)?;
                self.constants.insert((opcode, value), id);
                id
            }
        };
        self.push_id(id)
    }

    fn push_id(&mut self, id: NodeId) -> Step<()> {
        self.stack.push(id);
        within(self.stack.len(), MAX_STACK)
    }

    /// Height of the stack that only the last mark's removal goes below.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<NodeId> {
        if self.stack.len() <= self.floor() {
            return Err("a value taken from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "a value taken from an empty stack".into())
    }

    fn pop_mark(&mut self) -> Step<Vec<NodeId>> {
        let from = self.marks.pop().ok_or("a group that was never begun")?;
        Ok(self.stack.split_off(from.min(self.stack.len())))
    }

    fn top(&self) -> Step<NodeId> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err("the top of an empty stack".into()),
        }
    }

    fn top_mut(&mut self) -> Step<&mut Node<'a>> {
        let id = self.top()?;
        self.nodes.get_mut(id).ok_or_else(|| "a value that is not there".into())
    }

    fn count_members(&mut self, count: usize) -> Step<()> {
        self.members += count;
        within(self.members, MAX_MEMBERS)
    }
}

fn within(count: usize, limit: usize) -> Step<()> {
    if count > limit { Err(format!("more than {limit} values")) } else { Ok(()) }
}

fn pairs(items: &[NodeId]) -> Step<Vec<(NodeId, NodeId)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a dict with a key that has no value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
