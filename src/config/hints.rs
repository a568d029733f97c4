//! Hints for variables that look like keys of the configuration, but have one underscore.

use super::layer::PREFIX;
use super::shape;

/// Prefix of a variable that was probably supposed to set a key.
const NEAR_PREFIX: &str = "LOOKOUT_";

/// A hint for every variable in `names` that looks like a key of the configuration, but is not read.
pub fn environment_hints(names: impl Iterator<Item = String>) -> Vec<String> {
    let schema = shape::schema();
    let mut hints: Vec<String> = names
        .filter(|name| name.starts_with(NEAR_PREFIX) && !name.starts_with(PREFIX))
        .map(|name| {
            let words: Vec<&str> = name.strip_prefix(NEAR_PREFIX).unwrap_or_default().split('_').collect();
            // A section and a key, where either may have underscores of its own.
            let split = (1..words.len()).map(|at| (words[..at].join("_"), words[at..].join("_")));
            let known = |(section, key): &(String, String)| {
                let key = format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase());
                shape::find(&schema, &key).is_ok()
            };
            match split.clone().find(known) {
                Some((section, key)) => {
                    format!("the variable {name} is not read; did you mean {PREFIX}{section}__{key}?")
                }
                None => format!("the variable {name} is not read; write {PREFIX}SECTION__KEY, with two underscores"),
            }
        })
        .collect();
    hints.sort();
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_read_names_the_one_that_is() {
        let names = ["LOOKOUT_DETECTOR_THREADS", "LOOKOUT_WEB_TOKEN_FILE", "LOOKOUT_X", "LOOKOUT__WEB__LISTEN", "HOME"];
        let hints = environment_hints(names.into_iter().map(str::to_owned));
        assert_eq!(hints.len(), 3);
        assert!(hints[0].ends_with("did you mean LOOKOUT__DETECTOR__THREADS?"), "{hints:?}");
        assert!(hints[1].ends_with("did you mean LOOKOUT__WEB__TOKEN_FILE?"), "{hints:?}");
        assert!(hints[2].contains("LOOKOUT__SECTION__KEY"), "{hints:?}");
    }
}
