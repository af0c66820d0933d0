//! The picture while it is rendered: in the terminal, and in a file that is written again and again.

use std::fmt::Write as _;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use adit_example_network::Progress;
use adit_example_pathtracer::{Pixels, Tile};
use anyhow::Result;

use crate::files::write_picture;

/// The preview in a terminal is at most so wide and so high, in half characters: it fits into the smallest terminal, with its bar.
const SHOWN_MAX: (u32, u32) = (64, 36);

/// How often it is drawn anew at most. To compress a large picture takes time that tiles could need.
const PAUSE: Duration = Duration::from_millis(300);

/// A film's newest tiles: each place shows the latest frame that has been rendered there.
#[derive(Debug)]
pub(crate) struct Preview {
    size: (u32, u32),
    rgb: Vec<u8>,
    /// For each pixel, one more than the frame that it is of; 0 is none.
    frames: Vec<u32>,
    file: Option<PathBuf>,
    terminal: bool,
    drawn: Option<Instant>,
}

impl Preview {
    /// A preview in `file`, if that is one, and in the terminal, if there is one that shows colours.
    pub(crate) fn new(size: (u32, u32), file: Option<PathBuf>, quiet: bool) -> Self {
        let pixels = size.0 as usize * size.1 as usize;
        let terminal = !quiet && stderr().is_terminal() && has_colours(std::env::var("COLORTERM").ok().as_deref());
        Self { size, rgb: vec![0; pixels * 3], frames: vec![0; pixels], file, terminal, drawn: None }
    }

    /// Takes in a tile, and draws all if the last time was a while ago.
    pub(crate) fn add(&mut self, pixels: &Pixels, progress: &Progress) -> Result<()> {
        if self.file.is_none() && !self.terminal {
            return Ok(());
        }
        self.paint(&pixels.tile, &pixels.rgb);
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE) {
            return Ok(());
        }
        self.draw(progress)
    }

    /// Draws what there is.
    pub(crate) fn draw(&mut self, progress: &Progress) -> Result<()> {
        if self.terminal {
            progress.show(self.text());
        }
        if let Some(file) = &self.file {
            write_picture(file, self.size, &self.rgb)?;
        }
        self.drawn = Some(Instant::now());
        Ok(())
    }

    /// A tile whose bytes are not its pixels is left out here; putting the picture together says what is wrong with it.
    fn paint(&mut self, tile: &Tile, rgb: &[u8]) {
        let frame = tile.picture.frame.number + 1;
        for (index, colour) in rgb.chunks_exact(3).enumerate() {
            let (column, row) = (tile.x + index as u32 % tile.w, tile.y + index as u32 / tile.w);
            let at = row as usize * self.size.0 as usize + column as usize;
            if self.frames.get(at).is_some_and(|newest| *newest <= frame) {
                self.frames[at] = frame;
                self.rgb[at * 3..][..3].copy_from_slice(colour);
            }
        }
    }

    /// The picture in characters, two half ones above each other in each.
    fn text(&self) -> String {
        let (columns, rows) = shown(self.size);
        let mut text = String::new();
        for row in (0..rows).step_by(2) {
            for column in 0..columns {
                let [red, green, blue] = self.mean((column, row), (columns, rows));
                let [red_below, green_below, blue_below] = self.mean((column, row + 1), (columns, rows));
                // Writing to a string cannot fail.
                let _ = write!(text, "\x1b[38;2;{red};{green};{blue};48;2;{red_below};{green_below};{blue_below}m\u{2580}");
            }
            text.push_str("\x1b[0m\n");
        }
        text.pop();
        text
    }

    /// The mean colour of the pixels that a half character stands for.
    fn mean(&self, (column, row): (u32, u32), (columns, rows): (u32, u32)) -> [u8; 3] {
        let part = |index: u32, parts: u32, side: u32| {
            let edge = |index: u32| (u64::from(index) * u64::from(side) / u64::from(parts)) as usize;
            edge(index)..edge(index + 1).max(edge(index) + 1).min(side as usize)
        };
        let (mut sums, mut count) = ([0u64; 3], 0u64);
        for y in part(row, rows, self.size.1) {
            for x in part(column, columns, self.size.0) {
                let at = (y * self.size.0 as usize + x) * 3;
                sums = std::array::from_fn(|channel| sums[channel] + u64::from(self.rgb[at + channel]));
                count += 1;
            }
        }
        sums.map(|sum| (sum / count.max(1)) as u8)
    }
}

