//! Writes of one product: each one transaction.

use sqlx::{Row, postgres::PgRow};

use super::{
    PostgresRepository,
    log::{self, CAUSE},
    point::{self, Life, POINT},
    row::{self, COLUMNS, Xid},
    session::Session,
    transaction::Transaction,
};
use crate::{
    Change, Committed, Creation, Deletion, Product, ProductData, ProductMask, StorageError, Token, Update, Updating,
    WriteOptions, driver,
    request::{Remembered, call_name, creation_fingerprint, reply, stored_product, update_fingerprint},
};

/// How often an update looks again after somebody else created or deleted the product in between.
const RACES: u32 = 16;

impl PostgresRepository {
    pub(super) async fn try_create(
        &self,
        id: &str,
        data: &ProductData,
        options: &WriteOptions,
    ) -> Result<Committed<Creation>, StorageError> {
        let mut tx = self.begin().await?;
        let request = options.request_id.as_deref().map(call_name);
        let request = request.as_deref();
        let value = match claim(&mut tx, request, || creation_fingerprint(id, data)).await? {
            Remembered::Reply(reply) => Creation::Created(stored_product(&reply)?),
            Remembered::OtherCall => Creation::RequestIdReused,
            Remembered::Nothing => {
                if let Some(product) = insert(&mut tx, id, data, ProductMask::ALL).await? {
                    keep_reply(&mut tx, request, &product).await?;
                    Creation::Created(product)
                } else {
                    release(&mut tx, request).await?;
                    Creation::Exists
                }
            }
        };
        finish(tx, value, options.validate_only).await
    }

    pub(super) async fn try_update(
        &self,
        update: &Update,
        options: &WriteOptions,
    ) -> Result<Committed<Updating>, StorageError> {
        let mut tx = self.begin().await?;
        let request = options.request_id.as_deref().map(call_name);
        let request = request.as_deref();
        let value = match claim(&mut tx, request, || update_fingerprint(update)).await? {
            Remembered::Reply(reply) => Updating::Updated(stored_product(&reply)?),
            Remembered::OtherCall => Updating::RequestIdReused,
            Remembered::Nothing => {
                let value = change(&mut tx, update).await?;
                match &value {
                    Updating::Updated(product) => keep_reply(&mut tx, request, product).await?,
                    _ => release(&mut tx, request).await?,
                }
                value
            }
        };
        finish(tx, value, options.validate_only).await
    }

    pub(super) async fn try_delete(&self, id: &str, version: Option<i64>) -> Result<Committed<Deletion>, StorageError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM public.products WHERE id = $1 AND ($2::bigint IS NULL OR version = $2)")
            .bind(id)
            .bind(version)
            .execute(&mut *tx)
            .await
            .map_err(driver::sort)?;
        let value = if done.rows_affected() > 0 {
            Deletion::Deleted
        } else if version.is_some() && exists(&mut tx, id).await? {
            Deletion::VersionDiffers
        } else {
            Deletion::Missing
        };
        finish(tx, value, false).await
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, StorageError> {
        Transaction::begin(&self.connections).await
    }
}

/// Reads what the triggers logged and commits; or rolls back after a dry run.
///
/// A COMMIT of a failed transaction would be answered with ROLLBACK and no error. It cannot come to that: every error of a
/// statement has ended the write before, and the statement here fails in a failed transaction.
pub(super) async fn finish<T>(
    mut tx: Transaction<'_>,
    value: T,
    validate_only: bool,
) -> Result<Committed<T>, StorageError> {
    if validate_only {
        tx.rollback().await?;
        return Ok(Committed { value, changes: Vec::new(), commit: None, horizon: 0 });
    }
    let (changes, commit, horizon) = logged(&mut tx).await?;
    tx.commit().await?;
    Ok(Committed { value, changes, commit: Some(commit), horizon })
}

