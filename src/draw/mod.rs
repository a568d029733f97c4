//! Drawing on pictures: boxes with their labels, colour maps and the bars that explain them.
//!
//! In: a [`Picture`](crate::frame::Picture) and what is to be seen on it. Out: the same picture, drawn on; whatever
//! reaches over its border is cut off there. Colours come from palettes that stay apart for colour-blind readers, text
//! from one bitmap font in ASCII, so the result depends on nothing installed.

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
pub use ticks::{format_tick, ticks};
