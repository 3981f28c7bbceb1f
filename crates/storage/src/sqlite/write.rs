//! Writes of one product: each one transaction of the one writer.

use std::{path::PathBuf, sync::Arc};

use sqlx::SqliteConnection;

use super::{
    SqliteRepository,
    database::Database,
    file::FileId,
    lives,
    row::{self, CHANGE_COLUMNS, COLUMNS, signed},
    transaction::Transaction,
};
use crate::{
    Committed, Creation, Deletion, Product, ProductData, ProductMask, StorageError, Token, Update, Updating, Witness,
    WriteOptions, driver,
    request::{Remembered, call_name, creation_fingerprint, reply, stored_product, update_fingerprint},
    trace,
};

/// A transaction that holds the write lock.
pub(super) struct Writing {
    pub(super) tx: Transaction,
    database: Arc<Database>,
    path: PathBuf,
    /// The newest change before it.
    before: Witness,
}

impl SqliteRepository {
    pub(super) async fn try_create(
        &self,
        id: &str,
        data: &ProductData,
        options: &WriteOptions,
    ) -> Result<Committed<Creation>, StorageError> {
        let mut writing = self.begin().await?;
        let tx = &mut writing.tx;
        let request = options.request_id.as_deref().map(call_name);
        let request = request.as_deref();
        let fingerprint = creation_fingerprint(id, data);
        let value = match recall(tx, request, &fingerprint).await? {
            Remembered::Reply(reply) => Creation::Created(stored_product(&reply)?),
            Remembered::OtherCall => Creation::RequestIdReused,
            Remembered::Nothing if version_of(tx, id).await?.is_some() => Creation::Exists,
            Remembered::Nothing => {
                let product = insert(tx, id, data, ProductMask::ALL).await?;
                remember(tx, request, &fingerprint, &reply(&product)).await?;
                Creation::Created(product)
            }
        };
        writing.finish(value, options.validate_only).await
    }

    pub(super) async fn try_update(
        &self,
        update: &Update,
        options: &WriteOptions,
    ) -> Result<Committed<Updating>, StorageError> {
        let mut writing = self.begin().await?;
        let tx = &mut writing.tx;
        let request = options.request_id.as_deref().map(call_name);
        let request = request.as_deref();
        let fingerprint = update_fingerprint(update);
        let value = match recall(tx, request, &fingerprint).await? {
            Remembered::Reply(reply) => Updating::Updated(stored_product(&reply)?),
            Remembered::OtherCall => Updating::RequestIdReused,
            Remembered::Nothing => {
                let value = change(tx, update).await?;
                if let Updating::Updated(product) = &value {
                    remember(tx, request, &fingerprint, &reply(product)).await?;
                }
                value
            }
        };
        writing.finish(value, options.validate_only).await
    }

    pub(super) async fn try_delete(&self, id: &str, version: Option<i64>) -> Result<Committed<Deletion>, StorageError> {
        let mut writing = self.begin().await?;
        let tx = &mut writing.tx;
        let done = sqlx::query("DELETE FROM products WHERE id = ?1 AND (?2 IS NULL OR version = ?2)")
            .bind(id)
            .bind(version)
            .execute(&mut **tx)
            .await
            .map_err(driver::sort)?;
        let value = if done.rows_affected() > 0 {
            Deletion::Deleted
        } else if version_of(tx, id).await?.is_some() {
            Deletion::VersionDiffers
        } else {
            Deletion::Missing
        };
        writing.finish(value, false).await
    }

    /// Takes the write lock of the file that is under the path now.
    pub(super) async fn begin(&self) -> Result<Writing, StorageError> {
        loop {
            let database = self.current().await?;
            let mut tx = match Transaction::write(&database.writer).await {
                // It was replaced, and its connections closed, since the line above.
                Err(sqlx::Error::PoolClosed) if !self.is_in_place(&database)? => continue,
                result => result.map_err(driver::sort)?,
            };
            if !self.is_in_place(&database)? {
                continue;
            }
            let newest: Option<(i64, i64)> = sqlx::query_as("SELECT id, salt FROM changes ORDER BY id DESC LIMIT 1")
                .fetch_optional(&mut *tx)
                .await
                .map_err(driver::sort)?;
            let before = newest.map_or(Witness { id: 0, salt: 0 }, |(id, salt)| lives::newest(id, Some(salt)));
            return Ok(Writing { tx, database, path: self.place.path.clone(), before });
        }
    }
}

