//! Detections of one picture, as a JSON line, a table, or boxes on a copy.

use std::fmt;

use serde::Serialize;

use crate::draw::Mark;

/// The detections of one picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PictureDetections {
    /// Path of the picture, as given.
    pub image: String,
    /// Width of the upright picture, in pixels.
    pub width: usize,
    /// Height of the upright picture, in pixels.
    pub height: usize,
    /// By descending score.
    pub detections: Vec<DetectedObject>,
}

/// One detected object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DetectedObject {
    /// Class name.
    pub label: String,
    /// Class number, for the colour.
    #[serde(skip)]
    pub class: usize,
    /// Score, 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels of the upright picture.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
}

impl PictureDetections {
    /// Boxes of the objects with at least `min_score`, for drawing.
    pub fn marks(&self, min_score: f32) -> Vec<Mark> {
        let mark = |object: &DetectedObject| {
            Mark::of_class(object.bbox, object.class, format!("{} {:.2}", object.label, object.score))
        };
        self.detections.iter().filter(|object| object.score >= min_score).map(mark).collect()
    }
}

impl fmt::Display for PictureDetections {
    /// One line for the picture and one for each object, in columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = match self.detections.len() {
            0 => "no objects".to_owned(),
            1 => "1 object".to_owned(),
            count => format!("{count} objects"),
        };
        write!(f, "{}: {}×{}, {objects}", self.image, self.width, self.height)?;
        let longest = self.detections.iter().map(|object| object.label.chars().count()).max().unwrap_or(0);
        for DetectedObject { label, score, bbox: [x0, y0, x1, y1], .. } in &self.detections {
            write!(f, "\n  {label:longest$}  {score:.3}  {x0:7.1} {y0:7.1} {x1:7.1} {y1:7.1}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> PictureDetections {
        let object = |label: &str, score| DetectedObject {
            label: label.to_owned(),
            class: 1,
            score,
            bbox: [10.5, 20.25, 110.125, 220.0],
        };
        let detections = vec![object("Vehicle", 0.981), object("Person", 0.5)];
        PictureDetections { image: "a/b.jpg".to_owned(), width: 640, height: 480, detections }
    }

    #[test]
    fn json_has_the_agreed_keys_in_their_order() {
        let mut picture = picture();
        picture.detections.truncate(1);
        let expected = concat!(
            r#"{"image":"a/b.jpg","width":640,"height":480,"#,
            r#""detections":[{"label":"Vehicle","score":0.981,"box":[10.5,20.25,110.125,220.0]}]}"#
        );
        assert_eq!(serde_json::to_string(&picture).unwrap(), expected);
    }

    #[test]
    fn the_table_lines_up() {
        let expected = "a/b.jpg: 640×480, 2 objects\n  \
                        Vehicle  0.981     10.5    20.2   110.1   220.0\n  \
                        Person   0.500     10.5    20.2   110.1   220.0";
        assert_eq!(picture().to_string(), expected);
        let none = PictureDetections { detections: vec![], ..picture() };
        assert_eq!(none.to_string(), "a/b.jpg: 640×480, no objects");
    }

    #[test]
    fn tags_name_class_and_score() {
        let marks = picture().marks(0.6);
        assert_eq!(marks.len(), 1);
        assert_eq!((marks[0].text.as_str(), marks[0].bbox[0]), ("Vehicle 0.98", 10.5));
    }
}
