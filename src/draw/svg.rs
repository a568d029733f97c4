//! Plots as SVG: axes, curves, bands, markers, hexagonal bins.
//!
//! The output is one self-contained document without scripts, fonts or external references.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Colour, ColourMap, format_tick, log_ticks, ticks};

/// Size of a plot and of its margins, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Total width.
    pub width: f64,
    /// Total height.
    pub height: f64,
    /// Margins left, above, right and below of the axes.
    pub margin: [f64; 4],
    /// Scale of the displayed size, unless the page sets it.
    pub zoom: f64,
}

/// An axis of a plot.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Label with its unit.
    pub label: String,
    /// Value at the start.
    pub low: f64,
    /// Value at the end.
    pub high: f64,
    /// Values and labels of the ticks.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis with at most `count` ticks.
    pub fn linear(label: &str, low: f64, high: f64, count: usize) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let places = ticks(low, high, count);
        let step = if let [first, second, ..] = places[..] { second - first } else { high - low };
        let ticks = places.into_iter().map(|place| (place, format_tick(place, step))).collect();
        Self { label: label.to_owned(), low, high, ticks }
    }

    /// A logarithmic axis; values are decimal logarithms. It extends a little beyond them, and over half a decade or
    /// more.
    pub fn decades(label: &str, low: f64, high: f64) -> Self {
        let margin = ((high - low) * 0.05).max((0.5 - (high - low)) / 2.0).max(0.0);
        let (low, high) = (low - margin, high + margin);
        let name = |place: f64| {
            let power = (place + 1e-9).floor();
            let digits = format!("10{}", raised(power as i64));
            match 10f64.powf(place - power).round() as i64 {
                1 => digits,
                factor => format!("{factor}·{digits}"),
            }
        };
        let ticks = log_ticks(low, high, 9).into_iter().map(|place| (place, name(place))).collect();
        Self { label: label.to_owned(), low, high, ticks }
    }

    /// A logarithmic axis with a place for 0 below the others, and that place.
    pub fn decades_and_zero(label: &str, low: f64, high: f64) -> (Self, f64) {
        let axis = Self::decades(label, low, high);
        let zero = axis.low - (axis.high - axis.low) * 0.06;
        let ticks = [vec![(zero, "0".to_owned())], axis.ticks].concat();
        (Self { low: zero - (axis.high - zero) * 0.03, ticks, ..axis }, zero)
    }

    fn share(&self, place: f64) -> f64 {
        (place - self.low) / (self.high - self.low)
    }
}

/// An integer in superscript digits.
fn raised(number: i64) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digit = |c: char| c.to_digit(10).and_then(|digit| DIGITS.get(digit as usize)).copied().unwrap_or('⁻');
    number.to_string().chars().map(digit).collect()
}

/// A logarithmic colour scale over whole decades.
#[derive(Debug, Clone, PartialEq)]
pub struct LogBar {
    /// Label with its unit.
    pub label: String,
    /// Decimal logarithm at the dark end.
    pub low: i64,
    /// Decimal logarithm at the light end.
    pub high: i64,
}

impl LogBar {
    /// The decades of the positive `values`, at most eight below the largest.
    pub fn over(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let positive: Vec<f64> = values.filter(|value| *value > 0.0 && value.is_finite()).map(f64::log10).collect();
        let (least, most) = positive
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &value| (least.min(value), most.max(value)));
        if least > most {
            return Self { label: label.to_owned(), low: 0, high: 1 };
        }
        let high = most.ceil() as i64;
        let low = (least.floor() as i64).clamp(high - 8, high - 1);
        Self { label: label.to_owned(), low, high }
    }

    fn share(&self, value: f64) -> f64 {
        let place = if value > 0.0 { value.log10() } else { f64::NEG_INFINITY };
        ((place - self.low as f64) / (self.high - self.low) as f64).clamp(0.0, 1.0)
    }
}

/// A plot with axes.
#[derive(Debug)]
pub struct Plot {
    frame: Frame,
    x: Axis,
    y: Axis,
    body: String,
}

