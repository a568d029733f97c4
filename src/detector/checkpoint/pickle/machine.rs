//! Pickle machine that builds only plain data and tensor descriptions.
//!
//! In: a pickle as `torch.save` writes it, protocol 1 to 5. Out: a [`Pickle`], an arena of nodes with a root. Promises:
//! nothing is ever called or imported: a global outside the closed list of [`Global`] is an error that names it and its
//! byte offset; no opcode allocates more than the bytes it was given; no input causes a panic or a recursion.
//!
//! The opcodes are those of Python's `pickletools`.

use super::node::{Global, Node, NodeId};
use super::reader::{Reader, Step};
use super::reduce;
use crate::error::{Error, Kind, Result};

/// The longest pickle read: a state dict of ResNet-101 takes 100 KB.
const MAX_LENGTH: usize = 16 << 20;

/// The most values a pickle may build, stack or remember: a training checkpoint with optimizer state has some ten
/// thousand.
const MAX_NODES: usize = 1 << 18;

/// The values that a pickle built.
#[derive(Debug)]
pub(in super::super) struct Pickle {
    pub(in super::super) nodes: Vec<Node>,
    pub(in super::super) root: NodeId,
    /// Length of the pickle in bytes, its STOP included.
    pub(in super::super) length: usize,
}

impl Pickle {
    /// Runs the pickle at the start of `bytes`; the bytes after its STOP are not read.
    ///
    /// # Errors
    /// [`Kind::Data`], with the byte offset and the opcode or global that was refused.
    pub(in super::super) fn load(bytes: &[u8]) -> Result<Self> {
        let mut machine = Machine::new(&bytes[..bytes.len().min(MAX_LENGTH)]);
        let root = machine.run().map_err(|text| {
            let is_too_long = machine.input.is_cut && bytes.len() > MAX_LENGTH;
            let text = if is_too_long { format!("a pickle of more than {MAX_LENGTH} bytes") } else { text };
            Error::new(Kind::Data, format!("pickle byte {}: {text}", machine.opcode_at))
        })?;
        Ok(Self { root, length: machine.input.position, nodes: machine.nodes })
    }

    /// The value with this index.
    pub(in super::super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::None)
    }
}

