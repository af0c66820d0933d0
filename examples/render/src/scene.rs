//! Which scene is rendered, from the files that it is made of.

use std::path::{Path, PathBuf};

use adit_example_pathtracer::{Environment, Image, LoadError, Mesh, Subject};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

/// What is to be seen.
#[derive(Debug, Clone, Args)]
pub(crate) struct SceneArgs {
    /// What is to be seen: the teapot, or what is built into the module [default: teapot; with --gpu, adit].
    #[arg(long, value_enum)]
    scene: Option<SceneName>,
    /// A Wavefront OBJ file in place of the teapot.
    #[arg(long, value_name = "FILE.obj")]
    mesh: Option<PathBuf>,
    /// A PNG image that the mesh is painted with.
    #[arg(long, value_name = "FILE.png")]
    paint: Option<PathBuf>,
    /// A PNG image of the ground.
    #[arg(long, value_name = "FILE.png")]
    ground: Option<PathBuf>,
    /// A Radiance panorama of the light all around.
    #[arg(long, value_name = "FILE.hdr")]
    sky: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SceneName {
    /// The Utah teapot on gravel, at dawn.
    Teapot,
    /// Quartz, metal and stones on slate, at dusk.
    Adit,
}

impl SceneArgs {
    /// The scene, with what is loaded of files.
    pub(crate) fn load(&self, on_gpu: bool) -> Result<Subject> {
        let has_files = self.mesh.is_some() || self.paint.is_some() || self.ground.is_some() || self.sky.is_some();
        match (self.scene, on_gpu) {
            (Some(SceneName::Adit), _) | (None, true) if has_files => {
                bail!("the scene `adit` takes no files; next: --scene teapot, without --gpu")
            }
            (Some(SceneName::Teapot), true) => {
                bail!("the GPU's path tracer knows no meshes, textures and panoramas; next: --scene adit, or no --gpu")
            }
            (Some(SceneName::Adit), _) | (None, true) => Ok(Subject::Adit),
            (Some(SceneName::Teapot) | None, false) => self.model(),
        }
    }

    fn model(&self) -> Result<Subject> {
        let mut subject = Subject::teapot()?;
        if let Subject::Model(model) = &mut subject {
            replace(&mut model.mesh, self.mesh.as_deref(), Mesh::from_obj)?;
            replace(&mut model.paint, self.paint.as_deref(), Image::from_png)?;
            replace(&mut model.ground, self.ground.as_deref(), Image::from_png)?;
            replace(&mut model.environment, self.sky.as_deref(), Environment::from_hdr)?;
        }
        Ok(subject)
    }
}

/// Puts what is in a file in the place of what is there, if there is a file.
fn replace<T>(what: &mut T, file: Option<&Path>, load: impl Fn(&[u8]) -> Result<T, LoadError>) -> Result<()> {
    if let Some(file) = file {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        *what = load(&bytes).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: SceneArgs = SceneArgs { scene: None, mesh: None, paint: None, ground: None, sky: None };

    #[test]
    fn scene_is_the_teapot_and_on_gpus_the_one_that_is_built_in() {
        assert!(matches!(NONE.load(false).unwrap(), Subject::Model(_)));
        assert_eq!(NONE.load(true).unwrap(), Subject::Adit);
        let adit = SceneArgs { scene: Some(SceneName::Adit), ..NONE };
        assert_eq!(adit.load(false).unwrap(), Subject::Adit);
    }

    #[test]
    fn what_no_module_can_render_is_refused_before_any_job() {
        let teapot = SceneArgs { scene: Some(SceneName::Teapot), ..NONE };
        assert!(teapot.load(true).unwrap_err().to_string().contains("--scene adit"));
        let file = SceneArgs { mesh: Some(PathBuf::from("a.obj")), ..NONE };
        assert!(file.load(true).unwrap_err().to_string().contains("takes no files"));
        let file = SceneArgs { scene: Some(SceneName::Adit), ..file };
        assert!(file.load(false).unwrap_err().to_string().contains("takes no files"));
    }

    #[test]
    fn bad_mesh_is_told_with_file_and_line() {
        let file = std::env::temp_dir().join(format!("adit-render-{}.obj", std::process::id()));
        std::fs::write(&file, "v 0 0 0\nv 1 zero 0\n").unwrap();
        let error = SceneArgs { mesh: Some(file.clone()), ..NONE }.load(false).unwrap_err();
        assert_eq!(format!("{error:#}"), format!("{}: line 2: position parse error", file.display()));
        std::fs::remove_file(&file).unwrap();
        let error = SceneArgs { sky: Some(file.clone()), ..NONE }.load(false).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot read "), "{error:#}");
    }
}
