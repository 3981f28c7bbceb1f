//! Bulk upsert.

use std::collections::HashMap;

use super::{
    SqliteRepository,
    row::{self, COLUMNS},
    write::{json, price},
};
use crate::{Committed, Imported, ProductData, Products, StorageError, driver};

/// Each product is created a microsecond after the one before it, so that products in the order of their creation are in that of the
/// import.
const IMPORT: &str = "\
    INSERT INTO products (id, name, description, price_currency, price_units, price_nanos, categories, tags, attributes, \
        image_url, in_stock, create_time, update_time) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
        value ->> 8, value ->> 9, value ->> 10, now.micros + key, now.micros + key \
    FROM json_each(?1), \
        (SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000 AS micros) AS now \
    WHERE true \
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description, \
        price_currency = excluded.price_currency, price_units = excluded.price_units, \
        price_nanos = excluded.price_nanos, categories = excluded.categories, tags = excluded.tags, \
        attributes = excluded.attributes, image_url = excluded.image_url, in_stock = excluded.in_stock";

impl SqliteRepository {
    pub(super) async fn try_import(
        &self,
        products: &[(String, ProductData)],
    ) -> Result<Committed<Vec<Imported>>, StorageError> {
        let mut writing = self.begin().await?;
        let ids: Vec<&str> = products.iter().map(|(id, _)| id.as_str()).collect();
        let sql = format!("SELECT {COLUMNS} FROM json_each(?1) j JOIN products p ON p.id = j.value");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(json(&ids))
            .fetch_all(&mut *writing.tx)
            .await
            .map_err(driver::sort)?;
        let Products { found, unreadable } = row::products(rows.iter(), 0)?;
        let present: HashMap<String, ProductData> =
            found.into_iter().map(|product| (product.id, product.data)).collect();
        let value: Vec<Imported> = products
            .iter()
            .map(|(id, data)| match present.get(id) {
                None if unreadable.contains(id) => Imported::Updated,
                None => Imported::Created,
                Some(stored) if stored == data => Imported::Unchanged,
                Some(_) => Imported::Updated,
            })
            .collect();
        let written: Vec<_> = products
            .iter()
            .zip(&value)
            .filter(|(_, done)| **done != Imported::Unchanged)
            .map(|((id, data), _)| {
                let (currency, units, nanos) = price(data);
                (
                    id,
                    &data.name,
                    &data.description,
                    currency,
                    units,
                    nanos,
                    json(&data.categories),
                    json(&data.tags),
                    json(&data.attributes),
                    &data.image_url,
                    data.in_stock,
                )
            })
            .collect();
        if !written.is_empty() {
            sqlx::query(IMPORT).bind(json(&written)).execute(&mut *writing.tx).await.map_err(driver::sort)?;
        }
        writing.finish(value, false).await
    }
}
