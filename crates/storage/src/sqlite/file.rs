//! Which file is under a path.

use std::{
    ffi::OsString,
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Tells a file from every other one that exists at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// For hashing.
    pub(super) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.device.to_be_bytes());
        bytes[8..].copy_from_slice(&self.inode.to_be_bytes());
        bytes
    }
}

/// Creates a file that is missing, and the directories above it, for this user alone. SQLite gives the files beside the database the
/// permissions of the database.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// Warns of permissions that let other users read or change the database. They are left as they are: somebody may depend on them.
pub(super) fn warn_of_others(path: &Path) {
    /// A directory in which everybody removes only files of their own, such as `/tmp`.
    const STICKY: u32 = 0o1000;
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.mode());
    if mode(path) & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "other users may read or change the database file: chmod 600 ends that");
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if mode(parent) & (0o002 | STICKY) == 0o002 {
        tracing::warn!(path = %parent.display(), "every user may replace the files in the directory of the database: chmod o-w ends that");
    }
}

/// The path of a file that SQLite keeps beside the database: `-wal` or `-shm`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