/// Terminals say so where they show 24 bits of colour.
fn has_colours(colour_term: Option<&str>) -> bool {
    matches!(colour_term, Some("truecolor" | "24bit"))
}

/// How large a picture is shown: as large as fits, with an even number of rows.
fn shown((width, height): (u32, u32)) -> (u32, u32) {
    let (columns_max, rows_max) = SHOWN_MAX;
    let is_wide = u64::from(width) * u64::from(rows_max) >= u64::from(height) * u64::from(columns_max);
    let scaled = |side: u32, by: u32, of: u32| (u64::from(side) * u64::from(by) / u64::from(of)) as u32;
    let (columns, rows) =
        if is_wide { (columns_max, scaled(height, columns_max, width)) } else { (scaled(width, rows_max, height), rows_max) };
    (columns.max(1), rows.next_multiple_of(2).max(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_example_pathtracer::{Frame, Picture, tiles};

    fn preview(size: (u32, u32)) -> Preview {
        Preview { terminal: true, ..Preview::new(size, None, true) }
    }

    fn tile(size: (u32, u32), number: u32, at: usize) -> Tile {
        let picture = Picture { frame: Frame { number, count: 9 }, ..Picture::still(size.0, size.1, 1, 0) };
        tiles(picture, 2).nth(at).unwrap()
    }

    #[test]
    fn each_place_shows_the_newest_frame_that_was_rendered_there() {
        let mut preview = preview((4, 2));
        preview.paint(&tile((4, 2), 3, 0), &[30; 12]);
        preview.paint(&tile((4, 2), 2, 0), &[20; 12]);
        preview.paint(&tile((4, 2), 2, 1), &[21; 12]);
        assert_eq!(preview.rgb, [30, 30, 21, 21, 30, 30, 21, 21].into_iter().flat_map(|n| [n; 3]).collect::<Vec<u8>>());
    }

    #[test]
    fn terminal_shows_two_pixels_in_a_character() {
        let mut preview = preview((64, 2));
        preview.rgb[..3].copy_from_slice(&[1, 2, 3]);
        preview.rgb[64 * 3..][..3].copy_from_slice(&[4, 5, 6]);
        let text = preview.text();
        assert!(text.starts_with("\x1b[38;2;1;2;3;48;2;4;5;6m\u{2580}\x1b[38;2;0;0;0;48;2;0;0;0m"), "{text:?}");
        assert_eq!(text.lines().count(), 1);
        assert_eq!(text.matches('\u{2580}').count(), 64);
    }

    #[test]
    fn picture_of_any_size_fits_into_the_terminal() {
        assert_eq!(shown((640, 360)), (64, 36));
        for size in [(1, 1), (1, 16_384), (16_384, 1), (3, 5), (1000, 999), (7, 3)] {
            let (columns, rows) = shown(size);
            assert!((1..=64).contains(&columns) && (2..=36).contains(&rows) && rows % 2 == 0, "{size:?}: {columns} {rows}");
            let mut preview = preview(size);
            preview.rgb.fill(200);
            assert!(preview.text().contains("38;2;200;200;200"), "{size:?}");
        }
    }

    #[test]
    fn terminal_without_colours_has_no_preview() {
        assert!(has_colours(Some("truecolor")) && has_colours(Some("24bit")));
        assert!(!has_colours(None) && !has_colours(Some("")) && !has_colours(Some("yes")));
    }

    #[test]
    fn file_is_drawn_with_the_first_tile_and_then_now_and_then() {
        let file = std::env::temp_dir().join(format!("adit-render-preview-{}.png", std::process::id()));
        let progress = Progress::new("tiles", 4, true);
        let mut preview = Preview::new((4, 2), Some(file.clone()), true);
        let pixels = |at| Pixels { tile: tile((4, 2), 0, at), paths: 4, rgb: vec![90; 12] };
        preview.add(&pixels(0), &progress).unwrap();
        assert!(file.exists());
        std::fs::remove_file(&file).unwrap();
        preview.drawn = Some(Instant::now() + PAUSE);
        preview.add(&pixels(1), &progress).unwrap();
        assert!(!file.exists(), "it was drawn a moment ago");
        preview.draw(&progress).unwrap();
        assert!(file.exists());
        std::fs::remove_file(&file).unwrap();
    }
}
