//! Pickle reader of `torch.save` files: state dicts without running any code of the file.
//!
//! [`Pickle`] is the machine and its result; [`state_dict`] finds all tensors of a pickle by the keys that lead
//! to them, and the detector's among them.

mod machine;
mod node;
mod reader;
mod reduce;
mod tensors;
mod text;
mod walk;

pub(super) use machine::Pickle;
pub(super) use node::Node;
pub(super) use tensors::{StorageBytes, other_network, state_dict};