impl Writing {
    /// Reads what the triggers logged and commits; or rolls back after a dry run.
    pub(super) async fn finish<T>(mut self, value: T, validate_only: bool) -> Result<Committed<T>, StorageError> {
        if validate_only {
            self.tx.rollback().await.map_err(driver::sort)?;
            return Ok(Committed { value, changes: Vec::new(), commit: None, horizon: 0 });
        }
        let traceparent = trace::traceparent();
        let columns = CHANGE_COLUMNS.as_str();
        let sql = match traceparent {
            None => format!("SELECT {columns} FROM changes WHERE id > ?1 ORDER BY id"),
            Some(_) => format!("UPDATE changes SET traceparent = ?2 WHERE id > ?1 RETURNING {columns}"),
        };
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(signed(self.before.id));
        let query = match traceparent {
            None => query,
            Some(traceparent) => query.bind(traceparent),
        };
        let rows = query.fetch_all(&mut *self.tx).await.map_err(driver::sort)?;
        let changes = row::changes(&rows)?;
        let life: String =
            sqlx::query_scalar("SELECT id FROM incarnation").fetch_one(&mut *self.tx).await.map_err(driver::sort)?;
        self.tx.commit().await.map_err(driver::sort_sqlite_commit)?;
        // One that reached a file nobody finds any more is no commit that may be acknowledged.
        if !FileId::of(&self.path).is_ok_and(|id| id == self.database.file) {
            return Err(StorageError::UnknownOutcome("the database file was replaced during the commit".into()));
        }
        let newest =
            changes.iter().max_by_key(|change| change.id).map(|change| Witness { id: change.id, salt: change.salt });
        let Witness { id, salt } = newest.unwrap_or(self.before);
        let commit = Token { incarnation: self.database.incarnation(&life), id, salt };
        Ok(Committed { value, changes, commit: Some(commit), horizon: commit.id + 1 })
    }
}

pub(super) async fn recall(
    tx: &mut SqliteConnection,
    request: Option<&str>,
    fingerprint: &str,
) -> Result<Remembered, StorageError> {
    let Some(request) = request else {
        return Ok(Remembered::Nothing);
    };
    // Bytes: whatever somebody has made of them, they are another call's, or a reply that cannot be read.
    let stored: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as("SELECT fingerprint, reply FROM requests WHERE id = ?1")
        .bind(request)
        .fetch_optional(tx)
        .await
        .map_err(driver::sort)?;
    match stored {
        Some((stored, reply)) => {
            let [stored, reply] = [stored, reply].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Ok(Remembered::judge(&stored, reply, fingerprint))
        }
        None => Ok(Remembered::Nothing),
    }
}

pub(super) async fn remember(
    tx: &mut SqliteConnection,
    request: Option<&str>,
    fingerprint: &str,
    reply: &str,
) -> Result<(), StorageError> {
    let Some(request) = request else { return Ok(()) };
    sqlx::query("INSERT INTO requests (id, fingerprint, reply) VALUES (?1, ?2, ?3)")
        .bind(request)
        .bind(fingerprint)
        .bind(reply)
        .execute(tx)
        .await
        .map(drop)
        .map_err(driver::sort)
}

async fn change(tx: &mut SqliteConnection, update: &Update) -> Result<Updating, StorageError> {
    if modify(tx, update).await? {
        return stored(tx, &update.id).await.map(Updating::Updated);
    }
    if version_of(tx, &update.id).await?.is_some() {
        Ok(Updating::VersionDiffers)
    } else if update.allow_missing && update.version.is_none() {
        insert(tx, &update.id, &update.data, update.mask).await.map(Updating::Updated)
    } else {
        Ok(Updating::Missing)
    }
}

