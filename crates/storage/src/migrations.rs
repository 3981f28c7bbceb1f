//! The migrations of a database.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
};

/// A migration: its number, its name and its SQL.
pub(crate) type File = (i64, &'static str, &'static str);

/// The migrations in order, as `table` remembers them. It may remember further ones, of a later release.
pub(crate) fn migrator(files: &[File], table: &'static str) -> Migrator {
    let migration = |&(version, name, sql): &File| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator {
        migrations: files.iter().map(migration).collect(),
        ignore_missing: true,
        table_name: Cow::Borrowed(table),
        ..Migrator::DEFAULT
    }
}
