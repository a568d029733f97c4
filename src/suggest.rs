//! Names that people write: suggestions of the known one that was probably meant, and characters that nobody sees.

/// Most labels that a message lists.
const MAX_LISTED: usize = 12;

/// `; did you mean "…"?` with the nearest of `known`, or an empty text. Marks and other characters without a width of their
/// own are escaped, so that names which look the same differ.
pub fn suggestion<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (strsim::jaro_winkler(wrong, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((similarity, name)) if similarity > 0.7 => format!("; did you mean {name:?}?"),
        _ => String::new(),
    }
}

/// The message about `label`, which is not among the model's `labels`: the nearest one, or a list.
pub fn unknown_label(label: &str, labels: &[String]) -> String {
    let lower = label.to_lowercase();
    let nearest = match labels.iter().find(|known| known.to_lowercase() == lower) {
        Some(known) => format!("; did you mean {known:?}?"),
        None => suggestion(label, labels.iter().map(String::as_str)),
    };
    if !nearest.is_empty() {
        return format!("the model has no label {label:?}{nearest}");
    }
    let more = if labels.len() > MAX_LISTED { ", …" } else { "" };
    let listed = labels.get(..MAX_LISTED).unwrap_or(labels).join(", ");
    format!("the model has no label {label:?}; it has {listed}{more}")
}

/// True for a character that nobody sees: a name with one looks like another, or turns the text behind it around.
/// Joiners are none, since emoji and scripts such as Persian need them.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_label_is_suggested_or_all_are_listed() {
        let labels = ["Person", "TwoWheeler", "Vehicle"].map(str::to_owned);
        assert_eq!(unknown_label("person", &labels), "the model has no label \"person\"; did you mean \"Person\"?");
        assert!(unknown_label("Vehicel", &labels).ends_with("did you mean \"Vehicle\"?"));
        // Texts that look the same are told apart by the escapes of what has no width.
        let composed = unknown_label("cafe\u{301}", &["café".to_owned()]);
        assert_eq!(composed, "the model has no label \"cafe\\u{301}\"; did you mean \"café\"?");
        assert!(unknown_label("行人", &labels).ends_with("; it has Person, TwoWheeler, Vehicle"));
    }
}