async fn modify(tx: &mut SqliteConnection, update: &Update) -> Result<bool, StorageError> {
    let (data, mask) = (&update.data, update.mask);
    let (currency, units, nanos) = price(data);
    let done = sqlx::query(
        "UPDATE products SET \
         name = CASE WHEN ?3 THEN ?4 ELSE name END, \
         description = CASE WHEN ?5 THEN ?6 ELSE description END, \
         price_currency = CASE WHEN ?7 THEN ?8 ELSE price_currency END, \
         price_units = CASE WHEN ?7 THEN ?9 ELSE price_units END, \
         price_nanos = CASE WHEN ?7 THEN ?10 ELSE price_nanos END, \
         categories = CASE WHEN ?11 THEN ?12 ELSE categories END, \
         tags = CASE WHEN ?13 THEN ?14 ELSE tags END, \
         attributes = CASE WHEN ?15 THEN ?16 ELSE attributes END, \
         image_url = CASE WHEN ?17 THEN ?18 ELSE image_url END, \
         in_stock = CASE WHEN ?19 THEN ?20 ELSE in_stock END \
         WHERE id = ?1 AND (?2 IS NULL OR version = ?2)",
    )
    .bind(&update.id)
    .bind(update.version)
    .bind(mask.name)
    .bind(&data.name)
    .bind(mask.description)
    .bind(&data.description)
    .bind(mask.price)
    .bind(currency)
    .bind(units)
    .bind(nanos)
    .bind(mask.categories)
    .bind(json(&data.categories))
    .bind(mask.tags)
    .bind(json(&data.tags))
    .bind(mask.attributes)
    .bind(json(&data.attributes))
    .bind(mask.image_url)
    .bind(&data.image_url)
    .bind(mask.in_stock)
    .bind(data.in_stock)
    .execute(tx)
    .await
    .map_err(driver::sort)?;
    Ok(done.rows_affected() > 0)
}

/// Inserts a product, that there is none of yet, with the fields of the mask.
async fn insert(
    tx: &mut SqliteConnection,
    id: &str,
    data: &ProductData,
    mask: ProductMask,
) -> Result<Product, StorageError> {
    let masked = mask.apply(data);
    let (currency, units, nanos) = price(&masked);
    sqlx::query(
        "INSERT INTO products (id, name, description, price_currency, price_units, price_nanos, categories, tags, \
         attributes, image_url, in_stock) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .bind(id)
    .bind(&masked.name)
    .bind(&masked.description)
    .bind(currency)
    .bind(units)
    .bind(nanos)
    .bind(json(&masked.categories))
    .bind(json(&masked.tags))
    .bind(json(&masked.attributes))
    .bind(&masked.image_url)
    .bind(masked.in_stock)
    .execute(&mut *tx)
    .await
    .map_err(driver::sort)?;
    stored(tx, id).await
}

/// Reads a product back: RETURNING would tell the row from before the triggers.
async fn stored(tx: &mut SqliteConnection, id: &str) -> Result<Product, StorageError> {
    let sql = format!("SELECT {COLUMNS} FROM products p WHERE p.id = ?1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(tx).await.map_err(driver::sort)?;
    row::product(&row, 0)
}

async fn version_of(tx: &mut SqliteConnection, id: &str) -> Result<Option<i64>, StorageError> {
    sqlx::query_scalar("SELECT version FROM products WHERE id = ?1")
        .bind(id)
        .fetch_optional(tx)
        .await
        .map_err(driver::sort)
}

/// The price as its three columns hold it.
pub(super) fn price(data: &ProductData) -> (&str, i64, i32) {
    data.price.as_ref().map_or(("", 0, 0), |price| (&price.currency, price.units, price.nanos))
}

/// Lists and attributes as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("lists and maps of strings are always JSON")
}
