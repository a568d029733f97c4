//! Ground truth in KITTI's format.
//!
//! In: a frame's [`Truth`]s. Out: lines of the object benchmark (15 columns) and of the tracking benchmark (17: frame
//! and track id before them). Objects that are too small or hidden are `DontCare`. There is no third dimension; its
//! columns hold KITTI's values for unknown.

use std::fmt::Write;

use super::Truth;

/// KITTI's level of occlusion: 0 fully visible, 1 partly, 2 largely hidden.
pub fn occlusion_level(truth: &Truth) -> u8 {
    match truth.occluded {
        hidden if hidden < 0.1 => 0,
        hidden if hidden < 0.5 => 1,
        _ => 2,
    }
}

/// One line for each object: type, truncation, occlusion, angle, box, then seven unknown columns.
pub fn object(truths: &[Truth]) -> String {
    let mut text = String::new();
    for truth in truths {
        line(&mut text, truth);
    }
    text
}

/// The lines of frame `number` in a sequence: number, track id (-1 for `DontCare`), then as [`object`].
pub fn tracking(number: u64, truths: &[Truth]) -> String {
    let mut text = String::new();
    for truth in truths {
        let id = if truth.counts() { i64::from(truth.id) } else { -1 };
        let _ = write!(text, "{number} {id} ");
        line(&mut text, truth);
    }
    text
}

fn line(text: &mut String, truth: &Truth) {
    let [left, top, right, bottom] = truth.bbox;
    let known = truth.counts();
    let name = if known { truth.label.name() } else { "DontCare" };
    // Writing to a String cannot fail.
    let _ = if known {
        write!(text, "{name} {:.2} {} -10", truth.truncated, occlusion_level(truth))
    } else {
        write!(text, "{name} -1 -1 -10")
    };
    let _ = writeln!(text, " {left:.2} {top:.2} {right:.2} {bottom:.2} -1 -1 -1 -1000 -1000 -1000 -10");
}

#[cfg(test)]
mod tests {
    use super::super::Label;
    use super::*;

    fn truth(occluded: f32, height: f32) -> Truth {
        let bbox = [1.0, 2.0, 11.5, 2.0 + height];
        let visible = 1.0 - occluded;
        Truth { id: 7, label: Label::Person, bbox, visible, occluded, truncated: 0.0, distance: 9.0 }
    }

    #[test]
    fn lines_have_kittis_columns() {
        let truths = [truth(0.2, 30.0), truth(0.9, 30.0), truth(0.0, 9.0)];
        let lines: Vec<String> = object(&truths).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "Person 0.00 1 -10 1.00 2.00 11.50 32.00 -1 -1 -1 -1000 -1000 -1000 -10");
        assert!(lines[1].starts_with("DontCare -1 -1 -10 ") && lines[2].starts_with("DontCare "));
        assert!(lines.iter().all(|line| line.split(' ').count() == 15));
        let tracking = tracking(3, &truths);
        assert!(tracking.lines().all(|line| line.split(' ').count() == 17));
        assert!(tracking.starts_with("3 7 Person ") && tracking.contains("\n3 -1 DontCare "));
    }
}
