//! A repository over an empty database, and a shell beside it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use larder_storage::{
    Change, Changes, Incarnation, Product, ProductData, ProductRepository, Repository, Snapshot, StorageConfig,
    Subject, Term, WriteOptions,
};
use larder_test_servers::{Postgres, TempDir};

/// One database of its own with a repository over it.
pub(crate) struct Bench {
    pub(crate) repository: Arc<Repository>,
    pub(crate) config: StorageConfig,
    pub(crate) shell: Shell,
}

/// What a person would type SQL into.
pub(crate) enum Shell {
    Postgres(Arc<Postgres>, String),
    Sqlite(#[expect(dead_code, reason = "held for its end")] TempDir, PathBuf),
}

impl Bench {
    pub(crate) async fn postgres() -> Self {
        let server = Postgres::shared().await;
        let url = server.create_database().await;
        Self::over(Shell::Postgres(server, url.clone()), url).await
    }

    pub(crate) async fn sqlite() -> Self {
        let directory = TempDir::new("storage");
        let path = directory.join("data/larder.db");
        let url = format!("sqlite:{}", path.display());
        Self::over(Shell::Sqlite(directory, path), url).await
    }

    pub(crate) async fn over(shell: Shell, url: String) -> Self {
        let config = StorageConfig::new(url);
        let repository = Arc::new(Repository::connect(&config).await.expect("a connection"));
        Self { repository, config, shell }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.shell, Shell::Postgres(..))
    }

    /// A second repository, as another process would have one.
    pub(crate) async fn another(&self) -> Repository {
        Repository::connect(&self.config).await.expect("a second connection")
    }

    /// Types SQL into psql or sqlite3 and returns what it printed.
    pub(crate) async fn sql(&self, sql: &str) -> String {
        match self.try_sql(sql).await {
            Ok(output) => output,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    pub(crate) async fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.shell.run(sql).await
    }

    /// A number that the shell printed.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.sql(sql).await.trim().parse().expect("a number")
    }

    pub(crate) async fn create(&self, id: &str, data: &ProductData) -> Product {
        let committed = self.repository.create(id, data, &WriteOptions::default()).await.expect("a creation");
        match committed.value {
            larder_storage::Creation::Created(product) => product,
            other => panic!("{id}: {other:?}"),
        }
    }

    pub(crate) async fn get(&self, id: &str) -> Option<Product> {
        let loaded = self.repository.get(&[id.to_owned()]).await.expect("a load");
        assert!(loaded.value.found.len() <= 1 && loaded.value.unreadable.is_empty());
        loaded.value.found.into_iter().next()
    }

    pub(crate) async fn follow(&self) -> Follower {
        Follower::begin(Arc::clone(&self.repository)).await
    }
}

impl Shell {
    pub(crate) async fn run(&self, sql: &str) -> Result<String, String> {
        match self {
            Self::Postgres(server, url) => server.try_psql(url, sql).await,
            Self::Sqlite(_, path) => sqlite3(path.clone(), sql.to_owned()).await,
        }
    }
}

/// Follows the change log, as a replica does.
pub(crate) struct Follower {
    repository: Arc<Repository>,
    pub(crate) snapshot: Snapshot,
    pub(crate) incarnation: Incarnation,
}

impl Follower {
    pub(crate) async fn begin(repository: Arc<Repository>) -> Self {
        let pass = repository.pass(None, 10_000).await.expect("a first pass");
        assert!(matches!(pass.changes, Changes::Window { .. }), "{:?}", pass.changes);
        Self { repository, snapshot: pass.snapshot, incarnation: pass.incarnation }
    }

    pub(crate) async fn pass(&mut self, limit: u32) -> Changes {
        let since = Some((&self.snapshot, self.incarnation));
        let pass = self.repository.pass(since, limit).await.expect("a pass");
        self.snapshot = pass.snapshot;
        self.incarnation = pass.incarnation;
        pass.changes
    }

    /// What is read back when anything may have changed: from which id on, and what.
    pub(crate) async fn window(&mut self, limit: u32) -> (u64, Vec<Change>) {
        match self.pass(limit).await {
            Changes::Window { from, changes } => (from, changes),
            Changes::Complete(changes) => panic!("only this has changed: {changes:?}"),
            Changes::Incomplete(why) => panic!("{why}"),
        }
    }

    /// What is new; it must be told one by one.
    pub(crate) async fn changes(&mut self) -> Vec<Change> {
        match self.pass(10_000).await {
            Changes::Complete(changes) => changes,
            Changes::Window { .. } => panic!("anything may have changed"),
            Changes::Incomplete(why) => panic!("{why}"),
        }
    }

    /// What is new, without versions and ids, in a stable order.
    pub(crate) async fn told(&mut self) -> Vec<String> {
        tell_all(&self.changes().await)
    }
}

/// Changes without versions and ids, in a stable order.
pub(crate) fn tell_all(changes: &[Change]) -> Vec<String> {
    let mut told: Vec<String> = changes.iter().map(|change| tell(&change.subject)).collect();
    told.sort_unstable();
    told
}

pub(crate) fn tell(subject: &Subject) -> String {
    match subject {
        Subject::Put { key, .. } => format!("put {key}"),
        Subject::Delete { key, .. } => format!("delete {key}"),
        Subject::Key(key) => format!("key {key}"),
        Subject::Term(Term::Category(category)) => format!("category {category}"),
        Subject::Term(Term::Tag(tag)) => format!("tag {tag}"),
        Subject::Pattern(pattern) => format!("pattern {pattern}"),
        Subject::All => "all".to_owned(),
    }
}

pub(crate) fn named(name: &str) -> ProductData {
    ProductData { name: name.to_owned(), ..ProductData::default() }
}

pub(crate) fn in_terms(name: &str, categories: &[&str], tags: &[&str]) -> ProductData {
    ProductData {
        name: name.to_owned(),
        categories: categories.iter().map(|&term| term.to_owned()).collect(),
        tags: tags.iter().map(|&term| term.to_owned()).collect(),
        ..ProductData::default()
    }
}

/// Waits until something is so, without wishing for a length of time.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let begin = Instant::now();
    while !check().await {
        assert!(begin.elapsed() < Duration::from_mins(1), "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the real sqlite3 shell; without one, a plain connection that sets nothing.
async fn sqlite3(path: PathBuf, sql: String) -> Result<String, String> {
    let child = Command::new("sqlite3")
        .args(["-batch", "-bail"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        return sqlite_connection(&path, sql).await;
    };
    tokio::task::spawn_blocking(move || {
        let mut stdin = child.stdin.take().expect("a pipe to sqlite3");
        // Another writer is waited for, as a person would press return again.
        std::io::Write::write_all(&mut stdin, format!(".timeout 10000\n{sql}\n;\n").as_bytes())
            .expect("sqlite3 to read");
        drop(stdin);
        let output = child.wait_with_output().expect("sqlite3 to end");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    })
    .await
    .expect("sqlite3 to run")
}

async fn sqlite_connection(path: &std::path::Path, sql: String) -> Result<String, String> {
    use sqlx::{ConnectOptions, Row, sqlite::SqliteConnectOptions};
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(false)
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let rows =
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.map_err(|error| error.to_string())?;
    let cell =
        |row: &sqlx::sqlite::SqliteRow, column: usize| row.try_get_unchecked::<String, _>(column).unwrap_or_default();
    let line =
        |row: &sqlx::sqlite::SqliteRow| (0..row.len()).map(|column| cell(row, column)).collect::<Vec<_>>().join("|");
    Ok(rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}
