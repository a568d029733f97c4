//! Class names of COCO as torchvision's detectors number them.

/// Classes of COCO: category ids up to 90, unused ones included, and the background.
pub(super) const CLASSES: usize = 91;

/// The name of an unused category id.
pub(super) const UNUSED: &str = "N/A";

/// Names of category ids 1 to 90, in the order of `FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]`.
pub(super) const LABELS: [&str; CLASSES - 1] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    UNUSED,
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    UNUSED,
    "backpack",
    "umbrella",
    UNUSED,
    UNUSED,
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    UNUSED,
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    UNUSED,
    "dining table",
    UNUSED,
    UNUSED,
    "toilet",
    UNUSED,
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    UNUSED,
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cocos() {
        // From COCO's category list: 44 bottle, 62 chair, 72 tv, 90 toothbrush; 80 ids are used.
        let name = |id: usize| LABELS[id - 1];
        assert_eq!([1, 44, 62, 72, 90].map(name), ["person", "bottle", "chair", "tv", "toothbrush"]);
        assert_eq!(LABELS.iter().filter(|&&label| label != UNUSED).count(), 80);
    }
}