/// What this transaction has logged so far, its name, and the horizon of the statement that told so: the rows that were written
/// are locked, so that this later snapshot sees them as they were returned. A transaction that wrote nothing gets an id here, so
/// that a replay has one of its own.
async fn logged(tx: &mut Session) -> Result<(Vec<Change>, Token, u64), StorageError> {
    let sql = format!(
        "SELECT point.snapshot, point.life, mine.xid, c.xid, c.kind, c.key, c.version, c.categories, c.tags, c.salt, {CAUSE} \
         FROM (SELECT pg_catalog.pg_current_xact_id() AS xid OFFSET 0) mine CROSS JOIN {POINT} \
         LEFT JOIN public.changes c ON c.xid = mine.xid"
    );
    let mut named = false;
    loop {
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).fetch_all(&mut *tx).await.map_err(driver::sort)?;
        let Some(first) = rows.first() else {
            return Err(StorageError::Database("a transaction has no id".into()));
        };
        let (snapshot, life) = point::read(first)?;
        match life {
            Life::Known(incarnation) => {
                let Xid(id) = first.try_get(2).map_err(driver::sort)?;
                let changes = log::changes(&rows, 3)?;
                let salt = changes.first().map_or(0, |change| change.salt);
                return Ok((changes, Token { incarnation, id, salt }, snapshot.xmin));
            }
            Life::Unnamed if !named => {
                named = true;
                point::name_life(&mut *tx).await?;
            }
            Life::Unnamed | Life::Standby => {
                return Err(StorageError::Unavailable("the database has no incarnation".into()));
            }
        }
    }
}

/// Takes a request id for this transaction. One that another transaction is about to remember is waited for.
pub(super) async fn claim(
    tx: &mut Session,
    request: Option<&str>,
    fingerprint: impl FnOnce() -> String,
) -> Result<Remembered, StorageError> {
    let Some(request) = request else {
        return Ok(Remembered::Nothing);
    };
    let fingerprint = fingerprint();
    for _ in 0..RACES {
        let inserted =
            sqlx::query("INSERT INTO public.requests (id, fingerprint) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
                .bind(request)
                .bind(&fingerprint)
                .execute(&mut *tx)
                .await
                .map_err(driver::sort)?;
        if inserted.rows_affected() > 0 {
            return Ok(Remembered::Nothing);
        }
        let stored: Option<(String, Option<String>)> =
            sqlx::query_as("SELECT fingerprint, reply FROM public.requests WHERE id = $1")
                .bind(request)
                .fetch_optional(&mut *tx)
                .await
                .map_err(driver::sort)?;
        // None: it has been forgotten in between.
        if let Some((stored, reply)) = stored {
            return Ok(Remembered::judge(&stored, reply.unwrap_or_default(), &fingerprint));
        }
    }
    Err(StorageError::Conflict("a request id came and went".into()))
}

async fn keep_reply(tx: &mut Session, request: Option<&str>, product: &Product) -> Result<(), StorageError> {
    let Some(request) = request else { return Ok(()) };
    sqlx::query("UPDATE public.requests SET reply = $2 WHERE id = $1")
        .bind(request)
        .bind(reply(product))
        .execute(tx)
        .await
        .map(drop)
        .map_err(driver::sort)
}

/// Forgets a request id whose call changed nothing.
async fn release(tx: &mut Session, request: Option<&str>) -> Result<(), StorageError> {
    let Some(request) = request else { return Ok(()) };
    sqlx::query("DELETE FROM public.requests WHERE id = $1")
        .bind(request)
        .execute(tx)
        .await
        .map(drop)
        .map_err(driver::sort)
}

async fn change(tx: &mut Session, update: &Update) -> Result<Updating, StorageError> {
    for _ in 0..RACES {
        if let Some(product) = modify(tx, update).await? {
            return Ok(Updating::Updated(product));
        }
        if exists(tx, &update.id).await? {
            if update.version.is_some() {
                return Ok(Updating::VersionDiffers);
            }
            // Created since the first look.
            continue;
        }
        if !update.allow_missing || update.version.is_some() {
            return Ok(Updating::Missing);
        }
        if let Some(product) = insert(tx, &update.id, &update.data, update.mask).await? {
            return Ok(Updating::Updated(product));
        }
    }
    Err(StorageError::Conflict("a product came and went".into()))
}

async fn exists(tx: &mut Session, id: &str) -> Result<bool, StorageError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM public.products WHERE id = $1)")
        .bind(id)
        .fetch_one(tx)
        .await
        .map_err(driver::sort)
}

