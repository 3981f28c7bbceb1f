//! Sessions of the database that know nothing of Larder.

use larder_storage::ProductData;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};

use crate::harness::Database;

/// A session.
pub(crate) enum Outsider {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// How a product is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// There is none yet.
    Insert,
    /// There is one.
    Update,
    /// Either, by `ON CONFLICT`.
    Upsert,
    /// Either, by `INSERT OR REPLACE`, which SQLite alone has.
    Replace,
}

impl Outsider {
    /// Opens a session.
    pub(crate) async fn connect(database: &Database) -> Self {
        match database {
            Database::Postgres { url, .. } => {
                Self::Postgres(PgConnection::connect(url).await.expect("a session of PostgreSQL"))
            }
            Database::Sqlite(_) => {
                let options = SqliteConnectOptions::new()
                    .filename(database.file())
                    .busy_timeout(std::time::Duration::from_secs(30))
                    // What it writes need not outlive the machine.
                    .pragma("synchronous", "off");
                Self::Sqlite(SqliteConnection::connect_with(&options).await.expect("a session of SQLite"))
            }
        }
    }

    /// Whether it is a session of PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Runs statements.
    pub(crate) async fn run(&mut self, sql: impl Into<String>) {
        let sql = sql.into();
        let done = match self {
            Self::Postgres(session) => session.execute(sqlx::raw_sql(AssertSqlSafe(sql.clone()))).await.map(drop),
            Self::Sqlite(session) => session.execute(sqlx::raw_sql(AssertSqlSafe(sql.clone()))).await.map(drop),
        };
        if let Err(error) = done {
            panic!("{sql}: {error}");
        }
    }

    /// Begins a transaction that will write.
    pub(crate) async fn begin(&mut self) {
        self.run(if self.is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" }).await;
    }

    /// The number that names what the transaction under way has written so far. In PostgreSQL it is given out with the
    /// first question, in SQLite with each change.
    pub(super) async fn number(&mut self) -> u64 {
        let number: String = match self {
            Self::Postgres(session) => {
                sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(session).await.expect("a number")
            }
            Self::Sqlite(session) => sqlx::query_scalar("SELECT CAST(max(id) AS TEXT) FROM changes")
                .fetch_one(session)
                .await
                .expect("a number"),
        };
        number.parse().expect("a number")
    }

    /// The salt of a change that the transaction under way has made under its number.
    pub(super) async fn salt(&mut self, number: u64) -> u64 {
        let salt: Option<String> = match self {
            Self::Postgres(session) => {
                let sql = "SELECT salt::text FROM changes WHERE xid = $1::text::xid8 LIMIT 1";
                sqlx::query_scalar(sql).bind(number.to_string()).fetch_optional(session).await.expect("a salt")
            }
            Self::Sqlite(session) => {
                let sql = "SELECT CAST(salt AS TEXT) FROM changes WHERE id = CAST(?1 AS INTEGER)";
                sqlx::query_scalar(sql).bind(number.to_string()).fetch_optional(session).await.expect("a salt")
            }
        };
        salt.map_or(0, |salt| salt.parse::<i64>().expect("a number").cast_unsigned())
    }

    /// The statement that puts a product.
    pub(super) fn put(&self, how: Put, id: &str, data: &ProductData) -> String {
        let columns = self.columns(data);
        if how == Put::Update {
            let set: Vec<String> = columns.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            return format!("UPDATE products SET {} WHERE id = '{id}'", set.join(", "));
        }
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let insert = format!("INTO products (id, {}) VALUES ('{id}', {})", names.join(", "), values.join(", "));
        match how {
            Put::Replace if !self.is_postgres() => format!("INSERT OR REPLACE {insert}"),
            Put::Upsert | Put::Replace => {
                let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
                format!("INSERT {insert} ON CONFLICT (id) DO UPDATE SET {}", set.join(", "))
            }
            Put::Insert | Put::Update => format!("INSERT {insert}"),
        }
    }

    /// The columns and their values. No text of the shop holds a quote.
    fn columns(&self, data: &ProductData) -> Vec<(&'static str, String)> {
        let price = data.price.as_ref().expect("a price");
        let list = |texts: &[String]| match self {
            Self::Postgres(_) => format!("'{{{}}}'", texts.join(",")),
            Self::Sqlite(_) => format!("'{}'", serde_json::json!(texts)),
        };
        let flag = |flag: bool| if flag { "(1 = 1)" } else { "(1 = 0)" };
        vec![
            ("name", format!("'{}'", data.name)),
            ("description", format!("'{}'", data.description)),
            ("price_currency", format!("'{}'", price.currency)),
            ("price_units", price.units.to_string()),
            ("price_nanos", price.nanos.to_string()),
            ("categories", list(&data.categories)),
            ("tags", list(&data.tags)),
            ("attributes", format!("'{}'", serde_json::json!(data.attributes))),
            ("image_url", format!("'{}'", data.image_url)),
            ("in_stock", flag(data.in_stock).to_owned()),
        ]
    }
}
