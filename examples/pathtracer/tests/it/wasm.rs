//! Native code against what the same code wrote as wasm: `runtime/tests/golden.txt` records that, and a test of the runtime holds every
//! compiler and processor to it.

use std::fs;
use std::path::Path;

use adit_example_pathtracer::{Environment, Frame, Image, Mesh, Model, Picture, Subject, Tile, Work, render, tiles};
use adit_guest::Encode;

/// The job that `runtime/tests/it/golden/corpus.rs` calls `pathtracer`.
fn adit() -> Work {
    Work { tile: whole(Picture::still(16, 9, 1, 7)), subject: Subject::Adit }
}

/// The job that it calls `pathtracer_model`: everything that a model may have, in some hundred bytes.
fn small_model() -> Work {
    let picture = Picture { noise: 200, frame: Frame { number: 1, count: 3 }, ..Picture::still(16, 9, 40, 7) };
    let model = Model {
        mesh: Mesh {
            positions: vec![[1.0, 0.0, 1.0], [3.0, 0.0, 1.0], [3.0, 0.0, 3.0], [1.0, 0.0, 3.0], [2.0, 2.5, 2.0]],
            normals: vec![[-1.0, 0.5, -1.0], [1.0, 0.5, -1.0], [1.0, 0.5, 1.0], [-1.0, 0.5, 1.0], [0.0, 2.0, 0.0]],
            places: vec![[0.0, 0.0], [0.25, 0.0], [0.5, 0.0], [0.75, 0.0], [0.5, 1.0]],
            triangles: vec![[1, 0, 4], [2, 1, 4], [3, 2, 4], [0, 3, 4]],
        },
        paint: Image { width: 2, height: 2, rgb: vec![250, 240, 60, 20, 40, 160, 30, 30, 30, 250, 80, 60] },
        ground: Image { width: 2, height: 1, rgb: vec![120, 120, 120, 80, 90, 100] },
        environment: Environment::from_fn(4, |[x, y, z]| if y > 0.0 { [0.6 + 0.2 * x, 0.7, 0.9 - 0.3 * z] } else { [0.1; 3] }),
    };
    Work { tile: whole(picture), subject: Subject::Model(Box::new(model)) }
}

fn whole(picture: Picture) -> Tile {
    tiles(picture, picture.width).next().expect("a picture has a tile")
}

/// The digest of the output that a job of the corpus had.
fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime/tests/golden.txt");
    let text = fs::read_to_string(path).expect("the repository has it");
    let line = text.lines().find(|line| line.starts_with(&format!("guest_{name} "))).expect("the corpus has the job");
    line.split(' ').nth(7).expect("a line has its output").to_owned()
}

#[test]
fn native_code_writes_what_wasm_does() {
    for (name, work) in [("pathtracer", adit()), ("pathtracer_model", small_model())] {
        let output = render(&work.tile, &work.subject, |_, _| ()).unwrap().encode().unwrap();
        assert_eq!(blake3::hash(&output).to_hex().as_str(), recorded(name), "{name}");
    }
}

/// With `ADIT_BLESS=1` it is written anew, and then the corpus has to be.
#[test]
fn corpus_has_the_small_model_that_is_compared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/small-model.bin");
    let input = small_model().encode().unwrap();
    if std::env::var_os("ADIT_BLESS").is_some() {
        fs::write(&path, &input).unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), input);
}