async fn modify(tx: &mut Session, update: &Update) -> Result<Option<Product>, StorageError> {
    let sql = format!(
        "UPDATE public.products p SET \
         name = CASE WHEN $3 THEN $4 ELSE p.name END, \
         description = CASE WHEN $5 THEN $6 ELSE p.description END, \
         price_currency = CASE WHEN $7 THEN $8 ELSE p.price_currency END, \
         price_units = CASE WHEN $7 THEN $9 ELSE p.price_units END, \
         price_nanos = CASE WHEN $7 THEN $10 ELSE p.price_nanos END, \
         categories = CASE WHEN $11 THEN $12 ELSE p.categories END, \
         tags = CASE WHEN $13 THEN $14 ELSE p.tags END, \
         attributes = CASE WHEN $15 THEN $16::text::jsonb ELSE p.attributes END, \
         image_url = CASE WHEN $17 THEN $18 ELSE p.image_url END, \
         in_stock = CASE WHEN $19 THEN $20 ELSE p.in_stock END \
         WHERE p.id = $1 AND ($2::bigint IS NULL OR p.version = $2) RETURNING {COLUMNS}"
    );
    let (data, mask) = (&update.data, update.mask);
    let (currency, units, nanos) = price(data);
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
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
        .bind(&data.categories)
        .bind(mask.tags)
        .bind(&data.tags)
        .bind(mask.attributes)
        .bind(attributes(data))
        .bind(mask.image_url)
        .bind(&data.image_url)
        .bind(mask.in_stock)
        .bind(data.in_stock)
        .fetch_optional(tx)
        .await
        .map_err(driver::sort)?;
    returned(row.as_ref())
}

/// Inserts a product with the fields of the mask; `None` when there is one of that id.
async fn insert(
    tx: &mut Session,
    id: &str,
    data: &ProductData,
    mask: ProductMask,
) -> Result<Option<Product>, StorageError> {
    let sql = format!(
        "INSERT INTO public.products AS p (id, name, description, price_currency, price_units, price_nanos, \
         categories, tags, attributes, image_url, in_stock) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $11) \
         ON CONFLICT (id) DO NOTHING RETURNING {COLUMNS}"
    );
    let masked = mask.apply(data);
    let (currency, units, nanos) = price(&masked);
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .bind(&masked.name)
        .bind(&masked.description)
        .bind(currency)
        .bind(units)
        .bind(nanos)
        .bind(&masked.categories)
        .bind(&masked.tags)
        .bind(attributes(&masked))
        .bind(&masked.image_url)
        .bind(masked.in_stock)
        .fetch_optional(tx)
        .await
        .map_err(driver::sort)?;
    returned(row.as_ref())
}

fn returned(row: Option<&PgRow>) -> Result<Option<Product>, StorageError> {
    row.map(|row| row::product(row, 0)).transpose()
}

/// The price as its three columns hold it.
pub(super) fn price(data: &ProductData) -> (&str, i64, i32) {
    data.price.as_ref().map_or(("", 0, 0), |price| (&price.currency, price.units, price.nanos))
}

/// The attributes as JSON.
pub(super) fn attributes(data: &ProductData) -> String {
    serde_json::to_string(&data.attributes).expect("a map of strings is always JSON")
}
