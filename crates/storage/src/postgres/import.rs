//! Bulk upsert.

use std::collections::HashMap;

use sqlx::Row;

use super::{
    PostgresRepository,
    write::{attributes, finish, price},
};
use crate::{Committed, Imported, ProductData, StorageError, driver};

/// One array for each column; what is itself a list comes as JSON, since an array of arrays would have to be a rectangle. A row
/// that an upsert inserted has no xmax, one that it updated has been locked and so has one. In the order of their ids, so that
/// two imports never wait for each other in a ring. Each product is created a microsecond after the one before it, so that products in
/// the order of their creation are in that of the import.
const IMPORT: &str = "\
    INSERT INTO public.products AS p (id, name, description, price_currency, price_units, price_nanos, categories, tags, \
        attributes, image_url, in_stock, create_time, update_time) \
    SELECT i.id, i.name, i.description, i.currency, i.units, i.nanos, \
        ARRAY(SELECT e.value FROM pg_catalog.jsonb_array_elements_text(i.categories::jsonb) \
              WITH ORDINALITY AS e(value, n) ORDER BY e.n), \
        ARRAY(SELECT e.value FROM pg_catalog.jsonb_array_elements_text(i.tags::jsonb) \
              WITH ORDINALITY AS e(value, n) ORDER BY e.n), \
        i.attributes::jsonb, i.image_url, i.in_stock, t.created, t.created \
    FROM ROWS FROM ( \
        pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), \
        pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::bigint[]), pg_catalog.unnest($6::int[]), \
        pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::text[]), \
        pg_catalog.unnest($10::text[]), pg_catalog.unnest($11::bool[])) WITH ORDINALITY \
        AS i(id, name, description, currency, units, nanos, categories, tags, attributes, image_url, in_stock, place) \
    CROSS JOIN LATERAL (SELECT pg_catalog.now() + i.place * interval '1 microsecond') t(created) \
    ORDER BY i.id COLLATE \"C\" \
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description, \
        price_currency = excluded.price_currency, price_units = excluded.price_units, \
        price_nanos = excluded.price_nanos, categories = excluded.categories, tags = excluded.tags, \
        attributes = excluded.attributes, image_url = excluded.image_url, in_stock = excluded.in_stock \
    WHERE (p.name, p.description, p.price_currency, p.price_units, p.price_nanos, p.categories, p.tags, p.attributes, \
           p.image_url, p.in_stock) \
        IS DISTINCT FROM (excluded.name, excluded.description, excluded.price_currency, excluded.price_units, \
           excluded.price_nanos, excluded.categories, excluded.tags, excluded.attributes, excluded.image_url, \
           excluded.in_stock) \
    RETURNING p.id, p.xmax = 0";

impl PostgresRepository {
    pub(super) async fn try_import(
        &self,
        products: &[(String, ProductData)],
    ) -> Result<Committed<Vec<Imported>>, StorageError> {
        let mut tx = self.begin().await?;
        let column = |text: fn(&ProductData) -> &str| products.iter().map(|(_, data)| text(data)).collect::<Vec<_>>();
        let json = |text: fn(&ProductData) -> String| products.iter().map(|(_, data)| text(data)).collect::<Vec<_>>();
        let prices: Vec<_> = products.iter().map(|(_, data)| price(data)).collect();
        let rows = sqlx::query(IMPORT)
            .bind(products.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
            .bind(column(|data| &data.name))
            .bind(column(|data| &data.description))
            .bind(prices.iter().map(|price| price.0).collect::<Vec<_>>())
            .bind(prices.iter().map(|price| price.1).collect::<Vec<_>>())
            .bind(prices.iter().map(|price| price.2).collect::<Vec<_>>())
            .bind(json(|data| list(&data.categories)))
            .bind(json(|data| list(&data.tags)))
            .bind(json(attributes))
            .bind(column(|data| &data.image_url))
            .bind(products.iter().map(|(_, data)| data.in_stock).collect::<Vec<_>>())
            .fetch_all(&mut *tx)
            .await
            .map_err(driver::sort)?;
        let mut written: HashMap<&str, bool> = HashMap::with_capacity(rows.len());
        for row in &rows {
            written.insert(row.try_get(0).map_err(driver::sort)?, row.try_get(1).map_err(driver::sort)?);
        }
        let value = products
            .iter()
            .map(|(id, _)| match written.get(id.as_str()) {
                Some(true) => Imported::Created,
                Some(false) => Imported::Updated,
                None => Imported::Unchanged,
            })
            .collect();
        finish(tx, value, false).await
    }
}

fn list(values: &[String]) -> String {
    serde_json::to_string(values).expect("a list of strings is always JSON")
}