/// `colour` as `#rrggbb`.
pub fn hex(colour: Colour) -> String {
    let [r, g, b] = colour;
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text with XML's reserved characters escaped.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

// Writing to a string cannot fail, so results of `write!` are dropped below.
impl Plot {
    /// Axes with title, grid lines and tick labels.
    pub fn new(title: &str, frame: Frame, x: Axis, y: Axis) -> Self {
        let mut plot = Self { frame, x, y, body: String::new() };
        let [left, top, right, bottom] = frame.margin;
        let (width, height) = (frame.width - left - right, frame.height - top - bottom);
        let (x_end, y_end) = (left + width, top + height);
        let mut text = String::new();
        let _ = writeln!(text, r##"<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#fbfbfb"/>"##);
        for (place, label) in &plot.x.ticks {
            let x = plot.x_of(*place);
            let _ = writeln!(text, r##"<line x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{y_end}" stroke="#e3e3e3"/>"##);
            let y = y_end + 16.0;
            let _ = writeln!(text, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{}</text>"#, escape(label));
        }
        for (place, label) in &plot.y.ticks {
            let y = plot.y_of(*place);
            let _ = writeln!(text, r##"<line x1="{left}" y1="{y:.1}" x2="{x_end}" y2="{y:.1}" stroke="#e3e3e3"/>"##);
            let (x, y) = (left - 6.0, y + 4.0);
            let _ = writeln!(text, r#"<text x="{x}" y="{y:.1}" text-anchor="end">{}</text>"#, escape(label));
        }
        let middle = left + width / 2.0;
        let (below, beside) = (frame.height - 8.0, top + height / 2.0);
        let _ =
            writeln!(text, r#"<text x="{middle}" y="{below}" text-anchor="middle">{}</text>"#, escape(&plot.x.label));
        let _ = writeln!(
            text,
            r#"<text transform="translate(14 {beside}) rotate(-90)" text-anchor="middle">{}</text>"#,
            escape(&plot.y.label)
        );
        let _ = writeln!(text, r#"<text x="{left}" y="18" font-size="14" font-weight="600">{}</text>"#, escape(title));
        plot.body = text;
        plot
    }

    fn x_of(&self, place: f64) -> f64 {
        let [left, _, right, _] = self.frame.margin;
        left + self.x.share(place) * (self.frame.width - left - right)
    }

    fn y_of(&self, place: f64) -> f64 {
        let [_, top, _, bottom] = self.frame.margin;
        self.frame.height - bottom - self.y.share(place).clamp(0.0, 1.0) * (self.frame.height - top - bottom)
    }

    /// A curve through the finite points with a dot at each; it passes over the others. The tooltip of dot i is
    /// `names[i]`.
    pub fn curve(&mut self, points: &[(f64, f64)], names: &[String], colour: Colour, dashed: bool) {
        let colour = hex(colour);
        let dash = if dashed { r#" stroke-dasharray="5 3""# } else { "" };
        let finite = points.iter().filter(|(_, y)| y.is_finite());
        let path: Vec<String> = finite.map(|&(x, y)| format!("{:.1},{:.1}", self.x_of(x), self.y_of(y))).collect();
        let path = path.join(" ");
        let _ = writeln!(
            self.body,
            r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>"#
        );
        for (&(x, y), name) in points.iter().zip(names).filter(|((_, y), _)| y.is_finite()) {
            let (cx, cy) = (self.x_of(x), self.y_of(y));
            let name = escape(name);
            let _ = writeln!(
                self.body,
                r#"<circle cx="{cx:.1}" cy="{cy:.1}" r="2.2" fill="{colour}"><title>{name}</title></circle>"#
            );
        }
    }

    /// A filled band between (x, low) and (x, high).
    pub fn band(&mut self, points: &[(f64, f64, f64)], colour: Colour) {
        let finite = |point: &&(f64, f64, f64)| point.1.is_finite() && point.2.is_finite();
        let points: Vec<_> = points.iter().filter(finite).collect();
        let above = points.iter().map(|(x, _, high)| (*x, *high));
        let below = points.iter().rev().map(|(x, low, _)| (*x, *low));
        let path: Vec<String> =
            above.chain(below).map(|(x, y)| format!("{:.1},{:.1}", self.x_of(x), self.y_of(y))).collect();
        let (path, colour) = (path.join(" "), hex(colour));
        let _ = writeln!(self.body, r#"<polygon points="{path}" fill="{colour}" fill-opacity="0.18"/>"#);
    }

    /// A vertical line with a word above the axes.
    pub fn mark(&mut self, place: f64, word: &str) {
        let [_, top, _, bottom] = self.frame.margin;
        let (x, end, y) = (self.x_of(place), self.frame.height - bottom, top - 4.0);
        let _ = writeln!(
            self.body,
            r##"<line x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{end}" stroke="#999" stroke-dasharray="2 3"/><text x="{:.1}" y="{y}" fill="#666" font-size="10">{}</text>"##,
            x - 1.0,
            escape(word)
        );
    }

    /// Legend of the curves, in one line at the top right.
    pub fn legend(&mut self, names: &[(&str, Colour)]) {
        let [_, _, right, _] = self.frame.margin;
        let mut x = self.frame.width - right;
        for (name, colour) in names.iter().rev() {
            x -= 7.0 * name.chars().count() as f64 + 26.0;
            let (colour, name, word) = (hex(*colour), escape(name), x + 18.0);
            let _ = writeln!(
                self.body,
                r#"<line x1="{x:.1}" y1="14" x2="{:.1}" y2="14" stroke="{colour}" stroke-width="3"/><text x="{word:.1}" y="18">{name}</text>"#,
                x + 14.0
            );
        }
    }

    /// Hexagonal bins at fractions of both axes, coloured by the logarithm of their values, and the colour bar. `size` is
    /// half a hexagon's width and a third of its height, as fractions.
    pub fn hexagons(&mut self, cells: &[([f64; 2], f64)], size: [f64; 2], bar: &LogBar) {
        let [left, top, right, bottom] = self.frame.margin;
        let (width, height) = (self.frame.width - left - right, self.frame.height - top - bottom);
        // Half a hexagon's width and a sixth of its height are the units, so that all corners are whole numbers; the
        // hexagons of one colour are one path. A plot has a third of the bytes of one with an element for each.
        let unit = [size[0], size[1] / 2.0];
        let scale = [unit[0] * width, unit[1] * height];
        let _ = writeln!(
            self.body,
            r#"<defs><clipPath id="in"><rect x="{left}" y="{top}" width="{width}" height="{height}"/></clipPath></defs><g clip-path="url(#in)"><g transform="translate({left} {top}) scale({:.4} {:.4})" stroke-width="0.08">"#,
            scale[0], scale[1],
        );
        let mut by_colour: BTreeMap<String, String> = BTreeMap::new();
        for ([x, y], value) in cells {
            let colour = hex(ColourMap::Sequential.colour(bar.share(*value) as f32));
            let (x, y) = ((x / unit[0]).round() as i64, ((1.0 - y) / unit[1]).round() as i64);
            let _ = write!(by_colour.entry(colour).or_default(), "M{x} {}l1 1v2l-1 1-1-1v-2z", y - 2);
        }
        for (colour, path) in by_colour {
            let _ = writeln!(self.body, r##"<path fill="{colour}" stroke="{colour}" d="{path}"/>"##);
        }
        self.body.push_str("</g></g>\n");
        let x = left + width + 14.0;
        for step in 0..64 {
            let colour = hex(ColourMap::Sequential.colour((step as f32 + 0.5) / 64.0));
            let y = top + height * (1.0 - f64::from(step + 1) / 64.0);
            let tall = height / 64.0 + 0.3;
            let _ = writeln!(self.body, r#"<rect x="{x}" y="{y:.2}" width="12" height="{tall:.2}" fill="{colour}"/>"#);
        }
        for power in bar.low..=bar.high {
            let y = top + height * (1.0 - bar.share(10f64.powi(power as i32))) + 4.0;
            let _ = writeln!(self.body, r#"<text x="{:.1}" y="{y:.1}">10{}</text>"#, x + 16.0, raised(power));
        }
        let (x, y) = (self.frame.width - 6.0, top - 8.0);
        let _ = writeln!(self.body, r#"<text x="{x}" y="{y}" text-anchor="end">{}</text>"#, escape(&bar.label));
    }

    /// The SVG document.
    pub fn finish(self) -> String {
        let Frame { width, height, margin: [left, top, right, bottom], zoom } = self.frame;
        let (w, h) = (width - left - right, height - top - bottom);
        let (shown_width, shown_height) = (width * zoom, height * zoom);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{shown_width}\" height=\"{shown_height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#222\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{}\
             <rect x=\"{left}\" y=\"{top}\" width=\"{w}\" height=\"{h}\" fill=\"none\" stroke=\"#888\"/>\n</svg>\n",
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_whole_xml_with_its_words() {
        let frame = Frame { width: 400.0, height: 200.0, margin: [50.0, 30.0, 60.0, 40.0], zoom: 1.0 };
        let mut plot = Plot::new("a < b", frame, Axis::linear("step", 0.0, 4.0, 5), Axis::decades("error", -3.0, 0.2));
        plot.band(&[(0.0, -2.0, -1.0), (1.0, f64::NAN, 0.0)], [1, 2, 3]);
        plot.curve(&[(0.0, -1.0), (1.0, f64::NAN), (2.0, -2.0)], &["x".into(), "y".into(), "z&".into()], [9; 3], true);
        plot.mark(1.0, "layer1");
        plot.legend(&[("median", [0; 3])]);
        let bar = LogBar::over("points", [100.0, 0.0, f64::INFINITY].into_iter());
        assert_eq!((bar.low, bar.high), (1, 2));
        plot.hexagons(&[([0.5, 0.5], 100.0)], [0.01, 0.01], &bar);
        let text = plot.finish();
        for wanted in ["a &lt; b", "10⁻³", "z&amp;", "layer1", "</svg>"] {
            assert!(text.contains(wanted), "{wanted}");
        }
        // One line, over the point without a value.
        assert_eq!(text.matches("<polyline").count(), 1);
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(roxmltree::Document::parse(&text).is_ok());
    }

    #[test]
    fn a_logarithmic_axis_fits_its_values() {
        let labels = |axis: &Axis| axis.ticks.iter().map(|(_, label)| label.clone()).collect::<Vec<_>>();
        let axis = Axis::decades("error", -1.8, -0.9);
        assert_eq!(labels(&axis), ["2·10⁻²", "5·10⁻²", "10⁻¹"]);
        assert!(axis.low > -2.0 && axis.high < -0.8);
        let (axis, zero) = Axis::decades_and_zero("share", -6.0, -2.0);
        assert_eq!(labels(&axis)[..2], ["0", "10⁻⁶"]);
        assert!(axis.low < zero && zero < -6.0);
    }
}
