//! The frames of a film, each written as soon as its last tile is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use adit_example_pathtracer::{Frame, Picture, Pixels, Tile, assemble, tiles};
use anyhow::{Context, Result};

use crate::files::{write_film, write_picture};

/// Where the pictures go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// One picture, to this file.
    Still(PathBuf),
    /// A film to this folder: `frame-0001.png` and so on, and all of them in `film.png`.
    Film { folder: PathBuf, frames_a_second: u16 },
}

/// A film that is being rendered. A still picture is a film of one frame.
#[derive(Debug)]
pub(crate) struct Film {
    first: Picture,
    /// Sides of its tiles.
    side: u32,
    frames: u32,
    target: Target,
    /// The tiles so far of frames that are not done.
    open: BTreeMap<u32, Vec<Pixels>>,
    done: u32,
}

impl Film {
    /// Makes the folder that the film goes to, if it goes to one.
    pub(crate) fn new(first: Picture, side: u32, frames: u32, target: Target) -> Result<Self> {
        if let Target::Film { folder, .. } = &target {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Self { first, side, frames, target, open: BTreeMap::new(), done: 0 })
    }

    /// All tiles of all frames, frame after frame.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = Tile> + use<> {
        let (first, side, count) = (self.first, self.side, self.frames);
        (0..count).flat_map(move |number| tiles(picture(first, number, count), side))
    }

    /// How many tiles there are.
    pub(crate) fn tiles_count(&self) -> u64 {
        u64::from(self.frames) * self.tiles_of_a_frame() as u64
    }

    fn tiles_of_a_frame(&self) -> usize {
        self.first.width.div_ceil(self.side) as usize * self.first.height.div_ceil(self.side) as usize
    }

    /// Takes in a tile, and writes its frame if that is whole now.
    pub(crate) fn add(&mut self, pixels: Pixels) -> Result<()> {
        let number = pixels.tile.picture.frame.number;
        let parts = self.open.entry(number).or_default();
        parts.push(pixels);
        if parts.len() < self.tiles_of_a_frame() {
            return Ok(());
        }
        let parts = self.open.remove(&number).unwrap_or_default();
        let rgb = assemble(picture(self.first, number, self.frames), parts)?;
        write_picture(&self.target.frame(number), self.size(), &rgb)?;
        self.done += 1;
        Ok(())
    }

    /// How many frames are written.
    pub(crate) fn done(&self) -> u32 {
        self.done
    }

    /// Ends the film, when all of its frames are written, and says where it is.
    pub(crate) fn finish(self) -> Result<PathBuf> {
        let size = self.size();
        match self.target {
            Target::Still(ref file) => Ok(file.clone()),
            Target::Film { ref folder, frames_a_second } => {
                let film = folder.join("film.png");
                let frames: Vec<PathBuf> = (0..self.frames).map(|number| self.target.frame(number)).collect();
                write_film(&film, size, &frames, frames_a_second)?;
                Ok(film)
            }
        }
    }

    fn size(&self) -> (u32, u32) {
        (self.first.width, self.first.height)
    }
}

impl Target {
    /// The file of a frame.
    fn frame(&self, number: u32) -> PathBuf {
        match self {
            Self::Still(file) => file.clone(),
            Self::Film { folder, .. } => folder.join(format!("frame-{:04}.png", number + 1)),
        }
    }

    /// Where all of it is.
    pub(crate) fn place(&self) -> &Path {
        match self {
            Self::Still(file) => file,
            Self::Film { folder, .. } => folder,
        }
    }
}

fn picture(first: Picture, number: u32, count: u32) -> Picture {
    Picture { frame: Frame { number, count }, ..first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn film(name: &str) -> (PathBuf, Film) {
        let folder = std::env::temp_dir().join(format!("adit-render-film-{}-{name}", std::process::id()));
        let target = Target::Film { folder: folder.clone(), frames_a_second: 12 };
        (folder, Film::new(Picture::still(5, 3, 1, 0), 2, 3, target).unwrap())
    }

    fn pixels(tile: Tile) -> Pixels {
        Pixels { tile, paths: 0, rgb: vec![tile.picture.frame.number as u8; tile.w as usize * tile.h as usize * 3] }
    }

    #[test]
    fn frames_are_written_when_they_are_whole_in_whatever_order_tiles_come() {
        let (folder, mut film) = film("order");
        let mut all: Vec<Tile> = film.tiles().collect();
        assert_eq!((all.len() as u64, film.tiles_count()), (18, 18));
        // The last frame first, and of the others every second tile.
        all.sort_by_key(|tile| (tile.picture.frame.number != 2, (tile.x / 2 + tile.y / 2) % 2, tile.picture.frame.number));
        for (n, tile) in all.into_iter().enumerate() {
            film.add(pixels(tile)).unwrap();
            let written = (1..=3).filter(|frame| folder.join(format!("frame-000{frame}.png")).exists()).count();
            assert_eq!(film.done() as usize, written, "after {n}");
            assert!(n < 5 || folder.join("frame-0003.png").exists(), "after {n}");
        }
        assert_eq!(film.finish().unwrap(), folder.join("film.png"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn film_that_is_left_early_has_whole_frames_only() {
        let (folder, mut film) = film("early");
        for tile in film.tiles().take(10) {
            film.add(pixels(tile)).unwrap();
        }
        assert_eq!(film.done(), 1);
        drop(film);
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["frame-0001.png"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn tile_that_came_twice_is_no_frame() {
        let (folder, mut film) = film("twice");
        let first: Vec<Tile> = film.tiles().take(6).collect();
        for tile in &first[..5] {
            film.add(pixels(*tile)).unwrap();
        }
        let error = film.add(pixels(first[0])).unwrap_err().to_string();
        assert_eq!(error, "the tile at 0, 0 overlaps another");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
