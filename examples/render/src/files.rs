//! Pictures and films as files, which are whole or not there.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Writes a picture of three bytes for each pixel as a PNG file.
pub(crate) fn write_picture(path: &Path, (width, height): (u32, u32), rgb: &[u8]) -> Result<()> {
    write_whole(path, |file| {
        let mut writer = encoder(file, (width, height)).write_header()?;
        writer.write_image_data(rgb)?;
        Ok(writer.finish()?)
    })
}

/// Writes a film that goes round, as an animated PNG file: programs that cannot animate show its first frame. The frames are read one
/// by one from their files.
pub(crate) fn write_film(path: &Path, size: (u32, u32), frames: &[PathBuf], frames_a_second: u16) -> Result<()> {
    write_whole(path, |file| {
        let mut encoder = encoder(file, size);
        encoder.set_animated(u32::try_from(frames.len())?, 0)?;
        encoder.set_frame_delay(1, frames_a_second)?;
        let mut writer = encoder.write_header()?;
        for frame in frames {
            let (frame_size, rgb) = read_picture(frame).with_context(|| frame.display().to_string())?;
            ensure!(frame_size == size, "{} is of another size", frame.display());
            writer.write_image_data(&rgb)?;
        }
        Ok(writer.finish()?)
    })
}

fn encoder<W: Write>(to: W, (width, height): (u32, u32)) -> png::Encoder<'static, W> {
    let mut encoder = png::Encoder::new(to, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder
}

/// The first picture of a file that is one of ours.
fn read_picture(path: &Path) -> Result<((u32, u32), Vec<u8>)> {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
    let mut rgb = vec![0; reader.output_buffer_size().context("it is too large")?];
    let frame = reader.next_frame(&mut rgb)?;
    ensure!(frame.color_type == png::ColorType::Rgb, "its pixels are not of three bytes");
    Ok(((frame.width, frame.height), rgb))
}

/// Lets `write` fill a file beside `path`, and puts it in its place once it is whole: whoever looks finds all of it, or what was there
/// before. A run that is killed may leave `NAME.part`.
fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(OsString::from(".part"));
    let part = PathBuf::from(part);
    let written = || -> Result<()> {
        let mut file = BufWriter::new(File::create(&part)?);
        write(&mut file)?;
        file.flush()?;
        Ok(fs::rename(&part, path)?)
    };
    written().inspect_err(|_| drop(fs::remove_file(&part))).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of a test's own.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("adit-render-files-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn written_picture_is_read_again() {
        let folder = folder("picture");
        let path = folder.join("picture.png");
        write_picture(&path, (2, 1), &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(read_picture(&path).unwrap(), ((2, 1), vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(names(&folder), ["picture.png"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn film_has_its_frames_in_order_and_their_time() {
        let folder = folder("film");
        let frames: Vec<PathBuf> = (0..3).map(|n| folder.join(format!("{n}.png"))).collect();
        for (n, frame) in frames.iter().enumerate() {
            write_picture(frame, (1, 1), &[n as u8 * 50, 0, 0]).unwrap();
        }
        let film = folder.join("film.png");
        write_film(&film, (1, 1), &frames, 12).unwrap();

        let mut reader = png::Decoder::new(BufReader::new(File::open(&film).unwrap())).read_info().unwrap();
        let control = *reader.info().animation_control().unwrap();
        assert_eq!((control.num_frames, control.num_plays), (3, 0));
        for n in 0..3 {
            let mut rgb = [0; 3];
            reader.next_frame(&mut rgb).unwrap();
            assert_eq!(rgb, [n * 50, 0, 0]);
            let frame = reader.info().frame_control().unwrap();
            assert_eq!((frame.delay_num, frame.delay_den), (1, 12));
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn file_that_cannot_be_finished_leaves_the_one_before_and_nothing_else() {
        let folder = folder("unfinished");
        let path = folder.join("picture.png");
        write_picture(&path, (1, 1), &[1, 2, 3]).unwrap();
        write_picture(&path, (2, 2), &[1, 2, 3]).expect_err("nine bytes are missing");
        let film = folder.join("film.png");
        write_film(&film, (1, 1), &[path.clone(), folder.join("none.png")], 12).expect_err("there is no second frame");
        assert_eq!(read_picture(&path).unwrap(), ((1, 1), vec![1, 2, 3]));
        assert_eq!(names(&folder), ["picture.png"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
