//! Empty databases of either kind.

use std::{path::PathBuf, sync::Arc};

use larder_test_servers::{Postgres, TempDir};
use tokio::process::Command;

use super::tools::run_with_input;

/// Runs async functions of one parameter, `&Database`, once on each database: `name::on_sqlite`, `name::on_postgres`.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn on_sqlite() {
                super::$name(&$crate::harness::Database::sqlite()).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                super::$name(&$crate::harness::Database::postgres().await).await;
            }
        }
    )+};
}
pub(crate) use on_both_databases;

/// An empty database that belongs to one test. Several servers may share it.
pub(crate) enum Database {
    Sqlite(TempDir),
    Postgres { server: Arc<Postgres>, url: String },
}

impl Database {
    /// A SQLite file to be created, in a directory of its own.
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(TempDir::new("e2e"))
    }

    /// A database of the PostgreSQL server that the tests share.
    pub(crate) async fn postgres() -> Self {
        Self::on(Postgres::shared().await).await
    }

    /// A database of a PostgreSQL server of the test's own, which it may stop or kill.
    pub(crate) async fn on(server: Arc<Postgres>) -> Self {
        let url = server.create_database().await;
        Self::Postgres { server, url }
    }

    /// The URL under which a server finds it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite:{}", self.file().display()),
            Self::Postgres { url, .. } => url.clone(),
        }
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(directory) => directory.join("larder.db"),
            Self::Postgres { .. } => panic!("PostgreSQL has no such file"),
        }
    }

    /// The PostgreSQL server.
    pub(crate) fn server(&self) -> &Arc<Postgres> {
        match self {
            Self::Postgres { server, .. } => server,
            Self::Sqlite(_) => panic!("SQLite has no server"),
        }
    }

    /// Runs SQL in the shell of the database, psql or sqlite3, and returns what it printed.
    pub(crate) async fn shell(&self, sql: &str) -> String {
        match self {
            Self::Postgres { server, url } => server.psql(url, sql).await,
            Self::Sqlite(_) => sqlite3(&self.file(), sql).await,
        }
    }
}

async fn sqlite3(file: &PathBuf, sql: &str) -> String {
    let mut shell = Command::new("sqlite3");
    shell.args(["-batch", "-bail", "-cmd", ".timeout 10000"]).arg(file);
    let output = run_with_input(&mut shell, sql).await;
    assert!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
