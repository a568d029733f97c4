//! Anchors of the region proposal network, as torchvision's `AnchorGenerator` computes them.
//!
//! In: sizes and aspect ratios, the padded canvas, the rows and columns of a level. Out: one box (x0, y0, x1, y1) for
//! each row, column and anchor, in canvas pixels. Cell anchors are rounded to whole pixels around zero. Strides are
//! integer quotients of the padded canvas and the level's extents, so the last level's stride need not be a power of
//! two.

/// Anchors of one pyramid level, centred on the origin: x0, y0, x1, y1 in pixels.
///
/// For each ratio r = height / width and each size s: height s·√r, width s/√r, halved and rounded half to even
/// (`AnchorGenerator.generate_anchors`).
pub fn cell_anchors(sizes: &[f32], aspect_ratios: &[f32]) -> Vec<[f32; 4]> {
    let mut cells = Vec::with_capacity(sizes.len() * aspect_ratios.len());
    for &ratio in aspect_ratios {
        let height_ratio = ratio.sqrt();
        let width_ratio = 1.0 / height_ratio;
        for &size in sizes {
            let (half_width, half_height) = ((width_ratio * size) / 2.0, (height_ratio * size) / 2.0);
            cells.push([
                (-half_width).round_ties_even(),
                (-half_height).round_ties_even(),
                half_width.round_ties_even(),
                half_height.round_ties_even(),
            ]);
        }
    }
    cells
}

/// Anchors of one level: the cell anchors, shifted to every cell (`AnchorGenerator.grid_anchors`).
#[derive(Debug, Clone)]
pub struct AnchorGrid {
    cells: Vec<[f32; 4]>,
    columns: usize,
    stride_x: usize,
    stride_y: usize,
}

impl AnchorGrid {
    /// Anchors of a level of `rows` × `columns` cells on a canvas of `canvas_height` × `canvas_width` padded pixels.
    pub fn new(cells: Vec<[f32; 4]>, rows: usize, columns: usize, canvas_height: usize, canvas_width: usize) -> Self {
        Self { cells, columns, stride_x: canvas_width / columns.max(1), stride_y: canvas_height / rows.max(1) }
    }

    /// Returns the cell anchors.
    pub fn into_cells(self) -> Vec<[f32; 4]> {
        self.cells
    }

    /// The anchor with number `index`, numbered by row, then column, then cell anchor.
    pub fn get(&self, index: usize) -> [f32; 4] {
        let per_cell = self.cells.len();
        let (cell, anchor) = (index / per_cell, index % per_cell);
        let x = ((cell % self.columns) * self.stride_x) as f32;
        let y = ((cell / self.columns) * self.stride_y) as f32;
        let [x0, y0, x1, y1] = self.cells[anchor];
        [x + x0, y + y0, x + x1, y + y1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_torchvisions() {
        // AnchorGenerator(((32,),), ((0.5, 1.0, 2.0),)).cell_anchors, as torchvision prints it.
        let cells = cell_anchors(&[32.0], &[0.5, 1.0, 2.0]);
        assert_eq!(cells, [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0]]);
    }

    #[test]
    fn strides_are_quotients_of_the_padded_canvas() {
        // A 416-row canvas leaves 7 rows on P6: stride 59, not 64.
        let grid = AnchorGrid::new(vec![[0.0; 4]], 7, 21, 416, 1344);
        assert_eq!(grid.get(21)[1], 59.0);
        assert_eq!(grid.get(1)[0], 64.0);
    }
}
