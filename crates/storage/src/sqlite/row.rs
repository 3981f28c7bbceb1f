//! Rows and values.

use std::sync::LazyLock;

use sqlx::{Row, sqlite::SqliteRow};

use crate::{
    Cause, Change, Money, Product, ProductData, Products, StorageError, Subject, Term,
    change::{self, OVERSIZED},
    driver,
    request::from_micros,
    trace,
};

/// The columns of a product `p`, in the order that [`product`] reads them.
pub(super) const COLUMNS: &str = "p.id, p.name, p.description, p.price_currency, p.price_units, p.price_nanos, \
     p.categories, p.tags, p.attributes, p.image_url, p.in_stock, p.create_time, p.update_time, p.version";

/// Reads a product whose columns begin at `first`.
pub(super) fn product(row: &SqliteRow, first: usize) -> Result<Product, StorageError> {
    let read = read(row, first).map_err(|error| error.to_string()).and_then(Product::bearable);
    read.map_err(|why| {
        let id: String = row.try_get(first).unwrap_or_default();
        tracing::warn!(id, why, "the row of a product cannot be read");
        StorageError::Unreadable(id)
    })
}

/// Reads products whose columns begin at `first`.
pub(super) fn products<'a>(rows: impl Iterator<Item = &'a SqliteRow>, first: usize) -> Result<Products, StorageError> {
    Products::sort(rows.map(|row| product(row, first)))
}

fn read(row: &SqliteRow, first: usize) -> Result<Product, sqlx::Error> {
    let currency: String = row.try_get(first + 3)?;
    Ok(Product {
        id: row.try_get(first)?,
        data: ProductData {
            name: row.try_get(first + 1)?,
            description: row.try_get(first + 2)?,
            price: if currency.is_empty() {
                None
            } else {
                Some(Money { currency, units: row.try_get(first + 4)?, nanos: row.try_get(first + 5)? })
            },
            categories: json(row, first + 6)?,
            tags: json(row, first + 7)?,
            attributes: json(row, first + 8)?,
            image_url: row.try_get(first + 9)?,
            in_stock: row.try_get(first + 10)?,
        },
        create_time: from_micros(row.try_get(first + 11)?),
        update_time: from_micros(row.try_get(first + 12)?),
        version: row.try_get(first + 13)?,
    })
}

/// The columns of a change, in the order that [`changes`] reads them. Text that is too large is not fetched: anybody may have written
/// it, before Larder refused it or with its trigger dropped. JSON makes up to six bytes of one; [`change::subject`] judges exactly.
pub(super) static CHANGE_COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let fits =
        format!("octet_length(key) + octet_length(categories) + octet_length(tags) <= {}", 6 * change::MOST_BYTES);
    format!(
        "id, CASE WHEN {fits} THEN kind ELSE '{OVERSIZED}' END, CASE WHEN {fits} THEN key ELSE '' END, \
         CASE WHEN {fits} THEN categories ELSE '' END, CASE WHEN {fits} THEN tags ELSE '' END, \
         id << 24 | (salt & 16777215), salt, CASE WHEN octet_length(traceparent) <= 64 THEN traceparent END, logged_at"
    )
});

/// Reads changes and puts them in order.
pub(super) fn changes(rows: &[SqliteRow]) -> Result<Vec<Change>, StorageError> {
    let read = |row: &SqliteRow| {
        let id = number(row.try_get(0)?);
        let salt: i64 = row.try_get(6)?;
        let logged: Option<i64> = row.try_get(8)?;
        let cause = Cause {
            trace: trace::parse(row.try_get(7)?),
            logged_micros: logged.and_then(|micros| u64::try_from(micros).ok()),
        };
        Ok(Change { id, salt: salt.cast_unsigned(), subject: change::subject(id, subject(row)), cause })
    };
    rows.iter().map(read).collect::<Result<_, _>>().map(change::in_order).map_err(driver::sort)
}

fn subject(row: &SqliteRow) -> Result<Subject, sqlx::Error> {
    let key: String = row.try_get(2)?;
    let version: i64 = row.try_get(5)?;
    Ok(match row.try_get::<&str, _>(1)? {
        "put" => Subject::Put { key, version, terms: change::terms(json(row, 3)?, json(row, 4)?) },
        "delete" => Subject::Delete { key, version, terms: change::terms(json(row, 3)?, json(row, 4)?) },
        "key" => Subject::Key(key),
        "category" => Subject::Term(Term::Category(key)),
        "tag" => Subject::Term(Term::Tag(key)),
        "pattern" => Subject::Pattern(key),
        OVERSIZED => return Err(sqlx::Error::Decode("too large".into())),
        // Whatever a later release may log touches no more than everything.
        _ => Subject::All,
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: usize) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// The number of a change, which SQLite keeps signed.
pub(super) fn number(id: i64) -> u64 {
    u64::try_from(id).unwrap_or(0)
}

/// The other way.
pub(super) fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}
