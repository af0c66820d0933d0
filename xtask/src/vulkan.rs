//! What stands in for a GPU in tests: lavapipe, Mesa's Vulkan in software.

use std::path::PathBuf;

use anyhow::Result;

use crate::apt;
use crate::process::say;

/// Debian's package with lavapipe; it brings the loader, libvulkan1.
const DEBIAN_PACKAGE: &str = "mesa-vulkan-drivers";

/// Where the loader finds drivers, each told of in a JSON file (LoaderDriverInterface.md of the Vulkan loader).
const FOLDERS: [&str; 5] = [
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/etc/vulkan/icd.d",
    "/run/opengl-driver/share/vulkan/icd.d",
];

/// Finds or installs lavapipe, and says where it is. Where nothing here installs it, that is said, with what would: a GPU's own driver
/// serves the tests as well, and only they need one.
pub(crate) fn set_up() -> Result<()> {
    if let Some(driver) = find() {
        say(format!("tests have a GPU in software by {}", driver.display()));
        return Ok(());
    }
    if apt::is_here() {
        apt::install(&[DEBIAN_PACKAGE], "tests of GPU jobs", "see what apt-get says")?;
        return Ok(());
    }
    say(
        "tests of GPU jobs need a Vulkan driver in software, lavapipe, which this does not know how to install here; next: Fedora and \
         openSUSE have it in `mesa-vulkan-drivers` and `libvulkan_lvp`, Arch in `vulkan-swrast`, Alpine in `mesa-vulkan-swrast`",
    );
    Ok(())
}

/// The file that tells the loader of lavapipe.
fn find() -> Option<PathBuf> {
    FOLDERS.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten().map(|file| file.path()).find(
        |file| {
            // Such as lvp_icd.x86_64.json, or lvp_icd.json on some.
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd."))
        },
    )
}