/// The machine: its stack, marks and memo, and the values built so far.
struct Machine<'a> {
    input: Reader<'a>,
    opcode_at: usize,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: std::collections::HashMap<u64, NodeId>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            input: Reader::new(bytes),
            opcode_at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: std::collections::HashMap::new(),
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

    /// Executes one opcode, in groups: constants, containers, the memo, globals and calls.
    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            0x80 => match self.input.byte()? {
                1..=5 => Ok(()),
                protocol => Err(format!("pickle protocol {protocol}; expected 1 to 5")),
            },
            // FRAME gives a length, which is not needed.
            0x95 => self.input.array::<8>().map(drop),
            b'N' | 0x88 | 0x89 | b'K' | b'M' | b'J' | b'I' | b'L' | b'F' | 0x8a | 0x8b | b'G' => self.number(opcode),
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'V' | b'C' | b'B' | 0x8e => self.text(opcode),
            b'(' | b')' | 0x85 | 0x86 | 0x87 | b't' | b']' | b'l' | b'a' | b'e' | b'}' | b'd' | b's' | b'u' => {
                self.container(opcode)
            }
            b'q' | b'r' | b'p' | b'h' | b'j' | b'g' | 0x94 | b'0' | b'1' | b'2' => self.memory(opcode),
            b'c' | 0x93 | b'R' | b'b' | b'Q' => self.call(opcode),
            _ => Err(format!("opcode 0x{opcode:02x}, which no state dict needs")),
        }
    }

    /// `None`, booleans, integers and floats.
    fn number(&mut self, opcode: u8) -> Step<()> {
        let node = match opcode {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Int(self.input.byte()?.into()),
            b'M' => Node::Int(u16::from_le_bytes(self.input.array()?).into()),
            b'J' => Node::Int(i32::from_le_bytes(self.input.array()?).into()),
            b'I' | b'L' => match self.input.line()? {
                "00" if opcode == b'I' => Node::Bool(false),
                "01" if opcode == b'I' => Node::Bool(true),
                text => {
                    let digits = if opcode == b'L' { text.strip_suffix('L').unwrap_or(text) } else { text };
                    Node::Int(digits.parse().map_err(|_| format!("an integer written as {text:?}"))?)
                }
            },
            b'F' => {
                let text = self.input.line()?;
                text.parse::<f64>().map_err(|_| format!("a float written as {text:?}"))?;
                Node::Float
            }
            b'G' => {
                self.input.array::<8>()?;
                Node::Float
            }
            _ => {
                let length = if opcode == 0x8a { self.input.byte()?.into() } else { self.input.length32()? };
                Node::Int(signed(self.input.take(length)?)?)
            }
        };
        self.push(node)
    }

    /// Strings and bytes.
    fn text(&mut self, opcode: u8) -> Step<()> {
        if opcode == b'V' {
            let text = self.input.line()?.to_owned();
            return self.push(Node::Str(text));
        }
        let length = match opcode {
            0x8c | b'U' | b'C' => self.input.byte()?.into(),
            b'X' | b'T' | b'B' => self.input.length32()?,
            _ => usize::try_from(u64::from_le_bytes(self.input.array()?))
                .map_err(|_| "a length of 64 bits".to_owned())?,
        };
        let bytes = self.input.take(length)?;
        if matches!(opcode, b'C' | b'B' | 0x8e) {
            return self.push(Node::Bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "a string that is not UTF-8".to_owned())?;
        self.push(Node::Str(text.to_owned()))
    }

    /// Marks, tuples, lists and dicts.
    fn container(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b'(' => {
                self.marks.push(self.stack.len());
                within_limit(self.marks.len())
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let floor = self.marks.last().copied().unwrap_or(0);
                let from = self.stack.len().checked_sub(count).filter(|&from| from >= floor);
                let items = self.stack.split_off(from.ok_or("a tuple of more values than there are")?);
                self.push(Node::Tuple(items))
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))
            }
            b']' => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = pairs(&self.pop_mark()?)?;
                self.push(Node::Dict(items))
            }
            b'a' | b'e' => {
                let items = if opcode == b'e' { self.pop_mark()? } else { vec![self.pop()?] };
                match self.top_mut()? {
                    Node::List(list) => list.extend(items),
                    other => return Err(format!("an append to {}", other.kind())),
                }
                Ok(())
            }
            _ => {
                let items = if opcode == b'u' {
                    pairs(&self.pop_mark()?)?
                } else {
                    let value = self.pop()?;
                    vec![(self.pop()?, value)]
                };
                match self.top_mut()? {
                    Node::Dict(dict) => dict.extend(items),
                    other => return Err(format!("an item set on {}", other.kind())),
                }
                Ok(())
            }
        }
    }

    /// The memo and the stack.
    fn memory(&mut self, opcode: u8) -> Step<()> {
        match opcode {
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
                text.parse().map_err(|_| format!("memo slot {text:?}"))?
            }
        };
        if matches!(opcode, b'h' | b'j' | b'g') {
            let id = *self.memo.get(&slot).ok_or_else(|| format!("memo slot {slot}, which was never filled"))?;
            return self.push_id(id);
        }
        let top = self.top()?;
        self.memo.insert(slot, top);
        within_limit(self.memo.len())
    }

    /// Globals, persistent ids, calls and state.
    fn call(&mut self, opcode: u8) -> Step<()> {
        let node = match opcode {
            b'c' => {
                let module = self.input.line()?;
                let name = self.input.line()?;
                Node::Global(Global::find(module, name)?)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module], &self.nodes[name]) {
                    (Node::Str(module), Node::Str(name)) => Node::Global(Global::find(module, name)?),
                    _ => return Err("a global whose name is no string".into()),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                Node::Storage(reduce::storage(&self.nodes, id)?)
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                reduce::call(&self.nodes, function, arguments)?
            }
            _ => {
                let state = self.pop()?;
                let object = self.top()?;
                return match (&self.nodes[object], &self.nodes[state]) {
                    // Attributes of an OrderedDict: `_metadata`, the modules' versions. They are dropped.
                    (Node::Dict(_), Node::Dict(_)) => Ok(()),
                    (other, _) => Err(format!("state set on {}", other.kind())),
                };
            }
        };
        self.push(node)
    }

    fn push(&mut self, node: Node) -> Step<()> {
        self.nodes.push(node);
        within_limit(self.nodes.len())?;
        self.push_id(self.nodes.len() - 1)
    }

    fn push_id(&mut self, id: NodeId) -> Step<()> {
        self.stack.push(id);
        within_limit(self.stack.len())
    }

    fn pop(&mut self) -> Step<NodeId> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value taken from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "a value taken from an empty stack".into())
    }

    fn pop_mark(&mut self) -> Step<Vec<NodeId>> {
        let from = self.marks.pop().ok_or("a group that was never begun")?;
        Ok(self.stack.split_off(from.min(self.stack.len())))
    }

    fn top(&self) -> Step<NodeId> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err("the top of an empty stack".into()),
        }
    }

    fn top_mut(&mut self) -> Step<&mut Node> {
        let id = self.top()?;
        self.nodes.get_mut(id).ok_or_else(|| "a value that is not there".into())
    }
}

fn within_limit(count: usize) -> Step<()> {
    if count > MAX_NODES { Err(format!("more than {MAX_NODES} values")) } else { Ok(()) }
}

/// A little-endian two's-complement integer of any length up to 16 bytes.
fn signed(bytes: &[u8]) -> Step<i128> {
    let Some(&last) = bytes.last() else { return Ok(0) };
    let mut wide = if last & 0x80 == 0 { [0; 16] } else { [0xff; 16] };
    wide.get_mut(..bytes.len()).ok_or("an integer of more than 16 bytes")?.copy_from_slice(bytes);
    Ok(i128::from_le_bytes(wide))
}

fn pairs(items: &[NodeId]) -> Step<Vec<(NodeId, NodeId)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a dict with a key that has no value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
