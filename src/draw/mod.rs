//! Drawing: bounding boxes with labels, colour maps, colour bars, plots as SVG.
//!
//! Shapes are drawn into a [`Picture`](crate::frame::Picture) and clipped at its border. Palettes are distinguishable with
//! the common colour vision deficiencies. Text uses one built-in bitmap font (ASCII), so the result does not depend on
//! installed fonts.

mod colour_bar;
mod colour_map;
mod marks;
mod oklab;
mod paint;
mod palette;
pub mod svg;
mod text;
mod ticks;

pub use colour_bar::ColourBar;
pub use colour_map::ColourMap;
pub use marks::{Mark, marks};
pub use paint::{Colour, Rect, blend, fill, line, outline};
pub use palette::{class_colour, ink_on};
pub use text::{TextSize, text, text_width};
pub use ticks::{format_tick, log_ticks, ticks};
