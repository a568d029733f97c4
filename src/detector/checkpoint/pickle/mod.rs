//! Pickle reader of `torch.save` files: state dicts without running any code of the file.
//!
//! [`Pickle`] is the machine and its result; [`PickledTensors`] finds the tensors of a state dict in it.

mod machine;
mod node;
mod reader;
mod reduce;
mod tensors;

pub(super) use machine::Pickle;
pub(super) use node::Node;
pub(super) use tensors::{PickledTensors, StorageBytes};
