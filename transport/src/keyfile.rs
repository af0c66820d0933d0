use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use adit_protocol::SecretKey;

/// The first word of a key file.
const MAGIC: &str = "adit-secret-key-v1";

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("key file {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than its owner may read it.
    #[error("key file {path} has mode {mode:04o}, so others may read it; run: chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error("key file {path} does not hold an Adit key; make one with: adit key new --key {path}")]
    Content {
        /// The file.
        path: PathBuf,
    },
}

/// Writes a new key to `path` with mode 0600. An existing file is never overwritten.
///
/// # Errors
/// [`KeyFileError::Io`], also where the file exists.
pub fn create_key_file(path: &Path) -> Result<SecretKey, KeyFileError> {
    let io_error = |error| KeyFileError::Io { path: path.to_owned(), error };
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(io_error)?;
    }
    let key = SecretKey::generate();
    let text = format!("{MAGIC} {}\n", adit_protocol::Digest(*key.seed()));
    // The key appears under its name whole or not at all: a crash half-way leaves only the temporary file.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::hard_link(&temporary, path)
    };
    let written = write();
    // The temporary name may not exist where opening it failed; nothing depends on its removal.
    let _ = std::fs::remove_file(&temporary);
    written.map_err(io_error)?;
    Ok(key)
}

/// Reads the key in `path`.
///
/// # Errors
/// [`KeyFileError`] where it cannot be read, others may read it, or it holds something else.
pub fn load_key_file(path: &Path) -> Result<SecretKey, KeyFileError> {
    let io_error = |error| KeyFileError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(io_error)?;
    let mode = file.metadata().map_err(io_error)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    let content = || KeyFileError::Content { path: path.to_owned() };
    // No key file is longer; a device or a large file is not read to its end.
    Read::by_ref(&mut file).take(256).read_to_string(&mut text).map_err(|_| content())?;
    let seed = text.trim_end().strip_prefix(MAGIC).and_then(|rest| rest.trim_start().parse::<adit_protocol::Digest>().ok());
    Ok(SecretKey::from_seed(seed.ok_or_else(content)?.0))
}

/// Reads the key in `path`, or makes one where there is no such file.
///
/// # Errors
/// As [`load_key_file`] and [`create_key_file`].
pub fn load_or_create_key_file(path: &Path) -> Result<SecretKey, KeyFileError> {
    match create_key_file(path) {
        Err(KeyFileError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => load_key_file(path),
        // Where the folder is read-only the key may still be there.
        Err(error) if path.exists() => load_key_file(path).map_err(|_| error),
        created => created,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn key_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/key");
        let key = create_key_file(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(load_key_file(&path).unwrap().public(), key.public());
        assert!(matches!(create_key_file(&path), Err(KeyFileError::Io { .. })));
        assert_eq!(load_or_create_key_file(&path).unwrap().public(), key.public());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn readable_or_foreign_key_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_key_file(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_key_file(&path), Err(KeyFileError::Mode { mode: 0o644, .. })));
        let other = dir.path().join("other");
        std::fs::write(&other, "hello").unwrap();
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_key_file(&other), Err(KeyFileError::Content { .. })));
    }
}
