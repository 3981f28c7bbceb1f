//! Copies of a server: of its files while it runs and while it does not, standbys, and dumps of its databases.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Postgres, USER, as_server_user, blocking, is_root, run};
use crate::temp::{TempDir, free_port};

impl Postgres {
    /// Copies the files of the running server, as `pg_basebackup` does, and returns where the copy is. It lives as long as
    /// the server's directory.
    ///
    /// # Panics
    /// When that fails.
    pub async fn base_backup(self: &Arc<Self>) -> PathBuf {
        let server = Arc::clone(self);
        blocking(move || {
            let copy = server.root.join(format!("backup-{}", next()));
            copy_files(&server.binaries, server.port, &copy, &[]);
            copy
        })
        .await
    }

    /// Stops the server, copies its files as `cp` does, starts it again on the same port, and returns where the copy is. It lives
    /// as long as the server's directory.
    ///
    /// # Panics
    /// When that fails.
    pub async fn cold_copy(self: &Arc<Self>) -> PathBuf {
        let server = Arc::clone(self);
        blocking(move || {
            let copy = server.root.join(format!("copy-{}", next()));
            server.stop();
            run(Command::new("cp").arg("-a").arg(server.root.join("data")).arg(&copy));
            server.launch_again();
            copy
        })
        .await
    }

    /// Writes a dump of a database, in `pg_dump`'s own format, and returns where it is. It lives as long as the server's
    /// directory.
    ///
    /// # Panics
    /// When that fails.
    pub async fn dump(&self, url: &str) -> PathBuf {
        let (program, url) = (self.binaries.join("pg_dump"), url.to_owned());
        let file = self.root.join(format!("dump-{}", next()));
        blocking(move || {
            run(Command::new(program).args(["--format=custom", "--file"]).arg(&file).arg("--dbname").arg(url));
            file
        })
        .await
    }

    /// Restores a dump, which may be another server's, into a database, with further options of `pg_restore`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn restore_dump(&self, dump: &Path, url: &str, options: &'static [&str]) {
        let (program, dump, url) = (self.binaries.join("pg_restore"), dump.to_owned(), url.to_owned());
        blocking(move || run(Command::new(program).args(options).arg("--dbname").arg(url).arg(dump))).await;
    }

    /// Stops the server, puts a copy of [`Postgres::base_backup`] or [`Postgres::cold_copy`] in the place of its files, and starts it again on the same
    /// port. What was committed after the copy is gone.
    ///
    /// # Panics
    /// When the server does not start.
    pub async fn restore(self: &Arc<Self>, copy: PathBuf) {
        let server = Arc::clone(self);
        blocking(move || {
            server.stop();
            let data = server.root.join("data");
            fs::remove_dir_all(&data).expect("the server's files to be removed");
            fs::rename(&copy, &data).expect("the copy to be put in place");
            server.launch_again();
        })
        .await;
    }

    /// Starts a hot standby of this server, which follows it.
    ///
    /// # Panics
    /// When the base backup fails or the standby does not start.
    pub async fn start_standby(&self) -> Self {
        let (binaries, primary) = (self.binaries.clone(), self.port);
        blocking(move || {
            let standby = Self {
                binaries,
                root: TempDir::new("standby"),
                port: free_port(),
                guardian: Mutex::new(None),
                small_disk: None,
            };
            if is_root() {
                run(Command::new("chown").arg(USER).arg(standby.root.path()));
            }
            let data = standby.root.join("data");
            copy_files(&standby.binaries, primary, &data, &["--write-recovery-conf"]);
            let path = data.join("postgresql.auto.conf");
            let mut settings = fs::read_to_string(&path).expect("the copied configuration");
            let _ = writeln!(settings, "port = {}", standby.port);
            fs::write(&path, settings).expect("the standby's configuration to be written");
            if let Err(log) = standby.launch() {
                panic!("the standby did not start:\n{log}");
            }
            standby
        })
        .await
    }
}

/// A number for a copy.
fn next() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Copies the files of the server at `port`.
fn copy_files(binaries: &Path, port: u16, target: &Path, options: &[&str]) {
    let (from, onto) = (format!("--port={port}"), format!("--pgdata={}", target.display()));
    let program = binaries.join("pg_basebackup");
    let command = as_server_user(&[program.as_os_str(), OsStr::new(&from), OsStr::new(&onto)]);
    run(Command::new(&command[0])
        .args(&command[1..])
        .args(["--host=127.0.0.1", "--username", USER, "--checkpoint=fast", "--no-sync"])
        .args(options)
        .current_dir("/"));
}
